//! Reading without being a member: ranges, extents, times.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientConfig, Offset as KafkaOffset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    metadata::Metadata,
    types::RDKafkaErrorCode as Code,
};
use runtime::Clock;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{
    config::{KafkaConfig, ToTracing},
    error::{code, log_error},
    record::stored,
};
use crate::port::{Extent, LogError, Offset, Stored, TopicPartition};

/// How many scans go on at once without disturbing each other.
const READERS: usize = 4;
/// How long a question to the broker may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(10);
/// How long one look for records waits.
const SLICE: Duration = Duration::from_millis(100);

impl ConsumerContext for ToTracing {}

/// A consumer that assigns partitions to itself.
pub(super) fn consumer(config: &ClientConfig) -> Result<BaseConsumer<ToTracing>, LogError> {
    BaseConsumer::from_config_and_context(config, ToTracing).map_err(|e| log_error("making a consumer", &e))
}

/// Runs a call that blocks, off the runtime's own threads.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or_else(|e| Err(LogError::Unreachable(format!("a thread of the Kafka client ended: {e}"))))
}

/// Lets go of a client on a thread of its own: closing one takes a tenth of a second and more.
pub(super) fn discard<T: Send + 'static>(client: T) {
    // Where there is no thread for it, it is closed here and now.
    drop(std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(client)));
}

/// Asks where partitions begin and end, as seen by a reader of committed or of all records.
#[derive(Clone)]
pub(super) struct View {
    config: Arc<KafkaConfig>,
    clock: Arc<dyn Clock>,
    consumer: Arc<BaseConsumer<ToTracing>>,
}

impl View {
    /// What the broker says of a topic. Blocks.
    pub(super) fn metadata(&self, topic: &str, wait: Duration) -> Result<Metadata, LogError> {
        let metadata = self.consumer.fetch_metadata(Some(topic), wait);
        drain(&self.consumer);
        metadata.map_err(|e| log_error("asking for topics", &e))
    }

    /// Blocks.
    pub(super) fn extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.extent_of(&self.config.topic(at.topic), at.partition)
    }

    /// The same for a topic of any name.
    pub(super) fn extent_of(&self, topic: &str, partition: i32) -> Result<Extent, LogError> {
        self.patiently(|| {
            let (start, end) = self
                .consumer
                .fetch_watermarks(topic, partition, ANSWER)
                .map_err(|e| log_error(&format!("asking for the extent of {topic}-{partition}"), &e))?;
            Ok(Extent { start: Offset(start), end: Offset(end) })
        })
    }

    /// Asks again while a partition changes its leader, or gets its first one.
    fn patiently<T>(&self, ask: impl Fn() -> Result<T, LogError>) -> Result<T, LogError> {
        let deadline = self.clock.monotonic() + ANSWER;
        loop {
            let answer = ask();
            drain(&self.consumer);
            match answer {
                Err(LogError::Unreachable(why)) if self.clock.monotonic() < deadline => {
                    tracing::debug!(why, "asking again");
                    std::thread::sleep(PAUSE);
                }
                answer => return answer,
            }
        }
    }

    /// The first place whose record, marker or aborted record is not older. Blocks.
    pub(super) fn place_at(&self, at: TopicPartition, millis: i64) -> Result<Option<Offset>, LogError> {
        let doing = |e| log_error(&format!("asking {at} for the time {millis} ms"), &e);
        self.patiently(|| {
            let mut asked = TopicPartitionList::new();
            let time = KafkaOffset::Offset(millis);
            asked.add_partition_offset(&self.config.topic(at.topic), at.partition, time).map_err(doing)?;
            let answer = self.consumer.offsets_for_times(asked, ANSWER).map_err(doing)?;
            let elements = answer.elements();
            let Some(place) = elements.first() else { return Ok(None) };
            place.error().map_err(doing)?;
            match place.offset() {
                KafkaOffset::Offset(offset) => Ok(Some(Offset(offset))),
                _ => Ok(None),
            }
        })
    }
}

