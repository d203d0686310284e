//! Groups: who holds what, and what it may still do.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use schemas::topics::Topic;

use super::{
    Consumer, Harness, append_numbered, at, consumer::until_all, done, expected, fresh_log, group, numbered,
    numbers, read_all,
};
use crate::port::{LogError, Offset, Polled, TopicPartition, Written};

fn all_held(consumers: &[Consumer], count: usize) -> bool {
    let union: BTreeSet<_> = consumers.iter().flat_map(|c| &c.held).collect();
    let sum: usize = consumers.iter().map(|c| c.held.len()).sum();
    union.len() == count && sum == count
}

fn partitions_of(c: &Consumer, topic: Topic) -> BTreeSet<i32> {
    c.held.iter().filter(|p| p.topic == topic).map(|p| p.partition).collect()
}

/// Over several topics with one partition count, who holds a number of one holds it of all: with one
/// member, two, three, and when one has gone again.
pub async fn partition_numbers_stay_together(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let topics = [Topic::Orders, Topic::Fills, Topic::Targets, Topic::Intents];
    let group = group(h, "together", &topics);
    let count = 4 * 3 + 2;
    let together = |consumers: &[Consumer]| {
        for c in consumers {
            let fills = partitions_of(c, Topic::Fills);
            assert_eq!(fills, partitions_of(c, Topic::Targets));
            assert_eq!(fills, partitions_of(c, Topic::Orders));
        }
    };
    let mut consumers = Vec::new();
    for members in 1..=3 {
        consumers.push(Consumer::join(&log, group.clone()).await);
        until_all("a fair share for each", h.patience(), &mut consumers, |all| {
            let share = |c: &Consumer| partitions_of(c, Topic::Fills).len();
            all_held(all, count) && all.iter().all(|c| (share(c)).abs_diff(4 / members) <= 1 && share(c) > 0)
        })
        .await;
        together(&consumers);
    }
    let gone = consumers.remove(0);
    gone.member.leave().await.expect("left");
    until_all("all of it with two", h.patience(), &mut consumers, |all| all_held(all, count)).await;
    together(&consumers);
}

/// A member that leaves hands over without anybody waiting for its session, and what it had not committed
/// is read by the next.
pub async fn leaving_hands_over_at_once(h: &dyn Harness) {
    let (place, log) = fresh_log(h).await;
    let other = h.open(&place, &expected()).await.expect("a second handle");
    append_numbered(&*log, at(Topic::Fills, 0), 0..10).await;
    // A session nobody would wait for.
    let group = crate::port::Group { session: h.patience() * 2, ..group(h, "leaving", &[Topic::Fills]) };
    let mut first = Consumer::join(&log, group.clone()).await;
    first.until("the records", h.patience(), |c| c.held.len() == 4 && c.staged.len() == 10).await;
    first.staged.truncate(4);
    done(first.copy().await);
    let mut second = Consumer::join(&other, group).await;
    first.member.leave().await.expect("left");
    second.until("everything", h.patience(), |c| c.held.len() == 4 && c.staged.len() >= 6).await;
    assert_eq!(numbers(&second.staged), [4, 5, 6, 7, 8, 9]);
    done(second.copy().await);
    assert_eq!(numbers(&read_all(&*log, at(Topic::Decisions, 0)).await), (0..10).collect::<Vec<_>>());
}

/// A member that died is missed after its session, and its partitions go to the others, from its last
/// commit on.
pub async fn a_dead_member_s_partitions_go_to_the_others(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    for partition in 0..4 {
        append_numbered(&*log, at(Topic::Fills, partition), 0..10).await;
    }
    let group = group(h, "dying", &[Topic::Fills]);
    let mut consumers =
        vec![Consumer::join(&log, group.clone()).await, Consumer::join(&log, group.clone()).await];
    until_all("two shares", h.patience(), &mut consumers, |all| {
        all_held(all, 4) && all.iter().all(|c| c.held.len() == 2)
    })
    .await;
    let mut dying = consumers.remove(0);
    // It commits three of one partition, reads on, and dies with that.
    let one = *dying.held.first().expect("a partition");
    dying.until("its records", h.patience(), |c| c.staged.len() == 20).await;
    let mut taken = 0;
    dying.staged.retain(|s| {
        taken += usize::from(s.at == one);
        s.at == one && taken <= 3
    });
    done(dying.copy().await);
    drop(dying);

    let mut rest = consumers.remove(0);
    rest.copy_until("all copied by the survivor", 50, h.patience(), async || {
        let mut count = 0;
        for p in 0..4 {
            count += read_all(&*log, at(Topic::Decisions, p)).await.len();
        }
        count == 40
    })
    .await;
    for p in 0..4 {
        let copied = numbers(&read_all(&*log, at(Topic::Decisions, p)).await);
        assert_eq!(copied, (0..10).collect::<Vec<_>>(), "partition {p}: once each, in order");
    }
    assert_eq!(rest.held.len(), 4);
}

