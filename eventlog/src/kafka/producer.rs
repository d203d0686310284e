//! A producer and the thread that polls it: batches go in, the places of their records come out.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
    types::RDKafkaErrorCode,
};

use super::{
    config::{KafkaConfig, ToTracing},
    error::log_error,
    record::{message_headers, message_time},
};
use crate::port::{Append, LogError, Offset, Record};

/// How long the polling thread waits before it looks whether it should end. Deliveries wake it at once.
const POLL: Duration = Duration::from_secs(1);

/// Where a record came to stand, or why it did not.
pub(super) type Outcome = Result<Offset, KafkaError>;

/// Records sent together. The last outcome hands all of them on.
pub(super) struct Batch(Mutex<Pending>);

struct Pending {
    outcomes: Vec<Option<Outcome>>,
    left: usize,
    done: Option<Box<dyn FnOnce(Vec<Outcome>) + Send>>,
}

impl Batch {
    /// A batch of `len` records, more than none; `done` gets their outcomes in order.
    pub(super) fn new(len: usize, done: impl FnOnce(Vec<Outcome>) + Send + 'static) -> Arc<Self> {
        let outcomes = (0..len).map(|_| None).collect();
        Arc::new(Self(Mutex::new(Pending { outcomes, left: len, done: Some(Box::new(done)) })))
    }

    fn set(&self, index: usize, outcome: Outcome) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = pending.outcomes.get_mut(index) else { return };
        if slot.replace(outcome).is_none() {
            pending.left -= 1;
        }
        if pending.left == 0
            && let Some(done) = pending.done.take()
        {
            done(std::mem::take(&mut pending.outcomes).into_iter().flatten().collect());
        }
    }

    /// The records from `index` on were not sent, because of this.
    pub(super) fn fail_from(&self, index: usize, error: &KafkaError) {
        let len = self.0.lock().unwrap_or_else(PoisonError::into_inner).outcomes.len();
        for i in index..len {
            self.set(i, Err(error.clone()));
        }
    }
}

/// What the client carries through a delivery: which record of which batch.
pub(super) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

/// Hands deliveries to their batches.
pub(super) struct Deliveries {
    failed: AtomicBool,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        ToTracing.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ToTracing.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let outcome = match delivered {
            Ok(message) => Ok(Offset(message.offset())),
            Err((error, _)) => {
                self.failed.store(true, Ordering::SeqCst);
                Err(error.clone())
            }
        };
        ticket.batch.set(ticket.index, outcome);
    }
}

/// A producer that is polled by a thread of its own for as long as this lives.
pub(super) struct Producer {
    client: Arc<BaseProducer<Deliveries>>,
    stop: Arc<AtomicBool>,
}

impl Producer {
    pub(super) fn new(config: &ClientConfig) -> Result<Self, LogError> {
        let context = Deliveries { failed: AtomicBool::new(false) };
        let client = BaseProducer::from_config_and_context(config, context)
            .map_err(|e| log_error("making a producer", &e))?;
        let (client, stop) = (Arc::new(client), Arc::new(AtomicBool::new(false)));
        let polled = (client.clone(), stop.clone());
        let poll = move || {
            let (client, stop) = polled;
            while !stop.load(Ordering::SeqCst) {
                client.poll(POLL);
            }
            // The last one to let go of the client waits for its end: this thread, which nobody waits for.
        };
        thread::Builder::new()
            .name("kafka-producer".into())
            .spawn(poll)
            .map_err(|e| LogError::Unreachable(format!("starting a producer's thread: {e}")))?;
        Ok(Self { client, stop })
    }

    pub(super) fn client(&self) -> &BaseProducer<Deliveries> {
        &self.client
    }

    /// Whether a delivery failed. What was sent behind it must not go out on its own.
    pub(super) fn has_failed(&self) -> bool {
        self.client.context().failed.load(Ordering::SeqCst) || self.client.client().fatal_error().is_some()
    }

    /// Sends record `index` of a batch. `Ok(false)`: the queue is full, try again a little later.
    pub(super) fn send(
        &self,
        config: &KafkaConfig,
        append: &Append,
        batch: &Arc<Batch>,
        index: usize,
    ) -> Result<bool, KafkaError> {
        self.send_to(&config.topic(append.to.topic), append.to.partition, &append.record, batch, index)
    }

    /// The same for a topic of any name.
    pub(super) fn send_to(
        &self,
        topic: &str,
        partition: i32,
        record: &Record,
        batch: &Arc<Batch>,
        index: usize,
    ) -> Result<bool, KafkaError> {
        let ticket = Box::new(Ticket { batch: batch.clone(), index });
        let mut message = BaseRecord::with_opaque_to(topic, ticket)
            .partition(partition)
            .timestamp(message_time(record.timestamp));
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        message.headers = message_headers(record);
        match self.client.send(message) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
            Err((error, _)) => Err(error),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
