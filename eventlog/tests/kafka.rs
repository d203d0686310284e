//! The Kafka backend against a real broker: the conformance suite, and what only Kafka can get wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests: a promise that is not kept panics, and patience is real time"
)]

#[path = "kafka/proxy.rs"]
mod proxy;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use eventlog::{
    Append, Expected, Group, Log, LogError, Offset, Polled, Record, Stored, TopicPartition, VenueKind,
    Written,
    conformance::{
        Consumer, Harness, Lost,
        worker::{Job, Worker},
    },
    event,
    kafka::{KafkaConfig, KafkaLog},
    letter::{self, LONGEST_KEY, LONGEST_VALUE},
};
use proxy::{Api, Proxy};
use rdkafka::{
    ClientConfig, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    metadata::MetadataTopic,
    producer::{BaseProducer, BaseRecord, Producer},
};
use runtime::{Chance, SystemClock};
use schemas::{Timestamp, codec::Codec, events::DeadLetter, topics::Topic};

const PATIENCE: Duration = Duration::from_secs(60);
/// Short, and long enough for a busy machine not to miss it.
const SESSION: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Kafka {
    brokers: String,
    /// Where answers get lost, for the promises that are about that.
    proxy: Option<Proxy>,
}

async fn harness(test: &str) -> Option<Kafka> {
    let brokers = testkit::kafka_or_skip(test).await?;
    let proxy = if test.contains("lost") { proxy(&brokers).await } else { None };
    Some(Kafka { brokers, proxy })
}

/// A doorstep of the broker, if there is a single one on this machine.
async fn proxy(brokers: &str) -> Option<Proxy> {
    let port = brokers.strip_prefix("127.0.0.1:")?.parse().ok()?;
    Some(Proxy::start(port).await)
}

fn config(place: &str) -> KafkaConfig {
    let (brokers, prefix) = place.split_once('/').unwrap();
    KafkaConfig::new(brokers).with_prefix(prefix)
}

async fn open(config: KafkaConfig, expected: &Expected) -> Result<Arc<dyn Log>, LogError> {
    let log = KafkaLog::open(config, expected, SystemClock::shared(), &Chance::system()).await?;
    Ok(Arc::new(log))
}

#[async_trait]
impl Harness for Kafka {
    async fn fresh(&self) -> String {
        let address = self.proxy.as_ref().map_or_else(|| self.brokers.clone(), Proxy::address);
        format!("{address}/{}.", testkit::unique("log"))
    }

    async fn open(&self, place: &str, expected: &Expected) -> Result<Arc<dyn Log>, LogError> {
        open(config(place), expected).await
    }

    fn session(&self) -> Duration {
        SESSION
    }

    async fn lose_next_commit(&self, _place: &str, _log: &Arc<dyn Log>, lost: Lost) -> bool {
        self.proxy.as_ref().map(|proxy| proxy.lose(Api::END_TXN, lost)).is_some()
    }

    async fn lose_next_append(&self, _place: &str, _log: &Arc<dyn Log>, lost: Lost) -> bool {
        self.proxy.as_ref().map(|proxy| proxy.lose(Api::PRODUCE, lost)).is_some()
    }
}

eventlog::conformance_suite!(harness);

fn expected() -> Expected {
    eventlog::conformance::expected()
}

const fn at(topic: Topic, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn numbered(to: TopicPartition, n: usize) -> Append {
    let header = eventlog::Header { name: "n".into(), value: Some(Bytes::from(n.to_string())) };
    let record = Record {
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from(format!("record {n}"))),
        headers: vec![header],
        timestamp: Timestamp::from_secs(1_700_000_000),
    };
    Append { to, record }
}

fn numbers(records: &[Stored]) -> Vec<usize> {
    let number = |s: &Stored| std::str::from_utf8(s.record.header("n").unwrap()).unwrap().parse().unwrap();
    records.iter().map(number).collect()
}

fn done<T: std::fmt::Debug>(written: Written<T>) -> T {
    match written {
        Written::Done(t) => t,
        other => panic!("expected to be done: {other:?}"),
    }
}

