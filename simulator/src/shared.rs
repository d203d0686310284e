//! What all requests share.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use runtime::{Clock, Stop};
use schemas::{Address, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, futures::Notified};
use venue::{
    signing::ExchangeTable,
    wire::{ApiKeyRow, PostOrder},
};

use crate::{
    exchange::WalletChange,
    faults::{
        Asked, Fault, Faults,
        stream::StreamFaults,
        weather::{Sky, Weather},
    },
    journal::{Journal, Line, Synced},
    keys::Keys,
    limits::{Buckets, Windows},
    modes::Calendar,
    options::Switches,
    world::{Arrival, World},
};

/// What was counted, for oracles.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Orders posted, by themselves or in a batch, those that met a fault included.
    pub posts: u64,
    /// Orders accepted, those killed at once included.
    pub accepted: u64,
    /// Posts of a known order.
    pub duplicates: u64,
    /// Other refusals, by their text with ids and numbers left out.
    pub refused: BTreeMap<String, u64>,
    /// Requests that met a fault.
    pub faults: u64,
    /// Requests to `GET /v2/trades`.
    pub trades_requests: u64,
}

/// What the Data API's cache and its limit remember.
#[derive(Debug, Default)]
pub struct DataMemory {
    /// Answers by address, with the time at which they go stale.
    pub cached: BTreeMap<String, (Timestamp, axum::body::Bytes)>,
    /// When the last requests came.
    pub recent: VecDeque<Timestamp>,
}

/// Where what is told to the venue is kept.
#[derive(Debug)]
enum Memory {
    /// Nowhere.
    None,
    /// In a state file.
    Open(Journal),
    /// The server ended: whoever still asks is not answered.
    Closed,
}

/// The state behind every route.
#[derive(Debug)]
pub struct Shared {
    world: Mutex<World>,
    keys: Mutex<Keys>,
    faults: Mutex<Faults>,
    sky: Mutex<Sky>,
    /// Whether a fault waits, or the weather is not fair: a request looks here first.
    armed: AtomicBool,
    /// What happens to the user stream.
    pub stream_faults: Mutex<StreamFaults>,
    /// When the venue trades.
    pub calendar: Mutex<Calendar>,
    /// What signers may still do.
    pub buckets: Mutex<Buckets>,
    /// What callers asked for.
    pub windows: Mutex<Windows>,
    connections: AtomicU64,
    stirred: Notify,
    /// Asked for when the server ends: nobody is told anything after that.
    pub ended: Stop,
    switches: Mutex<Switches>,
    tally: Mutex<Tally>,
    journal: Mutex<Memory>,
    /// See [`DataMemory`].
    pub data: Mutex<DataMemory>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The exchanges that orders are signed for.
    pub table: ExchangeTable,
}

/// A lock that a panic elsewhere does not poison: every change under it is whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The state of a server.
    pub fn new(
        world: World,
        keys: Keys,
        switches: Switches,
        journal: Option<Journal>,
        clock: Arc<dyn Clock>,
        table: ExchangeTable,
    ) -> Self {
        Self {
            world: Mutex::new(world),
            keys: Mutex::new(keys),
            faults: Mutex::default(),
            sky: Mutex::default(),
            armed: AtomicBool::new(false),
            stream_faults: Mutex::default(),
            calendar: Mutex::default(),
            buckets: Mutex::default(),
            windows: Mutex::default(),
            connections: AtomicU64::new(0),
            stirred: Notify::new(),
            ended: Stop::new(),
            switches: Mutex::new(switches),
            tally: Mutex::default(),
            journal: Mutex::new(journal.map_or(Memory::None, Memory::Open)),
            data: Mutex::default(),
            clock,
            table,
        }
    }

    /// The world, as of now. Whoever waits for news is woken where there are some.
    pub fn world(&self) -> WorldGuard<'_> {
        let now = self.clock.now();
        let mut world = lock(&self.world);
        let known = world.exchange.news.next();
        world.advance(now);
        WorldGuard { world, known, stirred: &self.stirred }
    }

    /// Resolves when there is news after this call began to wait.
    pub fn stirred(&self) -> Notified<'_> {
        self.stirred.notified()
    }

    /// The number of a new connection of the user stream, from 1.
    pub fn connect(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The API keys.
    pub fn keys(&self) -> MutexGuard<'_, Keys> {
        lock(&self.keys)
    }

    /// The switches as they stand.
    pub fn switches(&self) -> Switches {
        lock(&self.switches).clone()
    }

    /// Changes the switches.
    pub fn set_switches(&self, change: impl FnOnce(&mut Switches)) -> Switches {
        let mut switches = lock(&self.switches);
        change(&mut switches);
        switches.clone()
    }

    /// The counts so far.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// Lets a fault wait.
    pub fn add_fault(&self, fault: Fault) {
        lock(&self.faults).add(fault);
        self.armed.store(true, Ordering::Release);
    }

    /// Removes all faults that wait, those of the user stream too, and all weather.
    pub fn clear_faults(&self) {
        lock(&self.faults).clear();
        *lock(&self.sky) = Sky::default();
        lock(&self.stream_faults).clear();
        self.armed.store(false, Ordering::Release);
    }

    /// The faults that wait.
    pub fn faults(&self) -> Vec<Fault> {
        lock(&self.faults).waiting()
    }

    /// Changes the weather.
    pub fn set_weather(&self, weather: Weather) {
        let sky = Sky::under(weather);
        let waits = !sky.is_fair() || !lock(&self.faults).waiting().is_empty();
        *lock(&self.sky) = sky;
        self.armed.store(waits, Ordering::Release);
    }

    /// The weather.
    pub fn weather(&self) -> Weather {
        lock(&self.sky).weather().clone()
    }

    /// What of a request must be known to find its faults: nothing, its bytes, and the orders it is about.
    pub fn faults_ask(&self) -> Option<FaultsAsk> {
        if !self.armed.load(Ordering::Acquire) {
            return None;
        }
        let orders = lock(&self.faults).name_orders();
        Some(FaultsAsk { orders, body: orders || !lock(&self.sky).is_fair() })
    }

    /// The fault that a request meets: the first that waits for it, else what the weather brings.
    pub fn meet_fault(&self, asked: Asked<'_>) -> Option<Fault> {
        let met = lock(&self.faults).meet(asked).or_else(|| lock(&self.sky).meet(asked))?;
        lock(&self.tally).faults += 1;
        Some(met)
    }

    /// Writes to the state file, if there is one. Call under the world's lock, so that lines stand in the
    /// order in which they took effect.
    pub fn remember(&self, line: &Line) -> Synced {
        match &*lock(&self.journal) {
            Memory::None => Synced::NOW,
            Memory::Open(journal) => journal.write(line),
            Memory::Closed => Synced::never(),
        }
    }

    /// Resolves once all that was answered so far is on disk.
    pub fn barrier(&self) -> Synced {
        match &*lock(&self.journal) {
            Memory::None => Synced::NOW,
            Memory::Open(journal) => journal.barrier(),
            Memory::Closed => Synced::never(),
        }
    }

    /// Writes what is left of the state file, and lets go of it. Nothing is taken after that.
    pub fn close(&self) {
        self.ended.request();
        // The file is free once the journal is dropped.
        drop(std::mem::replace(&mut *lock(&self.journal), Memory::Closed));
    }

    /// Changes a wallet from outside of the exchange.
    pub fn change_wallet(&self, change: &WalletChange) -> Synced {
        let mut world = self.world();
        world.change_wallet(change);
        self.remember(&Line::Wallet { at: world.now(), change: change.clone() })
    }

    /// Makes an API key, or finds it.
    pub fn make_key(&self, address: Address, nonce: u64) -> (ApiKeyRow, Synced) {
        let mut keys = self.keys();
        let (row, new) = keys.make(address, nonce);
        let synced = if new { self.remember(&Line::Key { address, nonce }) } else { self.barrier() };
        (row, synced)
    }
}

