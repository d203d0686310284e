//! Ingest against the simulator over HTTP, on a log in memory.
#![allow(dead_code, unused_imports, reason = "not every test file uses every helper")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "helpers of tests fail their test"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use eventlog::{
    Append, Expected, Log, Offset, TopicPartition, VenueKind, Written,
    memory::{MemoryLog, MemoryOptions},
};
use ingest::{Ports, Settings};
use runtime::{Board, Chance, Clock, Stop, SystemClock};
use schemas::{
    Address, AssetId, BillingAccountId, FillKind, Mode, NaturalKey, Shares, TargetId, TargetRowId,
    TargetStatus, Timestamp, UserId,
    codec::Codec,
    events::{Fill, FillsEvent, OrderState, Policy, PositionChanged, TargetState},
    topics::Topic,
};
use simulator::{Options, Prints, Seeding, Simulator};
use uuid::Uuid;
use venue::{
    http::{Endpoints, HttpSettings, PublicData},
    port::{MarketData, PositionsQuery, TradesQuery},
    wire::PositionStatus,
};

#[path = "../../src/core/fixtures.rs"]
mod fixtures;
pub mod slow;

pub use fixtures::order;

pub const DEADLINE: Duration = Duration::from_secs(60);

/// Of all leaders, as decide keeps them.
type Holdings = Vec<((Address, AssetId), decide::state::leader::Holding)>;

/// A running ingest, and how to stop it.
pub type Run = (Stop, tokio::task::JoinHandle<Result<(), ingest::IngestError>>);

pub struct World {
    pub simulator: Simulator,
    pub log: MemoryLog,
    pub codec: Codec,
    pub clock: Arc<dyn Clock>,
    pub venue: Arc<dyn MarketData>,
}

impl World {
    /// Seeded leaders who trade that often.
    pub async fn start(fills_per_second: u32) -> Self {
        Self::seeded(fills_per_second, |_| {}).await
    }

    pub async fn seeded(fills_per_second: u32, change: impl FnOnce(&mut Seeding)) -> Self {
        let mut seeding = Seeding {
            leaders: 4,
            mean_gap: Duration::from_secs(1) / fills_per_second,
            top_share_permille: 0,
            multi_row_permille: 300,
            late_row_permille: 300,
            ..Seeding::default()
        };
        change(&mut seeding);
        let options = Options {
            prints: Prints::Seeded(seeding),
            history: Duration::from_secs(30),
            ..Options::default()
        };
        Self::with(options, SystemClock::shared()).await
    }

    /// A venue with a clock of its own.
    pub async fn with(options: Options, venue_clock: Arc<dyn Clock>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = SystemClock::shared();
        let simulator = Simulator::builder().options(options).clock(venue_clock).start().await.unwrap();
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

    pub fn run(&self) -> Run {
        self.run_with(self.venue.clone())
    }

    pub fn run_with(&self, venue: Arc<dyn MarketData>) -> Run {
        self.run_on(Arc::new(self.log.clone()), venue, Stop::new())
    }

    pub fn run_on(&self, log: Arc<dyn Log>, venue: Arc<dyn MarketData>, stop: Stop) -> Run {
        let ports =
            Ports { log, codec: self.codec.clone(), venue, clock: self.clock.clone(), board: Board::new() };
        let settings = Settings {
            poll: Duration::from_millis(50),
            activity_poll: Duration::from_millis(100),
            marks_every: Duration::from_millis(200),
            requests_per_second: 1_000,
            session: Duration::from_secs(2),
            ..Settings::default()
        };
        (stop.clone(), tokio::spawn(ingest::run(ports, settings, stop)))
    }

    pub async fn follow(&self, wallet: Address, status: TargetStatus, revision: i64) -> Timestamp {
        let now = self.clock.now();
        self.follow_since(wallet, status, revision, now).await;
        now
    }

    /// A target that was created then.
    pub async fn follow_since(&self, wallet: Address, status: TargetStatus, revision: i64, since: Timestamp) {
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
            created_at: since,
            changed_at: now,
        };
        let key = wallet.to_string();
        let to = self.log.manifest().place(Topic::Targets, key.as_bytes());
        let (record, _) = eventlog::event::record(&self.codec, &key, &target, now, None).unwrap();
        assert!(matches!(self.log.append(vec![Append { to, record }]).await, Written::Done(_)));
    }

    /// Puts a state of an order into `orders`.
    pub async fn put_order(&self, order: &OrderState) {
        let key = order.wallet.to_string();
        let to = self.log.manifest().place(Topic::Orders, key.as_bytes());
        let (record, _) = eventlog::event::record(&self.codec, &key, order, self.clock.now(), None).unwrap();
        assert!(matches!(self.log.append(vec![Append { to, record }]).await, Written::Done(_)));
    }

