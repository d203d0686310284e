//! Hears from the venue that something happened to an order, and has it looked at.
//!
//! - **In**: the user stream of each connection whose orders this partition follows ([`venue::port::UserStream`]).
//! - **Out**: news for the reconciler. A frame is a hint and nothing more: what it is about is read from the venue, which
//!   no frame that was doubled, late or out of order can lead astray.
//! - **Remembers**: which connections are heard, in memory.
//! - **When it dies**, or its stream breaks: nothing is told again. Whatever the connection has open is due at once, when
//!   the stream breaks and when it is back, and until then looked at as if there were no stream.
//!
//! While a stream is heard, resting orders are looked at seldom. Instead the venue's list of open orders, one question for
//! all of a wallet's, says every [`LIST`] that they are still as they were; what it says otherwise is looked at. A
//! difference that the stream never told of is a stream that is deaf: it is made anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runtime::Stop;
use schemas::{Mode, OrderId, Shares};
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
};
use uuid::Uuid;
use venue::{
    port::{Exchange, OpenOrdersQuery, UserEvent, UserStream},
    signing::ApiCreds,
    wire::{ClobOrderStatus, OrderEventKind, OrderRow},
};

use super::{desk::Desk, limits::Route, provision};
use crate::{
    core::{Attempt, Event, follow::Class},
    store::StoreError,
};

/// How often the venue's list of open orders is read: rows older than a minute are called stale.
pub const LIST: Duration = Duration::from_secs(20);
/// Pages of it that are read, at most.
const PAGES: usize = 20;
/// A difference that the stream did not tell of within so long is one that it does not tell of.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// What was told is remembered so long.
const REMEMBERED: Duration = Duration::from_secs(120);
/// A stream is called deaf at most so often.
const DEAF_EVERY: Duration = Duration::from_secs(300);
/// How often the database is asked again, at first and at the slowest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Which connections are listened to. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    state: Arc<Mutex<Known>>,
    wanted: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    wanted: BTreeSet<(Uuid, Mode)>,
    heard: BTreeSet<(Uuid, Mode)>,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An order of this connection goes out: its stream is wanted, if it is not there.
    pub fn want(&self, connection: Uuid, mode: Mode) {
        if self.lock().wanted.insert((connection, mode)) {
            self.wanted.notify_one();
        }
    }

    /// Whether what happens to this connection's orders in this mode is being told.
    pub fn is_heard(&self, connection: Uuid, mode: Mode) -> bool {
        self.lock().heard.contains(&(connection, mode))
    }

    fn set(&self, of: (Uuid, Mode), heard: bool) {
        let mut known = self.lock();
        if heard {
            known.heard.insert(of);
        } else {
            known.heard.remove(&of);
        }
    }
}

/// A task that follows one connection; it ends with this.
#[derive(Debug)]
struct Follower {
    task: JoinHandle<()>,
    of: (Uuid, Mode),
    streams: Streams,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
        self.streams.set(self.of, false);
    }
}

/// Listens for the connections whose orders are followed, until asked to stop.
pub async fn run(desk: Desk, stop: Stop) {
    let mut followers: BTreeMap<(Uuid, Mode), Follower> = BTreeMap::new();
    loop {
        match desk.stage.store.followed(desk.lease.partition).await {
            Ok(followed) => keep(&desk, &mut followers, followed),
            Err(error) => tracing::warn!(%error, "which connections are followed could not be read"),
        }
        tokio::select! {
            biased;
            () = stop.requested() => return,
            () = desk.streams.wanted.notified() => {
                let wanted = desk.streams.lock().wanted.clone();
                begin(&desk, &mut followers, wanted);
            }
            () = desk.stage.clock.sleep(desk.stage.settings.housekeeping) => {}
        }
    }
}

/// Followers for what is followed, and no others.
fn keep(desk: &Desk, followers: &mut BTreeMap<(Uuid, Mode), Follower>, followed: BTreeSet<(Uuid, Mode)>) {
    // What became wanted while the database was asked may not be in its answer: it stays for a round.
    let mut wanted = std::mem::replace(&mut desk.streams.lock().wanted, followed.clone());
    wanted.extend(followed);
    followers.retain(|of, follower| wanted.contains(of) && !follower.task.is_finished());
    begin(desk, followers, wanted);
}

fn begin(desk: &Desk, followers: &mut BTreeMap<(Uuid, Mode), Follower>, wanted: BTreeSet<(Uuid, Mode)>) {
    for (connection, mode) in wanted {
        // The others are found out about by asking.
        let room = followers.len() < desk.stage.settings.streams;
        if !room || followers.contains_key(&(connection, mode)) {
            continue;
        }
        if desk.stage.venues.channel(mode).is_none() {
            continue;
        }
        let task = tokio::spawn(follow(desk.clone(), connection, mode));
        let streams = desk.streams.clone();
        followers.insert((connection, mode), Follower { task, of: (connection, mode), streams });
    }
}

