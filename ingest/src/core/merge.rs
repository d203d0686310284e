//! Rows into fills: all rows of a natural key (wallet, tx, asset, side) are one fill, counted over walks
//! (`behaviour.md` 1).
//!
//! Within one walk of the Data API's cursor no row repeats, so equal rows are distinct real fills; another walk
//! may show the same rows again. The multiplicity of a row is therefore the highest that any one walk showed, and a
//! fill's total is the sum over its rows. A total above the published one is an amendment; any other is silence.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemas::{
    Address, AssetId, ConditionId, FillId, FillKind, NaturalKey, Price, Round, Shares, Side, Timestamp,
    TxHash, Usdc, events::Fill,
};

/// How long natural keys are remembered, in fill time.
pub const MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);

/// One row of a walk: one order's fill inside one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The transaction.
    pub tx: TxHash,
    /// What was traded.
    pub asset: AssetId,
    /// Its condition.
    pub condition_id: ConditionId,
    /// Which way.
    pub side: Side,
    /// How many shares.
    pub shares: Shares,
    /// At which price.
    pub price: Price,
    /// The block's second.
    pub filled_at: Timestamp,
    /// The outcome's name.
    pub outcome: Option<String>,
    /// The market's title.
    pub title: Option<String>,
}

impl Row {
    /// The natural key of the fill this row is a part of.
    pub fn natural_key(&self, wallet: Address) -> NaturalKey {
        NaturalKey { wallet, tx: self.tx, asset: self.asset.clone(), side: self.side }
    }
}

#[derive(Debug, Clone)]
struct Known {
    fill_id: FillId,
    revision: i32,
    shares: Shares,
    filled_at: Timestamp,
    /// From when on it is remembered: its own time, or of a late one when it was seen.
    since: Timestamp,
    /// The highest count of each distinct row in any one walk since the start of this process.
    rows: BTreeMap<(Shares, Price), u32>,
}

/// What is known of one wallet's fills.
#[derive(Debug, Clone)]
pub struct Merger {
    wallet: Address,
    known: BTreeMap<NaturalKey, Known>,
    by_time: BTreeSet<(Timestamp, NaturalKey)>,
    newest: Option<Timestamp>,
}

impl Merger {
    /// Nothing is known.
    pub fn new(wallet: Address) -> Self {
        Self { wallet, known: BTreeMap::new(), by_time: BTreeSet::new(), newest: None }
    }

    /// The newest fill seen so far.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// How many natural keys are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes over a fill that stands in the log already: on restart.
    pub fn restore(&mut self, fill: &Fill) {
        if fill.kind == FillKind::History {
            return;
        }
        let key = fill.natural_key();
        let newer = self.known.get(&key).is_none_or(|k| fill.revision >= k.revision);
        if newer {
            self.remember(
                key,
                Known {
                    fill_id: fill.fill_id.clone(),
                    revision: fill.revision,
                    shares: fill.shares,
                    filled_at: fill.filled_at,
                    since: if fill.kind == FillKind::Late { fill.observed_at } else { fill.filled_at },
                    rows: BTreeMap::new(),
                },
            );
        }
    }

    fn remember(&mut self, key: NaturalKey, known: Known) {
        self.newest = self.newest.max(Some(known.filled_at));
        self.by_time.insert((known.since, key.clone()));
        self.known.insert(key, known);
    }

    /// Forgets what has become too old to come again as anything but a late row.
    pub fn forget(&mut self, now: Timestamp) {
        let horizon = now.minus(MEMORY);
        while let Some((at, _)) = self.by_time.first()
            && *at < horizon
            && let Some((_, key)) = self.by_time.pop_first()
        {
            self.known.remove(&key);
        }
    }

    /// Whether this walk's rows hold anything that is not published yet: a page that adds nothing ends a walk.
    pub fn adds_nothing(&self, rows: &[Row]) -> bool {
        totals(self.wallet, rows)
            .iter()
            .all(|(key, total)| self.known.get(key).is_some_and(|known| total.shares <= known.shares))
    }

    /// Takes a whole walk, rows newest first as the venue serves them, and gives the fills and amendments to
    /// publish: oldest first, rows of one second in the page's reverse order. `facts` and `book` are left empty.
    pub fn absorb(&mut self, rows: &[Row], observed_at: Timestamp) -> Vec<Fill> {
        let mut out = Vec::new();
        let mut seen: BTreeSet<NaturalKey> = BTreeSet::new();
        let totals = totals(self.wallet, rows);
        // Oldest first. The venue's order inside a second holds; it is the reverse of the page's.
        let mut ordered: Vec<&Row> = rows.iter().rev().collect();
        ordered.sort_by_key(|row| row.filled_at);
        for (index, row) in ordered.into_iter().enumerate() {
            let key = row.natural_key(self.wallet);
            if !seen.insert(key.clone()) {
                continue;
            }
            let Some(total) = totals.get(&key) else { continue };
            out.extend(self.merge(row, key, total, i32::try_from(index).ok(), observed_at));
        }
        out
    }

