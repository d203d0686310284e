//! Records to and from bytes: Avro in the Confluent wire format (a zero byte, the schema's id, the datum).
//!
//! Equality and hashes are over the datum and its writer schema's fingerprint, without frame or id: the same
//! record under another registry's ids is still the same record (`design.md`, The log).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use apache_avro::{
    Schema, rabin::Rabin, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter,
};
use bytes::Bytes;

use crate::{
    Hash32,
    avro::{Event, NAMESPACE},
    events::{RecordType, TopicEvents, all_records},
    keccak256,
};

/// The id of a schema, as a registry gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub u32);

/// Why bytes are no record, or a record no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The value is missing, too short, or does not begin with a zero byte and an id.
    #[error("record_not_framed: the value is not in the Confluent wire format ({0})")]
    NotFramed(String),
    /// The id stands for no schema known here.
    #[error("record_schema_unknown: schema id {0} is not known. Configure the registry that the writer used")]
    UnknownSchema(u32),
    /// A record that was released after this program.
    #[error(
        "record_schema_newer: {0} is of a newer program than this one, which must not pass over it. Start the newer program"
    )]
    Newer(String),
    /// The registry was to say what the id stands for, and did not answer: it may the next time.
    #[error("registry_unreachable: schema id {id}: {why}")]
    RegistryAway {
        /// The id.
        id: u32,
        /// What happened.
        why: String,
    },
    /// The schema is that of another topic's record.
    #[error("record_of_another_topic: `{name}` does not belong into {topic}")]
    WrongTopic {
        /// The record's name.
        name: String,
        /// The topic it was found in.
        topic: &'static str,
    },
    /// The datum does not read under its schema.
    #[error("record_not_readable: `{name}`: {why}")]
    Unreadable {
        /// The record's name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The record cannot be written. A schema that does not fit its type: a bug.
    #[error("record_not_writable: `{name}`: {why}")]
    Unwritable {
        /// The record's name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A schema that is none.
    #[error("schema_invalid: {0}")]
    InvalidSchema(String),
}

impl CodecError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFramed(_) => "record_not_framed",
            Self::UnknownSchema(_) => "record_schema_unknown",
            Self::Newer(_) => "record_schema_newer",
            Self::RegistryAway { .. } => "registry_unreachable",
            Self::WrongTopic { .. } => "record_of_another_topic",
            Self::Unreadable { .. } => "record_not_readable",
            Self::Unwritable { .. } => "record_not_writable",
            Self::InvalidSchema(_) => "schema_invalid",
        }
    }

    /// Whether it is the reader that lacks something, now or until it is upgraded: the record may be as good as any, and
    /// whoever passed over it would never come back to it.
    pub const fn is_of_reader(&self) -> bool {
        matches!(self, Self::Newer(_) | Self::RegistryAway { .. })
    }

    /// Whether the same call may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::RegistryAway { .. })
    }
}

/// A schema that records were or will be written in.
pub struct WriterSchema {
    name: String,
    /// Whether it stands in this program's namespace.
    ours: bool,
    schema: &'static Schema,
    fingerprint: [u8; 8],
    reader: GenericDatumReader<'static>,
    writer: GenericDatumWriter<'static>,
}

impl fmt::Debug for WriterSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterSchema({})", self.name)
    }
}

impl WriterSchema {
    /// From a schema's JSON text.
    ///
    /// # Errors
    /// Text that is no schema of a named record.
    pub fn parse(json: &str) -> Result<Self, CodecError> {
        let invalid = |e: apache_avro::Error| CodecError::InvalidSchema(e.to_string());
        // Schemas live as long as the program: there are a few dozen, each parsed once per id.
        let schema: &'static Schema = Box::leak(Box::new(Schema::parse_str(json).map_err(invalid)?));
        let Schema::Record(record) = schema else {
            return Err(CodecError::InvalidSchema("it is not a record".into()));
        };
        Ok(Self {
            name: record.name.name().to_owned(),
            ours: record.name.fullname(None) == format!("{NAMESPACE}.{}", record.name.name()),
            schema,
            fingerprint: fingerprint(json)?,
            reader: GenericDatumReader::builder(schema).human_readable(true).build().map_err(invalid)?,
            writer: GenericDatumWriter::builder(schema).human_readable(true).build().map_err(invalid)?,
        })
    }

