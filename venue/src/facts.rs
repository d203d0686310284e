//! The venue's rows as the facts and books that records carry (`schemas::events`).
//!
//! Whatever an order's signature depends on fails closed: where Gamma and the CLOB disagree, or nobody says,
//! there are no facts, and a market without facts is `market_unknown` (`behaviour.md` 2, rule 5).

use schemas::{
    events::{BookLevel as RecordedLevel, BookSnapshot, MarketFacts, MarketToken},
    ids::{AssetId, ConditionId},
    money::{ONE, Price, Tick},
};

use crate::wire::{Book, BookLevel, ClobMarket, GammaMarket, Rate, gamma::protocol};

/// Levels kept of each side of a book.
pub const BOOK_DEPTH: usize = 20;

/// Why a market's rows make no facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// A field that is needed is missing, or is not what it should be.
    #[error(
        "market_facts_missing: market {slug} has no usable {what}; it cannot be traded until the venue says it"
    )]
    Missing {
        /// The market.
        slug: String,
        /// What is missing.
        what: &'static str,
    },
    /// Gamma and the CLOB disagree on what an order's signature depends on.
    #[error(
        "market_facts_conflict: Gamma and the CLOB disagree on the {what} of market {slug}; it cannot be traded until they agree"
    )]
    Conflict {
        /// The market.
        slug: String,
        /// On what.
        what: &'static str,
    },
}

impl FactsError {
    /// The error's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "market_facts_missing",
            Self::Conflict { .. } => "market_facts_conflict",
        }
    }
}

/// One value that two rows may give, and that must not differ.
fn agreed<T: PartialEq>(a: Option<T>, b: Option<T>) -> Result<Option<T>, ()> {
    match (a, b) {
        (Some(a), Some(b)) if a != b => Err(()),
        (a, b) => Ok(a.or(b)),
    }
}

fn whole_exponent(exponent: Rate) -> Option<i32> {
    (exponent.micro() % ONE == 0).then(|| i32::try_from(exponent.micro() / ONE).ok()).flatten()
}

/// The facts of a market, from Gamma's row and, where there is one, the CLOB's: the CLOB's word counts for
/// what an order must obey (tick, minimum, fee), both words for what it is signed for.
///
/// # Errors
/// Facts that are missing or in conflict.
pub fn market_facts(gamma: &GammaMarket, clob: Option<&ClobMarket>) -> Result<MarketFacts, FactsError> {
    let missing = |what| FactsError::Missing { slug: gamma.slug.clone(), what };
    let conflict = |what| FactsError::Conflict { slug: gamma.slug.clone(), what };

    let condition_id = gamma.condition().map_err(|_| missing("condition id"))?;
    if let Some(theirs) = clob.and_then(|c| c.condition.as_deref())
        && ConditionId::parse_padded(theirs) != Ok(condition_id)
    {
        return Err(conflict("condition"));
    }
    let version = gamma.protocol().ok_or_else(|| missing("protocol version"))?;
    if let Some(word) = clob.and_then(|c| c.version.as_deref())
        && protocol(Some(word)) != Some(version)
    {
        return Err(conflict("protocol version"));
    }
    let neg_risk = agreed(clob.and_then(|c| c.neg_risk), gamma.neg_risk)
        .map_err(|()| conflict("neg-risk flag"))?
        .ok_or_else(|| missing("neg-risk flag"))?;

    let ids = gamma.traded_ids();
    if ids.is_empty() || ids.len() != gamma.outcomes.len() {
        return Err(missing("list of tokens"));
    }
    if let Some(clob) = clob.filter(|c| !c.tokens.is_empty()) {
        let mut theirs: Vec<&AssetId> = clob.tokens.iter().map(|t| &t.token).collect();
        let mut ours: Vec<&AssetId> = ids.iter().collect();
        theirs.sort();
        ours.sort();
        if ours != theirs {
            return Err(conflict("list of tokens"));
        }
    }
    let tokens = ids
        .iter()
        .zip(&gamma.outcomes)
        .map(|(asset, outcome)| MarketToken { asset: asset.clone(), outcome: outcome.clone() })
        .collect();

    let tick = clob
        .and_then(|c| c.tick)
        .or(gamma.order_price_min_tick_size)
        .and_then(|t| Tick::from_micro(t.micro()).ok())
        .ok_or_else(|| missing("tick"))?;
    let min_shares = clob
        .and_then(|c| c.min_order_size)
        .or(gamma.order_min_size)
        .filter(|m| m.is_positive())
        .ok_or_else(|| missing("minimum size"))?;
    let (fee_rate, fee_exponent) = fee(gamma, clob).ok_or_else(|| missing("fee"))?;

    let accepting = clob.and_then(|c| c.accepting_orders).or(gamma.accepting_orders).unwrap_or(false);
    let event = gamma.events.first();
    Ok(MarketFacts {
        condition_id,
        tokens,
        version,
        neg_risk,
        tick,
        min_shares,
        accepting_orders: accepting
            && !gamma.closed.unwrap_or(false)
            && !gamma.archived.unwrap_or(false)
            && gamma.enable_order_book.unwrap_or(true),
        end_at: gamma.ends_at(),
        fee_rate,
        fee_exponent,
        category: gamma.category.clone().or_else(|| event?.category.clone()).filter(|c| !c.is_empty()),
        slug: Some(gamma.slug.clone()).filter(|s| !s.is_empty()),
        title: Some(gamma.question.clone()).filter(|q| !q.is_empty()),
    })
}

/// Rate in 10^-6 and exponent; free where both sides say so, `None` where there is a fee that nobody names.
fn fee(gamma: &GammaMarket, clob: Option<&ClobMarket>) -> Option<(i64, i32)> {
    let named = clob
        .and_then(|c| c.fee)
        .map(|f| (f.rate, f.exponent))
        .or_else(|| gamma.fee_schedule.map(|f| (f.rate, f.exponent)));
    match named {
        Some((Some(rate), exponent)) => {
            let exponent = exponent.map_or(Some(1), whole_exponent).filter(|e| *e >= 0)?;
            (rate >= Rate::ZERO).then_some((rate.micro(), exponent))
        }
        Some((None, _)) => None,
        None => {
            let flagged = gamma.fees_enabled == Some(true)
                || clob.and_then(|c| c.taker_base_fee).is_some_and(|f| f > Rate::ZERO);
            (!flagged).then_some((0, 1))
        }
    }
}

fn side<K: Ord>(levels: &[BookLevel], key: impl Fn(Price) -> K) -> Vec<RecordedLevel> {
    let mut levels: Vec<&BookLevel> = levels.iter().filter(|l| l.size.is_positive()).collect();
    levels.sort_by_key(|l| key(l.price));
    levels.iter().take(BOOK_DEPTH).map(|l| RecordedLevel { price: l.price, shares: l.size }).collect()
}

/// A book as records carry it: best levels first, at most [`BOOK_DEPTH`] a side, whatever the venue's order.
pub fn book_snapshot(book: &Book) -> BookSnapshot {
    BookSnapshot {
        asset: book.asset_id.clone(),
        as_of: book.timestamp,
        bids: side(&book.bids, std::cmp::Reverse),
        asks: side(&book.asks, |price| price),
    }
}
