//! Execute under what a recording says became of orders: its lives as a story, its errors as the venue's weather.
//!
//! The stage runs in the test's own process, since it and the venue need a clock that makes minutes of seconds
//! ([`crate::pace`]); everything between them is what it is in production: the SQLite log, a real Postgres, HTTP and the
//! user stream over sockets. Project runs as a process of the real binary.

pub mod lives;
pub mod story;
pub mod witness;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use eventlog::{
    Append, Log, Written,
    event::record,
    sqlite::{SqliteLog, SqliteOptions},
};
use execute::{ExecuteError, Settings, Venues};
use runtime::{Board, Chance, Clock, Stop};
use schemas::{
    Address, BillingAccountId, Mode, TargetRowId, UserId,
    codec::Codec,
    events::{IntentsEvent, PlaceIntent},
    topics::Topic,
};
use simulator::{Fault, Options, Simulator, Weather};
use sqlx::{PgPool, Row};
use testkit::wait_for;
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;
use venue::{
    http::{Endpoints, HttpSettings},
    ws::{UserSocket, WsSettings},
};

use self::{
    lives::Life,
    story::{Story, Tenant},
    witness::{Answers, Witness},
};
use crate::{
    executor::{EXPECTED, Ports},
    install::{Install, LogKind, Stage},
    judge::{self, Decided},
    pace::Pace,
};

/// How many times as fast as the machine's the clock of venue and executor runs.
const TIMES: u32 = 25;
/// From one order to the next, by that clock.
const APART: Duration = Duration::from_millis(500);
/// How long executor and venue may take to begin, by that clock, while it still runs at the machine's pace.
const BEGIN: Duration = Duration::from_secs(40);
/// The longest that anything may take, by the machine's clock.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long an answer is waited for, by the machine's clock.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// How long the venue is silent where nobody answers in time, by the machine's clock.
const SILENT: Duration = Duration::from_secs(3);
/// So many orders may wait for their answer while the clock runs fast. When more do, this machine is slow, and not the
/// venue: the clock runs at the machine's pace until it has caught up, or orders would be too old before they are sent.
const BEHIND: usize = 24;
/// Orders of one tenant, at most: the daily cap is 5,000 dollars, and the largest orders cost 98.
const EACH: usize = 50;

/// A run that came to its end.
pub struct Run {
    pub simulator: Simulator,
    pub admin: PgPool,
    pub placed: Vec<PlaceIntent>,
    pub answers: Answers,
    _install: Install,
}

/// A fault under which nobody answers in time is silent so long by the machine's clock.
fn silent(mut fault: Fault) -> Fault {
    if fault.delay_millis > 0 {
        fault.delay_millis = u32::try_from((SILENT * TIMES).as_millis()).unwrap();
    }
    fault
}

/// Places the orders of these lives under a weather, and follows them until every one of them has ended and all of it
/// was told. Some faults come once for sure, besides what the weather brings.
///
/// The executor's log is on standard error, as far as `RUST_LOG` asks for it.
pub async fn replay(lives: &[Life], mut weather: Weather, once: Vec<Fault>, binary: &str) -> Run {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .try_init();
    for spell in &mut weather.spells {
        spell.fault = silent(spell.fault.clone());
    }
    let mut install = Install::new(binary, LogKind::Sqlite).await;
    let admin = install.admin().await;
    let tenants = tenants(&install, &admin, lives.len().div_ceil(EACH)).await;
    let pace = Pace::default();
    let begin = pace.now().plus(BEGIN);
    let story = Story::of(lives, &tenants, begin, APART);
    let simulator = Simulator::builder()
        .options(Options { weather, ..Options::default() })
        .clock(Arc::new(pace.clone()))
        .source(Box::new(story.shown.clone()))
        .start()
        .await
        .unwrap();
    for (n, fault) in (0..).zip(once) {
        // Among the first orders, but not one after another.
        simulator.handle().fault(silent(fault).after(3 + n % 3));
    }
    install.venue(&simulator.base_url);
    let log: Arc<dyn Log> = Arc::new(open_log(&install).await);
    let executor = Executor::start(&install, &log, &pace);
    let project = install.stage("project");
    wait_for("execute to own its partitions", PATIENCE, async || {
        let owned: i64 = count(&admin, "select count(*) from execution.owner_epochs").await;
        owned == i64::from(EXPECTED.account_partitions)
    })
    .await;
    publish(&log, &pace, &story, &admin, &executor).await;
    ended(&admin, &simulator, story.placed.len(), &executor).await;
    let answers = executor.stop().await;
    told(&admin, &simulator).await;
    Stage::stop(project);
    Run { simulator, admin, placed: story.placed, answers, _install: install }
}

