//! Log, ledger and venue in memory under virtual time, and executors over them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use eventlog::{
    Append, Expected, Log, Record, TopicPartition, VenueKind, Written,
    event::record,
    memory::{MemoryLog, MemoryOptions},
};
use execute::{
    ExecuteError, Keyring, MemoryStore, PaperVenue, Settings, Stage, Venues,
    core::{Attempt, gate::head_of},
    store::SealedConnection,
};
use runtime::{Board, Chance, Clock, Stop, VirtualClock};
use schemas::{
    IdempotencyKey, Mode, OrderStatus,
    codec::Codec,
    events::{DeadLettersEvent, IntentsEvent, OrderState, OrdersEvent},
    topics::Topic,
};
use tokio::task::JoinHandle;
use venue::signing::ExchangeTable;

use super::{
    START, Tenant, channel::FakeChannel, grant, ledger::codec, sealed_key, sealing, venue::FakeVenue,
};

pub struct World {
    pub log: MemoryLog,
    pub store: MemoryStore,
    pub venue: FakeVenue,
    pub clock: VirtualClock,
    pub codec: Codec,
    pub chance: Chance,
    /// What tells of its own accord what happens, in a world that has it.
    pub channel: Option<FakeChannel>,
}

/// A running executor: a process.
pub struct Executor {
    pub running: JoinHandle<Result<(), ExecuteError>>,
    pub stop: Stop,
    pub board: Board,
    pub store: MemoryStore,
    pub venue: FakeVenue,
}

/// How far virtual time goes at once, and how far where something is waited for that takes minutes.
const STEP: Duration = Duration::from_millis(50);
const STRIDE: Duration = Duration::from_millis(500);
const PATIENT_AFTER: Duration = Duration::from_secs(40);

impl World {
    pub fn new() -> Self {
        Self::with_log(None)
    }

    /// A world, perhaps over the log of another.
    pub fn with_log(log: Option<(MemoryLog, VirtualClock)>) -> Self {
        let chance = Chance::seeded(11);
        let (log, clock) = log.unwrap_or_else(|| {
            let clock = VirtualClock::at(START);
            let expected = Expected {
                venue: VenueKind::Simulator,
                wallet_partitions: 2,
                account_partitions: 2,
                market_partitions: 1,
                log_id: None,
            };
            let shared: Arc<dyn Clock> = Arc::new(clock.clone());
            let log = MemoryLog::create(&expected, MemoryOptions { markers: true }, shared, &chance).unwrap();
            (log, clock)
        });
        let codec = codec();
        let store = MemoryStore::new(Arc::new(clock.clone()), codec.clone());
        let venue = FakeVenue::new();
        // Invariant 3: nothing is sent that was not committed first, and what is sent is what was committed.
        let ledger = store.clone();
        venue.on_post(move |id, body| {
            let row = ledger.attempts().into_iter().find(|a| a.order_id == Some(id));
            let row = row.expect("an order was posted that the ledger does not know");
            assert_eq!(row.body.expect("a body").0, body, "other bytes were posted than were committed");
        });
        Self { log, store, venue, clock, codec, chance, channel: None }
    }

    /// A world whose venue tells what happens, as a test has it tell.
    pub fn listening() -> Self {
        Self { channel: Some(FakeChannel::default()), ..Self::new() }
    }

    /// Adds a tenant with a wallet and a grant.
    pub fn add(&self, n: u128) -> Tenant {
        self.add_tenant(n, Tenant::new(n))
    }

    /// Adds one whose wallet is new: whether the venue may take of it was not looked at.
    pub fn add_new(&self, n: u128) -> Tenant {
        let mut tenant = Tenant::new(n);
        tenant.connection.approved = false;
        self.add_tenant(n, tenant)
    }

    fn add_tenant(&self, n: u128, tenant: Tenant) -> Tenant {
        self.store.add_account(tenant.account, tenant.user);
        self.store.put_connection(SealedConnection {
            billing_account_id: tenant.account,
            connection: tenant.connection.clone(),
            signing_key: sealed_key(n, tenant.connection.id),
            api_credentials: None,
        });
        self.store.put_grant(tenant.account, grant());
        for leader in 1..=9 {
            let (id, target) = tenant.target(leader);
            self.store.put_target(tenant.account, id, target);
        }
        tenant
    }

