//! Rules 11 and 12: every sizing, with the numbers written out.

use schemas::{
    BelowFloor, Outcome, Placement, PositionBranch, Reason, Sizing,
    events::{Inputs, Policy},
};

use super::{buy, decide, fixed, min_bet, size};
use crate::{
    fixtures::{px, sh, usd},
    plan::{settings::defaults, unsupported},
};

#[test]
fn ok_a_min_bet_is_the_smallest_order_the_market_takes() {
    let planned = decide(&min_bet());
    assert_eq!((planned.outcome, planned.reason), (Outcome::Placed, Reason::Ok));
    assert_eq!(planned.branch, PositionBranch::NewEntry);
    assert_eq!(size(&planned), (px("0.41"), sh("5")));
    // A dollar's worth where that is more: $1 / 0.11 = 9.0909, up to 9.10.
    let mut cheap = min_bet();
    cheap.price = px("0.10");
    assert_eq!(size(&decide(&cheap)), (px("0.11"), sh("9.1")));
}

#[test]
fn below_market_min_as_the_policy_wants_it() {
    // $2 at 0.41: 4.87 shares.
    let mut i = buy(fixed("2"));
    assert_eq!(decide(&i).reason, Reason::BelowMarketMin);
    i.policy.below_floor = Some(BelowFloor::Floor);
    assert_eq!(size(&decide(&i)), (px("0.41"), sh("5")));
    i.policy.below_floor = Some(BelowFloor::Accumulate);
    let planned = decide(&i);
    assert_eq!((planned.reason, planned.kept), (Reason::BelowMarketMin, Some(usd("2"))));
    // $2 and $2 kept: 9.75 shares.
    i.own.kept = usd("2");
    assert_eq!(size(&decide(&i)), (px("0.41"), sh("9.75")));
    // A floor of 5 x 0.41 = $2.05 above the cap of one trade, whatever `below_floor` says.
    let mut i = min_bet();
    i.policy.max_usdc_per_trade = Some(usd("2.04"));
    assert_eq!(decide(&i).reason, Reason::BelowMarketMin);
    i.policy.max_usdc_per_trade = Some(usd("2.05"));
    assert_eq!(decide(&i).reason, Reason::Ok);
}

#[test]
fn a_size_is_clamped_by_max_usdc_per_trade() {
    // $8 become $5: 12.19 shares at 0.41.
    assert_eq!(size(&decide(&buy(fixed("8")))), (px("0.41"), sh("12.19")));
    let exact = |shares: &str| {
        let mut i = buy(defaults(Sizing::MirrorFillExact));
        i.shares = sh(shares);
        decide(&i)
    };
    assert_eq!(size(&exact("7.777")), (px("0.41"), sh("7.77")));
    assert_eq!(size(&exact("25")), (px("0.41"), sh("12.19")));
    assert_eq!(exact("4.99").reason, Reason::BelowMarketMin);
    let mut i = buy(Policy { ratio: Some(300_000), ..defaults(Sizing::Ratio) });
    assert_eq!(size(&decide(&i)), (px("0.41"), sh("7.31")), "30 % of $10");
    i.policy.ratio = Some(900_000);
    assert_eq!(size(&decide(&i)), (px("0.41"), sh("12.19")));
}

#[test]
fn position_cap_reached_below_the_floor_and_trimmed_above() {
    let taken = |usdc: &str| {
        let mut i = buy(fixed("5"));
        i.own.exposure = usd(usdc);
        decide(&i)
    };
    // 5 shares at 0.41 cost $2.05.
    assert_eq!(taken("22.96").reason, Reason::PositionCapReached);
    assert_eq!(size(&taken("22.95")), (px("0.41"), sh("5")));
    assert_eq!(size(&taken("22")), (px("0.41"), sh("7.31")));
    assert_eq!(size(&taken("0")), (px("0.41"), sh("12.19")));
}

#[test]
fn a_market_order_is_in_whole_cents_and_at_least_a_dollar() {
    let fak = |usdc: &str| {
        let mut i = buy(Policy { placement: Some(Placement::MarketFak), ..fixed(usdc) });
        i.own.exposure = usd("22");
        decide(&i)
    };
    assert_eq!(fak("2.349").order.unwrap().amount, Some(usd("2.34")));
    assert_eq!(fak("4").order.unwrap().amount, Some(usd("3")), "trimmed to the room");
    assert_eq!(fak("0.99").reason, Reason::BelowMarketMin);
    assert_eq!(fak("1").order.unwrap().amount, Some(usd("1")), "exactly the floor");
    // One dollar of room is enough for it, and less is not.
    let room = |taken: &str| {
        let mut i = buy(Policy { placement: Some(Placement::MarketFak), ..fixed("4") });
        i.own.exposure = usd(taken);
        decide(&i)
    };
    assert_eq!(room("24").order.unwrap().amount, Some(usd("1")));
    assert_eq!(room("24.000001").reason, Reason::PositionCapReached);
    assert_eq!(room("24.5").reason, Reason::PositionCapReached);
}

