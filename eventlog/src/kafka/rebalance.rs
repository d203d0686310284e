//! What the group coordinator deals out, as events in the order in which they came.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use schemas::topics::Topic;

use super::config::{KafkaConfig, ToTracing};
use crate::port::{LogError, TopicPartition};

/// A change of what a member holds.
pub(super) enum Change {
    /// It holds these, in this generation of the group.
    Assigned(Vec<TopicPartition>, ConsumerGroupMetadata),
    /// It holds nothing.
    Revoked,
    /// It was dealt what it cannot work with.
    Wrong(LogError),
}

/// Takes note of changes while the consumer is polled. Nothing is fetched before the member says from where.
pub(super) struct Rebalances {
    config: std::sync::Arc<KafkaConfig>,
    changes: Mutex<VecDeque<Change>>,
}

impl Rebalances {
    pub(super) fn new(config: std::sync::Arc<KafkaConfig>) -> Self {
        Self { config, changes: Mutex::default() }
    }

    /// The oldest change that was not taken yet.
    pub(super) fn take(&self) -> Option<Change> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn push(&self, change: Change) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> Change {
        // Taken now, kept for as long as the assignment: a commit is checked against the generation that gave
        // these partitions, not against a later one that the member has not been told of.
        let Some(generation) = consumer.group_metadata() else {
            return Change::Wrong(LogError::Unreachable("the group was left while it was joined".into()));
        };
        let mut dealt = Vec::with_capacity(list.count());
        for e in list.elements() {
            let Some(topic) = self.config.topic_of(e.topic()) else {
                return Change::Wrong(LogError::Refused(format!(
                    "the group dealt out topic {}, which is not of this log",
                    e.topic()
                )));
            };
            dealt.push(TopicPartition::new(topic, e.partition()));
        }
        dealt.sort_unstable();
        Change::Assigned(dealt, generation)
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        ToTracing.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ToTracing.error(error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.push(self.assigned(consumer, list));
            // Accepted, and not fetched from yet.
            consumer.assign(&TopicPartitionList::new())
        } else {
            self.push(Change::Revoked);
            consumer.unassign()
        };
        if let Err(error) = done {
            tracing::warn!(%error, "a change of the group was not accepted");
        }
    }
}

/// Whether who holds a partition number of a topic holds it of every topic with the same count.
pub(super) fn agree(dealt: &[TopicPartition], topics: &[Topic], count: impl Fn(Topic) -> i32) -> bool {
    let mut numbers: BTreeMap<i32, BTreeSet<BTreeSet<i32>>> = BTreeMap::new();
    for topic in topics {
        let of_topic = dealt.iter().filter(|p| p.topic == *topic).map(|p| p.partition).collect();
        numbers.entry(count(*topic)).or_default().insert(of_topic);
    }
    numbers.values().all(|sets| sets.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_agree_within_topics_of_one_count() {
        let at = TopicPartition::new;
        let count = |t: Topic| if t == Topic::Intents { 2 } else { 4 };
        let topics = [Topic::Fills, Topic::Orders, Topic::Intents];
        let fair = [at(Topic::Fills, 1), at(Topic::Orders, 1), at(Topic::Intents, 0)];
        assert!(agree(&fair, &topics, count));
        assert!(agree(&[], &topics, count));
        assert!(agree(&[at(Topic::Intents, 0)], &topics, count));
        assert!(!agree(&[at(Topic::Fills, 1)], &topics, count));
        assert!(!agree(&[at(Topic::Fills, 1), at(Topic::Orders, 2)], &topics, count));
    }
}
