//! What a wallet did while nobody looked at it: without its position going wrong, and without a fill left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use common::{DEADLINE, World};
use schemas::{
    Address, AssetId, ConditionId, Shares, Side, TargetStatus, Timestamp, Usdc,
    events::{FillsEvent, HeldPosition, PositionSnapshot, Watermark},
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
const DAY: Duration = Duration::from_secs(86_400);

fn condition(market: u8) -> ConditionId {
    ConditionId::from_bytes([market; 32])
}

/// The token of a market that the wallet trades, and the other one.
fn tokens(market: u8) -> [String; 2] {
    [format!("{market}1"), format!("{market}2")]
}

/// What one wallet traded, and holds.
#[derive(Default)]
struct Venue {
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    trades: Vec<Value>,
    held: BTreeMap<u8, i64>,
    /// Markets of which Gamma says nothing.
    unlisted: BTreeSet<u8>,
    /// How often trades were asked for.
    asked: u32,
}

fn rows<T: serde::de::DeserializeOwned>(rows: impl IntoIterator<Item = Value>) -> Rows<T> {
    let rows = rows.into_iter().map(|row| serde_json::from_str(&row.to_string()).unwrap()).collect();
    Rows { rows, unreadable: Vec::new(), pagination: Pagination::default() }
}

impl Venue {
    fn trade(&self, market: u8, side: Side, shares: i64, at: Timestamp) {
        let mut shown = self.shown.lock().unwrap();
        let n = shown.trades.len() + 1;
        *shown.held.entry(market).or_default() += if side == Side::Buy { shares } else { -shares };
        shown.trades.push(json!({
            "proxy_wallet": WALLET, "side": side.as_str(), "token_id": tokens(market)[0],
            "condition_id": condition(market), "size": shares, "price": 0.6, "timestamp": at.secs(),
            "outcome": "Yes", "slug": "s", "transaction_hash": format!("0x{n:064x}"),
        }));
    }

    async fn is_left_alone(&self) -> bool {
        let before = self.shown.lock().unwrap().asked;
        // Ten polls long.
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.shown.lock().unwrap().asked == before
    }
}

#[async_trait]
impl MarketData for Venue {
    async fn trades(&self, query: &TradesQuery, _: Timestamp) -> Result<Rows<TradeRow>, VenueError> {
        let mut shown = self.shown.lock().unwrap();
        shown.asked += 1;
        let inside = |row: &&Value| {
            let at = Timestamp::from_secs(row["timestamp"].as_i64().unwrap());
            query.start.is_none_or(|start| at >= start) && query.end.is_none_or(|end| at <= end)
        };
        Ok(rows(shown.trades.iter().rev().filter(inside).cloned()))
    }
    async fn activity(&self, _: &ActivityQuery, _: Timestamp) -> Result<Rows<ActivityRow>, VenueError> {
        Ok(rows([]))
    }
    async fn positions(&self, _: &PositionsQuery, _: Timestamp) -> Result<Rows<PositionRow>, VenueError> {
        let shown = self.shown.lock().unwrap();
        Ok(rows(shown.held.iter().filter(|(_, shares)| **shares > 0).map(|(market, shares)| {
            json!({
                "proxy_wallet": WALLET, "token_id": tokens(*market)[0], "condition_id": condition(*market),
                "current_size": shares, "avg_price": 0.5, "status": "OPEN", "event_id": "e",
            })
        })))
    }
    async fn resolution(&self, _: ConditionId, _: Timestamp) -> Result<Option<ResolutionRow>, VenueError> {
        Ok(None)
    }
    async fn markets(&self, conditions: &[ConditionId]) -> Result<Rows<GammaMarket>, VenueError> {
        let shown = self.shown.lock().unwrap();
        let listed = |m: &u8| conditions.contains(&condition(*m)) && !shown.unlisted.contains(m);
        Ok(rows((1..=4).filter(listed).map(|market| {
            let ids = serde_json::to_string(&tokens(market)).unwrap();
            json!({
                "id": market.to_string(), "conditionId": condition(market), "slug": "s", "question": "q",
                "clobTokenIds": ids, "outcomes": "[\"Yes\",\"No\"]", "negRisk": false, "active": true,
                "closed": false, "acceptingOrders": true, "enableOrderBook": true, "orderMinSize": 5,
                "orderPriceMinTickSize": 0.01, "feesEnabled": false, "events": [{ "id": "e", "slug": "s" }],
            })
        })))
    }
    async fn clob_market(&self, _: ConditionId) -> Result<Option<ClobMarket>, VenueError> {
        Ok(None)
    }
    async fn book(&self, _: &AssetId) -> Result<Option<Book>, VenueError> {
        Ok(None)
    }
}

/// Whether a fill of so many shares of that market was published.
async fn told(world: &World, market: u8, shares: i64) -> bool {
    let shares = Shares::from_units(shares);
    world.fills().await.iter().any(|f| f.condition_id == condition(market) && f.shares == shares)
}

/// The leader sells half of what is left: what decide holds it to hold afterwards.
async fn holds_after_selling_twenty(world: &World, venue: &Venue) -> Shares {
    venue.trade(1, Side::Sell, 20, world.clock.now());
    wait_for("the sale", DEADLINE, async || told(world, 1, 20).await).await;
    let asset: AssetId = tokens(1)[0].parse().unwrap();
    world.decided(WALLET).await.get(&asset).copied().unwrap_or_default()
}

async fn snapshots(world: &World) -> usize {
    world.told(|e| if let FillsEvent::PositionSnapshot(s) = e { Some(s) } else { None }).await.len()
}

#[tokio::test]
async fn what_a_wallet_sold_while_nobody_followed_it_is_gone_when_it_is_followed_again() {
    let world = World::start(1).await;
    let venue = Arc::new(Venue::default());
    venue.trade(1, Side::Buy, 100, world.clock.now().minus(Duration::from_secs(1_000)));
    world.follow(WALLET, TargetStatus::Active, 1).await;
    let (stop, run) = world.run_with(venue.clone());
    wait_for("the watermark", DEADLINE, async || {
        world.events().await.iter().any(|e| matches!(e, FillsEvent::Watermark(_)))
    })
    .await;
    world.follow(WALLET, TargetStatus::Removed, 2).await;
    wait_for("silence", DEADLINE, async || venue.is_left_alone().await).await;
    let sold_at = world.clock.now();
    venue.trade(1, Side::Sell, 60, sold_at);
    wait_for("the next second", DEADLINE, async || world.clock.now().secs() > sold_at.secs()).await;
    world.follow(WALLET, TargetStatus::Active, 3).await;
    assert_eq!(holds_after_selling_twenty(&world, &venue).await, Shares::from_units(20));
    assert!(!told(&world, 1, 60).await, "what nobody followed is not decided");
    assert_eq!(snapshots(&world).await, 2, "one for each follow");
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}

#[tokio::test]
async fn a_wallet_followed_again_days_later_begins_with_what_it_holds_then() {
    let world = World::start(1).await;
    let venue = Arc::new(Venue::default());
    let now = world.clock.now();
    let (began, ended) = (now.minus(DAY * 3), now.minus(DAY * 2));
    venue.trade(1, Side::Buy, 100, now.minus(DAY * 9));
    venue.trade(1, Side::Sell, 60, now.minus(DAY));
    // What is left in the log of a follow three days ago.
    let position = HeldPosition {
        asset: tokens(1)[0].parse().unwrap(),
        condition_id: condition(1),
        opposite: None,
        shares: Shares::from_units(100),
        cost: Usdc::from_units(50),
    };
    let snapshot = PositionSnapshot {
        wallet: WALLET,
        covers_until: began.minus(Duration::from_secs(60)),
        near: Vec::new(),
        positions: vec![position],
        part: 0,
        parts: 1,
        observed_at: began,
    };
    world.put_event(WALLET, &snapshot, began).await;
    let mark = Watermark { wallet: WALLET, complete_until: ended, observed_at: ended };
    world.put_event(WALLET, &mark, ended).await;
    world.follow(WALLET, TargetStatus::Active, 1).await;
    let (stop, run) = world.run_with(venue.clone());
    wait_for("its history", DEADLINE, async || world.history().await.len() == 2).await;
    assert_eq!(holds_after_selling_twenty(&world, &venue).await, Shares::from_units(20));
    stop.request();
    run.await.unwrap().unwrap();
    // Whoever has the partition next knows that by the log.
    let asked = venue.shown.lock().unwrap().asked;
    let (stop, run) = world.run_with(venue.clone());
    wait_for("a new owner at work", DEADLINE, async || venue.shown.lock().unwrap().asked > asked + 10).await;
    stop.request();
    run.await.unwrap().unwrap();
    assert_eq!(snapshots(&world).await, 2, "no third one");
    world.simulator.stop().await;
}

#[tokio::test]
async fn a_fill_that_waited_for_its_facts_when_its_watch_ended_is_found_by_whoever_comes_next() {
    let world = World::start(1).await;
    let venue = Arc::new(Venue::default());
    let now = world.clock.now();
    let minutes_ago = |minutes: u64| now.minus(Duration::from_secs(60 * minutes));
    world.follow_since(WALLET, TargetStatus::Active, 1, now.minus(DAY)).await;
    // Half an hour of backlog, and the facts of what came first cannot be had.
    let mark = Watermark { wallet: WALLET, complete_until: minutes_ago(30), observed_at: minutes_ago(30) };
    world.put_event(WALLET, &mark, minutes_ago(30)).await;
    venue.shown.lock().unwrap().unlisted.insert(2);
    venue.trade(2, Side::Buy, 7, minutes_ago(25));
    venue.trade(3, Side::Buy, 9, minutes_ago(1));
    let (_, first) = world.run_with(venue.clone());
    wait_for("what has its facts", DEADLINE, async || told(&world, 3, 9).await).await;
    assert!(!told(&world, 2, 7).await);
    // As a kill would.
    first.abort();
    let _ = first.await;
    venue.shown.lock().unwrap().unlisted.clear();
    let (stop, second) = world.run_with(venue.clone());
    // Whatever is told after its walk: a walk that leaves it out says so by its watermark.
    wait_for("the watermark", DEADLINE, async || {
        let marks =
            world.told(|e| if let FillsEvent::Watermark(m) = e { Some(m.complete_until) } else { None });
        marks.await.into_iter().any(|mark| mark > minutes_ago(1))
    })
    .await;
    assert!(told(&world, 2, 7).await, "the watermark says that it was published");
    assert_eq!(world.fills().await.len(), 2, "and what was published is not published again");
    stop.request();
    second.await.unwrap().unwrap();
    world.simulator.stop().await;
}