    fn merge(
        &mut self,
        first: &Row,
        key: NaturalKey,
        total: &Total,
        page_order: Option<i32>,
        observed_at: Timestamp,
    ) -> Option<Fill> {
        let before = self.known.get(&key);
        let mut rows = before.map(|k| k.rows.clone()).unwrap_or_default();
        for (row, count) in &total.rows {
            let held = rows.entry(*row).or_default();
            *held = (*held).max(*count);
        }
        // After a restart only the total is known, not its rows: the larger of the two holds.
        let (shares, notional, count) = sum(&rows)?;
        let (kind, revision, fill_id) = match before {
            Some(known) if shares <= known.shares => {
                if let Some(known) = self.known.get_mut(&key) {
                    known.rows = rows;
                }
                return None;
            }
            // What never moved a position is not amended into one that does.
            Some(known) if known.since > known.filled_at => {
                (FillKind::Late, known.revision + 1, known.fill_id.clone())
            }
            Some(known) => (FillKind::Amendment, known.revision + 1, known.fill_id.clone()),
            None => {
                let late = first.filled_at < observed_at.minus(MEMORY);
                let kind = if late { FillKind::Late } else { FillKind::New };
                (kind, 0, FillId::data_api(first.tx, &first.asset, first.side, first.filled_at))
            }
        };
        let filled_at = before.map_or(first.filled_at, |k| k.filled_at);
        let since = match before {
            Some(known) => known.since,
            None if kind == FillKind::Late => observed_at,
            None => filled_at,
        };
        self.remember(key, Known { fill_id: fill_id.clone(), revision, shares, filled_at, since, rows });
        Some(Fill {
            kind,
            wallet: self.wallet,
            fill_id,
            revision,
            tx: first.tx,
            asset: first.asset.clone(),
            condition_id: first.condition_id,
            side: first.side,
            shares,
            notional,
            price: Price::of(notional, shares, Round::Nearest)?,
            rows: i32::try_from(count).unwrap_or(i32::MAX),
            filled_at,
            observed_at,
            page_order,
            outcome: first.outcome.clone(),
            title: first.title.clone(),
            facts: None,
            book: None,
        })
    }
}

/// The rows of one natural key in one walk.
#[derive(Debug, Default)]
struct Total {
    shares: Shares,
    rows: BTreeMap<(Shares, Price), u32>,
}

fn totals(wallet: Address, rows: &[Row]) -> BTreeMap<NaturalKey, Total> {
    let mut totals: BTreeMap<NaturalKey, Total> = BTreeMap::new();
    for row in rows {
        let total = totals.entry(row.natural_key(wallet)).or_default();
        total.shares = total.shares.saturating_add(row.shares);
        *total.rows.entry((row.shares, row.price)).or_default() += 1;
    }
    totals
}

