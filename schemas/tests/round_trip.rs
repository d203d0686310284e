//! Every record is written and read again, whatever stands in it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod samples;

use std::fmt::Debug;

use samples::{Sample, Shape, Visitor, samples, visit};
use schemas::{
    avro::Event,
    codec::{Codec, CodecError, Released, released, unframe},
    events::{TopicEvents, all_records},
};
use serde_json::Value;

struct RoundTrip<'a>(&'a Codec, &'a Sample);

impl Visitor for RoundTrip<'_> {
    type Out = ();

    fn visit<E: Event + PartialEq + Debug, T: TopicEvents + From<E> + PartialEq + Debug>(self) {
        let Self(codec, sample) = self;
        let what = format!("{} {:?}", sample.name, sample.shape);
        assert_eq!(T::TOPIC, sample.topic, "{what}");
        let event: E = serde_json::from_value(sample.value.clone()).unwrap_or_else(|e| panic!("{what}: {e}"));
        // The JSON of a record says all of it.
        assert_eq!(serde_json::to_value(&event).unwrap(), sample.value, "{what}");
        let encoded = codec.encode(&event).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(unframe(&encoded.value).unwrap().1, encoded.datum());
        assert_eq!(codec.content_hash(&encoded.value), encoded.hash, "{what}");
        assert_eq!(codec.encode(&event).unwrap(), encoded, "{what}: the same bytes every time");
        assert_eq!(codec.decode::<T>(&encoded.value).unwrap(), T::from(event), "{what}");
        // Cut short anywhere, it is not read as something else.
        for end in 0..encoded.value.len() {
            assert!(codec.decode::<T>(&encoded.value[..end]).is_err(), "{what}: {end} bytes were read");
        }
    }
}

#[test]
fn every_record_is_read_as_it_was_written() {
    let codec = Codec::bundled().unwrap();
    let samples = samples(30);
    assert_eq!(samples.len(), all_records().len() * 32);
    for sample in &samples {
        visit(sample.name, RoundTrip(&codec, sample));
    }
}

struct Older<'a>(&'a Codec, &'a Released, &'a Sample);

impl Visitor for Older<'_> {
    type Out = bool;

    fn visit<E: Event + PartialEq + Debug, T: TopicEvents + From<E> + PartialEq + Debug>(self) -> bool {
        let Self(codec, older, sample) = self;
        let what = format!("{} {:?} as version {}", sample.name, sample.shape, older.version);
        let event: E = serde_json::from_value(sample.value.clone()).unwrap();
        let writer = codec.writing(&[(E::NAME, older.version)]).unwrap();
        match writer.encode(&event) {
            Ok(encoded) => {
                assert_eq!(unframe(&encoded.value).unwrap().0, older.id, "{what}");
                assert_eq!(codec.content_hash(&encoded.value), encoded.hash, "{what}");
                assert_eq!(codec.decode::<T>(&encoded.value).unwrap(), T::from(event), "{what}");
                true
            }
            Err(CodecError::Unwritable { .. }) => false,
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// What a released plan version decides again has the bytes it had, whatever its records were given since; and what
/// an older schema cannot tell is never dropped.
#[test]
fn a_record_is_written_as_an_older_release_or_not_at_all() {
    let codec = Codec::bundled().unwrap();
    let all = released().unwrap();
    let newest = |name: &str| all.iter().filter(|r| r.name == name).map(|r| r.version).max().unwrap();
    let samples = samples(30);
    let mut tried = 0;
    for older in all.iter().filter(|r| r.version < newest(&r.name)) {
        for sample in samples.iter().filter(|s| s.name == older.name) {
            let written = visit(sample.name, Older(&codec, older, sample));
            match sample.shape {
                Shape::Empty => assert!(written, "{} without anything optional", sample.name),
                Shape::Full => assert!(!written, "{} lost a field", sample.name),
                Shape::Mixed => {}
            }
            tried += 1;
        }
    }
    assert!(tried >= 3 * 32, "{tried} samples of older releases");
    assert!(codec.writing(&[("Cut", 99)]).is_err(), "a version that was never released");
}

/// A sample that leaves something out would prove less than it says.
#[test]
fn full_samples_hold_every_field_and_empty_ones_none_that_can_be_absent() {
    fn nothing_absent(value: &Value) -> bool {
        match value {
            Value::Null => false,
            Value::Array(items) => !items.is_empty() && items.iter().all(nothing_absent),
            Value::Object(fields) => fields.values().all(nothing_absent),
            _ => true,
        }
    }
    fn nothing_there(value: &Value) -> bool {
        match value {
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.values().all(nothing_there),
            _ => true,
        }
    }
    for sample in samples(0) {
        match sample.shape {
            Shape::Full => assert!(nothing_absent(&sample.value), "{}", sample.value),
            Shape::Empty => assert!(nothing_there(&sample.value), "{}", sample.value),
            Shape::Mixed => {}
        }
    }
}
