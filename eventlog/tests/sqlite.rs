//! The log in a file: the conformance suite, and what only a file can go through.
#![allow(
    clippy::unwrap_used,
    clippy::unused_async,
    clippy::disallowed_methods,
    reason = "tests: patience is real time, and the suite awaits its harness"
)]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use eventlog::{
    Append, Expected, Group, Log, LogError, Offset, Polled, Record, Stored, TopicPartition, VenueKind,
    Written,
    conformance::{
        Consumer, Harness, Lost, expected,
        worker::{Job, Worker},
    },
    fault::Faults,
    memory::{MemoryLog, MemoryOptions},
    sqlite::{SqliteLog, SqliteOptions},
};
use proptest::prelude::*;
use runtime::{Chance, SystemClock};
use rusqlite::Connection;
use schemas::{LogId, Timestamp, topics::Topic};

#[derive(Debug)]
struct Sqlite {
    dir: tempfile::TempDir,
    session: Duration,
    /// The open handles, and how to make each fail.
    handles: Mutex<Vec<(Weak<dyn Log>, Faults)>>,
}

impl Sqlite {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, session: Duration::from_millis(800), handles: Mutex::default() }
    }

    fn faults(&self, log: &Arc<dyn Log>) -> Faults {
        let handles = self.handles.lock().unwrap();
        let this =
            |(handle, _): &&(Weak<dyn Log>, Faults)| handle.upgrade().is_some_and(|h| Arc::ptr_eq(&h, log));
        handles.iter().find(this).unwrap().1.clone()
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn fresh(&self) -> String {
        let path = self.dir.path().join(testkit::unique("log"));
        path.to_str().unwrap().to_owned()
    }

    async fn open(&self, place: &str, expected: &Expected) -> Result<Arc<dyn Log>, LogError> {
        let log = SqliteLog::open(place, expected.clone(), SqliteOptions::default()).await?;
        let faults = log.faults().clone();
        let log: Arc<dyn Log> = Arc::new(log);
        self.handles.lock().unwrap().push((Arc::downgrade(&log), faults));
        Ok(log)
    }

    fn session(&self) -> Duration {
        self.session
    }

    async fn lose_next_commit(&self, _place: &str, log: &Arc<dyn Log>, lost: Lost) -> bool {
        self.faults(log).lose_next_commit(lost);
        true
    }

    async fn lose_next_append(&self, _place: &str, log: &Arc<dyn Log>, lost: Lost) -> bool {
        self.faults(log).lose_next_append(lost);
        true
    }
}

async fn harness(_test: &str) -> Option<Sqlite> {
    Some(Sqlite::new())
}

eventlog::conformance_suite!(harness);

const PATIENCE: Duration = Duration::from_secs(60);

fn fills(partition: i32) -> TopicPartition {
    TopicPartition::new(Topic::Fills, partition)
}

fn text(to: TopicPartition, value: &str) -> Append {
    let record = Record {
        key: None,
        value: Some(Bytes::from(value.to_owned())),
        headers: Vec::new(),
        timestamp: Timestamp::from_millis(1),
    };
    Append { to, record }
}

fn texts(records: &[Stored]) -> Vec<String> {
    records.iter().map(|s| String::from_utf8(s.record.value.as_ref().unwrap().to_vec()).unwrap()).collect()
}

async fn open(path: &Path) -> Result<SqliteLog, LogError> {
    let options = SqliteOptions { patience: Duration::from_millis(300), ..SqliteOptions::default() };
    SqliteLog::open(path, expected(), options).await
}

#[tokio::test]
async fn only_its_owner_may_read_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = open(&path).await.unwrap();
    assert!(matches!(log.append(vec![text(fills(0), "secret")]).await, Written::Done(_)));
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        let name = entry.file_name().into_string().unwrap();
        assert_eq!(mode, if name == "log-alive" { 0o700 } else { 0o600 }, "{name}");
        seen.insert(name);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["log", "log-alive", "log-shm", "log-wal"]);
}

