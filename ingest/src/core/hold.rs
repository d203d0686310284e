//! Fills wait for their market's facts, not decide: a fill without facts, and what follows for that wallet and
//! condition, is held at most `market_wait`, then goes out without (`behaviour.md` 2). A position change without
//! facts says nothing, since its row names no token: it waits longer, and from then on holds up nobody.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use schemas::{
    ChangeKind, ConditionId, Timestamp,
    events::{Fill, MarketFacts},
};

use super::changes::Change;

/// How long a position change waits for its market's facts. What moves a position is delayed, not skipped.
pub const CHANGE_WAIT: Duration = Duration::from_secs(3_600);

/// What is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// A fill.
    Fill(Fill),
    /// A position change.
    Change(Change),
}

impl Pending {
    /// The condition whose facts it wants.
    pub const fn condition(&self) -> ConditionId {
        match self {
            Self::Fill(fill) => fill.condition_id,
            Self::Change(change) => change.changed.condition_id,
        }
    }

    /// Where it stands among what happened: by second; within one, what gives shares without a trade comes before
    /// the trades and what takes them after, since shares must be there before they can be sold or merged.
    const fn place(&self) -> (Timestamp, u8) {
        match self {
            Self::Fill(fill) => (fill.filled_at, 1),
            Self::Change(change) => {
                let gives = matches!(change.changed.kind, ChangeKind::Split | ChangeKind::Migration);
                (change.changed.changed_at, if gives { 0 } else { 2 })
            }
        }
    }
}

/// What of one wallet is not published yet, in order.
#[derive(Debug, Default)]
pub struct Hold {
    waiting: VecDeque<Pending>,
}

impl Hold {
    /// Nothing waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what one look found behind what waits: in the order of time, fills of one second as they come.
    pub fn push(&mut self, fills: Vec<Fill>, changes: Vec<Change>) {
        let fills = fills.into_iter().map(Pending::Fill);
        let mut found: Vec<Pending> = fills.chain(changes.into_iter().map(Pending::Change)).collect();
        found.sort_by_key(Pending::place);
        self.waiting.extend(found);
    }

    /// Puts back what could not be published after all, ahead of everything else.
    pub fn put_back(&mut self, released: impl DoubleEndedIterator<Item = Pending>) {
        for pending in released.rev() {
            self.waiting.push_front(pending);
        }
    }

