//! The tenants' routes as a client uses them. Every answer is held against the OpenAPI document.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bodies;
#[path = "../common/mod.rs"]
mod common;
mod document;
mod grants;
mod lists;
mod positions;
mod targets;
mod tokens;

use common::{
    Setup,
    rows::{decision, later, of, order, projected, sale},
    server::Client,
    wallet,
};
use schemas::{OrderStatus, Reason, events::TargetsEvent};
use serde_json::json;

const TARGETS: &str = "/copy-trade/targets";

/// Follows a wallet; its row.
async fn follow(client: &Client<'_>, digit: char) -> String {
    let body = client.post(TARGETS, json!({ "wallet": wallet(digit) })).await.ok(201);
    body["id"].as_str().unwrap().to_owned()
}

async fn relayed(setup: &Setup) -> Vec<TargetsEvent> {
    api::relay::publish(&setup.relay().await, 1_000).await.unwrap();
    setup.targets().await.into_iter().map(|(_, event)| event).collect()
}

/// Twelve copies of one wallet: BUYs, of which some filled, and a sale.
async fn copies(setup: &Setup, tenant: api::Tenant) {
    let tenant = of(tenant);
    let mut orders: Vec<_> = (1..=9).map(|number| order(tenant, number, 5)).collect();
    orders.push(later(&order(tenant, 10, 5), OrderStatus::Open, 2));
    orders.push(later(&order(tenant, 11, 5), OrderStatus::Filled, 5));
    orders.push(later(&sale(tenant, 12, 0, 3), OrderStatus::Filled, 3));
    let mut decisions: Vec<_> = (1..=9).map(|number| decision(tenant, 0, 0, number, Reason::Ok)).collect();
    decisions.extend((10..=20).map(|number| decision(tenant, 0, 0, number, Reason::StaleFill)));
    projected(setup, orders, decisions).await;
}
