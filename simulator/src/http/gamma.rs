//! Gamma (`venue.md` 2).

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    response::Response,
};
use schemas::{AssetId, MarketVersion, Timestamp};
use venue::wire::{FeeSchedule, GammaMarket, GammaPage, Rate, gamma::GammaEvent};

use super::{
    data::iso,
    query::{BadParam, Pairs, Params},
    reply,
};
use crate::{
    market::{Market, MarketRef, TokenRef},
    shared::Shared,
    world::World,
};

/// `GET /markets/keyset`.
pub async fn keyset(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    let params = Params::new(pairs);
    match select(&shared, &params, 20, 100) {
        Ok(page) => reply::ok(&page),
        Err(bad) => bad.into(),
    }
}

/// `GET /markets`.
pub fn markets(shared: &Shared, params: &Params) -> Response {
    match select(shared, params, 20, 500) {
        Ok(page) => reply::ok(&page.markets),
        Err(bad) => bad.into(),
    }
}

fn select(
    shared: &Shared,
    params: &Params,
    default: usize,
    most: usize,
) -> Result<GammaPage<GammaMarket>, BadParam> {
    let limit = params.number("limit", default, most)?;
    let after = params.read::<usize>("after_cursor")?.unwrap_or(0);
    let conditions = params.conditions("condition_ids", 500)?;
    let tokens = params.list("clob_token_ids");
    let slugs = params.list("slug");
    // Named markets are shown whether they are over or not; a listing shows open ones unless told.
    let named = conditions.is_some() || !tokens.is_empty() || !slugs.is_empty();
    let closed = params.read::<bool>("closed")?.or((!named).then_some(false));

    let hold_millis = shared.switches().hold_millis;
    let world = shared.world();
    let now = world.now();
    let mut page = GammaPage { markets: Vec::new(), next_cursor: None };
    for (n, market) in world.registry.all().iter().enumerate().skip(after) {
        let wanted = conditions.as_ref().is_none_or(|list| list.contains(&market.condition))
            && (tokens.is_empty() || market.outcomes.iter().any(|o| tokens.contains(&o.token.as_str())))
            && (slugs.is_empty() || slugs.contains(&&*market.slug))
            && closed.is_none_or(|closed| closed != market.accepts_orders(now));
        if !wanted {
            continue;
        }
        if page.markets.len() == limit {
            page.next_cursor = Some(n.to_string());
            break;
        }
        let at = MarketRef(u32::try_from(n).unwrap_or(u32::MAX));
        page.markets.push(row(&world, at, market, now, hold_millis));
    }
    Ok(page)
}

fn row(world: &World, at: MarketRef, market: &Market, now: Timestamp, hold_millis: u32) -> GammaMarket {
    let open = market.accepts_orders(now);
    let ids: Vec<AssetId> = market.outcomes.iter().map(|o| o.token.clone()).collect();
    let (clob_token_ids, position_ids) = match market.version {
        MarketVersion::V1 => (ids, Vec::new()),
        MarketVersion::V2 => (Vec::new(), ids),
    };
    let price = |second: bool| world.price(TokenRef { market: at, second }).to_string();
    let resolved = market.payouts.map(|_| "resolved".to_owned());
    let category = Some(market.category.to_string()).filter(|c| !c.is_empty());
    GammaMarket {
        id: market.id.to_string(),
        condition_id: market.condition.to_string(),
        question: market.title.to_string(),
        slug: market.slug.to_string(),
        category: category.clone(),
        version: Some(market.version.as_str().to_owned()),
        clob_token_ids,
        position_ids,
        outcomes: market.outcomes.iter().map(|o| o.name.to_string()).collect(),
        outcome_prices: vec![price(false), price(true)],
        active: Some(true),
        closed: Some(!open),
        archived: Some(false),
        closed_time: market.closed.filter(|_| !open).map(iso),
        accepting_orders: Some(open),
        enable_order_book: Some(true),
        neg_risk: Some(market.neg_risk),
        order_min_size: Some(market.min_size),
        order_price_min_tick_size: Some(market.tick.lowest()),
        seconds_delay: (hold_millis > 0).then(|| Rate::from_micro(i64::from(hold_millis) * 1_000)),
        fees_enabled: Some(market.fee_rate > 0),
        fee_type: None,
        fee_schedule: (market.fee_rate > 0).then_some(FeeSchedule {
            rate: Some(Rate::from_micro(market.fee_rate)),
            exponent: Some(Rate::from_micro(1_000_000)),
            taker_only: Some(true),
            rebate_rate: None,
        }),
        uma_resolution_status: resolved.clone().filter(|_| market.version == MarketVersion::V1),
        resolution_status: resolved.filter(|_| market.version == MarketVersion::V2),
        end_date: market.end.map(iso),
        end_date_iso: None,
        game_start_time: None,
        events: vec![GammaEvent { id: market.id.to_string(), slug: market.event_slug.to_string(), category }],
    }
}
