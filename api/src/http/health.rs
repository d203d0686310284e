//! For whoever runs the process: does it live, can it work, what are its metrics.

use std::time::Duration;

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::IntoResponse,
};
use eventlog::TopicPartition;
use project::check_version;
use schemas::topics::Topic;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{State, problem::Problem};

/// How long a part may take to show that it is there.
const WITHIN: Duration = Duration::from_secs(2);

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// That the process lives.
#[derive(Debug, Serialize, ToSchema)]
struct Alive {
    /// Always `ok`.
    status: &'static str,
}

/// That the process can work.
#[derive(Debug, Serialize, ToSchema)]
struct Ready {
    /// Always `ready`.
    status: &'static str,
    /// Always `ok`.
    database: &'static str,
    /// Always `ok`.
    log: &'static str,
}

/// The process answers; nothing else is asked.
#[utoipa::path(get, path = "/healthz", tag = "installation", responses((status = 200, body = Alive)))]
async fn healthz() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Database and log answer, and the database is at this program's version.
#[utoipa::path(get, path = "/readyz", tag = "installation", responses((status = 200, body = Ready)))]
async fn readyz(Extract(state): Extract<State>) -> Result<Json<Ready>, Problem> {
    let (database, log) = tokio::join!(database(&state), log(&state));
    let troubles: Vec<(String, String)> = [database, log].into_iter().filter_map(Result::err).collect();
    match troubles.first() {
        None => Ok(Json(Ready { status: "ready", database: "ok", log: "ok" })),
        Some((code, _)) => {
            let details: Vec<&str> = troubles.iter().map(|(_, detail)| detail.as_str()).collect();
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, details.join("; ")))
        }
    }
}

async fn database(state: &State) -> Result<(), (String, String)> {
    match tokio::time::timeout(WITHIN, check_version(state.accounts.pool())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err((error.code().to_owned(), error.to_string())),
        Err(_) => {
            let code = "database_unreachable";
            Err((code.to_owned(), format!("{code}: no answer within {} s", WITHIN.as_secs())))
        }
    }
}

async fn log(state: &State) -> Result<(), (String, String)> {
    match tokio::time::timeout(WITHIN, state.log.extent(TopicPartition::new(Topic::Controls, 0))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err((error.code().to_owned(), error.to_string())),
        Err(_) => {
            let code = "log_unreachable";
            Err((code.to_owned(), format!("{code}: no answer within {} s", WITHIN.as_secs())))
        }
    }
}

/// Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = "installation",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain"))
)]
async fn metrics(Extract(state): Extract<State>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.metrics)())
}
