//! The Data API v1, announced retired: 410, or its `/trades` by offset where a switch says it still lives.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};

use super::{
    query::{Pairs, Params, User},
    reply, rows,
};
use crate::{history::Entry, print::Role, shared::Shared};

/// A route that was retired.
pub async fn gone() -> Response {
    reply::data_error(StatusCode::GONE, "gone", "this version of the API was retired, use /v2", None)
}

/// `GET /trades`.
pub async fn trades(State(shared): State<Arc<Shared>>, Query(pairs): Query<Pairs>) -> Response {
    if shared.switches().v1_gone {
        return gone().await;
    }
    let params = Params::new(pairs);
    let read = || {
        Ok((
            params.number("limit", 100, 10_000)?,
            params.number("offset", 0, 10_000)?,
            params.user()?,
            params.read::<bool>("takerOnly")?.unwrap_or(true),
        ))
    };
    let (limit, offset, user, taker_only) = match read() {
        Ok(read) => read,
        Err(bad) => return super::query::BadParam::into(bad),
    };
    let wallet = match user {
        Some(User::Nobody) => return reply::ok(&[(); 0]),
        Some(User::One(wallet)) => Some(wallet),
        None => None,
    };
    let mut out = String::from("[");
    let world = shared.world();
    let found = world.history.newest_first(wallet, None).filter_map(|(_, entry)| match entry {
        Entry::Trade(print) if !taker_only || print.role == Role::Taker => Some(print),
        _ => None,
    });
    for print in found.skip(offset).take(limit) {
        let Some(market) = world.registry.get(print.token.market) else { continue };
        if out.len() > 1 {
            out.push(',');
        }
        rows::legacy_trade(&mut out, print, market);
    }
    out.push(']');
    reply::json_bytes(StatusCode::OK, out.into())
}
