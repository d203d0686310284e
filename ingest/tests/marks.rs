//! Prices and outcomes of what followers hold: told when they change, and known again after a restart.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{DEADLINE, World, order};
use runtime::{Clock, SystemClock, VirtualClock};
use schemas::{
    Address, AssetId, ConditionId, OrderStatus, Shares, Side, Usdc,
    events::{FillsEvent, MarketFacts, OrderState, TokenMarked, TokenResolved},
};
use simulator::{Options, Prints, Seeding};
use testkit::wait_for;
use venue::{facts::market_facts, port::TradesQuery};

async fn lively() -> (World, VirtualClock, Address) {
    let venue_clock = VirtualClock::at(SystemClock::default().now());
    let seeding = Seeding {
        leaders: 1,
        markets: 4,
        mean_gap: Duration::from_millis(50),
        market_life: Duration::from_secs(120),
        ..Seeding::default()
    };
    let options =
        Options { prints: Prints::Seeded(seeding), history: Duration::from_secs(10), ..Options::default() };
    let world = World::with(options, Arc::new(venue_clock.clone())).await;
    let leader = world.simulator.handle().leaders()[0];
    (world, venue_clock, leader)
}

/// The market that ends first and the one that ends last of those the leader trades.
async fn markets(world: &World, user: Address) -> (MarketFacts, MarketFacts) {
    let query = TradesQuery { user, limit: 500, cursor: None, start: None, end: None };
    let page = world.venue.trades(&query, world.clock.now()).await.unwrap();
    let mut conditions: Vec<ConditionId> = page.rows.iter().map(|r| r.condition().unwrap()).collect();
    conditions.sort();
    conditions.dedup();
    let rows = world.venue.markets(&conditions).await.unwrap().rows;
    let mut facts: Vec<MarketFacts> = rows.iter().map(|row| market_facts(row, None).unwrap()).collect();
    facts.retain(|f| f.accepting_orders);
    facts.sort_by_key(|f| f.end_at);
    (facts.first().unwrap().clone(), facts.last().unwrap().clone())
}

fn fill(key: u8, wallet: Address, of: &MarketFacts, place: usize, side: Side) -> OrderState {
    OrderState {
        asset: of.tokens[place].asset.clone(),
        condition_id: of.condition_id,
        side,
        status: OrderStatus::Filled,
        filled_shares: Shares::from_units(10),
        ..order(key, wallet)
    }
}

async fn marks_of(world: &World, asset: &AssetId) -> Vec<TokenMarked> {
    world
        .told(|e| if let FillsEvent::TokenMarked(m) = e { (m.asset == *asset).then_some(m) } else { None })
        .await
}

async fn outcomes(world: &World) -> Vec<TokenResolved> {
    world.told(|e| if let FillsEvent::TokenResolved(r) = e { Some(r) } else { None }).await
}

async fn marked(world: &World, asset: &AssetId, times: usize) {
    wait_for("marks", DEADLINE, async || marks_of(world, asset).await.len() >= times).await;
}

#[tokio::test]
async fn a_token_that_followers_hold_is_marked_when_its_best_prices_change_until_it_is_sold() {
    let (world, venue_clock, leader) = lively().await;
    let (_, market) = markets(&world, leader).await;
    let [yes, no] = [0, 1].map(|n| market.tokens[n].asset.clone());
    world.put_order(&fill(1, leader, &market, 0, Side::Buy)).await;
    let (stop, run) = world.run();
    marked(&world, &yes, 1).await;
    let first = marks_of(&world, &yes).await.remove(0);
    assert_eq!((first.wallet, first.condition_id), (leader, market.condition_id));
    assert!(first.best_bid.unwrap() < first.best_ask.unwrap());
    assert_eq!(marks_of(&world, &no).await, [], "nobody holds it");

    // The venue stands still: later rounds, which this one shows, have nothing new to tell of the first.
    world.put_order(&fill(2, leader, &market, 1, Side::Buy)).await;
    marked(&world, &no, 1).await;
    assert_eq!(marks_of(&world, &yes).await.len(), 1);
    // It trades: every mark is another top of the book than the one before.
    for _ in 0..40 {
        venue_clock.advance(Duration::from_millis(500));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    marked(&world, &yes, 2).await;
    let told = marks_of(&world, &yes).await;
    assert!(told.windows(2).all(|w| (w[0].best_bid, w[0].best_ask) != (w[1].best_bid, w[1].best_ask)));

    // Sold: a round that knows that is one that marks what was bought after it.
    world.put_order(&fill(3, leader, &market, 0, Side::Sell)).await;
    let (_, other) = markets(&world, leader).await;
    let probe = other.tokens[1].asset.clone();
    let before = marks_of(&world, &probe).await.len();
    for _ in 0..60 {
        venue_clock.advance(Duration::from_millis(500));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    marked(&world, &probe, before + 1).await;
    let sold = marks_of(&world, &yes).await.len();
    for _ in 0..60 {
        venue_clock.advance(Duration::from_millis(500));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(marks_of(&world, &yes).await.len(), sold);
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}

#[tokio::test]
async fn an_outcome_is_told_once_to_the_followers_of_each_wallet_that_hold_it_over_a_restart() {
    let (world, venue_clock, leader) = lively().await;
    let (ends_first, ends_last) = markets(&world, leader).await;
    let other = Address::from_bytes([7; 20]);
    for (key, wallet) in [(1, leader), (2, other)] {
        world.put_order(&fill(key, wallet, &ends_first, 0, Side::Buy)).await;
    }
    let (_, run) = world.run();
    marked(&world, &ends_first.tokens[0].asset, 2).await;
    assert_eq!(outcomes(&world).await, []);
    let ends_at = ends_first.end_at.unwrap();
    venue_clock.advance(ends_at.since(venue_clock.now()) + Duration::from_secs(1));
    wait_for("the outcome", DEADLINE, async || outcomes(&world).await.len() >= 2).await;
    run.abort();
    let _ = run.await;
    // A restart knows from `orders` what is held, and from `fills` what has ended.
    let marks = marks_of(&world, &ends_last.tokens[0].asset).await.len();
    world.put_order(&fill(3, leader, &ends_last, 0, Side::Buy)).await;
    let (stop, run) = world.run();
    marked(&world, &ends_last.tokens[0].asset, marks + 1).await;
    // One more round.
    world.put_order(&fill(4, other, &ends_last, 0, Side::Buy)).await;
    marked(&world, &ends_last.tokens[0].asset, marks + 2).await;
    stop.request();
    run.await.unwrap().unwrap();

    let told = outcomes(&world).await;
    let mut wallets: Vec<Address> = told.iter().map(|r| r.wallet).collect();
    wallets.sort();
    let mut expected = vec![leader, other];
    expected.sort();
    assert_eq!(wallets, expected, "each once");
    for resolved in told {
        assert_eq!(resolved.condition_id, ends_first.condition_id);
        let assets: Vec<&AssetId> = resolved.payouts.iter().map(|p| &p.asset).collect();
        assert_eq!(assets, ends_first.tokens.iter().map(|t| &t.asset).collect::<Vec<_>>());
        assert_eq!(resolved.payouts.iter().map(|p| p.per_share).sum::<Usdc>(), Usdc::from_units(1));
        assert_eq!(resolved.resolved_at, ends_at);
    }
    world.simulator.stop().await;
}
