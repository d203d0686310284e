//! The rows that the Data API serves, newest first, found by wallet without looking at the others'.

use std::collections::{BTreeMap, VecDeque};

use schemas::Address;

use crate::print::{Activity, Print};

/// A row with its place: the order in which it became visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A trade.
    Trade(Print),
    /// Another activity.
    Other(Activity),
}

impl Entry {
    /// The venue's second.
    pub const fn second(&self) -> i64 {
        match self {
            Self::Trade(print) => print.second,
            Self::Other(activity) => activity.second,
        }
    }

    /// Whose.
    pub const fn wallet(&self) -> Address {
        match self {
            Self::Trade(print) => print.wallet,
            Self::Other(activity) => activity.wallet,
        }
    }
}

/// A row's place in every listing: by second, then in the order of becoming visible. A cursor holds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The venue's second.
    pub second: i64,
    /// The row's number; no two rows share one.
    pub sequence: u64,
}

/// All rows that are kept.
#[derive(Debug)]
pub struct History {
    rows: VecDeque<Entry>,
    /// The sequence of the oldest row kept.
    base: u64,
    keep: usize,
    all: VecDeque<Place>,
    by_wallet: BTreeMap<Address, VecDeque<Place>>,
}

impl History {
    /// An empty history that keeps at most so many rows: the oldest are dropped.
    pub fn new(keep: usize) -> Self {
        Self {
            rows: VecDeque::new(),
            base: 0,
            keep: keep.max(1),
            all: VecDeque::new(),
            by_wallet: BTreeMap::new(),
        }
    }

    /// Adds a row. Its second may lie before that of rows already there.
    pub fn add(&mut self, entry: Entry) {
        let place = Place { second: entry.second(), sequence: self.base + self.rows.len() as u64 };
        insert(&mut self.all, place);
        insert(self.by_wallet.entry(entry.wallet()).or_default(), place);
        self.rows.push_back(entry);
        if self.rows.len() > self.keep
            && let Some(oldest) = self.rows.pop_front()
        {
            let sequence = self.base;
            self.base += 1;
            let place = Place { second: oldest.second(), sequence };
            remove(&mut self.all, place);
            if let Some(of_wallet) = self.by_wallet.get_mut(&oldest.wallet()) {
                remove(of_wallet, place);
                if of_wallet.is_empty() {
                    self.by_wallet.remove(&oldest.wallet());
                }
            }
        }
    }

    /// How many rows there ever were.
    pub fn total(&self) -> u64 {
        self.base + self.rows.len() as u64
    }

    fn row(&self, place: Place) -> Option<&Entry> {
        self.rows.get(usize::try_from(place.sequence.checked_sub(self.base)?).ok()?)
    }

    fn index(&self, wallet: Option<Address>) -> Option<&VecDeque<Place>> {
        match wallet {
            Some(wallet) => self.by_wallet.get(&wallet),
            None => Some(&self.all),
        }
    }

    /// Rows of a wallet, or of all, newest first, beginning below `anchor`.
    pub fn newest_first(
        &self,
        wallet: Option<Address>,
        anchor: Option<Place>,
    ) -> impl Iterator<Item = (Place, &Entry)> {
        let places = self.index(wallet);
        let end = places.map_or(0, |p| anchor.map_or(p.len(), |a| p.partition_point(|place| *place < a)));
        places
            .into_iter()
            .flat_map(move |p| p.range(..end).rev())
            .filter_map(|place| Some((*place, self.row(*place)?)))
    }

    /// Rows of a wallet, oldest first, beginning above `anchor`.
    pub fn oldest_first(
        &self,
        wallet: Option<Address>,
        anchor: Option<Place>,
    ) -> impl Iterator<Item = (Place, &Entry)> {
        let places = self.index(wallet);
        let from = places.map_or(0, |p| anchor.map_or(0, |a| p.partition_point(|place| *place <= a)));
        places
            .into_iter()
            .flat_map(move |p| p.range(from..))
            .filter_map(|place| Some((*place, self.row(*place)?)))
    }
}

/// Almost always at the end.
fn insert(places: &mut VecDeque<Place>, place: Place) {
    let at = match places.back() {
        Some(last) if *last > place => places.partition_point(|p| *p < place),
        _ => places.len(),
    };
    places.insert(at, place);
}

fn remove(places: &mut VecDeque<Place>, place: Place) {
    let at = places.partition_point(|p| *p < place);
    if places.get(at) == Some(&place) {
        places.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        market::{MarketRef, TokenRef},
        print::Role,
    };
    use schemas::{Price, Shares, Side, TxHash};

    fn print(wallet: u8, second: i64) -> Entry {
        Entry::Trade(Print {
            second,
            wallet: Address::from_bytes([wallet; 20]),
            token: TokenRef { market: MarketRef(0), second: false },
            side: Side::Buy,
            role: Role::Taker,
            size: Shares::from_units(1),
            price: Price::from_micro(500_000),
            tx: TxHash::ZERO,
            literals: None,
        })
    }

    proptest::proptest! {
        #[test]
        fn a_walk_sees_each_row_once_in_order_whatever_came_late_or_was_dropped(
            rows in proptest::collection::vec((0u8..3, 0i64..20), 0..80),
            page in 1usize..9,
            keep in 1usize..90,
        ) {
            let mut history = History::new(keep);
            for (wallet, second) in &rows {
                history.add(print(*wallet, *second));
            }
            let kept = &rows[rows.len().saturating_sub(keep)..];
            for wallet in 0..3u8 {
                let address = Address::from_bytes([wallet; 20]);
                let (mut seen, mut anchor) = (Vec::new(), None);
                loop {
                    let got: Vec<_> =
                        history.newest_first(Some(address), anchor).take(page).map(|(p, _)| p).collect();
                    let Some(last) = got.last() else { break };
                    anchor = Some(*last);
                    seen.extend(got);
                }
                let mut upwards: Vec<_> =
                    history.oldest_first(Some(address), None).map(|(p, _)| p).collect();
                upwards.reverse();
                proptest::prop_assert_eq!(&seen, &upwards);
                proptest::prop_assert!(seen.windows(2).all(|w| w[0] > w[1]));
                proptest::prop_assert_eq!(seen.len(), kept.iter().filter(|r| r.0 == wallet).count());
            }
        }
    }
}
