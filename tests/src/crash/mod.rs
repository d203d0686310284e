//! Execute, killed at a step: the stage as it ships, its ports wrapped so that the process dies just before or just
//! after an effect that leaves it.
//!
//! Every effect of the stage passes through one of its ports, so the steps of an order's life are the calls of the
//! ports, and [`STEPS`] names them. `tests/whole/crashes.rs` starts the process over and over.

pub mod field;
mod log;
mod points;
mod store;
mod venue;

use std::{sync::Arc, time::Duration};

use ::venue::http::HttpSettings;
use eventlog::kafka::{KafkaConfig, KafkaLog};
use execute::{Settings, Stage, Venues};
use runtime::{Board, Chance, Stop, SystemClock};
use schemas::Mode;
use tracing_subscriber::EnvFilter;

use self::points::Points;
pub use self::points::{KillAt, STEPS, When};
use crate::executor::{EXPECTED, Ports};

/// The variable that holds a [`KillAt`].
pub const KILL_AT: &str = "POLYMIRROR_KILL_AT";

/// Runs execute on an installation under test, from the environment that `polymirror execute` is given there, until
/// it dies. Leases are short, so that the next one soon sends.
pub fn execute_until() -> std::process::ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(execute());
    std::process::ExitCode::SUCCESS
}

async fn execute() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let points = Points::new(std::env::var(KILL_AT).ok().map(|at| at.parse().unwrap()));
    let (clock, chance) = (SystemClock::shared(), Chance::system());
    let kafka =
        KafkaConfig::new(variable("POLYMIRROR_KAFKA")).with_prefix(variable("POLYMIRROR_KAFKA_PREFIX"));
    let log = KafkaLog::open(kafka, &EXPECTED, clock.clone(), &chance).await.unwrap();
    let Ports { store: inner, clob, market, keyring, codec } =
        Ports::of(variable, 8, HttpSettings::default());
    let clob = Arc::new(venue::AtSteps { inner: clob, points: points.clone() });
    let stage = Stage {
        log: Arc::new(log::AtSteps { inner: Arc::new(log), points: points.clone() }),
        store: Arc::new(store::AtSteps { inner, points }),
        venues: Venues::one(Mode::Simulated, clob.clone(), clob, market),
        keyring,
        clock,
        chance,
        board: Board::new(),
        codec,
        settings: Settings {
            lease: Duration::from_secs(2),
            renew: Duration::from_millis(500),
            session: Duration::from_secs(3),
            housekeeping: Duration::from_secs(1),
            ..Settings::default()
        },
    };
    execute::run(stage, Stop::new()).await.unwrap();
}
