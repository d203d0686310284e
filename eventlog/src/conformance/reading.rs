//! Reading ranges, by time, and while the log grows.

use std::time::{Duration, Instant};

use schemas::{Timestamp, topics::Topic};

use super::{Consumer, Harness, append_numbered, at, done, expected, fresh_log, group, numbered, numbers};
use crate::port::{LogError, Offset, Polled};

/// Ranges can be read while others write: never out of order, never past the end, nothing missing.
pub async fn a_range_is_read_while_it_grows(h: &dyn Harness) {
    let (place, log) = fresh_log(h).await;
    let of = at(Topic::Fills, 0);
    let total = 1_000;
    let writer = {
        let log = h.open(&place, &expected()).await.expect("a second handle");
        tokio::spawn(async move {
            for n in (0..total).step_by(10) {
                done(log.append((n..n + 10).map(|n| numbered(of, n)).collect()).await);
            }
        })
    };
    let begin = Instant::now();
    let mut seen = Vec::new();
    let mut from = Offset::ZERO;
    while seen.len() < total {
        assert!(begin.elapsed() < h.patience(), "{} of {total} read", seen.len());
        let before = log.extent(of).await.expect("an extent");
        let batch = log.read(of, from, 37).await.expect("a range");
        assert!(batch.len() <= 37);
        assert!(!batch.is_empty() || from >= before.end, "empty only at the end");
        assert!(batch.iter().all(|s| s.offset >= from));
        let after = log.extent(of).await.expect("an extent");
        assert!(after.end >= before.end, "an extent only grows");
        if let Some(last) = batch.last() {
            assert!(last.offset < after.end, "nothing is read past the end");
            from = last.offset.next();
        }
        seen.extend(numbers(&batch));
    }
    writer.await.expect("the writer ended");
    assert_eq!(seen, (0..total).collect::<Vec<_>>());
    let middle = log.read(of, Offset(0), total).await.expect("a range");
    let again = log.read(of, middle[500].offset, 3).await.expect("a range");
    assert_eq!(numbers(&again), [500, 501, 502], "a range begins where it is asked to");
    assert_eq!(log.read(of, from, 10).await.expect("the end"), [], "at the end there is nothing");
    let settled = log.settled_extent(of).await.expect("an extent");
    assert_eq!(settled, log.extent(of).await.expect("an extent"), "nothing is open");
    assert_eq!(settled.start, Offset::ZERO);
}

/// The first record that is not older than a time, also where times do not grow.
pub async fn offsets_are_found_by_time(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let of = at(Topic::Fills, 3);
    // Not in order: the leader's trades arrive late.
    let times = [100, 200, 150, 300, 300, 250, 400];
    for (n, time) in times.into_iter().enumerate() {
        let mut append = numbered(of, n);
        append.record.timestamp = Timestamp::from_millis(1_700_000_000_000 + time);
        done(log.append(vec![append]).await);
    }
    let stand: Vec<_> = log.read(of, Offset::ZERO, 100).await.expect("a range");
    let end = log.extent(of).await.expect("an extent").end;
    for (time, expected) in [
        (-1_000_000, Some(0)),
        (100, Some(0)),
        (101, Some(1)),
        (150, Some(1)),
        (201, Some(3)),
        (300, Some(3)),
        (301, Some(6)),
        (400, Some(6)),
        (401, None),
    ] {
        let found =
            log.offset_at(of, Timestamp::from_millis(1_700_000_000_000 + time)).await.expect("a place");
        assert_eq!(found, expected.map_or(end, |n: usize| stand[n].offset), "time {time}");
    }
    let empty = at(Topic::Markets, 0);
    assert_eq!(log.offset_at(empty, Timestamp::from_secs(1)).await.expect("a place"), Offset::ZERO);
}

