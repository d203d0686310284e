//! The loops of ingest against the simulator over HTTP: what it publishes is what the venue shows, once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::{DEADLINE, World, totals, whole_second};
use eventlog::{
    Append, Extent, Group, Log, LogError, Manifest, Member, Offset, Stored, TopicPartition, Written,
    memory::MemoryLog,
};
use runtime::Stop;
use schemas::{
    Address, FillKind, NaturalKey, TargetStatus, Timestamp,
    events::{FillsEvent, MarketsEvent},
    topics::Topic,
};
use testkit::wait_for;

#[tokio::test]
async fn what_is_published_is_what_the_venue_shows_over_a_kill_and_a_restart() {
    let world = World::start(40).await;
    let leaders: Vec<Address> = world.simulator.handle().leaders().into_iter().take(3).collect();
    let mut since = BTreeMap::new();
    for leader in &leaders {
        since.insert(*leader, whole_second(world.follow(*leader, TargetStatus::Active, 1).await));
    }
    let (_, first) = world.run();
    wait_for("fills of the first run", DEADLINE, async || world.fills().await.len() > 100).await;
    // As a kill would: in the middle of whatever it does.
    first.abort();
    let _ = first.await;
    let before = world.fills().await.len();
    let (stop, second) = world.run();
    wait_for("fills of the second run", DEADLINE, async || world.fills().await.len() > before + 100).await;
    // Everything older than a few seconds has to be there, whatever was going on at the kill.
    let until = whole_second(world.clock.now());
    for leader in &leaders {
        wait_for("the venue's totals", DEADLINE, async || {
            let truth = world.truth(*leader, since[leader], until).await;
            let published = totals(&world.fills().await);
            truth.iter().all(|(key, shares)| published.get(key) == Some(shares))
        })
        .await;
    }
    stop.request();
    second.await.unwrap().unwrap();

    let events = world.events().await;
    let fills = world.fills().await;
    // Nothing was invented.
    for leader in &leaders {
        let truth = world.truth(*leader, since[leader], world.clock.now()).await;
        for (key, shares) in totals(&fills).iter().filter(|(key, _)| key.wallet == *leader) {
            assert!(truth.get(key).is_some_and(|t| t >= shares), "{key:?}");
        }
    }
    // Each fill has one name, and revisions that count up.
    let mut names: BTreeMap<NaturalKey, BTreeSet<String>> = BTreeMap::new();
    let mut revisions: BTreeMap<NaturalKey, i32> = BTreeMap::new();
    for fill in &fills {
        names.entry(fill.natural_key()).or_default().insert(fill.fill_id.to_string());
        let last = revisions.entry(fill.natural_key()).or_insert(-1);
        assert!(fill.revision <= *last + 1, "revisions skip: {fill:?}");
        *last = (*last).max(fill.revision);
        assert_eq!(fill.kind == FillKind::New, fill.revision == 0);
        assert!(fill.facts.is_some(), "the simulator knows its markets");
        assert!(fill.book.is_some(), "and has a book for each");
    }
    assert!(names.values().all(|n| n.len() == 1));
    assert!(revisions.values().any(|r| *r > 0), "late rows must have made amendments");
    // One snapshot a wallet, before its fills; the restart needed none.
    for leader in &leaders {
        let of = |e: &FillsEvent| match e {
            FillsEvent::PositionSnapshot(s) => (s.wallet == *leader).then_some(true),
            FillsEvent::Fill(f) if f.kind != FillKind::History => (f.wallet == *leader).then_some(false),
            _ => None,
        };
        let kinds: Vec<bool> = events.iter().filter_map(of).collect();
        assert_eq!(kinds.first(), Some(&true), "the snapshot comes first");
        assert_eq!(kinds.iter().filter(|snapshot| **snapshot).count(), 1, "one snapshot");
    }
    // Markets were told once each, as long as their facts stand.
    let mut conditions = BTreeSet::new();
    for partition in 0..2 {
        let at = TopicPartition::new(Topic::Markets, partition);
        for record in world.log.read(at, Offset::ZERO, usize::MAX).await.unwrap() {
            let event: MarketsEvent = world.codec.decode(record.record.value.as_ref().unwrap()).unwrap();
            let MarketsEvent::MarketState(state) = event else { panic!("only facts are told") };
            conditions.insert(state.facts.condition_id);
        }
    }
    assert!(fills.iter().all(|f| conditions.contains(&f.condition_id)));
    world.simulator.stop().await;
}

