//! What the Kafka backend costs, beside a bare rdkafka loop with the same bytes at the same broker.
//!
//! `cargo bench -p eventlog --bench kafka`, with `KAFKA_BROKERS` or the jars that `make setup` brings. Each figure is taken
//! after a warm-up: a consumer's first fetch takes far longer than the later ones.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench: it measures real time, and ends where something is wrong"
)]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use eventlog::{
    Append, Expected, Group, Header, Log, Member, Offset, Polled, Record, TopicPartition, VenueKind, Written,
    kafka::{KafkaConfig, KafkaLog},
};
use rdkafka::{
    ClientConfig, Message, Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use runtime::{Chance, SystemClock};
use schemas::{Timestamp, topics::Topic};

/// A record has a key of 42 bytes, a value of 400 and four headers: about what a fill has.
const KEY: &str = "0x56687bf447db6ffa42ffe2204a05edaa20f55839";
const VALUE: usize = 400;
const HEADERS: [(&str, &str); 4] = [
    ("ce_id", "0123456789abcdef0123456789abcdef"),
    ("ce_type", "polymirror.Fill"),
    ("ce_time", "1700000000000000"),
    ("traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"),
];
const RECORDS: usize = 200_000;
const BATCH: usize = 1_000;
const ROUNDS: usize = 1_000;
const WARM_UP: usize = 50;

const FILLS: TopicPartition = TopicPartition::new(Topic::Fills, 0);
const DECISIONS: TopicPartition = TopicPartition::new(Topic::Decisions, 0);

fn record(to: TopicPartition) -> Append {
    let header = |(name, value): (&str, &'static str)| Header {
        name: name.to_owned(),
        value: Some(Bytes::from_static(value.as_bytes())),
    };
    let record = Record {
        key: Some(Bytes::from_static(KEY.as_bytes())),
        value: Some(Bytes::from(vec![7; VALUE])),
        headers: HEADERS.map(header).to_vec(),
        timestamp: Timestamp::from_secs(1_700_000_000),
    };
    Append { to, record }
}

fn bare_headers() -> OwnedHeaders {
    HEADERS.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(rdkafka::message::Header { key, value: Some(*value) })
    })
}

fn done<T: std::fmt::Debug>(written: Written<T>) -> T {
    match written {
        Written::Done(t) => t,
        other => panic!("{other:?}"),
    }
}

fn rate(what: &str, count: usize, took: Duration) {
    println!("{what:<52} {:>10.0} records/s", count as f64 / took.as_secs_f64());
}

