//! Position changes without a trade: each published once, in its place, so that positions stay those of the venue.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use common::{DEADLINE, World};
use runtime::{Clock, VirtualClock};
use schemas::{
    Address, ChangeKind, ConditionId, FillKind, Shares, TargetStatus, Timestamp, TxHash, Usdc,
    events::FillsEvent,
};
use simulator::{Options, Prints, Seeding};
use testkit::wait_for;
use venue::{
    port::ActivityQuery,
    wire::{ActivityKind, ActivityRow},
};

/// Every row of a wallet's activity from that second on.
async fn activity(world: &World, user: Address, start: Timestamp) -> Vec<ActivityRow> {
    let mut query =
        ActivityQuery { user, kinds: vec![], limit: 500, cursor: None, start: Some(start), end: None };
    let mut rows = Vec::new();
    loop {
        let page = world.venue.activity(&query, world.clock.now()).await.unwrap();
        assert!(page.unreadable.is_empty(), "{:?}", page.unreadable);
        rows.extend(page.rows);
        query.cursor = page.pagination.next().map(str::to_owned);
        if query.cursor.is_none() {
            return rows;
        }
    }
}

/// What the venue lets nobody hold any more decide must not either, and what is open is the same to the share.
async fn positions_agree(world: &World, wallet: Address) -> bool {
    let decided = world.decided(wallet).await;
    let shown = world.positions(wallet).await;
    let open = shown.iter().filter(|(_, (_, open))| *open);
    let mut open_agree = open.map(|(asset, (shares, _))| decided.get(asset) == Some(shares));
    open_agree.all(|agree| agree)
        && decided.iter().all(|(asset, shares)| shown.get(asset).map(|(held, _)| held) == Some(shares))
}

/// A venue whose time the test moves: it can be told to hold still.
async fn lively(change_permille: u32) -> (World, VirtualClock) {
    let venue_clock = VirtualClock::at(runtime::SystemClock::default().now());
    let seeding = Seeding {
        leaders: 3,
        markets: 12,
        mean_gap: Duration::from_millis(50),
        top_share_permille: 0,
        multi_row_permille: 300,
        market_life: Duration::from_secs(30),
        change_permille,
        ..Seeding::default()
    };
    let options =
        Options { prints: Prints::Seeded(seeding), history: Duration::from_secs(60), ..Options::default() };
    (World::with(options, Arc::new(venue_clock.clone())).await, venue_clock)
}

async fn live_for(clock: &VirtualClock, seconds: u32) {
    for _ in 0..seconds * 4 {
        clock.advance(Duration::from_millis(250));
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

#[tokio::test]
async fn changes_are_published_once_and_positions_stay_those_of_the_venue_over_kills() {
    let (world, venue_clock) = lively(250).await;
    let leaders = world.simulator.handle().leaders();
    let mut followed = BTreeMap::new();
    for leader in &leaders {
        followed.insert(*leader, common::whole_second(world.follow(*leader, TargetStatus::Active, 1).await));
    }
    // As kills would: in the middle of whatever it does.
    for seconds in [9, 1, 2, 12] {
        let (_, run) = world.run();
        live_for(&venue_clock, seconds).await;
        run.abort();
        let _ = run.await;
        live_for(&venue_clock, 2).await;
    }
    let (stop, run) = world.run();
    live_for(&venue_clock, 10).await;
    // The venue stands still now.
    for leader in &leaders {
        wait_for("the positions of the venue", DEADLINE, async || positions_agree(&world, *leader).await)
            .await;
    }
    stop.request();
    run.await.unwrap().unwrap();

    let told = world.changes().await;
    let (mut kinds, mut priced) = (BTreeSet::new(), 0);
    for leader in &leaders {
        let shown: BTreeMap<(TxHash, ConditionId), (ActivityKind, Shares)> =
            activity(&world, *leader, followed[leader])
                .await
                .into_iter()
                .filter(|row| row.kind != ActivityKind::Trade)
                .map(|row| ((row.transaction_hash, row.condition().unwrap()), (row.kind, row.size)))
                .collect();
        let of_leader: Vec<_> =
            told.iter().filter(|c| c.wallet == *leader && c.changed_at >= followed[leader]).collect();
        let keys: BTreeSet<_> = of_leader.iter().map(|c| (c.tx, c.condition_id)).collect();
        assert_eq!(keys.len(), of_leader.len(), "none twice");
        assert_eq!(keys, shown.keys().copied().collect(), "all of them, and nothing else");
        for change in of_leader {
            let (kind, size) = &shown[&(change.tx, change.condition_id)];
            assert_eq!(kind.as_str(), change.kind.as_str());
            kinds.insert(change.kind);
            assert!(change.facts.is_some());
            let shares: Vec<Shares> = change.deltas.iter().map(|d| d.shares).collect();
            let gone = Shares::from_micro(-size.micro());
            match change.kind {
                ChangeKind::Split => {
                    assert_eq!(shares, [*size, *size]);
                    let cost: Usdc = change.deltas.iter().map(|d| d.cost).sum();
                    assert_eq!(cost.micro(), size.micro(), "a dollar for a share of each");
                }
                ChangeKind::Merge => {
                    assert_eq!(shares, [gone, gone]);
                    // A sale of each, priced from the books; a market that closed since has none any more.
                    assert!([0, 2].contains(&change.books.len()));
                    priced += change.books.len();
                }
                _ => assert!(change.books.is_empty()),
            }
        }
    }
    let expected = [ChangeKind::Split, ChangeKind::Merge, ChangeKind::Redeem];
    assert_eq!(kinds, BTreeSet::from(expected), "each kind was seen");
    assert!(priced > 10);
    world.simulator.stop().await;
}

/// Trouble with one list must not hold up the other.
#[tokio::test]
async fn trades_go_on_while_the_activity_list_does_not_answer() {
    let (world, venue_clock) = lively(250).await;
    let leader = world.simulator.handle().leaders()[0];
    world.follow(leader, TargetStatus::Active, 1).await;
    let (stop, run) = world.run();
    wait_for("the snapshot", DEADLINE, async || {
        world.events().await.iter().any(|e| matches!(e, FillsEvent::PositionSnapshot(_)))
    })
    .await;
    let broken: simulator::Fault = serde_json::from_value(serde_json::json!({
        "method": "GET", "path": "/v2/activity", "count": 1_000_000, "execute": false,
        "answer": { "status": { "status": 503, "error": "busy" } },
    }))
    .unwrap();
    world.simulator.handle().fault(broken);
    let broken_at = venue_clock.now();
    let changes_since = async || world.changes().await.iter().filter(|c| c.changed_at > broken_at).count();
    let fills = world.fills().await.len();
    live_for(&venue_clock, 10).await;
    wait_for("fills all the same", DEADLINE, async || world.fills().await.len() > fills + 30).await;
    assert_eq!(changes_since().await, 0, "nothing of a list that does not answer");
    world.simulator.handle().clear_faults();
    wait_for("the positions of the venue", DEADLINE, async || positions_agree(&world, leader).await).await;
    assert!(changes_since().await > 0, "and all of it once it does");
    assert!(world.fills().await.iter().all(|f| f.kind != FillKind::Late));
    stop.request();
    run.await.unwrap().unwrap();
    world.simulator.stop().await;
}
