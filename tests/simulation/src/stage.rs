//! The stages as processes: their public shells, over the ports of a place.

use std::{sync::Arc, time::Duration};

use eventlog::memory::MemoryLog;
use execute::{Keyring, SealingKey, Secret, Settings, Stage, Venues};
use runtime::{Board, Chance, Stop};
use schemas::{Mode, codec::Codec};
use simulator::Handle;
use venue::signing::{ExchangeTable, LocalSigner};

use crate::{
    dice::{Dice, name},
    fate::Fates,
    oracle::Judge,
    plan::Kind,
    ports::{
        Place,
        exchange::{Network, SimVenue},
        ledger::SimLedger,
        log::{Held, SimLog},
        tables::SimTables,
    },
    process::Process,
    time::{Agenda, SimClock, Who},
};

/// What all processes of a run stand on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The seed of the run.
    pub seed: u64,
    /// The log.
    pub log: MemoryLog,
    /// Who holds what of it.
    pub held: Held,
    /// Execute's ledger.
    pub ledger: execute::MemoryStore,
    /// Project's tables.
    pub tables: project::store::MemoryStore,
    /// The venue.
    pub venue: Handle,
    /// The way there.
    pub network: Network,
    /// Time.
    pub agenda: Agenda,
    /// What becomes of calls.
    pub fates: Fates,
    /// Who watches.
    pub judge: Arc<Judge>,
    /// Reads and writes records.
    pub codec: Codec,
}

/// A place at which a process of a stage sits, one after another.
#[derive(Debug)]
pub struct Seat {
    /// Which stage.
    pub kind: Kind,
    /// Which of its processes.
    pub nth: u8,
    /// Its name.
    pub name: &'static str,
    /// Who sits there now.
    pub process: Option<Process>,
    /// How many sat there.
    pub lives: u64,
}

const NAMES: [[&str; 2]; 3] =
    [["decide-0", "decide-1"], ["execute-0", "execute-1"], ["project-0", "project-1"]];

/// How long a member of a group may be silent.
pub const SESSION: Duration = Duration::from_secs(10);

impl Kind {
    /// The consumer group of its stage.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Decide => decide::shell::GROUP,
            Self::Execute => execute::shell::intake::GROUP,
            Self::Project => project::shell::STAGE,
        }
    }
}

impl Seat {
    /// An empty one.
    pub fn new(kind: Kind, nth: u8) -> Self {
        let name = NAMES[kind as usize][usize::from(nth)];
        Self { kind, nth, name, process: None, lives: 0 }
    }

    /// A process takes its seat.
    ///
    /// # Errors
    /// No scheduler can be had.
    pub fn start(&mut self, who: Who, ground: &Ground) -> std::io::Result<()> {
        self.lives += 1;
        let place = Place { name: self.name, fates: ground.fates.clone() };
        let mut dice = Dice::about(ground.seed, &[name(self.name), self.lives, name("process")]);
        let chance = Chance::seeded(dice.draw());
        // Clocks of machines that keep time by the network are not far off.
        let clock = Arc::new(SimClock::new(ground.agenda.clone(), dice.within(-400_000, 400_000)));
        let log = Arc::new(SimLog::new(ground.log.clone(), place.clone(), ground.held.clone()));
        let (codec, board, stop) = (ground.codec.clone(), Board::new(), Stop::new());
        let asked = stop.clone();
        let process = match self.kind {
            Kind::Decide => {
                let ports = decide::shell::Ports { log, codec, clock, chance, board, stop: asked };
                let options = decide::shell::Options {
                    session: SESSION,
                    wait: Duration::from_secs(3),
                    transaction: usize::try_from(dice.between(2, 60)).unwrap_or(60),
                    snapshot_every: dice.between(1, 8),
                    snapshot_after: Duration::from_secs(dice.between(1, 20)),
                    restore_slice: usize::try_from(dice.between(1, 20)).unwrap_or(20),
                    // Small enough to be full at times: then the next is decided while its commit is on its way.
                    batch: usize::try_from(dice.between(1, 16)).unwrap_or(16),
                    ..decide::shell::Options::default()
                };
                Process::start(who, stop, async move {
                    let ended = decide::shell::run(ports, options).await;
                    ended.map_err(|e| (e.code().to_owned(), e.to_string()))
                })?
            }
            Kind::Execute => {
                let store = SimLedger::new(ground.ledger.clone(), place.clone(), ground.judge.clone());
                let venue = Arc::new(SimVenue::new(
                    ground.venue.clone(),
                    place,
                    ground.judge.clone(),
                    ground.network.clone(),
                ));
                let stage = Stage {
                    log,
                    store: Arc::new(store),
                    venues: Venues::one(Mode::Simulated, venue.clone(), venue.clone(), venue),
                    keyring: Keyring::new(sealing(), ExchangeTable::default()),
                    clock,
                    chance,
                    board,
                    codec,
                    settings: Settings {
                        session: SESSION,
                        poll: Duration::from_secs(2),
                        tick: Duration::from_millis(dice.between(250, 1_500)),
                        relay: Duration::from_millis(dice.between(500, 3_000)),
                        batch: usize::try_from(dice.between(1, 12)).unwrap_or(12),
                        looks: usize::try_from(dice.between(1, 6)).unwrap_or(6),
                        ..Settings::default()
                    },
                };
                Process::start(who, stop, async move {
                    let ended = execute::run(stage, asked).await;
                    ended.map_err(|e| (e.code().to_owned(), e.to_string()))
                })?
            }
            Kind::Project => {
                let store = Arc::new(SimTables::new(ground.tables.clone(), place));
                let ports = project::shell::Ports { log, store, clock, codec, board };
                let options = project::shell::Options {
                    session: SESSION,
                    wait: Duration::from_secs(3),
                    ..project::shell::Options::default()
                };
                Process::start(who, stop, async move {
                    let ended = project::shell::run(&ports, &options, &asked).await;
                    ended.map_err(|e| (e.code().to_owned(), e.to_string()))
                })?
            }
        };
        self.process = Some(process);
        ground.fates.tell(|| format!("{} starts", self.name));
        Ok(())
    }
}

/// The installation's key.
pub fn sealing() -> SealingKey {
    // 64 hex digits are a key.
    SealingKey::from_hex(&"42".repeat(32)).unwrap_or_else(|_| unreachable!("a key of 32 bytes"))
}

/// A tenant's signing key.
pub fn signer(tenant: u8) -> LocalSigner {
    // A small number that is not zero is a key.
    LocalSigner::from_hex(&secret(tenant)).unwrap_or_else(|_| unreachable!("a key above zero"))
}

fn secret(tenant: u8) -> String {
    format!("{:064x}", u32::from(tenant) + 0x0100)
}

/// It, sealed for its connection.
pub fn sealed(tenant: u8) -> Vec<u8> {
    let bytes = const_hex::decode(secret(tenant)).unwrap_or_default();
    let connection = crate::plan::connection(tenant);
    sealing().seal(&Chance::seeded(7), connection, Secret::SigningKey, &bytes).unwrap_or_default()
}
