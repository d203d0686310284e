//! A neg-risk conversion: its row does not say what it took, the positions read again do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use common::{DEADLINE, World, slow::Slow};
use runtime::Stop;
use schemas::{
    Address, AssetId, ChangeKind, ConditionId, Shares, TargetStatus, Timestamp, events::FillsEvent,
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

fn condition(market: u8) -> String {
    format!("0x{}", format!("{market:02x}").repeat(32))
}

/// YES and NO of a market.
fn tokens(market: u8) -> [String; 2] {
    [format!("{market}1"), format!("{market}2")]
}

/// Three outcomes of one event, and a market of another.
#[derive(Default)]
struct NegRisk {
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    trades: Vec<Value>,
    activity: Vec<Value>,
    held: BTreeMap<String, (u8, i64)>,
}

fn rows<T: serde::de::DeserializeOwned>(newest_first: impl Iterator<Item = Value>) -> Rows<T> {
    let rows = newest_first.map(|row| serde_json::from_str(&row.to_string()).unwrap()).collect();
    Rows { rows, unreadable: Vec::new(), pagination: Pagination::default() }
}

fn since(row: &Value, start: Option<Timestamp>) -> bool {
    start.is_none_or(|start| row["timestamp"].as_i64().unwrap() >= start.secs())
}

impl NegRisk {
    fn trade(&self, n: u8, market: u8, place: usize, shares: i64, at: Timestamp) {
        let mut shown = self.shown.lock().unwrap();
        let token = tokens(market)[place].clone();
        shown.held.entry(token.clone()).or_insert((market, 0)).1 += shares;
        shown.trades.push(json!({
            "proxy_wallet": WALLET, "side": "BUY", "token_id": token, "condition_id": condition(market),
            "size": shares, "price": 0.6, "timestamp": at.secs(), "outcome": "No", "slug": "s",
            "transaction_hash": format!("0x{:064x}", n),
        }));
    }

    /// So many NO of each of these become YES of the third.
    fn convert(&self, n: u8, markets: &[u8], into: u8, shares: i64, at: Timestamp) {
        let mut shown = self.shown.lock().unwrap();
        for market in markets {
            shown.held.get_mut(&tokens(*market)[1]).unwrap().1 -= shares;
        }
        shown.held.entry(tokens(into)[0].clone()).or_insert((into, 0)).1 += shares;
        shown.activity.push(json!({
            "proxy_wallet": WALLET, "side": "", "token_id": "", "condition_id": condition(markets[0]),
            "size": shares, "usdc_size": shares, "price": 0, "timestamp": at.secs(), "type": "CONVERSION",
            "outcome_index": 999, "transaction_hash": format!("0x{:064x}", n),
        }));
    }
}

#[async_trait]
impl MarketData for NegRisk {
    async fn trades(&self, query: &TradesQuery, _: Timestamp) -> Result<Rows<TradeRow>, VenueError> {
        let shown = self.shown.lock().unwrap();
        Ok(rows(shown.trades.iter().rev().filter(|row| since(row, query.start)).cloned()))
    }
    async fn activity(&self, query: &ActivityQuery, _: Timestamp) -> Result<Rows<ActivityRow>, VenueError> {
        let shown = self.shown.lock().unwrap();
        Ok(rows(shown.activity.iter().rev().filter(|row| since(row, query.start)).cloned()))
    }
    async fn positions(&self, _: &PositionsQuery, _: Timestamp) -> Result<Rows<PositionRow>, VenueError> {
        let shown = self.shown.lock().unwrap();
        let held = shown.held.iter().filter(|(_, (_, shares))| *shares > 0);
        Ok(rows(held.map(|(token, (market, shares))| {
            json!({
                "proxy_wallet": WALLET, "token_id": token, "condition_id": condition(*market),
                "current_size": shares, "avg_price": 0.5, "status": "OPEN", "event_id": "e",
            })
        })))
    }
    async fn resolution(&self, _: ConditionId, _: Timestamp) -> Result<Option<ResolutionRow>, VenueError> {
        Ok(None)
    }
    async fn markets(&self, conditions: &[ConditionId]) -> Result<Rows<GammaMarket>, VenueError> {
        let all = (1..=4).filter(|m| conditions.iter().any(|c| c.to_string() == condition(*m)));
        Ok(rows(all.map(|market| {
            let ids = serde_json::to_string(&tokens(market)).unwrap();
            json!({
                "id": market.to_string(), "conditionId": condition(market), "slug": "s", "question": "q",
                "clobTokenIds": ids, "outcomes": "[\"Yes\",\"No\"]", "negRisk": true, "active": true,
                "closed": false, "acceptingOrders": true, "enableOrderBook": true, "orderMinSize": 5,
                "orderPriceMinTickSize": 0.01, "feesEnabled": false,
                "events": [{ "id": if market == 4 { "other" } else { "e" }, "slug": "s" }],
            })
        })))
    }
    async fn clob_market(&self, _: ConditionId) -> Result<Option<ClobMarket>, VenueError> {
        Ok(None)
    }
    async fn book(&self, asset: &AssetId) -> Result<Option<Book>, VenueError> {
        Ok(Some(
            serde_json::from_value(json!({
                "market": condition(1), "asset_id": asset, "timestamp": "1790000000000",
                "bids": [{ "price": "0.55", "size": "100" }], "asks": [{ "price": "0.65", "size": "100" }],
            }))
            .unwrap(),
        ))
    }
}

#[tokio::test]
async fn what_a_conversion_took_is_a_sale_and_what_it_gave_is_held_as_the_venue_shows_it() {
    let world = World::start(1).await;
    let venue = Arc::new(NegRisk::default());
    // Something it held before anybody followed it.
    venue.trade(1, 1, 1, 100, Timestamp::from_secs(world.clock.now().secs() - 1_000));
    world.follow(WALLET, TargetStatus::Active, 1).await;
    let (_, run) = world.run_with(venue.clone());
    wait_for("the snapshot", DEADLINE, async || {
        world.events().await.iter().any(|e| matches!(e, FillsEvent::PositionSnapshot(_)))
    })
    .await;
    let now = world.clock.now();
    venue.trade(2, 2, 1, 30, now);
    venue.trade(3, 4, 1, 9, now);
    wait_for("the fills", DEADLINE, async || world.fills().await.len() == 2).await;
    run.abort();
    let _ = run.await;

    // It happens while nobody looks, and between two trades of its second.
    let now = world.clock.now();
    venue.trade(4, 1, 1, 5, now);
    venue.convert(5, &[1, 2], 3, 30, now);
    let (stop, run) = world.run_with(venue.clone());
    wait_for("the conversion", DEADLINE, async || world.changes().await.len() == 1).await;
    let shown: BTreeMap<AssetId, Shares> = {
        let shown = venue.shown.lock().unwrap();
        let held = shown.held.iter().filter(|(_, (_, shares))| *shares > 0);
        held.map(|(token, (_, shares))| (token.parse().unwrap(), Shares::from_units(*shares))).collect()
    };
    wait_for("the positions of the venue", DEADLINE, async || world.decided(WALLET).await == shown).await;
    stop.request();
    run.await.unwrap().unwrap();

    let change = world.changes().await.remove(0);
    assert_eq!(change.kind, ChangeKind::Conversion);
    let told: Vec<(String, i64, i64)> = change
        .deltas
        .iter()
        .map(|d| (d.asset.to_string(), d.shares.micro() / 1_000_000, d.cost.micro()))
        .collect();
    let expected = [("12", -30, 0), ("22", -30, 0), ("31", 30, 15_000_000)];
    assert_eq!(told, expected.map(|(asset, shares, cost)| (asset.to_owned(), shares, cost)));
    let books: Vec<&str> = change.books.iter().map(|b| b.asset.as_str()).collect();
    assert_eq!(books, ["12", "22"], "priced from the books of what was sold");
    world.simulator.stop().await;
}

#[tokio::test]
async fn a_conversion_waits_for_a_log_that_does_not_answer() {
    let world = World::start(1).await;
    let venue = Arc::new(NegRisk::default());
    venue.trade(1, 1, 1, 100, Timestamp::from_secs(world.clock.now().secs() - 1_000));
    world.follow(WALLET, TargetStatus::Active, 1).await;
    let log = Slow::new(&world);
    let (stop, run) = world.run_on(Arc::new(log.clone()), venue.clone(), Stop::new());
    // From here on nothing else asks the log how far it goes.
    wait_for("its history", DEADLINE, async || world.history().await.len() == 1).await;
    log.fail(&["end of fills"]);
    venue.convert(2, &[1], 3, 30, world.clock.now());
    let ended = async || world.changes().await.len() == 1 || run.is_finished();
    wait_for("the conversion", DEADLINE, ended).await;
    assert!(!run.is_finished(), "the stage gave up");
    assert!(log.failed(), "it had to wait");
    stop.request();
    run.await.unwrap().unwrap();
    assert_eq!(world.changes().await.len(), 1);
    world.simulator.stop().await;
}
