//! How to reach a broker, and how each kind of client is set up for it.

use std::{collections::BTreeMap, fmt, time::Duration};

use rdkafka::{ClientConfig, ClientContext, config::RDKafkaLogLevel, error::KafkaError};
use schemas::topics::Topic;

use crate::{
    letter::{LONGEST_KEY, LONGEST_REASON, LONGEST_VALUE},
    port::{Group, LogError, TopicPartition},
};

/// The transaction of a producer that died is ended by the broker after this.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// An append that is not answered by then is unknown.
pub(super) const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A request that is not answered by then is sent again over a new connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// The largest record. Snapshots of state are far larger than a decision.
pub(super) const MAX_RECORD_BYTES: usize = 8 << 20;
// A dead letter holds a key, and has it as its own: as text, up to three bytes for each that is none.
const _: () = assert!(LONGEST_VALUE + 4 * LONGEST_KEY + LONGEST_REASON + (64 << 10) <= MAX_RECORD_BYTES);

/// Where the broker is, and how this log stands in it.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Stands before the name of each topic, group and transaction, so that several logs share a broker.
    /// Empty for one log alone. Letters, digits, `.`, `_` and `-`.
    pub prefix: String,
    /// Further librdkafka properties, such as `security.protocol` and `sasl.password`. Those that the log's
    /// promises rest on cannot be set. Values are never printed.
    pub properties: BTreeMap<String, String>,
    /// Copies of each partition; the broker's default where it is not given. Counts when the log is created.
    pub replication: Option<u16>,
}

impl KafkaConfig {
    /// These brokers, no prefix, nothing special.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            prefix: String::new(),
            properties: BTreeMap::new(),
            replication: None,
        }
    }

    /// The same with a prefix.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// What can be seen to be wrong without asking the broker.
    pub(super) fn check(&self) -> Result<(), LogError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !self.prefix.chars().all(legal) || self.prefix.len() > 200 {
            return Err(LogError::Refused(format!(
                "the topic prefix {:?} is not made of at most 200 letters, digits, '.', '_' and '-'",
                self.prefix
            )));
        }
        match self.properties.keys().find(|key| RESERVED.contains(&key.as_str())) {
            Some(key) => Err(LogError::Refused(format!(
                "the Kafka property {key} cannot be set: what the log promises rests on it. Remove it"
            ))),
            None => Ok(()),
        }
    }

    fn client(&self) -> ClientConfig {
        let mut c = ClientConfig::new();
        c.set("client.id", "polymirror")
            .set("socket.timeout.ms", millis(REQUEST_TIMEOUT))
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            // Brokers close idle connections; that is nothing to tell.
            .set("log.connection.close", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        for (key, value) in &self.properties {
            c.set(key, value);
        }
        c.set("bootstrap.servers", &self.brokers).set("allow.auto.create.topics", "false");
        c
    }

    /// Asks, and creates topics.
    pub(super) fn admin(&self) -> ClientConfig {
        self.client()
    }

    fn consumer(&self) -> ClientConfig {
        let mut c = self.client();
        c.set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Every place is set explicitly; one that is gone is an error, never a silent jump.
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("fetch.error.backoff.ms", "100")
            // The default pauses a full second once the queue is full.
            .set("fetch.queue.backoff.ms", "10");
        c
    }

    /// Reads ranges of partitions it assigns to itself, and sees where they end.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut c = self.consumer();
        // The client assigns nothing without a group. Nobody ever joins this one, and nothing is committed for it.
        c.set("group.id", self.group("readers"))
            .set("enable.partition.eof", "true")
            // The end is told by an empty answer, which the broker holds back this long.
            .set("fetch.wait.max.ms", "10")
            .set("queued.max.messages.kbytes", "8192");
        c
    }

    /// Sees where what is committed ends.
    pub(super) fn committed(&self) -> ClientConfig {
        let mut c = self.client();
        c.set("isolation.level", "read_committed");
        c
    }

    /// Sees what is not committed yet.
    pub(super) fn uncommitted(&self) -> ClientConfig {
        let mut c = self.client();
        c.set("isolation.level", "read_uncommitted");
        c
    }

    /// Asks for the offsets of a group without being a member.
    pub(super) fn onlooker(&self, group: &str) -> ClientConfig {
        let mut c = self.consumer();
        c.set("group.id", self.group(group));
        c
    }

    /// A member of a group.
    pub(super) fn member(&self, group: &Group) -> ClientConfig {
        let mut c = self.consumer();
        let heartbeat = (group.session / 5).clamp(Duration::from_millis(50), Duration::from_secs(1));
        c.set("group.id", self.group(&group.name))
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", millis(group.session))
            // A shell that hangs loses its partitions like one that died.
            .set("max.poll.interval.ms", millis(group.session))
            .set("heartbeat.interval.ms", millis(heartbeat))
            // A partition that starts anew waits for the answer that is being held back for the others.
            .set("fetch.wait.max.ms", "50")
            .set("queued.max.messages.kbytes", "16384");
        c
    }

    /// Writes a manifest. A repeated one does no harm: the first stands.
    pub(super) fn announcer(&self) -> ClientConfig {
        let mut c = self.client();
        c.set("acks", "all").set("message.timeout.ms", millis(APPEND_TIMEOUT));
        c
    }

    fn producer(&self) -> ClientConfig {
        let mut c = self.client();
        c.set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.max.bytes", (MAX_RECORD_BYTES + (1 << 20)).to_string());
        c
    }

    /// Appends. A record that cannot be delivered stops the ones behind it.
    pub(super) fn appender(&self) -> ClientConfig {
        let mut c = self.producer();
        c.set("enable.gapless.guarantee", "true").set("message.timeout.ms", millis(APPEND_TIMEOUT));
        c
    }

    /// Commits. No message may outlive its transaction, so no timeout exceeds that of the transaction.
    pub(super) fn transactional(&self, id: &str, limit: Duration) -> ClientConfig {
        let mut c = self.producer();
        c.set("transactional.id", id)
            .set("transaction.timeout.ms", millis(TRANSACTION_TIMEOUT))
            .set("message.timeout.ms", millis(limit.min(TRANSACTION_TIMEOUT)))
            // A transaction right behind another finds the broker still ending that one, for a millisecond
            // or two, and then waits for this.
            .set("retry.backoff.ms", "5")
            .set("retry.backoff.max.ms", "200");
        c
    }

    /// The name of a topic at the broker.
    pub(super) fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }

    /// The topic of that name at the broker.
    pub(super) fn topic_of(&self, name: &str) -> Option<Topic> {
        name.strip_prefix(&self.prefix).and_then(Topic::from_name)
    }

    /// The topic that says which log this is.
    pub(super) fn manifest_topic(&self) -> String {
        format!("{}manifest", self.prefix)
    }

    fn group(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The transactional id of whoever holds `first` as its first partition in that group: whoever takes
    /// over that partition thereby ends what its predecessor left open.
    pub(super) fn transactional_id(&self, group: &str, first: TopicPartition) -> String {
        format!("{}{group}.{first}", self.prefix)
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("prefix", &self.prefix)
            .field("properties", &self.properties.keys())
            .field("replication", &self.replication)
            .finish()
    }
}