/// Shares, dollars and number of rows; `None` for no shares, or for sums no market has.
fn sum(rows: &BTreeMap<(Shares, Price), u32>) -> Option<(Shares, Usdc, u32)> {
    let (mut shares, mut notional, mut count) = (Shares::ZERO, Usdc::ZERO, 0u32);
    for ((size, price), times) in rows {
        let cost = price.cost(*size, Round::Nearest)?;
        for _ in 0..*times {
            shares = shares.checked_add(*size)?;
            notional = notional.checked_add(cost)?;
        }
        count = count.saturating_add(*times);
    }
    shares.is_positive().then_some((shares, notional, count))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const WALLET: Address = Address::from_bytes([1; 20]);

    pub(crate) fn row(tx: u8, shares: i64, price: i64, at: i64) -> Row {
        Row {
            tx: TxHash::from_bytes([tx; 32]),
            asset: "11".parse().unwrap(),
            condition_id: ConditionId::from_bytes([2; 32]),
            side: Side::Buy,
            shares: Shares::from_units(shares),
            price: Price::from_micro(price),
            filled_at: Timestamp::from_secs(at),
            outcome: None,
            title: None,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_secs(1_000_000)
    }

    #[test]
    fn equal_rows_of_one_walk_are_distinct_fills_of_one_transaction() {
        let mut merger = Merger::new(WALLET);
        let fills = merger.absorb(&[row(1, 5, 999_000, 999_990), row(1, 5, 999_000, 999_990)], now());
        assert_eq!(fills.len(), 1);
        assert_eq!(fills[0].shares, Shares::from_units(10));
        assert_eq!(fills[0].notional, Usdc::from_micro(9_990_000));
        assert_eq!(fills[0].rows, 2);
    }

    #[test]
    fn a_second_walk_over_the_same_rows_says_nothing() {
        let rows = [row(1, 5, 999_000, 999_990), row(1, 5, 999_000, 999_990), row(2, 3, 500_000, 999_980)];
        let mut merger = Merger::new(WALLET);
        assert_eq!(merger.absorb(&rows, now()).len(), 2);
        assert!(merger.adds_nothing(&rows));
        assert_eq!(merger.absorb(&rows, now()), []);
        // A walk that was cut short shows less, and says nothing either.
        assert_eq!(merger.absorb(&rows[1..], now()), []);
    }

    #[test]
    fn more_rows_than_published_are_an_amendment_of_the_same_fill() {
        let mut merger = Merger::new(WALLET);
        let first = merger.absorb(&[row(1, 5, 400_000, 999_990)], now());
        let both = [row(1, 5, 400_000, 999_990), row(1, 15, 420_000, 999_990)];
        let second = merger.absorb(&both, now());
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].kind, FillKind::Amendment);
        assert_eq!((second[0].revision, &second[0].fill_id), (1, &first[0].fill_id));
        assert_eq!(second[0].shares, Shares::from_units(20));
        assert_eq!(second[0].notional, Usdc::from_micro(8_300_000));
        assert_eq!(second[0].price, Price::from_micro(415_000));
    }

    #[test]
    fn rows_that_two_walks_show_in_part_are_joined() {
        let mut merger = Merger::new(WALLET);
        merger.absorb(&[row(1, 5, 400_000, 999_990), row(1, 5, 400_000, 999_990)], now());
        let more = merger.absorb(&[row(1, 5, 400_000, 999_990), row(1, 7, 410_000, 999_990)], now());
        assert_eq!(more[0].shares, Shares::from_units(17));
        assert_eq!(more[0].rows, 3);
    }

    #[test]
    fn a_restart_takes_the_totals_from_the_log() {
        let rows = [row(1, 5, 400_000, 999_990), row(1, 5, 400_000, 999_990)];
        let mut before = Merger::new(WALLET);
        let fills = before.absorb(&rows, now());
        let mut after = Merger::new(WALLET);
        for fill in &fills {
            after.restore(fill);
        }
        assert_eq!(after.absorb(&rows, now()), []);
        let grown = [rows[0].clone(), rows[1].clone(), row(1, 1, 400_000, 999_990)];
        let amended = after.absorb(&grown, now());
        assert_eq!((amended[0].revision, amended[0].shares), (1, Shares::from_units(11)));
    }

    #[test]
    fn fills_come_oldest_first_and_in_the_page_s_order_within_a_second() {
        let mut merger = Merger::new(WALLET);
        let page = [row(4, 1, 500_000, 999_991), row(3, 1, 500_000, 999_990), row(2, 1, 500_000, 999_990)];
        let txs: Vec<u8> = merger.absorb(&page, now()).iter().map(|f| f.tx.as_bytes()[0]).collect();
        assert_eq!(txs, [2, 3, 4]);
    }

    #[test]
    fn a_row_older_than_the_memory_is_late_once_however_often_it_is_shown() {
        let now = Timestamp::from_secs(10_000_000);
        let old = now.secs() - 7 * 24 * 3600 - 1;
        let mut merger = Merger::new(WALLET);
        let fills = merger.absorb(&[row(1, 5, 400_000, old)], now);
        assert_eq!(fills[0].kind, FillKind::Late);
        assert_eq!(merger.absorb(&[row(2, 5, 400_000, old + 1)], now)[0].kind, FillKind::New);
        // The walk that found it may find it again after the memory was tidied, and after a restart.
        merger.forget(now);
        assert_eq!(merger.absorb(&[row(1, 5, 400_000, old)], now), []);
        let mut after = Merger::new(WALLET);
        after.restore(&fills[0]);
        after.forget(now);
        assert_eq!(after.absorb(&[row(1, 5, 400_000, old)], now), []);
        let grown = merger.absorb(&[row(1, 6, 400_000, old), row(1, 5, 400_000, old)], now);
        assert_eq!((grown[0].kind, grown[0].revision), (FillKind::Late, 1), "late in all its revisions");
        // Seven days after it was seen nobody asks for it any more.
        merger.forget(now.plus(MEMORY).plus(Duration::from_secs(1)));
        assert!(merger.is_empty());
    }

    proptest! {
        /// However rows are cut into walks, repeated and regrown, the last total is that of the whole.
        #[test]
        fn walks_in_any_pieces_come_to_the_same_totals(
            picks in prop::collection::vec((0u8..4, 1i64..4, 1i64..4), 1..30),
            cuts in prop::collection::vec(0usize..30, 0..6),
        ) {
            let all: Vec<Row> = picks.iter().map(|(tx, shares, price)| row(*tx, *shares, price * 100_000, 999_000)).collect();
            let mut whole = Merger::new(WALLET);
            whole.absorb(&all, now());
            let mut pieces = Merger::new(WALLET);
            for cut in cuts {
                pieces.absorb(&all[..cut.min(all.len())], now());
            }
            pieces.absorb(&all, now());
            pieces.absorb(&all, now());
            for (key, known) in &whole.known {
                prop_assert_eq!(pieces.known[key].shares, known.shares);
            }
        }
    }
}