async fn open_log(install: &Install) -> SqliteLog {
    let path = install.dir().join("data").join("log.sqlite");
    SqliteLog::open(path, EXPECTED, SqliteOptions::default()).await.unwrap()
}

async fn count(admin: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(admin).await.unwrap()
}

/// Tenants made by the command line, as a person would, each after a wallet of its own.
async fn tenants(install: &Install, admin: &PgPool, many: usize) -> Vec<Tenant> {
    for n in 0..many {
        let tenant = format!("tenant-{n}");
        install.ok(&["tenant", "create", &tenant]);
        let caps = ["--per-order", "500", "--daily", "5000", "--hourly-orders", "500"];
        install.ok(&[&["grant", "set", "--tenant", &tenant][..], &caps].concat());
        let wallet = Address::from_bytes([u8::try_from(n + 1).unwrap(); 20]).to_string();
        install.ok(&["target", "add", "--tenant", &tenant, &wallet]);
    }
    let rows = sqlx::query(
        "select billing_account_id, created_by_user_id, id, target_wallet from poly_copy_trade_targets
         order by target_wallet",
    )
    .fetch_all(admin)
    .await
    .unwrap();
    let tenant = |row: &sqlx::postgres::PgRow| Tenant {
        account: BillingAccountId::from_uuid(row.get::<Uuid, _>(0)),
        user: UserId::from_uuid(row.get::<Uuid, _>(1)),
        target: TargetRowId::from_uuid(row.get::<Uuid, _>(2)),
        wallet: row.get::<String, _>(3).parse().unwrap(),
    };
    let tenants: Vec<Tenant> = rows.iter().map(tenant).collect();
    assert_eq!(tenants.len(), many);
    tenants
}

/// Publishes each intent at its time, as decide would, on a clock that runs as fast as execute keeps up with.
async fn publish(log: &Arc<dyn Log>, pace: &Pace, story: &Story, admin: &PgPool, executor: &Executor) {
    let codec = Codec::bundled().unwrap();
    let mut published = 0;
    pace.times(TIMES);
    for (at, intent) in &story.intents {
        if executor.witness.answered() + BEHIND < published {
            pace.times(1);
            answered(admin, published - BEHIND / 2).await;
            pace.times(TIMES);
        }
        let early = at.since(pace.now());
        if !early.is_zero() {
            pace.sleep(early).await;
        }
        published += usize::from(matches!(intent, IntentsEvent::PlaceIntent(_)));
        let account = execute::core::gate::head_of(intent).billing_account_id.to_string();
        let made = match intent {
            IntentsEvent::PlaceIntent(place) => record(&codec, &account, place, *at, None),
            IntentsEvent::CancelIntent(cancel) => record(&codec, &account, cancel, *at, None),
            IntentsEvent::CloseIntent(close) => record(&codec, &account, close, *at, None),
            IntentsEvent::MigrateIntent(migration) => record(&codec, &account, migration, *at, None),
        };
        let to = log.manifest().place(Topic::Intents, account.as_bytes());
        let written = log.append(vec![Append { to, record: made.unwrap().0 }]).await;
        assert!(matches!(written, Written::Done(_)), "{written:?}");
    }
    pace.times(1);
    answered(admin, published).await;
    pace.times(TIMES);
}

