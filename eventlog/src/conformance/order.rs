//! What is written, where it goes, and in which order.

use std::collections::BTreeMap;

use bytes::Bytes;
use schemas::{Timestamp, topics::Topic};

use super::{
    Consumer, Harness, Lost, append_numbered, at, done, fresh_log, group, number_of, numbered, numbers,
    read_all,
};
use crate::port::{Append, Header, LogError, Offset, Record, Written};

/// Records of one key come out in the order they went in, whatever batches they went in with.
pub async fn keys_keep_their_order(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let record = |key: usize, n: usize| {
        let key = format!("0x{key:040x}");
        let to = log.manifest().place(Topic::Fills, key.as_bytes());
        let mut append = numbered(to, n);
        append.record.key = Some(Bytes::from(key));
        append
    };
    let (keys, each) = (23, 20);
    let all: Vec<_> = (0..keys * each).map(|n| record(n % keys, n / keys)).collect();
    let mut given: BTreeMap<_, Vec<Offset>> = BTreeMap::new();
    let mut rest = &all[..];
    for size in [1, 7, 100, 30, 1_000] {
        let (batch, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        let offsets = done(log.append(batch.to_vec()).await);
        for (append, offset) in batch.iter().zip(offsets) {
            given.entry(append.to).or_default().push(offset);
        }
    }

    let mut consumer = Consumer::join(&log, group(h, "order", &[Topic::Fills])).await;
    consumer.until("all records", h.patience(), |c| c.staged.len() >= all.len()).await;
    let mut of_key: BTreeMap<Bytes, Vec<usize>> = BTreeMap::new();
    for s in &consumer.staged {
        let key = s.record.key.clone().expect("a key");
        assert_eq!(s.at, log.manifest().place(Topic::Fills, &key), "the partition is that of the key");
        of_key.entry(key).or_default().push(number_of(&s.record));
    }
    assert_eq!(of_key.len(), keys);
    for (key, seen) in of_key {
        assert_eq!(seen, (0..each).collect::<Vec<_>>(), "{key:?}");
    }
    for (partition, offsets) in given {
        let stand: Vec<_> = read_all(&*log, partition).await.iter().map(|s| s.offset).collect();
        assert_eq!(stand, offsets, "append answers with the places where the records stand");
    }
}

/// The partition of a key is Java's murmur2: figures of Kafka's own unit tests.
pub async fn partitions_are_those_that_java_chooses(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let vectors = [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    for (key, hash) in vectors {
        let place = log.manifest().place(Topic::Targets, key.as_bytes());
        assert_eq!(place.partition, (hash & 0x7fff_ffff) % 4, "{key}");
        let mut append = numbered(place, 0);
        append.record.key = Some(Bytes::from(key));
        done(log.append(vec![append]).await);
    }
    let mut found = 0;
    for partition in 0..4 {
        for s in read_all(&*log, at(Topic::Targets, partition)).await {
            let key = s.record.key.expect("a key");
            let (_, hash) = vectors.iter().find(|(k, _)| k.as_bytes() == key).expect("one of ours");
            assert_eq!(partition, (hash & 0x7fff_ffff) % 4, "the record stands where its key belongs");
            found += 1;
        }
    }
    assert_eq!(found, vectors.len());
}

/// Keys, values, headers and times come back as they were given: absent, empty, binary, repeated.
pub async fn what_is_written_is_what_is_read(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let header = |name: &str, value: Option<&'static [u8]>| Header {
        name: name.into(),
        value: value.map(Bytes::from_static),
    };
    let plain = Record {
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(b"value")),
        headers: Vec::new(),
        timestamp: Timestamp::from_millis(1_700_000_000_123),
    };
    let everything: Vec<u8> = (0..=255).collect();
    let records = vec![
        plain.clone(),
        Record { key: None, ..plain.clone() },
        Record { value: None, ..plain.clone() },
        Record { key: Some(Bytes::new()), value: Some(Bytes::new()), ..plain.clone() },
        Record { value: Some(Bytes::from(everything)), ..plain.clone() },
        Record { value: Some(Bytes::from(vec![7; 300_000])), ..plain.clone() },
        Record { timestamp: Timestamp::from_millis(0), ..plain.clone() },
        Record {
            headers: vec![
                header("a", Some(b"1")),
                header("b", None),
                header("a", Some(b"\x00\xff\xfe")),
                header("", Some(b"")),
                header("a", Some(b"1")),
                header("ключ", Some(b"utf-8 name")),
            ],
            ..plain.clone()
        },
    ];
    let to = at(Topic::Orders, 3);
    let appends =
        |records: &[Record]| -> Vec<_> { records.iter().map(|r| Append { to, record: r.clone() }).collect() };
    done(log.append(appends(&records)).await);
    let read: Vec<_> = read_all(&*log, to).await.into_iter().map(|s| s.record).collect();
    assert_eq!(read, records, "a range read gives what was appended");

    let mut consumer = Consumer::join(&log, group(h, "headers", &[Topic::Orders])).await;
    consumer.until("all records", h.patience(), |c| c.staged.len() >= records.len()).await;
    let polled: Vec<_> = consumer.staged.iter().map(|s| s.record.clone()).collect();
    assert_eq!(polled, records, "a poll gives what was appended");

    done(consumer.copy().await);
    let copied: Vec<_> =
        read_all(&*log, at(Topic::Decisions, 3)).await.into_iter().map(|s| s.record).collect();
    assert_eq!(copied, records, "a commit keeps them the same");

    let fine = Record { timestamp: Timestamp::from_micros(1_700_000_000_123_999), ..plain.clone() };
    done(log.append(appends(&[fine])).await);
    let read = read_all(&*log, to).await;
    assert_eq!(read[records.len()].record, plain, "times are kept in whole milliseconds, rounded down");
}

