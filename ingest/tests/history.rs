//! What wallets traded before they were followed: published once, as history, beside live polling.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::{DEADLINE, World, totals, whole_second};
use schemas::{
    Address, AssetId, ConditionId, NaturalKey, TargetStatus, Timestamp,
    events::{Fill, FillsEvent},
};
use testkit::wait_for;
use venue::{
    VenueError,
    port::{ActivityQuery, MarketData, PositionsQuery, TradesQuery},
    wire::{ActivityRow, Book, ClobMarket, GammaMarket, PositionRow, ResolutionRow, Rows, TradeRow},
};

fn before(at: Timestamp, days: u64) -> Timestamp {
    at.minus(Duration::from_secs(days * 86_400))
}

async fn is_whole(world: &World, followed: &BTreeMap<Address, Timestamp>) -> bool {
    let told = totals(&world.history().await);
    for (wallet, since) in followed {
        let last = Timestamp::from_secs(since.secs() - 1);
        let truth = world.truth(*wallet, before(*since, 30), last).await;
        if truth.iter().any(|(key, shares)| told.get(key) != Some(shares)) {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn history_is_published_once_oldest_first_over_kills_and_for_whoever_takes_over() {
    // Half a minute of past, 300 fills a wallet: more than one append.
    let world = World::seeded(40, |s| s.late_row_permille = 0).await;
    let mut followed = BTreeMap::new();
    for leader in world.simulator.handle().leaders().into_iter().take(3) {
        followed.insert(leader, whole_second(world.follow(leader, TargetStatus::Active, 1).await));
    }
    // Each run is killed in the middle of some wallet's history.
    for least in [1, 250, 500] {
        let (_, run) = world.run();
        wait_for("some history", DEADLINE, async || world.history().await.len() >= least).await;
        run.abort();
        let _ = run.await;
    }
    let (stop, run) = world.run();
    wait_for("all of it", DEADLINE, async || is_whole(&world, &followed).await).await;
    stop.request();
    run.await.unwrap().unwrap();
    // Whoever has the partition next finds that there is nothing to do.
    let told = world.history().await.len();
    let fills = world.fills().await.len();
    let (stop, run) = world.run();
    wait_for("a new owner at work", DEADLINE, async || world.fills().await.len() > fills + 50).await;
    stop.request();
    run.await.unwrap().unwrap();
    let history = world.history().await;
    assert_eq!(history.len(), told);

    let keys: BTreeSet<NaturalKey> = history.iter().map(Fill::natural_key).collect();
    assert_eq!(keys.len(), history.len(), "none twice");
    assert!(history.len() > 500, "{}", history.len());
    for (wallet, since) in &followed {
        let of_wallet: Vec<_> = history.iter().filter(|f| f.wallet == *wallet).collect();
        assert!(of_wallet.iter().all(|f| f.filled_at < *since && f.revision == 0));
        assert!(of_wallet.windows(2).all(|w| w[0].filled_at <= w[1].filled_at), "oldest first");
    }
    // It moved no position and was not decided: live fills are none of it.
    assert!(
        world
            .fills()
            .await
            .iter()
            .all(|f| f.filled_at >= followed[&f.wallet] && !keys.contains(&f.natural_key()))
    );
    world.simulator.stop().await;
}

/// A venue that does not answer questions about the past until it is told to.
struct Forgetful {
    venue: Arc<dyn MarketData>,
    remembers: AtomicBool,
}

#[async_trait]
impl MarketData for Forgetful {
    async fn trades(&self, query: &TradesQuery, now: Timestamp) -> Result<Rows<TradeRow>, VenueError> {
        // Only history names an end.
        while query.end.is_some() && !self.remembers.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.venue.trades(query, now).await
    }
    async fn activity(&self, query: &ActivityQuery, now: Timestamp) -> Result<Rows<ActivityRow>, VenueError> {
        self.venue.activity(query, now).await
    }
    async fn positions(
        &self,
        query: &PositionsQuery,
        now: Timestamp,
    ) -> Result<Rows<PositionRow>, VenueError> {
        self.venue.positions(query, now).await
    }
    async fn resolution(
        &self,
        condition: ConditionId,
        now: Timestamp,
    ) -> Result<Option<ResolutionRow>, VenueError> {
        self.venue.resolution(condition, now).await
    }
    async fn markets(&self, conditions: &[ConditionId]) -> Result<Rows<GammaMarket>, VenueError> {
        self.venue.markets(conditions).await
    }
    async fn clob_market(&self, condition: ConditionId) -> Result<Option<ClobMarket>, VenueError> {
        self.venue.clob_market(condition).await
    }
    async fn book(&self, asset: &AssetId) -> Result<Option<Book>, VenueError> {
        self.venue.book(asset).await
    }
}

#[tokio::test]
async fn live_fills_never_wait_for_history() {
    // Rows that the venue shows late are not waited for: history is read once.
    let world = World::seeded(40, |s| s.late_row_permille = 0).await;
    let leader = world.simulator.handle().leaders()[0];
    let since = whole_second(world.follow(leader, TargetStatus::Active, 1).await);
    let venue = Arc::new(Forgetful { venue: world.venue.clone(), remembers: AtomicBool::new(false) });
    let (stop, run) = world.run_with(venue.clone());
    wait_for("live fills", DEADLINE, async || world.fills().await.len() > 40).await;
    assert_eq!(world.history().await, [], "history has not even begun");
    let watched = world.events().await.iter().any(|e| matches!(e, FillsEvent::Watermark(_)));
    assert!(watched, "and the wallet's trades are known without a gap");
    venue.remembers.store(true, Ordering::Relaxed);
    wait_for("history", DEADLINE, async || is_whole(&world, &[(leader, since)].into()).await).await;
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}
