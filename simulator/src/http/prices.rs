//! One number about a token at a time (`venue.md` 2): what the official clients ask before they
//! post, and what they derive from the book.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Query, State},
    response::Response,
};
use schemas::{AssetId, Price, Side};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    clob::fee_flag,
    query::{Pairs, Params},
    reply,
};
use crate::{
    book::Sides,
    market::{Market, TokenRef},
    shared::Shared,
    world::World,
};

/// `GET /version`: of the order format.
pub async fn version() -> Response {
    reply::ok(&json!({ "version": 2 }))
}

/// Money as a JSON number, digit by digit.
pub fn number(price: impl std::fmt::Display) -> Value {
    serde_json::from_str(&price.to_string()).unwrap_or(Value::Null)
}

/// Answers a question about one token.
fn about(
    shared: &Shared,
    pairs: Pairs,
    answer: impl FnOnce(&World, TokenRef, &Market, &Params) -> Result<Value, &'static str>,
) -> Response {
    let params = Params::new(pairs);
    let Some(Ok(id)) = params.get("token_id").map(str::parse::<AssetId>) else {
        return reply::clob_error(400, "Invalid token id");
    };
    let world = shared.world();
    let Some((token, market)) = world.token(&id) else {
        return reply::clob_error(404, "market not found");
    };
    match answer(&world, token, &market, &params) {
        Ok(value) => reply::ok(&value),
        Err(why) => reply::refusal(why),
    }
}

/// `GET /tick-size`.
pub async fn tick_size(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    about(&shared, pairs, |_, _, market, _| Ok(json!({ "minimum_tick_size": number(market.tick.lowest()) })))
}

/// `GET /neg-risk`.
pub async fn neg_risk(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    about(&shared, pairs, |_, _, market, _| Ok(json!({ "neg_risk": market.neg_risk })))
}

/// `GET /fee-rate`: a flag, not the rate.
pub async fn fee_rate(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    about(&shared, pairs, |_, _, market, _| Ok(json!({ "base_fee": fee_flag(market) })))
}

const NO_BOOK: &str = "No orderbook exists for the requested token id";

fn sides(world: &World, token: TokenRef, market: &Market) -> Result<Sides, &'static str> {
    if market.accepts_orders(world.now()) { Ok(world.exchange.book(market, token)) } else { Err(NO_BOOK) }
}

fn best(sides: &Sides) -> Result<(Price, Price), &'static str> {
    match (sides.bids.first(), sides.asks.first()) {
        (Some((bid, _)), Some((ask, _))) => Ok((*bid, *ask)),
        _ => Err(NO_BOOK),
    }
}

fn price(
    world: &World,
    token: TokenRef,
    market: &Market,
    side: Side,
    of_taker: bool,
) -> Result<Price, &'static str> {
    let sides = sides(world, token, market)?;
    // The documents disagree: the best price of that side of the book, or what a taker of that side pays.
    let bid = (side == Side::Buy) != of_taker;
    let level = if bid { sides.bids.first() } else { sides.asks.first() };
    level.map(|(price, _)| *price).ok_or(NO_BOOK)
}

fn mid(world: &World, token: TokenRef, market: &Market) -> Result<String, &'static str> {
    let (bid, ask) = best(&sides(world, token, market)?)?;
    Ok(Price::from_micro(i64::midpoint(bid.micro(), ask.micro())).to_string())
}

fn spread(world: &World, token: TokenRef, market: &Market) -> Result<String, &'static str> {
    let (bid, ask) = best(&sides(world, token, market)?)?;
    Ok(Price::from_micro(ask.micro() - bid.micro()).to_string())
}

fn last(world: &World, token: TokenRef) -> Value {
    let side = world.exchange.last_side(token).map(Side::as_str).unwrap_or_default();
    json!({ "price": world.price(token).to_string(), "side": side })
}

/// `GET /price`.
pub async fn price_of(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    let of_taker = shared.switches().price_of_taker;
    about(&shared, pairs, |world, token, market, params| {
        let side = params.get("side").and_then(|s| s.parse::<Side>().ok()).ok_or("Invalid side")?;
        Ok(json!({ "price": price(world, token, market, side, of_taker)?.to_string() }))
    })
}

/// `GET /midpoint`.
pub async fn midpoint(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    about(&shared, pairs, |world, token, market, _| Ok(json!({ "mid": mid(world, token, market)? })))
}

/// `GET /spread`.
pub async fn spread_of(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    about(&shared, pairs, |world, token, market, _| Ok(json!({ "spread": spread(world, token, market)? })))
}

/// `GET /last-trade-price`.
pub async fn last_trade(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    about(&shared, pairs, |world, token, _, _| Ok(last(world, token)))
}

/// One question of a list.
#[derive(Debug, Deserialize)]
struct Asked {
    token_id: AssetId,
    #[serde(default)]
    side: Option<Side>,
}

/// Answers a question about each token of a list, those of which there is no answer left out.
fn about_each(
    shared: &Shared,
    body: &[u8],
    answer: impl Fn(&World, TokenRef, &Market, &Asked) -> Option<Value>,
) -> Result<Vec<(AssetId, Value)>, &'static str> {
    let asked: Vec<Asked> = serde_json::from_slice(body).map_err(|_| "Invalid payload")?;
    if asked.len() > 500 {
        return Err("Payload exceeds the limit");
    }
    let world = shared.world();
    let answers = asked.iter().filter_map(|one| {
        let (token, market) = world.token(&one.token_id)?;
        Some((one.token_id.clone(), answer(&world, token, &market, one)?))
    });
    Ok(answers.collect())
}

fn by_token(answers: Result<Vec<(AssetId, Value)>, &'static str>) -> Response {
    match answers {
        Ok(answers) => {
            let mut all = Map::new();
            for (id, value) in answers {
                // Prices of both sides of one token are asked one by one, and stand beside each other.
                match (all.get_mut(id.as_str()), value) {
                    (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
                    (_, value) => {
                        all.insert(id.as_str().to_owned(), value);
                    }
                }
            }
            reply::ok(&all)
        }
        Err(why) => reply::refusal(why),
    }
}

/// `POST /midpoints`.
pub async fn midpoints(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    by_token(about_each(&shared, &body, |world, token, market, _| {
        Some(mid(world, token, market).ok()?.into())
    }))
}

/// `POST /spreads`.
pub async fn spreads(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    by_token(about_each(&shared, &body, |world, token, market, _| {
        Some(spread(world, token, market).ok()?.into())
    }))
}

/// `POST /prices`.
pub async fn prices(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let of_taker = shared.switches().price_of_taker;
    by_token(about_each(&shared, &body, |world, token, market, asked| {
        let side = asked.side?;
        let price = price(world, token, market, side, of_taker).ok()?.to_string();
        Some(json!({ side.as_str(): price }))
    }))
}

/// `POST /last-trades-prices`.
pub async fn last_trades(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let answers = about_each(&shared, &body, |world, token, _, asked| {
        let mut row = last(world, token);
        row["token_id"] = asked.token_id.as_str().into();
        Some(row)
    });
    match answers {
        Ok(answers) => reply::ok(&answers.into_iter().map(|(_, value)| value).collect::<Vec<_>>()),
        Err(why) => reply::refusal(why),
    }
}