async fn follow(desk: Desk, connection: Uuid, mode: Mode) {
    let stage = &desk.stage;
    let keys = provision::keys_of_connection(stage, connection).await;
    let (Some(channel), Some(exchange), Some(keys)) =
        (stage.venues.channel(mode), stage.venues.exchange(mode), keys)
    else {
        return;
    };
    let (exchange, creds) = (exchange.clone(), keys.creds().clone());
    let mut ear = Ear {
        desk: desk.clone(),
        connection,
        mode,
        told: BTreeMap::new(),
        suspects: BTreeMap::new(),
        deaf_at: None,
    };
    let mut stream = channel.open(&creds);
    // The list is read beside the stream: what happens meanwhile is heard meanwhile. By a task of its own, for it may hold
    // a connection of the database, or be the next to be given one, and must go on while what was heard waits for one.
    let mut listing = JoinSet::new();
    let mut list_at = None;
    loop {
        let now = stage.clock.monotonic();
        if listing.is_empty() && list_at.is_some_and(|at| at <= now) {
            list_at = Some(now.saturating_add(LIST));
            let (desk, exchange, creds) = (desk.clone(), exchange.clone(), creds.clone());
            listing.spawn(async move { compare(&desk, (connection, mode), &*exchange, &creds).await });
        }
        let wait = list_at.unwrap_or(now.saturating_add(LIST)).saturating_sub(now);
        tokio::select! {
            biased;
            event = stream.next() => {
                if matches!(event, UserEvent::Connected | UserEvent::Unreadable { .. }) {
                    list_at = Some(now);
                }
                if matches!(event, UserEvent::Gap { .. }) {
                    // Without a stream the list is not what keeps orders fresh.
                    (list_at, listing) = (None, JoinSet::new());
                }
                ear.hear(event).await;
            }
            Some(compared) = listing.join_next() => match compared {
                Ok(differ) => ear.compared(differ, &mut *stream),
                // A comparison that panics is a bug, and must not pass in silence.
                Err(died) => std::panic::resume_unwind(died.into_panic()),
            },
            () = stage.clock.sleep(wait), if listing.is_empty() => {}
        }
    }
}

/// Who listens to one stream.
struct Ear {
    desk: Desk,
    connection: Uuid,
    mode: Mode,
    /// Orders that the stream told something of lately, and when.
    told: BTreeMap<OrderId, Duration>,
    /// Orders that differ from what is known, though the stream told nothing; and since when.
    suspects: BTreeMap<OrderId, Duration>,
    deaf_at: Option<Duration>,
}

impl Ear {
    async fn hear(&mut self, event: UserEvent) {
        match event {
            UserEvent::Connected => {
                self.desk.streams.set((self.connection, self.mode), true);
                tracing::info!(connection = %self.connection, "the user stream is heard");
                self.all_due().await;
            }
            UserEvent::Gap { why } => {
                self.desk.streams.set((self.connection, self.mode), false);
                self.suspects.clear();
                tracing::info!(connection = %self.connection, %why, "the user stream is not heard");
                self.desk.stage.board.trouble("user_stream_gap");
                self.all_due().await;
            }
            UserEvent::Unreadable { why } => {
                tracing::warn!(connection = %self.connection, %why, "something happened, and it is not known to which order");
                self.desk.stage.board.trouble("user_frame_unreadable");
                self.all_due().await;
            }
            UserEvent::Order(frame) => {
                let placed = frame.kind == OrderEventKind::Placement;
                self.news([frame.id].into(), placed).await;
            }
            UserEvent::Trade(frame) => self.news(frame.orders().collect(), false).await,
        }
    }

    /// Whatever this connection has open is looked at now, however seldom it was to be looked at before.
    async fn all_due(&self) {
        let (desk, connection) = (&self.desk, self.connection);
        let now = desk.stage.clock.now();
        self.insist(|| desk.stage.store.make_due(desk.lease.partition, connection, now)).await;
        // What is in hand now may have been read before: again, when it is let go.
        desk.hand.news_of_all();
        desk.to_look.notify_one();
    }

    async fn news(&mut self, ids: Vec<OrderId>, placed: bool) {
        let (desk, now) = (&self.desk, self.desk.stage.clock.monotonic());
        for id in &ids {
            self.suspects.remove(id);
            self.told.insert(*id, now);
        }
        // Most of a trade's orders are other people's.
        let ours = self.insist(|| desk.stage.store.by_order_id(desk.lease.partition, &ids)).await;
        for key in ours.into_iter().flatten() {
            // That it was placed is what its sender is being told now.
            if !(placed && desk.hand.has(key)) {
                desk.news(key);
            }
        }
    }

