//! A topic that only our own code can read is not a log: another program (`tests/foreign/readers.py`, of
//! confluent-kafka and fastavro) reads every record from Kafka with nothing but the schema files, and what it
//! writes is read here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../../../schemas/tests/samples/mod.rs"]
mod samples;

use std::{collections::BTreeSet, fmt::Debug, process::Stdio, time::Duration};

use eventlog::{
    Append, Expected, Header, Log, Manifest, Offset, Record, Stored, TopicPartition, VenueKind, Written,
    event,
    kafka::{KafkaConfig, KafkaLog},
};
use runtime::{Chance, SystemClock};
use samples::{Sample, Visitor, samples, visit};
use schemas::{
    IdempotencyKey, Timestamp,
    avro::Event,
    codec::Codec,
    events::{TopicEvents, all_records},
    topics::{Topic, partition_of_wallet},
};
use serde_json::{Value, json};

/// Longer than Python, Kafka and a busy machine take together.
const PATIENCE: Duration = Duration::from_secs(180);

/// A sample with its key and its place.
struct Placed {
    sample: Sample,
    key: String,
    /// What its partition follows from by murmur2; none where the writer chose a number.
    follows: Option<String>,
    at: TopicPartition,
}

/// Keys and places as `design.md` says, under The log.
fn place(mut sample: Sample, manifest: &Manifest, n: usize) -> Placed {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let number = i32::try_from(n).unwrap() % manifest.wallet_partitions;
    let v = &mut sample.value;
    let (key, follows, partition) = match sample.topic {
        Topic::Fills | Topic::Targets | Topic::Orders => {
            let wallet = text(&v["wallet"]);
            (wallet.clone(), Some(wallet.clone()), partition_of_wallet(wallet.parse().unwrap(), 5))
        }
        Topic::Decisions if sample.name == "Decision" => {
            let wallet = text(&v["wallet"]);
            let partition = partition_of_wallet(wallet.parse().unwrap(), 5);
            (text(&v["idempotency_key"]), Some(wallet), partition)
        }
        Topic::Decisions | Topic::DecideState => {
            v["partition"] = json!(number);
            (number.to_string(), None, number)
        }
        Topic::Intents => by_key(manifest, sample.topic, text(&v["head"]["billing_account_id"])),
        Topic::Controls => {
            let account = v["billing_account_id"].as_str().unwrap_or("*").to_owned();
            by_key(manifest, sample.topic, account)
        }
        Topic::Markets => {
            let condition = v.get("condition_id").unwrap_or(&v["facts"]["condition_id"]);
            by_key(manifest, sample.topic, text(condition))
        }
        Topic::DeadLetters => by_key(manifest, sample.topic, "as received: ž".to_owned()),
    };
    let at = TopicPartition::new(sample.topic, partition);
    Placed { sample, key, follows, at }
}

fn by_key(manifest: &Manifest, topic: Topic, key: String) -> (String, Option<String>, i32) {
    let at = manifest.place(topic, key.as_bytes());
    (key.clone(), Some(key), at.partition)
}

/// The record of a sample, as the stages make it.
struct Make<'a> {
    codec: &'a Codec,
    of: &'a Placed,
    at: Timestamp,
}

impl Visitor for Make<'_> {
    type Out = Record;

    fn visit<E: Event + PartialEq + Debug, T: TopicEvents + From<E> + PartialEq + Debug>(self) -> Record {
        let event: E = serde_json::from_value(self.of.sample.value.clone()).unwrap();
        let trace = self.of.key.parse::<IdempotencyKey>().ok().map(event::trace_of);
        let (mut record, _) = event::record(self.codec, &self.of.key, &event, self.at, trace).unwrap();
        if E::NAME == "Decision" {
            let salt = Some("00112233445566778899aabbccddeeff".into());
            record.headers.push(Header { name: event::SALT.into(), value: salt });
        }
        // Nothing forbids a header twice, or one without a value.
        record.headers.push(Header { name: "x-twice".into(), value: Some("one".into()) });
        record.headers.push(Header { name: "x-twice".into(), value: None });
        record
    }
}

/// Whether a value is read as what the sample says.
struct Reads<'a> {
    codec: &'a Codec,
    of: &'a Placed,
    value: &'a [u8],
}

impl Visitor for Reads<'_> {
    type Out = ();

    fn visit<E: Event + PartialEq + Debug, T: TopicEvents + From<E> + PartialEq + Debug>(self) {
        let event: E = serde_json::from_value(self.of.sample.value.clone()).unwrap();
        let read = self.codec.decode::<T>(self.value).unwrap_or_else(|e| panic!("{}: {e}", E::NAME));
        assert_eq!(read, T::from(event));
    }
}

