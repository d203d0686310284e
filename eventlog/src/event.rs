//! Records of the log made from events: key, frame, and the headers every record carries.

use bytes::Bytes;
use schemas::{
    Hash32, Timestamp,
    avro::Event,
    codec::{Codec, CodecError},
};

use crate::port::{Header, Record};

/// The header that names a record among all: derived from its content, so that a record written twice is
/// one event.
pub const CE_ID: &str = "ce_id";
/// The header that names a record's type.
pub const CE_TYPE: &str = "ce_type";
/// The header that says when a record was made: microseconds since 1970.
pub const CE_TIME: &str = "ce_time";
/// The header that ties a record to its trace (W3C trace context).
pub const TRACEPARENT: &str = "traceparent";
/// The header beside a decision that holds its salt, in hex.
pub const SALT: &str = "salt";
/// The header beside a decision that names its cut by its hash: records of two writers may interleave.
pub const CUT: &str = "cut";

/// An event as a record, and the hash of its content.
///
/// The trace is derived from what the record is about (`trace`: the fill's key), so that all records on the way
/// of one trade share it without any stage handing it on.
///
/// # Errors
/// An event that does not fit its schema: a bug.
pub fn record<E: Event>(
    codec: &Codec,
    key: &str,
    event: &E,
    at: Timestamp,
    trace: Option<Hash32>,
) -> Result<(Record, Hash32), CodecError> {
    let encoded = codec.encode(event)?;
    let text = |name: &str, value: String| Header { name: name.into(), value: Some(Bytes::from(value)) };
    let hash = encoded.hash.to_string();
    let mut headers = vec![
        text(CE_ID, hash[2..34].to_owned()),
        text(CE_TYPE, format!("polymirror.{}", E::NAME)),
        text(CE_TIME, at.micros().to_string()),
    ];
    if let Some(trace) = trace {
        let trace = trace.to_string();
        headers.push(text(TRACEPARENT, format!("00-{}-{}-01", &trace[2..34], &hash[2..18])));
    }
    let record = Record {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(encoded.value),
        headers,
        timestamp: at,
    };
    Ok((record, encoded.hash))
}

/// The trace of a fill's way: from its frozen key.
pub fn trace_of(key: schemas::IdempotencyKey) -> Hash32 {
    Hash32::from_bytes(*key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_written_twice_is_one_event() {
        let codec = Codec::bundled().unwrap();
        let event = schemas::events::Gap { count: 3 };
        let make = |at| record(&codec, "k", &event, Timestamp::from_secs(at), None).unwrap().0;
        assert_eq!(make(1).header(CE_ID), make(2).header(CE_ID));
        assert_eq!(make(1).header(CE_TYPE), Some(&b"polymirror.Gap"[..]));
        assert_eq!(make(1).header(CE_TIME), Some(&b"1000000"[..]));
    }

    #[test]
    fn records_of_one_fill_share_its_trace() {
        let codec = Codec::bundled().unwrap();
        let trace = Some(Hash32::from_bytes([0xab; 32]));
        let event = schemas::events::Gap { count: 3 };
        let (made, _) = record(&codec, "k", &event, Timestamp::from_secs(1), trace).unwrap();
        let parent = std::str::from_utf8(made.header(TRACEPARENT).unwrap()).unwrap().to_owned();
        assert!(parent.starts_with(&format!("00-{}-", "ab".repeat(16))), "{parent}");
        assert_eq!(parent.len(), 55);
    }
}
