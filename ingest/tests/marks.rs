//! Prices and outcomes of what followers hold: told when they change, and known again after a restart.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{DEADLINE, World, order};
use runtime::{Clock, SystemClock, VirtualClock};
use schemas::{
    Address, AssetId, ChangeKind, ConditionId, OrderStatus, Shares, Side, Timestamp, TxHash, Usdc,
    events::{FillsEvent, MarketFacts, OrderState, PositionChanged, TokenDelta, TokenMarked, TokenResolved},
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

/// The leader's holding of one token goes on as the other.
fn migration(wallet: Address, of: &MarketFacts, from: usize, to: usize) -> PositionChanged {
    let delta = TokenDelta {
        asset: of.tokens[from].asset.clone(),
        shares: Shares::ZERO,
        cost: Usdc::ZERO,
        becomes: Some(of.tokens[to].asset.clone()),
    };
    PositionChanged {
        wallet,
        kind: ChangeKind::Migration,
        tx: TxHash::from_bytes([9; 32]),
        condition_id: of.condition_id,
        deltas: vec![delta],
        changed_at: Timestamp::from_secs(1_000_000),
        observed_at: Timestamp::from_secs(1_000_001),
        facts: None,
        books: Vec::new(),
    }
}

/// Lets the venue trade until the token was marked so often.
async fn trades_until_marked(world: &World, venue_clock: &VirtualClock, asset: &AssetId, times: usize) {
    wait_for("marks of what trades", DEADLINE, async || {
        venue_clock.advance(Duration::from_millis(500));
        marks_of(world, asset).await.len() >= times
    })
    .await;
}

/// No order names the new id: what is told of the leader's holding says under which id the price is to be looked for.
#[tokio::test]
async fn a_token_that_goes_on_under_another_id_is_marked_under_that_one_and_no_longer_under_the_former() {
    let (world, venue_clock, leader) = lively().await;
    let (_, market) = markets(&world, leader).await;
    let [former, current] = [0, 1].map(|n| market.tokens[n].asset.clone());
    world.put_order(&fill(1, leader, &market, 0, Side::Buy)).await;
    let (_, run) = world.run();
    marked(&world, &former, 1).await;
    assert_eq!(marks_of(&world, &current).await, []);

    world.put_change(&migration(leader, &market, 0, 1), world.clock.now()).await;
    marked(&world, &current, 1).await;
    // A round that marked the new id has no eye for the former any more.
    let before = marks_of(&world, &former).await.len();
    trades_until_marked(&world, &venue_clock, &current, 5).await;
    assert_eq!(marks_of(&world, &former).await.len(), before);
    run.abort();
    let _ = run.await;

    // A restart knows it from the log.
    let known = marks_of(&world, &current).await.len();
    let (stop, run) = world.run();
    trades_until_marked(&world, &venue_clock, &current, known + 2).await;
    assert_eq!(marks_of(&world, &former).await.len(), before);
    // Sold under the new id: held no more. A round that knows that marks what was bought after it.
    world.put_order(&fill(2, leader, &market, 1, Side::Sell)).await;
    let (other, _) = markets(&world, leader).await;
    assert_ne!(other.condition_id, market.condition_id);
    world.put_order(&fill(3, leader, &other, 0, Side::Buy)).await;
    marked(&world, &other.tokens[0].asset, 1).await;
    let sold = marks_of(&world, &current).await.len();
    trades_until_marked(&world, &venue_clock, &other.tokens[0].asset, 3).await;
    assert_eq!(
        (marks_of(&world, &current).await.len(), marks_of(&world, &former).await.len()),
        (sold, before)
    );
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}

/// Told longer ago than fills are remembered, of something that is still held.
#[tokio::test]
async fn a_restart_knows_under_which_id_a_token_went_on_long_ago() {
    let (world, venue_clock, leader) = lively().await;
    let (_, market) = markets(&world, leader).await;
    let [former, current] = [0, 1].map(|n| market.tokens[n].asset.clone());
    let long_ago = world.clock.now().minus(Duration::from_secs(30 * 24 * 3600));
    world.put_change(&migration(leader, &market, 0, 1), long_ago).await;
    world.put_order(&fill(1, leader, &market, 0, Side::Buy)).await;
    let (stop, run) = world.run();
    marked(&world, &current, 1).await;
    let before = marks_of(&world, &former).await.len();
    trades_until_marked(&world, &venue_clock, &current, 4).await;
    assert_eq!(marks_of(&world, &former).await.len(), before);
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}