async fn append(log: &dyn Log, to: TopicPartition, range: std::ops::Range<usize>) {
    done(log.append(range.map(|n| numbered(to, n)).collect()).await);
}

/// All that is committed of a partition, once nothing of it is open.
async fn read_all(log: &dyn Log, of: TopicPartition) -> Vec<Stored> {
    let extent = log.settled_extent(of).await.unwrap();
    log.read(of, extent.start, 1_000_000).await.unwrap()
}

fn group(name: &str) -> Group {
    Group { name: name.into(), topics: vec![Topic::Fills], session: SESSION }
}

/// The same for a member that is not to lose anything, however busy the machine.
fn patient(name: &str) -> Group {
    Group { session: PATIENCE, ..group(name) }
}

fn admin(h: &Kafka) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &h.brokers).create().unwrap()
}

/// Worker processes are killed with SIGKILL six times between the first record of a transaction and its end: three times
/// before the broker heard of the commit, three times after, with the answer still on its way. Each
/// successor ends what was left and goes on behind it: nothing is missing, doubled or out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_kills_within_transactions_lose_and_double_nothing() {
    const TEST: &str = "six_kills_within_transactions_lose_and_double_nothing";
    let Some(mut h) = harness(TEST).await else { return };
    h.proxy = proxy(&h.brokers).await;
    let Some(proxy) = h.proxy.clone() else {
        return testkit::skip(TEST, "needs a single broker on this machine");
    };
    let place = h.fresh().await;
    let log = open(config(&place), &expected()).await.unwrap();
    let total = 120;
    for partition in 0..4 {
        append(&*log, at(Topic::Fills, partition), 0..total).await;
    }
    for round in 0..6 {
        let lost = if round % 2 == 0 { Lost::Before } else { Lost::After };
        proxy.pass();
        let mut worker = Worker::start(&h, &place, Job::Copy { group: "six".into(), max: 7 });
        worker.says("copied", PATIENCE).await;
        let before = proxy.lost_so_far();
        proxy.lose(Api::END_TXN, lost);
        tokio::time::timeout(PATIENCE, proxy.has_lost(before + 1)).await.expect("a transaction to kill");
        worker.kill();
    }
    proxy.pass();
    let last = Worker::start(&h, &place, Job::Copy { group: "six".into(), max: 50 });
    testkit::wait_for("everything to be copied", PATIENCE, || async {
        let mut copied = 0;
        for partition in 0..4 {
            copied += read_all(&*log, at(Topic::Decisions, partition)).await.len();
        }
        copied >= 4 * total
    })
    .await;
    drop(last);
    for partition in 0..4 {
        let copied = numbers(&read_all(&*log, at(Topic::Decisions, partition)).await);
        assert_eq!(copied, (0..total).collect::<Vec<_>>(), "partition {partition}: once each, in order");
    }
}

