//! A story that breaks a rule, made as short as it can be and still break it: steps, blows and faults are left out, half
//! of them at first and single ones in the end (delta debugging).

use std::{collections::BTreeSet, fmt, io, sync::Arc, time::Duration};

use crate::{
    fate::Met,
    oracle::Broken,
    plan::{Plan, Step, Trouble},
    run::{How, Outcome, run},
};

/// Runs of one shrinking, at most, and how long it may take.
const MOST_RUNS: u32 = 800;
const MOST_TIME: Duration = Duration::from_secs(120);

/// A part that can be left out.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    Step(Step),
    Trouble(Trouble),
    Fault(Met),
    /// The second process of a stage.
    Second(usize),
    /// A tenant's following of a wallet.
    Follow(Box<crate::plan::Follow>),
}

/// A short story.
#[derive(Debug, Clone)]
pub struct Short {
    parts: Vec<Part>,
    outcome: Outcome,
    broken: Broken,
    runs: u32,
}

struct Shrinker<'p> {
    plan: &'p Plan,
    rule: &'static str,
    runs: u32,
}

impl Shrinker<'_> {
    fn tell(&mut self, parts: &[Part], telling: bool) -> io::Result<Outcome> {
        self.runs += 1;
        let mut plan = self.plan.clone();
        plan.steps.clear();
        plan.troubles.clear();
        plan.follows.clear();
        plan.processes = [1; 3];
        let mut only = BTreeSet::new();
        for part in parts {
            match part {
                Part::Step(step) => plan.steps.push(step.clone()),
                Part::Trouble(trouble) => plan.troubles.push(*trouble),
                Part::Follow(follow) => plan.follows.push((**follow).clone()),
                Part::Second(stage) => plan.processes[*stage] = 2,
                Part::Fault(met) => {
                    only.insert(*met);
                }
            }
        }
        run(&Arc::new(plan), &How { only: Some(only), telling, digest: false })
    }

    fn breaks(&mut self, parts: &[Part]) -> io::Result<bool> {
        Ok(self.tell(parts, false)?.broken.is_some_and(|b| b.rule == self.rule))
    }
}

/// Shrinks the story that came to this outcome.
///
/// # Errors
/// The harness itself could not be set up.
pub fn shrink(plan: &Plan, outcome: &Outcome) -> io::Result<Short> {
    let Some(broken) = outcome.broken.clone() else {
        return Err(io::Error::other("there is nothing to shrink in a story that breaks no rule"));
    };
    let mut shrinker = Shrinker { plan, rule: broken.rule, runs: 0 };
    let mut parts: Vec<Part> = Vec::new();
    parts.extend((0..3).filter(|stage| plan.processes[*stage] > 1).map(Part::Second));
    parts.extend(plan.follows.iter().cloned().map(Box::new).map(Part::Follow));
    parts.extend(plan.troubles.iter().copied().map(Part::Trouble));
    parts.extend(outcome.met.iter().copied().map(Part::Fault));
    parts.extend(plan.steps.iter().cloned().map(Part::Step));
    let mut chunk = parts.len().div_ceil(2).max(1);
    let took = crate::tally::stopwatch();
    let enough = |runs| runs >= MOST_RUNS || took() >= MOST_TIME;
    while !enough(shrinker.runs) {
        let mut at = 0;
        let mut less = false;
        while at < parts.len() && !enough(shrinker.runs) {
            let end = (at + chunk).min(parts.len());
            let rest = [&parts[..at], &parts[end..]].concat();
            if shrinker.breaks(&rest)? {
                parts = rest;
                less = true;
            } else {
                at = end;
            }
        }
        if chunk == 1 && !less {
            break;
        }
        chunk = if less { chunk.min(parts.len().max(1)) } else { chunk.div_ceil(2) };
    }
    let outcome = shrinker.tell(&parts, true)?;
    Ok(Short { parts, outcome, broken, runs: shrinker.runs })
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.outcome.told {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "what is left of the story after {} runs:", self.runs)?;
        for part in &self.parts {
            match part {
                Part::Step(step) => writeln!(f, "  {:?}: {:?}", step.at, step.what)?,
                Part::Trouble(trouble) => writeln!(f, "  {:?}: {:?}", trouble.at, trouble.blow)?,
                Part::Fault(met) => writeln!(f, "  {met}")?,
                Part::Second(stage) => {
                    writeln!(f, "  a second process of {}", ["decide", "execute", "project"][*stage])?;
                }
                Part::Follow(follow) => {
                    writeln!(
                        f,
                        "  tenant {} follows wallet {} since {:?}",
                        follow.tenant, follow.wallet, follow.since
                    )?;
                }
            }
        }
        let broken = self.outcome.broken.as_ref().unwrap_or(&self.broken);
        write!(f, "it breaks: {}: {}", broken.rule, broken.what)
    }
}
