//! Tells stories: one, with everything that happens in it, or many.
//!
//!     cargo run -p simulation -- --seed 17             one, told step by step
//!     cargo run -p simulation --release -- --seeds 10000
//!
//! A story that breaks a rule is shrunk to a short one. The exit code says whether any did.

use std::{
    collections::BTreeMap,
    io,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use clap::Parser;
use simulation::{
    plan::{Mood, Plan, generate},
    run::{How, Outcome, run},
    tally::Tally,
};

#[derive(Debug, Parser)]
#[command(about = "The whole system in one thread, every fault chosen by a seed")]
struct Args {
    /// Tells the story of this seed, step by step.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs so many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many at a time.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Goes on after a rule was broken, and counts.
    #[arg(long)]
    all: bool,
    /// Nothing goes wrong.
    #[arg(long)]
    calm: bool,
    /// Does not shrink a story that breaks a rule.
    #[arg(long)]
    whole: bool,
}

impl Args {
    fn plan(&self, seed: u64) -> Arc<Plan> {
        Arc::new(generate(seed, self.calm.then_some(Mood::Calm)))
    }
}

fn main() -> io::Result<ExitCode> {
    let args = Args::parse();
    match args.seed {
        Some(seed) => tell(&args, seed),
        None => many(&args),
    }
}

fn tell(args: &Args, seed: u64) -> io::Result<ExitCode> {
    let plan = args.plan(seed);
    let how = How { telling: true, digest: true, only: None };
    let outcome = run(&plan, &how)?;
    match &outcome.broken {
        Some(_) if !args.whole => {
            let short = simulation::shrink::shrink(&plan, &outcome)?;
            println!("{short}");
        }
        _ => {
            outcome.told.iter().for_each(|line| println!("{line}"));
            println!("{:#?}", outcome.counts);
        }
    }
    let Some(broken) = outcome.broken else { return Ok(ExitCode::SUCCESS) };
    println!("seed {seed} breaks: {}: {}", broken.rule, broken.what);
    Ok(ExitCode::FAILURE)
}

fn many(args: &Args) -> io::Result<ExitCode> {
    let next = AtomicU64::new(args.from);
    let end = args.from.saturating_add(args.seeds);
    let tally = Mutex::new(Tally::default());
    let bad: Mutex<BTreeMap<u64, Outcome>> = Mutex::default();
    let took = simulation::tally::stopwatch();
    let work = || -> io::Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return Ok(());
            }
            let outcome = run(&args.plan(seed), &How::default())?;
            tally.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome);
            if let Some(broken) = &outcome.broken {
                println!("seed {seed} breaks: {}: {}", broken.rule, broken.what);
                bad.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, outcome);
                if !args.all {
                    next.store(end, Ordering::Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| -> io::Result<()> {
        let workers: Vec<_> = (0..args.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().map_err(|_| io::Error::other("a run panicked"))??;
        }
        Ok(())
    })?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{tally}in {:.1} s", took().as_secs_f64());
    let bad = bad.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Some((seed, outcome)) = bad.into_iter().next() else { return Ok(ExitCode::SUCCESS) };
    if !args.whole {
        println!("{}", simulation::shrink::shrink(&args.plan(seed), &outcome)?);
    }
    println!("seed {seed} breaks a rule; tell it again with --seed {seed}");
    Ok(ExitCode::FAILURE)
}