    /// The conditions whose facts are wanted.
    pub fn wanted(&self) -> BTreeSet<ConditionId> {
        self.waiting.iter().map(Pending::condition).collect()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes out what can go now: what has its facts, and what waited long enough, in order; what is held holds the
    /// later ones of its condition, and no others. `unknowable` conditions (combos, unknown versions) go at once,
    /// without facts.
    pub fn release(
        &mut self,
        facts: &BTreeMap<ConditionId, MarketFacts>,
        unknowable: &BTreeSet<ConditionId>,
        now: Timestamp,
        market_wait: Duration,
    ) -> Vec<Pending> {
        let mut held: BTreeSet<ConditionId> = BTreeSet::new();
        let mut out = Vec::new();
        let mut rest = VecDeque::new();
        for mut pending in self.waiting.drain(..) {
            let condition = pending.condition();
            let facts = facts.get(&condition);
            let (known, observed_at, patience) = match &pending {
                // Facts of a market that does not list the token are no facts for this fill.
                Pending::Fill(fill) => {
                    let lists = |f: &&MarketFacts| f.tokens.iter().any(|t| t.asset == fill.asset);
                    (facts.filter(lists), fill.observed_at, market_wait)
                }
                Pending::Change(change) => (facts, change.changed.observed_at, CHANGE_WAIT),
            };
            let age = now.since(observed_at);
            let waited = age >= patience || unknowable.contains(&condition);
            if held.contains(&condition) || (known.is_none() && !waited) {
                if age < market_wait {
                    held.insert(condition);
                }
                rest.push_back(pending);
                continue;
            }
            match &mut pending {
                Pending::Fill(fill) => fill.facts = known.cloned(),
                Pending::Change(change) => change.changed.facts = known.cloned(),
            }
            out.push(pending);
        }
        self.waiting = rest;
        out
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Address, AssetId, MarketVersion, Shares, Side, Tick, events::MarketToken};

    use super::*;
    use crate::core::{
        changes::{Changes, tests::change_row},
        merge::{Merger, tests::row},
    };

    const WAIT: Duration = Duration::from_secs(30);

    fn fill(tx: u8, condition: u8, observed: i64) -> Fill {
        let mut r = row(tx, 5, 400_000, observed);
        r.condition_id = ConditionId::from_bytes([condition; 32]);
        Merger::new(Address::from_bytes([1; 20])).absorb(&[r], Timestamp::from_secs(observed)).remove(0)
    }

    fn change(tx: u8, kind: ChangeKind, condition: u8, observed: i64) -> Change {
        let row = change_row(tx, kind, condition, 5, observed);
        Changes::new(Address::from_bytes([1; 20]))
            .absorb(&[row], Timestamp::from_secs(observed))
            .changes
            .remove(0)
    }

    /// The first byte of each transaction.
    fn txs(of: &[Pending]) -> Vec<u8> {
        let tx = |pending: &Pending| match pending {
            Pending::Fill(fill) => fill.tx,
            Pending::Change(change) => change.changed.tx,
        };
        of.iter().map(|p| tx(p).as_bytes()[0]).collect()
    }

    fn has_facts(of: &[Pending]) -> Vec<bool> {
        let facts = |pending: &Pending| match pending {
            Pending::Fill(fill) => fill.facts.is_some(),
            Pending::Change(change) => change.changed.facts.is_some(),
        };
        of.iter().map(facts).collect()
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
        hold.push(vec![fill(1, 1, 1_000), fill(2, 2, 1_000), fill(3, 1, 1_000)], vec![]);
        let mut known: BTreeMap<_, _> = [facts(2)].into();
        let out = hold.release(&known, &BTreeSet::new(), at(1_001), WAIT);
        assert_eq!(has_facts(&out), [true]);
        known.extend([facts(1)]);
        let out = hold.release(&known, &BTreeSet::new(), at(1_002), WAIT);
        assert_eq!(txs(&out), [1, 3]);
        assert!(hold.is_empty());
    }

    #[test]
    fn a_fill_that_waited_long_enough_goes_out_without_facts() {
        let mut hold = Hold::new();
        hold.push(vec![fill(1, 1, 1_000), fill(2, 1, 1_020)], vec![]);
        let out = hold.release(&BTreeMap::new(), &BTreeSet::new(), at(1_030), WAIT);
        assert_eq!(has_facts(&out), [false]);
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
        hold.push(vec![unlisted, fill(2, 1, 1_000)], vec![]);
        let known: BTreeMap<_, _> = [facts(1)].into();
        assert_eq!(hold.release(&known, &BTreeSet::new(), at(1_001), WAIT), []);
        let out = hold.release(&known, &BTreeSet::new(), at(1_030), WAIT);
        assert_eq!(txs(&out), [1, 2]);
        assert_eq!(has_facts(&out), [false, true]);
    }

    #[test]
    fn a_condition_nobody_can_know_holds_nothing() {
        let mut hold = Hold::new();
        hold.push(vec![fill(1, 1, 1_000)], vec![]);
        let combos = [ConditionId::from_bytes([1; 32])].into();
        assert_eq!(hold.release(&BTreeMap::new(), &combos, at(1_000), WAIT).len(), 1);
    }

    #[test]
    fn within_a_second_shares_come_before_the_trades_and_go_after_them() {
        let mut hold = Hold::new();
        let mut sell = fill(3, 1, 1_001);
        sell.side = Side::Sell;
        let fills = vec![fill(1, 1, 1_000), fill(2, 1, 1_001), sell, fill(7, 1, 1_002)];
        let changes = vec![
            change(6, ChangeKind::Merge, 1, 1_001),
            change(4, ChangeKind::Split, 1, 1_001),
            change(5, ChangeKind::Migration, 1, 1_001),
            change(8, ChangeKind::Redeem, 1, 1_000),
        ];
        hold.push(fills, changes);
        let known: BTreeMap<_, _> = [facts(1)].into();
        let out = hold.release(&known, &BTreeSet::new(), at(1_002), WAIT);
        assert_eq!(txs(&out), [1, 8, 4, 5, 2, 3, 6, 7]);
    }

    #[test]
    fn a_change_without_facts_waits_for_an_hour_and_holds_nobody_after_the_fills_patience() {
        let mut hold = Hold::new();
        hold.push(vec![], vec![change(1, ChangeKind::Merge, 1, 1_000)]);
        hold.push(vec![fill(2, 1, 1_005)], vec![]);
        assert_eq!(hold.release(&BTreeMap::new(), &BTreeSet::new(), at(1_029), WAIT), []);
        let out = hold.release(&BTreeMap::new(), &BTreeSet::new(), at(1_035), WAIT);
        assert_eq!(txs(&out), [2], "the fill has waited");
        assert_eq!(hold.release(&BTreeMap::new(), &BTreeSet::new(), at(4_599), WAIT), []);
        let mut later = Hold::new();
        later.push(vec![], vec![change(1, ChangeKind::Merge, 1, 1_000)]);
        let known: BTreeMap<_, _> = [facts(1)].into();
        assert_eq!(has_facts(&later.release(&known, &BTreeSet::new(), at(4_599), WAIT)), [true]);
        assert_eq!(has_facts(&hold.release(&BTreeMap::new(), &BTreeSet::new(), at(4_600), WAIT)), [false]);
    }

    #[test]
    fn what_could_not_be_published_goes_back_to_its_place() {
        let mut hold = Hold::new();
        hold.push(vec![fill(1, 1, 1_000), fill(2, 1, 1_000), fill(3, 2, 1_000)], vec![]);
        let known: BTreeMap<_, _> = [facts(1)].into();
        let out = hold.release(&known, &BTreeSet::new(), at(1_001), WAIT);
        assert_eq!(txs(&out), [1, 2]);
        hold.put_back(out.into_iter());
        let known: BTreeMap<_, _> = [facts(1), facts(2)].into();
        assert_eq!(txs(&hold.release(&known, &BTreeSet::new(), at(1_001), WAIT)), [1, 2, 3]);
    }
}
