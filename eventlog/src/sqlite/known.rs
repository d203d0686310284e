//! What this process knows of the file: how far each partition reaches, and which generation each group is
//! in. Waiting members look here, and only go to the file when there is something for them.

use std::{
    collections::BTreeMap,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::watch;

use super::{error::SqlError, layout::Slot};

/// Shared by the threads and members of one open log.
#[derive(Debug)]
pub(super) struct Known {
    view: Mutex<View>,
    changed: watch::Sender<()>,
    waiting: Mutex<Waiting>,
    /// A member began to wait.
    wake: Condvar,
    /// The log was closed.
    end: Condvar,
    /// Pages written to the write-ahead log by this process since the last checkpoint, roughly.
    unsaved_pages: AtomicU64,
}

#[derive(Debug, Default)]
struct View {
    ends: BTreeMap<Slot, i64>,
    generations: BTreeMap<String, i64>,
}

#[derive(Debug, Default)]
struct Waiting {
    members: usize,
    closed: bool,
}

/// What a commit, or a look at the file, found.
#[derive(Debug, Default)]
pub(super) struct News {
    pub ends: Vec<(Slot, i64)>,
    pub generations: Vec<(String, i64)>,
}

/// A member that waits: while there is one the file is watched.
#[derive(Debug)]
pub(super) struct WaitingMember<'k>(&'k Known);

impl Drop for WaitingMember<'_> {
    fn drop(&mut self) {
        lock(&self.0.waiting).members -= 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            view: Mutex::default(),
            changed: watch::Sender::new(()),
            waiting: Mutex::default(),
            wake: Condvar::new(),
            end: Condvar::new(),
            unsaved_pages: AtomicU64::new(0),
        }
    }

    /// Wakes whoever holds it, each time something grew.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Takes in news. Both kinds of numbers only grow, so an older look never undoes a newer one.
    pub(super) fn learn(&self, news: News) {
        let mut grown = false;
        let mut view = lock(&self.view);
        for (slot, next) in news.ends {
            let known = view.ends.entry(slot).or_default();
            grown |= next > *known;
            *known = next.max(*known);
        }
        for (name, generation) in news.generations {
            let known = view.generations.entry(name).or_default();
            grown |= generation > *known;
            *known = generation.max(*known);
        }
        drop(view);
        if grown {
            self.changed.send_replace(());
        }
    }

    /// Looks at the file if another connection changed it since `seen`, which is this connection's own.
    pub(super) fn refresh(&self, connection: &Connection, seen: &mut Option<i64>) -> Result<bool, SqlError> {
        let version: i64 =
            connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if *seen == Some(version) {
            return Ok(false);
        }
        let mut news = News::default();
        let mut ends = connection.prepare_cached("SELECT partition, next FROM ends WHERE partition > 0")?;
        for row in ends.query_map([], |row| Ok((Slot(row.get(0)?), row.get(1)?)))? {
            news.ends.push(row?);
        }
        let mut generations = connection.prepare_cached("SELECT name, generation FROM generations")?;
        for row in generations.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            news.generations.push(row?);
        }
        self.learn(news);
        *seen = Some(version);
        Ok(true)
    }

    /// Those of the places whose partition reaches further.
    pub(super) fn reaching_past(&self, places: &[(Slot, i64)]) -> Vec<(Slot, i64)> {
        let view = lock(&self.view);
        let reaches = |(slot, next): &&(Slot, i64)| view.ends.get(slot).is_some_and(|end| end > next);
        places.iter().filter(reaches).copied().collect()
    }

    /// Whether any of the places has something behind it.
    pub(super) fn has_past(&self, mut places: impl Iterator<Item = (Slot, i64)>) -> bool {
        let view = lock(&self.view);
        places.any(|(slot, next)| view.ends.get(&slot).is_some_and(|end| *end > next))
    }

    /// The generation of a group; zero where nobody ever joined.
    pub(super) fn generation(&self, name: &str) -> i64 {
        lock(&self.view).generations.get(name).copied().unwrap_or_default()
    }

    /// Has the file watched until the answer is dropped.
    pub(super) fn wait(&self) -> WaitingMember<'_> {
        lock(&self.waiting).members += 1;
        self.wake.notify_one();
        WaitingMember(self)
    }

    /// Blocks until a member waits. `false`: the log was closed.
    pub(super) fn await_waiting(&self) -> bool {
        let waiting = lock(&self.waiting);
        let idle = |w: &mut Waiting| w.members == 0 && !w.closed;
        let waiting = self.wake.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
        !waiting.closed
    }

    /// Blocks until the log was closed, or for that long. `false`: it was closed.
    pub(super) fn rest(&self, time: Duration) -> bool {
        let waiting = lock(&self.waiting);
        let open = |w: &mut Waiting| !w.closed;
        let (waiting, _) =
            self.end.wait_timeout_while(waiting, time, open).unwrap_or_else(PoisonError::into_inner);
        !waiting.closed
    }

    /// Ends the threads that watch the file.
    pub(super) fn close(&self) {
        lock(&self.waiting).closed = true;
        self.wake.notify_all();
        self.end.notify_all();
    }

    /// Notes that about so many pages wait for a checkpoint.
    pub(super) fn wrote(&self, pages: u64) {
        self.unsaved_pages.fetch_add(pages, Ordering::Relaxed);
    }

    /// Whether so many wait; then they count as taken care of.
    pub(super) fn take_unsaved(&self, at_least: u64) -> bool {
        self.unsaved_pages.load(Ordering::Relaxed) >= at_least
            && self.unsaved_pages.swap(0, Ordering::Relaxed) >= at_least
    }
}