/// A member whose neighbour dies within a transaction ends that at once, not after the ten seconds and the
/// sweep that the broker takes for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_heir_ends_what_a_neighbour_left_open() {
    const TEST: &str = "an_heir_ends_what_a_neighbour_left_open";
    let Some(mut h) = harness(TEST).await else { return };
    h.proxy = proxy(&h.brokers).await;
    let Some(proxy) = h.proxy.clone() else {
        return testkit::skip(TEST, "needs a single broker on this machine");
    };
    // Only the neighbour comes by the doorstep.
    let through = h.fresh().await;
    let (_, prefix) = through.split_once('/').unwrap();
    let log = open(KafkaConfig::new(&h.brokers).with_prefix(prefix), &expected()).await.unwrap();
    for partition in 0..4 {
        append(&*log, at(Topic::Fills, partition), 0..10).await;
    }
    let mut heir = Consumer::join(&log, group("heir")).await;
    heir.until("all partitions", PATIENCE, |c| c.held.len() == 4).await;
    let first = heir.held.first().copied().unwrap();
    done(heir.member.commit(Vec::new(), BTreeMap::from([(first, Offset::ZERO)])).await);

    proxy.lose(Api::END_TXN, Lost::Before);
    let neighbour = Worker::start(&h, &through, Job::Copy { group: "heir".into(), max: 5 });
    let within = proxy.has_lost(1);
    tokio::pin!(within);
    let begin = Instant::now();
    while tokio::time::timeout(Duration::ZERO, &mut within).await.is_err() {
        assert!(begin.elapsed() < PATIENCE, "the neighbour got no partitions");
        heir.step(100).await.unwrap();
    }
    neighbour.kill();
    let killed = Instant::now();
    // What it read before it had to share is read again.
    heir.until("to share", PATIENCE, |c| c.losses > 0).await;
    heir.until("all that is there", PATIENCE, |c| c.held.len() == 4 && c.staged.len() == 40).await;
    done(heir.copy().await);
    for partition in 0..4 {
        let copied = numbers(&read_all(&*log, at(Topic::Decisions, partition)).await);
        assert_eq!(copied, (0..10).collect::<Vec<_>>(), "partition {partition}");
    }
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(9), "it waited for the broker: {took:?}");
}

/// A foreign producer that died within a transaction holds up readers behind it; a settled extent waits until
/// the broker has ended it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settled_extent_waits_out_a_dead_producer_s_transaction() {
    let Some(h) = harness("a_settled_extent_waits_out_a_dead_producer_s_transaction").await else { return };
    let place = h.fresh().await;
    let log = open(config(&place), &expected()).await.unwrap();
    let of = at(Topic::Fills, 0);
    append(&*log, of, 0..1).await;
    let dead: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &h.brokers)
        .set("transactional.id", testkit::unique("dead"))
        .set("transaction.timeout.ms", "2000")
        .create()
        .unwrap();
    let topic = config(&place).prefix + "fills";
    let dead = tokio::task::spawn_blocking(move || {
        dead.init_transactions(PATIENCE).unwrap();
        dead.begin_transaction().unwrap();
        dead.send(BaseRecord::<(), str>::to(&topic).partition(0).payload("never seen")).unwrap();
        while dead.in_flight_count() > 0 {
            dead.poll(Duration::from_millis(1));
        }
        dead
    })
    .await
    .unwrap();
    // Behind what is open: in the log, and not yet to be seen.
    append(&*log, of, 1..2).await;
    let open = log.extent(of).await.unwrap();
    assert_eq!(open.end, Offset(1));
    assert_eq!(numbers(&log.read(of, Offset::ZERO, 10).await.unwrap()), [0]);
    assert!(log.read(of, Offset(2), 10).await.unwrap().is_empty(), "there, and not committed");

    let settled = log.settled_extent(of).await.unwrap();
    assert!(settled.end >= Offset(3), "{settled:?}");
    assert_eq!(numbers(&log.read(of, Offset::ZERO, 10).await.unwrap()), [0, 1]);
    tokio::task::spawn_blocking(move || drop(dead)).await.unwrap();
}

