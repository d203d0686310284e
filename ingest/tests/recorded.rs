//! Recorded wallets: what ingest makes of their rows, beside what the rows say when they are added up by hand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use common::{DEADLINE, World, totals, whole_second};
use ingest::core::merge::{Merger, Row};
use runtime::SystemClock;
use schemas::{
    AssetId, ChangeKind, ConditionId, FillKind, NaturalKey, Shares, Side, TargetStatus, Timestamp, TxHash,
};
use simulator::{
    Options, Prints, Speed, TapeOptions,
    tape::{RowKind, Tape, TapeRow},
};
use testkit::wait_for;
use venue::wire::ActivityKind;

fn recorded(test: &str, file: &str) -> Option<PathBuf> {
    testkit::shared_dir(test, "data").map(|data| data.join(file))
}

/// The trades of a tape, newest first as the venue pages.
fn pages(tape: &Tape) -> Vec<Row> {
    let row = |row: &TapeRow| {
        let RowKind::Trade { asset, side, price } = &row.kind else { return None };
        Some(Row {
            tx: row.tx,
            asset: asset.clone(),
            condition_id: row.condition?,
            side: *side,
            shares: row.size,
            price: *price,
            filled_at: Timestamp::from_secs(row.second),
            outcome: None,
            title: None,
        })
    };
    tape.rows.iter().rev().filter_map(row).collect()
}

/// What the natural keys of the rows say: shares and number of rows, added up here.
fn by_hand(tape: &Tape) -> BTreeMap<(TxHash, AssetId, Side), (i64, i32)> {
    let mut sums: BTreeMap<(TxHash, AssetId, Side), (i64, i32)> = BTreeMap::new();
    for row in &tape.rows {
        if let RowKind::Trade { asset, side, .. } = &row.kind {
            let sum = sums.entry((row.tx, asset.clone(), *side)).or_default();
            *sum = (sum.0 + row.size.micro(), sum.1 + 1);
        }
    }
    sums
}

fn without_wallet(totals: &BTreeMap<NaturalKey, Shares>) -> BTreeMap<(TxHash, AssetId, Side), i64> {
    totals.iter().map(|(k, s)| ((k.tx, k.asset.clone(), k.side), s.micro())).collect()
}

/// A walk as the source makes it: page by page, until one brings nothing new.
fn walk(merger: &Merger, rows: &[Row], page: usize) -> Vec<Row> {
    let mut walked = Vec::new();
    for page in rows.chunks(page) {
        walked.extend_from_slice(page);
        if merger.adds_nothing(page) {
            break;
        }
    }
    walked
}

#[test]
fn the_161_rows_of_equal_orders_are_the_fills_of_their_natural_keys_however_they_are_walked() {
    let test = "the_161_rows_of_equal_orders_are_the_fills_of_their_natural_keys_however_they_are_walked";
    let Some(file) = recorded(test, "wallet-fill-collisions/wallet_trades_aa9a7e9e.csv.gz") else { return };
    let tape = Tape::load(&file, true).unwrap();
    let rows = pages(&tape);
    assert_eq!(rows.len(), 161);
    let expected = by_hand(&tape);
    let wallet = tape.rows[0].wallet;
    let now = Timestamp::from_secs(tape.rows.last().unwrap().second + 10);
    let shares: BTreeMap<_, _> = expected.iter().map(|(k, (shares, _))| (k.clone(), *shares)).collect();
    for page in 1..=200 {
        // Once: every fill has all of its rows in its first record.
        let mut merger = Merger::new(wallet);
        let walked = walk(&merger, &rows, page);
        let fills = merger.absorb(&walked, now);
        assert!(fills.iter().all(|f| f.kind == FillKind::New && f.revision == 0));
        let told: BTreeMap<_, _> =
            fills.iter().map(|f| ((f.tx, f.asset.clone(), f.side), (f.shares.micro(), f.rows))).collect();
        assert_eq!((fills.len(), &told), (expected.len(), &expected), "{page} a page");
        // Twice: silence.
        let again = walk(&merger, &rows, page);
        assert_eq!(merger.absorb(&again, now), [], "{page} a page, again");

        // Two sources at once: one shows rows as they come, a transaction half shown at times, each look a walk of its
        // own; the other walks pages over what there is by then.
        let mut merger = Merger::new(wallet);
        let mut published = Vec::new();
        for shown in (page..rows.len()).step_by(page).chain([rows.len()]) {
            let there = &rows[rows.len() - shown..];
            published.extend(merger.absorb(&there[..page.min(shown)], now));
            let walked = walk(&merger, there, page);
            published.extend(merger.absorb(&walked, now));
        }
        published.extend(merger.absorb(&rows, now));
        assert_eq!(without_wallet(&totals(&published)), shares, "{page} a page, two sources");
        let names: BTreeSet<_> = published.iter().map(|f| f.fill_id.clone()).collect();
        assert_eq!(
            names.len(),
            published.iter().filter(|f| f.revision == 0).count(),
            "one name, one first record"
        );
    }
}

