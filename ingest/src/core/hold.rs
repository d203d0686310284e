//! Fills wait for their market's facts, not decide: a fill without facts, and what follows for that wallet and
//! condition, is held at most `market_wait`, then goes out without (`behaviour.md` 2).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use schemas::{
    ConditionId, Timestamp,
    events::{Fill, MarketFacts},
};

/// The fills of one wallet that are not published yet, in order.
#[derive(Debug, Default)]
pub struct Hold {
    waiting: VecDeque<Fill>,
}

impl Hold {
    /// Nothing waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds fills behind those that wait.
    pub fn push(&mut self, fills: impl IntoIterator<Item = Fill>) {
        self.waiting.extend(fills);
    }

    /// The conditions whose facts are wanted.
    pub fn wanted(&self) -> BTreeSet<ConditionId> {
        self.waiting.iter().map(|f| f.condition_id).collect()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes out what can go now: fills whose facts are there, and those that waited long enough, in order; a
    /// held fill holds the later ones of its condition, and no others. `unknowable` conditions (combos, unknown
    /// versions) go at once, without facts.
    pub fn release(
        &mut self,
        facts: &BTreeMap<ConditionId, MarketFacts>,
        unknowable: &BTreeSet<ConditionId>,
        now: Timestamp,
        market_wait: Duration,
    ) -> Vec<Fill> {
        let mut held: BTreeSet<ConditionId> = BTreeSet::new();
        let mut out = Vec::new();
        let mut rest = VecDeque::new();
        for mut fill in self.waiting.drain(..) {
            let condition = fill.condition_id;
            // Facts of a market that does not list the token are no facts for this fill.
            let known = facts.get(&condition).filter(|f| f.tokens.iter().any(|t| t.asset == fill.asset));
            let waited = now.since(fill.observed_at) >= market_wait || unknowable.contains(&condition);
            if held.contains(&condition) || (known.is_none() && !waited) {
                held.insert(condition);
                rest.push_back(fill);
                continue;
            }
            fill.facts = known.cloned();
            out.push(fill);
        }
        self.waiting = rest;
        out
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Address, AssetId, MarketVersion, Shares, Tick, events::MarketToken};

    use super::*;
    use crate::core::merge::{Merger, tests::row};

    const WAIT: Duration = Duration::from_secs(30);

    fn fill(tx: u8, condition: u8, observed: i64) -> Fill {
        let mut r = row(tx, 5, 400_000, observed);
        r.condition_id = ConditionId::from_bytes([condition; 32]);
        Merger::new(Address::from_bytes([1; 20])).absorb(&[r], Timestamp::from_secs(observed)).remove(0)
    }

    fn facts(condition: u8) -> (ConditionId, MarketFacts) {
        let asset: AssetId = "11".parse().unwrap();
        let condition_id = ConditionId::from_bytes([condition; 32]);
        let facts = MarketFacts {
            condition_id,
            tokens: vec![MarketToken { asset, outcome: "Yes".into() }],
            version: MarketVersion::V1,
            neg_risk: false,
            tick: Tick::CENT,
            min_shares: Shares::from_units(5),
            accepting_orders: true,
            end_at: None,
            fee_rate: 0,
            fee_exponent: 1,
            category: None,
            slug: None,
            title: None,
        };
        (condition_id, facts)
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_fill_waits_for_its_facts_and_holds_only_its_own_condition() {
        let mut hold = Hold::new();
        hold.push([fill(1, 1, 1_000), fill(2, 2, 1_000), fill(3, 1, 1_000)]);
        let mut known: BTreeMap<_, _> = [facts(2)].into();
        let out = hold.release(&known, &BTreeSet::new(), at(1_001), WAIT);
        assert_eq!(out.len(), 1);
        assert!(out[0].facts.is_some());
        known.extend([facts(1)]);
        let out = hold.release(&known, &BTreeSet::new(), at(1_002), WAIT);
        assert_eq!(out.iter().map(|f| f.tx.as_bytes()[0]).collect::<Vec<_>>(), [1, 3]);
        assert!(hold.is_empty());
    }

    #[test]
    fn a_fill_that_waited_long_enough_goes_out_without_facts() {
        let mut hold = Hold::new();
        hold.push([fill(1, 1, 1_000), fill(2, 1, 1_020)]);
        let out = hold.release(&BTreeMap::new(), &BTreeSet::new(), at(1_030), WAIT);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].facts, None);
        // The later one has its own wait; it is not published ahead of its time.
        assert_eq!(hold.release(&BTreeMap::new(), &BTreeSet::new(), at(1_049), WAIT).len(), 0);
        assert_eq!(hold.release(&BTreeMap::new(), &BTreeSet::new(), at(1_050), WAIT).len(), 1);
    }

    /// The facts may list one token of a condition and not yet another.
    #[test]
    fn a_fill_whose_facts_are_there_does_not_overtake_one_of_its_condition_that_waits() {
        let mut hold = Hold::new();
        let mut unlisted = fill(1, 1, 1_000);
        unlisted.asset = "99".parse().unwrap();
        hold.push([unlisted, fill(2, 1, 1_000)]);
        let known: BTreeMap<_, _> = [facts(1)].into();
        assert_eq!(hold.release(&known, &BTreeSet::new(), at(1_001), WAIT), []);
        let out = hold.release(&known, &BTreeSet::new(), at(1_030), WAIT);
        assert_eq!(out.iter().map(|f| f.tx.as_bytes()[0]).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(out.iter().map(|f| f.facts.is_some()).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_condition_nobody_can_know_holds_nothing() {
        let mut hold = Hold::new();
        hold.push([fill(1, 1, 1_000)]);
        let combos = [ConditionId::from_bytes([1; 32])].into();
        assert_eq!(hold.release(&BTreeMap::new(), &combos, at(1_000), WAIT).len(), 1);
    }
}
