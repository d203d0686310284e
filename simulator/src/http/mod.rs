//! The routes of all three hosts on one address: their paths do not clash.

mod auth;
mod cancel;
mod clob;
mod control;
mod data;
mod gamma;
mod gate;
mod legacy;
mod markets;
mod place;
mod prices;
mod private;
mod query;
mod reply;
mod rows;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderValue, Method},
    middleware::{self, Next},
    response::Response,
    routing::{delete, get, post},
};
use schemas::OrderId;
use serde_json::value::RawValue;
use venue::wire::{CancelRequest, PostOrder};

pub use control::{OrderView, Stats, TradeView};
pub use gate::CALLER;
use place::Bent;

use crate::{
    faults::{Answer, Asked, Fault},
    listener::Cut,
    shared::Shared,
};

/// Marks an answer that stands for a cut connection, where there is no connection to cut.
pub const DROPPED: &str = "x-simulator-dropped";

/// Every route.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v2/trades", get(data::trades))
        .route("/v2/activity", get(data::activity))
        .route("/v2/positions", get(data::positions))
        .route("/v2/resolutions", get(data::resolutions))
        .route("/v2/status", get(data::status))
        .route("/trades", get(legacy::trades))
        .route("/activity", get(legacy::gone))
        .route("/positions", get(legacy::gone))
        .route("/markets/keyset", get(gamma::keyset))
        .route("/markets", get(markets::all))
        .route("/simplified-markets", get(markets::simplified))
        .route("/sampling-markets", get(markets::sampling))
        .route("/sampling-simplified-markets", get(markets::sampling_simplified))
        .route("/clob-markets/{condition}", get(clob::market))
        .route("/book", get(clob::book))
        .route("/books", post(clob::books))
        .route("/time", get(clob::time))
        .route("/ok", get(clob::ok))
        .route("/version", get(prices::version))
        .route("/tick-size", get(prices::tick_size))
        .route("/neg-risk", get(prices::neg_risk))
        .route("/fee-rate", get(prices::fee_rate))
        .route("/price", get(prices::price_of))
        .route("/prices", post(prices::prices))
        .route("/midpoint", get(prices::midpoint))
        .route("/midpoints", post(prices::midpoints))
        .route("/spread", get(prices::spread_of))
        .route("/spreads", post(prices::spreads))
        .route("/last-trade-price", get(prices::last_trade))
        .route("/last-trades-prices", post(prices::last_trades))
        .route("/markets/{condition}", get(markets::one))
        .route("/markets-by-token/{token}", get(markets::by_token))
        .route("/auth/api-key", post(auth::make_key).delete(auth::delete_key))
        .route("/auth/api-keys", get(auth::keys))
        .route("/auth/derive-api-key", get(auth::derive_key))
        .route("/auth/ban-status/closed-only", get(auth::closed_only))
        .route("/balance-allowance", get(private::balance))
        .route("/balance-allowance/update", get(private::update_balance))
        .route("/v1/heartbeats", post(private::heartbeat))
        .route("/order", post(place::place).delete(cancel::one))
        .route("/orders", post(place::place_many).delete(cancel::many))
        .route("/cancel-all", delete(cancel::all))
        .route("/cancel-market-orders", delete(cancel::of_market))
        .route("/data/order/{id}", get(private::order))
        .route("/data/orders", get(private::live))
        .route("/data/trades", get(private::trades))
        .route("/ws/user", get(private::user_stream))
        .route("/sim/faults", get(control::faults).post(control::add_faults).delete(control::clear_faults))
        .route("/sim/stream-faults", post(control::add_stream_faults))
        .route("/sim/weather", get(control::weather).post(control::set_weather))
        .route("/sim/stream-weather", post(control::set_stream_weather))
        .route("/sim/wallets", post(control::change_wallets))
        .route("/sim/mode", post(control::set_mode))
        .route("/sim/switches", get(control::switches).post(control::set_switches))
        .route("/sim/orders", get(control::orders))
        .route("/sim/trades", get(control::trades))
        .route("/sim/stats", get(control::stats))
        .route("/sim/leaders", get(control::leaders))
        .fallback(reply::no_route)
        .layer(middleware::from_fn_with_state(shared.clone(), gate::guard))
        .layer(middleware::from_fn_with_state(shared.clone(), meet))
        .with_state(shared)
}

/// The largest body that faults look into.
const MAX_BODY: usize = 4 << 20;

/// Lets a request meet the fault that waits for it.
async fn meet(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let Some(ask) = shared.faults_ask().filter(|_| !request.uri().path().starts_with("/sim/")) else {
        return next.run(request).await;
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let cut = request.extensions().get::<ConnectInfo<Cut>>().map(|ConnectInfo(cut)| cut.clone());
    let mut body = Bytes::new();
    if ask.body {
        let (parts, given) = request.into_parts();
        match axum::body::to_bytes(given, MAX_BODY).await {
            Ok(bytes) => body = bytes,
            Err(error) => return reply::clob_error(413, &error.to_string()),
        }
        request = Request::from_parts(parts, Body::from(body.clone()));
    }
    let orders = if ask.orders { about_orders(&shared, &path, &body) } else { Vec::new() };
    let asked = Asked { method: method.as_str(), path: &path, orders: &orders, body: &body };
    let Some(fault) = shared.meet_fault(asked) else {
        return next.run(request).await;
    };
    let Fault { execute, delay_millis, answer, lands_after_millis, fate, .. } = fault;
    let own = if execute {
        let lands_after = (lands_after_millis > 0).then(|| Duration::from_millis(lands_after_millis.into()));
        request.extensions_mut().insert(Bent { lands_after, fate });
        next.run(request).await
    } else {
        // The client's bytes are taken in all the same: it must not learn more than the fault says.
        let (_, rest) = request.into_parts();
        match axum::body::to_bytes(rest, MAX_BODY).await {
            Ok(bytes) if method == Method::POST => shared.tally().posts += place::posted(&path, &bytes),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a request that met a fault was not whole"),
        }
        reply::no_content()
    };
    if delay_millis > 0 {
        shared.clock.sleep(Duration::from_millis(delay_millis.into())).await;
    }
    match answer {
        Answer::Normal => own,
        Answer::Status { status, error, retry_after } => {
            let answer = reply::clob_error(status, &error);
            match retry_after {
                Some(seconds) => gate::later(answer, seconds),
                None => answer,
            }
        }
        Answer::Drop => {
            if let Some(cut) = cut {
                cut.now();
            }
            let mut answer = reply::no_content();
            answer.headers_mut().insert(DROPPED, HeaderValue::from_static("1"));
            answer
        }
    }
}

/// The orders that a request is about: those it posts, cancels, or asks for.
fn about_orders(shared: &Shared, path: &str, body: &[u8]) -> Vec<OrderId> {
    if let Some(id) = path.strip_prefix("/data/order/") {
        return id.parse().into_iter().collect();
    }
    let posted = |raw: &[u8]| {
        let post = PostOrder::read(raw).ok()?;
        let world = shared.world();
        let (_, market) = world.token(&post.order.token_id)?;
        world.order_id(&market, &post).ok()
    };
    if let Some(id) = posted(body) {
        return vec![id];
    }
    if let Ok(request) = serde_json::from_slice::<CancelRequest>(body) {
        return vec![request.order_id];
    }
    if let Ok(ids) = serde_json::from_slice::<Vec<OrderId>>(body) {
        return ids;
    }
    let entries = serde_json::from_slice::<Vec<Box<RawValue>>>(body).unwrap_or_default();
    entries.iter().filter_map(|entry| posted(entry.get().as_bytes())).collect()
}