fn told(placed: &Placed, record: &Record, offset: Offset) -> Value {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers: Vec<Value> =
        record.headers.iter().map(|h| json!([h.name, h.value.as_deref().map(text)])).collect();
    json!({
        "topic": placed.at.topic.name(),
        "partition": placed.at.partition,
        "offset": offset.0,
        "record": placed.sample.name,
        "value": placed.sample.value,
        "key": placed.key,
        "placed_by": placed.follows,
        "headers": headers,
        "timestamp_ms": record.timestamp.millis(),
    })
}

/// Python's answer: where each record that it wrote came to stand.
async fn python(program: &std::path::Path, job: &Value) -> Vec<(i32, Offset)> {
    let dir = tempfile::tempdir().unwrap();
    let (job_file, answer_file) = (dir.path().join("job.json"), dir.path().join("answer.json"));
    std::fs::write(&job_file, job.to_string()).unwrap();
    let script = testkit::workspace_root().join("tests/foreign/readers.py");
    let run = tokio::process::Command::new(program)
        .args(["-B".as_ref(), script.as_os_str(), job_file.as_os_str(), answer_file.as_os_str()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("Python ends in time").unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&said));
    let answer: Value = serde_json::from_slice(&std::fs::read(answer_file).unwrap()).unwrap();
    let place = |v: &Value| {
        let partition = v["partition"].as_i64().unwrap().try_into().unwrap();
        (partition, Offset(v["offset"].as_i64().unwrap()))
    };
    answer.as_array().unwrap().iter().map(place).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_reads_what_we_write_and_we_read_what_it_writes() {
    const TEST: &str = "another_program_reads_what_we_write_and_we_read_what_it_writes";
    let Some(program) = testkit::python_or_skip(TEST) else { return };
    let Some(brokers) = testkit::kafka_or_skip(TEST).await else { return };
    let prefix = testkit::unique("foreign") + ".";
    let config = KafkaConfig::new(&brokers).with_prefix(&prefix);
    let expected = Expected {
        venue: VenueKind::Simulator,
        wallet_partitions: 5,
        account_partitions: 3,
        market_partitions: 4,
        log_id: None,
    };
    let log = KafkaLog::open(config, &expected, SystemClock::shared(), &Chance::system()).await.unwrap();
    let (codec, manifest) = (Codec::bundled().unwrap(), log.manifest().clone());

    // What we write: every record, full, empty, and by chance.
    let written: Vec<Placed> =
        samples(6).into_iter().enumerate().map(|(n, s)| place(s, &manifest, n)).collect();
    let names: BTreeSet<_> = written.iter().map(|p| p.sample.name).collect();
    assert_eq!(names.len(), all_records().len());
    let begin = Timestamp::from_micros(1_790_000_000_123_000);
    let records: Vec<Record> = written
        .iter()
        .enumerate()
        .map(|(n, of)| {
            let at = begin.plus(Duration::from_millis(n as u64));
            visit(of.sample.name, Make { codec: &codec, of, at })
        })
        .collect();
    let appends = written.iter().zip(&records).map(|(p, r)| Append { to: p.at, record: r.clone() }).collect();
    let Written::Done(offsets) = log.append(appends).await else { panic!("not written") };

    // What it reads, and where what it wrote came to stand.
    let told: Vec<Value> = written
        .iter()
        .zip(&records)
        .zip(&offsets)
        .map(|((placed, record), offset)| told(placed, record, *offset))
        .collect();
    let counts: Value =
        Topic::ALL.into_iter().map(|t| (t.name().to_owned(), json!(manifest.partitions(t)))).collect();
    let job = json!({
        "root": testkit::workspace_root(),
        "brokers": brokers,
        "prefix": prefix,
        "partitions": counts,
        "records": told,
    });
    let places = python(&program, &job).await;
    assert_eq!(places.len(), written.len());

    // What we read of that.
    for (((placed, record), ours), (partition, offset)) in
        written.iter().zip(&records).zip(&offsets).zip(places)
    {
        let what = format!("{} {:?}", placed.sample.name, placed.sample.shape);
        assert_eq!(partition, placed.at.partition, "{what}: librdkafka finds another partition for its key");
        assert!(offset > *ours, "{what}");
        let read = log.read(placed.at, offset, 1).await.unwrap();
        let [Stored { offset: at, record: foreign, .. }] = read.as_slice() else {
            panic!("{what}: {read:?}")
        };
        assert_eq!(*at, offset, "{what}");
        assert_eq!(foreign.key, record.key, "{what}");
        assert_eq!(foreign.headers, record.headers, "{what}");
        assert_eq!(foreign.timestamp, record.timestamp, "{what}");
        let value = foreign.value.as_deref().unwrap();
        visit(placed.sample.name, Reads { codec: &codec, of: placed, value });
    }
}