/// What a user cannot set, because the code sets it for a reason.
const RESERVED: [&str; 24] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "isolation.level",
    "log.queue",
    "max.poll.interval.ms",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "session.timeout.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

fn millis(d: Duration) -> String {
    d.as_millis().to_string()
}

/// Sends what librdkafka says to `tracing`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ToTracing;

impl ClientContext for ToTracing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, message),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, message);
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, message),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_promises_rest_on_are_refused() {
        for key in RESERVED {
            let mut config = KafkaConfig::new("localhost:9092");
            config.properties.insert(key.into(), "1".into());
            assert!(matches!(config.check(), Err(LogError::Refused(why)) if why.contains(key)));
        }
        let mut config = KafkaConfig::new("localhost:9092");
        config.properties.insert("security.protocol".into(), "SASL_SSL".into());
        assert_eq!(config.check(), Ok(()));
        assert!(KafkaConfig::new("x").with_prefix("a b").check().is_err());
    }

    #[test]
    fn secrets_are_not_printed() {
        let mut config = KafkaConfig::new("localhost:9092");
        config.properties.insert("sasl.password".into(), "hunter2".into());
        let printed = format!("{config:?}");
        assert!(printed.contains("sasl.password") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn names_carry_the_prefix() {
        let config = KafkaConfig::new("x").with_prefix("blue.");
        assert_eq!(config.topic(Topic::Fills), "blue.fills");
        assert_eq!(config.topic_of("blue.fills"), Some(Topic::Fills));
        assert_eq!(config.topic_of("fills"), None);
        let first = TopicPartition::new(Topic::Orders, 3);
        assert_eq!(config.transactional_id("decide", first), "blue.decide.orders-3");
    }
}
