#![allow(clippy::all, clippy::pedantic, missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]
use std::{sync::Arc, time::Instant};
use eventlog::{*, sqlite::*};
use bytes::Bytes;
use schemas::{Timestamp, topics::Topic};
fn batch(n: usize) -> Vec<Append> { (0..n).map(|_| Append{to: TopicPartition::new(Topic::Fills,0), record: Record{key:None,value:Some(Bytes::from(vec![1u8;400])),headers:vec![],timestamp:Timestamp::from_millis(1)}}).collect() }
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contention() {
    let dir = tempfile::tempdir().unwrap();
    let exp = Expected{venue: VenueKind::Simulator, wallet_partitions:4, account_partitions:1, market_partitions:1, log_id:None};
    let a: Arc<dyn Log> = Arc::new(SqliteLog::open(dir.path().join("l"), exp.clone(), SqliteOptions::default()).await.unwrap());
    for hammers in [0,1,3] {
        let mut hs = vec![];
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        for _ in 0..hammers {
            let b: Arc<dyn Log> = Arc::new(SqliteLog::open(dir.path().join("l"), exp.clone(), SqliteOptions::default()).await.unwrap());
            for _ in 0..4 { let (b, stop, count) = (b.clone(), stop.clone(), count.clone());
            hs.push(tokio::spawn(async move { while !stop.load(std::sync::atomic::Ordering::Relaxed) { assert!(matches!(b.append(batch(10)).await, Written::Done(_))); count.fetch_add(1, std::sync::atomic::Ordering::Relaxed); } })); }
        }
        let mut t = vec![]; let begin = Instant::now();
        for _ in 0..400 { let s = Instant::now(); assert!(matches!(a.append(batch(1)).await, Written::Done(_))); t.push(s.elapsed()); }
        let took = begin.elapsed();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for h in hs { h.await.unwrap(); }
        t.sort();
        println!("hammers {hammers}: p50 {:?} p90 {:?} p99 {:?} max {:?}; hammer batches {} in {took:?}", t[200], t[360], t[396], t[399], count.load(std::sync::atomic::Ordering::Relaxed));
    }
}
