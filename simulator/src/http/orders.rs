//! Private routes: orders, trades, cancels (`venue.md` 4 to 6). Signatures are verified as the venue does.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{OriginalUri, Path, Query, State},
    http::HeaderMap,
    response::Response,
};
use schemas::{Hash32, OrderId, Price, Shares, Side, SignatureType, Timestamp, keccak256};
use venue::{
    signing::{OrderFields, Route, signer_of_order},
    wire::{
        CancelAnswer, CancelRequest, ClobOrderStatus, ClobTrade, ClobTradeStatus, Listing, Literal,
        MakerOrder, OrderRow, PlacedStatus, PostOrder, PostOrderAnswer, SizeUnits, TraderSide,
    },
};

use super::{
    query::{Pairs, Params},
    reply,
};
use crate::{
    exchange::{Order, Refusal, Trade, kills_rest},
    journal::Line,
    keys::ApiKey,
    options::Switches,
    print::Role,
    shared::{Shared, hold_of},
    world::{Arrival, World},
};

/// Whose request it is: an API key that signed exactly these bytes.
pub fn authenticate(
    shared: &Shared,
    headers: &HeaderMap,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<ApiKey, Box<Response>> {
    let signed = || {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let key = shared.keys().get(text("POLY_API_KEY")?)?.clone();
        let address: schemas::Address = text("POLY_ADDRESS")?.parse().ok()?;
        let at: i64 = text("POLY_TIMESTAMP")?.parse().ok()?;
        let good = address == key.address
            && key.signed(text("POLY_PASSPHRASE")?, text("POLY_SIGNATURE")?, at, method, path, body);
        good.then_some(key)
    };
    signed().ok_or_else(|| Box::new(reply::clob_error(401, "Unauthorized/Invalid api key")))
}

/// `POST /order`.
pub async fn place(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let received = shared.clock.now();
    shared.tally().posts += 1;
    let key = match authenticate(&shared, &headers, "POST", "/order", &body) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let switches = shared.switches();
    let (outcome, synced) = match admit(&shared, &key, &body, received, &switches) {
        Ok(post) => take(&shared, post, &body, received, &switches),
        Err(refusal) => (Err(refusal), shared.barrier()),
    };
    // Nothing is said about an order that a crash could still undo.
    if synced.wait().await.is_err() {
        return reply::clob_error(500, "could not insert order");
    }
    match outcome {
        Ok(order) => {
            shared.tally().accepted += 1;
            let trades = shared.world().trade_ids(&order);
            reply::ok(&placed_answer(&order, trades, &switches))
        }
        Err(refusal) => {
            count(&shared, &refusal);
            reply::clob_error(400, &refusal.to_string())
        }
    }
}

fn count(shared: &Shared, refusal: &Refusal) {
    let mut tally = shared.tally();
    match refusal {
        Refusal::Duplicated(_) => tally.duplicates += 1,
        Refusal::NoMatch(_) => tally.accepted += 1,
        other => {
            let text: String = other
                .to_string()
                .split(' ')
                .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
                .collect::<Vec<_>>()
                .join(" ");
            *tally.refused.entry(text).or_default() += 1;
        }
    }
}

/// The checks that need no order book: payload, owner, signer, signature. They run outside of the lock.
fn admit(
    shared: &Shared,
    key: &ApiKey,
    body: &[u8],
    received: Timestamp,
    switches: &Switches,
) -> Result<PostOrder, Refusal> {
    let post = PostOrder::read(body).map_err(|_| Refusal::Payload)?;
    if post.owner != key.id {
        return Err(Refusal::Owner);
    }
    let order = &post.order;
    let wallet_signs = order.signature_type == SignatureType::Poly1271;
    if !wallet_signs && order.signer.0 != key.address {
        return Err(Refusal::Signer);
    }
    if !switches.accept_metadata && order.metadata != Hash32::ZERO {
        return Err(Refusal::Payload);
    }
    if switches.timestamp_window_seconds > 0 {
        let window = Duration::from_secs(switches.timestamp_window_seconds.into());
        let (early, late) = (received.minus(window), received.plus(window));
        if order.timestamp < early || order.timestamp > late {
            return Err(Refusal::Payload);
        }
    }
    let market = shared.world().token(&order.token_id).map(|(_, market)| market);
    let route = World::route(&*market.ok_or(Refusal::NotReady)?);
    let fields = OrderFields::from(order);
    let signed_by = |route: Route| {
        signer_of_order(&shared.table, route, &fields, &order.signature.0).is_ok_and(|a| a == key.address)
    };
    // An externally owned account trades for itself only; a deposit wallet names itself twice.
    let one_wallet = order.maker == order.signer;
    let shape = match order.signature_type {
        SignatureType::Eoa | SignatureType::Poly1271 => one_wallet,
        SignatureType::Proxy | SignatureType::Safe => !one_wallet,
    };
    if shape && signed_by(route) {
        return Ok(post);
    }
    let elsewhere =
        [Route::Normal, Route::NegRisk, Route::V3].into_iter().filter(|r| *r != route).any(signed_by);
    Err(if elsewhere { Refusal::Version } else { Refusal::Payload })
}

/// Puts an order into the world, and on the journal in the same order.
fn take(
    shared: &Shared,
    post: PostOrder,
    body: &[u8],
    received: Timestamp,
    switches: &Switches,
) -> (Result<Order, Refusal>, crate::journal::Synced) {
    let fails = switches.fail_orders > 0;
    let hold_millis = if kills_rest(post.order_type) { 0 } else { switches.hold_millis };
    let arrival = Arrival { post, received, hold: hold_of(hold_millis), fails };
    let mut world = shared.world();
    let at = world.now();
    let id = match world.place(arrival, switches.strict_amounts) {
        Ok(id) => Ok(id),
        Err(Refusal::Duplicated(id)) => {
            let synced = shared.remember(&Line::Again { id });
            return (Err(Refusal::Duplicated(id)), synced);
        }
        Err(killed @ Refusal::NoMatch(_)) => Err(killed),
        Err(refusal) => return (Err(refusal), shared.barrier()),
    };
    if fails {
        shared.set_switches(|s| s.fail_orders = s.fail_orders.saturating_sub(1));
    }
    // The body was read as UTF-8 JSON.
    let body = String::from_utf8_lossy(body).into_owned();
    let synced = shared.remember(&Line::Order { at, received, body, hold_millis, fails });
    let order = id.and_then(|id| world.exchange.order(id).cloned().ok_or(Refusal::Payload));
    (order, synced)
}

fn units(switches: &Switches) -> SizeUnits {
    if switches.base_units { SizeUnits::Base } else { SizeUnits::Decimal }
}

fn placed_answer(order: &Order, trade_ids: Vec<String>, switches: &Switches) -> PostOrderAnswer {
    let (dollars, shares) = (Shares::from_micro(order.dollars.micro()), order.matched);
    let (making, taking) = match order.side {
        Side::Buy => (dollars, shares),
        Side::Sell => (shares, dollars),
    };
    let filled = order.matched.is_positive();
    let write = |amount| if filled { units(switches).write(amount) } else { Literal::default() };
    PostOrderAnswer {
        success: true,
        error_msg: String::new(),
        order_id: order.id.to_string(),
        status: match order.state {
            ClobOrderStatus::Delayed => PlacedStatus::Delayed,
            _ if filled => PlacedStatus::Matched,
            _ => PlacedStatus::Live,
        },
        making_amount: write(making),
        taking_amount: write(taking),
        trade_ids,
    }
}

/// An order as `GET /data/order/{id}` shows it.
fn order_row(world: &World, order: &Order, switches: &Switches) -> OrderRow {
    let market = world.registry.get(order.token.market);
    let outcome = market.map(|m| &m.outcomes[order.token.index()]);
    let part_of_fak = order.state == ClobOrderStatus::Canceled
        && kills_rest(order.order_type)
        && order.matched.is_positive()
        && switches.partial_fak_matched;
    let state = if part_of_fak { ClobOrderStatus::Matched } else { order.state.clone() };
    OrderRow {
        id: order.id,
        status: if switches.status_prefix {
            ClobOrderStatus::Other(format!("ORDER_STATUS_{}", state.as_str()))
        } else {
            state
        },
        owner: order.owner.clone(),
        maker_address: order.maker.to_string(),
        market: market.map(|m| m.condition.to_string()).unwrap_or_default(),
        asset_id: world.token_id(order.token),
        side: order.side,
        original_size: units(switches).write(order.size()),
        size_matched: units(switches).write(order.matched),
        price: order.limit,
        outcome: outcome.map(|o| o.name.to_string()).unwrap_or_default(),
        order_type: order.order_type.as_str().to_owned(),
        associate_trades: world.trade_ids(order),
        created_at: Some(order.accepted),
        expiration: order.expiration,
    }
}

/// `GET /data/order/{id}`: in any status, to its owner.
pub async fn order(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    OriginalUri(uri): OriginalUri,
    Path(id): Path<String>,
) -> Response {
    let key = match authenticate(&shared, &headers, "GET", uri.path(), b"") {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let Ok(id) = id.parse::<OrderId>() else { return reply::clob_error(400, "invalid order id") };
    if shared.barrier().wait().await.is_err() {
        return reply::clob_error(500, "internal server error");
    }
    let switches = shared.switches();
    let world = shared.world();
    match world.exchange.order(id).filter(|o| o.owner == key.id) {
        Some(order) => reply::ok(&order_row(&world, order, &switches)),
        None => reply::clob_error(404, "order not found"),
    }
}

/// `GET /data/orders`: live orders of the key.
pub async fn live(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(pairs): Query<Pairs>,
) -> Response {
    let key = match authenticate(&shared, &headers, "GET", "/data/orders", b"") {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let params = Params::new(pairs);
    let switches = shared.switches();
    let world = shared.world();
    let rows = world.live_orders(&key.id).into_iter().map(|o| order_row(&world, o, &switches));
    let rows: Vec<_> = rows
        .filter(|row| {
            let is = |name: &str, value: &str| params.get(name).is_none_or(|wanted| wanted == value);
            is("id", &row.id.to_string())
                && is("market", &row.market)
                && is("asset_id", row.asset_id.as_str())
        })
        .collect();
    reply::ok(&listing(rows, &params))
}

/// A page of a listing: its cursor is the number of rows passed, in base64 as the venue's is.
fn listing<T>(mut rows: Vec<T>, params: &Params) -> Listing<T> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    const PAGE: usize = 100;
    let read = |cursor: &str| -> Option<usize> {
        String::from_utf8(STANDARD.decode(cursor).ok()?).ok()?.parse().ok()
    };
    let from = params.get("next_cursor").and_then(read).unwrap_or(0).min(rows.len());
    let mut rows = rows.split_off(from);
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let next = if more { STANDARD.encode((from + PAGE).to_string()) } else { Listing::<T>::END.to_owned() };
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    Listing { limit: u32::try_from(PAGE).unwrap_or(u32::MAX), count, next_cursor: next, data: rows }
}

fn clob_trade(world: &World, trade: &Trade, order: &Order, now: Timestamp, switches: &Switches) -> ClobTrade {
    let market = world.registry.get(order.token.market);
    let outcome = market.map(|m| &m.outcomes[order.token.index()]);
    let asset = world.token_id(order.token);
    let name = outcome.map(|o| o.name.to_string()).unwrap_or_default();
    // Whoever stood on the other side has an order of its own.
    let other = OrderId::from_bytes(*keccak256(&[b"counterparty", trade.id.as_bytes()]).as_bytes());
    let opposite = if order.side == Side::Buy { Side::Sell } else { Side::Buy };
    let size = units(switches).write(trade.size);
    let taker = trade.role == Role::Taker;
    let maker_order = |id: OrderId, side: Side, owner: &str, wallet: String, price: Price| MakerOrder {
        order_id: id,
        owner: owner.to_owned(),
        maker_address: wallet,
        matched_amount: size.clone(),
        price,
        asset_id: Some(asset.clone()),
        outcome: name.clone(),
        side: Some(side),
    };
    let state = trade.state(now);
    ClobTrade {
        id: trade.id.clone(),
        taker_order_id: if taker { order.id } else { other },
        market: market.map(|m| m.condition.to_string()).unwrap_or_default(),
        asset_id: asset.clone(),
        side: if taker { order.side } else { opposite },
        size: size.clone(),
        price: trade.price,
        status: if switches.status_prefix {
            ClobTradeStatus::Other(format!("TRADE_STATUS_{}", state.as_str()))
        } else {
            state
        },
        match_time: Some(trade.matched),
        last_update: Some(trade.changed(now)),
        outcome: name.clone(),
        owner: order.owner.clone(),
        maker_address: if taker { order.maker.to_string() } else { String::new() },
        transaction_hash: trade.tx(now),
        maker_orders: vec![if taker {
            maker_order(other, opposite, "", String::new(), trade.price)
        } else {
            maker_order(order.id, order.side, &order.owner, order.maker.to_string(), order.limit)
        }],
        trader_side: if taker { TraderSide::Taker } else { TraderSide::Maker },
        err_msg: (trade.fails && now >= trade.settled).then(|| "the transaction failed".to_owned()),
    }
}

/// `GET /data/trades`: the key's own, newest first.
pub async fn trades(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(pairs): Query<Pairs>,
) -> Response {
    let key = match authenticate(&shared, &headers, "GET", "/data/trades", b"") {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    if shared.barrier().wait().await.is_err() {
        return reply::clob_error(500, "internal server error");
    }
    let params = Params::new(pairs);
    let switches = shared.switches();
    let world = shared.world();
    let now = world.now();
    let before = params.get("before").and_then(|s| s.parse::<i64>().ok()).unwrap_or(i64::MAX);
    let after = params.get("after").and_then(|s| s.parse::<i64>().ok()).unwrap_or(i64::MIN);
    let found = world.trades(params.get("id")).filter_map(|trade| {
        let order = world.exchange.order(trade.order)?;
        let at = trade.matched.secs();
        let wallet = order.maker.to_string();
        let mine = order.owner == key.id && at > after && at < before;
        let named = params.get("maker_address").is_none_or(|m| m.eq_ignore_ascii_case(&wallet));
        (mine && named).then(|| clob_trade(&world, trade, order, now, &switches))
    });
    let rows: Vec<_> = found
        .filter(|row| {
            let is = |name: &str, value: &str| params.get(name).is_none_or(|wanted| wanted == value);
            is("market", &row.market) && is("asset_id", row.asset_id.as_str())
        })
        .collect();
    reply::ok(&listing(rows, &params))
}

/// Cancels some orders of a key, and says of each what became of it.
async fn cancel_ids(shared: &Shared, key: &ApiKey, ids: Vec<OrderId>) -> Response {
    let mut answer = CancelAnswer { canceled: Vec::new(), not_canceled: BTreeMap::new() };
    {
        let mut world = shared.world();
        let at = world.now();
        for id in ids {
            match world.cancel(id, &key.id) {
                Ok(()) => {
                    // Synced with all the others below.
                    drop(shared.remember(&Line::Cancel { at, id }));
                    answer.canceled.push(id);
                }
                Err(why) => {
                    answer.not_canceled.insert(id.to_string(), why.to_owned());
                }
            }
        }
    }
    if shared.barrier().wait().await.is_err() {
        return reply::clob_error(500, "internal server error");
    }
    reply::ok(&answer)
}

/// `DELETE /order`.
pub async fn cancel(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let key = match authenticate(&shared, &headers, "DELETE", "/order", &body) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    match serde_json::from_slice::<CancelRequest>(&body) {
        Ok(request) => cancel_ids(&shared, &key, vec![request.order_id]).await,
        Err(_) => reply::clob_error(400, "Invalid order payload"),
    }
}

/// `DELETE /orders`.
pub async fn cancel_many(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let key = match authenticate(&shared, &headers, "DELETE", "/orders", &body) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    match serde_json::from_slice::<Vec<OrderId>>(&body) {
        Ok(ids) if ids.len() <= 1_000 => cancel_ids(&shared, &key, ids).await,
        Ok(ids) => {
            let text = format!("Too many orders in payload: {}, max allowed: 1000", ids.len());
            reply::clob_error(400, &text)
        }
        Err(_) => reply::clob_error(400, "Invalid order payload"),
    }
}

/// `DELETE /cancel-all`.
pub async fn cancel_all(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let key = match authenticate(&shared, &headers, "DELETE", "/cancel-all", &body) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let ids = shared.world().live_orders(&key.id).into_iter().map(|o| o.id).collect();
    cancel_ids(&shared, &key, ids).await
}
