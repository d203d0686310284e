//! What an API key may know of its own: orders, trades, balances; and its heartbeats (`venue.md` 6).

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{OriginalUri, Path, Query, State, WebSocketUpgrade},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use schemas::{AssetId, OrderId};
use serde::Deserialize;
use venue::{
    signing::Route,
    wire::{BalanceAllowance, Listing, Literal},
};

use super::{
    auth::authenticate,
    query::{Pairs, Params},
    reply,
};
use crate::{journal::Line, ledger, shared::Shared, stream};

/// What a contract may take that was allowed everything: 2^256 - 1.
const UNLIMITED: &str = "115792089237316195423570985008687907853269984665640564039457584007913129639935";

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
        Some(order) => reply::ok(&ledger::order_row(&world, order, world.trade_ids(order), &switches)),
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
    let rows = world
        .live_orders(&key.id)
        .into_iter()
        .map(|o| ledger::order_row(&world, o, world.trade_ids(o), &switches));
    let rows: Vec<_> = rows
        .filter(|row| {
            let is = |name: &str, value: &str| params.get(name).is_none_or(|wanted| wanted == value);
            is("id", &row.id.to_string())
                && is("market", &row.market)
                && is("asset_id", row.asset_id.as_str())
        })
        .collect();
    listing(rows, &params)
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
        let at = trade.matched().secs();
        let wallet = order.maker.to_string();
        let mine = order.owner == key.id && at > after && at < before;
        let named = params.get("maker_address").is_none_or(|m| m.eq_ignore_ascii_case(&wallet));
        let step = trade.at(now).filter(|_| mine && named)?;
        Some(ledger::trade_row(&world, trade, step, order, &switches))
    });
    let rows: Vec<_> = found
        .filter(|row| {
            let is = |name: &str, value: &str| params.get(name).is_none_or(|wanted| wanted == value);
            is("market", &row.market) && is("asset_id", row.asset_id.as_str())
        })
        .collect();
    listing(rows, &params)
}

/// A page of a listing: its cursor is the number of rows passed, in base64 as the venue's is.
pub fn listing<T: serde::Serialize>(mut rows: Vec<T>, params: &Params) -> Response {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    const PAGE: usize = 100;
    let passed = |cursor: &str| -> Option<usize> {
        String::from_utf8(STANDARD.decode(cursor).ok()?).ok()?.parse().ok()
    };
    let from = match params.get("next_cursor") {
        None => 0,
        Some(cursor) if cursor == Listing::<T>::END => rows.len(),
        Some(cursor) => match passed(cursor) {
            Some(from) => from.min(rows.len()),
            None => return reply::clob_error(400, "Invalid next_cursor"),
        },
    };
    let mut rows = rows.split_off(from);
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let next = if more { STANDARD.encode((from + PAGE).to_string()) } else { Listing::<T>::END.to_owned() };
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let limit = u32::try_from(PAGE).unwrap_or(u32::MAX);
    reply::ok(&Listing { limit, count, next_cursor: next, data: rows })
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
    // A proxy, safe or deposit wallet is known from the key's orders, or was named; before that, all wallets have the
    // same.
    let wallet = match params.get("signature_type") {
        Some("0") => key.address,
        _ => world.wallet_of(&key.id, key.address),
    };
    let account = world.exchange.account(wallet);
    let shares = match params.get("asset_type") {
        Some("COLLATERAL") => None,
        Some("CONDITIONAL" | "CONDITIONAL-V2") => {
            let token = params.get("token_id").and_then(|id| id.parse::<AssetId>().ok());
            let Some(token) = token else { return reply::clob_error(400, "Invalid token id") };
            let held = world.token(&token).and_then(|(token, _)| account.shares.get(&token).copied());
            Some(held.unwrap_or(0))
        }
        _ => return reply::clob_error(400, "Invalid asset type"),
    };
    let allowance = |route: Route| {
        let approval = account.approval(route);
        Literal::new(match (shares, approval.usdc) {
            (Some(_), _) if approval.shares => UNLIMITED.to_owned(),
            (Some(_), _) => "0".to_owned(),
            (None, Some(most)) => most.max(0).to_string(),
            (None, None) => UNLIMITED.to_owned(),
        })
    };
    let routes = [Route::Normal, Route::NegRisk, Route::V3];
    reply::ok(&BalanceAllowance {
        balance: Literal::new(shares.unwrap_or(account.usdc).max(0).to_string()),
        allowances: routes.map(|r| (shared.table.exchange(r).contract.to_string(), allowance(r))).into(),
        allowance: Literal::default(),
    })
}

/// `GET /balance-allowance/update`: the venue reads the chain again. Here nothing is ever out of date.
pub async fn update_balance(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match authenticate(&shared, &headers, "GET", "/balance-allowance/update", b"") {
        Ok(_) => "".into_response(),
        Err(refused) => *refused,
    }
}

/// The body of a heartbeat.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Beat {
    heartbeat_id: Option<String>,
}

/// `POST /v1/heartbeats`.
pub async fn heartbeat(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let key = match authenticate(&shared, &headers, "POST", "/v1/heartbeats", &body) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let Ok(beat) = serde_json::from_slice::<Beat>(&body) else {
        return reply::clob_error(400, "Invalid payload");
    };
    let given = beat.heartbeat_id.unwrap_or_default();
    let (taken, synced) = {
        let mut world = shared.world();
        let at = world.now();
        match world.exchange.heartbeat(&key.id, &given, at) {
            Ok(id) => (Ok(id), shared.remember(&Line::Heartbeat { at, owner: key.id, given })),
            Err(expected) => (Err(expected), shared.barrier()),
        }
    };
    if synced.wait().await.is_err() {
        return reply::clob_error(500, "internal server error");
    }
    match taken {
        Ok(id) => reply::ok(&serde_json::json!({ "heartbeat_id": id })),
        Err(expected) => reply::json(
            axum::http::StatusCode::BAD_REQUEST,
            &serde_json::json!({ "error_msg": "Invalid Heartbeat ID", "heartbeat_id": expected }),
        ),
    }
}

/// `GET /ws/user`.
pub async fn user_stream(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| stream::serve(socket, shared))
}
