//! Starting and stopping: from options to an address.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc, time::Duration};

use axum::Router;
use runtime::{Clock, Stop, SystemClock};
use schemas::{Address, Timestamp};
use tokio::{net::TcpListener, task::JoinHandle};
use venue::signing::{ApiCreds, CredsError};

use crate::{
    exchange::WalletChange,
    facts,
    faults::{
        Fault,
        stream::{StreamFault, StreamWeather},
        weather::Weather,
    },
    http::{self, OrderView, Stats, TradeView},
    journal::{GENERATION, Header, Journal, JournalFailed, StateError, same_run},
    keys::Keys,
    listener::{Cut, Listener},
    local::Local,
    modes::Mode,
    options::{Options, Prints, Switches, TapeOptions},
    playback::Playback,
    print::Source,
    seeded::Leaders,
    shared::{Shared, lock, recall},
    tape::{BrokenRow, Tape, TapeError},
    world::World,
};

/// Why the simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The tape or the file of markets.
    #[error(transparent)]
    Tape(#[from] TapeError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state file can no longer be written.
    #[error(transparent)]
    Journal(#[from] JournalFailed),
    /// A key that nobody can sign with.
    #[error(transparent)]
    Creds(#[from] CredsError),
    /// The port.
    #[error(
        "port_unavailable: \
         the simulator cannot listen on 127.0.0.1:{port}: {source}: choose another port, or 0 for a free one"
    )]
    Port {
        /// Which.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
}

impl SimulatorError {
    /// The error's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Tape(error) => error.code(),
            Self::State(error) => error.code(),
            Self::Journal(_) => "state_unwritable",
            Self::Creds(error) => error.code(),
            Self::Port { .. } => "port_unavailable",
        }
    }
}

/// What was read from a tape, for whoever started it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TapeReport {
    /// Rows that will be served.
    pub rows: usize,
    /// Rows dropped because they repeat another.
    pub repeated: usize,
    /// Rows of the tape that could not be used.
    pub broken: Vec<BrokenRow>,
    /// Rows of the file of markets that could not be used.
    pub broken_markets: Vec<BrokenRow>,
    /// Markets on the tape without facts in that file.
    pub markets_without_facts: usize,
}

/// Makes a simulator.
#[derive(Debug)]
pub struct Builder {
    options: Options,
    clock: Arc<dyn Clock>,
    source: Option<Box<dyn Source>>,
}

impl Builder {
    /// Takes the time from this clock instead of the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets everything at once.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Remembers epoch, keys and orders in this file.
    pub fn state(mut self, file: impl Into<std::path::PathBuf>) -> Self {
        self.options.state = Some(file.into());
        self
    }

    /// Serves a tape.
    pub fn tape(mut self, tape: TapeOptions) -> Self {
        self.options.prints = Prints::Tape(tape);
        self
    }

    /// Takes what happens from here instead of from the options' leaders or tape: for stories that a test tells. A
    /// state file knows nothing of it.
    pub fn source(mut self, source: Box<dyn Source>) -> Self {
        self.source = Some(source);
        self
    }

    /// Everything but the address: for callers in the same process, who go through [`Handle::local`].
    ///
    /// # Errors
    /// See [`SimulatorError`]; the port is not one of them.
    pub fn build(self) -> Result<Handle, SimulatorError> {
        let Self { options, clock, source } = self;
        let now = clock.now();
        let loaded = match &options.prints {
            Prints::Seeded(_) => None,
            Prints::Tape(tape) => Some(load(tape)?),
        };
        let wanted = Header {
            generation: GENERATION,
            epoch: options.epoch.unwrap_or_else(|| match &options.prints {
                Prints::Seeded(_) => now.minus(options.history),
                Prints::Tape(_) => now,
            }),
            past: past_of(&options, loaded.as_ref()),
        };
        let (epoch, lines, journal) = match &options.state {
            None => (wanted.epoch, Vec::new(), None),
            Some(path) => {
                let opened = Journal::open(path, wanted.clone())?;
                same_run(path, &opened.header, &wanted)?;
                (opened.header.epoch, opened.lines, Some(opened.journal))
            }
        };
        let mut report = TapeReport::default();
        let made = || -> Box<dyn Source> {
            match (&options.prints, loaded) {
                (Prints::Seeded(seeding), _) => Box::new(Leaders::new(seeding.clone(), epoch)),
                (Prints::Tape(tape), Some(loaded)) => {
                    report = loaded.report;
                    Box::new(Playback::new(
                        &loaded.tape,
                        &loaded.facts,
                        epoch,
                        tape.speed,
                        tape.grace,
                        &mut report.broken,
                    ))
                }
                // A tape was loaded above, or there was an error.
                (Prints::Tape(_), None) => Box::new(Leaders::new(crate::seeded::Seeding::default(), epoch)),
            }
        };
        let source = source.unwrap_or_else(made);
        tell(&report);
        let mut world =
            World::new(source, options.rules.clone(), options.exchanges.clone(), epoch, options.keep_rows);
        let mut keys = Keys::new(options.seed());
        let known = recall(&mut world, &mut keys, &lines).map_err(|(n, reason)| StateError::Broken {
            path: options.state.clone().unwrap_or_default(),
            line: n + 2,
            reason,
        })?;
        world.advance(now);
        if known > 0 {
            tracing::info!(orders = known, "the simulator knows its orders again");
        }
        let shared = Shared::new(world, keys, options.switches, journal, clock, options.exchanges);
        shared.set_weather(options.weather);
        lock(&shared.stream_faults).set_weather(options.stream_weather);
        Ok(Handle { shared: Arc::new(shared), report: Arc::new(report), epoch })
    }

