//! The CLOB's public side, API keys and balances (`venue.md` 2, 4, 6).

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use schemas::{Address, AssetId, ConditionId, MarketVersion, Price, Timestamp, keccak256};
use venue::{
    signing::l1_signer,
    wire::{
        ApiKeyRow, BalanceAllowance, Book, BookLevel, BookQuery, ClobFee, ClobMarket, ClobToken, HexBytes,
        Literal, Rate,
    },
};

use super::{
    orders::authenticate,
    query::{Pairs, Params},
    reply,
};
use crate::{book::Sides, market::Market, shared::Shared, world::World};

/// What a contract may take that was allowed everything: 2^256 - 1.
const UNLIMITED: &str = "115792089237316195423570985008687907853269984665640564039457584007913129639935";

/// `GET /clob-markets/{condition}`.
pub async fn market(State(shared): State<Arc<Shared>>, Path(condition): Path<String>) -> Response {
    let Ok(condition) = ConditionId::parse_padded(&condition) else {
        return reply::clob_error(400, "invalid condition id");
    };
    let world = shared.world();
    match world.registry.condition(condition) {
        Some((_, market)) => reply::ok(&clob_market(market, world.now())),
        None => reply::clob_error(404, "market not found"),
    }
}

fn clob_market(market: &Market, now: Timestamp) -> ClobMarket {
    let rate = |micro| Some(Rate::from_micro(micro));
    let flag = rate(if market.fee_rate > 0 { 1_000_000_000 } else { 0 });
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
        taker_delay: Some(false),
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
    // 40 hex digits that change when the book does; the venue takes them from another hash.
    let json = serde_json::to_vec(&book).unwrap_or_default();
    book.hash = keccak256(&[&json]).to_string().chars().skip(2).take(40).collect();
    Some(book)
}

/// `GET /time`: whole seconds.
pub async fn time(State(shared): State<Arc<Shared>>) -> Response {
    reply::ok(&shared.clock.now().secs())
}

/// `GET /ok`.
pub async fn ok() -> Response {
    "OK".into_response()
}

/// `POST /auth/api-key`: makes the key, or gives the one of this nonce again.
pub async fn make_key(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let Some((address, nonce)) = l1(&shared, &headers) else { return bad_l1() };
    let (row, synced) = shared.make_key(address, nonce);
    if synced.wait().await.is_err() {
        return reply::clob_error(500, "could not create api key");
    }
    answer_key(Some(row))
}

/// `GET /auth/derive-api-key`: the key of this nonce, where it was made.
pub async fn derive_key(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let Some((address, nonce)) = l1(&shared, &headers) else { return bad_l1() };
    let row = shared.keys().known(address, nonce);
    answer_key(row)
}

fn answer_key(row: Option<ApiKeyRow>) -> Response {
    match row {
        Some(row) => reply::ok(&row),
        None => reply::clob_error(400, "Could not derive api key!"),
    }
}

fn bad_l1() -> Response {
    reply::clob_error(StatusCode::UNAUTHORIZED.as_u16(), "Invalid L1 Request headers")
}

/// Whose L1 request it is, if it is signed by that wallet's own key.
fn l1(shared: &Shared, headers: &HeaderMap) -> Option<(Address, u64)> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let address: Address = text("POLY_ADDRESS")?.parse().ok()?;
    let signature: HexBytes = serde_json::from_value(text("POLY_SIGNATURE")?.into()).ok()?;
    let at = Timestamp::from_secs(text("POLY_TIMESTAMP")?.parse().ok()?);
    let nonce = text("POLY_NONCE").unwrap_or("0").parse().ok()?;
    let signer = l1_signer(address, at, nonce, shared.table.chain_id, &signature.0).ok()?;
    (signer == address).then_some((address, nonce))
}

/// `GET /balance-allowance`.
pub async fn balance(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(pairs): Query<Pairs>,
) -> Response {
    let key = match authenticate(&shared, &headers, "GET", "/balance-allowance", b"") {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let params = Params::new(pairs);
    let world = shared.world();
    // A proxy, safe or deposit wallet is known from the key's orders; before the first, all wallets have
    // the same.
    let wallet = world.wallet_of(&key.id).unwrap_or(key.address);
    let account = world.exchange.account(wallet);
    let balance = match params.get("asset_type") {
        Some("COLLATERAL") => account.usdc,
        Some("CONDITIONAL" | "CONDITIONAL-V2") => {
            let token = params.get("token_id").and_then(|id| id.parse::<AssetId>().ok());
            let Some(token) = token else { return reply::clob_error(400, "Invalid token id") };
            let held = world.token(&token).and_then(|(token, _)| account.shares.get(&token).copied());
            held.unwrap_or(0)
        }
        _ => return reply::clob_error(400, "Invalid asset type"),
    };
    let table = &shared.table;
    let contracts = [&table.normal, &table.neg_risk, &table.v3];
    reply::ok(&BalanceAllowance {
        balance: Literal::new(balance.max(0).to_string()),
        allowances: contracts.map(|e| (e.contract.to_string(), Literal::new(UNLIMITED))).into(),
        allowance: Literal::default(),
    })
}
