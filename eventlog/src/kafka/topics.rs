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
    read::{Views, blocking, consumer, discard},
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
    let manifest = if let Some(manifest) = setup.standing().await? {
        manifest
    } else {
        let new = Manifest::create(expected, clock, chance)?;
        setup.make(&admin, &new, clock).await?
    };
    manifest.check(expected)?;
    let topics = Topic::ALL.map(|t| (config.topic(t), (manifest.partitions(t), t.is_compacted())));
    setup.create(&admin, clock, &topics.into_iter().collect()).await?;
    setup.check_retention(&admin).await?;
    discard(admin);
    Ok(manifest)
}

/// Finds the log at a broker, and makes nothing.
pub(super) async fn find(
    config: &Arc<KafkaConfig>,
    views: &Views,
    expected: &Expected,
) -> Result<Option<Manifest>, LogError> {
    let setup = Setup { config: config.clone(), views: views.clone() };
    let Some(manifest) = setup.standing().await? else {
        return match setup.orphans().await? {
            Some(orphans) => Err(setup.without_manifest(&orphans)),
            None => Ok(None),
        };
    };
    manifest.check(expected)?;
    for topic in Topic::ALL {
        let (name, count) = (config.topic(topic), manifest.partitions(topic));
        match setup.partitions(&name).await? {
            Some(n) if usize::try_from(count) == Ok(n) => {}
            Some(n) => return Err(miscounted(&name, n, count)),
            None => {
                return Err(LogError::Refused(format!(
                    "topic {name} is missing: the log was made in part. The next start makes the rest"
                )));
            }
        }
    }
    let admin: AdminClient<ToTracing> = AdminClient::from_config_and_context(&config.admin(), ToTracing)
        .map_err(|e| log_error("making an admin client", &e))?;
    setup.check_retention(&admin).await?;
    discard(admin);
    Ok(Some(manifest))
}

fn wrong(what: String) -> LogError {
    LogError::WrongManifest(what)
}

struct Setup {
    config: Arc<KafkaConfig>,
    views: Views,
}

impl Setup {
    /// The manifest that stands at the broker.
    async fn standing(&self) -> Result<Option<Manifest>, LogError> {
        let name = self.config.manifest_topic();
        match self.partitions(&name).await? {
            None => Ok(None),
            Some(1) => self.manifest().await,
            Some(n) => Err(wrong(format!("topic {name} has {n} partitions, and a manifest has one"))),
        }
    }

    fn without_manifest(&self, orphans: &str) -> LogError {
        wrong(format!(
            "topic {orphans} holds records, and topic {} says of no log",
            self.config.manifest_topic()
        ))
    }

    /// How many partitions a topic has; `None` where there is no such topic.
    async fn partitions(&self, topic: &str) -> Result<Option<usize>, LogError> {
        let (views, topic, brokers) = (self.views.clone(), topic.to_owned(), self.config.brokers.clone());
        blocking(move || {
            let metadata = views.all.metadata(&topic, CONNECT).map_err(|e| match e {
                LogError::Unreachable(why) => {
                    LogError::Unreachable(format!("no Kafka broker at {brokers}: {why}"))
                }
                other => other,
            })?;
            let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else { return Ok(None) };
            match found.error().map(Code::from) {
                // Without a leader it is being made, or between two.
                None | Some(Code::LeaderNotAvailable) => Ok(Some(found.partitions().len())),
                Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
                Some(code) => {
                    Err(log_error(&format!("asking for topic {topic}"), &KafkaError::MetadataFetch(code)))
                }
            }
        })
        .await
    }

    /// Announces a new log, and returns the one that stands: several may have announced one, the first does.
    async fn make(
        &self,
        admin: &AdminClient<ToTracing>,
        new: &Manifest,
        clock: &dyn Clock,
    ) -> Result<Manifest, LogError> {
        let name = self.config.manifest_topic();
        let orphans = self.orphans().await?;
        self.create(admin, clock, &BTreeMap::from([(name.clone(), (1, false))])).await?;
        if let Some(orphans) = orphans {
            // Unless somebody else made the log in between.
            let made = self.manifest().await?;
            return made.ok_or_else(|| self.without_manifest(&orphans));
        }
        self.announce(new, clock).await?;
        let first = self.manifest().await?;
        first.ok_or_else(|| LogError::Corrupt(format!("topic {name} lost its record")))
    }