/// Offsets that an open transaction is about to change are neither those before it nor none: whoever asks for
/// them waits until the transaction has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pending_offsets_are_waited_for() {
    let Some(h) = harness("pending_offsets_are_waited_for").await else { return };
    let place = h.fresh().await;
    let log = open(config(&place), &expected()).await.unwrap();
    let of = at(Topic::Fills, 0);
    append(&*log, of, 0..10).await;
    let mut first = Consumer::join(&log, patient("pending")).await;
    first.until("the records", PATIENCE, |c| c.staged.len() == 10).await;
    first.staged.truncate(5);
    done(first.copy().await);
    first.member.leave().await.unwrap();

    // Of a program that nobody can take over from.
    let (prefix, brokers) = (config(&place).prefix, h.brokers.clone());
    let dead = tokio::task::spawn_blocking(move || {
        let dead: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("transactional.id", testkit::unique("dead"))
            .set("transaction.timeout.ms", "2000")
            .create()
            .unwrap();
        let of_group: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("group.id", format!("{prefix}pending"))
            .create()
            .unwrap();
        dead.init_transactions(PATIENCE).unwrap();
        dead.begin_transaction().unwrap();
        let mut offsets = TopicPartitionList::new();
        let topic = format!("{prefix}fills");
        offsets.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(8)).unwrap();
        let group = of_group.group_metadata().unwrap();
        dead.send_offsets_to_transaction(&offsets, &group, PATIENCE).unwrap();
        dead
    })
    .await
    .unwrap();

    let mut second = Consumer::join(&log, patient("pending")).await;
    let asked = [of];
    let (committed, ()) = tokio::join!(log.committed("pending", &asked), async {
        second.until("the rest", PATIENCE, |c| !c.staged.is_empty()).await;
    });
    assert_eq!(numbers(&second.staged), [5, 6, 7, 8, 9], "from the last commit on");
    assert_eq!(committed.unwrap(), BTreeMap::from([(of, Offset(5))]));
    tokio::task::spawn_blocking(move || drop(dead)).await.unwrap();
}

/// A topic with another count than the manifest's would place keys elsewhere: the log is not opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_with_other_partition_counts_are_refused() {
    let Some(h) = harness("topics_with_other_partition_counts_are_refused").await else { return };
    let place = h.fresh().await;
    drop(open(config(&place), &expected()).await.unwrap());
    let topic = config(&place).prefix + "orders";
    let more = [NewPartitions::new(&topic, 6)];
    admin(&h).create_partitions(&more, &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    testkit::wait_for("the broker to tell of it", PATIENCE, || async {
        match open(config(&place), &expected()).await {
            Err(LogError::WrongManifest(why)) => why.contains(&topic) && why.contains("6 partitions"),
            Ok(_) => false,
            Err(other) => panic!("{other}"),
        }
    })
    .await;
}