#[tokio::test]
async fn what_is_no_log_of_ours_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let refused = async |name: &str| match open(&dir.path().join(name)).await {
        Err(LogError::Refused(why)) => why,
        other => panic!("{name}: {other:?}"),
    };

    fs::write(dir.path().join("text"), "This is no database, and long enough not to pass for an empty one.")
        .unwrap();
    assert!(refused("text").await.contains("no log file"));

    let foreign = Connection::open(dir.path().join("foreign")).unwrap();
    foreign.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1);").unwrap();
    assert!(refused("foreign").await.contains("something else"));
    let rows: i64 = foreign.query_row("SELECT count(*) FROM t", [], |r| r.get(0)).unwrap();
    assert_eq!(rows, 1);

    let later = dir.path().join("later");
    drop(open(&later).await.unwrap());
    Connection::open(&later).unwrap().execute_batch("PRAGMA user_version = 2").unwrap();
    let why = refused("later").await;
    assert!(why.contains("format 2") && why.contains("format 1"), "{why}");

    match open(&dir.path().join("no/such/directory/log")).await {
        Err(LogError::Unreachable(why)) => assert!(why.contains("no/such/directory"), "{why}"),
        other => panic!("{other:?}"),
    }
    let named = Expected { log_id: Some(LogId::from_uuid(uuid::Uuid::nil())), ..expected() };
    let absent = dir.path().join("absent");
    assert!(SqliteLog::open(&absent, named, SqliteOptions::default()).await.is_err());
    assert!(!absent.exists(), "no file is made for a log that is not there");
    let none = Expected { wallet_partitions: 0, venue: VenueKind::Real, ..expected() };
    let opened = SqliteLog::open(&absent, none, SqliteOptions::default()).await;
    assert!(matches!(opened, Err(LogError::Refused(_))), "{opened:?}");
}

/// Somebody who never lets go: unreachable after a while, not done, and fine again afterwards. Readers do not
/// notice.
#[tokio::test]
async fn a_locked_file_is_unreachable_and_nothing_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = open(&path).await.unwrap();
    assert!(matches!(log.append(vec![text(fills(0), "before")]).await, Written::Done(_)));
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    match log.append(vec![text(fills(0), "lost")]).await {
        Written::NotDone(LogError::Unreachable(why)) => assert!(why.contains("locked"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(log.settled_extent(fills(0)).await, Err(LogError::Unreachable(_))));
    assert_eq!(texts(&log.read(fills(0), Offset::ZERO, 10).await.unwrap()), ["before"]);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(log.append(vec![text(fills(0), "after")]).await, Written::Done(_)));
    assert_eq!(texts(&log.read(fills(0), Offset::ZERO, 10).await.unwrap()), ["before", "after"]);
}

/// Pages that were overwritten are found out, and say so; nothing is left out in silence.
#[tokio::test]
async fn a_damaged_file_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = open(&path).await.unwrap();
    for n in 0..50 {
        let large = format!("{n} {}", "x".repeat(2_000));
        assert!(matches!(log.append(vec![text(fills(0), &large)]).await, Written::Done(_)));
    }
    drop(log);
    testkit::wait_for("the log to be closed", PATIENCE, || async { !dir.path().join("log-wal").exists() })
        .await;
    let mut bytes = fs::read(&path).unwrap();
    let half = bytes.len() / 2 / 4_096 * 4_096;
    bytes[half..half + 8_192].fill(0xa5);
    fs::write(&path, bytes).unwrap();

    let log = open(&path).await.unwrap();
    let mut from = Offset::ZERO;
    let error = loop {
        match log.read(fills(0), from, 10).await {
            Ok(records) => from = records.last().unwrap().offset.next(),
            Err(e) => break e,
        }
    };
    assert!(matches!(error, LogError::Corrupt(_)), "{error}");
    assert!(from < Offset(50));
}

