//! Sends what is committed: the stored bytes and no others, in order per tenant, concurrently across tenants, under an
//! unexpired lease, and only while the order is still wanted (`behaviour.md` 6.3).
//!
//! A tenant's next order goes once the venue has answered the one before. It does not wait for that answer to be written
//! down: a leader's trade comes in up to twenty fills at once, and the last of them would wait for all those writes. What
//! a crash leaves unwritten are reserved rows, which whoever comes next asks the venue about.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use runtime::{Stop, board::Step};
use schemas::{BillingAccountId, OrderStatus};
use tokio::sync::mpsc;
use venue::outcome::SubmitOutcome;

use super::{
    bucket::Bucket,
    desk::{Desk, Outgoing, Way},
    provision,
};
use crate::core::{Attempt, Event, follow::may_send};

/// The longest that a venue is stayed away from at its word: exits wait behind it, and a header may hold anything.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often one who waits looks whether it is still to go.
const WATCH: Duration = Duration::from_secs(1);

/// One tenant's queue.
#[derive(Debug)]
struct Lane {
    queue: Mutex<VecDeque<Outgoing>>,
    bucket: Mutex<Bucket>,
    /// The venue asked to come back no sooner; on the monotonic clock.
    paused_until: Mutex<Duration>,
    /// Held by whoever writes down an answer: in their order, and by one connection however many there are.
    writing: tokio::sync::Mutex<()>,
}

