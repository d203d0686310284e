//! One transaction: records and offsets, all of it or nothing.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rdkafka::{
    TopicPartitionList,
    consumer::ConsumerGroupMetadata,
    error::KafkaError,
    producer::{Producer as _, PurgeConfig},
};
use runtime::Clock;

use super::{
    config::{KafkaConfig, TRANSACTION_TIMEOUT},
    error::{is_fenced, log_error},
    producer::{Batch, Producer},
};
use crate::port::{Append, LogError, Offset};

/// How a transaction ended, and what is to be done with its producer.
#[derive(Debug)]
pub(super) enum Ended {
    /// Committed.
    Done(Vec<Offset>),
    /// Aborted: the producer can be used again.
    Aborted(LogError),
    /// Not committed, and aborted by whoever took the producer's place.
    Fenced(LogError),
    /// Not committed, but still open: only the same transactional id, initialised anew, ends it soon.
    Open(LogError),
    /// The commit was sent and not answered. Initialising the same transactional id decides it.
    Unknown(LogError),
}

/// A producer with a transactional id.
pub(super) struct Transactional {
    producer: Producer,
    config: Arc<KafkaConfig>,
    clock: Arc<dyn Clock>,
    /// How long one call may take.
    limit: Duration,
}

impl Transactional {
    /// Takes over a transactional id: whatever was open under it is completed or aborted, and its former
    /// holder fenced, once this returns.
    pub(super) fn take_over(
        config: &Arc<KafkaConfig>,
        clock: &Arc<dyn Clock>,
        id: &str,
        limit: Duration,
    ) -> Result<Self, LogError> {
        let doing = |e| log_error("taking over the transactions of these partitions", &e);
        let producer = Producer::new(&config.transactional(id, limit))?;
        // Connected first, else the client comes back to it only half a second later. The first question makes it
        // leave the address it was given for the brokers it is told of, the second connects to one of those.
        for _ in 0..2 {
            producer
                .client()
                .client()
                .fetch_metadata(Some(&config.manifest_topic()), limit)
                .map_err(doing)?;
        }
        producer
            .client()
            // The first one ever also makes the broker set up its own topic for transactions.
            .init_transactions(TRANSACTION_TIMEOUT)
            .map_err(doing)?;
        Ok(Self { producer, config: config.clone(), clock: clock.clone(), limit })
    }

    /// Appends and commits. `offsets` are committed for the group as it was when `generation` was taken: where
    /// the group has moved on since, the broker refuses.
    pub(super) fn commit(
        &self,
        records: &[Append],
        offsets: &TopicPartitionList,
        generation: &ConsumerGroupMetadata,
    ) -> Ended {
        let client = self.producer.client();
        if let Err(error) = client.begin_transaction() {
            return Self::ended(&error, Ended::Open);
        }
        let places = match self.stage(records, offsets, generation) {
            Ok(places) => places,
            Err(error) => return self.abort(&error),
        };
        match client.commit_transaction(self.limit) {
            Ok(()) => Ended::Done(places),
            // Whatever it says, the commit was on its way: also a fence may have come after it.
            Err(error) => Ended::Unknown(LogError::Unreachable(format!("committing a transaction: {error}"))),
        }
    }

    /// Everything up to the commit itself.
    fn stage(
        &self,
        records: &[Append],
        offsets: &TopicPartitionList,
        generation: &ConsumerGroupMetadata,
    ) -> Result<Vec<Offset>, KafkaError> {
        let client = self.producer.client();
        let (done, outcomes) = mpsc::sync_channel(1);
        let batch = Batch::new(records.len(), move |outcomes| drop(done.send(outcomes)));
        let mut index = 0;
        while let Some(record) = records.get(index) {
            if self.producer.send(&self.config, record, &batch, index)? {
                index += 1;
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
        // The records are on their way while the offsets are sent.
        client.send_offsets_to_transaction(offsets, generation, self.limit)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        // Each message has a timeout of its own, not above the limit.
        let outcomes = outcomes
            .recv_timeout(self.limit * 2)
            .map_err(|_| KafkaError::MessageProduction(rdkafka::types::RDKafkaErrorCode::MessageTimedOut))?;
        let places = outcomes.into_iter().collect::<Result<_, _>>()?;
        // Committing flushes first, and flushing sleeps 100 ms where anything is left: the last delivery is
        // counted off a moment after it was handed on.
        self.until_empty();
        Ok(places)
    }

    fn abort(&self, error: &KafkaError) -> Ended {
        if is_fenced(error) {
            return Self::ended(error, Ended::Open);
        }
        let client = self.producer.client();
        // Aborting waits for the deliveries and does not fetch them.
        client.purge(PurgeConfig::default().queue().inflight());
        self.until_empty();
        match client.abort_transaction(self.limit) {
            Ok(()) => Ended::Aborted(log_error("committing", error)),
            Err(aborting) if is_fenced(&aborting) => Ended::Fenced(log_error("committing", error)),
            Err(aborting) => {
                tracing::warn!(%aborting, "a transaction could not be aborted");
                Ended::Open(log_error("committing", error))
            }
        }
    }

    fn ended(error: &KafkaError, otherwise: impl FnOnce(LogError) -> Ended) -> Ended {
        let said = log_error("committing", error);
        if is_fenced(error) { Ended::Fenced(said) } else { otherwise(said) }
    }

    fn until_empty(&self) {
        let deadline = self.clock.monotonic() + self.limit;
        let mut looks = 0;
        while self.producer.client().in_flight_count() > 0 && self.clock.monotonic() < deadline {
            looks += 1;
            // Almost always it is a matter of microseconds.
            if looks < 100 { thread::yield_now() } else { thread::sleep(Duration::from_millis(1)) }
        }
    }
}