/// What a reader of committed records sees, and what a reader of all records sees.
#[derive(Clone)]
pub(super) struct Views {
    pub(super) committed: View,
    pub(super) all: View,
}

impl Views {
    pub(super) fn new(config: &Arc<KafkaConfig>, clock: &Arc<dyn Clock>) -> Result<Self, LogError> {
        let view = |client: &ClientConfig| -> Result<View, LogError> {
            Ok(View { config: config.clone(), clock: clock.clone(), consumer: Arc::new(consumer(client)?) })
        };
        Ok(Self { committed: view(&config.committed())?, all: view(&config.uncommitted())? })
    }
}

/// A consumer without a group is never polled by itself; what the client has to say waits in its queue.
fn drain<C: ConsumerContext>(consumer: &BaseConsumer<C>) {
    while consumer.poll(Duration::ZERO).is_some() {}
}

/// A few consumers that read ranges. Each stays where its last range ended, so that a scan in batches is one
/// stream.
pub(super) struct Readers {
    readers: Vec<Arc<Mutex<Reader>>>,
}

impl Readers {
    pub(super) fn new(config: &Arc<KafkaConfig>, clock: &Arc<dyn Clock>, views: &Views) -> Self {
        let blanks = Arc::new(Blanks::default());
        let reader = || Reader {
            config: config.clone(),
            clock: clock.clone(),
            views: views.clone(),
            blanks: blanks.clone(),
            consumer: None,
            stands: None,
            carried: None,
            used: Duration::ZERO,
        };
        Self { readers: (0..READERS).map(|_| Arc::new(Mutex::new(reader()))).collect() }
    }

    /// The reader that stands there, else the one that was idle longest, else whichever is free first.
    async fn reader(&self, at: TopicPartition, from: Offset) -> OwnedMutexGuard<Reader> {
        let mut idle: Option<OwnedMutexGuard<Reader>> = None;
        for reader in &self.readers {
            let Ok(free) = reader.clone().try_lock_owned() else { continue };
            if free.stands == Some((at, from)) {
                return free;
            }
            if idle.as_ref().is_none_or(|i| free.used < i.used) {
                idle = Some(free);
            }
        }
        if let Some(idle) = idle {
            return idle;
        }
        let turn = usize::try_from(at.partition).unwrap_or(0) % self.readers.len();
        self.readers[turn].clone().lock_owned().await
    }

    pub(super) async fn read(
        &self,
        at: TopicPartition,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<Stored>, LogError> {
        let mut reader = self.reader(at, from).await;
        blocking(move || {
            let read = reader.read(at, from, limit);
            if read.is_err() {
                reader.rest();
            }
            reader.used = reader.clock.monotonic();
            read
        })
        .await
    }
}

/// Behind its last record, a partition may end with markers, which are never handed out. Where that was seen
/// once, the next look need not wait for it again.
#[derive(Default)]
struct Blanks(StdMutex<BTreeMap<TopicPartition, (Offset, Offset)>>);

impl Blanks {
    fn past(&self, at: TopicPartition, from: Offset) -> Offset {
        let blanks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match blanks.get(&at) {
            Some((begin, end)) if (*begin..*end).contains(&from) => *end,
            _ => from,
        }
    }

    fn note(&self, at: TopicPartition, begin: Offset, end: Offset) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(at, (begin, end));
    }
}

struct Reader {
    config: Arc<KafkaConfig>,
    clock: Arc<dyn Clock>,
    views: Views,
    blanks: Arc<Blanks>,
    /// Made when it is first needed.
    consumer: Option<BaseConsumer<ToTracing>>,
    /// Which record is handed out next.
    stands: Option<(TopicPartition, Offset)>,
    /// It, where it was fetched already.
    carried: Option<Stored>,
    /// When it was last used.
    used: Duration,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            discard(consumer);
        }
    }
}