impl Lane {
    fn new(per_second: u32, burst: u32) -> Self {
        Self {
            queue: Mutex::default(),
            bucket: Mutex::new(Bucket::new(per_second, burst)),
            paused_until: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    fn push(&self, order: Outgoing) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(order);
    }

    fn pop(&self) -> Option<Outgoing> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Sends nothing for so long, or for as long as anybody waits who was asked to come back later.
    fn pause(&self, now: Duration, pause: Duration) {
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = now + pause.min(LONGEST_PAUSE);
    }

    fn paused(&self, now: Duration) -> Duration {
        self.paused_until.lock().unwrap_or_else(PoisonError::into_inner).saturating_sub(now)
    }

    fn token(&self, now: Duration) -> Duration {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }
}

/// A tenant's lane, and whether an order of it is being sent.
struct Tenant {
    lane: Arc<Lane>,
    sends: bool,
}

/// What came of an order, still to be written down.
struct Answer {
    attempt: Attempt,
    event: Event,
}

/// What ended.
enum Done {
    /// A tenant's order was sent as far as it can be for now: its next may go.
    Sent(BillingAccountId, Option<Box<Answer>>),
    /// An answer was written down.
    Written,
}

/// Sends until asked to stop; then what is queued still goes.
pub async fn run(desk: Desk, mut queue: mpsc::UnboundedReceiver<Outgoing>, stop: Stop) {
    let mut tenants: BTreeMap<BillingAccountId, Tenant> = BTreeMap::new();
    let mut running: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
    loop {
        let account = tokio::select! {
            biased;
            Some(done) = running.next() => {
                let Done::Sent(account, answer) = done else { continue };
                if let Some(tenant) = tenants.get_mut(&account) {
                    tenant.sends = false;
                    if let Some(answer) = answer {
                        running.push(Box::pin(write_down(desk.clone(), tenant.lane.clone(), *answer)));
                    }
                }
                account
            }
            Some(order) = queue.recv() => {
                let account = order.attempt.billing_account_id;
                let settings = &desk.stage.settings;
                let tenant = tenants.entry(account).or_insert_with(|| Tenant {
                    lane: Arc::new(Lane::new(settings.orders_per_second, settings.orders_burst)),
                    sends: false,
                });
                tenant.lane.push(order);
                account
            }
            () = stop.requested(), if running.is_empty() => return,
        };
        if let Some(tenant) = tenants.get_mut(&account)
            && !tenant.sends
            && let Some(order) = tenant.lane.pop()
        {
            tenant.sends = true;
            let (desk, lane) = (desk.clone(), tenant.lane.clone());
            running.push(Box::pin(async move {
                let key = order.attempt.key();
                let answer = send(&desk, &lane, order).await;
                if answer.is_none() {
                    desk.let_go(key);
                }
                Done::Sent(account, answer.map(Box::new))
            }));
        }
    }
}

/// Writes down what the venue said. Nobody else touches the attempt before that.
async fn write_down(desk: Desk, lane: Arc<Lane>, answer: Answer) -> Done {
    let _turn = lane.writing.lock().await;
    let key = answer.attempt.key();
    desk.insist(answer.attempt, &answer.event).await;
    desk.let_go(key);
    Done::Written
}

/// Sends one attempt until the venue has said something about it, or its time is over; what is to be written down of it.
async fn send(desk: &Desk, lane: &Lane, order: Outgoing) -> Option<Answer> {
    let clock = &desk.stage.clock;
    let Outgoing { mut attempt, way } = order;
    // Since one that comes from a look was read its cancellation may have been committed, while nobody had it in hand.
    let mut is_old = way == Way::Waited;
    loop {
        if desk.lease.is_lost() {
            return None;
        }
        if is_old || (desk.hand.is_cancelled(attempt.key()) && attempt.cancel_asked_at.is_none()) {
            match desk.reload(attempt.key()).await {
                Ok(now) => (attempt, is_old) = (Attempt { body: attempt.body, ..now }, false),
                Err(error) => {
                    tracing::warn!(order = ?attempt.order_id, %error, "an attempt could not be read again yet");
                    clock.sleep(desk.stage.settings.come_back).await;
                    continue;
                }
            }
        }
        if !may_send(&attempt, clock.now()) {
            return give_up(desk, attempt).await;
        }
        let paused = lane.paused(clock.monotonic());
        if !paused.is_zero() {
            clock.sleep(paused.min(WATCH)).await;
            continue;
        }
        let wait = desk.lease.wait(clock.monotonic()).max(lane.token(clock.monotonic()));
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
        let Some(keys) = provision::keys_of(&desk.stage, &attempt).await else {
            // Nobody can send it: it stays what it is, and the reconciler keeps asking.
            desk.look_again(&attempt).await;
            return None;
        };
        let (Some(exchange), Some(body), Some(id)) =
            (desk.stage.venues.exchange(attempt.mode), &attempt.body, attempt.order_id)
        else {
            desk.look_again(&attempt).await;
            return None;
        };
        // The last look before the bytes go: its time, its cancellation, and the right to send.
        let sent_at = clock.now();
        if !may_send(&attempt, sent_at) || desk.hand.is_cancelled(attempt.key()) {
            continue;
        }
        if !desk.lease.allows(clock.monotonic()) {
            if desk.lease.is_lost() {
                return None;
            }
            // The database does not renew it: wait for it to answer, or for the partition to be lost.
            clock.sleep(desk.stage.settings.come_back).await;
            continue;
        }
        let timed = way == Way::Straight && attempt.status == OrderStatus::Reserved;
        let outcome = exchange.post_order(&body.0, id, keys.creds(), sent_at).await;
        if timed {
            desk.reached(Step::Sent, &attempt, sent_at);
            desk.reached(Step::Answered, &attempt, clock.now());
        }
        let pause = match &outcome {
            SubmitOutcome::RetryLater { after, .. } => after.unwrap_or(desk.stage.settings.come_back),
            _ => return Some(Answer { attempt, event: Event::Answered { sent_at, outcome } }),
        };
        // It was put off, and so is the tenant's next: first that is written down.
        let body = attempt.body.clone();
        let next = desk.insist(attempt, &Event::Answered { sent_at, outcome }).await?;
        attempt = Attempt { body, ..next };
        // Also after a doubt: whether it may be sent again is asked above.
        lane.pause(clock.monotonic(), pause);
    }
}

/// It will not be sent from here any more.
async fn give_up(desk: &Desk, attempt: Attempt) -> Option<Answer> {
    // What may have landed is not given up: the reconciler asks until it is known.
    if !matches!(attempt.status, OrderStatus::Reserved | OrderStatus::Submitted) {
        desk.look_again(&attempt).await;
        return None;
    }
    let event = if attempt.cancel_asked_at.is_some() { Event::CancelledUnsent } else { Event::NeverSent };
    Some(Answer { attempt, event })
}
