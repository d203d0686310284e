//! Cancels (`venue.md` 6): HTTP 200 always, with what was not cancelled and why.

use std::{collections::BTreeMap, sync::Arc};

use axum::{body::Bytes, extract::State, http::HeaderMap, response::Response};
use schemas::{AssetId, ConditionId, OrderId};
use serde::Deserialize;
use venue::wire::{CancelAnswer, CancelRequest};

use super::{auth::authenticate, gate, reply};
use crate::{
    exchange::{Order, Refusal},
    journal::Line,
    keys::ApiKey,
    limits::Spends,
    modes::Asks,
    shared::Shared,
    world::World,
};

/// Who cancels, once the mode and the signature let it pass.
fn enter(shared: &Shared, headers: &HeaderMap, path: &str, body: &[u8]) -> Result<ApiKey, Box<Response>> {
    gate::admit(shared, || Asks::Cancel)?;
    authenticate(shared, headers, "DELETE", path, body)
}

/// Cancels some orders of a key, and says of each what became of it. `costs` is what the signer pays.
async fn cancel_ids(shared: &Shared, key: &ApiKey, ids: Vec<OrderId>, costs: usize) -> Response {
    let tokens = match gate::spend(shared, key, Spends::Cancels, costs) {
        Ok(tokens) => tokens,
        Err(refused) => return *refused,
    };
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
    tokens.told(reply::ok(&answer))
}

/// `DELETE /order`.
pub async fn one(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let key = match enter(&shared, &headers, "/order", &body) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    match serde_json::from_slice::<CancelRequest>(&body) {
        Ok(request) => cancel_ids(&shared, &key, vec![request.order_id], 1).await,
        Err(_) => reply::refusal(&Refusal::Payload.to_string()),
    }
}

/// `DELETE /orders`.
pub async fn many(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let key = match enter(&shared, &headers, "/orders", &body) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let most = usize::try_from(shared.switches().cancels_at_once).unwrap_or(usize::MAX);
    match serde_json::from_slice::<Vec<OrderId>>(&body) {
        Ok(ids) if ids.len() <= most => {
            let costs = ids.len();
            cancel_ids(&shared, &key, ids, costs).await
        }
        Ok(ids) => reply::refusal(&Refusal::TooMany { given: ids.len(), most }.to_string()),
        Err(_) => reply::refusal(&Refusal::Payload.to_string()),
    }
}

fn open_of(world: &World, key: &ApiKey, which: impl Fn(&Order) -> bool) -> Vec<OrderId> {
    let mut open: Vec<_> =
        world.exchange.orders().filter(|o| o.owner == key.id && o.is_open() && which(o)).collect();
    open.sort_by_key(|o| (o.accepted, o.id));
    open.into_iter().map(|o| o.id).collect()
}

/// `DELETE /cancel-all`.
pub async fn all(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let key = match enter(&shared, &headers, "/cancel-all", &body) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let ids = open_of(&shared.world(), &key, |_| true);
    let costs = 1 + ids.len();
    cancel_ids(&shared, &key, ids, costs).await
}

/// Of which market or token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MarketOrders {
    market: Option<String>,
    asset_id: Option<AssetId>,
}

/// `DELETE /cancel-market-orders`: of a condition, of a token, or of both at once.
pub async fn of_market(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let key = match enter(&shared, &headers, "/cancel-market-orders", &body) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let Ok(asked) = serde_json::from_slice::<MarketOrders>(&body) else {
        return reply::refusal(&Refusal::Payload.to_string());
    };
    let condition =
        asked.market.as_deref().filter(|m| !m.is_empty()).map(ConditionId::parse_padded).transpose();
    let Ok(condition) = condition else { return reply::refusal(&Refusal::Payload.to_string()) };
    if condition.is_none() && asked.asset_id.is_none() {
        return reply::refusal(&Refusal::Payload.to_string());
    }
    let ids = {
        let world = shared.world();
        let market = condition.map(|c| world.registry.condition(c).map(|(market, _)| market));
        let token = asked.asset_id.as_ref().map(|id| world.registry.token(id).map(|(token, _)| token));
        open_of(&world, &key, |o| {
            market.is_none_or(|m| m == Some(o.token.market)) && token.is_none_or(|t| t == Some(o.token))
        })
    };
    let costs = ids.len();
    cancel_ids(&shared, &key, ids, costs).await
}
