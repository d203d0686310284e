//! A log that takes its time, fails when it is told to, and is watched.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use eventlog::{
    Append, Extent, Group, Log, LogError, Manifest, Member, Offset, Polled, Stored, TopicPartition, Written,
    memory::MemoryLog,
};
use schemas::{Timestamp, topics::Topic};

use super::World;

/// Records that stand in the wallets' partition of `fills` before anybody reads it.
pub const OLDER: i64 = 150;
/// Records in a read of them, and how long it takes: all of them take half as long again as a session.
const A_TIME: (usize, Duration) = (10, Duration::from_millis(200));

#[derive(Debug, Default)]
struct Seen {
    /// Reads of the older fills.
    reads: u32,
    /// Partitions that the member was told to have lost.
    lost: usize,
    /// How often each call has still to fail.
    failing: BTreeMap<&'static str, u32>,
}

/// A log that takes its time, and is watched.
#[derive(Debug, Clone)]
pub struct Slow {
    inner: MemoryLog,
    seen: Arc<Mutex<Seen>>,
}

impl Slow {
    pub fn new(world: &World) -> Self {
        Self { inner: world.log.clone(), seen: Arc::default() }
    }

    /// Each of these calls fails twice from now on.
    pub fn fail(&self, calls: &[&'static str]) {
        self.seen.lock().unwrap().failing = calls.iter().map(|call| (*call, 2)).collect();
    }

    /// Whether all of them did.
    pub fn failed(&self) -> bool {
        self.seen.lock().unwrap().failing.values().all(|left| *left == 0)
    }

    fn may_fail(&self, call: &'static str) -> Result<(), LogError> {
        match self.seen.lock().unwrap().failing.get_mut(call) {
            Some(times) if *times > 0 => {
                *times -= 1;
                Err(LogError::Unreachable(format!("{call} does not work just now")))
            }
            _ => Ok(()),
        }
    }

    /// How often the older fills were read.
    pub fn reads(&self) -> u32 {
        self.seen.lock().unwrap().reads
    }

    /// How many partitions its member was told to have lost.
    pub fn lost(&self) -> usize {
        self.seen.lock().unwrap().lost
    }
}

#[async_trait]
impl Log for Slow {
    fn manifest(&self) -> &Manifest {
        self.inner.manifest()
    }

    async fn append(&self, records: Vec<Append>) -> Written<Vec<Offset>> {
        self.inner.append(records).await
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        self.may_fail("join")?;
        Ok(Box::new(Heard { inner: self.inner.join(group).await?, log: self.clone() }))
    }

    async fn read(&self, at: TopicPartition, from: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        if at != TopicPartition::new(Topic::Fills, 0) || from >= Offset(OLDER) {
            return self.inner.read(at, from, limit).await;
        }
        self.may_fail("read")?;
        self.seen.lock().unwrap().reads += 1;
        tokio::time::sleep(A_TIME.1).await;
        self.inner.read(at, from, limit.min(A_TIME.0)).await
    }

    async fn extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.inner.extent(at).await
    }

    async fn settled_extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.may_fail(if at.topic == Topic::Fills { "end of fills" } else { "end of targets" })?;
        self.inner.settled_extent(at).await
    }

    async fn offset_at(&self, at: TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        self.may_fail("offset")?;
        self.inner.offset_at(at, time).await
    }

    async fn committed(
        &self,
        group: &str,
        of: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        self.inner.committed(group, of).await
    }
}

struct Heard {
    inner: Box<dyn Member>,
    log: Slow,
}

#[async_trait]
impl Member for Heard {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, LogError> {
        let polled = self.inner.poll(max, wait).await?;
        if let Polled::Lost(lost) = &polled {
            self.log.seen.lock().unwrap().lost += lost.len();
        }
        Ok(polled)
    }
    async fn commit(
        &mut self,
        records: Vec<Append>,
        offsets: BTreeMap<TopicPartition, Offset>,
    ) -> Written<Vec<Offset>> {
        self.inner.commit(records, offsets).await
    }
    async fn seek(&mut self, at: TopicPartition, to: Offset) -> Result<(), LogError> {
        self.log.may_fail("seek")?;
        self.inner.seek(at, to).await
    }
    async fn pause(&mut self, at: TopicPartition, paused: bool) -> Result<(), LogError> {
        self.inner.pause(at, paused).await
    }
    fn assignment(&self) -> Vec<TopicPartition> {
        self.inner.assignment()
    }
    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        self.inner.leave().await
    }
}
