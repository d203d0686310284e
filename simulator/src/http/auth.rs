//! Who asks: L1 and L2 signatures, API keys (`venue.md` 4).

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{OriginalUri, State},
    http::{HeaderMap, Method, StatusCode},
    response::Response,
};
use schemas::{Address, Timestamp};
use venue::{
    signing::l1_signer,
    wire::{ApiKeyRow, HexBytes},
};

use super::reply;
use crate::{exchange::Standing, journal::Line, keys::ApiKey, shared::Shared};

/// Whose request it is: an API key that signed exactly these bytes.
pub fn authenticate(
    shared: &Shared,
    headers: &HeaderMap,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<ApiKey, Box<Response>> {
    let signed = || {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let key = shared.keys().get(text("POLY_API_KEY")?)?.clone();
        let address: Address = text("POLY_ADDRESS")?.parse().ok()?;
        let at: i64 = text("POLY_TIMESTAMP")?.parse().ok()?;
        let good = address == key.address
            && key.signed(text("POLY_PASSPHRASE")?, text("POLY_SIGNATURE")?, at, method, path, body);
        good.then_some(key)
    };
    signed().ok_or_else(|| Box::new(reply::clob_error(401, "Unauthorized/Invalid api key")))
}

/// `POST /auth/api-key`: makes the key, or gives the one of this nonce again.
pub async fn make_key(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let Some((address, nonce)) = l1(&shared, &headers) else { return bad_l1() };
    let (row, synced) = shared.make_key(address, nonce);
    if synced.wait().await.is_err() {
        return reply::clob_error(500, "could not create api key");
    }
    answer_key(Some(row))
}

/// `GET /auth/derive-api-key`: the key of this nonce, where it was made.
pub async fn derive_key(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let Some((address, nonce)) = l1(&shared, &headers) else { return bad_l1() };
    let row = shared.keys().known(address, nonce);
    answer_key(row)
}

fn answer_key(row: Option<ApiKeyRow>) -> Response {
    match row {
        Some(row) => reply::ok(&row),
        None => reply::clob_error(400, "Could not derive api key!"),
    }
}

fn bad_l1() -> Response {
    reply::clob_error(StatusCode::UNAUTHORIZED.as_u16(), "Invalid L1 Request headers")
}

/// Whose L1 request it is, if it is signed by that wallet's own key.
fn l1(shared: &Shared, headers: &HeaderMap) -> Option<(Address, u64)> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let address: Address = text("POLY_ADDRESS")?.parse().ok()?;
    let signature: HexBytes = serde_json::from_value(text("POLY_SIGNATURE")?.into()).ok()?;
    let at = Timestamp::from_secs(text("POLY_TIMESTAMP")?.parse().ok()?);
    let nonce = text("POLY_NONCE").unwrap_or("0").parse().ok()?;
    let signer = l1_signer(address, at, nonce, shared.table.chain_id, &signature.0).ok()?;
    (signer == address).then_some((address, nonce))
}

/// `GET /auth/api-keys`: the ids of the address's keys.
pub async fn keys(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match authenticate(&shared, &headers, "GET", "/auth/api-keys", b"") {
        Ok(key) => reply::ok(&serde_json::json!({ "apiKeys": shared.keys().of(key.address) })),
        Err(refused) => *refused,
    }
}

/// `DELETE /auth/api-key`: the key that asks is no more.
pub async fn delete_key(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let key = match authenticate(&shared, &headers, "DELETE", "/auth/api-key", b"") {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let synced = {
        let mut keys = shared.keys();
        keys.forget(&key.id);
        shared.remember(&Line::KeyGone { id: key.id })
    };
    if synced.wait().await.is_err() {
        return reply::clob_error(500, "could not delete api key");
    }
    reply::ok(&"OK")
}

/// `GET /auth/ban-status/closed-only`.
pub async fn closed_only(
    State(shared): State<Arc<Shared>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match authenticate(&shared, &headers, method.as_str(), uri.path(), &body) {
        Ok(key) => {
            let world = shared.world();
            // The key's own address, and the wallet it trades for.
            let wallets = [key.address, world.wallet_of(&key.id, key.address)];
            let closed = wallets.iter().any(|w| world.exchange.account(*w).standing == Standing::ClosedOnly);
            reply::ok(&serde_json::json!({ "closed_only": closed }))
        }
        Err(refused) => *refused,
    }
}
