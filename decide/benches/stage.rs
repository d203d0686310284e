//! The decide stage from and to Kafka, beside a bare loop that consumes the same fills and produces the same records
//! in the same transactions at the same broker.
//!
//! `cargo bench -p decide --bench stage`, with `KAFKA_BROKERS` or the jars that `make setup` brings. Both sides are
//! members of their group and idle when a round's fills arrive; a round ends when the last of its output is
//! committed. The first round warms up and is not told. The stage's output is read when a round is over: whoever reads
//! it meanwhile takes the processor from the stage, and nobody reads the bare loop's.
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

use decide::{
    chain::{Block, Chain},
    fixtures::{T0, fill_of, input, px, sh, snapshot, target, usd, wallet},
    plan::settings::defaults,
    shell,
};
use eventlog::{
    Append, Expected, Log, Offset, Record, Stored, TopicPartition, VenueKind, Written,
    kafka::{KafkaConfig, KafkaLog},
};
use rdkafka::{
    ClientConfig, Message, Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::OwnedHeaders,
    producer::{BaseProducer, BaseRecord, Producer},
};
use runtime::{Board, Chance, Stop, SystemClock};
use schemas::{
    Side, Sizing,
    codec::Codec,
    events::{IntentsEvent, Policy},
    topics::Topic,
};

/// The program's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Fills of one round, of so many wallets with a follower each.
const FILLS: usize = 20_000;
const WALLETS: u8 = 20;
/// Rounds that are told.
const ROUNDS: usize = 7;

const IN: TopicPartition = TopicPartition::new(Topic::Fills, 0);
const OUT: TopicPartition = TopicPartition::new(Topic::Decisions, 0);
const INTENTS: TopicPartition = TopicPartition::new(Topic::Intents, 0);

/// What one transaction of the stage took and wrote.
struct Transaction {
    fills: i64,
    records: Vec<(TopicPartition, Record)>,
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
    let prefix = testkit::unique("stage") + ".";
    let expected = Expected {
        venue: VenueKind::Simulator,
        wallet_partitions: 1,
        account_partitions: 1,
        market_partitions: 1,
        log_id: None,
    };
    let open = async |prefix: &str| {
        let config = KafkaConfig::new(&brokers).with_prefix(prefix);
        KafkaLog::open(config, &expected, SystemClock::shared(), &Chance::system()).await.unwrap()
    };
    let log: Arc<dyn Log> = Arc::new(open(&prefix).await);
    let codec = Codec::bundled().unwrap();
    follow(&log, &codec).await;

    let stop = Stop::new();
    let board = Board::new();
    let ports = shell::Ports {
        log: log.clone(),
        codec: codec.clone(),
        clock: SystemClock::shared(),
        chance: Chance::system(),
        board: board.clone(),
        stop: stop.clone(),
    };
    let stage = tokio::spawn(shell::run(ports, shell::Options::default()));
    // Once it has decided on what was there, it is a member and idle.
    let mut chain = Chain::genesis();
    let mut from = Offset::ZERO;
    follow_chain(&log, &codec, &mut chain, &mut from, Offset(i64::from(WALLETS))).await;
    let mut intents_from = Offset::ZERO;

    // The bare loop's topics are made like the stage's.
    let prefix = format!("{prefix}bare.");
    open(&prefix).await;
    let mut bare = Bare::joined(&brokers, prefix);
    let (mut ours, mut theirs, mut reasons) = (Vec::new(), Vec::new(), BTreeMap::new());
    for round in 0..=ROUNDS {
        let fills = fills(&codec, round);
        let begin = Instant::now();
        let places = append(&log, IN, &fills).await;
        let end = places.last().unwrap().next();
        decided(&board, (round + 1) * FILLS).await;
        let took = begin.elapsed();
        let blocks = follow_chain(&log, &codec, &mut chain, &mut from, end).await;
        let written = written(&log, &codec, &blocks, &mut intents_from).await;
        let bare_took = bare.round(&fills, &written);
        println!("round {round}: decide {took:?} in {} transactions, bare {bare_took:?}", written.len());
        if round > 0 {
            ours.push(took);
            theirs.push(bare_took);
            let decisions = blocks.iter().flat_map(|b| &b.decisions);
            for d in decisions {
                *reasons.entry(d.decision.reason.as_str()).or_insert(0) += 1;
            }
        }
    }
    stop.request();
    stage.await.unwrap().unwrap();
    assert_eq!(reasons.values().sum::<usize>(), ROUNDS * FILLS, "every fill ends in one decision");
    ours.sort_unstable();
    theirs.sort_unstable();
    let rate = |each: &[Duration]| FILLS as f64 / each[each.len() / 2].as_secs_f64();
    let (ours, theirs) = (rate(&ours), rate(&theirs));
    println!("decided: {reasons:?}");
    println!("decide stage, from and to Kafka      {ours:>9.0} decisions/s (median of {ROUNDS})");
    println!("  bare consume and produce           {theirs:>9.0} decisions/s");
    println!("  the stage's part of the bare loop  {:>9.2}", ours / theirs);
}

