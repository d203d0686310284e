//! One partition's workplace: what its tasks share, and how a step of an attempt is written.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use runtime::board::Step;
use schemas::{OrderStatus, Timestamp};
use tokio::sync::{Notify, mpsc};

use super::{Stage, hand::Hand, lease::Lease, stream::Streams};
use crate::{
    core::{
        Attempt, AttemptKey, Event,
        close::{Note, allot::concerns},
        diagnosis, follow, transition,
    },
    store::StoreError,
};

/// What the tasks of one partition share. Clones share it.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The stage.
    pub stage: Stage,
    /// The right to send.
    pub lease: Lease,
    /// What is in hand.
    pub hand: Hand,
    /// Which connections are listened to.
    pub streams: Streams,
    /// What something happened to: to be looked at now.
    news: Arc<Mutex<BTreeSet<AttemptKey>>>,
    /// The queue of what is to be sent.
    queue: mpsc::UnboundedSender<Outgoing>,
    /// Wakes the relay.
    pub to_relay: Arc<Notify>,
    /// Wakes the reconciler.
    pub to_look: Arc<Notify>,
    /// Wakes whoever asks for deferred intents.
    pub to_defer: Arc<Notify>,
    /// Wakes whoever runs the closes.
    pub to_close: Arc<Notify>,
}

/// How an attempt came to its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// With its intent from the log: how long that took says how fast orders are.
    Straight,
    /// After a wait that is no slowness: for the order that it replaces, for a bid or the next attempt of its close, for
    /// an owner of its partition.
    Waited,
}

/// An attempt that is to be sent.
#[derive(Debug)]
pub struct Outgoing {
    /// What is sent.
    pub attempt: Attempt,
    /// How it came here.
    pub way: Way,
}

/// An attempt in hand: let go when this is dropped, whatever ends its holder.
#[derive(Debug)]
pub struct Held<'d> {
    desk: &'d Desk,
    key: AttemptKey,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.desk.let_go(self.key);
    }
}

/// How often a step is tried again at first, and at the slowest, while the database does not answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

impl Desk {
    /// A workplace, and the other end of its queue.
    pub fn new(stage: Stage, lease: Lease) -> (Self, mpsc::UnboundedReceiver<Outgoing>) {
        let (queue, sending) = mpsc::unbounded_channel();
        let desk = Self {
            stage,
            lease,
            hand: Hand::default(),
            streams: Streams::default(),
            news: Arc::default(),
            queue,
            to_relay: Arc::default(),
            to_look: Arc::default(),
            to_defer: Arc::default(),
            to_close: Arc::default(),
        };
        (desk, sending)
    }

    /// Queues an attempt to be sent, unless somebody has it in hand.
    pub fn send(&self, attempt: Attempt, way: Way) {
        let key = attempt.key();
        // A queue that nobody reads any more belongs to a partition that was lost: its next owner finds the attempt.
        if self.hand.take(key) && self.queue.send(Outgoing { attempt, way }).is_err() {
            self.hand.drop(key);
        }
    }

    /// Lets go of an attempt, and sees to what came up meanwhile.
    pub fn let_go(&self, key: AttemptKey) {
        let meanwhile = self.hand.drop(key);
        if meanwhile.news {
            self.news(key);
        }
        if meanwhile.cancelled {
            self.to_look.notify_one();
        }
    }

