//! What the log in memory does beyond the port: virtual time, faults on request, exact repetition.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use runtime::{Chance, VirtualClock};
use schemas::{Timestamp, topics::Topic};

use super::{MemoryLog, MemoryOptions};
use crate::{
    fault::Lost,
    port::{
        Append, Expected, Group, Log, LogError, Member, Offset, Polled, Record, TopicPartition, VenueKind,
        Written,
    },
};

const SESSION: Duration = Duration::from_secs(10);

fn log(markers: bool) -> (MemoryLog, VirtualClock) {
    let clock = VirtualClock::at(Timestamp::from_secs(1_700_000_000));
    let expected = Expected {
        venue: VenueKind::Simulator,
        wallet_partitions: 2,
        account_partitions: 1,
        market_partitions: 1,
        log_id: None,
    };
    let options = MemoryOptions { markers };
    (MemoryLog::create(&expected, options, Arc::new(clock.clone()), &Chance::seeded(7)).unwrap(), clock)
}

fn fill(partition: i32, n: u8) -> Append {
    let record = Record {
        key: None,
        value: Some(Bytes::from(vec![n])),
        headers: Vec::new(),
        timestamp: Timestamp::from_millis(5),
    };
    Append { to: TopicPartition::new(Topic::Fills, partition), record }
}

fn group() -> Group {
    Group { name: "g".into(), topics: vec![Topic::Fills], session: SESSION }
}

async fn now(member: &mut Box<dyn Member>) -> Polled {
    member.poll(100, Duration::ZERO).await.unwrap()
}

fn both() -> Vec<TopicPartition> {
    (0..2).map(|p| TopicPartition::new(Topic::Fills, p)).collect()
}

#[tokio::test]
async fn a_session_ends_by_the_clock_it_was_given() {
    let (log, clock) = log(false);
    let (mut one, mut two) = (log.join(group()).await.unwrap(), log.join(group()).await.unwrap());
    assert_eq!(now(&mut one).await, Polled::Assigned(both()));
    assert_eq!(now(&mut two).await, Polled::Idle, "until the first lets go");
    clock.advance(SESSION);
    assert_eq!(now(&mut two).await, Polled::Idle, "just within its session");
    clock.advance(Duration::from_millis(1));
    assert_eq!(now(&mut two).await, Polled::Assigned(both()), "a moment later");
    let late = one.commit(vec![fill(0, 1)], [(both()[0], Offset(0))].into_iter().collect()).await;
    assert!(matches!(late, Written::NotDone(LogError::Fenced(_))), "{late:?}");
    assert_eq!(now(&mut one).await, Polled::Lost(both()));
}

/// Whoever waits in a poll is alive, however far the clock jumps; it returns when its time has come.
#[tokio::test]
async fn a_jump_of_the_clock_takes_nothing_from_who_polls() {
    let (log, clock) = log(false);
    let mut one = log.join(group()).await.unwrap();
    assert_eq!(now(&mut one).await, Polled::Assigned(both()));
    let waiting = tokio::spawn(async move { (one.poll(1, SESSION * 9).await.unwrap(), one) });
    tokio::task::yield_now().await;
    let mut two = log.join(group()).await.unwrap();
    clock.advance(SESSION * 8);
    assert_eq!(now(&mut two).await, Polled::Idle);
    // The newcomer wants its share, and the first is told though its time is not over.
    let (polled, _one) = waiting.await.unwrap();
    assert_eq!(polled, Polled::Lost(both()[1..].to_vec()));
    assert_eq!(now(&mut two).await, Polled::Assigned(both()[1..].to_vec()));
}

#[tokio::test]
async fn a_member_made_a_zombie_is_fenced_and_two_believe_to_own_one_partition() {
    let (log, _clock) = log(false);
    let (mut one, mut two) = (log.join(group()).await.unwrap(), log.join(group()).await.unwrap());
    assert_eq!(now(&mut one).await, Polled::Assigned(both()));
    assert!(log.evict("g", both()[0]));
    assert!(!log.evict("g", both()[0]), "nobody holds it any more");
    assert_eq!(now(&mut two).await, Polled::Assigned(both()));
    assert_eq!((one.assignment(), two.assignment()), (both(), both()));
    let offsets = || [(both()[0], Offset(0))].into_iter().collect();
    assert!(matches!(one.commit(Vec::new(), offsets()).await, Written::NotDone(LogError::Fenced(_))));
    assert!(matches!(two.commit(Vec::new(), offsets()).await, Written::Done(_)));
}

#[tokio::test]
async fn a_rebalance_takes_all_from_all_and_deals_out_anew() {
    let (log, _clock) = log(false);
    let mut one = log.join(group()).await.unwrap();
    assert_eq!(now(&mut one).await, Polled::Assigned(both()));
    log.rebalance("g");
    let offsets = [(both()[1], Offset(0))].into_iter().collect();
    assert!(matches!(one.commit(Vec::new(), offsets).await, Written::NotDone(LogError::Fenced(_))));
    assert_eq!(now(&mut one).await, Polled::Lost(both()));
    assert_eq!(now(&mut one).await, Polled::Assigned(both()));
}

