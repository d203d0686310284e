//! One row of a tape: a trade or another activity, as the Data API wrote it.

use std::sync::Arc;

use schemas::{Address, AssetId, ConditionId, Price, Round, Shares, Side, TxHash, Usdc};

use super::rows::Row;
use venue::wire::ActivityKind;

/// What a row is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKind {
    /// A trade of a token.
    Trade {
        /// What.
        asset: AssetId,
        /// Which way.
        side: Side,
        /// For how much a share, nearest at 10^-6.
        price: Price,
    },
    /// Something else on a condition, or on none.
    Activity(ActivityKind),
}

/// One row of a tape.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TapeRow {
    /// When, in the venue's seconds.
    pub second: i64,
    /// Whose.
    pub wallet: Address,
    /// What.
    pub kind: RowKind,
    /// The condition, where it names one.
    pub condition: Option<ConditionId>,
    /// 0 or 1; 999 where the API does not label it (`venue.md` 1.2).
    pub outcome_index: u16,
    /// The outcome's name.
    pub outcome: Arc<str>,
    /// How much, nearest at 10^-6.
    pub size: Shares,
    /// The dollars, where the row names them.
    pub usdc: Option<Usdc>,
    /// The settlement.
    pub tx: TxHash,
    /// The literals of size and price.
    pub literals: (Box<str>, Box<str>),
    /// The market's question.
    pub title: Arc<str>,
    /// The market's name in addresses.
    pub slug: Arc<str>,
    /// The event's name.
    pub event_slug: Arc<str>,
    /// The picture's address.
    pub icon: Arc<str>,
}

/// The latest second taken for one: 9999-12-31. A timestamp in milliseconds lies past it.
const LAST_SECOND: i64 = 253_402_300_799;

impl TapeRow {
    /// Reads a row under the column names of either version of the API.
    ///
    /// # Errors
    /// A sentence that names the column and what is wrong with it.
    pub fn read(row: &Row<'_>) -> Result<Self, String> {
        let word = row.get(&["type"]);
        let activity = match word.as_deref().map(ActivityKind::read) {
            None | Some(ActivityKind::Trade) => None,
            Some(ActivityKind::Other(word)) => return Err(format!("type `{word}` is unknown")),
            Some(kind) => Some(kind),
        };
        let size_literal = need(row, &["size"])?;
        let size = Shares::parse(&size_literal, Round::Nearest).map_err(|e| format!("size {e}"))?;
        let second = parse::<i64>(row, &["timestamp"])?;
        if !(0..=LAST_SECOND).contains(&second) {
            return Err(format!("timestamp {second} is not in seconds since 1970"));
        }
        let condition = match row.get(&["conditionId", "condition_id"]) {
            None => None,
            Some(id) => Some(ConditionId::parse_padded(&id).map_err(|e| format!("conditionId {e}"))?),
        };
        let price_literal = row.get(&["price"]).unwrap_or_default().into_owned();
        let kind = if let Some(kind) = activity {
            RowKind::Activity(kind)
        } else {
            if !size.is_positive() {
                return Err(format!("size {size_literal} is not above zero"));
            }
            if condition.is_none() {
                return Err("column conditionId is missing or empty".to_owned());
            }
            let price =
                Price::parse(&need(row, &["price"])?, Round::Nearest).map_err(|e| format!("price {e}"))?;
            if !(Price::ZERO..=Price::from_units(1)).contains(&price) {
                return Err(format!("price {price} is not between 0 and 1"));
            }
            RowKind::Trade { asset: parse(row, &["asset", "token_id"])?, side: parse(row, &["side"])?, price }
        };
        let text = |names: &[&str]| -> Arc<str> { row.get(names).unwrap_or_default().into() };
        Ok(Self {
            second,
            wallet: parse(row, &["proxyWallet", "proxy_wallet", "wallet"])?,
            kind,
            condition,
            outcome_index: match row.get(&["outcomeIndex", "outcome_index"]) {
                None => 999,
                Some(index) => index.parse().map_err(|_| format!("outcomeIndex `{index}` is no number"))?,
            },
            outcome: text(&["outcome"]),
            size,
            usdc: row.get(&["usdcSize", "usdc_size"]).and_then(|v| v.parse().ok()),
            tx: parse(row, &["transactionHash", "transaction_hash"])?,
            literals: (size_literal.into(), price_literal.into()),
            title: text(&["title"]),
            slug: text(&["slug"]),
            event_slug: text(&["eventSlug", "event_slug"]),
            icon: text(&["icon"]),
        })
    }
}

fn need(row: &Row<'_>, names: &[&str]) -> Result<String, String> {
    row.get(names)
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| format!("column {} is missing or empty", names.first().copied().unwrap_or_default()))
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(row: &Row<'_>, names: &[&str]) -> Result<T, String> {
    let text = need(row, names)?;
    text.parse().map_err(|e| format!("{} {e}", names.first().copied().unwrap_or_default()))
}
