//! What stands before the order routes: the region, the venue's mode, the signer's tokens (`venue.md` 5.5, 7).

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method},
    middleware::Next,
    response::Response,
};

use super::reply;
use crate::{
    keys::ApiKey,
    limits::{Spends, Taken, Tier},
    modes::{Asks, Mode},
    shared::{Shared, lock},
};

/// Names the caller of a request where there is no address on the network to know it by.
pub const CALLER: &str = "x-simulator-caller";

/// The routes that place or cancel.
pub fn is_order_route(method: &Method, path: &str) -> bool {
    matches!(path, "/order" | "/orders" | "/cancel-all" | "/cancel-market-orders")
        && (method == Method::POST || method == Method::DELETE)
}

/// Refuses a region that may not trade, and a caller who asks too much.
pub async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let switches = shared.switches();
    if switches.region_restricted && is_order_route(method, path) {
        return reply::clob_error(
            403,
            "Trading restricted in your region, please refer to available regions - \
             https://docs.polymarket.com/developers/CLOB/geoblock",
        );
    }
    if switches.count_requests && !path.starts_with("/sim/") {
        // Everybody on loopback is one caller.
        let caller = request.headers().get(CALLER).and_then(|v| v.to_str().ok()).unwrap_or("127.0.0.1");
        let counted = lock(&shared.windows).count(caller, method.as_str(), path, shared.clock.now());
        if let Err(seconds) = counted {
            return later(reply::clob_error(429, "Too Many Requests"), seconds);
        }
    }
    next.run(request).await
}

/// An answer that says when to come again.
pub fn later(mut answer: Response, seconds: u32) -> Response {
    answer.headers_mut().insert("retry-after", HeaderValue::from(seconds));
    answer
}

/// Whether the venue takes such requests now. What is asked for is looked at only where that decides.
///
/// # Errors
/// What it answers instead.
pub fn admit(shared: &Shared, asks: impl FnOnce() -> Asks) -> Result<(), Box<Response>> {
    let now = shared.clock.now();
    let calendar = lock(&shared.calendar);
    if calendar.at(now).0 == Mode::Open {
        return Ok(());
    }
    calendar.admits(now, asks()).map_err(|no| {
        let answer = reply::clob_error_with(no.status, no.error, no.code, no.code.and(no.retry_after));
        Box::new(match no.retry_after {
            Some(seconds) => later(answer, seconds),
            None => answer,
        })
    })
}

/// What the answer to a signer's request must say of its tokens.
#[derive(Debug, Clone, Copy)]
pub struct Tokens(Option<(Tier, Taken)>);

/// Takes a signer's tokens, all or none.
///
/// # Errors
/// There are too few: the answer.
pub fn spend(shared: &Shared, key: &ApiKey, spends: Spends, n: usize) -> Result<Tokens, Box<Response>> {
    let tier = shared.switches().tier;
    let now = shared.clock.now();
    let taken = lock(&shared.buckets).take(tier, key.address, spends, n, now);
    let tokens = Tokens(taken.map(|taken| (tier, taken)));
    match taken {
        Some(taken) if !taken.passes => {
            let refused = tokens.told(reply::clob_error(429, "rate limit exceeded"));
            Err(Box::new(later(refused, taken.retry_after)))
        }
        _ => Ok(tokens),
    }
}

impl Tokens {
    /// The answer, with the headers.
    pub fn told(self, mut answer: Response) -> Response {
        let Some((tier, taken)) = self.0 else { return answer };
        let headers = answer.headers_mut();
        headers.insert("poly-ratelimit-remaining", HeaderValue::from(taken.remaining));
        headers.insert("poly-ratelimit-reset", HeaderValue::from(taken.reset));
        headers.insert("poly-ratelimit-tier", HeaderValue::from_static(tier.as_str()));
        if taken.low {
            headers.insert("poly-ratelimit-warning", HeaderValue::from_static("approaching the limit"));
        }
        answer
    }
}
