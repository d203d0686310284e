//! Append and commit in one step: all of it or nothing, also when nobody says which.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use schemas::topics::Topic;

use super::{
    Consumer, Harness, Lost, append_numbered, at, done, expected, fresh_log, group, number_of, numbered,
    numbers, read_all,
};
use crate::port::{Append, Log, LogError, Offset, Polled, Written};

/// What a commit appends stands in several topics and partitions, and the offsets have moved with it.
pub async fn a_commit_appends_and_moves_on_in_one_step(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    for partition in 0..4 {
        append_numbered(&*log, at(Topic::Fills, partition), 0..5).await;
    }
    let mut consumer = Consumer::join(&log, group(h, "step", &[Topic::Fills])).await;
    consumer.until("all records", h.patience(), |c| c.staged.len() == 20).await;
    let offsets = consumer.next_offsets();
    let mut records = consumer.copies();
    records.push(numbered(at(Topic::Intents, 1), 77));
    records.push(numbered(at(Topic::DeadLetters, 0), 78));
    let places = done(consumer.member.commit(records.clone(), offsets.clone()).await);
    assert_eq!(places.len(), records.len());
    for (append, place) in records.iter().zip(places) {
        let found = log.read(append.to, place, 1).await.expect("a range");
        assert_eq!(found[0].offset, place, "the record stands where the commit said");
        assert_eq!(found[0].record, append.record);
    }
    let fills: Vec<_> = (0..4).map(|p| at(Topic::Fills, p)).collect();
    assert_eq!(log.committed("step", &fills).await.expect("offsets"), offsets);

    // Only offsets, only records, nothing: each is a commit.
    let again = BTreeMap::from([(fills[0], offsets[&fills[0]])]);
    assert!(done(consumer.member.commit(Vec::new(), again.clone()).await).is_empty());
    done(consumer.member.commit(vec![numbered(at(Topic::Decisions, 0), 99)], BTreeMap::new()).await);
    done(consumer.member.commit(vec![numbered(at(Topic::Decisions, 0), 100)], again).await);
    assert_eq!(numbers(&read_all(&*log, at(Topic::Decisions, 0)).await), [0, 1, 2, 3, 4, 99, 100]);
    assert_eq!(consumer.member.poll(10, std::time::Duration::ZERO).await.expect("a poll"), Polled::Idle);
}

/// A commit that is refused leaves nothing visible, moves nothing, and the member reads again what it read.
pub async fn a_refused_commit_leaves_nothing(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let of = at(Topic::Fills, 0);
    append_numbered(&*log, of, 0..10).await;
    let mut consumer = Consumer::join(&log, group(h, "refused", &[Topic::Fills])).await;
    consumer.until("some records", h.patience(), |c| !c.staged.is_empty()).await;
    let mut records = consumer.copies();
    records.push(numbered(at(Topic::Decisions, 99), 0));
    let offsets = consumer.next_offsets();
    match consumer.member.commit(records, offsets).await {
        Written::NotDone(LogError::Refused(why)) => assert!(why.contains("decisions"), "{why}"),
        other => panic!("{other:?}"),
    }
    consumer.until("the rewind", h.patience(), |c| c.rewinds + c.losses > 0).await;
    assert_eq!(read_all(&*log, at(Topic::Decisions, 0)).await, [], "nothing became visible");
    assert!(log.committed("refused", &[of]).await.expect("offsets").is_empty(), "nothing moved");
    consumer.until("the records again", h.patience(), |c| c.staged.len() >= 10).await;
    assert_eq!(numbers(&consumer.staged), (0..10).collect::<Vec<_>>());
    done(consumer.copy().await);
    assert_eq!(numbers(&read_all(&*log, at(Topic::Decisions, 0)).await), (0..10).collect::<Vec<_>>());
}

/// A commit that did not take effect, and whose answer was lost: its records are read and copied again.
pub async fn a_commit_lost_before_it_took_effect_is_repeated(h: &dyn Harness) {
    lost_commit(h, Lost::Before, "a_commit_lost_before_it_took_effect_is_repeated").await;
}

/// A commit that took effect, and whose answer was lost: the member goes on behind it.
pub async fn a_commit_lost_after_it_took_effect_is_not_repeated(h: &dyn Harness) {
    lost_commit(h, Lost::After, "a_commit_lost_after_it_took_effect_is_not_repeated").await;
}

