//! The live figures of this process, as `polymirror up` draws them.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State as Extract};
use runtime::board::Figures;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::State;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(status))
}

/// How long a step took, in microseconds since ingest saw the fill.
#[derive(Debug, Serialize, ToSchema)]
struct Latency {
    p50_us: u64,
    p99_us: u64,
}

/// The figures of this process; under `up`, decisions and orders count from the first start.
#[derive(Debug, Serialize, ToSchema)]
struct Status {
    /// Fills published since the start, amendments included.
    fills: u64,
    /// Fills published before, as far back as ingest remembers.
    earlier_fills: u64,
    /// Decisions by reason.
    #[schema(value_type = BTreeMap<String, u64>)]
    decisions: BTreeMap<&'static str, u64>,
    /// Orders by the status they last reached.
    #[schema(value_type = BTreeMap<String, u64>)]
    orders: BTreeMap<&'static str, u64>,
    /// By step of a trade's way.
    #[schema(value_type = BTreeMap<String, Latency>)]
    latency: BTreeMap<&'static str, Latency>,
    /// Records not yet taken, by stage.
    #[schema(value_type = BTreeMap<String, u64>)]
    lag: BTreeMap<&'static str, u64>,
    /// What went wrong while the stages went on, by kind.
    troubles: BTreeMap<String, u64>,
}

/// The live figures of this process, over all tenants: numbers, and nobody's rows.
#[utoipa::path(get, path = "/api/v1/status", tag = "installation", responses((status = 200, body = Status)))]
async fn status(Extract(state): Extract<State>) -> Json<Status> {
    let Figures { fills, earlier_fills, decisions, orders, latency, lag, troubles } = state.board.figures();
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let latency = latency
        .into_iter()
        .map(|(step, (p50, p99))| (step, Latency { p50_us: micros(p50), p99_us: micros(p99) }))
        .collect();
    Json(Status { fills, earlier_fills, decisions, orders, latency, lag, troubles })
}
