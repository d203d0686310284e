//! The sample of 30 days: what counts for it, when it is forgotten, and what is decided by it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use decide::{
    core::Core,
    fixtures::{Scene, amended, at, fill, fill_of, px, sh, target, usd, voided},
    plan::{VERSIONS, settings::defaults},
    state::State,
};
use schemas::{
    FillKind, Reason, Side, Sizing,
    events::{Fill, LeaderView, Policy},
};

const DAY: i64 = 86_400;

fn scaled() -> Policy {
    Policy {
        vwap_tolerance: Some(schemas::Price::from_micro(-1)),
        ..defaults(Sizing::TargetPercentileScaled)
    }
}

/// A BUY of market `m`'s first token for so many dollars at 0.40, that many days ago.
fn spent(kind: FillKind, tx: u64, m: u8, dollars: i64, days_ago: i64) -> Fill {
    let shares = schemas::Shares::from_micro(dollars * 2_500_000);
    Fill { kind, ..fill_of(1, tx, m, 0, Side::Buy, shares, px("0.40"), -days_ago * DAY) }
}

/// A BUY of market 1's first token for $4 at the clock, and what its decision saw of the leader.
fn ask(scene: &mut Scene, tx: u64, secs: i64) -> LeaderView {
    let given = scene.see(&fill(1, tx, Side::Buy, "10", "0.40", secs));
    given.only().inputs.leader.clone()
}

/// Spent, gate, 99th percentile and tokens.
fn figures(view: &LeaderView) -> (String, String, String, i32) {
    let text = |usdc: Option<schemas::Usdc>| usdc.unwrap().to_string();
    (text(view.spent), text(view.percentile), text(view.percentile_99), view.sample.unwrap())
}

fn seen(spent: &str, gate: &str, top: &str, tokens: i32) -> (String, String, String, i32) {
    (spent.into(), gate.into(), top.into(), tokens)
}

#[test]
fn history_late_new_and_amended_buys_count_and_this_one_too() {
    let mut scene = Scene::following(scaled());
    scene.see(&spent(FillKind::History, 1, 2, 10, 3));
    scene.see(&spent(FillKind::Late, 2, 3, 20, 9));
    let third = spent(FillKind::New, 3, 4, 30, 0);
    scene.see(&third);
    // $4, $10, $20, $30: rank 2.25 of the gate, 2.97 of the top.
    assert_eq!(figures(&ask(&mut scene, 10, 0)), seen("4", "22.5", "29.7", 4));
    // Of an amendment only the growth: $30 become $40.
    scene.see(&amended(&third, "100", 1));
    assert_eq!(figures(&ask(&mut scene, 11, 0)), seen("8", "25", "39.4", 4));
    // A second fill of a token adds to its sum, whatever kind it is.
    scene.see(&spent(FillKind::History, 4, 3, 5, 2));
    assert_eq!(figures(&ask(&mut scene, 12, 0)), seen("12", "28.75", "39.55", 4));
}

#[test]
fn sells_and_other_wallets_do_not_count() {
    let mut scene = Scene::following(scaled());
    scene.see(&Fill { side: Side::Sell, ..spent(FillKind::History, 1, 2, 10, 3) });
    let other = Fill { wallet: decide::fixtures::wallet(2), ..spent(FillKind::History, 2, 3, 10, 3) };
    scene.see(&other);
    assert_eq!(figures(&ask(&mut scene, 10, 0)), seen("4", "4", "4", 1));
}

#[test]
fn a_fill_counts_once_whatever_it_comes_as() {
    let mut scene = Scene::following(scaled());
    for kind in [FillKind::History, FillKind::History, FillKind::Late, FillKind::New, FillKind::New] {
        scene.see(&spent(kind, 1, 2, 10, 0));
    }
    // The backfill saw only a part of it, and so does this walk.
    scene.see(&spent(FillKind::Late, 1, 2, 9, 0));
    assert_eq!(figures(&ask(&mut scene, 10, 0)), seen("4", "8.5", "9.94", 2));
    // A walk that shows more of what the backfill had brings the rest.
    scene.see(&spent(FillKind::History, 2, 3, 10, 1));
    scene.see(&spent(FillKind::Late, 2, 3, 12, 1));
    assert_eq!(figures(&ask(&mut scene, 11, 0)), seen("8", "11", "11.96", 3));
}

#[test]
fn a_voided_buy_goes_out_again_and_only_an_amendment_brings_it_back() {
    let mut scene = Scene::following(scaled());
    let buy = spent(FillKind::New, 1, 2, 10, 0);
    scene.see(&buy);
    scene.see(&voided(&buy));
    assert_eq!(figures(&ask(&mut scene, 10, 0)), seen("4", "4", "4", 1));
    scene.see(&buy);
    scene.see(&Fill { kind: FillKind::Late, ..buy.clone() });
    assert_eq!(figures(&ask(&mut scene, 11, 0)), seen("8", "8", "8", 1));
    scene.see(&amended(&buy, "25", 1));
    assert_eq!(figures(&ask(&mut scene, 12, 0)), seen("12", "11.5", "11.98", 2));
}

#[test]
fn what_is_thirty_days_old_is_out_by_the_cut_s_clock() {
    let mut scene = Scene::following(scaled());
    // A day of the first is left, and nothing of the second: two seconds ago it was thirty days old.
    scene.see(&spent(FillKind::History, 1, 2, 10, 29));
    scene.see(&spent(FillKind::History, 2, 3, 20, 30));
    assert_eq!(figures(&ask(&mut scene, 10, 0)), seen("4", "8.5", "9.94", 2));
    scene.clock = at(DAY - 1);
    assert_eq!(ask(&mut scene, 11, DAY - 2).sample, Some(2));
    scene.clock = at(DAY);
    assert_eq!(figures(&ask(&mut scene, 12, DAY - 1)), seen("12", "12", "12", 1));
    scene.clock = at(40 * DAY);
    scene.cut();
    assert_eq!(scene.core.state().sizes()[6], ("bought", 0));
    // A repeat of what was forgotten is too old to count.
    scene.see(&spent(FillKind::History, 1, 2, 10, 29));
    assert_eq!(scene.core.state().sizes()[6], ("bought", 0));
}

