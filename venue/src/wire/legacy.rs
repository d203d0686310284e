//! Rows of the Data API v1, announced retired (`venue.md` 1.1): for recorded tapes, never for the live path.
//! Shape of the recorded CSV tapes too: `csv` rows go through [`LegacyTradeRow::from_columns`].

use schemas::{
    ids::{Address, AssetId, TxHash},
    money::{AmountError, Price, Shares, Usdc},
    time::Timestamp,
    words::Side,
};
use serde::{Deserialize, Serialize};

use super::{
    data::ActivityKind,
    num::{number, number_opt, secs, whole},
    text::{id_opt, or_default},
};

/// A row of `GET /trades`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LegacyTradeRow {
    /// Whose trade.
    pub proxy_wallet: Address,
    /// Which way.
    pub side: Side,
    /// The token.
    pub asset: AssetId,
    /// The condition, of 31 or 32 bytes.
    pub condition_id: String,
    /// Shares.
    #[serde(with = "number")]
    pub size: Shares,
    /// An average, for takers.
    #[serde(with = "number")]
    pub price: Price,
    /// The block's second.
    #[serde(with = "secs")]
    pub timestamp: Timestamp,
    /// The market's question.
    #[serde(default, deserialize_with = "or_default")]
    pub title: String,
    /// The market's slug.
    #[serde(default, deserialize_with = "or_default")]
    pub slug: String,
    /// The event's slug.
    #[serde(default, deserialize_with = "or_default")]
    pub event_slug: String,
    /// The outcome: `Yes`.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome: String,
    /// Its number; 999 where unlabelled.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome_index: u32,
    /// The trader's name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The trader's made-up name.
    #[serde(default, deserialize_with = "or_default")]
    pub pseudonym: String,
    /// The settlement transaction.
    pub transaction_hash: TxHash,
}

/// Why a CSV row is no trade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    /// A column is missing.
    #[error("the tape has no column `{0}`: it is not a Data API v1 tape")]
    Missing(&'static str),
    /// An identity is malformed.
    #[error(transparent)]
    Id(#[from] schemas::ids::IdError),
    /// A number is malformed.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl LegacyTradeRow {
    /// A row of a recorded CSV tape: `get` finds a column by its name in the API.
    ///
    /// # Errors
    /// A missing or malformed column.
    pub fn from_columns<'a>(get: impl Fn(&'static str) -> Option<&'a str>) -> Result<Self, ColumnError> {
        let need = |name| get(name).ok_or(ColumnError::Missing(name));
        let text = |name| get(name).unwrap_or_default().to_owned();
        Ok(Self {
            proxy_wallet: need("proxyWallet")?.parse()?,
            side: need("side")?.parse()?,
            asset: need("asset")?.parse()?,
            condition_id: need("conditionId")?.to_owned(),
            size: need("size")?.parse()?,
            price: need("price")?.parse()?,
            timestamp: Timestamp::from_secs(whole(need("timestamp")?)?),
            title: text("title"),
            slug: text("slug"),
            event_slug: text("eventSlug"),
            outcome: text("outcome"),
            outcome_index: get("outcomeIndex").and_then(|s| s.parse().ok()).unwrap_or(999),
            name: text("name"),
            pseudonym: text("pseudonym"),
            transaction_hash: need("transactionHash")?.parse()?,
        })
    }
}

/// A row of `GET /activity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LegacyActivityRow {
    /// Whose.
    pub proxy_wallet: Address,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: ActivityKind,
    /// Which way; `""` on what is no trade.
    #[serde(default, with = "id_opt")]
    pub side: Option<Side>,
    /// The token; `""` on what has none.
    #[serde(default, with = "id_opt")]
    pub asset: Option<AssetId>,
    /// The condition, of 31 or 32 bytes; `""` where there is none.
    #[serde(default, deserialize_with = "or_default")]
    pub condition_id: String,
    /// Shares.
    #[serde(with = "number")]
    pub size: Shares,
    /// Dollars.
    #[serde(default, with = "number_opt")]
    pub usdc_size: Option<Usdc>,
    /// Dollars a share.
    #[serde(default, with = "number_opt")]
    pub price: Option<Price>,
    /// The block's second.
    #[serde(with = "secs")]
    pub timestamp: Timestamp,
    /// The outcome.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome: String,
    /// Its number; 999 where unlabelled.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome_index: u32,
    /// The settlement transaction.
    pub transaction_hash: TxHash,
}
