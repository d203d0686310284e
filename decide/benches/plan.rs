//! What a decision costs: the plan alone, and with folds, records and hashes around it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use decide::{
    fixtures::{Scene, condition, fill, fill_of, px, sh, target, usd},
    plan::{settings::defaults, v1},
};
use divan::{Bencher, black_box};
use schemas::{
    FillKind, Outcome, Shares, Side, Sizing,
    events::{Decision, Fill, Policy},
};

fn main() {
    divan::main();
}

fn policy() -> Policy {
    Policy { usdc_per_trade: Some(usd("4")), ..defaults(Sizing::Fixed) }
}

/// A leader with a past on 200 tokens, followed under a policy: the inputs of a BUY that passes every rule.
fn placed(policy: Policy) -> Decision {
    let mut scene = Scene::following(policy);
    for n in 0..200u8 {
        let (dollars, market) = (Shares::from_units(i64::from(n) % 20 + 1), n + 2);
        let f = fill_of(1, 1_000 + u64::from(n), market, 0, Side::Buy, dollars, px("0.40"), -86_400);
        scene.put_fill(&Fill { kind: FillKind::History, ..f });
    }
    scene.cut();
    let given = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0));
    let d = given.only().clone();
    assert_eq!(d.outcome, Outcome::Placed, "{}", d.reason);
    d
}

/// The plan of a BUY that passes every rule, for each sizing.
#[divan::bench(args = Sizing::ALL.iter().copied())]
fn plan_buy(bencher: Bencher, sizing: Sizing) {
    let d = placed(Policy {
        usdc_per_trade: Some(usd("4")),
        ratio: Some(300_000),
        gap_range_max: Some(usd("20")),
        gap_max_alloc: Some(usd("10")),
        ..defaults(sizing)
    });
    bencher.bench_local(|| v1::plan(black_box(condition(1)), black_box(&d.inputs), black_box(d.decided_at)));
}

/// The plan of a layer on what we hold.
#[divan::bench]
fn plan_follow_up(bencher: Bencher) {
    let mut d = placed(Policy { follow_ups: Some(true), ..defaults(Sizing::MinBet) });
    (d.inputs.own.held, d.inputs.own.exposure) = (sh("40"), usd("16"));
    bencher.bench_local(|| v1::plan(black_box(condition(1)), black_box(&d.inputs), black_box(d.decided_at)));
}

/// The plan of a SELL.
#[divan::bench]
fn plan_sell(bencher: Bencher) {
    let mut d = placed(policy());
    (d.inputs.side, d.inputs.own.held) = (Side::Sell, sh("40"));
    bencher.bench_local(|| v1::plan(black_box(condition(1)), black_box(&d.inputs), black_box(d.decided_at)));
}

/// One more BUY of a wallet whose sample has so many tokens, folded and taken back: what a percentile costs.
#[divan::bench(args = [100, 10_000])]
fn sample_of(bencher: Bencher, tokens: u32) {
    let mut scene = Scene::following(defaults(Sizing::TargetPercentileScaled));
    for n in 0..tokens {
        let shares = Shares::from_units(i64::from(n) % 997 + 1);
        let f = fill_of(1, 1_000 + u64::from(n), 1, 0, Side::Buy, shares, px("0.40"), -86_400);
        let asset = (1_000_000 + n).to_string().parse().unwrap();
        scene.put_fill(&Fill { kind: FillKind::History, asset, facts: None, ..f });
    }
    scene.cut();
    scene.put_fill(&fill(1, 1, Side::Buy, "25", "0.40", 0));
    let batch = scene.batch();
    let clock = scene.clock;
    bencher.with_inputs(|| batch.clone()).bench_local_values(|batch| {
        let staged = scene.core.stage(batch, clock, &mut || [7; 16]).unwrap();
        scene.core.undo();
        staged
    });
}

/// A cut of one fill for so many followers: folded, planned, encoded, hashed; per cut. What is staged is taken back.
#[divan::bench(args = [1, 10, 100])]
fn cut_of_one_fill(bencher: Bencher, followers: u8) {
    let mut scene = Scene::following(policy());
    for n in 2..=followers {
        scene.put(&target(n, 1, policy()));
    }
    scene.cut();
    scene.put_fill(&fill(1, 1, Side::Buy, "25", "0.40", 0));
    let batch = scene.batch();
    let clock = scene.clock;
    bencher.with_inputs(|| batch.clone()).bench_local_values(|batch| {
        let staged = scene.core.stage(batch, clock, &mut || [7; 16]).unwrap();
        scene.core.undo();
        staged
    });
}
