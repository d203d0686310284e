//! The server on loopback: whether the process lives, whether it can work, its metrics and its live figures.
//!
//! Each group of routes is a module that gives a `Router`; the tenants' own routes will be one beside
//! [`status`].

pub mod health;
pub mod problem;
pub mod status;

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::Router;
use eventlog::Log;
use runtime::{Board, Stop};
use sqlx::PgPool;
use tokio::net::TcpListener;

use problem::Problem;

/// Writes the metrics in Prometheus' text format.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the routes answer from.
#[derive(Clone)]
pub struct State {
    /// Connections of `app_user`.
    pub database: PgPool,
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

/// Every route.
pub fn routes(state: State) -> Router {
    Router::new()
        .merge(health::routes())
        .merge(status::routes())
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(state)
}

/// Serves until it is asked to stop; requests under way are answered.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, state: State, stop: Stop) -> Result<(), HttpError> {
    let stopped = async move { stop.requested().await };
    Ok(axum::serve(listener, routes(state)).with_graceful_shutdown(stopped).await?)
}
