//! Sends what is committed: the stored bytes and no others, in order per tenant, concurrently across tenants, under an
//! unexpired lease, and only while the order is still wanted (`behaviour.md` 6.3).

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

use super::{bucket::Bucket, desk::Desk, provision};
use crate::core::{Attempt, Event, follow::may_send};

/// One tenant's queue.
#[derive(Debug)]
struct Lane {
    queue: Mutex<VecDeque<Attempt>>,
    bucket: Mutex<Bucket>,
}

impl Lane {
    fn push(&self, attempt: Attempt) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(attempt);
    }

    fn pop(&self) -> Option<Attempt> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn is_empty(&self) -> bool {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn token(&self, now: Duration) -> Duration {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }
}

/// Sends until asked to stop; then what is queued still goes.
pub async fn run(desk: Desk, mut queue: mpsc::UnboundedReceiver<Attempt>, stop: Stop) {
    let mut lanes: BTreeMap<BillingAccountId, (Arc<Lane>, bool)> = BTreeMap::new();
    let mut running: FuturesUnordered<BoxFuture<'static, BillingAccountId>> = FuturesUnordered::new();
    loop {
        let account = tokio::select! {
            biased;
            Some(account) = running.next() => {
                if let Some((_, active)) = lanes.get_mut(&account) {
                    *active = false;
                }
                account
            }
            Some(attempt) = queue.recv() => {
                let account = attempt.billing_account_id;
                let settings = &desk.stage.settings;
                let (lane, _) = lanes.entry(account).or_insert_with(|| {
                    let bucket = Bucket::new(settings.orders_per_second, settings.orders_burst);
                    (Arc::new(Lane { queue: Mutex::default(), bucket: Mutex::new(bucket) }), false)
                });
                lane.push(attempt);
                account
            }
            () = stop.requested(), if running.is_empty() => return,
        };
        if let Some((lane, active)) = lanes.get_mut(&account)
            && !*active
            && !lane.is_empty()
        {
            *active = true;
            let (desk, lane) = (desk.clone(), lane.clone());
            running.push(Box::pin(async move {
                while let Some(attempt) = lane.pop() {
                    let key = attempt.key();
                    send(&desk, &lane, attempt).await;
                    desk.let_go(key);
                }
                account
            }));
        }
    }
}

/// Sends one attempt until the venue has said something about it, or its time is over.
async fn send(desk: &Desk, lane: &Lane, attempt: Attempt) {
    let clock = &desk.stage.clock;
    let mut attempt = attempt;
    loop {
        if desk.lease.is_lost() {
            return;
        }
        if desk.hand.is_cancelled(attempt.key()) && attempt.cancel_asked_at.is_none() {
            match desk.reload(attempt.key()).await {
                Ok(now) => attempt = Attempt { body: attempt.body, ..now },
                Err(error) => {
                    tracing::warn!(order = ?attempt.order_id, %error, "a cancellation could not be read yet");
                    clock.sleep(desk.stage.settings.come_back).await;
                    continue;
                }
            }
        }
        if !may_send(&attempt, clock.now()) {
            give_up(desk, attempt).await;
            return;
        }
        let wait = desk.lease.wait(clock.monotonic()).max(lane.token(clock.monotonic()));
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
        let Some(keys) = provision::keys_of(&desk.stage, &attempt).await else {
            // Nobody can send it: it stays what it is, and the reconciler keeps asking.
            desk.look_again(&attempt).await;
            return;
        };
        let (Some(exchange), Some(body), Some(id)) =
            (desk.stage.venues.exchange(attempt.mode), &attempt.body, attempt.order_id)
        else {
            desk.look_again(&attempt).await;
            return;
        };
        // The last look before the bytes go: its time, its cancellation, and the right to send.
        let sent_at = clock.now();
        if !may_send(&attempt, sent_at) || desk.hand.is_cancelled(attempt.key()) {
            continue;
        }
        if !desk.lease.allows(clock.monotonic()) {
            if desk.lease.is_lost() {
                return;
            }
            // The database does not renew it: wait for it to answer, or for the partition to be lost.
            clock.sleep(desk.stage.settings.come_back).await;
            continue;
        }
        // What a previous owner left says nothing about how fast orders are.
        let first = attempt.status == OrderStatus::Reserved;
        let outcome = exchange.post_order(&body.0, id, keys.creds(), sent_at).await;
        if first {
            desk.reached(Step::Sent, &attempt, sent_at);
            desk.reached(Step::Answered, &attempt, clock.now());
        }
        let pause = match &outcome {
            SubmitOutcome::RetryLater { after, .. } => Some(after.unwrap_or(desk.stage.settings.come_back)),
            _ => None,
        };
        // Before anything else it is written down what the venue said.
        let event = Event::Answered { sent_at, outcome };
        let body = attempt.body.clone();
        let Some(next) = desk.insist(attempt, &event).await else { return };
        attempt = Attempt { body, ..next };
        match pause {
            // Also after a doubt: whether it may be sent again is asked above.
            Some(pause) => clock.sleep(pause).await,
            None => return,
        }
    }
}

/// It will not be sent from here any more.
async fn give_up(desk: &Desk, attempt: Attempt) {
    // What may have landed is not given up: the reconciler asks until it is known.
    if !matches!(attempt.status, OrderStatus::Reserved | OrderStatus::Submitted) {
        desk.look_again(&attempt).await;
        return;
    }
    let event = if attempt.cancel_asked_at.is_some() { Event::CancelledUnsent } else { Event::NeverSent };
    desk.insist(attempt, &event).await;
}
