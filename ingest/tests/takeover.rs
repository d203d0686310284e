//! Taking partitions over from a log that is slow, or in trouble: the group hears of the member all the time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use common::{
    DEADLINE, World,
    slow::{OLDER, Slow},
};
use runtime::Stop;
use schemas::{
    Address, AssetId, ConditionId, TargetStatus, Timestamp,
    events::{FillsEvent, Watermark},
    topics::partition_of_wallet,
};
use testkit::wait_for;
use venue::{
    VenueError,
    port::{ActivityQuery, MarketData, PositionsQuery, TradesQuery},
    wire::{ActivityRow, Book, ClobMarket, GammaMarket, PositionRow, ResolutionRow, Rows, TradeRow},
};

const DAY: Duration = Duration::from_secs(86_400);
/// A venue where nothing happens: it knows who was asked for since it was cleared.
#[derive(Default)]
struct Quiet(Mutex<BTreeSet<Address>>);

fn nothing<T>() -> Rows<T> {
    Rows { rows: Vec::new(), unreadable: Vec::new(), pagination: venue::wire::Pagination::default() }
}

impl Quiet {
    fn asked(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Whether nobody is asked for any more.
    async fn is_left_alone(&self) -> bool {
        self.0.lock().unwrap().clear();
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.asked() == 0
    }
}

#[async_trait]
impl MarketData for Quiet {
    async fn trades(&self, query: &TradesQuery, _: Timestamp) -> Result<Rows<TradeRow>, VenueError> {
        self.0.lock().unwrap().insert(query.user);
        Ok(nothing())
    }
    async fn activity(&self, _: &ActivityQuery, _: Timestamp) -> Result<Rows<ActivityRow>, VenueError> {
        Ok(nothing())
    }
    async fn positions(&self, _: &PositionsQuery, _: Timestamp) -> Result<Rows<PositionRow>, VenueError> {
        Ok(nothing())
    }
    async fn resolution(&self, _: ConditionId, _: Timestamp) -> Result<Option<ResolutionRow>, VenueError> {
        Ok(None)
    }
    async fn markets(&self, _: &[ConditionId]) -> Result<Rows<GammaMarket>, VenueError> {
        Ok(nothing())
    }
    async fn clob_market(&self, _: ConditionId) -> Result<Option<ClobMarket>, VenueError> {
        Ok(None)
    }
    async fn book(&self, _: &AssetId) -> Result<Option<Book>, VenueError> {
        Ok(None)
    }
}

/// Wallets of one partition, in which there is something to read: the last one's.
async fn wallets(world: &World) -> Vec<Address> {
    let wallets = (1..=u8::MAX).map(|n| Address::from_bytes([n; 20]));
    let wallets: Vec<Address> = wallets.filter(|w| partition_of_wallet(*w, 4) == 0).take(6).collect();
    let at = world.clock.now().minus(DAY);
    let mark = Watermark { wallet: wallets[5], complete_until: at, observed_at: at };
    for _ in 0..OLDER {
        world.put_event(wallets[5], &mark, at).await;
    }
    wallets
}

/// A status for each of them, as of a target that was created too long ago for its history to be read.
async fn put(world: &World, wallets: &[Address], status: TargetStatus, revision: i64) {
    for wallet in wallets {
        world.follow_since(*wallet, status, revision, world.clock.now().minus(DAY * 8)).await;
    }
}

async fn snapshots(world: &World) -> usize {
    world.told(|e| if let FillsEvent::PositionSnapshot(s) = e { Some(s) } else { None }).await.len()
}

#[tokio::test]
async fn taking_over_takes_longer_than_a_session_and_the_partition_is_kept() {
    let world = World::start(1).await;
    let wallets = wallets(&world).await;
    put(&world, &wallets[..2], TargetStatus::Active, 1).await;
    put(&world, &wallets[1..2], TargetStatus::Removed, 2).await;
    let (log, venue) = (Slow::new(&world), Arc::new(Quiet::default()));
    let (stop, run) = world.run_on(Arc::new(log.clone()), venue.clone(), Stop::new());
    wait_for("what comes of it", DEADLINE, async || log.lost() > 0 || snapshots(&world).await > 0).await;
    assert_eq!(log.lost(), 0, "the group heard nothing of the member");
    assert!(log.reads() >= 15, "all of it was read before anything was published");
    assert_eq!(venue.0.lock().unwrap().first(), Some(&wallets[0]));
    assert_eq!(venue.asked(), 1, "all of `targets` was read before anybody was watched");
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}

#[tokio::test]
async fn wallets_that_are_followed_again_are_read_together_and_the_partition_is_kept() {
    let world = World::start(1).await;
    let wallets = wallets(&world).await;
    put(&world, &wallets[..4], TargetStatus::Active, 1).await;
    let (log, venue) = (Slow::new(&world), Arc::new(Quiet::default()));
    let (stop, run) = world.run_on(Arc::new(log.clone()), venue.clone(), Stop::new());
    wait_for("their snapshots", DEADLINE, async || snapshots(&world).await == 4).await;
    put(&world, &wallets[..4], TargetStatus::Removed, 2).await;
    let is_still = async || {
        let before = log.reads();
        venue.is_left_alone().await && log.reads() == before
    };
    wait_for("silence", DEADLINE, is_still).await;
    let (before, once) = (log.reads(), u32::try_from(OLDER).unwrap() / 10);
    put(&world, &wallets[..4], TargetStatus::Active, 3).await;
    wait_for("all of them", DEADLINE, async || venue.asked() == 4).await;
    assert_eq!(log.lost(), 0, "the group heard nothing of the member");
    // Who came while the first reading went on waited for another.
    assert!((1..=2 * once).contains(&(log.reads() - before)), "{} reads", log.reads() - before);
    assert_eq!(snapshots(&world).await, 4, "they go on where the log ends");
    // One whom nobody followed since the partition was taken over has nothing to be read.
    let before = log.reads();
    put(&world, &wallets[4..5], TargetStatus::Active, 1).await;
    wait_for("the new one", DEADLINE, async || venue.asked() == 5).await;
    assert_eq!(log.reads(), before);
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_asked_again_until_everything_is_taken_over() {
    let world = World::start(1).await;
    let wallets = wallets(&world).await;
    put(&world, &wallets[..1], TargetStatus::Active, 1).await;
    let log = Slow::new(&world);
    let calls = ["join", "end of fills", "offset", "read", "end of targets", "seek"];
    log.fail(&calls);
    let (stop, run) = world.run_on(Arc::new(log.clone()), Arc::new(Quiet::default()), Stop::new());
    let ended = async || snapshots(&world).await == 1 || run.is_finished();
    wait_for("the snapshot", DEADLINE, ended).await;
    assert!(!run.is_finished(), "the stage gave up");
    assert!(log.failed(), "each call failed twice");
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}
