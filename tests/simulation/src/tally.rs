//! What many runs were like, summed.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::run::Outcome;

/// Sums over runs.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    runs: u64,
    broken: BTreeMap<&'static str, u64>,
    /// In so many runs something of this kind happened.
    with: BTreeMap<&'static str, u64>,
    decisions: BTreeMap<&'static str, u64>,
    causes: BTreeMap<&'static str, u64>,
    orders: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
    blows: BTreeMap<&'static str, u64>,
    fills: u64,
    posts: u64,
    lasted: Duration,
}

fn add(sums: &mut BTreeMap<&'static str, u64>, more: &BTreeMap<&'static str, u64>) {
    for (what, n) in more {
        *sums.entry(what).or_default() += n;
    }
}

impl Tally {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        let counts = &outcome.counts;
        self.runs += 1;
        if let Some(broken) = &outcome.broken {
            *self.broken.entry(broken.rule).or_default() += 1;
        }
        add(&mut self.decisions, &counts.decisions);
        add(&mut self.causes, &counts.causes);
        add(&mut self.orders, &counts.orders);
        add(&mut self.faults, &counts.faults);
        add(&mut self.blows, &counts.blows);
        self.fills += counts.told.published;
        self.posts += counts.seen.posts;
        self.lasted += counts.lasted;
        let blow = |kind| counts.blows.contains_key(kind);
        let kinds = [
            ("repeated fills", counts.told.repeated > 0),
            ("faults of calls", !counts.faults.is_empty()),
            ("crashes", blow("crash")),
            ("rebalances", blow("rebalance") || blow("evict") || blow("crash") || blow("restart")),
            ("frozen processes", blow("freeze")),
            ("zombies", counts.seen.zombies > 0),
            ("markets that ended", counts.told.ends > 0),
            ("position changes", counts.told.changes > 0),
            ("orders at the venue", counts.seen.posts > 0),
            ("orders that landed after they were given up", counts.seen.late > 0),
        ];
        for (kind, happened) in kinds {
            *self.with.entry(kind).or_default() += u64::from(happened);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.lasted.as_secs() / 3_600;
        writeln!(
            f,
            "{} runs, {} records of fills, {} sends, {hours} hours of virtual time",
            self.runs, self.fills, self.posts
        )?;
        let lists = [
            ("runs with", &self.with),
            ("decisions", &self.decisions),
            ("decided without a trade", &self.causes),
            ("orders in the end", &self.orders),
            ("blows", &self.blows),
            ("faults met", &self.faults),
            ("BROKEN", &self.broken),
        ];
        for (what, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            let parts: Vec<_> = list.iter().map(|(k, n)| format!("{k} {n}")).collect();
            writeln!(f, "{what}: {}", parts.join(", "))?;
        }
        Ok(())
    }
}

/// How long a whole batch of runs takes, by the machine's clock: the one thing here that it may tell.
pub fn stopwatch() -> impl Fn() -> Duration {
    use runtime::Clock as _;
    let clock = runtime::SystemClock::default();
    let begin = clock.monotonic();
    move || clock.monotonic().saturating_sub(begin)
}