fn latency(what: &str, mut each: Vec<Duration>) {
    each.sort_unstable();
    let at = |percent: usize| each[(each.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("{what:<52} p50 {:>7.2} ms   p99 {:>7.2} ms", at(50), at(99));
}

#[tokio::main]
async fn main() {
    // `cargo test --all-targets` runs benches too, in a build that measures nothing.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let brokers = match testkit::kafka().await {
        testkit::Kafka::Available(brokers) => brokers,
        testkit::Kafka::Missing(why) => return println!("no figures of Kafka: {why}"),
    };
    let prefix = testkit::unique("bench") + ".";
    let expected = Expected {
        venue: VenueKind::Simulator,
        wallet_partitions: 1,
        account_partitions: 1,
        market_partitions: 1,
        log_id: None,
    };
    let config = KafkaConfig::new(&brokers).with_prefix(&prefix);
    let log = KafkaLog::open(config, &expected, SystemClock::shared(), &Chance::system()).await.unwrap();
    let log: Arc<dyn Log> = Arc::new(log);
    println!("one partition, batches of {BATCH}");
    appends(&log).await;
    bare_appends(&brokers, &prefix);
    reads(&log).await;
    bare_reads(&brokers, &prefix);
    single_appends(&log).await;
    let mut member = joined(&log, "bench").await;
    append_to_poll(&log, &mut *member).await;
    commits(&mut *member, 10, "commit of 10 records and an offset").await;
    commits(&mut *member, 0, "commit of an offset alone").await;
    tail_reads(&log, &mut *member).await;
    member.leave().await.unwrap();
    for pause in [Duration::ZERO, Duration::from_millis(10)] {
        bare_commits(&brokers, &prefix, pause);
    }
}

async fn appends(log: &Arc<dyn Log>) {
    for (count, told) in [(20 * BATCH, false), (RECORDS, true)] {
        let begin = Instant::now();
        let mut running = Vec::new();
        for _ in 0..count / BATCH {
            let batch = vec![record(FILLS); BATCH];
            let log = log.clone();
            running.push(tokio::spawn(async move { done(log.append(batch).await) }));
            // A few batches at a time, as a stage that catches up would.
            if running.len() == 8 {
                running.remove(0).await.unwrap();
            }
        }
        for r in running {
            r.await.unwrap();
        }
        if told {
            rate("append", count, begin.elapsed());
        }
    }
}

fn bare_appends(brokers: &str, prefix: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create()
        .unwrap();
    let (topic, value) = (format!("{prefix}markets"), vec![7_u8; VALUE]);
    for (count, told) in [(20 * BATCH, false), (RECORDS, true)] {
        let begin = Instant::now();
        for n in 0..count {
            let message = BaseRecord::to(&topic).partition(0).key(KEY).payload(&value);
            let mut message = message.headers(bare_headers()).timestamp(1_700_000_000_000);
            while let Err((_, again)) = producer.send(message) {
                producer.poll(Duration::from_millis(1));
                message = again;
            }
            if n % 1_000 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(Duration::from_secs(60)).unwrap();
        if told {
            rate("  bare rdkafka", count, begin.elapsed());
        }
    }
}

async fn reads(log: &Arc<dyn Log>) {
    let end = log.extent(FILLS).await.unwrap().end;
    for told in [false, true] {
        let begin = Instant::now();
        let (mut from, mut count) = (Offset::ZERO, 0);
        while from < end {
            let records = log.read(FILLS, from, BATCH).await.unwrap();
            from = records.last().unwrap().offset.next();
            count += records.len();
        }
        if told {
            rate("read of a range", count, begin.elapsed());
        }
    }
    for told in [false, true] {
        let mut member = joined(log, "reads").await;
        member.seek(FILLS, Offset::ZERO).await.unwrap();
        let (mut count, mut begin) = (0, None);
        while count < RECORDS {
            if let Polled::Records(records) = member.poll(BATCH, Duration::from_secs(1)).await.unwrap() {
                begin.get_or_insert_with(Instant::now);
                count += records.len();
            }
        }
        if told {
            rate("poll of a member", count, begin.unwrap().elapsed());
        }
        member.leave().await.unwrap();
    }
}

fn bare_reads(brokers: &str, prefix: &str) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("{prefix}bare"))
        .set("check.crcs", "true")
        .create()
        .unwrap();
    for told in [false, true] {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&format!("{prefix}markets"), 0, KafkaOffset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let (mut count, mut bytes, mut begin) = (0, 0, None);
        while count < RECORDS {
            if let Some(Ok(message)) = consumer.poll(Duration::from_secs(1)) {
                begin.get_or_insert_with(Instant::now);
                let headers = message.headers().map_or(0, Headers::count);
                bytes += message.payload().map_or(0, <[u8]>::len) + headers;
                count += 1;
            }
        }
        assert!(bytes > 0);
        if told {
            rate("  bare rdkafka", count, begin.unwrap().elapsed());
        }
    }
}

async fn single_appends(log: &Arc<dyn Log>) {
    let mut each = Vec::new();
    for n in 0..ROUNDS + WARM_UP {
        let begin = Instant::now();
        done(log.append(vec![record(FILLS)]).await);
        if n >= WARM_UP {
            each.push(begin.elapsed());
        }
    }
    latency("append of one record", each);
}

