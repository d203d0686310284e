//! What a wallet traded before it was followed: read once, published once, oldest first (`behaviour.md` 1). It feeds
//! percentiles, is never decided, and moves no position.
//!
//! What was published already is what the log holds: a fill of these days cannot have been recorded before it
//! happened, so the log's records of the same days and later name them all, whoever wrote them and when. A backfill
//! that was interrupted goes on at the newest fill that it had published. One that is not finished within the memory
//! of natural keys is left as it is.

use std::{collections::BTreeSet, time::Duration};

use schemas::{Address, FillKind, NaturalKey, Timestamp, events::Fill};

use super::merge::{MEMORY, Merger, Row};

/// How far back history goes.
pub const HISTORY: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most rows of a wallet's history, the newest: 20 pages.
pub const MOST_ROWS: usize = 20_000;

/// One wallet's history on its way.
#[derive(Debug)]
pub struct Backfill {
    wallet: Address,
    follow_from: Timestamp,
    known: BTreeSet<NaturalKey>,
    reached: Option<Timestamp>,
    rows: Vec<Row>,
    most: usize,
}

impl Backfill {
    /// Nothing is read. A wallet counts as followed from a whole second on.
    pub const fn new(wallet: Address, follow_from: Timestamp) -> Self {
        Self { wallet, follow_from, known: BTreeSet::new(), reached: None, rows: Vec::new(), most: MOST_ROWS }
    }