    /// Starts to listen.
    ///
    /// # Errors
    /// See [`SimulatorError`].
    pub async fn start(self) -> Result<Simulator, SimulatorError> {
        let port = self.options.port;
        let unavailable = |source| SimulatorError::Port { port, source };
        // The port first: it is the error that costs nothing.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(unavailable)?;
        let address = listener.local_addr().map_err(unavailable)?;
        let handle = self.build()?;
        let stop = Stop::new();
        let service = handle.router().into_make_service_with_connect_info::<Cut>();
        let (asked, all) = (stop.clone(), Cut::default());
        let listener = Listener::new(listener, all.clone());
        let server = tokio::spawn(async move {
            let serving =
                axum::serve(listener, service).with_graceful_shutdown(async move { asked.requested().await });
            if let Err(error) = serving.await {
                tracing::error!(%error, "the simulator stopped listening");
            }
        });
        tracing::info!(%address, "the simulator listens");
        Ok(Simulator { base_url: format!("http://{address}"), handle, stop, all, server })
    }
}

struct Loaded {
    tape: Tape,
    facts: std::collections::BTreeMap<schemas::ConditionId, facts::Facts>,
    report: TapeReport,
}

fn load(options: &TapeOptions) -> Result<Loaded, SimulatorError> {
    let mut tape = Tape::load(&options.path, options.keep_equal)?;
    let mut report = TapeReport {
        rows: tape.rows.len(),
        repeated: tape.repeated,
        broken: std::mem::take(&mut tape.broken),
        ..TapeReport::default()
    };
    let wanted: BTreeSet<_> = tape.rows.iter().filter_map(|row| row.condition).collect();
    let facts = match &options.markets {
        None => std::collections::BTreeMap::new(),
        Some(path) => facts::load(path, &wanted, &mut report.broken_markets)?,
    };
    report.markets_without_facts = wanted.iter().filter(|c| !facts.contains_key(c)).count();
    Ok(Loaded { tape, facts, report })
}

/// Each broken row in a line of its own, up to a hundred.
fn tell(report: &TapeReport) {
    for (file, broken) in [("tape", &report.broken), ("markets", &report.broken_markets)] {
        for row in broken.iter().take(100) {
            tracing::warn!(file, line = row.line, reason = %row.reason, "a row is broken and left out");
        }
        if broken.len() > 100 {
            tracing::warn!(file, more = broken.len() - 100, "further rows are broken and left out");
        }
    }
    if report.rows > 0 {
        tracing::info!(
            rows = report.rows,
            repeated = report.repeated,
            broken = report.broken.len(),
            markets_without_facts = report.markets_without_facts,
            "the tape is loaded"
        );
    }
}

/// What prints and fills follow from, in words. Whatever changes them changes it.
fn past_of(options: &Options, loaded: Option<&Loaded>) -> String {
    let prints = match (&options.prints, loaded) {
        (Prints::Tape(tape), Some(loaded)) => {
            let facts = format!("{:?}", loaded.facts);
            format!(
                "tape {} with markets {} at speed {} and grace {:?}",
                loaded.tape.digest(),
                schemas::keccak256(&[facts.as_bytes()]),
                tape.speed.micro(),
                tape.grace
            )
        }
        (prints, _) => format!("{prints:?}"),
    };
    format!("{prints}; {:?}", options.rules)
}

/// A simulator that listens.
#[derive(Debug)]
pub struct Simulator {
    /// Its address, for data, gamma and clob alike: `http://127.0.0.1:…`.
    pub base_url: String,
    handle: Handle,
    stop: Stop,
    /// Cuts every connection.
    all: Cut,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Begins to make one: seeded leaders, the machine's clock, no memory.
    pub fn builder() -> Builder {
        Builder { options: Options::default(), clock: SystemClock::shared(), source: None }
    }

