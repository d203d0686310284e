//! A wallet's positions, read while it trades.
//!
//! Positions and trades are two reads: one between two others proves what it contains. A token whose trades are
//! the same before and after the positions were read is settled; one that traded meanwhile is read again. What the
//! settled read contains is named fill by fill (`near`), so that no order of records in the log can count a fill
//! twice or drop one (`behaviour.md` 1).
//!
//! Position changes without a trade have no such names: readers take those as contained that are not later than the
//! snapshot's own time. So that time is the second of the newest change that was shown before and after the read
//! alike, or the moment before which the venue shows everything; a change that shows itself meanwhile begins the
//! reading anew. A change of the last seconds that the venue does not show yet is later than that, and will count.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    Address, AssetId, Shares, Side, Timestamp, TxHash,
    events::{HeldPosition, NearFill, PositionSnapshot},
};

use super::{
    changes::{ChangeKey, ChangeRow},
    merge::Row,
};

/// The most positions, or named fills, in one part: well below the log's limit for a record.
const PART: usize = 1_500;

/// The trades of the window, per fill.
type Trades = BTreeMap<(AssetId, TxHash, Side), Shares>;

/// The changes of the window.
type Shown = BTreeMap<ChangeKey, Timestamp>;

fn shown(rows: &[ChangeRow]) -> Shown {
    rows.iter().map(|row| (row.key(), row.changed_at)).collect()
}

/// Sums a walk's rows per fill.
fn trades(rows: &[Row]) -> Trades {
    let mut trades = Trades::new();
    for row in rows {
        let sum = trades.entry((row.asset.clone(), row.tx, row.side)).or_default();
        *sum = sum.saturating_add(row.shares);
    }
    trades
}

/// A snapshot on its way.
#[derive(Debug)]
pub struct Settling {
    wallet: Address,
    /// Everything up to here is contained; what is later is contained only if it is named.
    covers_until: Timestamp,
    before: Trades,
    changes: Shown,
    /// `None` as a position: the wallet holds nothing of the token.
    settled: BTreeMap<AssetId, Option<HeldPosition>>,
    near: Vec<NearFill>,
}

impl Settling {
    /// Begins with walks over all trades and changes later than `covers_until`.
    pub fn begin(wallet: Address, covers_until: Timestamp, rows: &[Row], changes: &[ChangeRow]) -> Self {
        Self {
            wallet,
            covers_until,
            before: trades(rows),
            changes: shown(changes),
            settled: BTreeMap::new(),
            near: Vec::new(),
        }
    }

    /// Takes the positions, and walks over the same window that were made after they were read. Answers how many
    /// tokens have to be read again: none means that it is complete.
    pub fn round(
        &mut self,
        positions: &[HeldPosition],
        rows_after: &[Row],
        changes_after: &[ChangeRow],
    ) -> usize {
        let changes = shown(changes_after);
        if changes != self.changes {
            // What was settled before it does not contain it, what would be settled now might.
            self.changes = changes;
            self.before = trades(rows_after);
            self.settled.clear();
            self.near.clear();
            return positions.len().max(1);
        }
        let after = trades(rows_after);
        let moved: BTreeSet<AssetId> = self
            .before
            .iter()
            .filter(|(fill, shares)| after.get(*fill) != Some(*shares))
            .chain(after.iter().filter(|(fill, _)| !self.before.contains_key(*fill)))
            .map(|((asset, ..), _)| asset.clone())
            .collect();
        let held: BTreeMap<&AssetId, &HeldPosition> = positions.iter().map(|p| (&p.asset, p)).collect();
        let traded = self.before.keys().chain(after.keys()).map(|(asset, ..)| asset);
        let all: BTreeSet<AssetId> = held.keys().copied().chain(traded).cloned().collect();
        for asset in all {
            if moved.contains(&asset) || self.settled.contains_key(&asset) {
                continue;
            }
            for ((_, tx, side), shares) in self.before.iter().filter(|((a, ..), _)| *a == asset) {
                self.near.push(NearFill { tx: *tx, asset: asset.clone(), side: *side, shares: *shares });
            }
            let position = held.get(&asset).map(|p| (*p).clone());
            self.settled.insert(asset, position);
        }
        let open = moved.iter().filter(|asset| !self.settled.contains_key(*asset)).count();
        self.before = after;
        open
    }