/// Every wallet is followed by an account of its own.
async fn follow(log: &Arc<dyn Log>, codec: &Codec) {
    // Nobody places the orders, so nothing ever leaves the caps: they are wide.
    let policy = Policy {
        usdc_per_trade: Some(usd("4")),
        max_usdc_per_token: Some(usd("1000000")),
        max_open_orders: Some(1_000_000),
        ..defaults(Sizing::Fixed)
    };
    let targets: Vec<Record> =
        (1..=WALLETS).map(|n| input(codec, wallet(n), &target(n, n, policy.clone()))).collect();
    append(log, TopicPartition::new(Topic::Targets, 0), &targets).await;
    let snapshots: Vec<Record> = (1..=WALLETS).map(|n| input(codec, wallet(n), &snapshot(n, &[]))).collect();
    append(log, IN, &snapshots).await;
}

/// A round's fills: BUYs on 250 markets, with a SELL in ten, of now.
fn fills(codec: &Codec, round: usize) -> Vec<Record> {
    let now = SystemClock::shared().now().secs() - T0.secs();
    (0..FILLS)
        .map(|n| {
            let of = u8::try_from(n % usize::from(WALLETS)).unwrap() + 1;
            let market = u8::try_from((n / usize::from(WALLETS) + round * 31) % 250).unwrap() + 1;
            let side = if n % 10 == 9 { Side::Sell } else { Side::Buy };
            let tx = u64::try_from(round * FILLS + n).unwrap() + 1;
            input(codec, wallet(of), &fill_of(of, tx, market, 0, side, sh("25"), px("0.40"), now))
        })
        .collect()
}

async fn append(log: &Arc<dyn Log>, to: TopicPartition, records: &[Record]) -> Vec<Offset> {
    let mut places = Vec::new();
    for chunk in records.chunks(1_000) {
        let batch = chunk.iter().map(|record| Append { to, record: record.clone() }).collect();
        match log.append(batch).await {
            Written::Done(at) => places.extend(at),
            other => panic!("{other:?}"),
        }
    }
    places
}

/// Waits until the stage has told of so many decisions in all, which it does once they are committed.
async fn decided(board: &Board, all: usize) {
    while board.figures().decisions.values().sum::<u64>() < u64::try_from(all).unwrap() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Reads the chain on until it has taken the fills up to `end`.
async fn follow_chain(
    log: &Arc<dyn Log>,
    codec: &Codec,
    chain: &mut Chain,
    from: &mut Offset,
    end: Offset,
) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    loop {
        let records = log.read(OUT, *from, 10_000).await.unwrap();
        if records.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for stored in &records {
            *from = stored.offset.next();
            if let Some(block) = chain.push(codec, stored) {
                let (_, until) = fills_of(&block);
                blocks.push(block);
                if until >= end.0 {
                    return blocks;
                }
            }
        }
    }
}

/// The fills that a cut takes: from, until.
fn fills_of(block: &Block) -> (i64, i64) {
    let fills = block.cut.taken.iter().find(|t| t.topic == Topic::Fills.name());
    fills.map_or((0, 0), |t| (t.from, t.until))
}

/// What each transaction of the stage wrote, byte for byte.
async fn written(
    log: &Arc<dyn Log>,
    codec: &Codec,
    blocks: &[Block],
    intents_from: &mut Offset,
) -> Vec<Transaction> {
    let mut intents: BTreeMap<i64, Vec<Record>> = BTreeMap::new();
    for stored in range(log, INTENTS, *intents_from, None).await {
        let intent: IntentsEvent = codec.decode(stored.record.value.as_ref().unwrap()).unwrap();
        let head = match &intent {
            IntentsEvent::PlaceIntent(i) => &i.head,
            IntentsEvent::CloseIntent(i) => &i.head,
            IntentsEvent::CancelIntent(i) => &i.head,
            IntentsEvent::MigrateIntent(i) => &i.head,
        };
        intents.entry(head.origin.cut).or_default().push(stored.record);
        *intents_from = stored.offset.next();
    }
    let mut all = Vec::new();
    for block in blocks {
        let out = range(log, OUT, block.offset, Some(block.end)).await.into_iter().map(|s| (OUT, s.record));
        let of_it = intents.remove(&block.cut.number).unwrap_or_default();
        let records = out.chain(of_it.into_iter().map(|record| (INTENTS, record))).collect();
        let (from, until) = fills_of(block);
        all.push(Transaction { fills: until - from, records });
    }
    all
}