    /// To look inside, and to cause faults.
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Answers what is on its way, writes its state, and ends.
    pub async fn stop(self) {
        self.stop.request();
        let Self { handle, mut server, all, .. } = self;
        // A client that never hangs up is not waited for.
        let patience = handle.shared.clock.sleep(Duration::from_secs(2));
        tokio::select! {
            biased;
            _ = &mut server => {}
            () = patience => server.abort(),
        }
        all.now();
        handle.shared.close();
    }

    /// Ends as a kill -9 would: nothing more is answered. What was answered is in the state file.
    pub async fn kill(self) {
        self.all.now();
        self.server.abort();
        // Whether it ended or was aborted, it is gone.
        let _ = self.server.await;
        self.handle.shared.close();
    }
}

/// A handle to a simulator, listening or not.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    report: Arc<TapeReport>,
    epoch: Timestamp,
}

impl Handle {
    /// The routes, to be called without a socket.
    pub fn router(&self) -> Router {
        http::router(self.shared.clone())
    }

    /// The venue's ports, without a socket: for tests in one thread under virtual time.
    pub fn local(&self) -> Local {
        Local::new(self.router(), self.shared.clone())
    }

    /// The wallets worth following, the busiest first. The same for the same seed or tape.
    pub fn leaders(&self) -> Vec<Address> {
        self.shared.world().leaders()
    }

    /// When the first print happened.
    pub const fn epoch(&self) -> Timestamp {
        self.epoch
    }

    /// What was read from the tape.
    pub fn tape_report(&self) -> &TapeReport {
        &self.report
    }

    /// Makes an API key without the L1 request, or finds the one made before.
    ///
    /// # Errors
    /// The state file cannot be written.
    pub async fn api_key(&self, address: Address, nonce: u64) -> Result<ApiCreds, SimulatorError> {
        let (row, synced) = self.shared.make_key(address, nonce);
        synced.wait().await?;
        Ok(ApiCreds::from_row(address, row)?)
    }

    /// Lets a fault wait for its events of the user stream.
    pub fn stream_fault(&self, fault: StreamFault) {
        lock(&self.shared.stream_faults).add(fault);
    }

    /// Brings faults by seed, in place of the weather that was.
    pub fn weather(&self, weather: Weather) {
        self.shared.set_weather(weather);
    }

    /// Brings mishaps of the user stream by seed.
    pub fn stream_weather(&self, weather: StreamWeather) {
        lock(&self.shared.stream_faults).set_weather(weather);
    }

    /// Changes a wallet from outside of the exchange.
    ///
    /// # Errors
    /// The state file cannot be written.
    pub async fn wallet(&self, change: &WalletChange) -> Result<(), SimulatorError> {
        Ok(self.shared.change_wallet(change).wait().await?)
    }

    /// The venue's mode from now on, until another is set.
    pub fn mode(&self, mode: Mode) {
        lock(&self.shared.calendar).set(self.shared.clock.now(), mode);
    }

    /// Restarts the matching engine now: 425 for a time, then post-only for another.
    pub fn restart(&self, down: Duration, post_only: Duration) {
        lock(&self.shared.calendar).restart(self.shared.clock.now(), down, post_only);
    }

    /// Lets a fault wait for its requests.
    pub fn fault(&self, fault: Fault) {
        self.shared.add_fault(fault);
    }

    /// Removes all faults that wait.
    pub fn clear_faults(&self) {
        self.shared.clear_faults();
    }

    /// Changes switches.
    pub fn switch(&self, change: impl FnOnce(&mut Switches)) {
        self.shared.set_switches(change);
    }

    /// Every order ever accepted, in the order in which they were received.
    pub fn orders(&self) -> Vec<OrderView> {
        OrderView::all(&self.shared.world())
    }

    /// Every trade of those orders.
    pub fn trades(&self) -> Vec<TradeView> {
        TradeView::all(&self.shared.world())
    }

    /// Counts.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.shared)
    }
}

/// Runs until it is told to stop: what `polymirror simulate` does. `listening` is called once, with the
/// simulator at its address.
///
/// # Errors
/// See [`SimulatorError`].
pub async fn run(
    options: Options,
    clock: Arc<dyn Clock>,
    stop: Stop,
    listening: impl FnOnce(&Simulator),
) -> Result<(), SimulatorError> {
    let simulator = Simulator::builder().options(options).clock(clock).start().await?;
    listening(&simulator);
    stop.requested().await;
    simulator.stop().await;
    Ok(())
}