    pub fn partition(&self, tenant: &Tenant) -> i32 {
        self.log.manifest().place(Topic::Intents, tenant.account.to_string().as_bytes()).partition
    }

    pub fn stage(&self, store: &MemoryStore, venue: &FakeVenue) -> Stage {
        let (exchange, issuer, market) =
            (Arc::new(venue.clone()), Arc::new(venue.clone()), Arc::new(venue.clone()));
        let paper = PaperVenue::new(Arc::new(store.clone()));
        let mut venues =
            Venues::one(Mode::Simulated, exchange, issuer, market).with(Mode::Paper, Arc::new(paper));
        if let Some(channel) = &self.channel {
            venues = venues.with_channel(Mode::Simulated, Arc::new(channel.clone()));
        }
        Stage {
            log: Arc::new(self.log.clone()),
            store: Arc::new(store.clone()),
            venues,
            keyring: Keyring::new(sealing(), ExchangeTable::default()),
            clock: Arc::new(self.clock.clone()),
            chance: Chance::seeded(self.chance.below(u64::MAX)),
            board: Board::new(),
            codec: self.codec.clone(),
            settings: Settings::default(),
        }
    }

    /// Starts a process, whose calls can be made to fail by themselves.
    pub fn start(&self) -> Executor {
        self.start_with(|_, _| {})
    }

    pub fn start_with(&self, prepare: impl FnOnce(&MemoryStore, &FakeVenue)) -> Executor {
        let (store, venue) = (self.store.process(), self.venue.process());
        prepare(&store, &venue);
        let stage = self.stage(&store, &venue);
        let (board, stop) = (stage.board.clone(), Stop::new());
        let running = tokio::spawn(execute::run(stage, stop.clone()));
        Executor { running, stop, board, store, venue }
    }

    /// Lets everything that is ready run.
    pub async fn settle(&self) {
        for _ in 0..60 {
            tokio::task::yield_now().await;
        }
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        let end = self.clock.monotonic() + time;
        while self.clock.monotonic() < end {
            self.settle().await;
            self.clock.advance(STEP);
        }
        self.settle().await;
    }

    /// Lets time pass until something is true.
    pub async fn until(&self, what: &str, within: Duration, done: impl Fn() -> bool) {
        let begin = self.clock.monotonic();
        loop {
            self.settle().await;
            if done() {
                return;
            }
            let waited = self.clock.monotonic() - begin;
            assert!(waited < within, "not within {within:?}: {what}\n{:#?}", self.summary());
            self.clock.advance(if waited < PATIENT_AFTER { STEP } else { STRIDE });
        }
    }

    pub fn summary(&self) -> Vec<String> {
        let line = |a: &Attempt| {
            format!(
                "{} #{} r{} {} filled {} of {} ({:?}) next {:?}",
                a.idempotency_key,
                a.attempt,
                a.revision,
                a.status,
                a.filled_shares,
                a.shares,
                a.reason,
                a.next_look_at
            )
        };
        self.store.attempts().iter().map(line).collect()
    }

    pub async fn publish(&self, intent: impl Into<IntentsEvent>) {
        let intent = intent.into();
        let account = head_of(&intent).billing_account_id.to_string();
        let at = self.clock.now();
        let (record, _) = match &intent {
            IntentsEvent::PlaceIntent(i) => record(&self.codec, &account, i, at, None),
            IntentsEvent::CloseIntent(i) => record(&self.codec, &account, i, at, None),
            IntentsEvent::CancelIntent(i) => record(&self.codec, &account, i, at, None),
            IntentsEvent::MigrateIntent(i) => record(&self.codec, &account, i, at, None),
        }
        .unwrap();
        let to = self.log.manifest().place(Topic::Intents, account.as_bytes());
        self.append(to, record).await;
    }

