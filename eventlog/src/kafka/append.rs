//! Appending without consuming: one idempotent producer per log handle.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    producer::{Producer as _, PurgeConfig},
    types::RDKafkaErrorCode as Code,
};
use tokio::sync::{Mutex, oneshot};

use super::{
    config::{APPEND_TIMEOUT, KafkaConfig},
    error::{code, log_error},
    producer::{Batch, Outcome, Producer},
};
use crate::port::{Append, LogError, Offset, Written};

/// How long a full queue is left alone.
const FULL: Duration = Duration::from_millis(1);

/// Appends records in the order of the calls.
pub(super) struct Appender(Mutex<Arc<Producer>>);

impl Appender {
    /// Made before it is needed: it takes half a second to introduce itself to the broker.
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        Ok(Self(Mutex::new(Arc::new(Producer::new(&config.appender())?))))
    }

    pub(super) async fn append(&self, config: &KafkaConfig, records: &[Append]) -> Written<Vec<Offset>> {
        if records.is_empty() {
            return Written::Done(Vec::new());
        }
        let (done, outcomes) = oneshot::channel();
        let batch = Batch::new(records.len(), move |outcomes| drop(done.send(outcomes)));
        // Held while the batch is sent, so that batches keep their order; not while it is delivered.
        let mut current = self.0.lock().await;
        // One that failed to deliver is not used again, nor does it send any more of what it was given: nothing
        // must overtake.
        if current.has_failed() {
            current.client().purge(PurgeConfig::default().queue().inflight());
            match Producer::new(&config.appender()) {
                Ok(new) => *current = Arc::new(new),
                Err(error) => return Written::NotDone(error),
            }
        }
        let producer = current.clone();
        let mut index = 0;
        while let Some(record) = records.get(index) {
            match producer.send(config, record, &batch, index) {
                Ok(true) => index += 1,
                Ok(false) => tokio::time::sleep(FULL).await,
                Err(error) if index == 0 => return Written::NotDone(log_error("appending", &error)),
                Err(error) => {
                    batch.fail_from(index, &error);
                    break;
                }
            }
        }
        drop(current);
        // Each message has its timeout; this one is for the case that the client itself is stuck.
        match tokio::time::timeout(APPEND_TIMEOUT * 2, outcomes).await {
            Ok(Ok(outcomes)) => written(outcomes),
            Ok(Err(_)) | Err(_) => {
                Written::Unknown(LogError::Unreachable("appending: the client gave no answer".into()))
            }
        }
    }
}

/// What became of a batch as a whole.
fn written(outcomes: Vec<Outcome>) -> Written<Vec<Offset>> {
    let count = outcomes.len();
    let mut places = Vec::with_capacity(count);
    let mut first_error = None;
    let mut refused = 0;
    for outcome in outcomes {
        match outcome {
            Ok(place) => places.push(place),
            Err(error) => {
                refused += usize::from(code(&error).is_some_and(is_refusal));
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        None => Written::Done(places),
        Some(error) if refused == count => Written::NotDone(log_error("appending", &error)),
        // A part of it is there, or may be.
        Some(error) => Written::Unknown(LogError::Unreachable(format!("appending: {error}"))),
    }
}

/// Errors by which the broker says that it did not write the record.
const fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::PolicyViolation
            | Code::UnsupportedCompressionType
    )
}
