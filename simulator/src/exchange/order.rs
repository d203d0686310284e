//! Orders and trades as the simulator keeps them.

use schemas::{Address, OrderId, OrderType, Price, Shares, Side, Timestamp, TxHash, Usdc, keccak256};
use venue::wire::{ClobOrderStatus, ClobTradeStatus};

use crate::{market::TokenRef, print::Role};

/// What is to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// So many shares: limit orders, and every SELL.
    Shares(Shares),
    /// So many dollars: FAK and FOK BUYs, which get more shares at a better price (`venue.md` 5.3).
    Dollars(Usdc),
}

/// An order that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its digest.
    pub id: OrderId,
    /// The API key's id.
    pub owner: String,
    /// Whose money.
    pub maker: Address,
    /// What.
    pub token: TokenRef,
    /// Which way.
    pub side: Side,
    /// How long it lives.
    pub order_type: OrderType,
    /// Its limit.
    pub limit: Price,
    /// The maker's amount as it was signed, in 10^-6.
    pub maker_amount: i64,
    /// The taker's amount as it was signed, in 10^-6.
    pub taker_amount: i64,
    /// What is to be filled.
    pub target: Target,
    /// Shares filled.
    pub matched: Shares,
    /// Dollars paid or received for them, without fees.
    pub dollars: Usdc,
    /// Fees paid.
    pub fees: Usdc,
    /// Where it stands.
    pub state: ClobOrderStatus,
    /// When the body had been read, before anything else was done with it.
    pub received: Timestamp,
    /// When it was taken into the book.
    pub accepted: Timestamp,
    /// The expiration in its body.
    pub expiration: Option<Timestamp>,
    /// When it lapses: a minute before that (`venue.md` 5.3).
    pub lapses: Option<Timestamp>,
    /// Its trades, by their place.
    pub trades: Vec<usize>,
    /// How often it was posted.
    pub posts: u32,
    /// Whether its trades fail to settle (a fault).
    pub fails: bool,
}

impl Order {
    /// The size in shares: what a SELL gives, what a BUY wants.
    pub const fn size(&self) -> Shares {
        Shares::from_micro(match self.side {
            Side::Buy => self.taker_amount,
            Side::Sell => self.maker_amount,
        })
    }

    /// Shares that can still be filled at `price`.
    pub fn room(&self, price: Price) -> Shares {
        match self.target {
            Target::Shares(size) => size.minus_or_zero(self.matched),
            Target::Dollars(budget) => {
                let left = budget.minus_or_zero(self.dollars);
                price.shares_for(left, schemas::Round::Down).unwrap_or(Shares::ZERO)
            }
        }
    }

    /// Whether it still may fill.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, ClobOrderStatus::Live | ClobOrderStatus::Unmatched | ClobOrderStatus::Delayed)
    }

    /// What it may still cost its maker: dollars for a BUY, shares for a SELL, in 10^-6, fees not counted.
    pub fn reserved(&self) -> i64 {
        if !self.is_open() {
            return 0;
        }
        match (self.side, self.target) {
            (Side::Buy, Target::Dollars(budget)) => budget.minus_or_zero(self.dollars).micro(),
            (Side::Buy, Target::Shares(size)) => {
                let left = size.minus_or_zero(self.matched);
                self.limit.cost(left, schemas::Round::Up).unwrap_or(Usdc::ZERO).micro()
            }
            (Side::Sell, _) => self.size().minus_or_zero(self.matched).micro(),
        }
    }
}

/// A trade of one of our orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trade {
    /// Its id (a UUID).
    pub id: String,
    /// The order.
    pub order: OrderId,
    /// Whether the order took or rested.
    pub role: Role,
    /// Shares.
    pub size: Shares,
    /// The average price.
    pub price: Price,
    /// Dollars, without fees.
    pub dollars: Usdc,
    /// The taker's fee.
    pub fee: Usdc,
    /// When it was matched.
    pub matched: Timestamp,
    /// When it is in a block.
    pub mined: Timestamp,
    /// When it is final.
    pub settled: Timestamp,
    /// Whether it fails instead.
    pub fails: bool,
}

impl Trade {
    /// The id of an order's n-th trade.
    pub fn id_of(order: OrderId, n: usize) -> String {
        let hash = keccak256(&[b"trade", order.as_bytes(), &n.to_be_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// Where it stands at `now`.
    pub fn state(&self, now: Timestamp) -> ClobTradeStatus {
        match () {
            () if self.fails && now >= self.settled => ClobTradeStatus::Failed,
            () if self.fails && now >= self.mined => ClobTradeStatus::Retrying,
            () if now >= self.settled => ClobTradeStatus::Confirmed,
            () if now >= self.mined => ClobTradeStatus::Mined,
            () => ClobTradeStatus::Matched,
        }
    }

    /// When its state last changed.
    pub fn changed(&self, now: Timestamp) -> Timestamp {
        [self.settled, self.mined].into_iter().find(|at| *at <= now).unwrap_or(self.matched)
    }

    /// The settlement, once there is one.
    pub fn tx(&self, now: Timestamp) -> Option<TxHash> {
        (!self.fails && now >= self.mined).then(|| self.settlement())
    }

    /// The transaction that settles it.
    pub fn settlement(&self) -> TxHash {
        TxHash::from_bytes(*keccak256(&[b"settlement", self.id.as_bytes()]).as_bytes())
    }
}
