//! `position_gap`: baselines, and what counts as activation.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use decide::{
    fixtures::{
        Scene, at, changed, condition, fill, fill_of, order, px, row, sh, snapshot, target, token, usd,
    },
    plan::settings::defaults,
};
use schemas::{
    ChangeKind, FillKind, OrderStatus, Reason, Shares, Side, Sizing, TargetStatus, Usdc,
    events::{Fill, Policy},
};

/// Up to $20 on a condition, at a growth of $100.
fn gap() -> Policy {
    Policy {
        gap_range_max: Some(usd("100")),
        gap_max_alloc: Some(usd("20")),
        max_usdc_per_trade: Some(usd("50")),
        ..defaults(Sizing::PositionGap)
    }
}

/// The leader holds $40 of market 1's first token.
fn scene(policy: Policy) -> Scene {
    let mut scene = Scene::new();
    scene.put(&target(1, 1, policy));
    scene.put_fill(&snapshot(1, &[(1, "100", "40")]));
    scene.cut();
    scene
}

fn buy(n: u64, shares: &str) -> Fill {
    fill(1, n, Side::Buy, shares, "0.40", 0)
}

/// The baseline that the next BUY sees, and what comes of it.
fn next(scene: &mut Scene, n: u64, shares: &str) -> (Option<Usdc>, Reason) {
    let given = scene.see(&buy(n, shares));
    (given.only().inputs.leader.baseline, given.only().reason)
}

#[test]
fn the_baseline_is_the_cost_just_before_the_first_fill_and_stays() {
    let mut scene = scene(gap());
    // $10 more than $40: $2 of $20, below the floor of $2.05.
    assert_eq!(next(&mut scene, 1, "25"), (Some(usd("40")), Reason::BelowMarketMin));
    // $30 more: $6.
    let given = scene.see(&buy(2, "50"));
    let d = given.only();
    assert_eq!(d.inputs.leader.baseline, Some(usd("40")));
    // 14.63 shares at 0.41 cost $5.9983.
    assert_eq!(d.order.as_ref().unwrap().shares, Some(sh("14.63")));
    // The order counts: of $7 $1.0017 are missing.
    assert_eq!(next(&mut scene, 3, "12.5"), (Some(usd("40")), Reason::BelowMarketMin));
    // Half is sold, nothing of ours for it but by the SELL; bought again up to there it calls for nothing.
    scene.order(&order(d, 1, OrderStatus::Filled, ("14.63", "5.9983")));
    let sold = scene.see(&fill(1, 4, Side::Sell, "93.75", "0.40", 1));
    assert_eq!(sold.only().inputs.leader.baseline, Some(usd("40")));
    assert_eq!(next(&mut scene, 5, "62.5"), (Some(usd("40")), Reason::FollowupNotNeeded));
}

#[test]
fn both_tokens_of_the_condition_count_the_leader_s_and_ours() {
    let mut scene = scene(gap());
    // The first fill is on the other token: the baseline is the condition's.
    let no = |n, shares: &str| fill_of(1, n, 1, 1, Side::Buy, sh(shares), px("0.50"), 0);
    let given = scene.see(&no(1, "60"));
    assert_eq!(given.only().inputs.leader.baseline, Some(usd("40")));
    // Grown by $30: $6 at 0.51, 11.76 shares, $5.9976.
    assert_eq!(given.only().order.as_ref().unwrap().shares, Some(sh("11.76")));
    // Grown by $50: $10, of which $5.9976 are there: $4.0024 at 0.41, 9.76 shares.
    let given = scene.see(&buy(2, "50"));
    assert_eq!(given.only().inputs.own.opposite_exposure, usd("5.9976"));
    assert_eq!(given.only().order.as_ref().unwrap().shares, Some(sh("9.76")));
}

#[test]
fn baselines_are_kept_for_every_kind_and_taking_position_gap_begins_anew() {
    let mut scene = scene(defaults(Sizing::MirrorFillExact));
    assert_eq!(next(&mut scene, 1, "5").0, Some(usd("40")));
    assert_eq!(next(&mut scene, 2, "5").0, Some(usd("40")));
    let mut row = target(1, 1, gap());
    row.revision = 2;
    scene.put(&row);
    assert_eq!(next(&mut scene, 3, "5").0, Some(usd("44")), "$40 and two fills");
    // Other settings of the same sizing do not.
    (row.revision, row.policy.gap_max_alloc) = (3, Some(usd("30")));
    scene.put(&row);
    assert_eq!(next(&mut scene, 4, "5").0, Some(usd("44")));
    // Leaving it does not, coming back does.
    (row.revision, row.policy) = (4, defaults(Sizing::MinBet));
    scene.put(&row);
    assert_eq!(next(&mut scene, 5, "5").0, Some(usd("44")));
    (row.revision, row.policy) = (5, gap());
    scene.put(&row);
    assert_eq!(next(&mut scene, 6, "5").0, Some(usd("50")));
}