/// Waits until so many orders were answered, or came to nothing before they were sent.
async fn answered(admin: &PgPool, orders: usize) {
    let orders = i64::try_from(orders).unwrap();
    wait_for("execute to keep up", PATIENCE, async || {
        let over = "select count(*) from execution.orders where status not in ('reserved', 'submitted')";
        count(admin, over).await >= orders
    })
    .await;
}

/// Waits until every order has ended, and every trade of it is settled.
async fn ended(admin: &PgPool, simulator: &Simulator, orders: usize, executor: &Executor) {
    let orders = i64::try_from(orders).unwrap();
    wait_for("every order to end", PATIENCE, async || {
        assert!(!executor.running.is_finished(), "execute ended by itself");
        let over =
            "select count(*) from execution.orders where is_final and confirmed_shares = filled_shares";
        count(admin, over).await == orders
    })
    .await;
    told(admin, simulator).await;
}

/// Waits until all of it was published, and is in the tables.
async fn told(admin: &PgPool, simulator: &Simulator) {
    let mut left = BTreeSet::new();
    wait_for("everything to be told", PATIENCE, async || {
        let now: BTreeSet<_> =
            judge::unsettled(admin, &simulator.handle().orders()).await.into_iter().collect();
        if now != left && now.len() < 5 {
            println!("still on its way: {now:?}");
        }
        left = now;
        left.is_empty()
    })
    .await;
}

/// The stage, in this process.
struct Executor {
    running: JoinHandle<Result<(), ExecuteError>>,
    stop: Stop,
    witness: Witness,
}

impl Executor {
    fn start(install: &Install, log: &Arc<dyn Log>, pace: &Pace) -> Self {
        let http = HttpSettings { timeout: ANSWERED_WITHIN, ..HttpSettings::default() };
        let variable = |name: &str| install.variable(name);
        let Ports { store, clob, market, keyring, codec } = Ports::of(variable, 16, http);
        let witness = Witness::of(clob.clone());
        let clock: Arc<dyn Clock> = Arc::new(pace.clone());
        let streams = Endpoints::all_at(&variable("POLYMIRROR_SIMULATOR")).streams;
        let patient = WsSettings {
            connect_timeout: WsSettings::default().connect_timeout * TIMES,
            ping: WsSettings::default().ping * TIMES,
            silence: WsSettings::default().silence * TIMES,
            ..WsSettings::default()
        };
        let channel = UserSocket::new(&streams, clock.clone(), Chance::system(), patient).unwrap();
        let usual = Settings::default();
        let stage = execute::Stage {
            log: log.clone(),
            store: Arc::new(store),
            venues: Venues::one(Mode::Simulated, Arc::new(witness.clone()), clob, market)
                .with_channel(Mode::Simulated, Arc::new(channel)),
            keyring,
            clock,
            chance: Chance::system(),
            board: Board::new(),
            codec,
            // What is patience with this machine, and not with the venue, is as long as ever by the machine's clock.
            settings: Settings {
                lease: usual.lease * TIMES,
                renew: usual.renew * TIMES,
                tick: usual.tick * TIMES / 2,
                relay: usual.relay * TIMES / 2,
                housekeeping: usual.housekeeping * TIMES,
                drain: usual.drain * TIMES,
                ..usual
            },
        };
        let stop = Stop::new();
        let running = tokio::spawn(execute::run(stage, stop.clone()));
        Self { running, stop, witness }
    }

    /// Stops it, and gives what the venue answered.
    async fn stop(self) -> Answers {
        self.stop.request();
        self.running.await.unwrap().unwrap();
        self.witness.answers()
    }
}

impl Run {
    /// The decisions that the intents stand for.
    pub fn decisions(&self) -> Vec<Decided> {
        let decided = |place: &PlaceIntent| Decided {
            account: place.head.billing_account_id.to_string(),
            wallet: place.head.wallet,
            fill: place.head.tx.map(|tx| (tx, place.head.asset.clone(), place.head.side)),
            key: place.head.idempotency_key.to_string(),
            revision: 0,
            outcome: "placed".to_owned(),
            reason: String::new(),
            wants_order: true,
        };
        self.placed.iter().map(decided).collect()
    }
}
