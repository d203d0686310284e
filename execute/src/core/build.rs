//! The order that an authorised intent is. Everything in it follows from what was authorised and from the attempt's
//! name, so that building it again can only give the same order (`behaviour.md` 6.2).

use std::time::Duration;

use schemas::{
    AssetId, Timestamp,
    events::{IntentHead, MarketFacts},
};
use venue::{
    order::{OrderRequest, Terms, derive_salt},
    signing::Route,
};

use super::Authorised;

/// The venue ends an order one minute before the expiration that it is told (`venue.md` 5.3).
pub const VENUE_MINUTE: Duration = Duration::from_secs(60);

/// The order's own time: the fill's, plus one millisecond for each attempt. The venue knows no freshness window, and
/// a time that is derived is the same in every process.
fn timestamp(head: &IntentHead, attempt: i32) -> Timestamp {
    Timestamp::from_millis(head.filled_at.millis().saturating_add(i64::from(attempt)))
}

/// The order of an attempt, for a token that need not be the one of its intent: that may have another id by now.
pub fn request(
    authorised: &Authorised,
    head: &IntentHead,
    asset: &AssetId,
    facts: &MarketFacts,
    attempt: i32,
) -> OrderRequest {
    let Authorised { side, limit, shares, amount, expires_at, .. } = *authorised;
    let terms = match (amount, expires_at, side) {
        (Some(usdc), _, _) => Terms::MarketBuy { limit, usdc, all_or_nothing: false },
        (None, None, schemas::Side::Sell) => Terms::MarketSell { limit, shares, all_or_nothing: false },
        (None, expires, side) => Terms::Limit {
            side,
            price: limit,
            shares,
            expires: expires.map(|at| at.plus(VENUE_MINUTE)),
            post_only: false,
        },
    };
    OrderRequest {
        route: Route::of(facts.version, facts.neg_risk),
        asset: asset.clone(),
        tick: facts.tick,
        terms,
        salt: derive_salt(head.billing_account_id, head.idempotency_key, attempt),
        timestamp: timestamp(head, attempt),
    }
}
