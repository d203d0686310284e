//! Rows of the activity list into position changes without a trade (`behaviour.md` 1).
//!
//! A change is known by (wallet, tx, condition, kind), and published once: readers take its first record and no other.
//! As with fills, the equal rows of one walk are distinct and another walk may show them again; a change that grows
//! after it was published cannot be told any more, and is counted.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    Address, AssetId, ChangeKind, ConditionId, Shares, Timestamp, TxHash, Usdc,
    events::{MarketToken, PositionChanged, TokenDelta},
};

use super::merge::MEMORY;

/// As many shares as anybody may hold, taken away: a redemption leaves nothing, however much there was. Readers
/// never take more than there is.
pub const ALL_OF_IT: Shares = Shares::from_micro(-i64::MAX);

/// One row of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// What happened.
    pub kind: ChangeKind,
    /// The transaction.
    pub tx: TxHash,
    /// The condition.
    pub condition_id: ConditionId,
    /// The token, where the row names one.
    pub asset: Option<AssetId>,
    /// How many shares: of each outcome for splits and merges.
    pub shares: Shares,
    /// The block's second.
    pub changed_at: Timestamp,
}

/// What makes two rows, or two records, the same change of a wallet.
pub type ChangeKey = (TxHash, ConditionId, ChangeKind);

impl ChangeRow {
    /// The change this row is a part of.
    pub const fn key(&self) -> ChangeKey {
        (self.tx, self.condition_id, self.kind)
    }
}

/// The change a record is about.
pub const fn key_of(changed: &PositionChanged) -> ChangeKey {
    (changed.tx, changed.condition_id, changed.kind)
}

/// A change that is not published yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record, as far as it is known: deltas, facts and books come last.
    pub changed: PositionChanged,
    /// How many shares its rows name together.
    pub shares: Shares,
    /// Of these, the ones of tokens that rows name.
    pub named: BTreeMap<AssetId, Shares>,
}

impl Change {
    /// What it does to the tokens of its condition, for the kinds of which the row tells everything. A split gives
    /// every token and its part of the cost, the odd 10^-6 with the first; a merge takes of every token; a redemption
    /// leaves nothing.
    pub fn deltas(&self, tokens: &[MarketToken]) -> Vec<TokenDelta> {
        let delta = |token: &MarketToken, shares: Shares, cost: Usdc| TokenDelta {
            asset: token.asset.clone(),
            shares,
            cost,
            becomes: None,
        };
        let gone = |shares: Shares| Shares::from_micro(shares.micro().saturating_neg());
        match self.changed.kind {
            ChangeKind::Split => {
                // A share of every outcome costs a dollar together.
                let whole = self.shares.micro();
                let count = i64::try_from(tokens.len()).unwrap_or(i64::MAX).max(1);
                let (each, odd) = (whole / count, whole % count);
                let cost = |place: usize| Usdc::from_micro(if place == 0 { each + odd } else { each });
                tokens.iter().enumerate().map(|(n, token)| delta(token, self.shares, cost(n))).collect()
            }
            ChangeKind::Merge => tokens.iter().map(|t| delta(t, gone(self.shares), Usdc::ZERO)).collect(),
            ChangeKind::Redeem => tokens.iter().map(|t| delta(t, ALL_OF_IT, Usdc::ZERO)).collect(),
            ChangeKind::Conversion | ChangeKind::Migration => Vec::new(),
        }
    }

    /// A migration: what its rows name, or else everything, goes on under the id at the same place.
    pub fn migrated(&self, from: &[AssetId], to: &[AssetId]) -> Vec<TokenDelta> {
        let named = |asset: &AssetId| self.named.get(asset).copied();
        from.iter()
            .zip(to)
            .filter(|(old, new)| old != new && (self.named.is_empty() || named(old).is_some()))
            .map(|(old, new)| TokenDelta {
                asset: old.clone(),
                shares: named(old)
                    .map_or(Shares::ZERO, |shares| Shares::from_micro(shares.micro().saturating_neg())),
                cost: Usdc::ZERO,
                becomes: Some(new.clone()),
            })
            .collect()
    }

    /// Whether tokens that go are sold by it, so that followers sell too.
    pub const fn is_sale(&self) -> bool {
        matches!(self.changed.kind, ChangeKind::Merge | ChangeKind::Conversion)
    }
}

