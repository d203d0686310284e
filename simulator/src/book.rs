//! Books made from the prints around a moment: nobody recorded the real ones.
//!
//! The last print tells where the best prices stand and on which side the taker was; the sizes of the
//! prints before it tell how deep the levels are. What our own orders took of a level stays taken until
//! the next print brings new depth.

use std::collections::{BTreeMap, VecDeque};

use schemas::{
    Price, Shares, Side, Tick,
    money::{ONE, Round},
};

use crate::{market::Market, print::Role};

/// Levels on each side.
const LEVELS: i64 = 5;
/// Prints whose sizes make the depth.
const SAMPLES: usize = 12;
/// Depth of a market in which nobody traded yet.
const QUIET_DEPTH: Shares = Shares::from_units(100);
/// Sizes have two decimals (`venue.md` 5.3).
const SIZE_STEP: i64 = 10_000;

/// Both sides of a token's book, the best level first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sides {
    /// What others pay, highest first.
    pub bids: Vec<(Price, Shares)>,
    /// What others ask, lowest first.
    pub asks: Vec<(Price, Shares)>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Of the first outcome.
    price: Price,
    size: Shares,
    /// Whether the taker bought the first outcome (or sold the second).
    bought: bool,
}

/// What is remembered of a market to make its books.
#[derive(Debug, Clone, Default)]
pub struct Quotes {
    /// Newest first.
    samples: VecDeque<Sample>,
    /// What our orders took, by second outcome, side of the book (BUY: bids), and price in 10^-6.
    taken: BTreeMap<(bool, Side, i64), Shares>,
}

impl Quotes {
    /// A print of somebody else: the book around it is new.
    pub fn print(&mut self, second: bool, side: Side, role: Role, price: Price, size: Shares) {
        // A maker who bought was hit by a taker who sold.
        let taker_bought = (side == Side::Buy) == (role == Role::Taker);
        self.samples.push_front(Sample {
            price: if second { price.complement() } else { price },
            size,
            bought: taker_bought != second,
        });
        self.samples.truncate(SAMPLES);
        self.taken.clear();
    }

    /// The price of the last print on this side of the market, or on the other one, turned over.
    pub fn last(&self, second: bool) -> Option<Price> {
        self.samples.front().map(|s| if second { s.price.complement() } else { s.price })
    }

    /// Which way the taker of the last print went, as seen from this side of the market.
    pub fn last_side(&self, second: bool) -> Option<Side> {
        self.samples.front().map(|s| if s.bought == second { Side::Sell } else { Side::Buy })
    }

    /// The book of one side of a market, its depth scaled by `permille`.
    pub fn book(&self, market: &Market, second: bool, permille: u32) -> Sides {
        let tick = market.tick;
        let (last, bought) = match self.samples.front() {
            Some(sample) => (sample.price, sample.bought),
            None => (market.opening_price, true),
        };
        let (last, bought) = if second { (last.complement(), !bought) } else { (last, bought) };
        let (bid, ask) = best(tick, last, bought);
        let level = |from: i64, away: i64, side: Side| {
            let price = Price::from_micro(from + away * tick.micro());
            if price < tick.lowest() || price > tick.highest() {
                return None;
            }
            let taken = self.taken.get(&(second, side, price.micro())).copied().unwrap_or(Shares::ZERO);
            let left = self.depth(market, away.unsigned_abs(), permille).minus_or_zero(taken);
            left.is_positive().then_some((price, left))
        };
        Sides {
            bids: (0..LEVELS).filter_map(|n| level(bid, -n, Side::Buy)).collect(),
            asks: (0..LEVELS).filter_map(|n| level(ask, n, Side::Sell)).collect(),
        }
    }

    fn depth(&self, market: &Market, level: u64, permille: u32) -> Shares {
        let place = usize::try_from(level).unwrap_or(0) % self.samples.len().max(1);
        let size = self.samples.get(place).map_or(QUIET_DEPTH, |s| s.size).max(market.min_size);
        size.scale(i64::from(permille), 1_000, Round::Down)
            .and_then(|s| s.to_multiple(SIZE_STEP, Round::Down))
            .unwrap_or(Shares::ZERO)
    }

    /// An order of ours took so much of a level. `side` is the side of the book: BUY for bids.
    pub fn take(&mut self, second: bool, side: Side, price: Price, size: Shares) {
        let taken = self.taken.entry((second, side, price.micro())).or_default();
        *taken = taken.saturating_add(size);
    }
}

/// The best bid and ask around a price: a taker who bought met the ask there, one who sold the bid.
fn best(tick: Tick, last: Price, bought: bool) -> (i64, i64) {
    let step = tick.micro();
    if bought {
        let ask = tick.snap(last, Round::Up).micro().clamp(step, ONE - step);
        (ask - step, ask)
    } else {
        let bid = tick.snap(last, Round::Down).micro().clamp(step, ONE - step);
        (bid, bid + step)
    }
}
