//! How fast the embedded logs are, beside a bare SQLite loop that writes and reads the same bytes.
//!
//! `cargo bench -p eventlog`: items per second are records. A record has a key of 42 bytes, a value of 400, four
//! headers: about what a fill has.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that fails has no figures")]

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use eventlog::{
    Append, Expected, Group, Header, Log, Member, Offset, Polled, Record, TopicPartition, VenueKind, Written,
    memory::{MemoryLog, MemoryOptions},
    sqlite::{SqliteLog, SqliteOptions},
};
use runtime::{Chance, SystemClock};
use rusqlite::{Connection, params};
use schemas::{Timestamp, topics::Topic};
use tokio::runtime::Runtime;

/// Records in a log that is read.
const STORED: usize = 50_000;

fn main() {
    divan::main();
}

fn expected() -> Expected {
    Expected {
        venue: VenueKind::Simulator,
        wallet_partitions: 16,
        account_partitions: 4,
        market_partitions: 4,
        log_id: None,
    }
}

fn at(partition: usize) -> TopicPartition {
    TopicPartition::new(Topic::Fills, i32::try_from(partition).unwrap())
}

fn record(n: usize) -> Record {
    let header = |name: &str, value: String| Header { name: name.into(), value: Some(Bytes::from(value)) };
    Record {
        key: Some(Bytes::from(format!("0x{:040x}", n % 64))),
        value: Some(Bytes::from(vec![b'v'; 400])),
        headers: vec![
            header("ce_id", format!("{n:032x}")),
            header("ce_type", "polymirror.Fill".into()),
            header("ce_time", "1700000000000000".into()),
            header("traceparent", format!("00-{n:032x}-{n:016x}-01")),
        ],
        timestamp: Timestamp::from_millis(1_700_000_000_000),
    }
}