#[derive(Debug, Clone)]
struct Known {
    /// What its rows came to; unknown of changes that another process published.
    shares: Option<Shares>,
    changed_at: Timestamp,
}

/// What is known of one wallet's changes.
#[derive(Debug, Clone)]
pub struct Changes {
    wallet: Address,
    known: BTreeMap<ChangeKey, Known>,
    by_time: BTreeSet<(Timestamp, ChangeKey)>,
    newest: Option<Timestamp>,
}

/// What a walk brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// To be published: oldest first, those of one second in the page's reverse order.
    pub changes: Vec<Change>,
    /// Changes that grew after they were published.
    pub grown: usize,
    /// Changes too old for anybody to know whether they were published.
    pub too_old: usize,
}

impl Changes {
    /// Nothing is known.
    pub const fn new(wallet: Address) -> Self {
        Self { wallet, known: BTreeMap::new(), by_time: BTreeSet::new(), newest: None }
    }

    /// The newest change seen so far.
    pub const fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// How many changes are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes over a change that stands in the log already: on restart.
    pub fn restore(&mut self, changed: &PositionChanged) {
        let known = Known { shares: None, changed_at: changed.changed_at };
        self.remember(key_of(changed), known);
    }

    fn remember(&mut self, key: ChangeKey, known: Known) {
        self.newest = self.newest.max(Some(known.changed_at));
        self.by_time.insert((known.changed_at, key));
        self.known.insert(key, known);
    }

    /// Forgets what has become too old to be taken.
    pub fn forget(&mut self, now: Timestamp) {
        let horizon = now.minus(MEMORY);
        while let Some((at, _)) = self.by_time.first()
            && *at < horizon
            && let Some((_, key)) = self.by_time.pop_first()
        {
            self.known.remove(&key);
        }
    }

    /// Whether these rows are all of changes that are known: a page that adds nothing ends a walk.
    pub fn adds_nothing(&self, rows: &[ChangeRow]) -> bool {
        rows.iter().all(|row| self.known.contains_key(&row.key()))
    }

