//! Gamma's market rows (`venue.md` 2). Lists come as JSON inside strings, dates in several shapes.

use jiff::{civil, tz::TimeZone};
use schemas::{
    ids::{AssetId, ConditionId, IdError},
    money::{Price, Shares, Tick},
    time::Timestamp,
    words::MarketVersion,
};
use serde::{Deserialize, Serialize};

use super::{
    num::{Rate, number_opt},
    text::{embedded, loose, or_default},
};

/// A page of `GET /markets/keyset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GammaPage<T> {
    /// The rows.
    #[serde(alias = "data")]
    pub markets: Vec<T>,
    /// The cursor of the next page; absent after the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// The taker fee of a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeeSchedule {
    /// The rate: 0.05.
    #[serde(default, with = "number_opt")]
    pub rate: Option<Rate>,
    /// The exponent of `p (1 - p)`: 1.
    #[serde(default, with = "number_opt")]
    pub exponent: Option<Rate>,
    /// Whether makers pay nothing.
    #[serde(default)]
    pub taker_only: Option<bool>,
    /// What makers get back of it.
    #[serde(default, with = "number_opt")]
    pub rebate_rate: Option<Rate>,
}

/// A market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GammaMarket {
    /// Gamma's own id.
    #[serde(default, deserialize_with = "loose")]
    pub id: String,
    /// The condition as it came: 32 bytes, 31 bytes on the later protocol. Absent on markets not yet
    /// prepared.
    #[serde(default, deserialize_with = "or_default")]
    pub condition_id: String,
    /// The question.
    #[serde(default, deserialize_with = "or_default")]
    pub question: String,
    /// The slug.
    #[serde(default, deserialize_with = "or_default")]
    pub slug: String,
    /// The category; rarely given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The protocol: absent or `v1`, else `v2`. Position ids say nothing about it (`venue.md` 0.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The traded ids of version 1.
    #[serde(default, with = "embedded")]
    pub clob_token_ids: Vec<AssetId>,
    /// The traded ids of version 2; version 1 markets may carry them too.
    #[serde(default, deserialize_with = "or_default")]
    pub position_ids: Vec<AssetId>,
    /// The outcomes, in the order of the ids.
    #[serde(default, with = "embedded")]
    pub outcomes: Vec<String>,
    /// Their prices as decimal text; `["1", "0"]` once resolved.
    #[serde(default, with = "embedded")]
    pub outcome_prices: Vec<String>,
    /// Whether it is shown.
    #[serde(default)]
    pub active: Option<bool>,
    /// Whether it is over. Not the same as resolved.
    #[serde(default)]
    pub closed: Option<bool>,
    /// Whether it was put away.
    #[serde(default)]
    pub archived: Option<bool>,
    /// When it closed, as the venue writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_time: Option<String>,
    /// Whether orders are taken.
    #[serde(default)]
    pub accepting_orders: Option<bool>,
    /// Whether there is a book.
    #[serde(default)]
    pub enable_order_book: Option<bool>,
    /// Whether the market belongs to the neg-risk exchange.
    #[serde(default)]
    pub neg_risk: Option<bool>,
    /// The smallest resting order, in shares.
    #[serde(default, with = "number_opt")]
    pub order_min_size: Option<Shares>,
    /// The tick.
    #[serde(default, with = "number_opt")]
    pub order_price_min_tick_size: Option<Price>,
    /// How long the venue holds orders back (sports), in seconds.
    #[serde(default, with = "number_opt", skip_serializing_if = "Option::is_none")]
    pub seconds_delay: Option<Rate>,
    /// Whether takers pay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fees_enabled: Option<bool>,
    /// The name of the fee table: `crypto_fees_v2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee_type: Option<String>,
    /// What takers pay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee_schedule: Option<FeeSchedule>,
    /// The oracle's word (version 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uma_resolution_status: Option<String>,
    /// The venue's word (version 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution_status: Option<String>,
    /// When it ends: a time, or a date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date: Option<String>,
    /// The day on which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date_iso: Option<String>,
    /// When the game starts, as the venue writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub game_start_time: Option<String>,
    /// The events it belongs to: of them, only the slug and category matter.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<GammaEvent>,
}

/// What a market row says of its event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GammaEvent {
    /// Gamma's id of the event.
    #[serde(default, deserialize_with = "loose")]
    pub id: String,
    /// Its slug.
    #[serde(default, deserialize_with = "or_default")]
    pub slug: String,
    /// Its category; rarely given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
}

impl GammaMarket {
    /// The condition, padded to 32 bytes (`behaviour.md` 1).
    ///
    /// # Errors
    /// Text that is no condition.
    pub fn condition(&self) -> Result<ConditionId, IdError> {
        ConditionId::parse_padded(&self.condition_id)
    }

    /// The protocol; `None` where it is a word that this build does not know: no order may be signed then.
    pub fn protocol(&self) -> Option<MarketVersion> {
        protocol(self.version.as_deref())
    }

    /// The traded ids of the market's own protocol, in the order of the outcomes; empty where the protocol is
    /// unknown.
    pub fn traded_ids(&self) -> &[AssetId] {
        match self.protocol() {
            Some(MarketVersion::V1) => &self.clob_token_ids,
            Some(MarketVersion::V2) => &self.position_ids,
            None => &[],
        }
    }

    /// The tick, where it is one that exists.
    pub fn tick(&self) -> Option<Tick> {
        Tick::from_micro(self.order_price_min_tick_size?.micro()).ok()
    }

    /// When the market ends. A date without time is the end of that UTC day (`behaviour.md` 2, rule 6).
    pub fn ends_at(&self) -> Option<Timestamp> {
        [&self.end_date, &self.end_date_iso].into_iter().flatten().find_map(|text| end_of(text))
    }
}

/// The protocol that a version word names: absent is the first.
pub fn protocol(version: Option<&str>) -> Option<MarketVersion> {
    match version {
        None | Some("") => Some(MarketVersion::V1),
        Some(word) => word.parse().ok(),
    }
}

/// A point in time, or the end of a day named without one.
pub fn end_of(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.len() == "2026-07-20".len() {
        let day: civil::Date = text.parse().ok()?;
        let midnight = day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?;
        return Some(Timestamp::from_micros(midnight.timestamp().as_microsecond()));
    }
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_micros(at.as_microsecond()))
}