    /// The list of open orders was compared with what is known.
    fn compared(&mut self, differ: Option<Vec<OrderId>>, stream: &mut dyn UserStream) {
        let now = self.desk.stage.clock.monotonic();
        self.told.retain(|_, at| now.saturating_sub(*at) < REMEMBERED);
        let Some(differ) = differ else { return };
        for id in differ {
            if !self.told.contains_key(&id) {
                self.suspects.entry(id).or_insert(now);
            }
        }
        let untold = self.suspects.values().any(|since| now.saturating_sub(*since) >= TOLD_WITHIN);
        let lately = self.deaf_at.is_some_and(|at| now.saturating_sub(at) < DEAF_EVERY);
        if untold {
            self.suspects.clear();
            if !lately {
                self.deaf_at = Some(now);
                tracing::warn!(connection = %self.connection, "the user stream did not tell what happened; it is made anew");
                self.desk.stage.board.trouble("user_stream_deaf");
                stream.distrust();
            }
        }
    }

    /// Asks the ledger until it answers, or the partition is lost: what was heard is not told again.
    async fn insist<T, F: Future<Output = Result<T, StoreError>>>(&self, ask: impl Fn() -> F) -> Option<T> {
        let (mut wait, most) = RETRY;
        while !self.desk.lease.is_lost() {
            match ask().await {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    tracing::warn!(%error, "what was heard could not be passed on yet");
                    self.desk.stage.board.trouble(error.code());
                }
            }
            self.desk.stage.clock.sleep(wait).await;
            wait = (wait * 2).min(most);
        }
        None
    }
}

/// Compares a connection's resting orders with the venue's list of open ones: those that are as they were are confirmed,
/// the others are looked at. Which these are; `None` where there was no list to compare with.
async fn compare(
    desk: &Desk,
    (connection, mode): (Uuid, Mode),
    exchange: &dyn Exchange,
    creds: &ApiCreds,
) -> Option<Vec<OrderId>> {
    // What is known first: an order that comes between the two questions is in the second answer alone, and not missed.
    let known: Vec<Attempt> = match desk.stage.store.resting(desk.lease.partition, connection).await {
        Ok(known) => known.into_iter().filter(|attempt| attempt.mode == mode).collect(),
        Err(error) => {
            tracing::debug!(%error, "resting orders could not be read");
            return None;
        }
    };
    if known.is_empty() {
        return None;
    }
    let listed = list(desk, exchange, creds).await?;
    let mut differ = Vec::new();
    for attempt in known {
        let Some(id) = attempt.order_id else { continue };
        let rests = listed
            .get(&id)
            .filter(|row| matches!(row.status, ClobOrderStatus::Live | ClobOrderStatus::Unmatched));
        // That it is missing does not mean that it is cancelled: the order itself says.
        let matched = rests.and_then(|row| row.sizes(attempt.shares).ok()).map(|(_, matched)| matched);
        match matched {
            Some(matched) if matched == attempt.filled_shares => confirm(desk, attempt, matched).await,
            _ => {
                differ.push(id);
                desk.news(attempt.key());
            }
        }
    }
    Some(differ)
}

async fn confirm(desk: &Desk, attempt: Attempt, matched: Shares) {
    // Somebody looks at it, or sends it: he knows better.
    let Some(_held) = desk.hold(attempt.key()) else { return };
    match desk.apply(attempt.clone(), &Event::Rests { matched }).await {
        Ok(next) if next.revision == attempt.revision => {
            let soon = desk.stage.clock.now().plus(LIST * 2);
            if attempt.next_look_at.is_some_and(|at| at < soon) {
                desk.look_again(&attempt).await;
            }
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "that an order rests could not be noted"),
    }
}

async fn list(desk: &Desk, exchange: &dyn Exchange, creds: &ApiCreds) -> Option<BTreeMap<OrderId, OrderRow>> {
    let stage = &desk.stage;
    let mut query = OpenOrdersQuery::default();
    let mut listed = BTreeMap::new();
    for _ in 0..PAGES {
        stage.venues.limits().wait(Route::OpenOrders, Class::Resting, &*stage.clock).await;
        match exchange.open_orders(&query, creds, stage.clock.now()).await {
            Ok(page) => {
                let next = page.next().map(str::to_owned);
                listed.extend(page.data.into_iter().map(|row| (row.id, row)));
                match next {
                    Some(cursor) => query.cursor = Some(cursor),
                    None => return Some(listed),
                }
            }
            Err(error) => {
                tracing::debug!(%error, "open orders could not be listed");
                return None;
            }
        }
    }
    // Half a list would look like orders that are gone.
    None
}
