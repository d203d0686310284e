//! Rows of the Data API v2 (`venue.md` 1.2 to 1.4).

use schemas::{
    ids::{Address, AssetId, ConditionId, IdError, TxHash},
    money::{Price, Shares, Usdc},
    time::Timestamp,
    words::Side,
};
use serde::{Deserialize, Serialize};

use super::{
    num::{number, number_opt, secs},
    text::{id_opt, loose, or_default},
    word::open_words,
};

/// The outcome number of rows without a labelled outcome.
pub const UNLABELED_OUTCOME: u32 = 999;

/// A row of `GET /v2/trades`: one order's fill inside one transaction. It has no id, no role and no log
/// index, and the same values may stand in another real row (`venue.md` 1.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeRow {
    /// Whose trade.
    pub proxy_wallet: Address,
    /// Which way.
    pub side: Side,
    /// The token or position.
    pub token_id: AssetId,
    /// The condition as it came: 32 bytes, 31 bytes on the later protocol and on combos.
    pub condition_id: String,
    /// Shares.
    #[serde(with = "number")]
    pub size: Shares,
    /// Dollars a share; an average for takers, never on the tick.
    #[serde(with = "number")]
    pub price: Price,
    /// The block's second.
    #[serde(with = "secs")]
    pub timestamp: Timestamp,
    /// The market's question.
    #[serde(default, deserialize_with = "or_default")]
    pub title: String,
    /// The market's slug; empty on combos.
    #[serde(default, deserialize_with = "or_default")]
    pub slug: String,
    /// The market's picture.
    #[serde(default, deserialize_with = "or_default")]
    pub icon: String,
    /// The event's slug.
    #[serde(default, deserialize_with = "or_default")]
    pub event_slug: String,
    /// The outcome: `Yes`; empty on combos.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome: String,
    /// Its number, [`UNLABELED_OUTCOME`] where there is none.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome_index: u32,
    /// The trader's name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The trader's made-up name.
    #[serde(default, deserialize_with = "or_default")]
    pub pseudonym: String,
    /// The trader's words.
    #[serde(default, deserialize_with = "or_default")]
    pub bio: String,
    /// The trader's picture.
    #[serde(default, deserialize_with = "or_default")]
    pub profile_image: String,
    /// The same, smaller.
    #[serde(default, deserialize_with = "or_default")]
    pub profile_image_optimized: String,
    /// The settlement transaction.
    pub transaction_hash: TxHash,
}

impl TradeRow {
    /// The condition, padded to 32 bytes (`behaviour.md` 1).
    ///
    /// # Errors
    /// Text that is no condition.
    pub fn condition(&self) -> Result<ConditionId, IdError> {
        ConditionId::parse_padded(&self.condition_id)
    }

    /// Whether the row belongs to a combo: a short condition, and neither slug nor outcome. Such a market is
    /// unknown to us (`behaviour.md` 1).
    pub fn is_combo(&self) -> bool {
        self.condition_id.len() == 2 + 62 && self.slug.is_empty() && self.outcome.is_empty()
    }
}

open_words! {
    /// What an activity row is.
    ActivityKind, prefix "" {
        /// A trade.
        Trade = "TRADE",
        /// Collateral into both outcomes.
        Split = "SPLIT",
        /// Both outcomes into collateral.
        Merge = "MERGE",
        /// Winning shares paid out.
        Redeem = "REDEEM",
        /// A reward.
        Reward = "REWARD",
        /// Neg-risk conversion.
        Conversion = "CONVERSION",
        /// The same holding under another id.
        Migration = "MIGRATION",
        /// Money in.
        Deposit = "DEPOSIT",
        /// Money out.
        Withdrawal = "WITHDRAWAL",
        /// Interest.
        Yield = "YIELD",
        /// A maker's rebate.
        MakerRebate = "MAKER_REBATE",
        /// A taker's rebate.
        TakerRebate = "TAKER_REBATE",
        /// A reward for a referral.
        ReferralReward = "REFERRAL_REWARD",
        /// A tip.
        Tip = "TIP",
    }
}

