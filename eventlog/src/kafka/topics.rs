//! Finding or making a log at a broker: first its manifest, then the topics as the manifest says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use rdkafka::{
    Message, Offset as KafkaOffset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    config::FromClientConfigAndContext,
    consumer::Consumer,
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use runtime::{Chance, Clock};
use schemas::topics::Topic;
use tokio::sync::oneshot;

use super::{
    config::{APPEND_TIMEOUT, KafkaConfig, MAX_RECORD_BYTES, ToTracing},
    error::log_error,
    producer::{Batch, Producer},
    read::{Views, blocking, consumer},
};
use crate::port::{Expected, LogError, Manifest, Offset, Record, TopicPartition};

/// How long to wait for a broker that does not answer at all.
const CONNECT: Duration = Duration::from_secs(8);
/// How long to wait for what a broker that answers was asked to do.
const DONE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Opens the log at a broker, and makes it where there is none.
pub(super) async fn open(
    config: &Arc<KafkaConfig>,
    views: &Views,
    expected: &Expected,
    clock: &dyn Clock,
    chance: &Chance,
) -> Result<Manifest, LogError> {
    let setup = Setup { config: config.clone(), views: views.clone() };
    let admin: AdminClient<ToTracing> = AdminClient::from_config_and_context(&config.admin(), ToTracing)
        .map_err(|e| log_error("making an admin client", &e))?;
    let name = config.manifest_topic();
    let there = match setup.partitions(&name).await? {
        None => None,
        Some(1) => setup.manifest().await?,
        Some(n) => return Err(wrong(format!("topic {name} has {n} partitions, and a manifest has one"))),
    };
    let manifest = match there {
        Some(manifest) => manifest,
        None => {
            let new = Manifest::create(expected, clock, chance)?;
            setup.refuse_orphans().await?;
            setup.create(&admin, clock, &BTreeMap::from([(name, (1, false))])).await?;
            setup.announce(&new, clock).await?;
            // Several may have announced one. The first stands.
            setup.manifest().await?.ok_or_else(|| {
                LogError::Corrupt(format!("topic {} lost its record", config.manifest_topic()))
            })?
        }
    };
    manifest.check(expected)?;
    let topics = Topic::ALL.map(|t| (config.topic(t), (manifest.partitions(t), t.is_compacted())));
    setup.create(&admin, clock, &topics.into_iter().collect()).await?;
    setup.check_retention(&admin).await?;
    Ok(manifest)
}

fn wrong(what: String) -> LogError {
    LogError::WrongManifest(what)
}

struct Setup {
    config: Arc<KafkaConfig>,
    views: Views,
}

impl Setup {
    /// How many partitions a topic has; `None` where there is no such topic.
    async fn partitions(&self, topic: &str) -> Result<Option<usize>, LogError> {
        let (views, topic, brokers) = (self.views.clone(), topic.to_owned(), self.config.brokers.clone());
        blocking(move || {
            let metadata = views.all.metadata(&topic, CONNECT).map_err(|e| match e {
                LogError::Unreachable(why) => LogError::Unreachable(format!("no Kafka broker at {brokers}: {why}")),
                other => other,
            })?;
            let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else { return Ok(None) };
            match found.error().map(Code::from) {
                None => Ok(Some(found.partitions().len())),
                Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
                // Being made, or between two leaders.
                Some(Code::LeaderNotAvailable) => Ok(Some(found.partitions().len())),
                Some(code) => Err(log_error(&format!("asking for topic {topic}"), &KafkaError::MetadataFetch(code))),
            }
        })
        .await
    }

    /// Without a manifest, records under this prefix are of a log that lost it.
    async fn refuse_orphans(&self) -> Result<(), LogError> {
        for topic in Topic::ALL {
            let name = self.config.topic(topic);
            let count = i32::try_from(self.partitions(&name).await?.unwrap_or(0)).unwrap_or(i32::MAX);
            let views = self.views.clone();
            let held = blocking(move || {
                for partition in 0..count {
                    if views.all.extent(TopicPartition::new(topic, partition))?.end > Offset::ZERO {
                        return Ok(true);
                    }
                }
                Ok(false)
            });
            if held.await? {
                let manifest = self.config.manifest_topic();
                return Err(wrong(format!("topic {name} holds records, and topic {manifest} says of no log")));
            }
        }
        Ok(())
    }