#[test]
fn decision_failed_names_the_setting_that_is_missing() {
    let gap = |range: &str, most: &str| Policy {
        gap_range_max: Some(usd(range)),
        gap_max_alloc: Some(usd(most)),
        ..defaults(Sizing::PositionGap)
    };
    for (policy, word) in [
        (defaults(Sizing::Fixed), "usdc_per_trade"),
        (fixed("0"), "usdc_per_trade"),
        (defaults(Sizing::Ratio), "ratio"),
        (Policy { ratio: Some(0), ..defaults(Sizing::Ratio) }, "ratio"),
        (defaults(Sizing::PositionGap), "gap_range_max"),
        (gap("0", "10"), "gap_range_max"),
        (gap("10", "0"), "gap_max_alloc"),
    ] {
        let planned = decide(&buy(policy.clone()));
        assert_eq!((planned.outcome, planned.reason), (Outcome::Error, Reason::DecisionFailed));
        assert!(planned.error.as_ref().unwrap().contains(word), "{planned:?}");
        assert_eq!(unsupported(&policy), planned.error);
    }
    for policy in [
        defaults(Sizing::MinBet),
        defaults(Sizing::TargetPercentileScaled),
        defaults(Sizing::MirrorFillExact),
        defaults(Sizing::Auto),
        fixed("0.01"),
        Policy { ratio: Some(1), ..defaults(Sizing::Ratio) },
        gap("0.000001", "0.000001"),
    ] {
        assert_eq!(unsupported(&policy), None, "{}", policy.sizing);
    }
}

/// The leader spent `spent` on the token; its 75th percentile is $10, its 99th $110.
fn scaled(spent: &str) -> Inputs {
    let mut i = buy(defaults(Sizing::TargetPercentileScaled));
    i.leader.spent = Some(usd(spent));
    i.leader.percentile = Some(usd("10"));
    i.leader.percentile_99 = Some(usd("110"));
    i.leader.sample = Some(60);
    i
}

#[test]
fn below_target_percentile_is_where_the_leader_spent_less_than_it_mostly_does() {
    assert_eq!(decide(&scaled("9.999999")).reason, Reason::BelowTargetPercentile);
    assert_eq!(decide(&scaled("10")).reason, Reason::Ok);
    // Without a sample nothing is above it.
    for change in [|i: &mut Inputs| i.leader.percentile = None, |i: &mut Inputs| i.leader.spent = None] {
        let mut i = scaled("50");
        change(&mut i);
        assert_eq!(decide(&i).reason, Reason::BelowTargetPercentile);
    }
    // A floor above `max_usdc_per_trade` speaks first.
    let mut i = scaled("1");
    i.policy.max_usdc_per_trade = Some(usd("2.04"));
    assert_eq!(decide(&i).reason, Reason::BelowMarketMin);
}

#[test]
fn target_percentile_scaled_grows_from_the_floor_to_the_most_between_the_percentiles() {
    let bought = |spent: &str| size(&decide(&scaled(spent)));
    // At the gate the floor: 5 shares at 0.41, $2.05.
    assert_eq!(bought("10"), (px("0.41"), sh("5")));
    // Half way: $2.05 + ($5 - $2.05) / 2 = $3.525: 8.59 shares.
    assert_eq!(bought("60"), (px("0.41"), sh("8.59")));
    // From the 99th percentile on $5: 12.19 shares.
    assert_eq!(bought("110"), (px("0.41"), sh("12.19")));
    assert_eq!(bought("109"), (px("0.41"), sh("12.12")), "$4.9705");
    assert_eq!(bought("100000"), (px("0.41"), sh("12.19")));
}

#[test]
fn where_both_percentiles_are_one_the_most_is_bought() {
    let mut i = scaled("10");
    i.leader.percentile_99 = i.leader.percentile;
    assert_eq!(size(&decide(&i)), (px("0.41"), sh("12.19")));
    i.leader.percentile_99 = Some(usd("9"));
    assert_eq!(size(&decide(&i)), (px("0.41"), sh("12.19")), "below the gate by rounding");
}

