//! The CLOB's books and market specifications (`venue.md` 2).

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use schemas::{AssetId, ConditionId, MarketVersion, Price, Timestamp};
use sha1::{Digest as _, Sha1};
use venue::wire::{Book, BookLevel, BookQuery, ClobFee, ClobMarket, ClobToken, Rate};

use super::{
    query::{Pairs, Params},
    reply,
};
use crate::{book::Sides, market::Market, shared::Shared, world::World};

/// `GET /clob-markets/{condition}`.
pub async fn market(State(shared): State<Arc<Shared>>, Path(condition): Path<String>) -> Response {
    let Ok(condition) = ConditionId::parse_padded(&condition) else {
        return reply::clob_error(400, "invalid condition id");
    };
    let delays = shared.switches().taker_delay_millis > 0;
    let world = shared.world();
    match world.registry.condition(condition) {
        Some((_, market)) => reply::ok(&clob_market(market, world.now(), delays)),
        None => reply::clob_error(404, "market not found"),
    }
}

/// 1000 on any market with fees: on or off, not the rate (`venue.md` 2).
pub const fn fee_flag(market: &Market) -> u32 {
    if market.fee_rate > 0 { 1_000 } else { 0 }
}

fn clob_market(market: &Market, now: Timestamp, delays: bool) -> ClobMarket {
    let rate = |micro| Some(Rate::from_micro(micro));
    let flag = rate(i64::from(fee_flag(market)) * 1_000_000);
    let token = |n: usize| ClobToken {
        token: market.outcomes[n].token.clone(),
        outcome: market.outcomes[n].name.to_string(),
    };
    ClobMarket {
        condition: Some(market.condition.to_string()),
        tokens: vec![token(0), token(1)],
        min_order_size: Some(market.min_size),
        tick: Some(market.tick.lowest()),
        maker_base_fee: flag,
        taker_base_fee: flag,
        accepting_orders: Some(market.accepts_orders(now)),
        neg_risk: Some(market.neg_risk),
        fee: (market.fee_rate > 0).then(|| ClobFee {
            rate: rate(market.fee_rate),
            exponent: rate(1_000_000),
            taker_only: Some(true),
        }),
        taker_delay: Some(delays),
        min_order_age: None,
        game_start: None,
        version: Some(market.version.as_str().to_owned()),
    }
}

/// `GET /book`.
pub async fn book(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    let params = Params::new(pairs);
    let Some(Ok(token)) = params.get("token_id").map(str::parse::<AssetId>) else {
        return reply::clob_error(400, "Invalid token id");
    };
    match book_of(&shared.world(), &token) {
        Some(book) => reply::ok(&book),
        None => reply::clob_error(404, "No orderbook exists for the requested token id"),
    }
}

/// `POST /books`: the books there are, of at most 500 tokens.
pub async fn books(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let Ok(asked) = serde_json::from_slice::<Vec<BookQuery>>(&body) else {
        return reply::clob_error(400, "Invalid payload");
    };
    if asked.len() > 500 {
        return reply::clob_error(400, "Payload exceeds the limit");
    }
    let world = shared.world();
    let books: Vec<Book> = asked.iter().filter_map(|query| book_of(&world, &query.token_id)).collect();
    reply::ok(&books)
}

fn book_of(world: &World, id: &AssetId) -> Option<Book> {
    let (token, market) = world.token(id)?;
    // A market that is over has no book.
    if !market.accepts_orders(world.now()) {
        return None;
    }
    let Sides { bids, asks } = world.exchange.book(&market, token);
    // The best level is the last of both lists.
    let levels = |side: Vec<(Price, schemas::Shares)>| -> Vec<BookLevel> {
        side.into_iter().rev().map(|(price, size)| BookLevel { price, size }).collect()
    };
    let mut book = Book {
        market: market.condition.to_string(),
        asset_id: id.clone(),
        timestamp: world.now(),
        hash: String::new(),
        bids: levels(bids),
        asks: levels(asks),
        min_order_size: Some(market.min_size),
        tick_size: Some(market.tick.lowest()),
        neg_risk: Some(market.neg_risk),
        last_trade_price: world.exchange.last_price(token),
        version: (market.version == MarketVersion::V2).then(|| "v2".to_owned()),
    };
    book.hash = book_hash(&book);
    Some(book)
}

/// SHA-1 of the book as compact JSON, its hash empty (`venue.md` 2). The later protocol's word is not in it.
fn book_hash(book: &Book) -> String {
    let plain = Book { version: None, hash: String::new(), ..book.clone() };
    let json = serde_json::to_vec(&plain).unwrap_or_default();
    const_hex::encode(Sha1::digest(&json))
}

/// `GET /time`: whole seconds.
pub async fn time(State(shared): State<Arc<Shared>>) -> Response {
    reply::ok(&shared.clock.now().secs())
}

/// `GET /ok`.
pub async fn ok() -> Response {
    "OK".into_response()
}
