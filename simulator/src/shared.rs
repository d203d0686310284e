//! What all requests share.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use runtime::Clock;
use schemas::{Address, Timestamp};
use serde::{Deserialize, Serialize};
use venue::{
    signing::ExchangeTable,
    wire::{ApiKeyRow, PostOrder},
};

use crate::{
    faults::{Fault, Faults},
    journal::{Journal, Line, Synced},
    keys::Keys,
    options::Switches,
    world::{Arrival, World},
};

/// What was counted, for oracles.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Requests to `POST /order`, those that met a fault included.
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
    /// Whether any fault waits: a request looks here first.
    armed: AtomicBool,
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
            armed: AtomicBool::new(false),
            switches: Mutex::new(switches),
            tally: Mutex::default(),
            journal: Mutex::new(journal.map_or(Memory::None, Memory::Open)),
            data: Mutex::default(),
            clock,
            table,
        }
    }

    /// The world, as of now.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let now = self.clock.now();
        let mut world = lock(&self.world);
        world.advance(now);
        world
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

    /// Removes all faults.
    pub fn clear_faults(&self) {
        lock(&self.faults).clear();
        self.armed.store(false, Ordering::Release);
    }

    /// The faults that wait.
    pub fn faults(&self) -> Vec<Fault> {
        lock(&self.faults).waiting()
    }

    /// The fault that a request meets.
    pub fn meet_fault(&self, method: &str, path: &str) -> Option<Fault> {
        if !self.armed.load(Ordering::Acquire) {
            return None;
        }
        let met = lock(&self.faults).meet(method, path)?;
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
        // The file is free once the journal is dropped.
        drop(std::mem::replace(&mut *lock(&self.journal), Memory::Closed));
    }

    /// Makes an API key, or finds it.
    pub fn make_key(&self, address: Address, nonce: u64) -> (ApiKeyRow, Synced) {
        let mut keys = self.keys();
        let (row, new) = keys.make(address, nonce);
        let synced = if new { self.remember(&Line::Key { address, nonce }) } else { self.barrier() };
        (row, synced)
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
            Line::Order { at, received, body, hold_millis, fails } => {
                let post = PostOrder::read(body.as_bytes()).map_err(|e| (n, e.to_string()))?;
                world.advance(*at);
                let arrival =
                    Arrival { post, received: *received, hold: hold_of(*hold_millis), fails: *fails };
                match world.place(arrival, false) {
                    Ok(_) | Err(crate::exchange::Refusal::NoMatch(_)) => orders += 1,
                    Err(refusal) => {
                        return Err((n, format!("the order was taken then and is not now: {refusal}")));
                    }
                }
            }
            Line::Again { id } => world.exchange.seen_again(*id),
            Line::Cancel { at, id } => {
                world.advance(*at);
                world.exchange.cancel(*id).map_err(|why| (n, why.to_owned()))?;
            }
        }
    }
    Ok(orders)
}

/// The switch's milliseconds as a time to hold an order back.
pub fn hold_of(millis: u32) -> Option<std::time::Duration> {
    (millis > 0).then(|| std::time::Duration::from_millis(millis.into()))
}
