//! Asks the venue what became of each attempt until it is final and its trades are settled, and a while longer for those
//! that may still land (`behaviour.md` 6.4 to 6.6).
//!
//! What is urgent has its own turn: news that the venue told of its own accord ([`super::stream`]) first, then whatever
//! nobody can say for sure, and, beside these and never before them, orders that rest. In each class the longest due come
//! first, many at a time, and each that has no news waits longer: a slow or failing order does not starve the others.

use std::time::Duration;

use futures_util::{StreamExt, stream::FuturesUnordered};
use runtime::Stop;
use schemas::{OrderStatus, Timestamp};
use tokio::task::JoinSet;
use venue::{outcome::CancelOutcome, port::Exchange, signing::ApiCreds};

use super::{
    desk::{Desk, Way},
    diagnose::look_into,
    limits::Route,
    provision,
    view::{View, view},
};
use crate::{
    core::{
        Attempt, AttemptKey, Event,
        follow::{Class, cannot_land, may_send},
    },
    store::StoreError,
};

/// A look that is over: at what, in which class, and whether it is to be posted again.
type Looked = (AttemptKey, Class, Option<Attempt>);

/// Looks at what is due until asked to stop.
pub async fn run(desk: Desk, stop: Stop) {
    let mut round = Round { desk, looking: JoinSet::new(), resting: 0 };
    let (mut told_at, every) = (None, round.desk.stage.settings.housekeeping / 3);
    loop {
        let room = round.room();
        if room > 0 && !stop.is_requested() {
            match round.begin().await {
                Ok(()) => round.tick(&mut told_at, every).await,
                Err(error) => tracing::warn!(%error, "what is due could not be read"),
            }
        }
        let Round { desk, looking, .. } = &mut round;
        tokio::select! {
            biased;
            () = stop.requested() => return,
            Some(looked) = looking.join_next() => match looked {
                Ok(looked) => round.ended(looked),
                // A look that panics is a bug, and must not pass in silence.
                Err(died) => std::panic::resume_unwind(died.into_panic()),
            },
            () = desk.to_look.notified(), if room > 0 => {}
            () = desk.stage.clock.sleep(desk.stage.settings.tick) => {}
        }
    }
}

/// The looks that are under way.
struct Round {
    desk: Desk,
    // Tasks of their own: a look may hold a row's lock and a connection, and must go on while this loop waits for one.
    looking: JoinSet<Looked>,
    /// How many of them are at resting orders.
    resting: usize,
}

impl Round {
    fn room(&self) -> usize {
        self.desk.stage.settings.looks.saturating_sub(self.looking.len())
    }

    /// Begins what there is room for.
    async fn begin(&mut self) -> Result<(), StoreError> {
        while self.room() > 0
            && let Some(key) = self.desk.next_news()
        {
            if !self.desk.hand.take(key) {
                // Again when it is let go.
                self.desk.news(key);
                continue;
            }
            match self.desk.stage.store.attempt(key).await {
                Ok(Some(attempt)) if attempt.next_look_at.is_some() => self.look(attempt, Class::Urgent),
                Ok(_) => self.desk.let_go(key),
                Err(error) => {
                    self.desk.let_go(key);
                    self.desk.keep_news(key);
                    return Err(error);
                }
            }
        }
        for attempt in self.due(Class::Urgent, self.room()).await? {
            if self.desk.hand.take(attempt.key()) {
                self.look(attempt, Class::Urgent);
            }
        }
        // Half of the room at most, and only while the venue's limit for them lasts: they wait for the next tick.
        let most = (self.desk.stage.settings.looks / 2).max(1).saturating_sub(self.resting);
        for attempt in self.due(Class::Resting, most.min(self.room())).await? {
            if !self.desk.hand.take(attempt.key()) {
                continue;
            }
            let now = self.desk.stage.clock.monotonic();
            if !self.desk.stage.venues.limits().may(Route::Order, Class::Resting, now) {
                self.desk.let_go(attempt.key());
                break;
            }
            self.look(attempt, Class::Resting);
        }
        Ok(())
    }

    async fn due(&self, class: Class, room: usize) -> Result<Vec<Attempt>, StoreError> {
        if room == 0 {
            return Ok(Vec::new());
        }
        let desk = &self.desk;
        // What is in hand is due too: the room behind it must still be filled.
        let limit = room.saturating_add(desk.hand.len());
        let mut due =
            desk.stage.store.due(desk.lease.partition, class, desk.stage.clock.now(), limit).await?;
        due.retain(|attempt| !desk.hand.has(attempt.key()));
        due.truncate(room);
        Ok(due)
    }

    /// Begins a look at what is in our hand.
    fn look(&mut self, attempt: Attempt, class: Class) {
        self.resting += usize::from(class == Class::Resting);
        let desk = self.desk.clone();
        self.looking.spawn(async move {
            let key = attempt.key();
            (key, class, look(&desk, attempt, class).await)
        });
    }

    fn ended(&mut self, (key, class, again): Looked) {
        self.resting = self.resting.saturating_sub(usize::from(class == Class::Resting));
        // Out of the looker's hand and, where it is to be posted again, into the sender's.
        self.desk.let_go(key);
        if let Some(attempt) = again {
            self.desk.send(attempt, Way::Waited);
        }
    }

    /// Now and then, that the partition's orders are gone over is told.
    async fn tick(&self, told_at: &mut Option<Duration>, every: Duration) {
        let stage = &self.desk.stage;
        let now = stage.clock.monotonic();
        if told_at.is_some_and(|at| now.saturating_sub(at) < every) {
            return;
        }
        *told_at = Some(now);
        if let Err(error) = stage.store.ticked(self.desk.lease.partition, stage.clock.now()).await {
            tracing::debug!(%error, "that orders are gone over could not be told");
        }
    }
}

