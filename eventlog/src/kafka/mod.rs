//! The log on Apache Kafka or Redpanda.
//!
//! | port | Kafka |
//! |---|---|
//! | a topic | a topic, with a prefix: several logs share a broker |
//! | the manifest | the first record of the one-partition topic `manifest` |
//! | append | an idempotent producer, `acks=all` |
//! | a member | a consumer of a classic group (range, eager) and a transactional producer, on one thread |
//! | commit | a transaction: records, and offsets checked against the generation that dealt out the partitions |
//! | committed only | `read_committed`; an extent ends at the last stable offset |
//!
//! - **Remembers** nothing but what stands at the broker. Handles and members can be dropped at any moment.
//! - **When a member dies**, its partitions are dealt out after its session. Whoever gets its first partition takes over
//!   its transactional id, which ends at once what it left open; so does whoever finds offsets pending. Else
//!   the broker ends it after ten seconds and one sweep.
//! - **When an answer is lost**, the transactional id is taken over again before committed offsets are read:
//!   they then tell how it ended.
//!
//! The broker tells of a commit before readers see it. One handle sees what its own members committed; another
//! asks for the settled extent.

mod append;
mod config;
mod error;
mod held;
mod member;
mod producer;
mod read;
mod rebalance;
mod record;
mod topics;
mod transaction;
mod worker;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rdkafka::consumer::BaseConsumer;
use runtime::{Chance, Clock};
use schemas::Timestamp;

pub use self::config::KafkaConfig;
use self::{
    append::Appender,
    config::ToTracing,
    held::committed,
    member::KafkaMember,
    read::{Readers, Views, blocking, consumer, discard},
};
use crate::port::{
    Append, Expected, Extent, Group, Log, LogError, Manifest, Member, Offset, Stored, TopicPartition, Written,
};

/// How long an extent waits for what this handle's own members committed.
const OWN: Duration = Duration::from_secs(2);
/// How long a settled extent waits for a transaction of somebody else. The program's own are ended by the
/// broker long before.
const OPEN: Duration = Duration::from_secs(120);
/// How long a question for a group's offsets waits.
const OFFSETS: Duration = Duration::from_secs(30);
/// Between two looks, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// A log on Kafka.
pub struct KafkaLog {
    shared: Arc<Shared>,
    views: Views,
    readers: Readers,
    appender: Appender,
    /// One for each group that was asked about.
    onlookers: Mutex<BTreeMap<String, Arc<BaseConsumer<ToTracing>>>>,
}

/// What a handle shares with its members.
pub(crate) struct Shared {
    config: Arc<KafkaConfig>,
    manifest: Manifest,
    clock: Arc<dyn Clock>,
    /// Behind the last record that a member of this handle committed, by partition, until it was seen.
    committed: Mutex<BTreeMap<TopicPartition, Offset>>,
}

