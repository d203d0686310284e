//! The server on loopback: whether the process lives, whether it can work, its metrics and its live figures, and
//! the tenants' own routes.
//!
//! Each group of routes is a module that gives an [`OpenApiRouter`]: what is served stands in the document at
//! `/api/v1/openapi.json`, and what stands there is served.

pub mod health;
pub mod openapi;
pub mod problem;
pub mod status;

mod shapes;
mod tenants;

pub use shapes::rfc3339;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use eventlog::Log;
use runtime::{Board, Stop};
use tokio::net::TcpListener;
use utoipa_axum::router::OpenApiRouter;

use crate::Accounts;
use problem::{Problem, RequestError};

/// The longest that a request may take: longer than a connection to the database is waited for.
const LONGEST_REQUEST: Duration = Duration::from_secs(15);

/// Writes the metrics in Prometheus' text format.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the routes answer from.
#[derive(Clone)]
pub struct State {
    /// The tenants' accounts, and the connections of `app_user`.
    pub accounts: Accounts,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The live figures.
    pub board: Board,
    /// The metrics.
    pub metrics: Metrics,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("log", &self.log).finish_non_exhaustive()
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody but this machine may reach it.
    #[error("http_address_not_loopback: {0} can be reached from elsewhere. Bind to 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("http_address_unavailable: {address}: {source}. Stop what listens there, or choose another port")]
    Unavailable {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server ended by itself.
    #[error("http_failed: {0}")]
    Failed(#[from] std::io::Error),
}

impl HttpError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotLoopback(_) => "http_address_not_loopback",
            Self::Unavailable { .. } => "http_address_unavailable",
            Self::Failed(_) => "http_failed",
        }
    }
}

/// Listens on a loopback address; port 0 is any that is free.
///
/// # Errors
/// An address that others can reach, or that is taken.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, HttpError> {
    if !address.ip().is_loopback() {
        return Err(HttpError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| HttpError::Unavailable { address, source })
}

/// Every route, and what each takes and answers.
fn all() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .merge(health::routes())
        .merge(status::routes())
        .merge(openapi::routes())
        .merge(tenants::routes())
}

/// Every route.
pub fn routes(state: State) -> Router {
    Router::from(all())
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(tenants::LONGEST_BODY))
        .layer(middleware::from_fn(|request, next| in_time(LONGEST_REQUEST, request, next)))
        .with_state(state)
}

/// Answers within a time, whatever the database or the client does. What nobody waits for any more goes on to its end:
/// it keeps its connection until the database is done with it, and so it keeps its account's turn.
async fn in_time(within: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(within, tokio::spawn(next.run(request))).await {
        Ok(Ok(response)) => response,
        Ok(Err(ended)) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down.
            Err(_) => Problem::from(RequestError::TimedOut(within.as_secs())).into_response(),
        },
        Err(_) => Problem::from(RequestError::TimedOut(within.as_secs())).into_response(),
    }
}

/// Serves until it is asked to stop; requests under way are answered.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, state: State, stop: Stop) -> Result<(), HttpError> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "the API listens");
    let stopped = async move { stop.requested().await };
    Ok(axum::serve(listener, routes(state)).with_graceful_shutdown(stopped).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_answered_all_the_same() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let never = Router::new()
            .fallback(async || std::future::pending::<()>().await)
            .layer(middleware::from_fn(|request, next| in_time(Duration::from_millis(20), request, next)));
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, never).await });
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
        let body: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(body["code"], "request_timed_out");
        server.abort();
    }
}