#[tokio::test]
async fn a_file_that_was_moved_away_takes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = open(&path).await.unwrap();
    assert!(matches!(log.append(vec![text(fills(0), "before")]).await, Written::Done(_)));
    fs::rename(&path, dir.path().join("elsewhere")).unwrap();
    match log.append(vec![text(fills(0), "nowhere")]).await {
        Written::NotDone(LogError::Refused(why)) => assert!(why.contains("moved or deleted"), "{why}"),
        other => panic!("{other:?}"),
    }
    fs::rename(dir.path().join("elsewhere"), &path).unwrap();
    assert!(matches!(log.append(vec![text(fills(0), "after")]).await, Written::Done(_)));
}

/// What piles up while the disk, here a lock, keeps the writer waiting goes into one transaction; within it
/// each request stands or falls alone.
#[tokio::test]
async fn requests_share_a_transaction_and_fall_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let options = SqliteOptions { patience: PATIENCE, ..SqliteOptions::default() };
    let log = SqliteLog::open(&path, expected(), options).await.unwrap();
    let dynamic: Arc<dyn Log> = Arc::new(log.clone());
    let mut members = Vec::new();
    for n in 0..20 {
        let group = Group { name: format!("group {n}"), topics: vec![Topic::Fills], session: PATIENCE };
        let mut member = Consumer::join(&dynamic, group).await;
        member.until("everything", PATIENCE, |c| c.held.len() == 4).await;
        members.push(member);
    }
    let other = Connection::open(&path).unwrap();
    // Of every fourth group somebody else takes the last partition over, though nobody told the member. That is
    // found out only after the others were moved on, which must then be taken back.
    for n in (0..20).step_by(4) {
        let steal = "UPDATE claims SET epoch = epoch + 1 WHERE name = ?1 AND partition & 65535 = 3";
        assert_eq!(other.execute(steal, [format!("group {n}")]).unwrap(), 1);
    }
    let batches = || -> i64 {
        other.query_row("SELECT sum(next) FROM ends WHERE partition < 0", [], |r| r.get(0)).unwrap()
    };
    let before = batches();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The first keeps the writer busy; the others queue up behind it.
    let first = log.append(vec![text(fills(0), "first")]);
    let commits = futures_util::future::join_all((0..).zip(&mut members).map(|(n, member)| async move {
        let records = vec![text(fills(0), &format!("{n}")), text(fills(1), &format!("{n}"))];
        let offsets = (0..4).map(|p| (fills(p), Offset(n))).collect();
        member.member.commit(records, offsets).await
    }));
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        other.execute_batch("ROLLBACK").unwrap();
    };
    let (first, commits, ()) = tokio::join!(first, commits, release);
    assert!(matches!(first, Written::Done(_)));
    for (n, written) in (0..).zip(commits) {
        match written {
            Written::Done(_) => assert_ne!(n % 4, 0, "{n} was taken over"),
            Written::NotDone(LogError::Fenced(_)) => assert_eq!(n % 4, 0, "{n} was not"),
            other => panic!("{n}: {other:?}"),
        }
    }
    let numbers: Vec<_> = (0..20).filter(|n| n % 4 != 0).map(|n| n.to_string()).collect();
    assert_eq!(texts(&log.read(fills(0), Offset(1), 100).await.unwrap()), numbers);
    assert_eq!(texts(&log.read(fills(1), Offset(0), 100).await.unwrap()), numbers);
    for n in 0..20 {
        let all: Vec<_> = (0..4).map(fills).collect();
        let committed = log.committed(&format!("group {n}"), &all).await.unwrap();
        assert_eq!(committed.len(), if n % 4 == 0 { 0 } else { 4 });
        assert!(committed.values().all(|next| *next == Offset(n)));
    }
    let used = batches() - before;
    assert!(used <= 3, "{used} transactions for 21 requests");
}

