//! Records to messages and back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rdkafka::{
    Message,
    message::{BorrowedMessage, Header as KafkaHeader, Headers, OwnedHeaders},
};
use schemas::Timestamp;

use super::config::{KafkaConfig, MAX_RECORD_BYTES};
use crate::port::{Append, Header, LogError, Manifest, Offset, Record, Stored, TopicPartition};

/// Kafka's "no timestamp".
const NO_TIMESTAMP: i64 = -1;

/// A record's time as the producer takes it. librdkafka reads 0 as "now", so the first millisecond of 1970 is
/// written as "no timestamp", and [`stored`] reads that back as 0.
pub(super) fn message_time(time: Timestamp) -> i64 {
    match time.millis() {
        0 => NO_TIMESTAMP,
        millis => millis,
    }
}

/// A record's headers as the producer takes them.
pub(super) fn message_headers(record: &Record) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for h in &record.headers {
        headers = headers.insert(KafkaHeader { key: &h.name, value: h.value.as_deref() });
    }
    Some(headers)
}

/// A message as a record. `None` where its topic is none of ours.
pub(super) fn stored(config: &KafkaConfig, message: &BorrowedMessage<'_>) -> Option<Stored> {
    let topic = config.topic_of(message.topic())?;
    let millis = message.timestamp().to_millis().unwrap_or(0);
    Some(Stored {
        at: TopicPartition::new(topic, message.partition()),
        offset: Offset(message.offset()),
        record: Record {
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers: message.headers().map(headers).unwrap_or_default(),
            timestamp: Timestamp::from_millis(millis),
        },
    })
}

fn headers<H: Headers>(headers: &H) -> Vec<Header> {
    // The client panics on a name that is not UTF-8. A foreign writer must not end a stage with it: that header
    // is dropped, the record stays.
    let header = |i| catch_unwind(AssertUnwindSafe(|| owned(&headers.get(i)))).ok();
    (0..headers.count()).filter_map(header).collect()
}

fn owned(header: &KafkaHeader<'_, &[u8]>) -> Header {
    Header { name: header.key.to_owned(), value: header.value.map(Bytes::copy_from_slice) }
}

/// Refuses records that the broker could not keep as they are, before any of them is sent.
pub(super) fn check(manifest: &Manifest, records: &[Append]) -> Result<(), LogError> {
    for Append { to, record } in records {
        manifest.require(*to)?;
        let headers =
            record.headers.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, Bytes::len) + 10);
        let bytes = record.key.as_ref().map_or(0, Bytes::len)
            + record.value.as_ref().map_or(0, Bytes::len)
            + headers.sum::<usize>();
        if bytes > MAX_RECORD_BYTES {
            return Err(LogError::Refused(format!(
                "a record for {to} has {bytes} bytes; at most {MAX_RECORD_BYTES} are taken"
            )));
        }
        if record.timestamp.millis() < 0 {
            return Err(LogError::Refused(format!(
                "a record for {to} is of {}, before 1970, which the broker cannot keep",
                record.timestamp
            )));
        }
        if record.headers.iter().any(|h| h.name.contains('\0')) {
            return Err(LogError::Refused(format!("a record for {to} has a header name with a zero byte")));
        }
    }
    Ok(())
}