impl Shared {
    /// Notes what was committed, so that this handle's readers wait for it.
    fn note_visible(&self, records: &[Append], places: &[Offset]) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        for (append, place) in records.iter().zip(places) {
            let end = committed.entry(append.to).or_insert(Offset::ZERO);
            *end = (*end).max(place.next());
        }
    }

    fn note_seen(&self, at: TopicPartition, end: Offset) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        if committed.get(&at).is_some_and(|own| *own <= end) {
            committed.remove(&at);
        }
    }

    fn own_end(&self, at: TopicPartition) -> Offset {
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        committed.get(&at).copied().unwrap_or(Offset::ZERO)
    }
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog")
            .field("config", &self.shared.config)
            .field("log_id", &self.shared.manifest.log_id)
            .finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Opens the log at a broker, and makes it where there is none: its manifest and all its topics. Racing creators
    /// agree on one.
    ///
    /// # Errors
    /// [`LogError::Unreachable`] after some ten seconds where no broker answers. [`LogError::WrongManifest`] where it is
    /// another log than expected, its topics have other partition counts, or there are records and no manifest.
    /// [`LogError::Refused`] for settings that cannot be, and for topics that would forget records.
    pub async fn open(
        config: KafkaConfig,
        expected: &Expected,
        clock: Arc<dyn Clock>,
        chance: &Chance,
    ) -> Result<Self, LogError> {
        let (config, views) = Self::reach(config, &clock)?;
        let manifest = topics::open(&config, &views, expected, &*clock, chance).await?;
        Self::with(config, views, manifest, clock)
    }

    /// Opens the log at a broker as it stands; `None` where there is none. Makes nothing.
    ///
    /// # Errors
    /// As [`Self::open`]; [`LogError::Refused`] where a topic of the log is missing.
    pub async fn find(
        config: KafkaConfig,
        expected: &Expected,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, LogError> {
        let (config, views) = Self::reach(config, &clock)?;
        let found = topics::find(&config, &views, expected).await?;
        found.map(|manifest| Self::with(config, views, manifest, clock)).transpose()
    }

    fn reach(config: KafkaConfig, clock: &Arc<dyn Clock>) -> Result<(Arc<KafkaConfig>, Views), LogError> {
        config.check()?;
        let config = Arc::new(config);
        let views = Views::new(&config, clock)?;
        Ok((config, views))
    }

    fn with(
        config: Arc<KafkaConfig>,
        views: Views,
        manifest: Manifest,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LogError> {
        let readers = Readers::new(&config, &clock, &views);
        let appender = Appender::new(&config)?;
        let shared = Arc::new(Shared { config, manifest, clock, committed: Mutex::default() });
        Ok(Self { shared, views, readers, appender, onlookers: Mutex::default() })
    }

    /// The extent once it ends at `end` or later, or as it is when time is up.
    async fn extent_until(
        &self,
        at: TopicPartition,
        end: Offset,
        patience: Duration,
    ) -> Result<Extent, LogError> {
        let deadline = self.shared.clock.monotonic() + patience;
        let mut pause = PAUSES.0;
        loop {
            let views = self.views.clone();
            let extent = blocking(move || views.committed.extent(at)).await?;
            self.shared.note_seen(at, extent.end);
            if extent.end >= end || self.shared.clock.monotonic() > deadline {
                return Ok(extent);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn onlooker(&self, group: &str) -> Result<Arc<BaseConsumer<ToTracing>>, LogError> {
        let mut onlookers = self.onlookers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = onlookers.get(group) {
            return Ok(known.clone());
        }
        let new = Arc::new(consumer(&self.shared.config.onlooker(group))?);
        onlookers.insert(group.to_owned(), new.clone());
        Ok(new)
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        discard(std::mem::take(&mut self.onlookers));
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn manifest(&self) -> &Manifest {
        &self.shared.manifest
    }

    async fn append(&self, records: Vec<Append>) -> Written<Vec<Offset>> {
        if let Err(error) = record::check(&self.shared.manifest, &records) {
            return Written::NotDone(error);
        }
        self.appender.append(&self.shared.config, &records).await
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        if group.topics.is_empty() {
            return Err(LogError::Refused(format!("group {} is over no topic", group.name)));
        }
        Ok(Box::new(KafkaMember::join(&self.shared, group)?))
    }

    async fn read(&self, at: TopicPartition, from: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        self.shared.manifest.require(at)?;
        let own = self.shared.own_end(at);
        if from < own {
            self.extent_until(at, own, OWN).await?;
        }
        self.readers.read(at, from, limit).await
    }

    async fn extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.shared.manifest.require(at)?;
        self.extent_until(at, self.shared.own_end(at), OWN).await
    }

    async fn settled_extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.shared.manifest.require(at)?;
        let views = self.views.clone();
        let all = blocking(move || views.all.extent(at)).await?;
        let extent = self.extent_until(at, all.end, OPEN).await?;
        if extent.end < all.end {
            return Err(LogError::Unreachable(format!(
                "{at} ends at {} and has records up to {}: a transaction of another program is open for longer than \
                 {OPEN:?}",
                extent.end, all.end
            )));
        }
        Ok(extent)
    }

    async fn offset_at(&self, at: TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        const SCAN: usize = 100;
        let extent = self.extent(at).await?;
        // Times are kept in whole milliseconds.
        let millis = time.micros().saturating_add(999).div_euclid(1_000);
        let mut from = if millis <= 0 {
            extent.start
        } else {
            let views = self.views.clone();
            let place = blocking(move || views.committed.place_at(at, millis)).await?;
            place.map_or(extent.end, |place| place.max(extent.start))
        };
        // Markers and aborted records have a time as well.
        while from < extent.end {
            let records = self.read(at, from, SCAN).await?;
            let Some(last) = records.last() else { break };
            if let Some(found) = records.iter().find(|s| s.record.timestamp >= time) {
                return Ok(found.offset);
            }
            from = last.offset.next();
        }
        Ok(extent.end)
    }

    async fn committed(
        &self,
        group: &str,
        of: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        for at in of {
            self.shared.manifest.require(*at)?;
        }
        let (onlooker, of) = (self.onlooker(group)?, of.to_vec());
        let (config, clock) = (self.shared.config.clone(), self.shared.clock.clone());
        blocking(move || {
            let deadline = clock.monotonic() + OFFSETS;
            loop {
                match committed(&config, &onlooker, &of, Duration::from_secs(1)) {
                    // Pending, as long as a transaction is open.
                    Err(LogError::Unreachable(_)) if clock.monotonic() < deadline => {}
                    answer => return answer,
                }
                while onlooker.poll(Duration::ZERO).is_some() {}
            }
        })
        .await
    }
}
