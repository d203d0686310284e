//! A market goes on under new ids while followers hold a token of it: from the venue's row to the prices of the new id.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use common::{DEADLINE, World, order};
use schemas::{
    Address, AssetId, ChangeKind, ConditionId, OrderStatus, Shares, TargetStatus, Timestamp,
    events::{FillsEvent, OrderState},
};
use serde_json::{Value, json};
use testkit::wait_for;
use venue::{
    VenueError,
    port::{ActivityQuery, MarketData, PositionsQuery, TradesQuery},
    wire::{
        ActivityRow, Book, ClobMarket, GammaMarket, Pagination, PositionRow, ResolutionRow, Rows, TradeRow,
    },
};

const WALLET: Address = Address::from_bytes([5; 20]);
const CONDITION: ConditionId = ConditionId::from_bytes([2; 32]);

/// One market, whose ids are 11 and 12, and 101 and 102 once it has migrated.
#[derive(Default)]
struct Venue {
    migrated_at: Mutex<Option<Timestamp>>,
    asked: Mutex<Vec<AssetId>>,
}

fn rows<T: serde::de::DeserializeOwned>(rows: impl IntoIterator<Item = Value>) -> Rows<T> {
    let rows = rows.into_iter().map(|row| serde_json::from_str(&row.to_string()).unwrap()).collect();
    Rows { rows, unreadable: Vec::new(), pagination: Pagination::default() }
}

#[async_trait]
impl MarketData for Venue {
    async fn trades(&self, _: &TradesQuery, _: Timestamp) -> Result<Rows<TradeRow>, VenueError> {
        Ok(rows([]))
    }
    async fn activity(&self, query: &ActivityQuery, _: Timestamp) -> Result<Rows<ActivityRow>, VenueError> {
        let at = *self.migrated_at.lock().unwrap();
        let at = at.filter(|at| query.start.is_none_or(|start| *at >= start));
        Ok(rows(at.map(|at| {
            json!({
                "proxy_wallet": WALLET, "side": "", "token_id": "", "condition_id": CONDITION, "size": 40,
                "usdc_size": 0, "price": 0, "timestamp": at.secs(), "type": "MIGRATION", "outcome_index": 999,
                "transaction_hash": format!("0x{:064x}", 7),
            })
        })))
    }
    async fn positions(&self, _: &PositionsQuery, _: Timestamp) -> Result<Rows<PositionRow>, VenueError> {
        let token = if self.migrated_at.lock().unwrap().is_some() { "101" } else { "11" };
        Ok(rows([json!({
            "proxy_wallet": WALLET, "token_id": token, "condition_id": CONDITION, "current_size": 40,
            "avg_price": 0.5, "status": "OPEN", "event_id": "e",
        })]))
    }
    async fn resolution(&self, _: ConditionId, _: Timestamp) -> Result<Option<ResolutionRow>, VenueError> {
        Ok(None)
    }
    async fn markets(&self, _: &[ConditionId]) -> Result<Rows<GammaMarket>, VenueError> {
        let version = if self.migrated_at.lock().unwrap().is_some() { "v2" } else { "v1" };
        Ok(rows([json!({
            "id": "1", "conditionId": CONDITION, "slug": "s", "question": "q", "version": version,
            "clobTokenIds": "[\"11\", \"12\"]", "positionIds": ["101", "102"], "outcomes": "[\"Yes\",\"No\"]",
            "negRisk": false, "active": true, "closed": false, "acceptingOrders": true, "enableOrderBook": true,
            "orderMinSize": 5, "orderPriceMinTickSize": 0.01, "feesEnabled": false,
            "events": [{ "id": "e", "slug": "s" }],
        })]))
    }
    async fn clob_market(&self, _: ConditionId) -> Result<Option<ClobMarket>, VenueError> {
        Ok(None)
    }
    async fn book(&self, asset: &AssetId) -> Result<Option<Book>, VenueError> {
        self.asked.lock().unwrap().push(asset.clone());
        let book = json!({
            "market": CONDITION, "asset_id": asset, "timestamp": "1790000000000",
            "bids": [{ "price": "0.55", "size": "100" }], "asks": [{ "price": "0.65", "size": "100" }],
        });
        Ok(Some(serde_json::from_value(book).unwrap()))
    }
}

async fn marks_of(world: &World, asset: &str) -> usize {
    let is_of =
        |e| if let FillsEvent::TokenMarked(m) = e { (m.asset.as_str() == asset).then_some(()) } else { None };
    world.told(is_of).await.len()
}

#[tokio::test]
async fn the_price_of_a_token_is_that_of_its_new_id_as_soon_as_the_leader_s_holding_is_there() {
    let world = World::start(1).await;
    let venue = Arc::new(Venue::default());
    world.follow(WALLET, TargetStatus::Active, 1).await;
    let bought =
        OrderState { status: OrderStatus::Filled, filled_shares: Shares::from_units(10), ..order(1, WALLET) };
    world.put_order(&bought).await;
    let (stop, run) = world.run_with(venue.clone());
    wait_for("the snapshot", DEADLINE, async || {
        world.events().await.iter().any(|e| matches!(e, FillsEvent::PositionSnapshot(_)))
    })
    .await;
    wait_for("the price of the id that was bought", DEADLINE, async || marks_of(&world, "11").await == 1)
        .await;
    assert_eq!(marks_of(&world, "101").await, 0);

    *venue.migrated_at.lock().unwrap() = Some(world.clock.now());
    wait_for("the price of the new id", DEADLINE, async || marks_of(&world, "101").await == 1).await;
    let changes = world.changes().await;
    assert_eq!((changes.len(), changes[0].kind), (1, ChangeKind::Migration));
    venue.asked.lock().unwrap().clear();
    wait_for("another round", DEADLINE, async || venue.asked.lock().unwrap().len() > 2).await;
    assert!(
        venue.asked.lock().unwrap().iter().all(|asset| asset.as_str() == "101"),
        "nobody asks for the former"
    );
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}
