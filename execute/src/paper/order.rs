//! What a paper order takes from a recorded book, and where it stands after that. Pure.

use schemas::{
    OrderId, OrderStatus, OrderType, Price, Round, Shares, Side, Timestamp, Usdc, events::BookSnapshot,
};
use venue::{
    amounts::SIZE_STEP,
    wire::{ClobOrderStatus, ClobTrade, ClobTradeStatus, OrderRow, PostOrder, SizeUnits, TraderSide},
};

use crate::core::{Attempt, build::VENUE_MINUTE, close::LEAST_SHARES};

/// How much an order is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// So many shares.
    Shares(Shares),
    /// So many dollars: a market BUY gets more shares where the price is better (`venue.md` 5.3).
    Dollars(Usdc),
}

/// What was taken of one level of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// At which price.
    pub price: Price,
    /// How many shares.
    pub shares: Shares,
}

/// What an order takes of a book: level by level from the best, no worse than its limit, in steps of 0.01 share.
pub fn sweep(book: &BookSnapshot, side: Side, limit: Price, size: Size) -> Vec<Taken> {
    let (levels, within): (_, fn(Price, Price) -> bool) = match side {
        Side::Buy => (&book.asks, |level, limit| level <= limit),
        Side::Sell => (&book.bids, |level, limit| level >= limit),
    };
    let mut left = size;
    let mut taken = Vec::new();
    for level in levels.iter().take_while(|level| within(level.price, limit)) {
        let wanted = match left {
            Size::Shares(shares) => Some(shares),
            Size::Dollars(usdc) => level.price.shares_for(usdc, Round::Down),
        };
        let shares = wanted
            .and_then(|wanted| wanted.min(level.shares).to_multiple(SIZE_STEP, Round::Down))
            .unwrap_or(Shares::ZERO);
        // A level of less than a step is passed over; one that is not emptied was the last.
        if !shares.is_positive() {
            continue;
        }
        taken.push(Taken { price: level.price, shares });
        left = match left {
            Size::Shares(all) => Size::Shares(all.minus_or_zero(shares)),
            Size::Dollars(all) => {
                Size::Dollars(all.minus_or_zero(level.price.cost(shares, Round::Up).unwrap_or(all)))
            }
        };
    }
    taken
}

/// An order as the paper venue sees it: the ledger's row, and what that took.
#[derive(Debug)]
pub struct PaperOrder<'a> {
    attempt: &'a Attempt,
    id: OrderId,
    order_type: OrderType,
    taken: Vec<Taken>,
}

impl<'a> PaperOrder<'a> {
    /// The order that an attempt is, or would be if it were posted; `None` where nothing was signed for it, or where its
    /// body cannot be read.
    pub fn of(attempt: &'a Attempt) -> Option<Self> {
        let (id, order_type) = (attempt.order_id?, attempt.order_type?);
        let post = PostOrder::read(&attempt.body.as_ref()?.0).ok()?;
        let size = match (order_type, attempt.side) {
            (OrderType::Fak | OrderType::Fok, Side::Buy) => {
                Size::Dollars(Usdc::from_micro(post.order.maker_amount))
            }
            _ => Size::Shares(attempt.shares),
        };
        let taken = attempt
            .book
            .as_ref()
            .map_or_else(Vec::new, |book| sweep(book, attempt.side, attempt.limit_price, size));
        Some(Self { attempt, id, order_type, taken })
    }

    /// Its id.
    pub const fn id(&self) -> OrderId {
        self.id
    }

    /// Whether it is killed at once, having found nothing.
    pub fn finds_nothing(&self) -> bool {
        self.takes_only() && self.taken.is_empty()
    }

    /// Whether the venue has it: an answer that says so was recorded.
    pub fn landed(&self) -> bool {
        let refused = matches!(self.attempt.status, OrderStatus::Denied | OrderStatus::Rejected);
        self.attempt.answered_at.is_some() && !refused && !self.finds_nothing()
    }

    /// What it took.
    pub fn matched(&self) -> Shares {
        self.taken.iter().map(|t| t.shares).sum()
    }

    /// What a BUY paid or a SELL brought, without fees.
    pub fn dollars(&self) -> Usdc {
        let round = match self.attempt.side {
            Side::Buy => Round::Up,
            Side::Sell => Round::Down,
        };
        self.taken.iter().filter_map(|t| t.price.cost(t.shares, round)).sum()
    }

    /// Whether nothing of it rests because it is not that kind of order.
    const fn takes_only(&self) -> bool {
        matches!(self.order_type, OrderType::Fak | OrderType::Fok)
    }

    /// Where it stands, in the venue's word. What was asked to be cancelled is cancelled from then on.
    pub fn status(&self, now: Timestamp) -> ClobOrderStatus {
        let is_full = self.matched().saturating_add(LEAST_SHARES) > self.attempt.shares;
        if is_full || self.takes_only() {
            return ClobOrderStatus::Matched;
        }
        let lapsed = self.attempt.expires_at.filter(|at| *at <= now);
        match (self.attempt.cancel_asked_at, lapsed) {
            (Some(cancelled), Some(at)) if at <= cancelled => ClobOrderStatus::CanceledExpiredOrder,
            (Some(_), _) => ClobOrderStatus::Canceled,
            (None, Some(_)) => ClobOrderStatus::CanceledExpiredOrder,
            (None, None) => ClobOrderStatus::Live,
        }
    }