impl Reader {
    fn read(&mut self, at: TopicPartition, from: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        let mut records = Vec::new();
        if limit == 0 {
            return Ok(records);
        }
        let mut next = from;
        // All below this that is to be seen comes before the next sign of the end.
        let mut end_before = None;
        if self.stands != Some((at, from)) {
            let extent = self.views.committed.extent(at)?;
            // Above the end there may be records that are not committed yet.
            if from < extent.start || (from > extent.end && from > self.views.all.extent(at)?.end) {
                return Err(LogError::OutOfRange(format!(
                    "{at} holds {} to {}, and {from} is outside",
                    extent.start, extent.end
                )));
            }
            if self.blanks.past(at, from) >= extent.end {
                return Ok(records);
            }
            self.stand(at, from)?;
            end_before = Some(extent.end);
        }
        let mut deadline = self.clock.monotonic() + ANSWER;
        loop {
            match self.next(at)? {
                Next::Record(record) => {
                    // Of a commit that came after this call: it is seen as a whole later.
                    let later = end_before.is_some_and(|end| record.offset >= end);
                    if later {
                        self.carried = Some(record);
                    } else {
                        next = record.offset.next();
                        records.push(record);
                    }
                    if end_before == Some(next) {
                        self.rest();
                        return Ok(records);
                    }
                    if later || records.len() == limit {
                        self.stands = Some((at, next));
                        return Ok(records);
                    }
                    deadline = self.clock.monotonic() + ANSWER;
                }
                Next::End => {
                    // A sign of the end that was given before this call asked for the end may be outdated.
                    let end = match end_before {
                        Some(end) => end,
                        None => self.views.committed.extent(at)?.end,
                    };
                    if end_before.is_some() || next >= end {
                        self.blanks.note(at, next, end.max(next));
                        self.rest();
                        return Ok(records);
                    }
                    self.stand(at, next)?;
                    end_before = Some(end);
                    deadline = self.clock.monotonic() + ANSWER;
                }
                Next::Nothing if self.clock.monotonic() > deadline => {
                    return Err(LogError::Unreachable(format!(
                        "reading {at} from {next}: no answer in {ANSWER:?}"
                    )));
                }
                Next::Nothing => {}
            }
        }
    }

    fn next(&mut self, at: TopicPartition) -> Result<Next, LogError> {
        if let Some(record) = self.carried.take() {
            return Ok(Next::Record(record));
        }
        let Some(consumer) = &self.consumer else { return Ok(Next::Nothing) };
        match consumer.poll(SLICE) {
            Some(Ok(message)) => Ok(match stored(&self.config, &message) {
                Some(record) if record.at == at => Next::Record(record),
                _ => Next::Nothing,
            }),
            Some(Err(KafkaError::PartitionEOF(_))) => Ok(Next::End),
            Some(Err(error)) => match code(&error) {
                Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) => {
                    tracing::warn!(%error, %at, "reading");
                    Ok(Next::Nothing)
                }
                _ => Err(log_error(&format!("reading {at}"), &error)),
            },
            None => Ok(Next::Nothing),
        }
    }

    /// Reads on from there; what was fetched before is dropped.
    fn stand(&mut self, at: TopicPartition, from: Offset) -> Result<(), LogError> {
        self.stands = None;
        self.carried = None;
        let consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => consumer_of(&self.config)?,
        };
        let consumer = self.consumer.insert(consumer);
        let topic = self.config.topic(at.topic);
        let doing = |e| log_error(&format!("reading {at} from {from}"), &e);
        // Else the client asks for a topic that is new to it only when it comes round to that, a second later.
        consumer.fetch_metadata(Some(&topic), ANSWER).map_err(doing)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, at.partition, KafkaOffset::Offset(from.0))
            .and_then(|()| consumer.assign(&list))
            .map_err(doing)
    }

    /// Fetches nothing any more.
    fn rest(&mut self) {
        self.stands = None;
        self.carried = None;
        if let Some(consumer) = &self.consumer {
            if let Err(error) = consumer.unassign() {
                tracing::warn!(%error, "a reader");
            }
            drain(consumer);
        }
    }
}

fn consumer_of(config: &KafkaConfig) -> Result<BaseConsumer<ToTracing>, LogError> {
    consumer(&config.reader())
}

enum Next {
    Record(Stored),
    End,
    Nothing,
}