    /// Takes an attempt in hand until the answer is dropped; `None` where somebody has it.
    pub fn hold(&self, key: AttemptKey) -> Option<Held<'_>> {
        self.hand.take(key).then_some(Held { desk: self, key })
    }

    /// Something happened to an attempt: it is looked at now, or once whoever has it lets it go.
    pub fn news(&self, key: AttemptKey) {
        if self.hand.news(key) {
            return;
        }
        self.keep_news(key);
        self.to_look.notify_one();
    }

    /// The next that something happened to.
    pub fn next_news(&self) -> Option<AttemptKey> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    /// It could not be looked at yet: with the next round.
    pub fn keep_news(&self, key: AttemptKey) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    /// When an attempt is looked at next, by itself.
    fn next_look(&self, attempt: &Attempt, now: Timestamp) -> Option<Timestamp> {
        match attempt.connection_id {
            Some(id) if self.streams.is_heard(id, attempt.mode) => {
                follow::next_look_while_heard(attempt, now)
            }
            _ => follow::next_look(attempt, now),
        }
    }

    /// Takes an event into an attempt, durably: its next revision, or the attempt as it is where nothing changes.
    /// Where somebody else moved the row, what happened is taken into what it is now; what was only seen is not, for it
    /// was seen of something older, and the row is looked at again by its own time.
    ///
    /// # Errors
    /// The store's.
    pub async fn apply(&self, attempt: Attempt, event: &Event) -> Result<Attempt, StoreError> {
        let mut current = attempt;
        loop {
            let now = self.stage.clock.now();
            let Some(mut next) = transition(&current, event, now) else { return Ok(current) };
            next.next_look_at = self.next_look(&next, now);
            match self.stage.store.record(&current, &next).await {
                Ok(()) => {
                    self.told(&current, &next);
                    return Ok(next);
                }
                Err(StoreError::Changed(key)) => {
                    current = self.reload(key).await?;
                    if event.is_a_view() {
                        return Ok(current);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes an event in, however often it has to be tried, for as long as the partition is ours. `None` where it
    /// was lost before: the next owner finds out by itself.
    pub async fn insist(&self, attempt: Attempt, event: &Event) -> Option<Attempt> {
        let (mut wait, most) = RETRY;
        while !self.lease.is_lost() {
            match self.apply(attempt.clone(), event).await {
                Ok(next) => return Some(next),
                Err(error) => {
                    tracing::warn!(order = ?attempt.order_id, %error, "a step could not be recorded yet");
                    self.stage.board.trouble(error.code());
                }
            }
            self.stage.clock.sleep(wait).await;
            wait = (wait * 2).min(most);
        }
        None
    }

    /// An attempt as it stands.
    ///
    /// # Errors
    /// The store's, and a row that is gone, which no row ever is.
    pub async fn reload(&self, key: AttemptKey) -> Result<Attempt, StoreError> {
        let found = self.stage.store.attempt(key).await?;
        found.ok_or_else(|| StoreError::Unreadable(format!("attempt {key:?} is gone")))
    }

    fn told(&self, before: &Attempt, after: &Attempt) {
        if before.status != after.status {
            self.stage.board.order(Some(before.status), after.status);
        }
        if transition::landed_late(before, after) {
            tracing::error!(
                order = ?after.order_id, account = %after.billing_account_id, was = %before.status, now = %after.status,
                "an order landed after it was given up; it takes budget and is cancelled"
            );
            self.stage.board.trouble(crate::core::transition::LATE_LANDING);
        }
        tracing::info!(
            order = ?after.order_id,
            account = %after.billing_account_id,
            key = %after.idempotency_key,
            attempt = after.attempt,
            revision = after.revision,
            from = %before.status,
            to = %after.status,
            filled = %after.filled_shares,
            reason = after.reason.as_deref(),
            "order"
        );
        self.to_relay.notify_one();
        if after.is_final {
            self.to_defer.notify_one();
        }
        if concerns(before, after) {
            self.to_close.notify_one();
        }
        if diagnosis::was_refused(after) && !diagnosis::was_refused(before) {
            // It is looked into at once.
            self.news(after.key());
        }
    }

    /// An attempt was committed at the gate.
    pub fn committed(&self, attempt: &Attempt, way: Way) {
        if let (Some(connection), OrderStatus::Reserved) = (attempt.connection_id, attempt.status) {
            self.streams.want(connection, attempt.mode);
        }
        self.stage.board.order(None, attempt.status);
        let now = self.stage.clock.now();
        if attempt.status == OrderStatus::Reserved && way == Way::Straight {
            self.reached(Step::Committed, attempt, now);
        }
        tracing::info!(
            order = ?attempt.order_id,
            account = %attempt.billing_account_id,
            key = %attempt.idempotency_key,
            attempt = attempt.attempt,
            status = %attempt.status,
            side = %attempt.side,
            limit = %attempt.limit_price,
            shares = %attempt.shares,
            reserved = %attempt.reserved,
            reason = attempt.reason.as_deref(),
            "gate"
        );
        if attempt.note == Some(Note::ExitFloor) {
            tracing::warn!(order = ?attempt.order_id, limit = %attempt.limit_price, "an exit has reached its floor");
            self.stage.board.trouble("exit_at_floor");
        }
        self.to_relay.notify_one();
    }

    /// A trade reached a step.
    pub fn reached(&self, step: Step, attempt: &Attempt, now: Timestamp) {
        self.stage.board.reached(step, now.since(attempt.origin.observed_at));
    }

    /// Nothing came of a look: when to look again.
    pub async fn look_again(&self, attempt: &Attempt) {
        let mut later = attempt.clone();
        later.asked = later.asked.saturating_add(1);
        let next = self.next_look(&later, self.stage.clock.now());
        let kept = self.stage.store.looked(attempt.key(), attempt.revision, later.asked, next).await;
        if let Err(error) = kept {
            // It stays due, and is looked at again.
            tracing::debug!(order = ?attempt.order_id, %error, "a look could not be noted");
        }
    }
}