/// Whoever only looks makes no log: its partition counts would stand for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_for_a_log_makes_nothing_and_finds_it_as_it_stands() {
    let Some(h) = harness("looking_for_a_log_makes_nothing_and_finds_it_as_it_stands").await else { return };
    let place = h.fresh().await;
    let find = async || KafkaLog::find(config(&place), &expected(), SystemClock::shared()).await;
    for _ in 0..2 {
        assert!(find().await.unwrap().is_none());
    }
    let prefix = config(&place).prefix;
    let metadata = admin(&h).inner().fetch_metadata(None, Duration::from_secs(10)).unwrap();
    let made: Vec<_> =
        metadata.topics().iter().map(MetadataTopic::name).filter(|t| t.starts_with(&prefix)).collect();
    assert!(made.is_empty(), "{made:?}");
    let log = open(config(&place), &expected()).await.unwrap();
    assert_eq!(find().await.unwrap().unwrap().manifest().log_id, log.manifest().log_id);
    let topic = prefix + "orders";
    admin(&h).delete_topics(&[&topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    testkit::wait_for("the topic to be gone", PATIENCE, || async {
        match find().await {
            Err(LogError::Refused(why)) => why.contains(&topic),
            Ok(_) => false,
            Err(other) => panic!("{other}"),
        }
    })
    .await;
}

/// Topics that somebody made with the broker's usual retention would forget records after a week.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_forget_are_refused() {
    let Some(h) = harness("topics_that_forget_are_refused").await else { return };
    let place = h.fresh().await;
    let topic = config(&place).prefix + "controls";
    let forgetful = [NewTopic::new(&topic, 2, TopicReplication::Fixed(1))];
    admin(&h).create_topics(&forgetful, &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    match open(config(&place), &expected()).await {
        Err(LogError::Refused(why)) => assert!(why.contains(&topic) && why.contains("retention.ms"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// Records under the prefix and no manifest: that is a log which lost its name, not an empty place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_without_a_manifest_are_not_adopted() {
    let Some(h) = harness("records_without_a_manifest_are_not_adopted").await else { return };
    let place = h.fresh().await;
    let log = open(config(&place), &expected()).await.unwrap();
    append(&*log, at(Topic::Intents, 1), 0..1).await;
    let manifest = config(&place).prefix + "manifest";
    admin(&h).delete_topics(&[&manifest], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    testkit::wait_for("the manifest to be gone", PATIENCE, || async {
        match open(config(&place), &expected()).await {
            Err(LogError::WrongManifest(why)) => why.contains("intents") && why.contains(&manifest),
            Ok(_) => false,
            Err(other) => panic!("{other}"),
        }
    })
    .await;
}

/// Two logs at one broker, told apart by their prefixes, share nothing: ids, records, groups, offsets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefixes_keep_logs_apart() {
    let Some(h) = harness("prefixes_keep_logs_apart").await else { return };
    let real = Expected { venue: VenueKind::Real, wallet_partitions: 3, ..expected() };
    // One prefix begins like the other.
    let (one, two) = (h.fresh().await, h.fresh().await + "x.");
    let one = open(config(&one), &expected()).await.unwrap();
    let two = open(config(&two), &real).await.unwrap();
    assert_ne!(one.manifest().log_id, two.manifest().log_id);
    assert_eq!((one.manifest().wallet_partitions, two.manifest().wallet_partitions), (4, 3));
    let of = at(Topic::Fills, 1);
    append(&*one, of, 0..5).await;
    append(&*two, of, 100..103).await;
    let mut of_one = Consumer::join(&one, patient("same")).await;
    let mut of_two = Consumer::join(&two, patient("same")).await;
    of_one.until("its records", PATIENCE, |c| c.staged.len() == 5).await;
    of_two.until("its records", PATIENCE, |c| c.staged.len() == 3).await;
    assert_eq!((of_one.held.len(), of_two.held.len()), (4, 3), "the groups do not share");
    done(of_one.copy().await);
    assert_eq!(one.committed("same", &[of]).await.unwrap(), BTreeMap::from([(of, Offset(5))]));
    assert!(two.committed("same", &[of]).await.unwrap().is_empty());
    done(of_two.copy().await);
    assert_eq!(numbers(&read_all(&*one, at(Topic::Decisions, 1)).await), [0, 1, 2, 3, 4]);
    assert_eq!(numbers(&read_all(&*two, at(Topic::Decisions, 1)).await), [100, 101, 102]);
}

/// Where no broker is, opening says so within a time that a person waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_broker_is_told_within_ten_seconds() {
    let begin = Instant::now();
    // Nothing listens on a port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let broker = format!("127.0.0.1:{port}");
    match open(KafkaConfig::new(&broker), &expected()).await {
        Err(error @ LogError::Unreachable(_)) => {
            assert!(error.to_string().contains(&broker) && error.is_transient(), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
}

/// A setting that the client does not know is told by its name, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_property_is_named() {
    let mut config = KafkaConfig::new("127.0.0.1:9");
    config.properties.insert("sasl.passwort".into(), "hunter2".into());
    let error = open(config, &expected()).await.unwrap_err().to_string();
    assert!(error.contains("sasl.passwort") && !error.contains("hunter2"), "{error}");
}

/// A session that the broker does not allow is told with the settings that say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_broker_refuses_is_explained() {
    let Some(h) = harness("a_session_that_the_broker_refuses_is_explained").await else { return };
    let log = open(config(&h.fresh().await), &expected()).await.unwrap();
    let short = Group { session: Duration::from_millis(60), ..group("short") };
    let mut member = log.join(short).await.unwrap();
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < PATIENCE);
        match member.poll(1, Duration::from_millis(100)).await {
            Err(LogError::Refused(why)) => {
                assert!(why.contains("group.min.session.timeout.ms"), "{why}");
                break;
            }
            Ok(polled) => assert_eq!(polled, Polled::Idle),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

/// A member that is sent to a place the log does not have says so at every poll, and goes on once it is sent
/// elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_is_not_there_is_told_until_it_is_left() {
    let Some(h) = harness("a_place_that_is_not_there_is_told_until_it_is_left").await else { return };
    let log = open(config(&h.fresh().await), &expected()).await.unwrap();
    let of = at(Topic::Fills, 0);
    append(&*log, of, 0..3).await;
    let mut consumer = Consumer::join(&log, patient("astray")).await;
    consumer.until("all partitions", PATIENCE, |c| c.held.len() == 4).await;
    consumer.member.seek(of, Offset(1_000)).await.unwrap();
    for _ in 0..3 {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < PATIENCE, "it does not say so");
            match consumer.step(10).await {
                Err(LogError::OutOfRange(_)) => break,
                Err(error) => panic!("{error}"),
                Ok(polled) => assert_eq!(polled, Polled::Idle),
            }
        }
    }
    consumer.member.seek(of, Offset(1)).await.unwrap();
    consumer.until("the rest", PATIENCE, |c| c.staged.len() == 2).await;
    assert_eq!(numbers(&consumer.staged), [1, 2]);
}

/// A poll whose caller went away, as in a `select!`, loses nothing of what it read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_was_given_up_loses_nothing() {
    let Some(h) = harness("a_poll_that_was_given_up_loses_nothing").await else { return };
    let log = open(config(&h.fresh().await), &expected()).await.unwrap();
    let (of, other) = (at(Topic::Fills, 0), at(Topic::Fills, 1));
    let total = 3_000;
    let writer = {
        let log = log.clone();
        tokio::spawn(async move {
            for n in (0..total).step_by(10) {
                append(&*log, of, n..n + 10).await;
            }
        })
    };
    let mut member = log.join(patient("impatient")).await.unwrap();
    let begin = Instant::now();
    let mut seen = Vec::new();
    let (mut given_up, mut turns) = (0, 0_u64);
    while seen.len() < total {
        assert!(begin.elapsed() < PATIENCE, "{} of {total}", seen.len());
        turns += 1;
        // In between it also seeks elsewhere, pauses, and commits: the answer that is waiting is not lost by that.
        if !member.assignment().is_empty() {
            match turns % 50 {
                10 => member.seek(other, Offset::ZERO).await.unwrap(),
                20 => member.pause(of, true).await.unwrap(),
                30 => member.pause(of, false).await.unwrap(),
                40 => {
                    let next = seen.len().try_into().unwrap();
                    done(member.commit(Vec::new(), BTreeMap::from([(of, Offset(next))])).await);
                }
                _ => {}
            }
        }
        let patience = Duration::from_micros(turns * 37 % 3_000);
        match tokio::time::timeout(patience, member.poll(7, Duration::from_secs(1))).await {
            Err(_) => given_up += 1,
            Ok(Ok(Polled::Records(records))) => seen.extend(numbers(&records)),
            Ok(Ok(Polled::Rewound | Polled::Lost(_))) => panic!("nothing failed"),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => panic!("{error}"),
        }
    }
    writer.await.unwrap();
    assert_eq!(seen, (0..total).collect::<Vec<_>>());
    assert!(given_up > 20, "only {given_up} polls were given up");
}

/// A snapshot of state may be far larger than the broker's default for a record, and is refused above the
/// log's own bound before anything of its batch is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_are_kept_and_too_large_ones_refused() {
    let Some(h) = harness("large_records_are_kept_and_too_large_ones_refused").await else { return };
    let log = open(config(&h.fresh().await), &expected()).await.unwrap();
    let of = at(Topic::DecideState, 2);
    let of_bytes = |bytes: usize| {
        let mut append = numbered(of, bytes);
        append.record.value = Some(Bytes::from(vec![7; bytes]));
        append
    };
    done(log.append(vec![of_bytes(3 << 20)]).await);
    let mut consumer = Consumer::join(&log, patient("large")).await;
    consumer.until("all partitions", PATIENCE, |c| c.held.len() == 4).await;
    done(consumer.member.commit(vec![of_bytes(8_000_000)], BTreeMap::new()).await);
    let kept = read_all(&*log, of).await;
    assert_eq!(numbers(&kept), [3 << 20, 8_000_000]);
    assert_eq!(kept[1].record.value.as_ref().unwrap().len(), 8_000_000);

    for written in [
        log.append(vec![of_bytes(1), of_bytes(9 << 20)]).await,
        consumer.member.commit(vec![of_bytes(1), of_bytes(9 << 20)], BTreeMap::new()).await,
    ] {
        assert!(matches!(&written, Written::NotDone(LogError::Refused(_))), "{written:?}");
    }
    assert_eq!(read_all(&*log, of).await.len(), 2);
}