    /// The record's name, without namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads a datum written in this schema. Fields that it lacks stay absent.
    ///
    /// # Errors
    /// A datum that does not read, or does not end where the value ends.
    pub fn read<T: Event>(&self, mut datum: &[u8]) -> Result<T, CodecError> {
        let unreadable = |why: String| CodecError::Unreadable { name: self.name.clone(), why };
        let value = self.reader.read_deser(&mut datum).map_err(|e| unreadable(e.to_string()))?;
        if !datum.is_empty() {
            return Err(unreadable(format!("{} bytes are left over", datum.len())));
        }
        Ok(value)
    }

    /// Writes a datum in this schema.
    ///
    /// # Errors
    /// A type that does not fit the schema.
    pub fn write<T: Event>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        self.writer
            .write_ser_to_vec(value)
            .map_err(|e| CodecError::Unwritable { name: self.name.clone(), why: e.to_string() })
    }

    /// A datum of this schema as an older one has it.
    ///
    /// # Errors
    /// A value that the older schema cannot tell: nothing is dropped silently.
    fn rewrite<T: Event>(&self, datum: &[u8], older: &Self) -> Result<Vec<u8>, CodecError> {
        let unwritable = |why: String| CodecError::Unwritable { name: self.name.clone(), why };
        let failed = |e: apache_avro::Error| unwritable(e.to_string());
        let value = GenericDatumReader::builder(self.schema)
            .reader_schema(older.schema)
            .build()
            .and_then(|reader| reader.read_value(&mut &*datum))
            .map_err(failed)?;
        let rewritten = older.writer.write_value_to_vec(value).map_err(failed)?;
        let again = self.write(&older.read::<T>(&rewritten)?)?;
        if again != datum {
            return Err(unwritable("it holds more than its older schema can tell".into()));
        }
        Ok(rewritten)
    }

    /// The hash of a datum's content: over the schema's fingerprint and the datum.
    pub fn content_hash(&self, datum: &[u8]) -> Hash32 {
        keccak256(&[&self.fingerprint, datum])
    }
}

/// Avro's CRC-64 fingerprint of a schema, as every implementation computes it. The library's canonical form
/// leaves `{"type":"long"}` where a logical type stood; the specification's says `"long"`, so logical types are
/// taken away first.
fn fingerprint(json: &str) -> Result<[u8; 8], CodecError> {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(object) => {
                object.remove("logicalType");
                object.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut schema = serde_json::from_str(json).map_err(|e| CodecError::InvalidSchema(e.to_string()))?;
    strip(&mut schema);
    let schema = Schema::parse(&schema).map_err(|e| CodecError::InvalidSchema(e.to_string()))?;
    let mut fingerprint = [0; 8];
    fingerprint.copy_from_slice(&schema.fingerprint::<Rabin>().bytes);
    Ok(fingerprint)
}

/// A record's bytes, and what they are without their frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The framed value, as it goes into the log.
    pub value: Bytes,
    /// The hash of its content.
    pub hash: Hash32,
}

impl Encoded {
    /// The datum without its frame.
    pub fn datum(&self) -> &[u8] {
        self.value.get(FRAME..).unwrap_or_default()
    }
}

/// Length of the frame: the zero byte and the id.
const FRAME: usize = 5;