#[test]
fn target_percentile_scaled_counts_only_this_side_s_part() {
    let with = |token: &str, opposite: &str, spent: &str| {
        let mut i = scaled(spent);
        (i.leader.token_cost, i.leader.opposite_cost) = (usd(token), usd(opposite));
        decide(&i)
    };
    // Three quarters of $5: $3.75, 9.14 shares.
    assert_eq!(size(&with("30", "10", "110")), (px("0.41"), sh("9.14")));
    // Half of the floor is below it, and skipped.
    assert_eq!(with("20", "20", "10").reason, Reason::BelowMarketMin);
    assert_eq!(with("0", "0", "110").reason, Reason::BelowMarketMin, "it holds nothing of either any more");
}

#[test]
fn a_market_order_of_scaled_sizing_grows_from_one_dollar() {
    let mut i = scaled("60");
    i.policy.placement = Some(Placement::MarketFak);
    // $1 + ($5 - $1) / 2.
    assert_eq!(decide(&i).order.unwrap().amount, Some(usd("3")));
}

#[test]
fn auto_is_scaled_from_fifty_tokens_on_and_min_bet_before() {
    let auto = |sample: Option<i32>| {
        let mut i = scaled("60");
        i.policy.sizing = Sizing::Auto;
        i.leader.sample = sample;
        size(&decide(&i)).1
    };
    assert_eq!(auto(Some(50)), sh("8.59"));
    assert_eq!(auto(Some(49)), sh("5"));
    assert_eq!(auto(None), sh("5"));
    // What it stands for decides what becomes of a desire below the floor.
    let mut i = scaled("10");
    i.policy.sizing = Sizing::Auto;
    (i.leader.token_cost, i.leader.opposite_cost) = (usd("20"), usd("20"));
    assert_eq!(decide(&i).reason, Reason::BelowMarketMin, "skipped, as scaled sizing has it");
    // Rules 9 and 10 are on for it.
    i.leader.opposite_cost = usd("90");
    assert_eq!(decide(&i).reason, Reason::TargetDominantOtherSide);
}

/// Up to $20 on a condition, all of it once the leader's cost there has grown by $100. It had $50.
fn gap(cost: &str, opposite: &str) -> Inputs {
    let mut i = buy(Policy {
        gap_range_max: Some(usd("100")),
        gap_max_alloc: Some(usd("20")),
        ..defaults(Sizing::PositionGap)
    });
    i.leader.baseline = Some(usd("50"));
    (i.leader.token_cost, i.leader.opposite_cost) = (usd(cost), usd(opposite));
    i
}

#[test]
fn position_gap_buys_what_is_missing_of_the_leader_s_growth() {
    // Grown by $15 of $100: $3 of $20, 7.31 shares.
    assert_eq!(size(&decide(&gap("65", "0"))), (px("0.41"), sh("7.31")));
    // On both tokens together.
    assert_eq!(size(&decide(&gap("40", "25"))), (px("0.41"), sh("7.31")));
    // From $100 on all of it, $5 a trade.
    let mut i = gap("400", "0");
    assert_eq!(size(&decide(&i)), (px("0.41"), sh("12.19")));
    // $12 on this token and $4 on the other are there: $4 are missing.
    (i.own.exposure, i.own.opposite_exposure) = (usd("12"), usd("4"));
    assert_eq!(size(&decide(&i)), (px("0.41"), sh("9.75")));
    (i.own.exposure, i.own.opposite_exposure) = (usd("16"), usd("2"));
    assert_eq!(decide(&i).reason, Reason::BelowMarketMin, "$2 are below the floor: skipped");
}

#[test]
fn followup_not_needed_where_we_have_what_the_growth_calls_for() {
    let ours = |cost: &str, exposure: &str| {
        let mut i = gap(cost, "0");
        i.own.exposure = usd(exposure);
        decide(&i).reason
    };
    assert_eq!(ours("65", "3"), Reason::FollowupNotNeeded);
    assert_eq!(ours("65", "2.999999"), Reason::BelowMarketMin);
    assert_eq!(ours("50", "0"), Reason::FollowupNotNeeded, "it has not grown");
    assert_eq!(ours("20", "0"), Reason::FollowupNotNeeded, "it has shrunk, and nothing is sold for that");
    let mut i = gap("500", "0");
    i.leader.baseline = None;
    assert_eq!(decide(&i).reason, Reason::FollowupNotNeeded, "where it started is not known");
}
