//! Some hundred stories of every build: invariants 1 to 4 of `design.md`, whatever goes wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use simulation::{
    fate::FAULTS,
    plan::{Mood, generate},
    run::{How, Outcome, run},
    shrink::shrink,
};

/// How many stories; `SIMULATION_SEEDS` asks for more.
const SEEDS: u64 = 260;

fn told(seed: u64, how: &How) -> Outcome {
    run(&Arc::new(generate(seed, None)), how).unwrap()
}

/// Every seed, on all cores.
fn all(seeds: u64) -> BTreeMap<u64, Outcome> {
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let outcome = told(seed, &How::default());
                    let broken = outcome.broken.is_some();
                    outcomes.lock().unwrap().insert(seed, outcome);
                    if broken {
                        // One is enough to look at.
                        next.store(seeds, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

#[test]
fn whatever_goes_wrong_no_story_breaks_a_rule() {
    let asked = std::env::var("SIMULATION_SEEDS").ok().and_then(|n| n.parse().ok());
    let outcomes = all(asked.unwrap_or(SEEDS));
    if let Some((seed, outcome)) = outcomes.iter().find(|(_, o)| o.broken.is_some()) {
        let broken = outcome.broken.as_ref().unwrap();
        let short = shrink(&generate(*seed, None), outcome).unwrap();
        panic!(
            "seed {seed} breaks {}: {}\n{short}\nagain: make simulate ARGS=\"--seed {seed}\"",
            broken.rule, broken.what
        );
    }
    // And things did go wrong: every kind of fault was met, and every kind of blow fell.
    let met = |fault: &str| outcomes.values().any(|o| o.counts.faults.contains_key(fault));
    let never: Vec<_> = FAULTS.iter().map(|(fault, _)| *fault).filter(|fault| !met(fault)).collect();
    assert!(never.is_empty(), "faults that no story meets: {never:?}");
    for blow in ["crash", "freeze", "restart", "rebalance", "evict"] {
        assert!(outcomes.values().any(|o| o.counts.blows.contains_key(blow)), "{blow}");
    }
    let some = |what: fn(&Outcome) -> bool| outcomes.values().filter(|o| what(o)).count();
    assert!(some(|o| o.counts.seen.zombies > 0) > 20, "zombies");
    assert!(some(|o| o.counts.told.repeated > 0) > 100, "repeated fills");
    assert!(some(|o| o.counts.orders.contains_key("filled")) > 100, "filled orders");
    for cause in ["void:", "removed:", "manual:", "exit:", ":MERGE:", ":CONVERSION:"] {
        assert!(outcomes.values().any(|o| o.counts.causes.contains_key(cause)), "{cause}");
    }
    assert!(some(|o| o.counts.told.ends > 0) > 50, "markets that ended");
    assert!(some(|o| o.counts.told.changes > 0) > 50, "position changes without a trade");
}

#[test]
fn a_seed_repeats_its_story_byte_for_byte() {
    let how = How { digest: true, ..How::default() };
    for seed in 0..10 {
        let (one, two) = (
            told(seed, &how),
            thread::spawn(move || told(seed, &How { digest: true, telling: true, only: None }))
                .join()
                .unwrap(),
        );
        assert!(one.digest.is_some());
        assert_eq!((one.digest, &one.met), (two.digest, &two.met), "seed {seed}");
    }
}

#[test]
fn another_seed_is_another_story() {
    let how = How { digest: true, ..How::default() };
    assert_ne!(told(1, &how).digest, told(2, &how).digest);
}

#[test]
fn where_nothing_goes_wrong_nothing_is_met() {
    for seed in 0..6 {
        let outcome = run(&Arc::new(generate(seed, Some(Mood::Calm))), &How::default()).unwrap();
        assert_eq!((outcome.broken, outcome.met.len(), outcome.counts.blows.len()), (None, 0, 0));
    }
}