    /// A topic under this prefix that holds records. Without a manifest they are of a log that lost it.
    async fn orphans(&self) -> Result<Option<String>, LogError> {
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
                return Ok(Some(name));
            }
        }
        Ok(None)
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
        let deadline = clock.monotonic() + DONE;
        let mut full = true;
        loop {
            match self.request(admin, &missing, topics, full).await {
                Ok(true) => break,
                Ok(false) => full = false,
                // A broker that is just starting.
                Err(LogError::Unreachable(why)) if clock.monotonic() < deadline => {
                    tracing::debug!(why, "creating topics again");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        for name in missing {
            let count = topics[name].0;
            loop {
                match self.partitions(name).await? {
                    Some(n) if usize::try_from(count) == Ok(n) => break,
                    // Another creator asked for another count, of another manifest.
                    Some(n) if n > 0 => return Err(miscounted(name, n, count)),
                    _ if clock.monotonic() > deadline => {
                        return Err(LogError::Unreachable(format!(
                            "topic {name} was created and does not appear"
                        )));
                    }
                    _ => tokio::time::sleep(PAUSE).await,
                }
            }
            // The broker tells of a partition before it leads it.
            let (views, name) = (self.views.clone(), name.clone());
            blocking(move || (0..count).try_for_each(|p| views.all.extent_of(&name, p).map(drop))).await?;
        }
        Ok(())
    }

    /// Asks for topics to be made. `false`: the broker does not know some of the settings.
    async fn request(
        &self,
        admin: &AdminClient<ToTracing>,
        missing: &[&String],
        topics: &BTreeMap<String, (i32, bool)>,
        full: bool,
    ) -> Result<bool, LogError> {
        let asked: Vec<_> = missing.iter().map(|name| self.new_topic(name, topics[*name], full)).collect();
        let options = AdminOptions::new().request_timeout(Some(CONNECT)).operation_timeout(Some(CONNECT));
        let answers =
            admin.create_topics(&asked, &options).await.map_err(|e| log_error("creating topics", &e))?;
        let mut known = true;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                // Other brokers do not know every setting of Apache Kafka's.
                Err((_, Code::InvalidConfig)) if full => known = false,
                Err((name, code)) => {
                    return Err(log_error(&format!("creating topic {name}"), &KafkaError::AdminOp(code)));
                }
            }
        }
        Ok(known)
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
            reader.fetch_metadata(Some(&topic), CONNECT).map_err(|e| log_error(&doing, &e))?;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, 0, KafkaOffset::Beginning)
                .and_then(|()| reader.assign(&list))
                .map_err(|e| log_error(&doing, &e))?;
            // In slices, so that the client's own troubles, which it gets over, are passed by.
            let mut found = Err(LogError::Unreachable(format!("{doing}: no answer in {CONNECT:?}")));
            for _ in 0..CONNECT.as_secs() * 10 {
                match reader.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => {
                        let value = message.payload().unwrap_or_default();
                        found = serde_json::from_slice(value).map(Some).map_err(|e| {
                            LogError::Corrupt(format!(
                                "the first record of topic {topic} is no manifest: {e}"
                            ))
                        });
                        break;
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) => {
                        found = Ok(None);
                        break;
                    }
                    Some(Err(error)) => tracing::debug!(%error, "{doing}"),
                    None => {}
                }
            }
            discard(reader);
            found
        })
        .await
    }

    /// Appends a manifest.
    async fn announce(&self, manifest: &Manifest, clock: &dyn Clock) -> Result<(), LogError> {
        let json =
            serde_json::to_vec(manifest).map_err(|e| LogError::Refused(format!("the manifest: {e}")))?;
        let record = Record {
            key: Some(Bytes::from_static(b"manifest")),
            value: Some(Bytes::from(json)),
            headers: Vec::new(),
            timestamp: clock.now(),
        };
        let producer = Producer::new(&self.config.announcer())?;
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
        let mut names = vec![self.config.manifest_topic()];
        names.extend(Topic::ALL.iter().filter(|t| !t.is_compacted()).map(|t| self.config.topic(*t)));
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
            for (key, kept) in
                [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")]
            {
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
