//! 2: every fill of a followed wallet ends in exactly one decision for each subscribed tenant, and so does every sale
//! without a trade, and every position that a tenant wants sold; and the chain that holds them is one, whole, and comes
//! out the same when it is decided again.

use std::collections::{BTreeMap, BTreeSet};

use decide::{
    chain::{Block, Chain},
    cut::INPUTS,
};
use eventlog::{Log, Stored, TopicPartition};
use schemas::{
    Address, BillingAccountId, ChangeKind, FillId, FillKind, IdempotencyKey, Side, TargetId, TargetRowId,
    TargetStatus, Timestamp,
    events::{CloseRequested, Decision, Fill, FillsEvent, PositionChanged, TargetState, TargetsEvent},
    topics::Topic,
};

use super::Broken;
use crate::{plan::Plan, ports::at_once, stage::Ground};

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Decisions by reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Decisions that no trade asked for, by what did.
    pub causes: BTreeMap<&'static str, u64>,
    /// Cuts of no chain.
    pub foreign_cuts: u64,
    /// Rules that do not hold.
    pub broken: Vec<Broken>,
}

/// What stands in the ids of causes (`behaviour.md` 1).
const CAUSES: [&str; 6] = ["void:", "removed:", "manual:", "exit:", ":MERGE:", ":CONVERSION:"];

/// A copy at a revision.
type Named = (BillingAccountId, IdempotencyKey, i32);

/// Judges the decisions of a run.
pub fn judge(plan: &Plan, ground: &Ground, intents_repeated: bool) -> Found {
    let mut found = Found::default();
    let mut breaks = |rule, what: String| found.broken.push(Broken { rule, what });
    match at_once(replay::audit(&ground.log, &ground.codec, &replay::Options::default())) {
        Ok(mut report) => {
            // Intents that somebody put there once more are no difference.
            report.intents.same |= intents_repeated && report.intents.found > report.intents.expected;
            found.foreign_cuts = report.foreign_cuts;
            if !report.is_identical() {
                breaks("decisions do not come out the same again", report.to_string());
            }
        }
        Err(error) => breaks("decisions do not come out the same again", error.to_string()),
    }
    let contents = ground.log.contents();
    let none = Vec::new();
    for partition in 0..plan.partitions[0] {
        let of = |topic| contents.get(&TopicPartition::new(topic, partition)).unwrap_or(&none);
        let (blocks, chain) = chain(ground, of(Topic::Decisions));
        if let Some(open) = chain.open() {
            breaks("a cut lacks some of its decisions", format!("cut {}", open.cut.number));
        }
        let mut due = Due::default();
        for block in &blocks {
            due.fold(ground, block, INPUTS.map(of));
        }
        let mut made: BTreeMap<Named, u32> = BTreeMap::new();
        for decision in blocks.iter().flat_map(|b| b.decisions.iter().map(|r| &r.decision)) {
            *found.reasons.entry(decision.reason.as_str()).or_default() += 1;
            let asked = decision.fill_id.as_str();
            if let Some(cause) = CAUSES.into_iter().find(|cause| asked.contains(cause)) {
                *found.causes.entry(cause).or_default() += 1;
            }
            *made.entry(named(decision)).or_default() += 1;
        }
        for (name, times) in &made {
            if *times > 1 {
                breaks("a fill was decided twice", format!("{name:?}: {times} times"));
            }
            if due.keys.contains(&name.1) && !due.asked.contains_key(name) {
                breaks("a fill was decided that need not be", format!("{name:?}"));
            }
        }
        for (name, must) in &due.asked {
            if *must && !made.contains_key(name) {
                breaks("a fill was not decided", format!("{name:?}"));
            }
        }
    }
    found
}

fn named(decision: &Decision) -> Named {
    (decision.billing_account_id, decision.idempotency_key, decision.revision)
}

/// The accepted chain of a partition of `decisions`.
pub fn chain(ground: &Ground, records: &[Stored]) -> (Vec<Block>, Chain) {
    let mut chain = Chain::genesis();
    let blocks = records.iter().filter_map(|stored| chain.push(&ground.codec, stored)).collect();
    (blocks, chain)
}

/// Every accepted decision of a run.
pub fn accepted(ground: &Ground) -> Vec<Decision> {
    let contents = ground.log.contents();
    let decisions = (0..ground.log.manifest().partitions(Topic::Decisions))
        .filter_map(|p| contents.get(&TopicPartition::new(Topic::Decisions, p)));
    decisions
        .flat_map(|records| chain(ground, records).0)
        .flat_map(|block| block.decisions)
        .map(|recorded| recorded.decision)
        .collect()
}