/// Splits a framed value into schema id and datum.
///
/// # Errors
/// Anything that does not begin with a zero byte and four bytes of id.
pub fn unframe(value: &[u8]) -> Result<(SchemaId, &[u8]), CodecError> {
    match value {
        [0, a, b, c, d, datum @ ..] => Ok((SchemaId(u32::from_be_bytes([*a, *b, *c, *d])), datum)),
        [] => Err(CodecError::NotFramed("it is empty".into())),
        [first, ..] => Err(CodecError::NotFramed(format!("{} bytes, the first is {first}", value.len()))),
    }
}

/// The hash of a value that has no known schema: over its bytes as they are.
pub fn raw_hash(value: &[u8]) -> Hash32 {
    keccak256(&[b"raw", value])
}

/// Where schemas of unknown ids are looked up: a registry.
pub trait SchemaSource: fmt::Debug + Send + Sync {
    /// The schema of that id, if there is one. May take as long as a request: it is asked once per id.
    ///
    /// # Errors
    /// There was no answer, and why.
    fn schema(&self, id: SchemaId) -> Result<Option<String>, String>;
}

/// Reads and writes records. Clones share what they know; a registry adds to it.
#[derive(Debug, Clone)]
pub struct Codec {
    known: Arc<RwLock<Known>>,
    /// Records that this view writes in an older schema.
    pinned: Arc<BTreeMap<&'static str, (SchemaId, Arc<WriterSchema>)>>,
}

/// A released schema: the record's name, and the version from 1.
pub type Pin = (&'static str, u32);

#[derive(Debug, Default)]
struct Known {
    by_id: BTreeMap<SchemaId, Arc<WriterSchema>>,
    /// The newest released version of each record.
    newest: BTreeMap<String, u32>,
    /// What this program writes, by record name.
    current: BTreeMap<&'static str, (SchemaId, Arc<WriterSchema>)>,
    /// Asked for ids that are not known.
    source: Option<Arc<dyn SchemaSource>>,
}

/// Where bundled ids begin: "PM" in the upper half. Registries count from 1, so a log that was begun without one
/// and goes on with one holds no id twice.
pub const FIRST_BUNDLED_ID: u32 = 0x504d_0001;

/// Whether an id is of the bundled ones, of this program or of one that comes after it.
const fn is_bundled(id: SchemaId) -> bool {
    id.0 >> 16 == FIRST_BUNDLED_ID >> 16
}

/// The bundled ids, as `schemas/registry.json` lists them: used where no registry is configured.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct BundledId {
    /// The id in the wire format.
    pub id: u32,
    /// The record's name.
    pub name: String,
    /// The released version of its schema, from 1.
    pub version: u32,
}

/// A released schema: every version ever written stays readable.
#[derive(Debug, Clone)]
pub struct Released {
    /// Its bundled id.
    pub id: SchemaId,
    /// The record's name.
    pub name: String,
    /// Its version, from 1.
    pub version: u32,
    /// The schema's JSON text.
    pub json: &'static str,
}

mod released {
    include!(concat!(env!("OUT_DIR"), "/released.rs"));
}

/// Every released schema with its bundled id.
///
/// # Errors
/// A bundle whose parts do not fit: caught by a test, never met by a user.
pub fn released() -> Result<Vec<Released>, CodecError> {
    let ids: Vec<BundledId> = serde_json::from_str(released::REGISTRY)
        .map_err(|e| CodecError::InvalidSchema(format!("registry.json: {e}")))?;
    ids.into_iter()
        .map(|BundledId { id, name, version }| {
            let file = format!("{name}.v{version}.avsc");
            let json = released::FILES
                .iter()
                .find(|(n, _)| *n == file)
                .map(|(_, json)| *json)
                .ok_or_else(|| CodecError::InvalidSchema(format!("{file} is not bundled")))?;
            Ok(Released { id: SchemaId(id), name, version, json })
        })
        .collect()
}

