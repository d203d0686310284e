//! `GET /book` and `POST /books` (`venue.md` 2).

use schemas::{
    ids::AssetId,
    money::{Price, Shares},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{
    num::{millis_text, text, text_opt},
    text::or_default,
};

/// One price of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookLevel {
    /// The price.
    #[serde(with = "text")]
    pub price: Price,
    /// Shares resting there.
    #[serde(with = "text")]
    pub size: Shares,
}

/// One token in the question of `POST /books`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookQuery {
    /// The token.
    pub token_id: AssetId,
}

/// The book of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// The condition, of 31 or 32 bytes.
    pub market: String,
    /// The token.
    pub asset_id: AssetId,
    /// When the venue wrote it (milliseconds).
    #[serde(with = "millis_text")]
    pub timestamp: Timestamp,
    /// The venue's hash of the book.
    #[serde(default, deserialize_with = "or_default")]
    pub hash: String,
    /// Bids, prices ascending: the best is the last.
    #[serde(default, deserialize_with = "or_default")]
    pub bids: Vec<BookLevel>,
    /// Asks, prices descending: the best is the last.
    #[serde(default, deserialize_with = "or_default")]
    pub asks: Vec<BookLevel>,
    /// The smallest resting order, in shares.
    #[serde(default, with = "text_opt")]
    pub min_order_size: Option<Shares>,
    /// The tick.
    #[serde(default, with = "text_opt")]
    pub tick_size: Option<Price>,
    /// Whether the market is a neg-risk market.
    #[serde(default)]
    pub neg_risk: Option<bool>,
    /// The price of the last trade; `""` before the first.
    #[serde(default, with = "text_opt")]
    pub last_trade_price: Option<Price>,
    /// The protocol version, on books of the later protocol only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Book {
    /// The highest bid with shares, wherever it stands in the list.
    pub fn best_bid(&self) -> Option<BookLevel> {
        self.bids.iter().filter(|l| l.size.is_positive()).max_by_key(|l| l.price).copied()
    }

    /// The lowest ask with shares, wherever it stands in the list.
    pub fn best_ask(&self) -> Option<BookLevel> {
        self.asks.iter().filter(|l| l.size.is_positive()).min_by_key(|l| l.price).copied()
    }
}
