//! Markets in the CLOB's long words (`venue.md` 2): one, lists, and the market of a token.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use schemas::{AssetId, ConditionId, money::ONE};
use serde_json::{Value, json};

use super::{
    clob::fee_flag,
    gamma,
    prices::number,
    private::listing,
    query::{Pairs, Params},
    reply,
};
use crate::{market::Market, options::Switches, shared::Shared, world::World};

fn tokens(world: &World, market: &Market) -> Vec<Value> {
    let outcomes = market.outcomes.iter().enumerate();
    let row = |(n, outcome): (usize, &crate::market::Outcome)| {
        let price = world.token(&outcome.token).map(|(token, _)| number(world.price(token)));
        json!({
            "token_id": outcome.token,
            "outcome": &*outcome.name,
            "price": price,
            "winner": market.payouts.is_some_and(|paid| paid[n] == ONE),
        })
    };
    outcomes.map(row).collect()
}

/// A market with what a trader must know of it.
fn long(world: &World, market: &Market, switches: &Switches) -> Value {
    let open = market.accepts_orders(world.now());
    json!({
        "enable_order_book": true,
        "active": true,
        "closed": !open,
        "archived": false,
        "accepting_orders": open,
        "minimum_order_size": number(market.min_size),
        "minimum_tick_size": number(market.tick.lowest()),
        "condition_id": market.condition.to_string(),
        "question": &*market.title,
        "market_slug": &*market.slug,
        "seconds_delay": switches.hold_millis.div_ceil(1_000),
        "maker_base_fee": fee_flag(market),
        "taker_base_fee": fee_flag(market),
        "neg_risk": market.neg_risk,
        "end_date_iso": market.end.map(super::data::iso),
        "tokens": tokens(world, market),
    })
}

/// A market in short.
fn short(world: &World, market: &Market, _: &Switches) -> Value {
    let open = market.accepts_orders(world.now());
    json!({
        "condition_id": market.condition.to_string(),
        "active": true,
        "closed": !open,
        "archived": false,
        "accepting_orders": open,
        "tokens": tokens(world, market),
    })
}

type Row = fn(&World, &Market, &Switches) -> Value;

fn list(shared: &Shared, params: &Params, row: Row, only_open: bool) -> Response {
    let switches = shared.switches();
    let world = shared.world();
    let all = world.registry.all().iter();
    let wanted = all.filter(|m| !only_open || m.accepts_orders(world.now()));
    listing(wanted.map(|m| row(&world, m, &switches)).collect(), params)
}

/// `GET /markets`: Gamma's, or the CLOB's where it is walked by the CLOB's cursor. Both hosts are one here.
pub async fn all(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    let of_the_clob = pairs.iter().any(|(name, _)| name == "next_cursor");
    let params = Params::new(pairs);
    if of_the_clob { list(&shared, &params, long, false) } else { gamma::markets(&shared, &params) }
}

/// `GET /simplified-markets`.
pub async fn simplified(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    list(&shared, &Params::new(pairs), short, false)
}

/// `GET /sampling-markets`: those that take orders.
pub async fn sampling(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    list(&shared, &Params::new(pairs), long, true)
}

/// `GET /sampling-simplified-markets`.
pub async fn sampling_simplified(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    list(&shared, &Params::new(pairs), short, true)
}

/// `GET /markets/{condition}`.
pub async fn one(State(shared): State<Arc<Shared>>, Path(condition): Path<String>) -> Response {
    let Ok(condition) = ConditionId::parse_padded(&condition) else {
        return reply::clob_error(400, "invalid condition id");
    };
    let switches = shared.switches();
    let world = shared.world();
    match world.registry.condition(condition) {
        Some((_, market)) => reply::ok(&long(&world, market, &switches)),
        None => reply::clob_error(404, "market not found"),
    }
}

/// `GET /markets-by-token/{token}`: its condition and both its tokens.
pub async fn by_token(State(shared): State<Arc<Shared>>, Path(token): Path<String>) -> Response {
    let Ok(id) = token.parse::<AssetId>() else { return reply::clob_error(400, "Invalid token id") };
    match shared.world().token(&id) {
        Some((_, market)) => reply::ok(&json!({
            "condition_id": market.condition.to_string(),
            "primary_token_id": market.outcomes[0].token,
            "secondary_token_id": market.outcomes[1].token,
        })),
        None => reply::clob_error(404, "market not found"),
    }
}
