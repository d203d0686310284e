//! What a decision costs: the plan alone, and with folds, records and hashes around it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use decide::{
    fixtures::{Scene, condition, fill, target, usd},
    plan::{settings::defaults, v1},
};
use divan::{Bencher, black_box};
use schemas::{Side, Sizing, events::Policy};

fn main() {
    divan::main();
}

fn policy() -> Policy {
    Policy { usdc_per_trade: Some(usd("4")), ..defaults(Sizing::Fixed) }
}

/// The plan of a BUY that passes every rule.
#[divan::bench]
fn plan_buy(bencher: Bencher) {
    let mut scene = Scene::following(policy());
    let given = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0));
    let d = given.only().clone();
    bencher.bench_local(|| v1::plan(black_box(condition(1)), black_box(&d.inputs), black_box(d.decided_at)));
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