/// Of `decide-state`, the last record of each key is always there, and what is there stands in order.
pub async fn a_compacted_topic_keeps_the_last_of_each_key(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let of = at(Topic::DecideState, 1);
    let mut last = BTreeMap::new();
    for n in 0..40 {
        let mut append = numbered(of, n);
        let key = format!("snapshot {}", n % 3);
        append.record.key = Some(Bytes::from(key.clone()));
        done(log.append(vec![append]).await);
        last.insert(Bytes::from(key), n);
    }
    let stand = read_all(&*log, of).await;
    assert!(stand.windows(2).all(|w| number_of(&w[0].record) < number_of(&w[1].record)));
    let found: BTreeMap<_, _> =
        stand.iter().map(|s| (s.record.key.clone().expect("a key"), number_of(&s.record))).collect();
    assert_eq!(found, last);
    let end = log.extent(of).await.expect("an extent").end;
    assert_eq!(stand.last().map(|s| s.offset.next()), Some(end));
    assert_eq!(log.read(of, end, 1).await.expect("the end"), []);
}

/// A partition that the topic does not have is refused, and nothing of the batch is written.
pub async fn an_append_to_no_partition_is_refused(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    for partition in [4, -1] {
        let batch = vec![numbered(at(Topic::Fills, 0), 0), numbered(at(Topic::Fills, partition), 1)];
        match log.append(batch).await {
            Written::NotDone(LogError::Refused(why)) => assert!(why.contains("fills"), "{why}"),
            other => panic!("partition {partition}: {other:?}"),
        }
    }
    assert_eq!(read_all(&*log, at(Topic::Fills, 0)).await, []);
    assert!(done(log.append(Vec::new()).await).is_empty(), "nothing to append is done at once");
}

/// Several tasks append to one partition through one handle: each finds its own records in its own order.
pub async fn appends_of_several_tasks_do_not_mix(h: &dyn Harness) {
    let (place, log) = fresh_log(h).await;
    let other = h.open(&place, &super::expected()).await.expect("a second handle");
    let to = at(Topic::Fills, 1);
    let (tasks, each) = (8, 40);
    let mut running = Vec::new();
    for task in 0..tasks {
        let log = if task % 2 == 0 { log.clone() } else { other.clone() };
        running.push(tokio::spawn(async move {
            let mut places = Vec::new();
            for i in 0..each {
                places.extend(done(log.append(vec![numbered(to, task * 1_000 + i)]).await));
            }
            places
        }));
    }
    let mut places = Vec::new();
    for task in running {
        places.push(task.await.expect("the task ended"));
    }
    let all = read_all(&*log, to).await;
    assert_eq!(all.len(), tasks * each);
    for (task, places) in places.into_iter().enumerate() {
        let own: Vec<_> = all.iter().filter(|s| number_of(&s.record) / 1_000 == task).collect();
        assert_eq!(own.iter().map(|s| s.offset).collect::<Vec<_>>(), places);
        assert!(own.iter().enumerate().all(|(i, s)| number_of(&s.record) % 1_000 == i), "task {task}");
    }
}

/// An append whose answer was lost is unknown; reading tells, and what comes later stands behind it.
pub async fn an_append_whose_answer_was_lost_is_there_or_not(h: &dyn Harness) {
    for lost in [Lost::Before, Lost::After] {
        let (place, log) = fresh_log(h).await;
        let to = at(Topic::Fills, 2);
        append_numbered(&*log, to, 0..3).await;
        if !h.lose_next_append(&place, &log, lost).await {
            return testkit::skip(
                "an_append_whose_answer_was_lost_is_there_or_not",
                "this backend has no way to lose an answer",
            );
        }
        match log.append((3..6).map(|n| numbered(to, n)).collect()).await {
            Written::Done(_) => panic!("the answer was lost, yet it says done"),
            Written::NotDone(e) => assert!(lost == Lost::Before, "it took effect, yet: {e}"),
            Written::Unknown(e) => assert!(e.is_transient(), "{e}"),
        }
        // The next append finds the log as it is, and stands behind whatever the lost one left.
        testkit::wait_for("the log to be usable again", h.patience(), || async {
            matches!(log.append(vec![numbered(to, 6)]).await, Written::Done(_))
        })
        .await;
        let seen = numbers(&read_all(&*log, to).await);
        let prefix = seen.len() - 4;
        assert!(prefix <= 3, "{seen:?}");
        let expected: Vec<_> = (0..3 + prefix).chain([6]).collect();
        assert_eq!(seen, expected, "the lost append left a prefix of itself");
    }
}