#[test]
fn within_one_cut_and_over_two_the_window_is_the_same() {
    // Folded after the clock's window was cleared, in the cut that clears it.
    let mut scene = Scene::following(scaled());
    scene.clock = at(30 * DAY);
    scene.put_fill(&spent(FillKind::History, 1, 2, 10, 0));
    let mut now = fill(1, 10, Side::Buy, "10", "0.40", 30 * DAY);
    scene.put_fill(&now);
    assert_eq!(scene.cut().only().inputs.leader.sample, Some(1));
    now = fill(1, 11, Side::Buy, "10", "0.40", 30 * DAY);
    assert_eq!(scene.see(&now).only().inputs.leader.sample, Some(1));
}

#[test]
fn the_gate_holds_the_leader_s_sum_against_its_own_percentile() {
    let mut scene = Scene::following(scaled());
    for n in 0..9u8 {
        scene.see(&spent(FillKind::History, u64::from(n), n + 2, 4 * (i64::from(n) + 1), 3));
    }
    // $4 to $36 on nine tokens and $4 on this one: rank 6.75 is $27.
    let given = scene.see(&fill(1, 20, Side::Buy, "10", "0.40", 0));
    assert_eq!(given.reasons(), ["below_target_percentile"]);
    assert_eq!(figures(&given.only().inputs.leader), seen("4", "27", "35.64", 10));
    // With $26 more it has $30 there: rank 6.75 lies between $28 and $30, rank 8.91 between $32 and $36.
    let given = scene.see(&fill(1, 21, Side::Buy, "65", "0.40", 0));
    let view = &given.only().inputs.leader;
    assert_eq!(figures(view), seen("30", "29.5", "35.64", 10));
    assert_eq!(given.only().reason, Reason::Ok);
    // $2.05 + $2.95 x 0.5 / 6.14 = $2.290228: 5.58 shares.
    assert_eq!(given.only().order.as_ref().unwrap().shares, Some(sh("5.58")));
}

#[test]
fn every_tenant_has_its_own_percentile_and_the_sample_is_one() {
    let mut scene = Scene::following(scaled());
    scene.put(&target(2, 1, Policy { mirror_filter_percentile: Some(50), ..scaled() }));
    scene.put(&target(3, 1, defaults(Sizing::MinBet)));
    for n in 0..4u8 {
        scene.see(&spent(FillKind::History, u64::from(n), n + 2, 10 * (i64::from(n) + 1), 3));
    }
    let given = scene.see(&fill(1, 20, Side::Buy, "62.5", "0.40", 0));
    let gates: Vec<_> = given.decisions().map(|d| d.inputs.leader.percentile).collect();
    // $10, $20, $25, $30, $40: rank 3, and rank 2; who does not ask is told nothing.
    assert_eq!(gates, [Some(usd("30")), Some(usd("25")), None]);
    assert_eq!(given.reasons(), ["below_target_percentile", "ok", "ok"]);
}

#[test]
fn auto_counts_the_tokens_of_the_sample() {
    let auto = Policy { vwap_tolerance: Some(schemas::Price::from_micro(-1)), ..defaults(Sizing::Auto) };
    let mut scene = Scene::following(auto);
    for n in 0..48u8 {
        scene.see(&spent(FillKind::History, u64::from(n), n + 2, 100, 3));
    }
    let given = scene.see(&fill(1, 90, Side::Buy, "10", "0.40", 0));
    assert_eq!((given.only().inputs.leader.sample, given.only().reason), (Some(49), Reason::Ok));
    scene.see(&spent(FillKind::History, 49, 60, 100, 3));
    let given = scene.see(&fill(1, 91, Side::Buy, "10", "0.40", 0));
    assert_eq!(given.only().inputs.leader.sample, Some(50));
    assert_eq!(given.only().reason, Reason::BelowTargetPercentile);
}

#[test]
fn dollars_past_the_range_of_all_money_are_no_fill() {
    let mut scene = Scene::following(scaled());
    for (n, dollars) in [(1, i64::MAX - 1), (2, i64::MAX - 1), (3, -5)] {
        let notional = schemas::Usdc::from_micro(dollars);
        scene.see(&Fill { notional, ..spent(FillKind::History, n, 2, 10, 3) });
    }
    assert_eq!(figures(&ask(&mut scene, 10, 0)).3, 2);
}

#[test]
fn the_sample_of_a_snapshot_is_that_of_the_fills() {
    let mut scene = Scene::following(scaled());
    for n in 0..20u8 {
        scene.see(&spent(FillKind::History, u64::from(n), n % 7 + 2, i64::from(n) + 1, 3));
    }
    let bytes = scene.core.state().to_bytes().unwrap();
    let again = State::from_bytes(&bytes).unwrap();
    assert_eq!(again.to_bytes().unwrap(), bytes);
    assert!(again == *scene.core.state());
    let head = *scene.core.head();
    let before = figures(&ask(&mut scene, 50, 0));
    scene.core = Core::restored(0, scene.codec.clone(), VERSIONS, 1, head, again).unwrap();
    assert_eq!(figures(&ask(&mut scene, 50, 0)), before);
}