async fn lost_commit(h: &dyn Harness, lost: Lost, test: &str) {
    let (place, log) = fresh_log(h).await;
    let of = at(Topic::Fills, 0);
    let to = at(Topic::Decisions, 0);
    let total = 60;
    append_numbered(&*log, of, 0..total).await;
    let mut consumer = Consumer::join(&log, group(h, "lost", &[Topic::Fills])).await;
    let begin = Instant::now();
    let mut commits = 0;
    let mut unknown = 0;
    loop {
        assert!(begin.elapsed() < h.patience(), "stuck; {consumer:?}");
        match consumer.step(5).await {
            Ok(Polled::Records(_)) => {
                commits += 1;
                // The third one, and one more later, so that a lost answer is also survived twice.
                let lose = commits == 3 || commits == 8;
                if lose && !h.lose_next_commit(&place, &log, lost).await {
                    return testkit::skip(test, "this backend has no way to lose an answer");
                }
                let before = numbers(&consumer.staged);
                match consumer.copy().await {
                    Written::Done(_) => assert!(!lose, "the answer was lost, yet it says done"),
                    Written::NotDone(e) => assert!(lost == Lost::Before, "it took effect, yet: {e}"),
                    Written::Unknown(e) => {
                        assert!(e.is_transient(), "{e}");
                        unknown += 1;
                    }
                }
                if lose {
                    // Whoever does not listen cannot double it.
                    match consumer.copy().await {
                        Written::NotDone(LogError::Fenced(_)) => {}
                        other => panic!("a commit behind an unknown one: {other:?}"),
                    }
                    // Reading tells: all of it or nothing.
                    let seen = numbers(&read_all(&*log, to).await);
                    let there = before.iter().filter(|n| seen.contains(n)).count();
                    let whole = if lost == Lost::After { before.len() } else { 0 };
                    assert_eq!(there, whole, "{before:?} in {seen:?}");
                    let told = consumer.rewinds + consumer.losses;
                    consumer
                        .until("to be told to forget", h.patience(), |c| c.rewinds + c.losses > told)
                        .await;
                    assert!(consumer.staged.is_empty());
                }
            }
            Ok(_) => {}
            Err(e) => assert!(e.is_transient(), "{e}"),
        }
        if numbers(&read_all(&*log, to).await).len() >= total {
            break;
        }
    }
    assert_eq!(unknown, if lost == Lost::After { 2 } else { unknown });
    assert_eq!(numbers(&read_all(&*log, to).await), (0..total).collect::<Vec<_>>(), "once each, in order");
    assert_eq!(
        log.committed("lost", &[of]).await.expect("offsets")[&of],
        log.extent(of).await.expect("an extent").end
    );
}

/// Whoever reads while others commit sees each commit whole or not at all, in each partition.
pub async fn commits_are_seen_whole(h: &dyn Harness) {
    let (place, log) = fresh_log(h).await;
    let source = at(Topic::Targets, 0);
    let enough = Arc::new(AtomicBool::new(false));
    let writer = {
        let log: Arc<dyn Log> = h.open(&place, &expected()).await.expect("a second handle");
        let (group, patience, enough) = (group(h, "whole", &[Topic::Targets]), h.patience(), enough.clone());
        tokio::spawn(async move {
            let mut consumer = Consumer::join(&log, group).await;
            consumer.until("all partitions", patience, |c| c.held.len() == 4).await;
            let mut n = 0;
            while !enough.load(Ordering::Relaxed) {
                // Seven records for each of two partitions.
                let to = |i: usize| at(Topic::Decisions, i32::from(i >= 7));
                let records: Vec<Append> = (0..14).map(|i| numbered(to(i), n)).collect();
                done(consumer.member.commit(records, BTreeMap::from([(source, Offset::ZERO)])).await);
                consumer.step(1).await.expect("a poll");
                n += 1;
            }
            n
        })
    };
    let begin = Instant::now();
    let mut from = [Offset::ZERO; 2];
    let (mut sights, mut seen) = (0, 0);
    while sights < 20 || !writer.is_finished() {
        assert!(begin.elapsed() < h.patience(), "{sights} sights");
        enough.store(sights >= 20, Ordering::Relaxed);
        for partition in 0..2_u8 {
            let of = at(Topic::Decisions, i32::from(partition));
            let from = &mut from[usize::from(partition)];
            let end = log.extent(of).await.expect("an extent").end;
            let mut sight = Vec::new();
            // To the end as it was seen before, so that a batch cut short by a backend does not count.
            while *from < end {
                let batch = log.read(of, *from, 10_000).await.expect("a range");
                let Some(last) = batch.last() else { break };
                *from = last.offset.next();
                sight.extend(batch);
            }
            let before_end = sight.iter().filter(|s| s.offset < end).count();
            assert_eq!(before_end % 7, 0, "an extent ends within a commit");
            assert_eq!(sight.len() % 7, 0, "half a commit was seen");
            for commit in sight.chunks(7) {
                assert!(commit.iter().all(|s| number_of(&s.record) == number_of(&commit[0].record)));
            }
            sights += usize::from(!sight.is_empty());
            seen += sight.len();
        }
    }
    let commits = writer.await.expect("the writer ended");
    for (partition, from) in (0..).zip(from) {
        let rest = log.read(at(Topic::Decisions, partition), from, 100_000).await.expect("a range");
        seen += rest.len();
    }
    assert_eq!(seen, commits * 14, "all of it was seen");
}