#[tokio::test]
async fn a_wallet_nobody_follows_any_more_is_left_alone() {
    let world = World::start(40).await;
    let leader = world.simulator.handle().leaders()[0];
    world.follow(leader, TargetStatus::Active, 1).await;
    let (stop, run) = world.run();
    wait_for("its fills", DEADLINE, async || world.fills().await.len() > 5).await;
    world.follow(leader, TargetStatus::Removed, 2).await;
    // What was on its way when the removal was read may still arrive; then nothing does.
    let requests = || world.simulator.handle().stats().tally.trades_requests;
    wait_for("silence", DEADLINE, async || {
        // Ten polls long.
        let before = requests();
        tokio::time::sleep(Duration::from_millis(500)).await;
        requests() == before
    })
    .await;
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}

#[tokio::test]
async fn an_older_state_of_a_target_changes_nothing() {
    let world = World::start(40).await;
    let leader = world.simulator.handle().leaders()[0];
    world.follow(leader, TargetStatus::Removed, 2).await;
    world.follow(leader, TargetStatus::Active, 1).await;
    let (stop, run) = world.run();
    wait_for("the targets being read", DEADLINE, async || {
        // A second wallet that is followed shows that all of `targets` was read.
        world.fills().await.iter().any(|f| f.wallet != leader) || {
            let other = world.simulator.handle().leaders()[1];
            world.follow(other, TargetStatus::Active, 1).await;
            false
        }
    })
    .await;
    assert!(world.fills().await.iter().all(|f| f.wallet != leader));
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}

/// A log that counts how often `fills` are read once the stage was asked to stop.
#[derive(Debug)]
struct ReadsAfterStop {
    inner: MemoryLog,
    stop: Stop,
    reads: Arc<AtomicU32>,
}

#[async_trait]
impl Log for ReadsAfterStop {
    fn manifest(&self) -> &Manifest {
        self.inner.manifest()
    }

    async fn append(&self, records: Vec<Append>) -> Written<Vec<Offset>> {
        self.inner.append(records).await
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        self.inner.join(group).await
    }

    async fn read(&self, at: TopicPartition, from: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        if at.topic == Topic::Fills && self.stop.is_requested() {
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.read(at, from, limit).await
    }

    async fn extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.inner.extent(at).await
    }

    async fn settled_extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.inner.settled_extent(at).await
    }

    async fn offset_at(&self, at: TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        self.inner.offset_at(at, time).await
    }

    async fn committed(
        &self,
        group: &str,
        of: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        self.inner.committed(group, of).await
    }
}

/// With hundreds of wallets, each of which reads its partition again, a stop once took longer than anybody waits.
#[tokio::test]
async fn a_stop_begins_no_watch_anew() {
    let world = World::start(40).await;
    for leader in world.simulator.handle().leaders() {
        world.follow(leader, TargetStatus::Active, 1).await;
    }
    let (stop, reads) = (Stop::new(), Arc::new(AtomicU32::new(0)));
    let log = ReadsAfterStop { inner: world.log.clone(), stop: stop.clone(), reads: reads.clone() };
    let (stop, run) = world.run_on(Arc::new(log), world.venue.clone(), stop);
    wait_for("fills", DEADLINE, async || world.fills().await.len() > 50).await;
    stop.request();
    run.await.unwrap().unwrap();
    assert_eq!(
        reads.load(Ordering::SeqCst),
        0,
        "partitions were read again for wallets nobody watches any more"
    );
}