/// Resolves what the previous owner left, before intents are taken (`behaviour.md` 6.5): each attempt is asked for
/// once. What the venue does not know is from now on unknown, and posted again where it still may be.
///
/// # Errors
/// The store's.
pub async fn recover(desk: &Desk) -> Result<usize, StoreError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let limit = desk.stage.settings.looks;
        let left = desk.stage.store.unresolved(desk.lease.partition, after, limit).await?;
        let Some(last) = left.last() else { return Ok(count) };
        after = Some(last.key());
        count += left.len();
        let mut looking: FuturesUnordered<_> =
            left.into_iter().map(|attempt| recover_one(desk, attempt)).collect();
        while let Some(done) = looking.next().await {
            done?;
        }
    }
}

async fn recover_one(desk: &Desk, attempt: Attempt) -> Result<(), StoreError> {
    let view = match provision::keys_of(&desk.stage, &attempt).await {
        Some(keys) => view(desk, &attempt, Class::Urgent, keys.creds()).await,
        None => View::NoAnswer,
    };
    if let View::Known(seen) = view {
        desk.apply(attempt, &Event::Seen(seen)).await?;
        return Ok(());
    }
    // It may have been sent up to now: what proves the opposite counts from here.
    let attempt = desk.apply(attempt, &Event::Recovered).await?;
    if may_send(&attempt, desk.stage.clock.now()) {
        desk.send(attempt, Way::Waited);
    }
    Ok(())
}

/// Looks at one attempt; gives it back where it is to be posted again.
async fn look(desk: &Desk, attempt: Attempt, class: Class) -> Option<Attempt> {
    let keys = provision::keys_of(&desk.stage, &attempt).await;
    let Some((keys, exchange)) = keys.zip(desk.stage.venues.exchange(attempt.mode)) else {
        desk.stage.board.trouble("order_without_keys");
        desk.look_again(&attempt).await;
        return None;
    };
    let attempt = match look_into(desk, attempt.clone(), &**exchange, keys.creds()).await {
        Ok(attempt) => attempt,
        Err(error) => {
            tracing::warn!(order = ?attempt.order_id, %error, "a rejection could not be looked into yet");
            attempt
        }
    };
    // What proves that it cannot land any more counts to the moment of the question, not of its answer.
    let asked_at = desk.stage.clock.now();
    let mut found = view(desk, &attempt, class, keys.creds()).await;
    if let View::Known(seen) = &found
        && attempt.cancel_asked_at.is_some()
        && seen.status_rests()
        && cancel(desk, &attempt, &**exchange, keys.creds()).await
    {
        found = view(desk, &attempt, Class::Urgent, keys.creds()).await;
    }
    let event = match found {
        View::Known(seen) => Event::Seen(seen),
        View::Absent => match absent(desk, &attempt, asked_at) {
            Absent::Means(event) => event,
            Absent::PostAgain => {
                desk.look_again(&attempt).await;
                return Some(Attempt { asked: attempt.asked.saturating_add(1), ..attempt });
            }
            Absent::Nothing => {
                desk.look_again(&attempt).await;
                return None;
            }
        },
        View::NoAnswer => {
            desk.look_again(&attempt).await;
            return None;
        }
    };
    match desk.apply(attempt.clone(), &event).await {
        Ok(next) if next.revision == attempt.revision => desk.look_again(&attempt).await,
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(order = ?attempt.order_id, %error, "what the venue said could not be recorded yet");
        }
    }
    None
}

/// What it means that the venue does not know an attempt.
enum Absent {
    Means(Event),
    PostAgain,
    Nothing,
}

fn absent(desk: &Desk, attempt: &Attempt, asked_at: Timestamp) -> Absent {
    match attempt.status {
        // Swept up: nobody has it in hand, so nobody can say that it was not sent.
        OrderStatus::Reserved | OrderStatus::Submitted => Absent::Means(Event::Recovered),
        OrderStatus::Unknown if cannot_land(attempt, asked_at) => Absent::Means(Event::DidNotLand),
        OrderStatus::Unknown if may_send(attempt, desk.stage.clock.now()) => Absent::PostAgain,
        OrderStatus::Open | OrderStatus::PartiallyFilled | OrderStatus::Matched => {
            tracing::warn!(order = ?attempt.order_id, "the venue does not know an order that it has taken");
            desk.stage.board.trouble("order_vanished");
            Absent::Nothing
        }
        _ => Absent::Nothing,
    }
}

/// Asks for the cancellation of an order that rests; whether its state may have changed by that.
async fn cancel(desk: &Desk, attempt: &Attempt, exchange: &dyn Exchange, creds: &ApiCreds) -> bool {
    let Some(id) = attempt.order_id else { return false };
    match exchange.cancel(id, creds, desk.stage.clock.now()).await {
        CancelOutcome::Cancelled => true,
        // "Already matched" is a fill, not a cancel: what it is, the order itself says.
        CancelOutcome::NotCancelled { cause, message } => {
            tracing::info!(order = %id, ?cause, %message, "an order was not cancelled");
            true
        }
        CancelOutcome::Unknown { why } => {
            tracing::warn!(order = %id, %why, "whether an order was cancelled is not known yet");
            true
        }
        CancelOutcome::RetryLater { why, .. } => {
            tracing::debug!(order = %id, %why, "cancelled later");
            false
        }
    }
}