/// What faults look at in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultsAsk {
    /// The orders it is about.
    pub orders: bool,
    /// Its bytes.
    pub body: bool,
}

/// The world, locked. When it is let go of and something happened, whoever waits for news is woken.
#[derive(Debug)]
pub struct WorldGuard<'a> {
    world: MutexGuard<'a, World>,
    known: u64,
    stirred: &'a Notify,
}

impl Deref for WorldGuard<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for WorldGuard<'_> {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Drop for WorldGuard<'_> {
    fn drop(&mut self) {
        if self.world.exchange.news.next() != self.known {
            self.stirred.notify_waiters();
        }
    }
}

/// Tells a world what a state file remembers. Returns how many orders it knows then.
///
/// # Errors
/// A line that this world does not understand: the number of the line behind the header, and why.
pub fn recall(world: &mut World, keys: &mut Keys, lines: &[Line]) -> Result<usize, (usize, String)> {
    let mut orders = 0;
    for (n, line) in lines.iter().enumerate() {
        match line {
            Line::Header(_) => return Err((n, "a second header".to_owned())),
            Line::Key { address, nonce } => {
                keys.make(*address, *nonce);
            }
            Line::Order { at, received, body, hold_millis, fate, lands } => {
                let post = PostOrder::read(body.as_bytes()).map_err(|e| (n, e.to_string()))?;
                world.advance(*at);
                let hold = hold_of(*hold_millis);
                let arrival = Arrival { post, received: *received, hold, fate: *fate, strict: false };
                if let Some(lands) = lands {
                    world.place_late(arrival, *lands);
                    continue;
                }
                match world.place(arrival) {
                    Ok(_) | Err(crate::exchange::Refusal::NoMatch(_)) => orders += 1,
                    Err(refusal) => {
                        return Err((n, format!("the order was taken then and is not now: {refusal}")));
                    }
                }
            }
            Line::Again { id } => world.exchange.seen_again(*id),
            Line::Cancel { at, id } => {
                world.advance(*at);
                world.exchange.cancel(*id, *at).map_err(|why| (n, why.to_owned()))?;
            }
            Line::Heartbeat { at, owner, given } => {
                world.advance(*at);
                let taken = world.exchange.heartbeat(owner, given, *at);
                taken.map_err(|_| (n, "the heartbeat was taken then and is not now".to_owned()))?;
            }
            Line::Wallet { at, change } => {
                world.advance(*at);
                world.change_wallet(change);
            }
            Line::KeyGone { id } => keys.forget(id),
        }
    }
    Ok(orders)
}

/// The switch's milliseconds as a time to hold an order back.
pub fn hold_of(millis: u32) -> Option<std::time::Duration> {
    (millis > 0).then(|| std::time::Duration::from_millis(millis.into()))
}