/// Members that are polled more often than once a session keep what they hold, session after session.
pub async fn a_member_that_is_polled_keeps_its_partitions(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let group = group(h, "keeping", &[Topic::Fills]);
    let mut both = vec![Consumer::join(&log, group.clone()).await, Consumer::join(&log, group).await];
    until_all("two shares", h.patience(), &mut both, |all| {
        all_held(all, 4) && all.iter().all(|c| c.held.len() == 2)
    })
    .await;
    let begin = Instant::now();
    let (mut since, mut polled) = (begin, begin);
    let mut losses = 0;
    while since.elapsed() < h.session() * 4 {
        assert!(begin.elapsed() < h.patience() * 2, "this machine is too busy to poll in time");
        // Most of the time it works, and it is heard of only now and then.
        tokio::time::sleep(h.session() / 3).await;
        for c in &mut both {
            c.step(1).await.expect("a poll");
        }
        let lost: usize = both.iter().map(|c| c.losses).sum();
        if polled.elapsed() > h.session() * 3 / 4 {
            // Not polled in time: begin again.
            since = Instant::now();
        }
        polled = Instant::now();
        if since.elapsed() < h.session() {
            // What came of a poll that was late, or of joining, is told within a session.
            losses = lost;
        }
        assert_eq!(lost, losses, "{both:?}");
    }
    until_all("two shares still", h.patience(), &mut both, |all| all_held(all, 4)).await;
}

/// A member that hangs longer than its session loses its partitions; what it commits afterwards is refused
/// and never seen, and it is told.
pub async fn a_hanging_member_is_fenced(h: &dyn Harness) {
    let (place, log) = fresh_log(h).await;
    let other = h.open(&place, &expected()).await.expect("a second handle");
    append_numbered(&*log, at(Topic::Fills, 2), 0..20).await;
    let group = group(h, "hanging", &[Topic::Fills]);
    let mut zombie = Consumer::join(&log, group.clone()).await;
    zombie.until("the records", h.patience(), |c| c.held.len() == 4 && c.staged.len() == 20).await;

    // From here on nobody polls it, and another comes.
    let mut heir = Consumer::join(&other, group).await;
    heir.until("everything", h.patience(), |c| c.held.len() == 4 && c.staged.len() == 20).await;
    heir.staged.truncate(5);
    done(heir.copy().await);

    match zombie.copy().await {
        Written::NotDone(LogError::Fenced(_)) => {}
        other => panic!("a zombie's commit: {other:?}"),
    }
    match zombie.member.commit(zombie.copies(), BTreeMap::from([(at(Topic::Fills, 0), Offset(0))])).await {
        Written::NotDone(LogError::Fenced(_)) => {}
        other => panic!("a zombie's second commit: {other:?}"),
    }
    assert_eq!(numbers(&read_all(&*log, at(Topic::Decisions, 2)).await), [0, 1, 2, 3, 4]);
    heir.until("to read on, undisturbed", h.patience(), |c| c.held.len() == 4).await;
    zombie.until("to be told", h.patience(), |c| c.losses > 0 && c.staged.is_empty()).await;

    // It is a member like any other again.
    let mut both = [heir, zombie];
    until_all("two shares", h.patience(), &mut both, |all| {
        all_held(all, 4) && all.iter().all(|c| c.held.len() == 2)
    })
    .await;
}