/// Three records, a marker, one more: 0, 1, 2, 4.
#[tokio::test]
async fn with_markers_offsets_skip_behind_a_commit() {
    let (log, _clock) = log(true);
    let mut one = log.join(group()).await.unwrap();
    assert_eq!(now(&mut one).await, Polled::Assigned(both()));
    let records = (0..3).map(|n| fill(1, n)).collect();
    assert!(matches!(
        one.commit(records, [(both()[0], Offset(0))].into_iter().collect()).await,
        Written::Done(_)
    ));
    let Written::Done(places) = log.append(vec![fill(1, 3)]).await else { panic!("not done") };
    assert_eq!(places, [Offset(4)]);
    let stand: Vec<_> = log.contents()[&both()[1]].iter().map(|s| s.offset.0).collect();
    assert_eq!(stand, [0, 1, 2, 4]);
    assert_eq!(log.read(both()[1], Offset(3), 10).await.unwrap()[0].offset, Offset(4));
}

/// Two members under a clock that jumps, with faults, rebalances and evictions drawn from a seed.
async fn history(seed: u64) -> (MemoryLog, usize) {
    let (log, clock) = log(seed.is_multiple_of(2));
    let chance = Chance::seeded(seed);
    let mut members = [log.join(group()).await.unwrap(), log.join(group()).await.unwrap()];
    let mut staged = [Vec::new(), Vec::new()];
    let mut refused = 0;
    for step in 0..600_u64 {
        let who = usize::try_from(chance.below(2)).unwrap();
        match chance.below(12) {
            0 => log.rebalance("g"),
            1 => drop(log.evict("g", both()[usize::try_from(chance.below(2)).unwrap()])),
            2 => log.faults().lose_next_commit(Lost::Before),
            3 => log.faults().lose_next_commit(Lost::After),
            4 => clock.advance(Duration::from_secs(chance.below(15))),
            5 | 6 if step < 400 => {
                let n = u8::try_from(step % 250).unwrap();
                let partition = i32::try_from(chance.below(2)).unwrap();
                assert!(matches!(log.append(vec![fill(partition, n)]).await, Written::Done(_)));
            }
            _ => match now(&mut members[who]).await {
                Polled::Records(records) => staged[who].extend(records),
                Polled::Rewound => staged[who].clear(),
                Polled::Lost(gone) => staged[who].retain(|s: &crate::port::Stored| !gone.contains(&s.at)),
                Polled::Assigned(_) | Polled::Idle => {}
            },
        }
        if chance.below(2) == 0 && !staged[who].is_empty() {
            refused += usize::from(!copy(&mut members[who], &mut staged[who]).await);
        }
    }
    // Whatever is left, without any more faults.
    while log.faults().take_commit().is_some() {}
    for _ in 0..100 {
        for (member, staged) in members.iter_mut().zip(&mut staged) {
            match now(member).await {
                Polled::Records(records) => staged.extend(records),
                Polled::Rewound => staged.clear(),
                Polled::Lost(gone) => staged.retain(|s| !gone.contains(&s.at)),
                Polled::Assigned(_) | Polled::Idle => {}
            }
            let _ended_somehow = copy(member, staged).await;
        }
    }
    (log, refused)
}

async fn copy(member: &mut Box<dyn Member>, staged: &mut Vec<crate::port::Stored>) -> bool {
    let to = |partition| TopicPartition::new(Topic::Decisions, partition);
    let records =
        staged.iter().map(|s| Append { to: to(s.at.partition), record: s.record.clone() }).collect();
    let offsets = staged.iter().map(|s| (s.at, s.offset.next())).collect();
    let done = matches!(member.commit(records, offsets).await, Written::Done(_));
    if done {
        staged.clear();
    }
    done
}

/// Whatever fails, every fill is copied once, in order; and a seed repeats its history byte for byte.
#[tokio::test]
async fn a_seed_repeats_a_history_in_which_nothing_is_lost_or_doubled() {
    let mut refused = 0;
    for seed in 0..60 {
        let (log, not_done) = history(seed).await;
        refused += not_done;
        let contents = log.contents();
        for partition in 0..2 {
            let of = |topic| -> Vec<_> {
                let records = contents.get(&TopicPartition::new(topic, partition));
                records.into_iter().flatten().map(|s| s.record.value.clone()).collect()
            };
            assert_eq!(of(Topic::Fills), of(Topic::Decisions), "seed {seed}");
            assert!(!of(Topic::Fills).is_empty());
        }
        let (again, _) = history(seed).await;
        assert_eq!(again.contents(), contents, "seed {seed}");
    }
    assert!(refused > 100, "only {refused} commits failed: the faults do not bite");
}

/// The order in which members of many groups see a record.
async fn order_of_waking() -> Vec<u32> {
    let (log, _) = log(false);
    let woken = Arc::new(std::sync::Mutex::new(Vec::new()));
    let waiting: Vec<_> = (0..24)
        .map(|n| {
            let (log, woken) = (log.clone(), woken.clone());
            tokio::spawn(async move {
                let group = Group { name: format!("g{n}"), ..group() };
                let mut member = log.join(group).await.unwrap();
                while !matches!(member.poll(1, Duration::from_secs(1)).await.unwrap(), Polled::Records(_)) {}
                woken.lock().unwrap().push(n);
            })
        })
        .collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(log.append(vec![fill(0, 1)]).await, Written::Done(_)));
    for task in waiting {
        task.await.unwrap();
    }
    woken.lock().unwrap().clone()
}

#[tokio::test]
async fn members_that_wait_are_woken_in_one_order_always() {
    let first = order_of_waking().await;
    assert_eq!(first.len(), 24);
    for _ in 0..4 {
        assert_eq!(order_of_waking().await, first);
    }
}