    /// The snapshot, in as many parts as it takes. Every change up to `shown_until` is shown by the venue.
    pub fn finish(self, shown_until: Timestamp) -> Vec<PositionSnapshot> {
        let least = self.covers_until.max(shown_until);
        let observed_at = self.changes.values().copied().fold(least, Timestamp::max);
        let positions: Vec<HeldPosition> =
            self.settled.into_values().flatten().filter(|p| p.shares.is_positive()).collect();
        let parts = positions.len().div_ceil(PART).max(self.near.len().div_ceil(PART)).max(1);
        let chunk = |part: usize, len: usize| (part * PART).min(len)..((part + 1) * PART).min(len);
        (0..parts)
            .map(|part| PositionSnapshot {
                wallet: self.wallet,
                covers_until: self.covers_until,
                near: self.near[chunk(part, self.near.len())].to_vec(),
                positions: positions[chunk(part, positions.len())].to_vec(),
                part: i32::try_from(part).unwrap_or(i32::MAX),
                parts: i32::try_from(parts).unwrap_or(i32::MAX),
                observed_at,
            })
            .collect()
    }
}

/// The snapshots of one wallet that the log tells, taken as readers take them: one that is not whole is none, and one
/// that was read no later than the one before is passed over.
#[derive(Debug, Clone, Default)]
pub struct Told {
    whole: Option<Whole>,
    /// When the one on its way was read, in how many parts it comes, and which of them are there.
    open: Option<(Timestamp, i32)>,
    parts: BTreeSet<i32>,
}

#[derive(Debug, Clone, Copy)]
struct Whole {
    covers_until: Timestamp,
    observed_at: Timestamp,
}

impl Told {
    /// Takes a part, in the log's order.
    pub fn take(&mut self, part: &PositionSnapshot) {
        if !self.is_news(part) {
            return;
        }
        let of = (part.observed_at, part.parts);
        if self.open != Some(of) {
            (self.open, self.parts) = (Some(of), BTreeSet::new());
        }
        self.parts.insert(part.part);
        if self.parts.len() >= usize::try_from(part.parts).unwrap_or(0) {
            self.whole = Some(Whole { covers_until: part.covers_until, observed_at: part.observed_at });
        }
    }

    /// Whether readers take this one.
    pub fn is_news(&self, part: &PositionSnapshot) -> bool {
        self.whole.is_none_or(|whole| whole.observed_at < part.observed_at)
    }

    /// When the newest whole one was read.
    pub fn observed_at(&self) -> Option<Timestamp> {
        self.whole.map(|whole| whole.observed_at)
    }

    /// What the newest whole one covers.
    pub fn covers_until(&self) -> Option<Timestamp> {
        self.whole.map(|whole| whole.covers_until)
    }
}

#[cfg(test)]
mod tests {
    use schemas::{ChangeKind, ConditionId, Usdc};

    use super::*;
    use crate::core::{changes::tests::change_row, merge::tests::row};

    fn held(asset: &str, shares: i64) -> HeldPosition {
        HeldPosition {
            asset: asset.parse().unwrap(),
            condition_id: ConditionId::from_bytes([2; 32]),
            opposite: None,
            shares: Shares::from_units(shares),
            cost: Usdc::from_units(shares),
        }
    }

    fn on(asset: &str, mut row: Row) -> Row {
        row.asset = asset.parse().unwrap();
        row
    }

    fn begin(rows: &[Row]) -> Settling {
        Settling::begin(Address::from_bytes([1; 20]), Timestamp::from_secs(900), rows, &[])
    }