#[test]
fn following_again_while_the_target_closes_begins_anew_and_a_pause_does_not() {
    let mut scene = scene(gap());
    assert_eq!(next(&mut scene, 1, "25").0, Some(usd("40")));
    let mut row = target(1, 1, gap());
    let mut revision = 1;
    for (status, baseline) in [
        (TargetStatus::Paused, "40"),
        (TargetStatus::Active, "40"),
        (TargetStatus::Closing, "40"),
        (TargetStatus::Active, "80"),
    ] {
        revision += 1;
        (row.revision, row.status) = (revision, status);
        scene.put(&row);
        scene.cut();
        let n = u64::try_from(revision).unwrap();
        assert_eq!(next(&mut scene, n, "25").0, Some(usd(baseline)), "{status}");
    }
    assert_eq!(scene.core.state().sizes()[7], ("baselines", 1));
    (row.revision, row.status) = (9, TargetStatus::Removed);
    scene.put(&row);
    scene.cut();
    assert_eq!(scene.core.state().sizes()[7], ("baselines", 0));
}

#[test]
fn each_row_has_its_own() {
    let mut scene = scene(gap());
    assert_eq!(next(&mut scene, 1, "25").0, Some(usd("40")));
    scene.put(&target(2, 1, gap()));
    let given = scene.see(&buy(2, "25"));
    let baselines: Vec<_> = given.decisions().map(|d| d.inputs.leader.baseline).collect();
    assert_eq!(baselines, [Some(usd("40")), Some(usd("50"))]);
    // Another row's change leaves them alone.
    let mut other = target(2, 1, defaults(Sizing::MinBet));
    other.revision = 2;
    scene.put(&other);
    (other.revision, other.policy) = (3, gap());
    scene.put(&other);
    let given = scene.see(&buy(3, "25"));
    let baselines: Vec<_> = given.decisions().map(|d| d.inputs.leader.baseline).collect();
    assert_eq!(baselines, [Some(usd("40")), Some(usd("60"))]);
}

#[test]
fn a_fill_that_does_not_tell_the_cost_before_it_sets_no_baseline() {
    // The snapshot is not read yet; then the facts are missing, and with them the other token.
    let mut scene = Scene::new();
    scene.put(&target(1, 1, gap()));
    assert_eq!(next(&mut scene, 1, "25"), (None, Reason::BeforeBaselineSnapshot));
    scene.see(&snapshot(1, &[(1, "100", "40")]));
    let bare = Fill { facts: None, ..buy(2, "25") };
    let given = scene.see(&bare);
    assert_eq!((given.only().inputs.leader.baseline, given.only().reason), (None, Reason::MarketUnknown));
    // $40, and $10 each.
    assert_eq!(next(&mut scene, 3, "25").0, Some(usd("60")));
    // History, amendments of BUYs, and changes without a trade are no fill that a target is activated by.
    scene.see(&Fill { kind: FillKind::History, ..fill_of(1, 4, 2, 0, Side::Buy, sh("9"), px("0.5"), 0) });
    scene.see(&changed(1, 5, ChangeKind::Split, 2, &[(0, "10", "5"), (1, "10", "5")], 0));
    let given = scene.see(&fill_of(1, 6, 2, 0, Side::Buy, sh("10"), px("0.5"), 0));
    assert_eq!(given.only().inputs.leader.baseline, Some(usd("10")), "{}", token(2, 0));
    assert_eq!(given.only().condition_id, condition(2));
}

#[test]
fn what_the_snapshot_contains_of_the_first_fill_was_not_there_before_it() {
    let mut scene = Scene::new();
    let mut early = target(1, 1, gap());
    early.created_at = at(-9_000);
    scene.put(&early);
    scene.put_fill(&snapshot(1, &[(1, "100", "40")]));
    scene.cut();
    // Of the $40 it had $10 by this fill.
    let given = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", -4_000));
    assert_eq!((given.only().inputs.leader.baseline, given.reasons()[0]), (Some(usd("30")), "stale_fill"));
    assert_eq!(given.only().target_row_id, row(1, 1));
    assert_eq!(given.only().inputs.leader.shares_before, Shares::from_units(75));
}