/// A tape that begins a moment after its wallet is followed, and lasts about so long.
async fn play(file: &Path, keep_equal: bool, lasts: u32) -> (World, Tape) {
    let tape = Tape::load(file, keep_equal).unwrap();
    let (first, last) = (tape.rows.first().unwrap().second, tape.rows.last().unwrap().second);
    let speed = Speed::times(u32::try_from(last - first).unwrap() / lasts + 1);
    let clock = SystemClock::shared();
    let options = Options {
        prints: Prints::Tape(TapeOptions { keep_equal, speed, ..TapeOptions::new(file) }),
        epoch: Some(clock.now().plus(Duration::from_secs(2))),
        ..Options::default()
    };
    (World::with(options, clock).await, tape)
}

#[tokio::test]
async fn a_tape_of_equal_orders_goes_through_the_venue_and_ingest_fill_by_fill() {
    let test = "a_tape_of_equal_orders_goes_through_the_venue_and_ingest_fill_by_fill";
    let Some(file) = recorded(test, "wallet-fill-collisions/wallet_trades_aa9a7e9e.csv.gz") else { return };
    let (world, tape) = play(&file, true, 4).await;
    let expected: BTreeMap<_, _> =
        by_hand(&tape).into_iter().map(|(key, (shares, _))| (key, shares)).collect();
    world.follow(tape.rows[0].wallet, TargetStatus::Active, 1).await;
    let (stop, run) = world.run();
    wait_for("every fill", DEADLINE, async || without_wallet(&totals(&world.fills().await)) == expected)
        .await;
    stop.request();
    run.await.unwrap().unwrap();
    assert_eq!(world.history().await, [], "it had no past");
    world.simulator.stop().await;
}

/// Positions by hand: every trade in its order, and a redemption that leaves nothing of its condition.
fn held_by_hand(tape: &Tape) -> BTreeMap<AssetId, Shares> {
    let mut held: BTreeMap<AssetId, (ConditionId, i64)> = BTreeMap::new();
    for row in &tape.rows {
        match (&row.kind, row.condition) {
            (RowKind::Trade { asset, side, .. }, Some(condition)) => {
                let position = held.entry(asset.clone()).or_insert((condition, 0));
                position.1 += if *side == Side::Buy { row.size.micro() } else { -row.size.micro() };
            }
            (RowKind::Activity(ActivityKind::Redeem), Some(condition)) => {
                held.retain(|_, (of, _)| *of != condition);
            }
            _ => {}
        }
    }
    held.into_iter().filter(|(_, (_, n))| *n > 0).map(|(a, (_, n))| (a, Shares::from_micro(n))).collect()
}

#[tokio::test]
async fn positions_follow_recorded_redemptions_and_rebates_without_a_trade_being_invented() {
    let test = "positions_follow_recorded_redemptions_and_rebates_without_a_trade_being_invented";
    let Some(data) = recorded(test, "wallet-activity") else { return };
    for (name, trades, redemptions) in [("whale1", 76, 23), ("whale2", 167, 33), ("onchain", 298, 201)] {
        let (world, tape) = play(&data.join(format!("{name}_activity.json.gz")), true, 5).await;
        let count = |is: fn(&RowKind) -> bool| tape.rows.iter().filter(|r| is(&r.kind)).count();
        assert_eq!(count(|k| matches!(k, RowKind::Trade { .. })), trades);
        assert_eq!(count(|k| *k == RowKind::Activity(ActivityKind::Redeem)), redemptions);
        let wallet = tape.rows[0].wallet;
        let expected = held_by_hand(&tape);
        let since = whole_second(world.follow(wallet, TargetStatus::Active, 1).await);
        let (stop, run) = world.run();
        let shares: BTreeMap<_, _> = by_hand(&tape).into_iter().map(|(k, (s, _))| (k, s)).collect();
        wait_for("every fill", DEADLINE, async || without_wallet(&totals(&world.fills().await)) == shares)
            .await;
        // Both rows of a condition that one transaction redeemed are one change.
        let redeemed: BTreeSet<_> = tape
            .rows
            .iter()
            .filter(|r| r.kind == RowKind::Activity(ActivityKind::Redeem))
            .map(|r| (r.tx, r.condition.unwrap()))
            .collect();
        wait_for("every redemption", DEADLINE, async || world.changes().await.len() >= redeemed.len()).await;
        stop.request();
        run.await.unwrap().unwrap();

        let changes = world.changes().await;
        assert!(changes.iter().all(|c| c.kind == ChangeKind::Redeem && c.changed_at >= since));
        let told: BTreeSet<_> = changes.iter().map(|c| (c.tx, c.condition_id)).collect();
        assert_eq!((told.len(), told), (changes.len(), redeemed), "{name}: each once");
        assert_eq!(world.decided(wallet).await, expected, "{name}");
        world.simulator.stop().await;
    }
}