/// A commit that names a partition of somebody else is refused as a whole.
pub async fn a_commit_for_a_foreign_partition_is_refused(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    for partition in 0..4 {
        append_numbered(&*log, at(Topic::Fills, partition), 0..4).await;
    }
    let group = group(h, "foreign", &[Topic::Fills]);
    let mut both = vec![Consumer::join(&log, group.clone()).await, Consumer::join(&log, group).await];
    until_all("two shares", h.patience(), &mut both, |all| {
        all_held(all, 4) && all.iter().all(|c| c.held.len() == 2)
    })
    .await;
    let foreign = *both[1].held.first().expect("a partition");
    let own = *both[0].held.first().expect("a partition");
    let offsets = BTreeMap::from([(own, Offset(1)), (foreign, Offset(1))]);
    let records = vec![numbered(at(Topic::Decisions, own.partition), 0)];
    match both[0].member.commit(records, offsets).await {
        Written::NotDone(LogError::Fenced(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(read_all(&*log, at(Topic::Decisions, own.partition)).await, []);
    assert!(log.committed("foreign", &[own, foreign]).await.expect("offsets").is_empty());
    assert!(matches!(both[0].member.seek(foreign, Offset(0)).await, Err(LogError::Fenced(_))));
    assert!(matches!(both[0].member.pause(foreign, true).await, Err(LogError::Fenced(_))));
    until_all("the rewind", h.patience(), &mut both, |all| all[0].rewinds + all[0].losses > 0).await;
}

/// A member reads on from where it seeks to, and nothing of what it paused.
pub async fn a_member_seeks_and_pauses(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let (zero, one) = (at(Topic::Fills, 0), at(Topic::Fills, 1));
    append_numbered(&*log, zero, 0..10).await;
    append_numbered(&*log, one, 100..110).await;
    let mut c = Consumer::join(&log, group(h, "seeking", &[Topic::Fills])).await;
    // Seeking between the assignment and the first record: records before it are never seen.
    c.until("all partitions", h.patience(), |c| c.held.len() == 4).await;
    assert!(c.staged.is_empty(), "the assignment comes before any record");
    c.member.seek(zero, Offset(7)).await.expect("ours");
    c.member.pause(one, true).await.expect("ours");
    c.until("the rest of one", h.patience(), |c| c.staged.len() >= 3).await;
    assert_eq!(numbers(&c.staged), [7, 8, 9]);

    c.member.seek(zero, Offset(2)).await.expect("ours");
    c.staged.clear();
    c.until("again", h.patience(), |c| c.staged.len() >= 8).await;
    assert_eq!(numbers(&c.staged), (2..10).collect::<Vec<_>>());
    append_numbered(&*log, one, 110..111).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(150) {
        c.step(100).await.expect("a poll");
    }
    assert_eq!(c.staged.len(), 8, "nothing of a paused partition");

    c.member.pause(one, false).await.expect("ours");
    c.staged.clear();
    c.until("what was paused", h.patience(), |c| c.staged.len() >= 11).await;
    assert_eq!(numbers(&c.staged), (100..111).collect::<Vec<_>>());

    // Only half of what was read: a rewind goes to the committed offsets, not to where it sought.
    c.staged.truncate(5);
    done(c.copy().await);
    let refused = vec![numbered(at(Topic::Decisions, 99), 0)];
    let written = c.member.commit(refused, BTreeMap::from([(one, Offset(9))])).await;
    assert!(matches!(written, Written::NotDone(LogError::Refused(_))), "{written:?}");
    c.until("the rewind", h.patience(), |c| c.rewinds + c.losses > 0).await;
    let of_one = |c: &Consumer| -> Vec<_> { c.staged.iter().filter(|s| s.at == one).cloned().collect() };
    let rest_of_both = |c: &Consumer| of_one(c).len() >= 6 && c.staged.len() >= 16;
    c.until("everything not committed", h.patience(), rest_of_both).await;
    assert_eq!(numbers(&of_one(&c)), (105..111).collect::<Vec<_>>());
    let of_zero: Vec<_> = c.staged.iter().filter(|s| s.at == zero).cloned().collect();
    assert_eq!(numbers(&of_zero), (0..10).collect::<Vec<_>>(), "nothing of it was ever committed");
}

/// Each group reads everything, and keeps its own offsets.
pub async fn groups_do_not_disturb_each_other(h: &dyn Harness) {
    let (_place, log) = fresh_log(h).await;
    let of = at(Topic::Fills, 1);
    append_numbered(&*log, of, 0..10).await;
    let mut one = Consumer::join(&log, group(h, "one", &[Topic::Fills])).await;
    let mut two = Consumer::join(&log, group(h, "two", &[Topic::Fills])).await;
    one.until("all records", h.patience(), |c| c.staged.len() == 10).await;
    done(one.member.commit(Vec::new(), one.next_offsets()).await);
    two.until("all records", h.patience(), |c| c.staged.len() == 10).await;
    assert_eq!(numbers(&two.staged), (0..10).collect::<Vec<_>>());
    let committed = |name: &'static str| {
        let log = log.clone();
        async move { log.committed(name, &[of]).await.expect("offsets").get(&of).copied() }
    };
    let end: TopicPartition = of;
    assert_eq!(committed("one").await, Some(log.extent(end).await.expect("an extent").end));
    assert_eq!(committed("two").await, None);
    assert_eq!(one.member.poll(10, Duration::ZERO).await.expect("a poll"), Polled::Idle);
}