    /// Makes the topics that are missing, and returns once all are there with their counts.
    async fn create(
        &self,
        admin: &AdminClient<ToTracing>,
        clock: &dyn Clock,
        topics: &BTreeMap<String, (i32, bool)>,
    ) -> Result<(), LogError> {
        let mut missing = Vec::new();
        for (name, (count, _)) in topics {
            match self.partitions(name).await? {
                Some(n) if usize::try_from(*count) == Ok(n) => {}
                Some(n) => return Err(miscounted(name, n, *count)),
                None => missing.push(name),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        for full in [true, false] {
            let asked: Vec<_> = missing.iter().map(|name| self.new_topic(name, topics[*name], full)).collect();
            let options = AdminOptions::new().request_timeout(Some(DONE)).operation_timeout(Some(DONE));
            let answers = admin
                .create_topics(&asked, &options)
                .await
                .map_err(|e| log_error("creating topics", &e))?;
            let mut unknown_setting = false;
            for answer in answers {
                match answer {
                    Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                    // Other brokers do not know every setting of Apache Kafka's.
                    Err((_, Code::InvalidConfig)) if full => unknown_setting = true,
                    Err((name, code)) => {
                        return Err(log_error(&format!("creating topic {name}"), &KafkaError::AdminOp(code)));
                    }
                }
            }
            if !unknown_setting {
                break;
            }
        }
        let deadline = clock.monotonic() + DONE;
        for name in missing {
            let count = topics[name].0;
            loop {
                match self.partitions(name).await? {
                    Some(n) if usize::try_from(count) == Ok(n) => break,
                    // Another creator asked for another count, of another manifest.
                    Some(n) if n > 0 => return Err(miscounted(name, n, count)),
                    _ if clock.monotonic() > deadline => {
                        return Err(LogError::Unreachable(format!("topic {name} was created and does not appear")));
                    }
                    _ => tokio::time::sleep(PAUSE).await,
                }
            }
        }
        Ok(())
    }

    fn new_topic<'a>(&self, name: &'a str, (count, compacted): (i32, bool), full: bool) -> NewTopic<'a> {
        let copies = self.config.replication.map_or(-1, i32::from);
        let mut topic = NewTopic::new(name, count, TopicReplication::Fixed(copies))
            .set("cleanup.policy", if compacted { "compact" } else { "delete" })
            .set("retention.ms", "-1")
            .set("retention.bytes", "-1")
            .set("max.message.bytes", MAX_MESSAGE);
        if full {
            topic = topic
                .set("message.timestamp.type", "CreateTime")
                // A tape may be of any time.
                .set("message.timestamp.after.max.ms", "9223372036854775807");
            if copies >= 3 {
                // Else a single copy would be enough for "all".
                topic = topic.set("min.insync.replicas", "2");
            }
        }
        topic
    }

    /// The first record of the manifest topic.
    async fn manifest(&self) -> Result<Option<Manifest>, LogError> {
        let (config, topic) = (self.config.clone(), self.config.manifest_topic());
        blocking(move || {
            let doing = format!("reading topic {topic}");
            let reader = consumer(&config.reader())?;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, 0, KafkaOffset::Beginning)
                .and_then(|()| reader.assign(&list))
                .map_err(|e| log_error(&doing, &e))?;
            // In slices, so that the client's own troubles, which it gets over, are passed by.
            for _ in 0..CONNECT.as_secs() * 10 {
                match reader.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => {
                        let value = message.payload().unwrap_or_default();
                        let manifest = serde_json::from_slice(value).map_err(|e| {
                            LogError::Corrupt(format!("the first record of topic {topic} is no manifest: {e}"))
                        })?;
                        return Ok(Some(manifest));
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                    Some(Err(error)) => tracing::debug!(%error, "{doing}"),
                    None => {}
                }
            }
            Err(LogError::Unreachable(format!("{doing}: no answer in {CONNECT:?}")))
        })
        .await
    }

    /// Appends a manifest.
    async fn announce(&self, manifest: &Manifest, clock: &dyn Clock) -> Result<(), LogError> {
        let json = serde_json::to_vec(manifest).map_err(|e| LogError::Refused(format!("the manifest: {e}")))?;
        let record = Record {
            key: Some(Bytes::from_static(b"manifest")),
            value: Some(Bytes::from(json)),
            headers: Vec::new(),
            timestamp: clock.now(),
        };
        let producer = Producer::new(&self.config.appender())?;
        let (done, outcomes) = oneshot::channel();
        let batch = Batch::new(1, move |outcomes| drop(done.send(outcomes)));
        let doing = "writing the manifest";
        producer
            .send_to(&self.config.manifest_topic(), 0, &record, &batch, 0)
            .map_err(|e| log_error(doing, &e))?;
        match tokio::time::timeout(APPEND_TIMEOUT * 2, outcomes).await {
            Ok(Ok(outcomes)) => match outcomes.into_iter().next() {
                Some(Err(error)) => Err(log_error(doing, &error)),
                _ => Ok(()),
            },
            Ok(Err(_)) | Err(_) => Err(LogError::Unreachable(format!("{doing}: no answer"))),
        }
    }

    /// Refuses topics that forget: whoever made them did not know that the log is the record.
    async fn check_retention(&self, admin: &AdminClient<ToTracing>) -> Result<(), LogError> {
        let names: Vec<_> = Topic::ALL.iter().filter(|t| !t.is_compacted()).map(|t| self.config.topic(*t)).collect();
        let asked: Vec<_> = names.iter().map(|n| ResourceSpecifier::Topic(n)).collect();
        let options = AdminOptions::new().request_timeout(Some(DONE));
        let answers = match admin.describe_configs(&asked, &options).await {
            Ok(answers) => answers,
            Err(error) => return Err(log_error("asking how topics are kept", &error)),
        };
        for (name, answer) in names.iter().zip(answers) {
            let settings = match answer {
                Ok(settings) => settings,
                // Not everybody may ask that. Then whoever forbade it knows.
                Err(error) => {
                    tracing::warn!(%error, topic = %name, "cannot be asked how it is kept");
                    continue;
                }
            };
            for (key, kept) in [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")] {
                let value = settings.get(key).and_then(|e| e.value.as_deref());
                if value.is_some_and(|v| v != kept) {
                    return Err(LogError::Refused(format!(
                        "topic {name} has {key}={}, and would forget records. Set it to {kept}",
                        value.unwrap_or_default()
                    )));
                }
            }
        }
        Ok(())
    }
}

/// [`MAX_RECORD_BYTES`] and some for what stands around a record.
const MAX_MESSAGE: &str = "9437184";
const _: () = assert!(MAX_RECORD_BYTES + (1 << 20) == 9_437_184);

fn miscounted(name: &str, is: usize, should: i32) -> LogError {
    wrong(format!("topic {name} has {is} partitions, and the manifest says {should}"))
}
