//! The routes of all three hosts on one address: their paths do not clash.

mod clob;
mod control;
mod data;
mod gamma;
mod legacy;
mod orders;
mod query;
mod reply;
mod rows;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderValue, Method},
    middleware::{self, Next},
    response::Response,
    routing::{delete, get, post},
};

pub use control::{OrderView, Stats, TradeView};

use crate::{
    faults::{Answer, Fault},
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
        .route("/markets", get(gamma::markets))
        .route("/clob-markets/{condition}", get(clob::market))
        .route("/book", get(clob::book))
        .route("/books", post(clob::books))
        .route("/time", get(clob::time))
        .route("/ok", get(clob::ok))
        .route("/auth/api-key", post(clob::make_key))
        .route("/auth/derive-api-key", get(clob::derive_key))
        .route("/balance-allowance", get(clob::balance))
        .route("/order", post(orders::place).delete(orders::cancel))
        .route("/orders", delete(orders::cancel_many))
        .route("/cancel-all", delete(orders::cancel_all))
        .route("/data/order/{id}", get(orders::order))
        .route("/data/orders", get(orders::live))
        .route("/data/trades", get(orders::trades))
        .route("/sim/faults", get(control::faults).post(control::add_faults).delete(control::clear_faults))
        .route("/sim/switches", get(control::switches).post(control::set_switches))
        .route("/sim/orders", get(control::orders))
        .route("/sim/trades", get(control::trades))
        .route("/sim/stats", get(control::stats))
        .route("/sim/leaders", get(control::leaders))
        .fallback(reply::no_route)
        .layer(middleware::from_fn_with_state(shared.clone(), meet))
        .with_state(shared)
}

/// Lets a request meet the fault that waits for it.
async fn meet(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let Some(fault) = shared.meet_fault(request.method().as_str(), request.uri().path()) else {
        return next.run(request).await;
    };
    let Fault { execute, delay_millis, answer, .. } = fault;
    let posts_an_order = request.method() == Method::POST && request.uri().path() == "/order";
    let cut = request.extensions().get::<ConnectInfo<Cut>>().map(|ConnectInfo(cut)| cut.clone());
    let own = if execute {
        next.run(request).await
    } else {
        // The client's bytes are taken in all the same: it must not learn more than the fault says.
        if posts_an_order {
            shared.tally().posts += 1;
        }
        let (_, body) = request.into_parts();
        if let Err(error) = axum::body::to_bytes(body, 1 << 20).await {
            tracing::debug!(%error, "a request that met a fault was not whole");
        }
        reply::no_content()
    };
    if delay_millis > 0 {
        shared.clock.sleep(Duration::from_millis(delay_millis.into())).await;
    }
    match answer {
        Answer::Normal => own,
        Answer::Status { status, error, retry_after } => {
            let mut answer = reply::clob_error(status, &error);
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert("retry-after", HeaderValue::from(seconds));
            }
            answer
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