    pub async fn publish_raw(&self, account: &str, value: Option<&[u8]>) {
        let to = self.log.manifest().place(Topic::Intents, account.as_bytes());
        let record = Record {
            key: Some(Bytes::copy_from_slice(account.as_bytes())),
            value: value.map(Bytes::copy_from_slice),
            headers: Vec::new(),
            timestamp: self.clock.now(),
        };
        self.append(to, record).await;
    }

    async fn append(&self, to: TopicPartition, record: Record) {
        let Written::Done(_) = self.log.append(vec![Append { to, record }]).await else {
            panic!("not appended")
        };
    }

    /// The attempt of a copy with one attempt.
    pub fn attempt(&self, key: IdempotencyKey) -> Option<Attempt> {
        self.store.attempts().into_iter().find(|a| a.idempotency_key == key)
    }

    pub fn status(&self, key: IdempotencyKey) -> Option<OrderStatus> {
        self.attempt(key).map(|a| a.status)
    }

    /// Every order event of the log, in order per partition.
    pub fn events(&self) -> Vec<OrderState> {
        let contents = self.log.contents();
        let orders = contents.iter().filter(|(at, _)| at.topic == Topic::Orders);
        orders
            .flat_map(|(_, records)| records)
            .map(|stored| {
                let OrdersEvent::OrderState(state) =
                    self.codec.decode(stored.record.value.as_ref().unwrap()).unwrap();
                state
            })
            .collect()
    }

    pub fn letters(&self) -> Vec<schemas::events::DeadLetter> {
        let contents = self.log.contents();
        let letters = contents.iter().filter(|(at, _)| at.topic == Topic::DeadLetters);
        letters
            .flat_map(|(_, records)| records)
            .filter_map(|stored| match self.codec.decode(stored.record.value.as_ref().unwrap()).unwrap() {
                DeadLettersEvent::DeadLetter(letter) => Some(letter),
                DeadLettersEvent::Gap(_) => None,
            })
            .collect()
    }

    /// What must hold at any end: one order at the venue for each attempt, each known to the ledger, its fills those
    /// of the ledger; and the log holds every revision of every attempt, each once or repeated, never out of order.
    pub fn check(&self) {
        let attempts: BTreeMap<_, _> =
            self.store.attempts().into_iter().filter_map(|a| Some((a.order_id?, a))).collect();
        for (id, order) in self.venue.orders() {
            let attempt = attempts.get(&id).expect("an order at the venue that the ledger does not know");
            let matched = order.trades.iter().filter(|t| t.status != "FAILED").map(|t| t.shares).sum();
            assert_eq!(attempt.filled_shares, matched, "{:#?}", self.summary());
            assert_ne!(attempt.status, OrderStatus::Denied);
        }
        let mut bodies: BTreeMap<_, Vec<u8>> = BTreeMap::new();
        for (id, body) in self.venue.posts() {
            let first = bodies.entry(id).or_insert_with(|| body.clone());
            assert_eq!(*first, body, "a re-post is byte for byte the first");
            assert_eq!(attempts[&id].body.as_ref().unwrap().0, body);
        }
        let mut told: BTreeMap<_, i64> = BTreeMap::new();
        for event in self.events() {
            let key = (event.billing_account_id, event.idempotency_key, event.attempt);
            let highest = told.entry(key).or_default();
            assert!(
                event.revision <= *highest + 1,
                "a revision was left out: {} after {highest}",
                event.revision
            );
            *highest = event.revision.max(*highest);
        }
        for a in self.store.attempts() {
            let key = (a.billing_account_id, a.idempotency_key, a.attempt);
            assert_eq!(told.get(&key), Some(&a.revision), "the log has it as it stands");
        }
    }
}

impl Executor {
    /// Ends it where it stands.
    pub async fn kill(self) {
        self.running.abort();
        let _ = self.running.await;
        // Its tasks are gone once they were asked to be.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// Asks it to stop and waits for that.
    pub async fn stop(self, world: &World) {
        self.stop.request();
        world.until("the executor stops", Duration::from_secs(30), || self.running.is_finished()).await;
        self.running.await.unwrap().unwrap();
    }
}
