//! The loops of ingest against the simulator over HTTP: what it publishes is what the venue shows, once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use eventlog::{
    Append, Expected, Log, Offset, TopicPartition, VenueKind, Written,
    memory::{MemoryLog, MemoryOptions},
};
use ingest::{Ports, Settings};
use runtime::{Board, Chance, Clock, Stop, SystemClock};
use schemas::{
    Address, BillingAccountId, FillKind, Mode, NaturalKey, Shares, TargetId, TargetRowId, TargetStatus,
    Timestamp, UserId,
    codec::Codec,
    events::{Fill, FillsEvent, MarketsEvent, Policy, TargetState},
    topics::Topic,
};
use simulator::{Options, Prints, Seeding, Simulator};
use testkit::wait_for;
use uuid::Uuid;
use venue::{
    http::{Endpoints, HttpSettings, PublicData},
    port::{MarketData, TradesQuery},
};

const DEADLINE: Duration = Duration::from_secs(60);

struct World {
    simulator: Simulator,
    log: MemoryLog,
    codec: Codec,
    clock: Arc<dyn Clock>,
    venue: Arc<dyn MarketData>,
}

impl World {
    async fn start(fills_per_second: u32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = SystemClock::shared();
        let seeding = Seeding {
            leaders: 4,
            mean_gap: Duration::from_secs(1) / fills_per_second,
            top_share_permille: 0,
            multi_row_permille: 300,
            late_row_permille: 300,
            ..Seeding::default()
        };
        let options = Options {
            prints: Prints::Seeded(seeding),
            history: Duration::from_secs(30),
            ..Options::default()
        };
        let simulator = Simulator::builder().options(options).start().await.unwrap();
        let expected = Expected {
            venue: VenueKind::Simulator,
            wallet_partitions: 4,
            account_partitions: 2,
            market_partitions: 2,
            log_id: None,
        };
        let log = MemoryLog::create(&expected, MemoryOptions::default(), clock.clone(), &Chance::seeded(1))
            .unwrap();
        let endpoints = Endpoints::all_at(&simulator.base_url);
        let venue = Arc::new(PublicData::new(&endpoints, HttpSettings::default()).unwrap());
        Self { simulator, log, codec: Codec::bundled().unwrap(), clock, venue }
    }

    fn run(&self) -> (Stop, tokio::task::JoinHandle<Result<(), ingest::IngestError>>) {
        let stop = Stop::new();
        let ports = Ports {
            log: Arc::new(self.log.clone()),
            codec: self.codec.clone(),
            venue: self.venue.clone(),
            clock: self.clock.clone(),
            board: Board::new(),
        };
        let settings = Settings {
            poll: Duration::from_millis(50),
            requests_per_second: 1_000,
            session: Duration::from_secs(2),
            ..Settings::default()
        };
        (stop.clone(), tokio::spawn(ingest::run(ports, settings, stop)))
    }

    async fn follow(&self, wallet: Address, status: TargetStatus, revision: i64) -> Timestamp {
        let now = self.clock.now();
        let target = TargetState {
            target_row_id: TargetRowId::from_uuid(Uuid::from_u128(u128::from(wallet.as_bytes()[0]))),
            revision,
            billing_account_id: BillingAccountId::from_uuid(Uuid::from_u128(1)),
            created_by_user_id: UserId::from_uuid(Uuid::from_u128(2)),
            wallet,
            target_id: TargetId::of_wallet(wallet),
            status,
            close_now: false,
            keep_positions: false,
            mode: Mode::Simulated,
            policy_revision: 1,
            policy: policy(now),
            created_at: now,
            changed_at: now,
        };
        let key = wallet.to_string();
        let to = self.log.manifest().place(Topic::Targets, key.as_bytes());
        let (record, _) = eventlog::event::record(&self.codec, &key, &target, now, None).unwrap();
        assert!(matches!(self.log.append(vec![Append { to, record }]).await, Written::Done(_)));
        now
    }

    async fn events(&self) -> Vec<FillsEvent> {
        let mut out = Vec::new();
        for partition in 0..4 {
            let at = TopicPartition::new(Topic::Fills, partition);
            let records = self.log.read(at, Offset::ZERO, usize::MAX).await.unwrap();
            out.extend(records.iter().map(|r| self.codec.decode(r.record.value.as_ref().unwrap()).unwrap()));
        }
        out
    }

    async fn fills(&self) -> Vec<Fill> {
        self.events()
            .await
            .into_iter()
            .filter_map(|e| if let FillsEvent::Fill(f) = e { Some(f) } else { None })
            .collect()
    }

    /// What the venue shows of a wallet from that second on, summed per natural key.
    async fn truth(
        &self,
        wallet: Address,
        from: Timestamp,
        until: Timestamp,
    ) -> BTreeMap<NaturalKey, Shares> {
        let mut query =
            TradesQuery { user: wallet, limit: 1_000, cursor: None, start: Some(from), end: Some(until) };
        let mut out: BTreeMap<NaturalKey, Shares> = BTreeMap::new();
        loop {
            let page = self.venue.trades(&query, self.clock.now()).await.unwrap();
            for row in &page.rows {
                let key = NaturalKey {
                    wallet,
                    tx: row.transaction_hash,
                    asset: row.token_id.clone(),
                    side: row.side,
                };
                let sum = out.entry(key).or_default();
                *sum = sum.saturating_add(row.size);
            }
            query.cursor = page.pagination.next().map(str::to_owned);
            if query.cursor.is_none() {
                return out;
            }
        }
    }
}

fn policy(set_at: Timestamp) -> Policy {
    let text = serde_json::json!({
        "sizing": "min_bet", "only_markets": [], "not_markets": [], "only_categories": [],
        "not_categories": [], "set_at": set_at,
    });
    serde_json::from_value(text).unwrap()
}

/// The highest total published of each fill.
fn totals(fills: &[Fill]) -> BTreeMap<NaturalKey, Shares> {
    let mut out: BTreeMap<NaturalKey, Shares> = BTreeMap::new();
    for fill in fills {
        let sum = out.entry(fill.natural_key()).or_default();
        *sum = (*sum).max(fill.shares);
    }
    out
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_secs(at.secs())
}

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
            FillsEvent::Fill(f) => (f.wallet == *leader).then_some(false),
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