    #[test]
    fn a_quiet_wallet_settles_at_once_and_names_what_it_contains() {
        let rows = [row(1, 5, 400_000, 950)];
        let mut settling = begin(&rows);
        assert_eq!(settling.round(&[held("11", 5), held("22", 7)], &rows, &[]), 0);
        let parts = settling.finish(Timestamp::from_secs(940));
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].positions.len(), 2);
        assert_eq!(parts[0].near.len(), 1);
        assert_eq!(parts[0].covers_until, Timestamp::from_secs(900));
    }

    #[test]
    fn a_token_that_traded_meanwhile_is_read_again() {
        let before = [on("11", row(1, 5, 400_000, 950))];
        let after = [on("22", row(2, 3, 400_000, 951)), before[0].clone()];
        let mut settling = begin(&before);
        // The read may or may not contain the trade of 22: nobody can tell.
        assert_eq!(settling.round(&[held("11", 5), held("22", 3)], &after, &[]), 1);
        assert_eq!(settling.round(&[held("11", 5), held("22", 3)], &after, &[]), 0);
        let part = &settling.finish(Timestamp::from_secs(940))[0];
        assert_eq!(part.positions.len(), 2);
        assert_eq!(part.near.len(), 2);
    }

    #[test]
    fn a_settled_token_that_trades_later_keeps_what_was_settled() {
        let first = [on("11", row(1, 5, 400_000, 950))];
        let second = [on("22", row(2, 3, 400_000, 951)), first[0].clone()];
        let third = [on("11", row(3, 9, 400_000, 952)), second[0].clone(), second[1].clone()];
        let mut settling = begin(&first);
        assert_eq!(settling.round(&[held("11", 5), held("22", 3)], &second, &[]), 1);
        assert_eq!(settling.round(&[held("11", 14), held("22", 3)], &third, &[]), 0);
        let part = &settling.finish(Timestamp::from_secs(940))[0];
        let eleven = part.positions.iter().find(|p| p.asset.as_str() == "11").unwrap();
        assert_eq!(eleven.shares, Shares::from_units(5));
        assert!(
            part.near.iter().all(|n| n.tx != TxHash::from_bytes([3; 32])),
            "the later trade must move it"
        );
    }

    #[test]
    fn a_token_sold_out_is_settled_as_nothing() {
        let rows = [row(1, 5, 400_000, 950)];
        let mut settling = begin(&rows);
        assert_eq!(settling.round(&[], &rows, &[]), 0);
        let part = &settling.finish(Timestamp::from_secs(940))[0];
        assert_eq!(part.positions, []);
        assert_eq!(part.near.len(), 1);
    }

    #[test]
    fn large_wallets_come_in_parts() {
        let positions: Vec<HeldPosition> = (1..=3_100).map(|n| held(&n.to_string(), 1)).collect();
        let mut settling = begin(&[]);
        assert_eq!(settling.round(&positions, &[], &[]), 0);
        let parts = settling.finish(Timestamp::from_secs(940));
        assert_eq!(parts.iter().map(|p| (p.part, p.parts)).collect::<Vec<_>>(), [(0, 3), (1, 3), (2, 3)]);
        assert_eq!(parts.iter().map(|p| p.positions.len()).sum::<usize>(), 3_100);
    }

    #[test]
    fn a_change_that_shows_itself_while_positions_are_read_begins_the_reading_anew() {
        let rows = [row(1, 5, 400_000, 950)];
        let split = [change_row(9, ChangeKind::Split, 2, 40, 960)];
        let mut settling = begin(&rows);
        // The read may or may not contain the split: nobody can tell.
        assert_eq!(settling.round(&[held("11", 45), held("22", 40)], &rows, &split), 2);
        assert_eq!(settling.round(&[held("11", 45), held("22", 40)], &rows, &split), 0);
        let part = &settling.finish(Timestamp::from_secs(940))[0];
        assert_eq!(
            (part.positions.len(), part.near.len()),
            (2, 1),
            "and nothing of the first reading is left"
        );
        // Whoever folds it knows by this that the split is contained.
        assert_eq!(part.observed_at, Timestamp::from_secs(960));
    }

    #[test]
    fn a_change_the_venue_does_not_show_yet_is_later_than_the_snapshot() {
        let mut settling = begin(&[]);
        assert_eq!(settling.round(&[held("11", 5)], &[], &[]), 0);
        assert_eq!(settling.finish(Timestamp::from_secs(940))[0].observed_at, Timestamp::from_secs(940));
    }

    fn part(part: i32, parts: i32, covers_until: i64, observed_at: i64) -> PositionSnapshot {
        PositionSnapshot {
            wallet: Address::from_bytes([1; 20]),
            covers_until: Timestamp::from_secs(covers_until),
            near: Vec::new(),
            positions: Vec::new(),
            part,
            parts,
            observed_at: Timestamp::from_secs(observed_at),
        }
    }

    #[test]
    fn a_snapshot_of_which_a_part_is_missing_is_none() {
        let mut told = Told::default();
        told.take(&part(0, 2, 900, 940));
        // Its writer was killed; whoever came next wrote another, and that one was killed too.
        told.take(&part(0, 2, 901, 941));
        told.take(&part(1, 2, 900, 940));
        assert_eq!(told.covers_until(), None);
        told.take(&part(0, 2, 902, 942));
        told.take(&part(0, 2, 902, 942));
        assert_eq!(told.covers_until(), None, "a part that is written twice is one");
        told.take(&part(1, 2, 902, 942));
        assert_eq!(told.covers_until(), Some(Timestamp::from_secs(902)));
    }

    #[test]
    fn a_snapshot_that_was_read_no_later_than_the_one_before_tells_nothing() {
        let mut told = Told::default();
        told.take(&part(0, 1, 900, 940));
        assert!(!told.is_news(&part(0, 1, 910, 940)));
        told.take(&part(0, 1, 910, 940));
        assert_eq!(told.covers_until(), Some(Timestamp::from_secs(900)));
        told.take(&part(0, 1, 910, 941));
        assert_eq!(told.covers_until(), Some(Timestamp::from_secs(910)));
    }
}
