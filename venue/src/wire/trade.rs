//! `GET /data/trades`: the trades of our own orders (`venue.md` 6, 3.2).

use schemas::{
    ids::{AssetId, OrderId, TxHash},
    money::Price,
    time::Timestamp,
    words::Side,
};
use serde::{Deserialize, Serialize};

use super::{
    num::{Literal, secs_text_opt, text},
    text::{id_opt, or_default},
    word::open_words,
};

open_words! {
    /// Where a trade stands, with or without the prefix `TRADE_STATUS_`.
    ClobTradeStatus, prefix "TRADE_STATUS_" {
        /// Matched, not settled.
        Matched = "MATCHED",
        /// In a block.
        Mined = "MINED",
        /// Final.
        Confirmed = "CONFIRMED",
        /// Its transaction failed and is tried again.
        Retrying = "RETRYING",
        /// It did not settle and never will: the only reversal.
        Failed = "FAILED",
    }
}

open_words! {
    /// Which part we had in a trade.
    TraderSide, prefix "" {
        /// Ours took.
        Taker = "TAKER",
        /// Ours rested.
        Maker = "MAKER",
    }
}

/// A resting order that a trade filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakerOrder {
    /// Its id.
    pub order_id: OrderId,
    /// The API key's id.
    #[serde(default, deserialize_with = "or_default")]
    pub owner: String,
    /// Whose money.
    #[serde(default, deserialize_with = "or_default")]
    pub maker_address: String,
    /// What it filled; unit by [`super::SizeUnits::of_part`].
    pub matched_amount: Literal,
    /// At its own limit.
    #[serde(with = "text")]
    pub price: Price,
    /// Its token.
    #[serde(default, with = "id_opt")]
    pub asset_id: Option<AssetId>,
    /// Its outcome.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome: String,
    /// Which way; absent in some answers.
    #[serde(default, with = "id_opt")]
    pub side: Option<Side>,
}

/// A trade of ours. The key of a fill is its id, with the order's id for a maker who had several orders in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClobTrade {
    /// The trade's id.
    pub id: String,
    /// The order that took.
    pub taker_order_id: OrderId,
    /// The condition as it came.
    #[serde(default, deserialize_with = "or_default")]
    pub market: String,
    /// The taker's token.
    pub asset_id: AssetId,
    /// The taker's side.
    pub side: Side,
    /// What the taker filled; unit by [`super::SizeUnits::of_part`].
    pub size: Literal,
    /// The taker's average price.
    #[serde(with = "text")]
    pub price: Price,
    /// Where it stands.
    pub status: ClobTradeStatus,
    /// When it was matched.
    #[serde(default, alias = "matchtime", with = "secs_text_opt")]
    pub match_time: Option<Timestamp>,
    /// When it last changed.
    #[serde(default, with = "secs_text_opt")]
    pub last_update: Option<Timestamp>,
    /// The taker's outcome.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome: String,
    /// The API key's id.
    #[serde(default, deserialize_with = "or_default")]
    pub owner: String,
    /// The taker's wallet.
    #[serde(default, deserialize_with = "or_default")]
    pub maker_address: String,
    /// The settlement transaction; `""` until mined, and it can change until the trade is final.
    #[serde(default, with = "id_opt")]
    pub transaction_hash: Option<TxHash>,
    /// The resting orders that it filled.
    #[serde(default, deserialize_with = "or_default")]
    pub maker_orders: Vec<MakerOrder>,
    /// Which part we had in it.
    #[serde(default)]
    pub trader_side: TraderSide,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub err_msg: Option<String>,
}

impl ClobTrade {
    /// What this trade filled of one order: its size and price as they came, for the taker's order or any of
    /// the makers'. `None` where the order had no part in it.
    pub fn part_of(&self, order: OrderId) -> Option<(&Literal, Price)> {
        if self.taker_order_id == order {
            return Some((&self.size, self.price));
        }
        self.maker_orders.iter().find(|m| m.order_id == order).map(|m| (&m.matched_amount, m.price))
    }
}
