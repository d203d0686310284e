//! Finding or making the log at a broker: first its manifest, then the topics as the manifest says.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    producer::BaseRecord,
    types::RDKafkaErrorCode as Code,
};
use runtime::{Chance, Clock};
use schemas::topics::Topic;

use super::{
    config::{KafkaConfig, MAX_RECORD_BYTES, ToTracing},
    error::{code, log_error},
    read::{blocking, consumer},
};
use crate::port::{Expected, LogError, Manifest};

/// How long to wait for a broker that does not answer.
const CONNECT: Duration = Duration::from_secs(8);