    /// Its row, as the venue gives it.
    pub fn row(&self, now: Timestamp) -> OrderRow {
        let attempt = self.attempt;
        OrderRow {
            id: self.id,
            status: self.status(now),
            owner: String::new(),
            maker_address: String::new(),
            market: attempt.condition_id.to_string(),
            asset_id: attempt.asset.clone(),
            side: attempt.side,
            original_size: SizeUnits::Decimal.write(attempt.shares),
            size_matched: SizeUnits::Decimal.write(self.matched()),
            price: attempt.limit_price,
            outcome: String::new(),
            order_type: self.order_type.as_str().to_owned(),
            associate_trades: self.trades().into_iter().map(|trade| trade.id).collect(),
            created_at: Some(attempt.created_at),
            expiration: attempt.expires_at.map(|at| at.plus(VENUE_MINUTE)),
        }
    }

    /// One trade for each level that was taken, final at once.
    pub fn trades(&self) -> Vec<ClobTrade> {
        let attempt = self.attempt;
        (0..)
            .zip(&self.taken)
            .map(|(n, taken): (u32, _)| ClobTrade {
                id: format!("{TRADE}{}-{n}", self.id),
                taker_order_id: self.id,
                market: attempt.condition_id.to_string(),
                asset_id: attempt.asset.clone(),
                side: attempt.side,
                size: SizeUnits::Decimal.write(taken.shares),
                price: taken.price,
                status: ClobTradeStatus::Confirmed,
                match_time: Some(attempt.created_at),
                last_update: Some(attempt.created_at),
                outcome: String::new(),
                owner: String::new(),
                maker_address: String::new(),
                transaction_hash: None,
                maker_orders: Vec::new(),
                trader_side: TraderSide::Taker,
                err_msg: None,
            })
            .collect()
    }
}

/// How the id of a paper trade begins.
const TRADE: &str = "paper-";

/// The order that a trade's id names.
pub fn order_of(trade: &str) -> Option<OrderId> {
    trade.strip_prefix(TRADE)?.rsplit_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::events::BookLevel;

    use super::*;

    fn px(s: &str) -> Price {
        s.parse().unwrap()
    }

    fn sh(s: &str) -> Shares {
        s.parse().unwrap()
    }

    fn book(bids: &[(&str, &str)], asks: &[(&str, &str)]) -> BookSnapshot {
        let levels = |of: &[(&str, &str)]| {
            of.iter().map(|(price, shares)| BookLevel { price: px(price), shares: sh(shares) }).collect()
        };
        BookSnapshot {
            asset: "7".parse().unwrap(),
            as_of: Timestamp::from_secs(1_790_000_000),
            bids: levels(bids),
            asks: levels(asks),
        }
    }

    fn taken(fills: &[Taken]) -> Vec<(String, String)> {
        fills.iter().map(|f| (f.price.to_string(), f.shares.to_string())).collect()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn a_buy_takes_the_best_asks_within_its_limit_and_rests_with_the_rest() {
        let book = book(&[("0.38", "50")], &[("0.40", "3"), ("0.41", "4"), ("0.43", "100")]);
        let fills = sweep(&book, Side::Buy, px("0.42"), Size::Shares(sh("10")));
        assert_eq!(taken(&fills), pairs(&[("0.4", "3"), ("0.41", "4")]));
    }

    #[test]
    fn a_market_buy_gets_more_shares_where_the_price_is_better() {
        // $2.00 at most 0.50 would be 4 shares; at 0.40 it is 5.
        let book = book(&[], &[("0.40", "100")]);
        let fills = sweep(&book, Side::Buy, px("0.50"), Size::Dollars(Usdc::from_units(2)));
        assert_eq!(taken(&fills), pairs(&[("0.4", "5")]));
    }

    #[test]
    fn a_sale_takes_bids_down_to_its_limit() {
        let book = book(&[("0.64", "25"), ("0.60", "5"), ("0.50", "5")], &[]);
        let fills = sweep(&book, Side::Sell, px("0.60"), Size::Shares(sh("40")));
        assert_eq!(taken(&fills), pairs(&[("0.64", "25"), ("0.6", "5")]));
    }

    proptest! {
        #[test]
        fn a_sweep_never_passes_its_limit_its_size_or_the_book(
            levels in prop::collection::vec((1i64..99, 1i64..5_000_000_000), 0..8),
            buys: bool, limit in 1i64..99, cents in 1i64..1_000_000, dollars: bool,
        ) {
            let mut levels = levels;
            levels.sort_unstable();
            let up: Vec<BookLevel> = levels.iter()
                .map(|(p, s)| BookLevel { price: Price::from_micro(p * 10_000), shares: Shares::from_micro(*s) }).collect();
            let down = up.iter().rev().cloned().collect();
            let book = BookSnapshot { asset: "7".parse().unwrap(), as_of: Timestamp::from_secs(1), bids: down, asks: up };
            let side = if buys { Side::Buy } else { Side::Sell };
            let limit = Price::from_micro(limit * 10_000);
            let size = if dollars && buys {
                Size::Dollars(Usdc::from_micro(cents * 10_000))
            } else {
                Size::Shares(Shares::from_micro(cents * 10_000))
            };
            let fills = sweep(&book, side, limit, size);
            let shares: Shares = fills.iter().map(|f| f.shares).sum();
            let offered: Shares = if buys { &book.asks } else { &book.bids }.iter().map(|l| l.shares).sum();
            prop_assert!(shares <= offered);
            for f in &fills {
                let within = if buys { f.price <= limit } else { f.price >= limit };
                prop_assert!(within);
                prop_assert!(f.shares.is_positive() && f.shares.micro() % SIZE_STEP == 0);
            }
            match size {
                Size::Shares(most) => prop_assert!(shares <= most),
                Size::Dollars(most) => {
                    let paid: Usdc = fills.iter().map(|f| f.price.cost(f.shares, Round::Up).unwrap()).sum();
                    prop_assert!(paid <= most);
                }
            }
        }
    }
}