    /// Puts a change of a wallet's position into `fills`, recorded at that time.
    pub async fn put_change(&self, changed: &PositionChanged, at: Timestamp) {
        self.put_event(changed.wallet, changed, at).await;
    }

    /// Puts a record of a wallet into `fills`, recorded at that time.
    pub async fn put_event(&self, wallet: Address, event: &impl schemas::avro::Event, at: Timestamp) {
        let key = wallet.to_string();
        let to = self.log.manifest().place(Topic::Fills, key.as_bytes());
        let (record, _) = eventlog::event::record(&self.codec, &key, event, at, None).unwrap();
        assert!(matches!(self.log.append(vec![Append { to, record }]).await, Written::Done(_)));
    }

    /// All of `fills`.
    pub async fn events(&self) -> Vec<FillsEvent> {
        let mut out = Vec::new();
        for partition in 0..4 {
            let at = TopicPartition::new(Topic::Fills, partition);
            let records = self.log.read(at, Offset::ZERO, usize::MAX).await.unwrap();
            out.extend(records.iter().map(|r| self.codec.decode(r.record.value.as_ref().unwrap()).unwrap()));
        }
        out
    }

    /// The fills that are decided.
    pub async fn fills(&self) -> Vec<Fill> {
        self.told(
            |e| if let FillsEvent::Fill(f) = e { (f.kind != FillKind::History).then_some(f) } else { None },
        )
        .await
    }

    pub async fn history(&self) -> Vec<Fill> {
        self.told(
            |e| if let FillsEvent::Fill(f) = e { (f.kind == FillKind::History).then_some(f) } else { None },
        )
        .await
    }

    pub async fn changes(&self) -> Vec<PositionChanged> {
        self.told(|e| if let FillsEvent::PositionChanged(c) = e { Some(c) } else { None }).await
    }

    pub async fn told<T>(&self, of: impl Fn(FillsEvent) -> Option<T>) -> Vec<T> {
        self.events().await.into_iter().filter_map(of).collect()
    }

    /// What decide holds a wallet to hold, having folded all of `fills`.
    pub async fn decided(&self, wallet: Address) -> BTreeMap<AssetId, Shares> {
        let mut scene = decide::fixtures::Scene::new();
        for partition in 0..4 {
            let at = TopicPartition::new(Topic::Fills, partition);
            for stored in self.log.read(at, Offset::ZERO, usize::MAX).await.unwrap() {
                scene.put_raw(2, stored.record);
            }
        }
        scene.cut();
        let bytes = zstd::decode_all(scene.core.state().to_bytes().unwrap().as_slice()).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let holdings: Holdings = serde_json::from_value(state["holdings"].clone()).unwrap();
        holdings.into_iter().filter(|((w, _), _)| *w == wallet).map(|((_, a), h)| (a, h.shares)).collect()
    }

    /// What the venue shows a wallet to hold, with whether it is open.
    pub async fn positions(&self, user: Address) -> BTreeMap<AssetId, (Shares, bool)> {
        let mut out = BTreeMap::new();
        for status in [PositionStatus::Open, PositionStatus::Redeemable, PositionStatus::RedeemableLost] {
            let open = status == PositionStatus::Open;
            let mut query =
                PositionsQuery { user, status: Some(status), condition: None, limit: 500, cursor: None };
            loop {
                let page = self.venue.positions(&query, self.clock.now()).await.unwrap();
                out.extend(page.rows.iter().map(|r| (r.token_id.clone(), (r.current_size, open))));
                query.cursor = page.pagination.next().map(str::to_owned);
                if query.cursor.is_none() {
                    break;
                }
            }
        }
        out
    }

    /// What the venue shows of a wallet from that second on, summed per natural key.
    pub async fn truth(
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

pub fn policy(set_at: Timestamp) -> Policy {
    let text = serde_json::json!({
        "sizing": "min_bet", "only_markets": [], "not_markets": [], "only_categories": [],
        "not_categories": [], "set_at": set_at,
    });
    serde_json::from_value(text).unwrap()
}

/// The highest total published of each fill.
pub fn totals(fills: &[Fill]) -> BTreeMap<NaturalKey, Shares> {
    let mut out: BTreeMap<NaturalKey, Shares> = BTreeMap::new();
    for fill in fills {
        let sum = out.entry(fill.natural_key()).or_default();
        *sum = (*sum).max(fill.shares);
    }
    out
}

pub fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_secs(at.secs())
}