impl Codec {
    /// With the bundled ids: every released schema can be read, and records are written in the newest.
    ///
    /// # Errors
    /// A bundle that does not hold every record of this program: caught by a test.
    pub fn bundled() -> Result<Self, CodecError> {
        let mut known = Known::default();
        let mut newest: BTreeMap<String, (u32, SchemaId)> = BTreeMap::new();
        for schema in released()? {
            known.by_id.insert(schema.id, Arc::new(WriterSchema::parse(schema.json)?));
            let entry = newest.entry(schema.name).or_insert((schema.version, schema.id));
            if schema.version >= entry.0 {
                *entry = (schema.version, schema.id);
            }
        }
        for RecordType { name, .. } in all_records() {
            let found = newest.get(name).and_then(|(_, id)| Some((*id, known.by_id.get(id)?.clone())));
            let Some(found) = found else {
                return Err(CodecError::InvalidSchema(format!("no released schema of `{name}`")));
            };
            known.current.insert(name, found);
        }
        known.newest = newest.into_iter().map(|(name, (version, _))| (name, version)).collect();
        Ok(Self { known: Arc::new(RwLock::new(known)), pinned: Arc::default() })
    }

    /// A view that writes these records in these released versions, and all others as before. What is decided again
    /// has the bytes that it had: a plan version writes the schemas that it was released with, however many fields
    /// its records have been given since.
    ///
    /// # Errors
    /// A version that was never released: a bug.
    pub fn writing(&self, pins: &[Pin]) -> Result<Self, CodecError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let older = |(name, version): &&Pin| known.newest.get(*name) != Some(version);
        let mut pinned = BTreeMap::new();
        for (name, version) in pins.iter().filter(older) {
            let released = released()?.into_iter().find(|r| r.name == *name && r.version == *version);
            let found = released.and_then(|r| Some((r.id, known.by_id.get(&r.id)?.clone())));
            let missing = || CodecError::InvalidSchema(format!("`{name}` has no released version {version}"));
            pinned.insert(*name, found.ok_or_else(missing)?);
        }
        Ok(Self { known: self.known.clone(), pinned: Arc::new(pinned) })
    }

    /// Learns a schema that a registry names by this id.
    ///
    /// # Errors
    /// Text that is no schema.
    pub fn learn(&self, id: SchemaId, json: &str) -> Result<(), CodecError> {
        let schema = Arc::new(WriterSchema::parse(json)?);
        self.known.write().unwrap_or_else(PoisonError::into_inner).by_id.insert(id, schema);
        Ok(())
    }

    /// From now on writes records of that name under this id.
    ///
    /// # Errors
    /// Text that is no schema.
    pub fn write_as(&self, name: &'static str, id: SchemaId, json: &str) -> Result<(), CodecError> {
        let schema = Arc::new(WriterSchema::parse(json)?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.by_id.insert(id, schema.clone());
        known.current.insert(name, (id, schema));
        Ok(())
    }

    /// From now on asks there for ids that are not known.
    pub fn ask(&self, source: Arc<dyn SchemaSource>) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).source = Some(source);
    }

    /// Whether a schema of that id is known.
    pub fn knows(&self, id: SchemaId) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_id.contains_key(&id)
    }

    /// Writes a record.
    ///
    /// # Errors
    /// A type that does not fit its schema: a bug.
    pub fn encode<E: Event>(&self, event: &E) -> Result<Encoded, CodecError> {
        let current = self.known.read().unwrap_or_else(PoisonError::into_inner).current.get(E::NAME).cloned();
        let (mut id, mut schema) = current
            .ok_or_else(|| CodecError::Unwritable { name: E::NAME.into(), why: "no schema".into() })?;
        let mut datum = schema.write(event)?;
        if let Some((older, old)) = self.pinned.get(E::NAME) {
            datum = schema.rewrite::<E>(&datum, old)?;
            (id, schema) = (*older, old.clone());
        }
        let hash = schema.content_hash(&datum);
        let mut value = Vec::with_capacity(FRAME + datum.len());
        value.push(0);
        value.extend_from_slice(&id.0.to_be_bytes());
        value.extend_from_slice(&datum);
        Ok(Encoded { value: value.into(), hash })
    }

    /// Reads a record of a topic.
    ///
    /// # Errors
    /// Anything that is not a readable record of that topic: goes to `dead-letters`, unless the reader is to blame
    /// ([`CodecError::is_of_reader`]).
    pub fn decode<E: TopicEvents>(&self, value: &[u8]) -> Result<E, CodecError> {
        let (schema, datum) = self.writer_of(value)?;
        E::read(&schema, datum).unwrap_or_else(|| {
            let name = schema.name();
            if schema.ours && all_records().iter().all(|known| known.name != name) {
                return Err(CodecError::Newer(format!("`{name}`")));
            }
            Err(CodecError::WrongTopic { name: name.into(), topic: E::TOPIC.name() })
        })
    }

    /// The hash of a framed value's content; of the bytes as they are where it has no known schema, so that
    /// every record of a log has one.
    pub fn content_hash(&self, value: &[u8]) -> Hash32 {
        self.known_content_hash(value).unwrap_or_else(|_| raw_hash(value))
    }

    /// The same, of a value whose schema is known.
    ///
    /// # Errors
    /// It is not framed, or its schema is not known here: then others may have another hash of it.
    pub fn known_content_hash(&self, value: &[u8]) -> Result<Hash32, CodecError> {
        let (schema, datum) = self.writer_of(value)?;
        Ok(schema.content_hash(datum))
    }

    fn writer_of<'v>(&self, value: &'v [u8]) -> Result<(Arc<WriterSchema>, &'v [u8]), CodecError> {
        let (id, datum) = unframe(value)?;
        let source = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(schema) = known.by_id.get(&id) {
                return Ok((schema.clone(), datum));
            }
            known.source.clone()
        };
        // A source that has no answer now may have one later: only what it found is kept.
        let found = source.map_or(Ok(None), |s| s.schema(id));
        let json = match found.map_err(|why| CodecError::RegistryAway { id: id.0, why })? {
            Some(json) => json,
            None if is_bundled(id) => return Err(CodecError::Newer(format!("schema id {}", id.0))),
            None => return Err(CodecError::UnknownSchema(id.0)),
        };
        self.learn(id, &json)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_id.get(&id).cloned().map(|schema| (schema, datum)).ok_or(CodecError::UnknownSchema(id.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        events::{DeadLetter, FillsEvent, StateSnapshot, Watermark},
    };

    fn watermark() -> Watermark {
        Watermark {
            wallet: crate::Address::from_bytes([7; 20]),
            complete_until: Timestamp::from_secs(1_790_000_000),
            observed_at: Timestamp::from_micros(1_790_000_000_123_456),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let codec = Codec::bundled().unwrap();
        let encoded = codec.encode(&watermark()).unwrap();
        assert_eq!(encoded.value[0], 0);
        assert_eq!(codec.decode::<FillsEvent>(&encoded.value).unwrap(), FillsEvent::Watermark(watermark()));
        assert_eq!(codec.content_hash(&encoded.value), encoded.hash);
    }

    #[test]
    fn bytes_and_absent_fields_survive() {
        let codec = Codec::bundled().unwrap();
        let letter = DeadLetter {
            topic: "fills".into(),
            partition: 3,
            offset: 9,
            reader: "decide".into(),
            code: "record_not_framed".into(),
            reason: "why".into(),
            key: None,
            value: Some(Bytes::from_static(&[0xff, 0, 1])),
            observed_at: Timestamp::from_secs(5),
        };
        let encoded = codec.encode(&letter).unwrap();
        let read: crate::events::DeadLettersEvent = codec.decode(&encoded.value).unwrap();
        assert_eq!(read, letter.into());
        let snapshot = StateSnapshot {
            partition: 0,
            log_id: crate::LogId::from_uuid(uuid::Uuid::nil()),
            cut: 1,
            cut_hash: Hash32::ZERO,
            decisions_offset: 2,
            plan_version: 1,
            part: 0,
            parts: 1,
            state: Bytes::from_static(b"\x00\x01state"),
        };
        let encoded = codec.encode(&snapshot).unwrap();
        let read: crate::events::DecideStateEvent = codec.decode(&encoded.value).unwrap();
        assert_eq!(read, snapshot.into());
    }

    #[test]
    fn the_same_record_under_another_id_has_the_same_hash() {
        let codec = Codec::bundled().unwrap();
        let encoded = codec.encode(&watermark()).unwrap();
        let schema = released().unwrap().into_iter().find(|r| r.name == "Watermark").unwrap();
        codec.learn(SchemaId(4_000), schema.json).unwrap();
        let mut other = encoded.value.to_vec();
        other[1..5].copy_from_slice(&4_000u32.to_be_bytes());
        assert_eq!(codec.content_hash(&other), encoded.hash);
        assert!(codec.decode::<FillsEvent>(&other).is_ok());
    }

    #[test]
    fn what_is_no_record_is_named_as_what_it_is() {
        let codec = Codec::bundled().unwrap();
        let code = |value: &[u8]| codec.decode::<FillsEvent>(value).unwrap_err().code();
        assert_eq!(code(b""), "record_not_framed");
        assert_eq!(code(b"{\"a\":1}"), "record_not_framed");
        assert_eq!(code(&[0, 0xff, 0, 0, 0, 1]), "record_schema_unknown");
        assert_eq!(code(&[0, 0x50, 0x4d, 0xff, 0xff, 1]), "record_schema_newer");
        let mut whole = codec.encode(&watermark()).unwrap().value.to_vec();
        whole.push(0);
        assert_eq!(code(&whole), "record_not_readable");
        whole.truncate(20);
        assert_eq!(code(&whole), "record_not_readable");
        let gap = codec.encode(&crate::events::Gap { count: 1 }).unwrap();
        assert_eq!(code(&gap.value), "record_of_another_topic");
    }

    /// A registry that newer programs have told of their records knows them by name.
    #[test]
    fn a_record_that_a_newer_program_brought_is_none_of_another_topic() {
        let codec = Codec::bundled().unwrap();
        for (id, name) in [(1, "polymirror.Later"), (2, "others.Later"), (3, "Later"), (4, "polymirror.Gap")]
        {
            let schema = format!(r#"{{"type":"record","name":"{name}","fields":[]}}"#);
            codec.learn(SchemaId(id), &schema).unwrap();
        }
        let read = |id: u8| codec.decode::<FillsEvent>(&[0, 0, 0, 0, id]).unwrap_err();
        assert_eq!((read(1).code(), read(1).is_of_reader()), ("record_schema_newer", true));
        for id in 2..=4 {
            assert_eq!((read(id).code(), read(id).is_of_reader()), ("record_of_another_topic", false));
        }
    }

    /// The figure was computed by hand as the specification says, and is what fastavro says.
    #[test]
    fn fingerprints_are_those_of_other_implementations() {
        let plain = r#"{"type":"record","name":"x.R","fields":[{"name":"at","type":"long"}]}"#;
        let rich = r#"{"type":"record","name":"R","namespace":"x","doc":"d","fields":[{"name":"at","doc":"d",
            "type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;
        assert_eq!(fingerprint(rich).unwrap(), fingerprint(plain).unwrap());
        assert_eq!(fingerprint(plain).unwrap(), [0x32, 0xd3, 0xe5, 0x0d, 0x42, 0xd2, 0x21, 0x7c]);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(value: Vec<u8>, id in 1u32..30) {
            let codec = Codec::bundled().unwrap();
            let _ = codec.decode::<FillsEvent>(&value);
            let mut framed = vec![0];
            framed.extend_from_slice(&id.to_be_bytes());
            framed.extend_from_slice(&value);
            let _ = codec.decode::<FillsEvent>(&framed);
        }
    }
}