/// The disk gives out in the middle of a write: what was told to be done is there, what was told not to be
/// is not, and once there is room again the log goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_gives_out_leaves_no_doubt() {
    let h = Sqlite::new();
    let place = h.fresh().await;
    let log = h.open(&place, &expected()).await.unwrap();
    // No file of the child may grow past 1000 blocks of 512 bytes, or of 1024, as the shell has it.
    let job = Job::AppendAnyway { batch: 40, failures: 20 };
    let mut worker = Worker::start_after(&h, &place, job, "trap '' XFSZ; ulimit -f 1000");
    worker.says("enough", PATIENCE).await;
    worker.listen();
    let of = |word: &str| -> BTreeSet<usize> {
        worker.said.iter().filter_map(|l| l.strip_prefix(word)).map(|n| n.trim().parse().unwrap()).collect()
    };
    let (done, not_done, unknown) = (of("done "), of("not_done "), of("unknown "));
    assert!(!done.is_empty() && not_done.len() + unknown.len() == 20, "{:?}", worker.said);
    let mut stands = BTreeSet::new();
    let mut from = Offset::ZERO;
    loop {
        let records = log.read(fills(0), from, 1_000).await.unwrap();
        let Some(last) = records.last() else { break };
        from = last.offset.next();
        for s in &records {
            let n: usize = String::from_utf8_lossy(s.record.header("n").unwrap()).parse().unwrap();
            assert!(stands.insert(n), "record {n} stands twice");
        }
    }
    for n in done {
        assert!((n..n + 40).all(|n| stands.contains(&n)), "batch {n} was done and is not there");
    }
    for n in not_done {
        assert!((n..n + 40).all(|n| !stands.contains(&n)), "batch {n} was not done and is there");
    }
    for n in unknown {
        let there = (n..n + 40).filter(|n| stands.contains(n)).count();
        assert!(there == 0 || there == 40, "half of batch {n}");
    }
    drop(worker);
    assert!(matches!(log.append(vec![text(fills(0), "after")]).await, Written::Done(_)));
}

/// A killed process need not be waited for: its lock ends with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_is_missed_before_its_session_ends() {
    let h = Sqlite { session: Duration::from_secs(20), ..Sqlite::new() };
    let place = h.fresh().await;
    let log = h.open(&place, &expected()).await.unwrap();
    for n in 0..20 {
        assert!(matches!(log.append(vec![numbered(fills(n % 4), n)]).await, Written::Done(_)));
    }
    let mut worker = Worker::start(&h, &place, Job::Copy { group: "g".into(), max: 1 });
    worker.says("copied 20", PATIENCE).await;
    worker.kill();
    let group = Group { name: "g".into(), topics: vec![Topic::Fills], session: h.session };
    let mut heir = Consumer::join(&log, group).await;
    let begin = Instant::now();
    heir.until("everything", PATIENCE, |c| c.held.len() == 4).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "only after {:?}", begin.elapsed());
    // Each change of hands has an epoch of its own.
    let file = Connection::open(&place).unwrap();
    let epochs: i64 = file.query_row("SELECT min(epoch) FROM claims", [], |r| r.get(0)).unwrap();
    assert_eq!(epochs, 2);
}

fn numbered(to: TopicPartition, n: i32) -> Append {
    let mut append = text(to, &n.to_string());
    append
        .record
        .headers
        .push(eventlog::Header { name: "n".into(), value: Some(Bytes::from(n.to_string())) });
    append
}

/// Through the same handle, and through another as another process has it: a waiting poll returns within a
/// few milliseconds of the commit. The best of twenty, since the machine may be busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_member_is_woken_within_milliseconds() {
    let h = Sqlite::new();
    let place = h.fresh().await;
    let log = h.open(&place, &expected()).await.unwrap();
    let other = h.open(&place, &expected()).await.unwrap();
    // Nothing of its own makes it look for a long time.
    let group = Group { name: "g".into(), topics: vec![Topic::Fills], session: PATIENCE * 10 };
    let mut member = Consumer::join(&log, group).await;
    member.until("everything", PATIENCE, |c| c.held.len() == 4).await;
    for (name, writer, aim) in [("same handle", &log, 10), ("another handle", &other, 20)] {
        let mut best = PATIENCE;
        for _ in 0..20 {
            let (committed, seen) = tokio::join!(
                async {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    assert!(matches!(writer.append(vec![text(fills(0), "x")]).await, Written::Done(_)));
                    Instant::now()
                },
                async {
                    let polled = member.member.poll(10, PATIENCE).await.unwrap();
                    assert!(matches!(polled, Polled::Records(_)), "{polled:?}");
                    Instant::now()
                }
            );
            best = best.min(seen.saturating_duration_since(committed));
        }
        assert!(best < Duration::from_millis(aim), "{name}: {best:?} at best");
    }
}