/// Reads at the end of a partition, as a stage that follows it would: what a commit just put there, or nothing.
async fn tail_reads(log: &Arc<dyn Log>, member: &mut dyn Member) {
    let (mut fresh, mut nothing) = (Vec::new(), Vec::new());
    for n in 0..(ROUNDS / 5) + WARM_UP {
        let place = BTreeMap::from([(FILLS, Offset(i64::try_from(n).unwrap()))]);
        let from = log.extent(DECISIONS).await.unwrap().end;
        done(member.commit(vec![record(DECISIONS); 10], place).await);
        let begin = Instant::now();
        let records = log.read(DECISIONS, from, 100).await.unwrap();
        let took = begin.elapsed();
        assert_eq!(records.len(), 10);
        let begin = Instant::now();
        assert!(log.read(DECISIONS, records[9].offset.next(), 100).await.unwrap().is_empty());
        if n >= WARM_UP {
            fresh.push(took);
            nothing.push(begin.elapsed());
        }
        let _polled = member.poll(1, Duration::ZERO).await.unwrap();
    }
    latency("read of what was just committed, to the end", fresh);
    latency("read at the end", nothing);
}

/// A member that holds everything and has read to the end.
async fn joined(log: &Arc<dyn Log>, name: &str) -> Box<dyn Member> {
    let session = Duration::from_secs(30);
    let group = Group { name: name.into(), topics: vec![Topic::Fills], session };
    let mut member = log.join(group).await.unwrap();
    while member.assignment().is_empty() {
        member.poll(1, Duration::from_millis(100)).await.unwrap();
    }
    let end = log.extent(FILLS).await.unwrap().end;
    member.seek(FILLS, end).await.unwrap();
    member
}

async fn append_to_poll(log: &Arc<dyn Log>, member: &mut dyn Member) {
    for pause in [Duration::ZERO, Duration::from_millis(20)] {
        let mut each = Vec::new();
        for n in 0..(ROUNDS / 2) + WARM_UP {
            tokio::time::sleep(pause).await;
            let begin = Instant::now();
            let append = async { done(log.append(vec![record(FILLS)]).await) };
            let poll = async {
                loop {
                    if let Polled::Records(_) = member.poll(10, Duration::from_secs(1)).await.unwrap() {
                        return begin.elapsed();
                    }
                }
            };
            let (_, took) = tokio::join!(append, poll);
            if n >= WARM_UP {
                each.push(took);
            }
        }
        latency(&format!("from append to poll, every {pause:?} and more"), each);
    }
}

async fn commits(member: &mut dyn Member, records: usize, what: &str) {
    for pause in [Duration::ZERO, Duration::from_millis(10)] {
        let mut each = Vec::new();
        for n in 0..ROUNDS + WARM_UP {
            tokio::time::sleep(pause).await;
            let place = Offset(i64::try_from(n).unwrap());
            let begin = Instant::now();
            done(member.commit(vec![record(DECISIONS); records], BTreeMap::from([(FILLS, place)])).await);
            if n >= WARM_UP {
                each.push(begin.elapsed());
            }
            let _polled = member.poll(1, Duration::ZERO).await.unwrap();
        }
        latency(&format!("{what}, {pause:?} in between"), each);
    }
}

fn bare_commits(brokers: &str, prefix: &str, pause: Duration) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("transactional.id", format!("{prefix}bare"))
        .set("linger.ms", "0")
        .create()
        .unwrap();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("{prefix}bare"))
        .create()
        .unwrap();
    producer.init_transactions(Duration::from_secs(30)).unwrap();
    let (topic, value) = (format!("{prefix}decisions"), vec![7_u8; VALUE]);
    let mut each = Vec::new();
    for n in 0..ROUNDS + WARM_UP {
        std::thread::sleep(pause);
        let begin = Instant::now();
        producer.begin_transaction().unwrap();
        for _ in 0..10 {
            let message = BaseRecord::to(&topic).partition(0).key(KEY).payload(&value);
            assert!(producer.send(message.headers(bare_headers())).is_ok());
        }
        let mut offsets = TopicPartitionList::new();
        let place = KafkaOffset::Offset(i64::try_from(n).unwrap());
        offsets.add_partition_offset(&format!("{prefix}fills"), 0, place).unwrap();
        let group = consumer.group_metadata().unwrap();
        producer.send_offsets_to_transaction(&offsets, &group, Duration::from_secs(10)).unwrap();
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_millis(1));
        }
        producer.commit_transaction(Duration::from_secs(10)).unwrap();
        if n >= WARM_UP {
            each.push(begin.elapsed());
        }
    }
    latency(&format!("  bare rdkafka, 10 records and an offset, {pause:?}"), each);
}
