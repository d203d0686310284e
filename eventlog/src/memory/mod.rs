//! The log in memory: for tests, and for the whole system in one thread under virtual time.
//!
//! - **Remembers** what its clones share, for as long as one of them lives.
//! - **Repeats exactly**: no thread, no wall clock, no order but that of the calls. Time comes from
//!   [`runtime::Clock`]; every call yields once, so that who else is ready runs in between.
//! - **Fails on request**: [`MemoryLog::faults`] loses answers, [`MemoryLog::rebalance`] takes everybody's
//!   partitions away, [`MemoryLog::evict`] makes a zombie of a member that is alive. With
//!   [`MemoryOptions::markers`] offsets skip behind each commit, as they do in Kafka.

mod member;
mod state;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use runtime::{Chance, Clock};
use schemas::Timestamp;
use tokio::sync::Notify;

use self::{member::MemoryMember, state::State};
use crate::{
    fault::{Faults, Lost},
    port::{
        Append, Expected, Extent, Group, Log, LogError, Manifest, Member, Offset, Stored, TopicPartition,
        Written,
    },
};

/// How a log in memory behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryOptions {
    /// Whether each commit leaves a marker behind its records in every partition, as Kafka's transactions
    /// do: offsets then skip.
    pub markers: bool,
}

/// A log in memory. Clones are handles on the same log.
#[derive(Clone)]
pub struct MemoryLog(Arc<Shared>);

/// What all handles and members share.
struct Shared {
    manifest: Manifest,
    options: MemoryOptions,
    clock: Arc<dyn Clock>,
    faults: Faults,
    state: Mutex<State>,
    /// How many changes there were that a waiting member might want to see.
    changes: AtomicU64,
    /// Wakes the waiting members, in the order in which they began to wait: a `watch` would not (it shards its
    /// receivers at random), and no run would repeat.
    changed: Notify,
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").field("log_id", &self.0.manifest.log_id).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }
}

/// The answer of a call that never arrived.
fn answer_lost() -> LogError {
    LogError::Unreachable("the answer was lost".into())
}

impl MemoryLog {
    /// A new, empty log.
    ///
    /// # Errors
    /// [`LogError::WrongManifest`] where a certain log is expected: a new one is never that.
    pub fn create(
        expected: &Expected,
        options: MemoryOptions,
        clock: Arc<dyn Clock>,
        chance: &Chance,
    ) -> Result<Self, LogError> {
        let manifest = Manifest::create(expected, &*clock, chance)?;
        Ok(Self(Arc::new(Shared {
            manifest,
            options,
            clock,
            faults: Faults::default(),
            state: Mutex::default(),
            changes: AtomicU64::new(0),
            changed: Notify::new(),
        })))
    }

    /// Another handle on this log, for somebody who expects a certain one.
    ///
    /// # Errors
    /// [`LogError::WrongManifest`] where it is another.
    pub fn reopen(&self, expected: &Expected) -> Result<Self, LogError> {
        self.0.manifest.check(expected)?;
        Ok(self.clone())
    }

    /// The faults that wait to happen: shared by all handles.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// Takes all partitions away from all members of a group, at once: what they had staged is fenced, and
    /// their next polls tell them and deal out anew.
    pub fn rebalance(&self, group: &str) {
        self.0.lock().group(group).release_all();
        self.0.notify();
    }

    /// Ends the session of the member that holds a partition, though it lives: until its next poll it is a
    /// zombie, and others may take over. Whether there was one.
    pub fn evict(&self, group: &str, owner_of: TopicPartition) -> bool {
        let evicted = self.0.lock().group(group).evict_owner(owner_of);
        self.0.notify();
        evicted
    }

    /// How often something changed that a waiting member might want to see: whoever drives several processes by
    /// hand learns from it whether one of them may have woken the others.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Relaxed)
    }

    /// Every partition with everything in it: two runs of one seed have equal ones.
    pub fn contents(&self) -> BTreeMap<TopicPartition, Vec<Stored>> {
        self.0.lock().contents()
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    async fn append(&self, records: Vec<Append>) -> Written<Vec<Offset>> {
        tokio::task::yield_now().await;
        if let Some(refused) = records.iter().find_map(|r| self.0.manifest.require(r.to).err()) {
            return Written::NotDone(refused);
        }
        let lost = self.0.faults.take_append();
        if lost == Some(Lost::Before) {
            return Written::Unknown(answer_lost());
        }
        let offsets = self.0.lock().append(records, false);
        self.0.notify();
        if lost.is_some() { Written::Unknown(answer_lost()) } else { Written::Done(offsets) }
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        tokio::task::yield_now().await;
        Ok(Box::new(MemoryMember::new(self.0.clone(), group)))
    }

    async fn read(&self, at: TopicPartition, from: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        tokio::task::yield_now().await;
        self.0.manifest.require(at)?;
        self.0.lock().read(at, from, limit)
    }

    async fn extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        tokio::task::yield_now().await;
        self.0.manifest.require(at)?;
        Ok(Extent { start: Offset::ZERO, end: self.0.lock().end(at) })
    }

    /// Commits take no time here: nothing is ever open.
    async fn settled_extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.extent(at).await
    }

    async fn offset_at(&self, at: TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        tokio::task::yield_now().await;
        self.0.manifest.require(at)?;
        Ok(self.0.lock().offset_at(at, time))
    }

    async fn committed(
        &self,
        group: &str,
        of: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        tokio::task::yield_now().await;
        let mut state = self.0.lock();
        let group = state.group(group);
        Ok(of.iter().filter_map(|p| Some((*p, group.committed(*p)?))).collect())
    }
}

#[cfg(test)]
mod tests;