/// A row of `GET /v2/activity`: a trade row with its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityRow {
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
    pub token_id: Option<AssetId>,
    /// The condition as it came; `""` where there is none.
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
    /// The market's slug.
    #[serde(default, deserialize_with = "or_default")]
    pub slug: String,
    /// The outcome.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome: String,
    /// Its number, [`UNLABELED_OUTCOME`] where there is none.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome_index: u32,
    /// Whether it belongs to a combo.
    #[serde(default)]
    pub is_combo: Option<bool>,
    /// The settlement transaction.
    pub transaction_hash: TxHash,
}

impl ActivityRow {
    /// The condition, padded to 32 bytes (`behaviour.md` 1).
    ///
    /// # Errors
    /// Text that is no condition: rows without a market have none.
    pub fn condition(&self) -> Result<ConditionId, IdError> {
        ConditionId::parse_padded(&self.condition_id)
    }
}

open_words! {
    /// Where a position stands.
    PositionStatus, prefix "" {
        /// Held.
        Open = "OPEN",
        /// Won, not paid out.
        Redeemable = "REDEEMABLE",
        /// Lost, worth nothing.
        RedeemableLost = "REDEEMABLE_LOST",
        /// Both outcomes held.
        Mergeable = "MERGEABLE",
        /// No shares left.
        Closed = "CLOSED",
    }
}

/// A row of `GET /v2/positions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionRow {
    /// Whose.
    pub proxy_wallet: Address,
    /// The token or position.
    pub token_id: AssetId,
    /// The other outcome's.
    #[serde(default, with = "id_opt")]
    pub opposite_token_id: Option<AssetId>,
    /// The condition as it came.
    pub condition_id: String,
    /// Shares held now.
    #[serde(with = "number")]
    pub current_size: Shares,
    /// What a share cost on average.
    #[serde(default, with = "number_opt")]
    pub avg_price: Option<Price>,
    /// What the holding cost, in dollars.
    #[serde(default, with = "number_opt")]
    pub entry_cost_usdc: Option<Usdc>,
    /// Fees paid on the way in.
    #[serde(default, with = "number_opt")]
    pub entry_fees_usdc: Option<Usdc>,
    /// The price now.
    #[serde(default, with = "number_opt")]
    pub current_price: Option<Price>,
    /// The value now.
    #[serde(default, with = "number_opt")]
    pub current_value: Option<Usdc>,
    /// Gains taken.
    #[serde(default, with = "number_opt")]
    pub realized_pnl: Option<Usdc>,
    /// Gains on paper.
    #[serde(default, with = "number_opt")]
    pub unrealized_pnl: Option<Usdc>,
    /// Both.
    #[serde(default, with = "number_opt")]
    pub total_pnl: Option<Usdc>,
    /// Where it stands.
    #[serde(default)]
    pub status: PositionStatus,
    /// Whether it can be paid out.
    #[serde(default, deserialize_with = "or_default")]
    pub redeemable: bool,
    /// Whether both outcomes are held.
    #[serde(default, deserialize_with = "or_default")]
    pub mergeable: bool,
    /// Whether the market is a neg-risk market.
    #[serde(default, deserialize_with = "or_default")]
    pub negative_risk: bool,
    /// The outcome.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome: String,
    /// Its number, [`UNLABELED_OUTCOME`] where there is none.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome_index: u32,
    /// The event.
    #[serde(default, deserialize_with = "loose")]
    pub event_id: String,
    /// When the market ends, as the venue writes it.
    #[serde(default, deserialize_with = "or_default")]
    pub end_date: String,
}

impl PositionRow {
    /// The condition, padded to 32 bytes (`behaviour.md` 1).
    ///
    /// # Errors
    /// Text that is no condition.
    pub fn condition(&self) -> Result<ConditionId, IdError> {
        ConditionId::parse_padded(&self.condition_id)
    }
}