/// The broker takes more of others than the log takes of us, and no reader may stop for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_letter_of_the_largest_record_is_taken() {
    let Some(h) = harness("the_letter_of_the_largest_record_is_taken").await else { return };
    let place = h.fresh().await;
    let log = open(config(&place), &expected()).await.unwrap();
    let other: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &h.brokers)
        .set("message.max.bytes", "10000000")
        .create()
        .unwrap();
    let topic = config(&place).prefix + "fills";
    let sizes = [(LONGEST_KEY, LONGEST_VALUE), (LONGEST_KEY + 1, 9_000_000), (9_000_000, 0)];
    tokio::task::spawn_blocking(move || {
        for (key, value) in sizes {
            let (key, value) = (vec![0xff; key], vec![0xff; value]);
            other.send(BaseRecord::to(&topic).partition(0).key(&key).payload(&value)).unwrap();
            other.flush(PATIENCE).unwrap();
        }
    })
    .await
    .unwrap();
    let codec = Codec::bundled().unwrap();
    let records = read_all(&*log, at(Topic::Fills, 0)).await;
    let whole = |r: &Record| (r.key.as_ref().map_or(0, Bytes::len), r.value.as_ref().map_or(0, Bytes::len));
    assert_eq!(records.iter().map(|s| whole(&s.record)).collect::<Vec<_>>(), sizes);
    for stored in records {
        let letter = letter::fit(DeadLetter {
            topic: "fills".into(),
            partition: 0,
            offset: stored.offset.0,
            reader: "test".into(),
            code: "record_not_framed".into(),
            reason: "€".repeat(1 << 20),
            key: stored.record.key,
            value: stored.record.value,
            observed_at: Timestamp::from_secs(1),
        });
        let key = String::from_utf8_lossy(letter.key.as_deref().unwrap_or_default()).into_owned();
        let (record, _) = event::record(&codec, &key, &letter, letter.observed_at, None).unwrap();
        done(log.append(vec![Append { to: at(Topic::DeadLetters, 0), record }]).await);
    }
}