/// A place that the log never had, or a partition it does not have, is an error and not an empty answer.
pub async fn a_place_outside_the_log_is_refused(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let of = at(Topic::Fills, 0);
    append_numbered(&*log, of, 0..3).await;
    let end = log.extent(of).await.expect("an extent").end;
    for outside in [Offset(end.0 + 5), Offset(-1)] {
        match log.read(of, outside, 10).await {
            Err(LogError::OutOfRange(why)) => assert!(why.contains("fills-0"), "{why}"),
            other => panic!("{outside}: {other:?}"),
        }
    }
    let no_partition = at(Topic::Fills, 4);
    assert!(matches!(log.read(no_partition, Offset::ZERO, 1).await, Err(LogError::Refused(_))));
    assert!(matches!(log.extent(no_partition).await, Err(LogError::Refused(_))));
}

/// A waiting poll returns once there is something, long before its time is over; without anything it
/// returns when its time is over.
pub async fn a_waiting_reader_is_woken_and_an_idle_one_returns(h: &dyn Harness) {
    let (place, log) = fresh_log(h).await;
    let other = h.open(&place, &expected()).await.expect("a second handle");
    let mut consumer = Consumer::join(&log, group(h, "waiting", &[Topic::Fills])).await;
    consumer.until("all partitions", h.patience(), |c| c.held.len() == 4).await;
    // Through the same handle, and through another as another process would.
    for (n, writer) in [&log, &other].into_iter().enumerate() {
        let writing = writer.append(vec![numbered(at(Topic::Fills, 1), n)]);
        let waiting = async {
            let begin = Instant::now();
            loop {
                match consumer.member.poll(10, h.patience()).await.expect("a poll") {
                    Polled::Records(records) => return (records, begin.elapsed()),
                    other => assert_eq!(other, Polled::Idle),
                }
            }
        };
        let (written, (records, took)) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                writing.await
            },
            waiting
        );
        done(written);
        assert_eq!(numbers(&records), [n]);
        assert!(took < h.patience() / 4, "woken only after {took:?}");
    }
    let begin = Instant::now();
    let polled = consumer.member.poll(10, Duration::from_millis(50)).await.expect("a poll");
    assert_eq!(polled, Polled::Idle);
    assert!(begin.elapsed() >= Duration::from_millis(50), "an idle poll waits as long as it was told");
    let begin = Instant::now();
    assert_eq!(consumer.member.poll(10, Duration::ZERO).await.expect("a poll"), Polled::Idle);
    assert!(begin.elapsed() < Duration::from_secs(5), "a poll that need not wait does not");
}

/// Another handle, opened later, finds the same log: id, records, committed offsets.
pub async fn a_reopened_log_is_the_same(h: &dyn Harness) {
    let (place, log) = fresh_log(h).await;
    let of = at(Topic::Fills, 0);
    append_numbered(&*log, of, 0..10).await;
    let mut consumer = Consumer::join(&log, group(h, "reopened", &[Topic::Fills])).await;
    consumer.until("all records", h.patience(), |c| c.staged.len() == 10).await;
    consumer.staged.truncate(6);
    let committed = consumer.next_offsets();
    done(consumer.copy().await);
    let manifest = log.manifest().clone();
    consumer.member.leave().await.expect("left");
    drop(log);

    // What it asks for differs: a log that exists keeps its own counts.
    let asked = crate::port::Expected { wallet_partitions: 9, log_id: Some(manifest.log_id), ..expected() };
    let log = h.open(&place, &asked).await.expect("the same place again");
    assert_eq!(log.manifest(), &manifest);
    assert_eq!(log.committed("reopened", &[of]).await.expect("offsets"), committed);
    assert!(log.committed("another", &[of]).await.expect("offsets").is_empty());
    let mut consumer = Consumer::join(&log, group(h, "reopened", &[Topic::Fills])).await;
    consumer.until("the rest", h.patience(), |c| c.staged.len() >= 4).await;
    assert_eq!(numbers(&consumer.staged), [6, 7, 8, 9], "reading goes on where it was committed");
}