fn batch(size: usize) -> Vec<Append> {
    (0..size).map(|n| Append { to: at(n % 4), record: record(n) }).collect()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn sqlite(rt: &Runtime, dir: &Path) -> Arc<dyn Log> {
    let opening = SqliteLog::open(dir.join("log"), expected(), SqliteOptions::default());
    Arc::new(rt.block_on(opening).unwrap())
}

fn memory() -> Arc<dyn Log> {
    let options = MemoryOptions::default();
    Arc::new(MemoryLog::create(&expected(), options, SystemClock::shared(), &Chance::system()).unwrap())
}

async fn append(log: &dyn Log, records: Vec<Append>) {
    assert!(matches!(log.append(records).await, Written::Done(_)));
}

/// One table, one statement, one transaction per batch, as fast as SQLite goes with the same promises.
mod bare {
    use super::{Append, Bencher, Connection, ItemsCount, Path, STORED, batch, params};

    fn open(dir: &Path) -> Connection {
        let db = Connection::open(dir.join("bare")).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").unwrap();
        let table = "CREATE TABLE records (place INTEGER PRIMARY KEY, time INTEGER, key BLOB, value BLOB, headers BLOB)";
        db.execute_batch(table).unwrap();
        db
    }

    fn insert(db: &Connection, records: &[Append]) {
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut insert = db
            .prepare_cached("INSERT INTO records (time, key, value, headers) VALUES (?1, ?2, ?3, ?4)")
            .unwrap();
        for Append { record, .. } in records {
            let headers: Vec<u8> = record
                .headers
                .iter()
                .flat_map(|h| [h.name.as_bytes(), h.value.as_deref().unwrap_or_default()].concat())
                .collect();
            let time = record.timestamp.millis();
            insert.execute(params![time, record.key.as_deref(), record.value.as_deref(), headers]).unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
    }

    #[divan::bench(args = [1, 10, 100, 1_000], max_time = 1.5)]
    fn append(bencher: Bencher<'_, '_>, size: usize) {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        let records = batch(size);
        bencher.counter(ItemsCount::new(size)).bench_local(|| insert(&db, &records));
    }

    #[divan::bench(max_time = 1.5)]
    fn read(bencher: Bencher<'_, '_>) {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        for _ in 0..STORED / 1_000 {
            insert(&db, &batch(1_000));
        }
        bencher.counter(ItemsCount::new(STORED)).bench_local(|| {
            let mut select =
                db.prepare_cached("SELECT place, time, key, value, headers FROM records").unwrap();
            let mut rows = select.query([]).unwrap();
            let mut bytes = 0;
            while let Some(row) = rows.next().unwrap() {
                bytes += row.get_ref(3).unwrap().as_blob().unwrap().len();
            }
            bytes
        });
    }
}

/// Which log a bench is about.
#[derive(Debug, Clone, Copy)]
enum Which {
    Sqlite,
    Memory,
}

impl Which {
    fn open(self, rt: &Runtime, dir: &Path) -> Arc<dyn Log> {
        match self {
            Self::Sqlite => sqlite(rt, dir),
            Self::Memory => memory(),
        }
    }
}

const BOTH: [Which; 2] = [Which::Sqlite, Which::Memory];

/// One task that waits for each batch before it appends the next.
#[divan::bench(args = BOTH, consts = [1, 10, 100, 1_000], max_time = 1.5)]
fn append_one_after_another<const SIZE: usize>(bencher: Bencher<'_, '_>, which: Which) {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let log = which.open(&rt, dir.path());
    bencher
        .counter(ItemsCount::new(SIZE))
        .with_inputs(|| batch(SIZE))
        .bench_local_values(|records| rt.block_on(append(&*log, records)));
}

/// 32 tasks at once: group commit.
#[divan::bench(args = BOTH, consts = [1, 100], max_time = 1.5)]
fn append_by_32_tasks<const SIZE: usize>(bencher: Bencher<'_, '_>, which: Which) {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let log = which.open(&rt, dir.path());
    bencher
        .counter(ItemsCount::new(32 * SIZE))
        .with_inputs(|| (0..32).map(|_| batch(SIZE)).collect::<Vec<_>>())
        .bench_local_values(|batches| {
            rt.block_on(async {
                let tasks: Vec<_> = batches
                    .into_iter()
                    .map(|records| {
                        let log = log.clone();
                        tokio::spawn(async move { append(&*log, records).await })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
        });
}

/// Ranges of a thousand.
#[divan::bench(args = BOTH, max_time = 1.5)]
fn read_ranges(bencher: Bencher<'_, '_>, which: Which) {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let log = which.open(&rt, dir.path());
    fill(&rt, &*log);
    bencher.counter(ItemsCount::new(STORED)).bench_local(|| {
        rt.block_on(async {
            for partition in 0..4 {
                let mut from = Offset::ZERO;
                loop {
                    let records = log.read(at(partition), from, 1_000).await.unwrap();
                    let Some(last) = records.last() else { break };
                    from = last.offset.next();
                }
            }
        });
    });
}

/// A member of a group, a thousand at a time.
#[divan::bench(args = BOTH, max_time = 1.5)]
fn poll(bencher: Bencher<'_, '_>, which: Which) {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let log = which.open(&rt, dir.path());
    fill(&rt, &*log);
    let mut member = joined(&rt, &*log);
    bencher.counter(ItemsCount::new(STORED)).bench_local(|| {
        rt.block_on(async {
            for partition in 0..4 {
                member.seek(at(partition), Offset::ZERO).await.unwrap();
            }
            let mut count = 0;
            while count < STORED {
                if let Polled::Records(records) = member.poll(1_000, Duration::ZERO).await.unwrap() {
                    count += records.len();
                }
            }
        });
    });
}

/// Poll ten, append ten and commit: a stage without work of its own.
#[divan::bench(args = BOTH, max_time = 1.5)]
fn poll_and_commit_tens(bencher: Bencher<'_, '_>, which: Which) {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let log = which.open(&rt, dir.path());
    fill(&rt, &*log);
    let mut member = joined(&rt, &*log);
    bencher.counter(ItemsCount::new(10_usize)).bench_local(|| {
        rt.block_on(async {
            let mut polled = member.poll(10, Duration::ZERO).await.unwrap();
            if polled == Polled::Idle {
                for partition in 0..4 {
                    member.seek(at(partition), Offset::ZERO).await.unwrap();
                }
                polled = member.poll(10, Duration::ZERO).await.unwrap();
            }
            let Polled::Records(records) = polled else { panic!("{polled:?}") };
            let offsets = records.iter().map(|s| (s.at, s.offset.next())).collect();
            let to = |s: &eventlog::Stored| TopicPartition::new(Topic::Decisions, s.at.partition);
            let copies = records.iter().map(|s| Append { to: to(s), record: s.record.clone() }).collect();
            assert!(matches!(member.commit(copies, offsets).await, Written::Done(_)));
        });
    });
}

/// From the append to the poll that waited for it, through the same handle and through another, as another
/// process would have. The time is that of one record going through.
#[divan::bench(args = ["same handle", "another handle"], max_time = 1.5)]
fn append_to_waiting_poll(bencher: Bencher<'_, '_>, through: &str) {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let log = sqlite(&rt, dir.path());
    let writer = if through == "same handle" { log.clone() } else { sqlite(&rt, dir.path()) };
    let mut member = joined(&rt, &*log);
    let (go, mut gone) = tokio::sync::mpsc::channel::<()>(1);
    rt.spawn(async move {
        while gone.recv().await.is_some() {
            append(&*writer, batch(1)).await;
        }
    });
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        rt.block_on(async {
            go.send(()).await.unwrap();
            loop {
                if let Polled::Records(_) = member.poll(100, Duration::from_secs(5)).await.unwrap() {
                    return;
                }
            }
        });
    });
}

/// One record at a time, while another handle, as another process would, never lets go of the file for longer
/// than it must.
#[divan::bench(max_time = 2)]
fn append_beside_a_busy_writer(bencher: Bencher<'_, '_>) {
    let (rt, dir) = (runtime(), tempfile::tempdir().unwrap());
    let log = sqlite(&rt, dir.path());
    let busy = sqlite(&rt, dir.path());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for _ in 0..4 {
        let (busy, stop) = (busy.clone(), stop.clone());
        rt.spawn(async move {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                append(&*busy, batch(10)).await;
            }
        });
    }
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| rt.block_on(append(&*log, batch(1))));
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
}

fn fill(rt: &Runtime, log: &dyn Log) {
    for _ in 0..STORED / 1_000 {
        rt.block_on(append(log, batch(1_000)));
    }
}

fn joined(rt: &Runtime, log: &dyn Log) -> Box<dyn Member> {
    let group = Group { name: "bench".into(), topics: vec![Topic::Fills], session: Duration::from_secs(60) };
    rt.block_on(async {
        let mut member = log.join(group).await.unwrap();
        while member.assignment().is_empty() {
            assert!(matches!(member.poll(1, Duration::from_secs(1)).await.unwrap(), Polled::Assigned(_)));
        }
        member
    })
}
