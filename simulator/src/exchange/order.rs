//! Orders and trades as the simulator keeps them.

use std::time::Duration;

use schemas::{Address, OrderId, OrderType, Price, Shares, Side, Timestamp, TxHash, Usdc, keccak256};
use serde::{Deserialize, Serialize};
use venue::{
    signing::Route,
    wire::{ClobOrderStatus, ClobTradeStatus},
};

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
    /// Through which exchange.
    pub route: Route,
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
    /// What becomes of its trades (a fault, where they do not settle).
    pub fate: Fate,
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

/// What becomes of an order's trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// `MATCHED`, `MINED`, `CONFIRMED`, in one transaction.
    #[default]
    Settles,
    /// The same, but `CONFIRMED` names another transaction than `MINED` did.
    Moves,
    /// `MATCHED`, `RETRYING`, then `MINED` and `CONFIRMED` in another transaction.
    Retries,
    /// `MATCHED`, `RETRYING`, `FAILED`: the only reversal.
    Fails,
}

/// A state of a trade, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Since when.
    pub at: Timestamp,
    /// The state.
    pub status: ClobTradeStatus,
    /// Which of its transactions it names; 0: none.
    pub attempt: u8,
}

impl Fate {
    /// The states of a trade that was matched at `at`, where all goes well in `confirm_after`.
    pub fn steps(self, at: Timestamp, confirm_after: Duration) -> Vec<Step> {
        use ClobTradeStatus::{Confirmed, Failed, Matched, Mined, Retrying};
        let half = confirm_after / 2;
        let (soon, done, late) = (at.plus(half), at.plus(confirm_after), at.plus(confirm_after).plus(half));
        let step = |at, status, attempt| Step { at, status, attempt };
        let mut steps = vec![step(at, Matched, 0)];
        steps.extend(match self {
            Self::Settles => vec![step(soon, Mined, 1), step(done, Confirmed, 1)],
            Self::Moves => vec![step(soon, Mined, 1), step(done, Confirmed, 2)],
            Self::Retries => {
                vec![step(soon, Retrying, 1), step(done, Mined, 2), step(late, Confirmed, 2)]
            }
            Self::Fails => vec![step(soon, Retrying, 1), step(done, Failed, 0)],
        });
        steps
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
    /// What it took at each price, where it took.
    pub levels: Vec<(Price, Shares)>,
    /// Its states, the first when it was matched, the last one final.
    pub steps: Vec<Step>,
}

impl Trade {
    /// The id of an order's n-th trade.
    pub fn id_of(order: OrderId, n: usize) -> String {
        let hash = keccak256(&[b"trade", order.as_bytes(), &n.to_be_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// When it was matched.
    pub fn matched(&self) -> Timestamp {
        self.steps.first().map_or(Timestamp::from_micros(0), |s| s.at)
    }

    /// The state at `now`; a trade is never asked about before it was matched.
    pub fn at(&self, now: Timestamp) -> Option<&Step> {
        self.steps.iter().rev().find(|s| s.at <= now).or_else(|| self.steps.first())
    }

    /// Whether it fails in the end.
    pub fn fails(&self) -> bool {
        self.steps.last().is_some_and(|s| s.status == ClobTradeStatus::Failed)
    }

    /// The second of the block that settles it, and the transaction.
    pub fn settlement(&self) -> (i64, TxHash) {
        let last = self.steps.last();
        let mined = self.steps.iter().rev().find(|s| s.status == ClobTradeStatus::Mined).or(last);
        (mined.map_or(0, |s| s.at.secs()), self.tx(last.map_or(1, |s| s.attempt)))
    }

    /// One of its transactions.
    pub fn tx(&self, attempt: u8) -> TxHash {
        let again = [attempt];
        let extra: &[u8] = if attempt > 1 { &again } else { &[] };
        TxHash::from_bytes(*keccak256(&[b"settlement", self.id.as_bytes(), extra]).as_bytes())
    }
}

impl Step {
    /// The transaction that it names.
    pub fn tx(&self, trade: &Trade) -> Option<TxHash> {
        (self.attempt > 0).then(|| trade.tx(self.attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_ends_in_its_own_words_and_times() {
        let at = Timestamp::from_secs(100);
        let told = |fate: Fate| -> Vec<String> {
            let steps = fate.steps(at, Duration::from_secs(2));
            steps.iter().map(|s| format!("{} {} {}", s.at.secs(), s.status, s.attempt)).collect()
        };
        assert_eq!(told(Fate::Settles), ["100 MATCHED 0", "101 MINED 1", "102 CONFIRMED 1"]);
        assert_eq!(told(Fate::Moves), ["100 MATCHED 0", "101 MINED 1", "102 CONFIRMED 2"]);
        assert_eq!(
            told(Fate::Retries),
            ["100 MATCHED 0", "101 RETRYING 1", "102 MINED 2", "103 CONFIRMED 2"]
        );
        assert_eq!(told(Fate::Fails), ["100 MATCHED 0", "101 RETRYING 1", "102 FAILED 0"]);
    }
}
