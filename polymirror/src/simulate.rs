//! `simulate`: the venue's look-alike alone. Also makes the simulator's options for `up`.

use std::{io::Write, sync::Arc, time::Duration};

use runtime::{Clock, Stop};
use simulator::{
    Options, Prints, Seeding, Simulator, Speed, Switches, TapeOptions, TapeReport, outcomes::Outcomes,
};

use crate::{
    cli::{SimulateArgs, TapeArgs},
    config::{Config, SimulatorConfig},
    error::Error,
};

/// Rows named one by one before the rest is only counted.
const BROKEN_SHOWN: usize = 20;

/// Leaders from a seed, as configured.
pub fn seeded(config: &SimulatorConfig, seed: Option<u64>, fills_per_second: Option<u32>) -> Seeding {
    let rate = fills_per_second.unwrap_or(config.fills_per_second).max(1);
    Seeding {
        seed: seed.unwrap_or(config.seed),
        leaders: usize::try_from(config.leaders).unwrap_or(usize::MAX),
        markets: usize::try_from(config.markets).unwrap_or(usize::MAX),
        mean_gap: Duration::from_secs(1) / rate,
        change_permille: config.changes_per_thousand,
        ..Seeding::default()
    }
}

/// A tape, if one is given.
///
/// # Errors
/// A speed of zero.
pub fn tape(args: &TapeArgs) -> Result<Option<TapeOptions>, Error> {
    let Some(path) = &args.tape else { return Ok(None) };
    let mut tape = TapeOptions::new(path);
    if let Some(speed) = args.speed {
        if speed == 0 {
            return Err(Error::Argument("--speed is at least 1".into()));
        }
        tape.speed = Speed::times(speed);
    }
    tape.markets.clone_from(&args.markets);
    tape.keep_equal = args.keep_equal;
    Ok(Some(tape))
}

/// Says what of a tape could not be used: each row, up to a number.
pub fn report(tape: &TapeReport) {
    if tape.rows == 0 && tape.broken.is_empty() {
        return;
    }
    eprintln!(
        "tape: {} rows, {} repeated ones dropped, {} broken",
        tape.rows,
        tape.repeated,
        tape.broken.len()
    );
    for row in tape.broken.iter().chain(&tape.broken_markets).take(BROKEN_SHOWN) {
        eprintln!("tape_row_broken: {row}");
    }
    let more = (tape.broken.len() + tape.broken_markets.len()).saturating_sub(BROKEN_SHOWN);
    if more > 0 {
        eprintln!("tape_row_broken: and {more} more");
    }
    if tape.markets_without_facts > 0 {
        eprintln!(
            "tape: {} markets have no facts in --markets; theirs are inferred",
            tape.markets_without_facts
        );
    }
}

/// Runs the simulator until it is told to stop.
///
/// # Errors
/// A port that is taken, a tape or outcomes that cannot be read.
pub async fn run(
    config: &Config,
    args: SimulateArgs,
    clock: Arc<dyn Clock>,
    stop: Stop,
) -> Result<(), Error> {
    let prints = if let Some(tape) = tape(&args.tape)? {
        Prints::Tape(tape)
    } else {
        let mut seeding = seeded(&config.simulator, args.seed, args.fills_per_second);
        if let Some(leaders) = args.leaders {
            seeding.leaders = usize::try_from(leaders).unwrap_or(usize::MAX);
        }
        if let Some(changes) = args.changes_per_thousand {
            seeding.change_permille = changes;
        }
        if args.even {
            seeding.top_share_permille = 0;
        }
        Prints::Seeded(seeding)
    };
    let lead_in = args.lead_in_ms.map(|ms| clock.now().plus(Duration::from_millis(ms)));
    let port = args.port.unwrap_or(config.simulator.port);
    let mut options = Options { prints, epoch: lead_in, state: args.state, port, ..Options::default() };
    if args.documented_limits {
        options.switches = Switches::documented();
    }
    if let Some(file) = &args.outcomes {
        let read = Outcomes::load(file);
        let outcomes = read.map_err(|e| Error::Argument(format!("--outcomes {}: {e}", file.display())))?;
        options.weather = outcomes.weather(args.seed.unwrap_or(config.simulator.seed));
    }
    simulator::run(options, clock, stop, announce).await.map_err(Error::said)
}

/// One line that a program can read: the address; then whom one could follow.
fn announce(simulator: &Simulator) {
    report(simulator.handle().tape_report());
    let mut out = std::io::stdout().lock();
    // Nobody reads it: then nobody needs it.
    let _ = writeln!(out, "simulator listening on {}", simulator.base_url);
    for leader in simulator.handle().leaders() {
        let _ = writeln!(out, "leader {leader}");
    }
    let _ = out.flush();
}
