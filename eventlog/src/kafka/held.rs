//! What a member holds, and from where it reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata},
};

use super::{config::KafkaConfig, error::log_error};
use crate::port::{LogError, Offset, TopicPartition};

/// Where reading of a partition goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At the committed offset, which has to be asked for.
    Committed,
    /// At the first record there is.
    Start,
    At(Offset),
}

/// What a member holds.
pub(super) struct Held {
    pub(super) places: BTreeMap<TopicPartition, Place>,
    pub(super) paused: BTreeSet<TopicPartition>,
    pub(super) generation: ConsumerGroupMetadata,
    /// Whether the consumer reads from these places.
    pub(super) placed: bool,
}

impl Held {
    /// These, in this generation of the group: to be read from the committed offsets on, and not read yet.
    pub(super) fn new(dealt: &[TopicPartition], generation: ConsumerGroupMetadata) -> Self {
        Self {
            places: dealt.iter().map(|p| (*p, Place::Committed)).collect(),
            paused: BTreeSet::new(),
            generation,
            placed: false,
        }
    }

    /// Those that are to be read, and whose committed offset has to be asked for first.
    pub(super) fn open(&self) -> Vec<TopicPartition> {
        self.read().filter(|(_, place)| *place == Place::Committed).map(|(p, _)| p).collect()
    }

    /// What the consumer is to read, and from where.
    pub(super) fn list(&self, config: &KafkaConfig) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::new();
        for (p, place) in self.read() {
            let offset = match place {
                Place::At(offset) => KafkaOffset::Offset(offset.0),
                Place::Start | Place::Committed => KafkaOffset::Beginning,
            };
            list.add_partition_offset(&config.topic(p.topic), p.partition, offset)
                .map_err(|e| log_error("reading", &e))?;
        }
        Ok(list)
    }

    fn read(&self) -> impl Iterator<Item = (TopicPartition, Place)> {
        let all = self.places.iter().map(|(p, place)| (*p, *place));
        all.filter(|(p, _)| !self.paused.contains(p))
    }
}

/// The committed offsets of a consumer's group; absent where there is none.
///
/// # Errors
/// [`LogError::Unreachable`] where there is no answer in time: the broker is gone, or a transaction that would change one of
/// them is still open.
pub(super) fn committed<C: ConsumerContext>(
    config: &KafkaConfig,
    consumer: &BaseConsumer<C>,
    of: &[TopicPartition],
    wait: Duration,
) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
    const DOING: &str = "asking for committed offsets";
    let mut asked = TopicPartitionList::with_capacity(of.len());
    for p in of {
        asked.add_partition(&config.topic(p.topic), p.partition);
    }
    let answer = consumer.committed_offsets(asked, wait).map_err(|e| log_error(DOING, &e))?;
    let mut committed = BTreeMap::new();
    for e in answer.elements() {
        // A pending one must not pass for one that was never committed.
        e.error().map_err(|error| log_error(DOING, &error))?;
        let Some(topic) = config.topic_of(e.topic()) else { continue };
        match e.offset() {
            KafkaOffset::Offset(offset) => {
                committed.insert(TopicPartition::new(topic, e.partition()), Offset(offset));
            }
            KafkaOffset::Invalid => {}
            other => {
                return Err(LogError::Refused(format!(
                    "{DOING}: {topic}-{} stands at {other:?}",
                    e.partition()
                )));
            }
        }
    }
    Ok(committed)
}
