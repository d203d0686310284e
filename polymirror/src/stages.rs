//! Each stage put together from an installation: the same whether it runs alone or with the others.

use std::{sync::Arc, time::Duration};

use eventlog::Log;
use execute::{Keyring, PaperVenue, Venues};
use metrics_exporter_prometheus::PrometheusBuilder;
use project::{Connections, Role};
use runtime::Stop;
use schemas::{Mode, codec::Codec, topics::Topic};
use venue::{
    http::{Clob, Endpoints, HttpSettings},
    signing::ExchangeTable,
    ws::{UserSocket, WsSettings},
};

use crate::{drain::Reader, error::Error, installation::Installation};

/// The modes in which orders are placed: at the simulator, unless a target is on paper.
pub const MODES: [Mode; 2] = [Mode::Simulated, Mode::Paper];

/// Connections of the gate's pool: partitions go through it side by side.
const GATE_POOL: u32 = 16;

/// Decide's group and inputs.
pub const DECIDE: Reader =
    Reader { group: decide::shell::GROUP, topics: &[Topic::Targets, Topic::Orders, Topic::Fills] };
/// Execute's group and inputs.
pub const EXECUTE: Reader = Reader { group: execute::shell::intake::GROUP, topics: &[Topic::Intents] };
/// Project's group and inputs.
pub const PROJECT: Reader = Reader { group: project::shell::STAGE, topics: &project::shell::TOPICS };

/// What all stages of a process share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The installation.
    pub installation: Installation,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Reads and writes records.
    pub codec: Codec,
    /// A member not heard of for this long loses its partitions.
    pub session: Duration,
}

impl Shared {
    /// Opens the log.
    ///
    /// # Errors
    /// A log that cannot be opened.
    pub async fn open(installation: &Installation) -> Result<Self, Error> {
        Ok(Self {
            codec: installation.codec().await?,
            log: installation.log().await?,
            session: Duration::from_millis(installation.config.log.session_ms),
            installation: installation.clone(),
        })
    }
}

/// Runs ingest.
///
/// # Errors
/// What retrying does not mend.
pub async fn ingest(shared: &Shared, simulator: &str, stop: Stop) -> Result<(), Error> {
    let installation = &shared.installation;
    let ports = ingest::Ports {
        log: shared.log.clone(),
        codec: shared.codec.clone(),
        venue: Installation::market_data(simulator)?,
        clock: installation.clock.clone(),
        board: installation.board.clone(),
    };
    let settings = ingest::Settings {
        poll: Duration::from_millis(installation.config.ingest.poll_ms),
        requests_per_second: installation.config.ingest.requests_per_second,
        activity_poll: Duration::from_millis(installation.config.ingest.activity_poll_ms),
        marks_every: Duration::from_millis(installation.config.ingest.marks_every_ms),
        session: shared.session,
        ..ingest::Settings::default()
    };
    ingest::run(ports, settings, stop).await.map_err(Error::said)
}

/// Runs decide.
///
/// # Errors
/// What retrying does not mend.
pub async fn decide(shared: &Shared, stop: Stop) -> Result<(), Error> {
    let installation = &shared.installation;
    let ports = decide::shell::Ports {
        log: shared.log.clone(),
        codec: shared.codec.clone(),
        clock: installation.clock.clone(),
        chance: installation.chance.clone(),
        board: installation.board.clone(),
        stop,
    };
    let options = decide::shell::Options { session: shared.session, ..decide::shell::Options::default() };
    decide::shell::run(ports, options).await.map_err(Error::said)
}

/// Runs execute.
///
/// # Errors
/// What retrying does not mend.
pub async fn execute(
    shared: &Shared,
    database: &Connections,
    simulator: &str,
    stop: Stop,
) -> Result<(), Error> {
    let installation = &shared.installation;
    // The pool is the ledger's own; this one only asks whether the database is this program's.
    installation.pool(database, Role::Executor, 1).await?.close().await;
    let options = database.options(Role::Executor).map_err(Error::said)?;
    let clob = Arc::new(Clob::new(simulator, HttpSettings::default()).map_err(Error::said)?);
    let market = Installation::market_data(simulator)?;
    let streams = Endpoints::all_at(simulator).streams;
    let (clock, chance) = (installation.clock.clone(), installation.chance.clone());
    let channel = UserSocket::new(&streams, clock, chance, WsSettings::default()).map_err(Error::said)?;
    let store = Arc::new(execute::PostgresStore::new(options, GATE_POOL, shared.codec.clone()));
    let stage = execute::Stage {
        log: shared.log.clone(),
        store: store.clone(),
        venues: Venues::one(Mode::Simulated, clob.clone(), clob, market)
            .with_channel(Mode::Simulated, Arc::new(channel))
            .with(Mode::Paper, Arc::new(PaperVenue::new(store))),
        keyring: Keyring::new(installation.sealing_key()?, ExchangeTable::default()),
        clock: installation.clock.clone(),
        chance: installation.chance.clone(),
        board: installation.board.clone(),
        codec: shared.codec.clone(),
        settings: execute::Settings { session: shared.session, ..execute::Settings::default() },
    };
    execute::run(stage, stop).await.map_err(Error::said)
}

/// Runs project.
///
/// # Errors
/// What retrying does not mend.
pub async fn project(shared: &Shared, database: &Connections, stop: Stop) -> Result<(), Error> {
    let installation = &shared.installation;
    let store = project::store::PgStore::connect(database).await.map_err(Error::said)?;
    let ports = project::shell::Ports {
        log: shared.log.clone(),
        store: Arc::new(store),
        clock: installation.clock.clone(),
        codec: shared.codec.clone(),
        board: installation.board.clone(),
    };
    let options = project::shell::Options { session: shared.session, ..project::shell::Options::default() };
    project::shell::run(&ports, &options, &stop).await.map_err(Error::said)
}

/// Runs the HTTP server, and the relay of what it and the command line changed.
///
/// # Errors
/// What retrying does not mend.
pub async fn api(shared: &Shared, database: &Connections, stop: Stop) -> Result<(), Error> {
    let installation = &shared.installation;
    let (clock, chance) = (installation.clock.clone(), installation.chance.clone());
    let accounts = api::Accounts::connect(database, shared.codec.clone(), clock, chance).await;
    let state = api::http::State {
        accounts: accounts.map_err(Error::said)?.refusing(decide::plan::unsupported).serving(&MODES),
        log: shared.log.clone(),
        board: installation.board.clone(),
        metrics: metrics()?,
    };
    let listener = api::http::bind(installation.config.api.listen).await.map_err(Error::said)?;
    let outbox = api::relay::PgOutbox::connect(database).await.map_err(Error::said)?;
    let ports = api::relay::Ports {
        log: shared.log.clone(),
        outbox: Arc::new(outbox),
        clock: installation.clock.clone(),
        codec: shared.codec.clone(),
        board: installation.board.clone(),
    };
    let options = api::relay::Options::default();
    let relay = async { api::relay::run(&ports, &options, &stop).await.map_err(Error::said) };
    let serve = async { api::http::serve(listener, state, stop.clone()).await.map_err(Error::said) };
    tokio::try_join!(relay, serve).map(|((), ())| ())
}

/// The process's metrics, as Prometheus reads them.
fn metrics() -> Result<api::http::Metrics, Error> {
    let recorder = PrometheusBuilder::new().install_recorder();
    let handle = recorder.map_err(|e| Error::Said(format!("metrics_failed: {e}")))?;
    Ok(Arc::new(move || handle.render()))
}