/// What is to be decided, by a fold of our own: short, and without a line of decide's.
#[derive(Debug, Default)]
struct Due {
    targets: BTreeMap<TargetRowId, TargetState>,
    /// The highest revision and shares of each fill, and the key that it was first seen under.
    known: BTreeMap<(Address, String), (i32, i64, IdempotencyKey)>,
    voided: BTreeSet<(Address, String)>,
    /// Position changes, by wallet, transaction, condition and kind: the first record of each counts.
    changed: BTreeSet<(Address, String)>,
    keys: BTreeSet<IdempotencyKey>,
    /// What may be decided, and whether it must.
    asked: BTreeMap<Named, bool>,
}

impl Due {
    fn fold(&mut self, ground: &Ground, block: &Block, inputs: [&Vec<Stored>; 3]) {
        for (taken, records) in block.cut.taken.iter().zip(inputs) {
            let range = records.iter().filter(|r| (taken.from..taken.until).contains(&r.offset.0));
            for stored in range {
                let value = stored.record.value.as_deref().unwrap_or_default();
                match stored.at.topic {
                    Topic::Targets => match ground.codec.decode(value) {
                        Ok(TargetsEvent::TargetState(state)) => self.target(state),
                        Ok(TargetsEvent::CloseRequested(request)) => self.request(&request),
                        Err(_) => {}
                    },
                    Topic::Fills => match ground.codec.decode(value) {
                        Ok(FillsEvent::Fill(fill)) => self.fill(&fill),
                        Ok(FillsEvent::PositionChanged(changed)) => self.change(&changed),
                        Ok(FillsEvent::FillVoided(v)) => {
                            self.voided.insert((v.wallet, format!("{}:{}:{}", v.tx, v.asset, v.side)));
                        }
                        _ => {}
                    },
                    _ => {}
                }
            }
        }
    }

    fn target(&mut self, state: TargetState) {
        let newer = self.targets.get(&state.target_row_id).is_none_or(|t| t.revision < state.revision);
        if newer {
            self.targets.insert(state.target_row_id, state);
        }
    }

    /// A tenant's wish is decided once, whatever becomes of it.
    fn request(&mut self, request: &CloseRequested) {
        let Some(target) = self.targets.get(&request.target_row_id) else { return };
        let cause = format!("manual:{}:{}", request.request_id, request.asset);
        let Ok(cause) = cause.parse::<FillId>() else { return };
        let key = IdempotencyKey::of(target.target_id, &cause);
        self.keys.insert(key);
        self.asked.insert((target.billing_account_id, key, 0), true);
    }

    /// What goes by a merge or a conversion is sold, token by token; a split brings, and a redemption is no sale.
    fn change(&mut self, changed: &PositionChanged) {
        let kind = changed.kind;
        if !self.changed.insert((changed.wallet, format!("{}:{}:{kind}", changed.tx, changed.condition_id))) {
            return;
        }
        let is_sale = matches!(kind, ChangeKind::Merge | ChangeKind::Conversion);
        for delta in &changed.deltas {
            let cause =
                format!("data-api:{}:{}:{kind}:{}", changed.tx, delta.asset, changed.changed_at.secs());
            let Ok(cause) = cause.parse::<FillId>() else { continue };
            let key = IdempotencyKey::of(TargetId::of_wallet(changed.wallet), &cause);
            self.keys.insert(key);
            if is_sale && delta.shares.micro() < 0 {
                self.ask(changed.wallet, changed.changed_at, (key, 0), true);
            }
        }
    }

    /// Whoever follows a wallet since that time is asked.
    fn ask(&mut self, wallet: Address, at: Timestamp, (key, revision): (IdempotencyKey, i32), must: bool) {
        for target in self.targets.values() {
            let follows =
                target.wallet == wallet && target.status != TargetStatus::Removed && target.created_at <= at;
            if follows {
                self.asked.insert((target.billing_account_id, key, revision), must);
            }
        }
    }

    fn fill(&mut self, fill: &Fill) {
        if matches!(fill.kind, FillKind::History | FillKind::Late) {
            return;
        }
        let name = (fill.wallet, format!("{}:{}:{}", fill.tx, fill.asset, fill.side));
        let before = self.known.get(&name).copied();
        // Whoever sees it first names it.
        let named = IdempotencyKey::of(TargetId::of_wallet(fill.wallet), &fill.fill_id);
        let key = before.map_or(named, |(.., key)| key);
        self.keys.insert(key);
        let more = before.is_none_or(|(r, shares, _)| fill.revision > r && fill.shares.micro() > shares);
        if more {
            self.known.insert(name.clone(), (fill.revision, fill.shares.micro(), key));
        }
        // A BUY is decided once, a SELL again for what came on top. Of what was said never to have happened, and grows
        // all the same, nobody says what it is.
        if before.is_some() && !(more && fill.side == Side::Sell) {
            return;
        }
        let must = !self.voided.contains(&name);
        let revision = if fill.side == Side::Sell { fill.revision } else { 0 };
        self.ask(fill.wallet, fill.filled_at, (key, revision), must);
    }
}