/// A scan in batches sees everything once, whatever the size of the batches, with markers of commits in
/// between, and others scanning at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_in_batches_see_everything_once() {
    let Some(h) = harness("scans_in_batches_see_everything_once").await else { return };
    let log = open(config(&h.fresh().await), &expected()).await.unwrap();
    let of = at(Topic::Decisions, 0);
    let mut consumer = Consumer::join(&log, patient("scans")).await;
    consumer.until("all partitions", PATIENCE, |c| c.held.len() == 4).await;
    let total = 300;
    for n in (0..total).step_by(5) {
        done(consumer.member.commit((n..n + 5).map(|n| numbered(of, n)).collect(), BTreeMap::new()).await);
    }
    let mut scans = Vec::new();
    for batch in [1, 4, 5, 7, 100, 1_000] {
        let log = log.clone();
        scans.push(tokio::spawn(async move {
            let (mut from, mut seen) = (Offset::ZERO, Vec::new());
            loop {
                let records = log.read(of, from, batch).await.unwrap();
                let Some(last) = records.last() else { break };
                from = last.offset.next();
                let whole = records.len() == batch;
                seen.extend(numbers(&records));
                if !whole {
                    break;
                }
            }
            seen
        }));
    }
    for scan in scans {
        assert_eq!(scan.await.unwrap(), (0..total).collect::<Vec<_>>());
    }
}