async fn range(log: &Arc<dyn Log>, at: TopicPartition, from: Offset, until: Option<Offset>) -> Vec<Stored> {
    let until = match until {
        Some(until) => until,
        None => log.extent(at).await.unwrap().end,
    };
    let (mut all, mut from) = (Vec::new(), from);
    while from < until {
        let records = log.read(at, from, 10_000).await.unwrap();
        let Some(last) = records.last() else { break };
        from = last.offset.next();
        all.extend(records.into_iter().filter(|r| r.offset < until));
    }
    all
}

/// A transactional loop on nothing but rdkafka.
struct Bare {
    consumer: BaseConsumer,
    producer: BaseProducer,
    /// Puts the fills there, as ingest would.
    source: BaseProducer,
    prefix: String,
    next: i64,
}

impl Bare {
    fn joined(brokers: &str, prefix: String) -> Self {
        let config = |more: &[(&str, &str)]| {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", brokers).set("linger.ms", "0");
            for (key, value) in more {
                config.set(*key, *value);
            }
            config
        };
        let source: BaseProducer = config(&[("enable.idempotence", "true")]).create().unwrap();
        let producer: BaseProducer = config(&[("transactional.id", &prefix)]).create().unwrap();
        producer.init_transactions(Duration::from_secs(30)).unwrap();
        let group = [
            ("group.id", prefix.as_str()),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
            ("check.crcs", "true"),
        ];
        let mut consumer = ClientConfig::new();
        consumer.set("bootstrap.servers", brokers);
        for (key, value) in group {
            consumer.set(key, value);
        }
        let consumer: BaseConsumer = consumer.create().unwrap();
        let mut bare = Self { consumer, producer, source, prefix, next: 0 };
        // It is a member once it has taken something.
        bare.put(&[Record { key: None, value: None, headers: Vec::new(), timestamp: T0 }]);
        let topic = bare.topic(IN);
        bare.consumer.subscribe(&[&topic]).unwrap();
        while bare.next == 0 {
            if let Some(Ok(message)) = bare.consumer.poll(Duration::from_secs(1)) {
                bare.next = message.offset() + 1;
            }
        }
        bare
    }

    fn topic(&self, at: TopicPartition) -> String {
        format!("{}{}", self.prefix, at.topic.name())
    }

    fn put(&self, records: &[Record]) {
        let topic = self.topic(IN);
        for record in records {
            send(&self.source, &topic, record);
        }
        drain(&self.source);
    }

    /// Consumes a round's fills, and produces what the stage wrote for them, transaction by transaction.
    fn round(&mut self, fills: &[Record], written: &[Transaction]) -> Duration {
        let begin = Instant::now();
        self.put(fills);
        let (source, out, intents) = (self.topic(IN), self.topic(OUT), self.topic(INTENTS));
        for transaction in written {
            let end = self.next + transaction.fills;
            let mut bytes = 0;
            while self.next < end {
                if let Some(message) = self.consumer.poll(Duration::from_secs(1)) {
                    let message = message.unwrap();
                    bytes += message.payload().map_or(0, <[u8]>::len);
                    self.next = message.offset() + 1;
                }
            }
            assert!(bytes > 0 || transaction.fills == 0);
            self.producer.begin_transaction().unwrap();
            for (to, record) in &transaction.records {
                send(&self.producer, if to.topic == Topic::Intents { &intents } else { &out }, record);
            }
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(&source, 0, KafkaOffset::Offset(self.next)).unwrap();
            let group = self.consumer.group_metadata().unwrap();
            self.producer.send_offsets_to_transaction(&offsets, &group, Duration::from_secs(10)).unwrap();
            drain(&self.producer);
            self.producer.commit_transaction(Duration::from_secs(10)).unwrap();
        }
        begin.elapsed()
    }
}

fn send(producer: &BaseProducer, topic: &str, record: &Record) {
    let key = record.key.as_deref().unwrap_or_default();
    let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, h| {
        headers.insert(rdkafka::message::Header { key: &h.name, value: h.value.as_deref() })
    });
    let payload = record.value.as_deref().unwrap_or_default();
    let mut message = BaseRecord::to(topic)
        .partition(0)
        .key(key)
        .payload(payload)
        .headers(headers)
        .timestamp(record.timestamp.millis());
    while let Err((_, again)) = producer.send(message) {
        producer.poll(Duration::from_millis(1));
        message = again;
    }
    producer.poll(Duration::ZERO);
}

/// librdkafka's own flush sleeps in slices of 100 ms: this loop shall not lose by that.
fn drain(producer: &BaseProducer) {
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
}