    /// Takes a whole walk, rows newest first as the venue serves them.
    pub fn absorb(&mut self, rows: &[ChangeRow], observed_at: Timestamp) -> Found {
        let mut sums: BTreeMap<ChangeKey, (Shares, BTreeMap<AssetId, Shares>)> = BTreeMap::new();
        for row in rows {
            let (shares, named) = sums.entry(row.key()).or_default();
            *shares = shares.saturating_add(row.shares);
            if let Some(asset) = &row.asset {
                let of_token = named.entry(asset.clone()).or_default();
                *of_token = of_token.saturating_add(row.shares);
            }
        }
        let mut found = Found::default();
        let mut ordered: Vec<&ChangeRow> = rows.iter().rev().collect();
        ordered.sort_by_key(|row| row.changed_at);
        for row in ordered {
            // Taken with its first row.
            let Some((shares, named)) = sums.remove(&row.key()) else { continue };
            if let Some(known) = self.known.get_mut(&row.key()) {
                found.grown += usize::from(known.shares.is_some_and(|before| shares > before));
                known.shares = known.shares.map(|before| before.max(shares));
                continue;
            }
            if row.changed_at < observed_at.minus(MEMORY) {
                found.too_old += 1;
                continue;
            }
            self.remember(row.key(), Known { shares: Some(shares), changed_at: row.changed_at });
            let changed = PositionChanged {
                wallet: self.wallet,
                kind: row.kind,
                tx: row.tx,
                condition_id: row.condition_id,
                deltas: Vec::new(),
                changed_at: row.changed_at,
                observed_at,
                facts: None,
                books: Vec::new(),
            };
            found.changes.push(Change { changed, shares, named });
        }
        found
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const WALLET: Address = Address::from_bytes([1; 20]);

    pub(crate) fn change_row(tx: u8, kind: ChangeKind, condition: u8, shares: i64, at: i64) -> ChangeRow {
        ChangeRow {
            kind,
            tx: TxHash::from_bytes([tx; 32]),
            condition_id: ConditionId::from_bytes([condition; 32]),
            asset: None,
            shares: Shares::from_units(shares),
            changed_at: Timestamp::from_secs(at),
        }
    }

    fn token(asset: &str) -> MarketToken {
        MarketToken { asset: asset.parse().unwrap(), outcome: String::new() }
    }

    fn now() -> Timestamp {
        Timestamp::from_secs(1_000_000)
    }

    fn one(kind: ChangeKind, shares: Shares) -> Change {
        let row = ChangeRow { shares, ..change_row(1, kind, 2, 0, 999_990) };
        Changes::new(WALLET).absorb(&[row], now()).changes.remove(0)
    }

    fn told(deltas: &[TokenDelta]) -> Vec<(&str, i64, i64)> {
        deltas.iter().map(|d| (d.asset.as_str(), d.shares.micro(), d.cost.micro())).collect()
    }

    #[test]
    fn a_split_gives_both_tokens_and_half_the_cost_each() {
        let both = [token("11"), token("22")];
        let split = one(ChangeKind::Split, Shares::from_units(40));
        let expected = [("11", 40_000_000, 20_000_000), ("22", 40_000_000, 20_000_000)];
        assert_eq!(told(&split.deltas(&both)), expected);
        // 3 * 10^-6 dollars: none is lost.
        let odd = one(ChangeKind::Split, Shares::from_micro(3));
        assert_eq!(told(&odd.deltas(&both)), [("11", 3, 2), ("22", 3, 1)]);
        assert!(!split.is_sale());
    }

    #[test]
    fn a_merge_takes_of_both_tokens_and_is_a_sale() {
        let merge = one(ChangeKind::Merge, Shares::from_units(20));
        let deltas = merge.deltas(&[token("11"), token("22")]);
        assert_eq!(told(&deltas), [("11", -20_000_000, 0), ("22", -20_000_000, 0)]);
        assert!(merge.is_sale());
    }

    /// The row names what was paid: nothing where only the losing outcome was held, and never how much of that.
    #[test]
    fn a_redemption_leaves_nothing_whatever_it_paid_and_is_no_sale() {
        for paid in [0, 25] {
            let redeem = one(ChangeKind::Redeem, Shares::from_units(paid));
            let deltas = redeem.deltas(&[token("11"), token("22")]);
            assert_eq!(deltas.iter().map(|d| d.shares).collect::<Vec<_>>(), [ALL_OF_IT, ALL_OF_IT]);
            assert!(!redeem.is_sale());
        }
    }

    #[test]
    fn a_migration_carries_what_its_rows_name_or_else_everything_to_the_new_ids() {
        let ids = |all: [&str; 2]| all.map(|id| id.parse::<AssetId>().unwrap());
        let (from, to) = (ids(["11", "22"]), ids(["101", "202"]));
        let whole = one(ChangeKind::Migration, Shares::from_units(7));
        let becomes = |deltas: &[TokenDelta]| -> Vec<(String, String)> {
            deltas.iter().map(|d| (d.asset.to_string(), d.becomes.as_ref().unwrap().to_string())).collect()
        };
        let expected = [("11".to_owned(), "101".to_owned()), ("22".to_owned(), "202".to_owned())];
        let deltas = whole.migrated(&from, &to);
        assert_eq!(becomes(&deltas), expected);
        assert!(deltas.iter().all(|d| d.shares == Shares::ZERO), "all there is");
        let row =
            ChangeRow { asset: Some(from[1].clone()), ..change_row(1, ChangeKind::Migration, 2, 7, 999_990) };
        let part = Changes::new(WALLET).absorb(&[row], now()).changes.remove(0);
        let deltas = part.migrated(&from, &to);
        assert_eq!(becomes(&deltas), expected[1..]);
        assert_eq!(deltas[0].shares, Shares::from_units(-7));
    }

    #[test]
    fn rows_of_one_change_are_one_record_and_another_walk_over_them_says_nothing() {
        let rows = [
            change_row(2, ChangeKind::Merge, 2, 3, 999_991),
            change_row(1, ChangeKind::Merge, 2, 5, 999_990),
            change_row(1, ChangeKind::Merge, 2, 5, 999_990),
        ];
        let mut changes = Changes::new(WALLET);
        let found = changes.absorb(&rows, now()).changes;
        assert_eq!(found.iter().map(|c| c.shares).collect::<Vec<_>>(), [10, 3].map(Shares::from_units));
        assert!(changes.adds_nothing(&rows));
        assert_eq!(changes.absorb(&rows, now()), Found::default());
        // A walk that was cut short shows less.
        assert_eq!(changes.absorb(&rows[..2], now()), Found::default());
        // The same transaction on another condition, or of another kind, is another change.
        let others = [
            change_row(1, ChangeKind::Merge, 3, 5, 999_990),
            change_row(1, ChangeKind::Split, 2, 5, 999_990),
        ];
        assert_eq!(changes.absorb(&others, now()).changes.len(), 2);
    }

    #[test]
    fn a_change_that_grew_after_it_was_published_is_counted_and_not_told_twice() {
        let mut changes = Changes::new(WALLET);
        let row = change_row(1, ChangeKind::Merge, 2, 5, 999_990);
        assert_eq!(changes.absorb(std::slice::from_ref(&row), now()).changes.len(), 1);
        let grown = changes.absorb(&[row.clone(), row.clone()], now());
        assert_eq!((grown.changes.len(), grown.grown), (0, 1));
        assert_eq!(changes.absorb(&[row.clone(), row], now()), Found::default());
    }

    #[test]
    fn a_restart_takes_what_was_published_from_the_log() {
        let rows = [
            change_row(2, ChangeKind::Redeem, 3, 0, 999_991),
            change_row(1, ChangeKind::Split, 2, 5, 999_990),
        ];
        let published = Changes::new(WALLET).absorb(&rows, now()).changes;
        let mut after = Changes::new(WALLET);
        after.restore(&published[0].changed);
        let found = after.absorb(&rows, now()).changes;
        assert_eq!(found.iter().map(|c| c.changed.kind).collect::<Vec<_>>(), [ChangeKind::Redeem]);
        assert_eq!(after.newest(), Some(Timestamp::from_secs(999_991)));
    }

    #[test]
    fn what_is_older_than_the_memory_is_not_taken() {
        let at = now().secs() - i64::try_from(MEMORY.as_secs()).unwrap();
        let mut changes = Changes::new(WALLET);
        let rows =
            [change_row(1, ChangeKind::Merge, 2, 5, at), change_row(2, ChangeKind::Merge, 2, 5, at - 1)];
        let found = changes.absorb(&rows, now());
        assert_eq!((found.changes.len(), found.too_old), (1, 1));
        changes.forget(Timestamp::from_secs(now().secs() + 1));
        assert!(changes.is_empty());
    }

    proptest! {
        /// However a wallet's activity is cut into walks, repeated, and interrupted by restarts that know what was
        /// published: every change is published exactly once, with the total of its rows, oldest first in each walk.
        #[test]
        fn walks_in_any_pieces_tell_every_change_once(
            picks in prop::collection::vec((0u8..5, 0usize..5, 1u8..3, 1i64..9), 1..40),
            walks in prop::collection::vec((0usize..40, any::<bool>()), 0..8),
        ) {
            // Rows of one change share a second and stand together, as rows of a transaction do; newest first.
            let mut rows: Vec<ChangeRow> = picks
                .iter()
                .map(|(tx, kind, condition, shares)| {
                    change_row(*tx, ChangeKind::ALL[*kind], *condition, *shares, 999_000 + i64::from(*tx))
                })
                .collect();
            rows.sort_by_key(|r| std::cmp::Reverse((r.changed_at, r.key())));
            let mut expected: BTreeMap<ChangeKey, Shares> = BTreeMap::new();
            for row in &rows {
                let sum = expected.entry(row.key()).or_default();
                *sum = sum.saturating_add(row.shares);
            }
            let mut changes = Changes::new(WALLET);
            let mut told: BTreeMap<ChangeKey, Shares> = BTreeMap::new();
            let mut log = Vec::new();
            for (cut, restart) in walks.into_iter().chain([(rows.len(), false)]) {
                if restart {
                    changes = Changes::new(WALLET);
                    for changed in &log {
                        changes.restore(changed);
                    }
                }
                // A walk ends between two transactions.
                let mut end = cut.min(rows.len());
                while end > 0 && end < rows.len() && rows[end].tx == rows[end - 1].tx {
                    end += 1;
                }
                let found = changes.absorb(&rows[..end], now());
                prop_assert!(found.changes.windows(2).all(|w| w[0].changed.changed_at <= w[1].changed.changed_at));
                for change in found.changes {
                    prop_assert_eq!(told.insert(key_of(&change.changed), change.shares), None);
                    log.push(change.changed);
                }
            }
            prop_assert_eq!(told, expected);
        }
    }
}
