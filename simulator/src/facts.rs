//! Market facts from files of Gamma rows: what a tape does not bring.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use schemas::{AssetId, ConditionId, MarketVersion, Price, Round, Shares, Tick, Timestamp, money};
use venue::wire::gamma::{end_of, protocol};

use crate::tape::{BrokenRow, Row, TapeError, read_rows, read_text};

/// What a Gamma row says of a market. Whatever it leaves out has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Gamma's own number.
    pub id: Option<u64>,
    /// The protocol.
    pub version: MarketVersion,
    /// The question.
    pub title: Option<Arc<str>>,
    /// Its name in addresses.
    pub slug: Option<Arc<str>>,
    /// The event's name.
    pub event_slug: Option<Arc<str>>,
    /// The category.
    pub category: Option<Arc<str>>,
    /// The traded ids, in the order of the outcomes.
    pub tokens: Vec<AssetId>,
    /// The outcomes' names.
    pub outcomes: Vec<String>,
    /// What each outcome paid, in 10^-6 dollars, where the market is resolved.
    pub payouts: Option<[i64; 2]>,
    /// The step of its prices.
    pub tick: Option<Tick>,
    /// The smallest resting order.
    pub min_size: Option<Shares>,
    /// Whether it is a neg-risk market.
    pub neg_risk: bool,
    /// The taker fee's rate in 10^-6.
    pub fee_rate: i64,
    /// When it ends, in the time of the recording.
    pub end: Option<Timestamp>,
}

/// Reads the facts of the conditions asked for; other rows of the file are passed over. Rows that cannot
/// be read are reported; a later row of a condition takes the place of an earlier one.
///
/// # Errors
/// A file that cannot be read.
pub fn load(
    path: &Path,
    wanted: &BTreeSet<ConditionId>,
    broken: &mut Vec<BrokenRow>,
) -> Result<BTreeMap<ConditionId, Facts>, TapeError> {
    let text = read_text(path, broken)?;
    let mut found = BTreeMap::new();
    read_rows(&text, broken, |row| {
        // Markets that were never prepared have no condition.
        let Some(id) = row.get(&["conditionId", "condition_id"]) else { return Ok(()) };
        let condition = ConditionId::parse_padded(&id).map_err(|e| format!("conditionId {e}"))?;
        if wanted.contains(&condition) {
            found.insert(condition, Facts::read(row)?);
        }
        Ok::<_, String>(())
    });
    Ok(found)
}

impl Facts {
    fn read(row: &Row<'_>) -> Result<Self, String> {
        let text = |names: &[&str]| row.get(names).map(Arc::<str>::from);
        let version_word = row.get(&["version"]);
        let version = protocol(version_word.as_deref())
            .ok_or_else(|| format!("version `{}` is unknown", version_word.unwrap_or_default()))?;
        let ids: &[&str] = match version {
            MarketVersion::V1 => &["clobTokenIds", "clob_token_ids"],
            MarketVersion::V2 => &["positionIds", "position_ids"],
        };
        let tokens = list(row, ids)?
            .iter()
            .map(|id| id.parse().map_err(|e| format!("{} {e}", ids[0])))
            .collect::<Result<Vec<AssetId>, _>>()?;
        let event = row.get(&["events"]).and_then(|json| {
            serde_json::from_str::<Vec<venue::wire::gamma::GammaEvent>>(&json).ok()?.into_iter().next()
        });
        let event_slug = event.as_ref().map(|e| e.slug.as_str().into());
        let resolved = matches!(
            row.get(&["umaResolutionStatus", "resolutionStatus"]).as_deref(),
            Some("resolved" | "settled")
        );
        let prices = list(row, &["outcomePrices", "outcome_prices"])?;
        let payouts = (resolved || truth(row, "closed")).then(|| payouts(&prices)).flatten();
        Ok(Self {
            id: row.get(&["id"]).and_then(|id| id.parse().ok()),
            version,
            title: text(&["question", "title"]),
            slug: text(&["slug"]),
            event_slug: text(&["eventSlug", "event_slug"]).or(event_slug),
            category: text(&["category"]).or_else(|| event?.category.map(Into::into)),
            tokens,
            outcomes: list(row, &["outcomes"])?,
            payouts,
            tick: match row.get(&["orderPriceMinTickSize"]) {
                None => None,
                Some(tick) => {
                    let micro = money::parse_micro(&tick, Round::Nearest).map_err(|e| e.to_string())?;
                    Some(Tick::from_micro(micro).map_err(|e| format!("orderPriceMinTickSize {e}"))?)
                }
            },
            min_size: match row.get(&["orderMinSize"]) {
                None => None,
                Some(size) => Some(size.parse().map_err(|e| format!("orderMinSize {e}"))?),
            },
            neg_risk: truth(row, "negRisk"),
            fee_rate: fee_rate(row),
            end: row.get(&["endDate", "endDateIso"]).and_then(|text| end_of(&text)),
        })
    }
}

/// A list that stands in a JSON string, or plainly.
fn list(row: &Row<'_>, names: &[&str]) -> Result<Vec<String>, String> {
    match row.get(names) {
        None => Ok(Vec::new()),
        Some(json) => serde_json::from_str(&json).map_err(|e| format!("{} is no list: {e}", names[0])),
    }
}

fn truth(row: &Row<'_>, name: &str) -> bool {
    row.get(&[name]).is_some_and(|word| word.eq_ignore_ascii_case("true"))
}

/// Prices of 1 and 0, or of one half each: anything else is a price, not a payout.
fn payouts(prices: &[String]) -> Option<[i64; 2]> {
    let paid: Vec<i64> = prices.iter().filter_map(|p| money::parse_micro(p, Round::Nearest).ok()).collect();
    let paid: [i64; 2] = paid.try_into().ok()?;
    matches!(paid, [money::ONE, 0] | [0, money::ONE] | [500_000, 500_000]).then_some(paid)
}

/// The rate the row names, else that of its fee table (`venue.md` 5.6).
fn fee_rate(row: &Row<'_>) -> i64 {
    let schedule = row.get(&["feeSchedule"]);
    let named = schedule
        .as_deref()
        .and_then(|json| serde_json::from_str::<venue::wire::FeeSchedule>(json).ok())
        .and_then(|schedule| schedule.rate);
    if let Some(rate) = named {
        return rate.micro();
    }
    let table = row.get(&["feeType"]).unwrap_or_default();
    if table.is_empty() || (row.get(&["feesEnabled"]).is_some() && !truth(row, "feesEnabled")) {
        return 0;
    }
    match table.split('_').next() {
        Some("crypto") => 70_000,
        Some("finance" | "politics" | "mentions" | "tech") => 40_000,
        Some("geopolitics") => 0,
        _ => 50_000,
    }
}

/// The tick of a market nobody told us about, from the literals of its prices: the fine one where a price
/// is near an end or has three decimals. Prices with more are averages and say nothing.
pub fn infer_tick<'a>(prices: impl Iterator<Item = (Price, &'a str)>) -> Tick {
    const FINE: i64 = 1_000;
    let fine = prices.into_iter().any(|(price, literal)| {
        let decimals = literal.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        !(40_000..=960_000).contains(&price.micro()) || decimals == 3
    });
    if fine { Tick::from_micro(FINE).unwrap_or(Tick::CENT) } else { Tick::CENT }
}
