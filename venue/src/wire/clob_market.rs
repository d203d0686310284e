//! `GET /clob-markets/{condition}`: what an order needs to know of its market, in one call (`venue.md` 2).
//! Every field but the tokens may be missing, except that who signs without the neg-risk flag signs for the
//! wrong contract: see [`ClobMarket::neg_risk`].

use schemas::{
    ids::AssetId,
    money::{Price, Shares},
};
use serde::{Deserialize, Serialize};

use super::{
    num::{Rate, number_opt},
    text::or_default,
};

/// One token of a market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClobToken {
    /// Its id.
    #[serde(rename = "t")]
    pub token: AssetId,
    /// Its outcome: `Yes`.
    #[serde(rename = "o", default, deserialize_with = "or_default")]
    pub outcome: String,
}

/// The taker fee of a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClobFee {
    /// The rate: 0.05.
    #[serde(rename = "r", default, with = "number_opt")]
    pub rate: Option<Rate>,
    /// The exponent of `p (1 - p)`: 1.
    #[serde(rename = "e", default, with = "number_opt")]
    pub exponent: Option<Rate>,
    /// Whether makers pay nothing.
    #[serde(rename = "to", default)]
    pub taker_only: Option<bool>,
}

/// A market, in the CLOB's short keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClobMarket {
    /// The condition, of 31 or 32 bytes.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Both tokens, in the order of the outcomes.
    #[serde(rename = "t", default, deserialize_with = "or_default")]
    pub tokens: Vec<ClobToken>,
    /// The smallest resting order, in shares.
    #[serde(rename = "mos", default, with = "number_opt", skip_serializing_if = "Option::is_none")]
    pub min_order_size: Option<Shares>,
    /// The tick.
    #[serde(rename = "mts", default, with = "number_opt", skip_serializing_if = "Option::is_none")]
    pub tick: Option<Price>,
    /// A flag, not a rate: 1000 on any market with fees.
    #[serde(rename = "mbf", default, with = "number_opt", skip_serializing_if = "Option::is_none")]
    pub maker_base_fee: Option<Rate>,
    /// A flag, not a rate: 1000 on any market with fees.
    #[serde(rename = "tbf", default, with = "number_opt", skip_serializing_if = "Option::is_none")]
    pub taker_base_fee: Option<Rate>,
    /// Whether orders are taken.
    #[serde(rename = "ao", default, skip_serializing_if = "Option::is_none")]
    pub accepting_orders: Option<bool>,
    /// Whether the market belongs to the neg-risk exchange: it decides which contract an order is signed
    /// for. Absent in some answers; then Gamma's `negRisk` says.
    #[serde(rename = "nr", default, skip_serializing_if = "Option::is_none")]
    pub neg_risk: Option<bool>,
    /// The fee. Absent on markets without fees.
    #[serde(rename = "fd", default, skip_serializing_if = "Option::is_none")]
    pub fee: Option<ClobFee>,
    /// Whether taker orders are delayed.
    #[serde(rename = "itode", default, skip_serializing_if = "Option::is_none")]
    pub taker_delay: Option<bool>,
    /// The least age of an order before it may be cancelled, in seconds.
    #[serde(rename = "oas", default, with = "number_opt", skip_serializing_if = "Option::is_none")]
    pub min_order_age: Option<Rate>,
    /// When the game starts, as the venue writes it.
    #[serde(rename = "gst", default, skip_serializing_if = "Option::is_none")]
    pub game_start: Option<String>,
    /// The protocol version: absent or `v1`, else `v2`.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}