    /// Whether it is still time to begin, or to go on.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now.since(self.follow_from) < MEMORY
    }

    /// The first second of the days before.
    pub fn begins(&self) -> Timestamp {
        self.follow_from.minus(HISTORY)
    }

    /// A fill that stands in the log, of whatever kind.
    pub fn published(&mut self, fill: &Fill) {
        if fill.wallet != self.wallet || fill.filled_at < self.begins() || fill.filled_at >= self.follow_from
        {
            return;
        }
        // An earlier follow's history says nothing about how far this one came.
        if fill.kind == FillKind::History && fill.observed_at >= self.follow_from {
            self.reached = self.reached.max(Some(fill.filled_at));
        }
        self.known.insert(fill.natural_key());
    }

    /// The first and the last second to walk, both inclusive. Fills of the second that was reached may be missing.
    pub fn window(&self) -> (Timestamp, Timestamp) {
        let last = Timestamp::from_secs(self.follow_from.secs() - 1);
        (self.reached.unwrap_or_else(|| self.begins()), last)
    }

    /// Takes a page of the one walk, newest first. Answers whether it is enough.
    pub fn page(&mut self, rows: Vec<Row>) -> bool {
        self.rows.extend(rows);
        if self.rows.len() < self.most {
            return false;
        }
        self.rows.truncate(self.most);
        // The rest of a transaction may lie behind the cut: its second goes as a whole.
        if let Some(cut) = self.rows.last().map(|row| row.filled_at) {
            self.rows.retain(|row| row.filled_at > cut);
        }
        true
    }

    /// The fills to publish, oldest first.
    pub fn finish(self, observed_at: Timestamp) -> Vec<Fill> {
        let (first, last) = self.window();
        let inside: Vec<Row> =
            self.rows.into_iter().filter(|row| (first..=last).contains(&row.filled_at)).collect();
        let mut fills = Merger::new(self.wallet).absorb(&inside, observed_at);
        fills.retain(|fill| !self.known.contains(&fill.natural_key()));
        for fill in &mut fills {
            fill.kind = FillKind::History;
        }
        fills
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::merge::tests::row;

    const WALLET: Address = Address::from_bytes([1; 20]);
    const FOLLOWED: i64 = 10_000_000;
    const DAY: i64 = 86_400;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn fresh() -> Backfill {
        Backfill::new(WALLET, at(FOLLOWED))
    }

    fn times(of: &[Fill]) -> Vec<i64> {
        of.iter().map(|f| f.filled_at.secs()).collect()
    }

    #[test]
    fn history_is_the_thirty_days_before_the_follow_oldest_first() {
        let mut backfill = fresh();
        assert_eq!(backfill.window(), (at(FOLLOWED - 30 * DAY), at(FOLLOWED - 1)));
        let seconds = [FOLLOWED, FOLLOWED - 1, FOLLOWED - DAY, FOLLOWED - 30 * DAY, FOLLOWED - 30 * DAY - 1];
        let rows = seconds.iter().zip(1..).map(|(at, tx)| row(tx, 5, 400_000, *at)).collect();
        assert!(!backfill.page(rows));
        let fills = backfill.finish(at(FOLLOWED + 5));
        assert_eq!(times(&fills), [FOLLOWED - 30 * DAY, FOLLOWED - DAY, FOLLOWED - 1]);
        assert!(
            fills.iter().all(|f| f.kind == FillKind::History && f.revision == 0),
            "also what is weeks old"
        );
    }

    #[test]
    fn rows_of_one_transaction_are_one_fill_in_history_too() {
        let mut backfill = fresh();
        let twice = row(1, 5, 400_000, FOLLOWED - 5);
        assert!(!backfill.page(vec![twice.clone()]));
        assert!(!backfill.page(vec![twice]));
        let fills = backfill.finish(at(FOLLOWED));
        assert_eq!((fills.len(), fills[0].rows), (1, 2), "over a page's end as well");
    }

    #[test]
    fn a_wallet_with_too_long_a_history_gives_its_newest_part_whole_transactions_only() {
        let mut backfill = Backfill { most: 4, ..fresh() };
        // The rows of transaction 3 lie on both sides of the cut.
        let page = [(1, 9), (2, 8), (3, 7), (3, 7), (3, 7), (4, 6)];
        let page = page.iter().map(|(tx, at)| row(*tx, 5, 400_000, FOLLOWED - 10 + at)).collect();
        assert!(backfill.page(page));
        assert_eq!(times(&backfill.finish(at(FOLLOWED))), [FOLLOWED - 2, FOLLOWED - 1]);
    }

    #[test]
    fn after_seven_days_history_is_not_begun_or_taken_up_again() {
        assert!(fresh().is_due(at(FOLLOWED + 7 * DAY - 1)));
        assert!(!fresh().is_due(at(FOLLOWED + 7 * DAY)));
    }

    #[test]
    fn a_wallet_followed_again_is_told_nothing_that_the_log_holds_from_the_first_time() {
        let rows =
            |n: u8| (0..n).rev().map(|tx| row(tx, 5, 400_000, FOLLOWED - 100 + i64::from(tx))).collect();
        let mut first = Backfill::new(WALLET, at(FOLLOWED - 50));
        first.page(rows(40));
        let mut log = first.finish(at(FOLLOWED - 49));
        // Then it was live for a while: these are no history, and stand in the log as well.
        let live = |tx: u8| row(tx, 5, 400_000, FOLLOWED - 100 + i64::from(tx));
        log.extend(Merger::new(WALLET).absorb(&[live(61), live(60)], at(FOLLOWED - 30)));
        let mut again = fresh();
        for fill in &log {
            again.published(fill);
        }
        // It was not followed in between: that is history now.
        assert_eq!(again.window().0, at(FOLLOWED - 30 * DAY));
        again.page(rows(80));
        let told = times(&again.finish(at(FOLLOWED + 1)));
        let expected: Vec<i64> =
            (40..80).filter(|tx| ![60, 61].contains(tx)).map(|tx| FOLLOWED - 100 + tx).collect();
        assert_eq!(told, expected);
    }

    proptest! {
        /// Killed after any record of any attempt: all attempts together publish every fill once, in order.
        #[test]
        fn an_interrupted_backfill_goes_on_where_the_log_ends(
            picks in prop::collection::vec((0u8..30, 0i64..12), 0..60),
            kills in prop::collection::vec(0usize..40, 0..5),
        ) {
            let mut rows: Vec<Row> =
                picks.iter().map(|(tx, _)| row(*tx, 5, 400_000, FOLLOWED - 50 + i64::from(*tx) / 3)).collect();
            rows.sort_by_key(|r| std::cmp::Reverse((r.filled_at, r.tx)));
            let attempt = |log: &[Fill]| {
                let mut backfill = fresh();
                for fill in log {
                    backfill.published(fill);
                }
                let (first, last) = backfill.window();
                // The venue gives what was asked for, newest first.
                backfill.page(rows.iter().filter(|r| (first..=last).contains(&r.filled_at)).cloned().collect());
                backfill.finish(at(FOLLOWED + i64::try_from(log.len()).unwrap()))
            };
            let whole = attempt(&[]);
            let mut log: Vec<Fill> = Vec::new();
            for kill in kills {
                let fills = attempt(&log);
                log.extend(fills.into_iter().take(kill));
            }
            log.extend(attempt(&log.clone()));
            prop_assert_eq!(attempt(&log), vec![]);
            let keys = |fills: &[Fill]| fills.iter().map(|f| (f.natural_key(), f.shares)).collect::<Vec<_>>();
            prop_assert_eq!(keys(&log), keys(&whole));
        }
    }
}