/// A shell waits for several things at once, and drops the poll when another comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_poll_loses_nothing() {
    let h = Sqlite::new();
    let log = h.open(&h.fresh().await, &expected()).await.unwrap();
    let writer = {
        let log = log.clone();
        tokio::spawn(async move {
            for n in 0..300 {
                assert!(matches!(
                    log.append(vec![text(fills(n % 4), &n.to_string())]).await,
                    Written::Done(_)
                ));
            }
        })
    };
    let group = Group { name: "g".into(), topics: vec![Topic::Fills], session: PATIENCE };
    let mut member = log.join(group).await.unwrap();
    let mut seen = Vec::new();
    let begin = Instant::now();
    let mut cut = 0;
    while seen.len() < 300 {
        assert!(begin.elapsed() < PATIENCE, "{} records", seen.len());
        cut += 1;
        let patience = Duration::from_micros(cut * 37 % 2_000);
        tokio::select! {
            biased;
            polled = member.poll(7, PATIENCE) => {
                if let Polled::Records(records) = polled.unwrap() {
                    seen.extend(records);
                }
            }
            () = tokio::time::sleep(patience) => {}
        }
    }
    writer.await.unwrap();
    for partition in 0..4 {
        let of: Vec<_> = seen.iter().filter(|s| s.at == fills(partition)).cloned().collect();
        let expected: Vec<_> = (0..300).filter(|n| n % 4 == partition).map(|n| n.to_string()).collect();
        assert_eq!(texts(&of), expected);
    }
}

#[tokio::test]
async fn of_a_compacted_topic_only_the_last_of_each_key_stays() {
    let h = Sqlite::new();
    let log = h.open(&h.fresh().await, &expected()).await.unwrap();
    let of = TopicPartition::new(Topic::DecideState, 2);
    for n in 0..10 {
        let mut append = text(of, &n.to_string());
        append.record.key = Some(Bytes::from(format!("key {}", n % 2)));
        assert!(matches!(log.append(vec![append]).await, Written::Done(_)));
    }
    let stand = log.read(of, Offset::ZERO, 100).await.unwrap();
    assert_eq!(texts(&stand), ["8", "9"]);
    assert_eq!(stand[0].offset, Offset(8));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The index by time finds what a search from the start finds, over many of its steps.
    #[test]
    fn times_are_found_as_a_plain_search_finds_them(
        times in proptest::collection::vec(0..3_000_i64, 200..2_000),
        trend in 0..3_i64,
        asked in proptest::collection::vec(-10..9_000_i64, 30),
    ) {
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        rt.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let file = open(&dir.path().join("log")).await.unwrap();
            let plain =
                MemoryLog::create(&expected(), MemoryOptions::default(), SystemClock::shared(), &Chance::seeded(1))
                    .unwrap();
            let records: Vec<_> = (0..)
                .zip(&times)
                .map(|(n, time)| {
                    let mut append = text(fills(0), "");
                    append.record.timestamp = Timestamp::from_micros((time + n * trend) * 1_000 + 500);
                    append
                })
                .collect();
            for batch in records.chunks(97) {
                assert!(matches!(file.append(batch.to_vec()).await, Written::Done(_)));
                assert!(matches!(plain.append(batch.to_vec()).await, Written::Done(_)));
            }
            for time in asked {
                for micros in [0, 1, 500, 999] {
                    let time = Timestamp::from_micros(time * 1_000 + micros);
                    let (found, expected) =
                        (file.offset_at(fills(0), time).await.unwrap(), plain.offset_at(fills(0), time).await.unwrap());
                    assert_eq!(found, expected, "{time}");
                }
            }
        });
    }
}
