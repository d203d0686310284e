//! Follow-ups: layers and hedges (`behaviour.md` 3, last paragraph).

use schemas::{
    BelowFloor, Outcome, Placement, PositionBranch, Reason, Sizing,
    events::{Inputs, Policy},
};

use super::{buy, decide, size};
use crate::{
    fixtures::{px, sh, usd},
    plan::settings::defaults,
};

fn following(sizing: Sizing) -> Policy {
    Policy { follow_ups: Some(true), ..defaults(sizing) }
}

/// We hold the token for $12; the leader spent $80 on it, above its percentile of $75.
fn upon(sizing: Sizing) -> Inputs {
    let mut i = buy(following(sizing));
    (i.own.held, i.own.exposure) = (sh("30"), usd("12"));
    (i.leader.spent, i.leader.percentile) = (Some(usd("80")), Some(usd("75")));
    (i.leader.percentile_99, i.leader.sample) = (Some(usd("80")), Some(60));
    i
}

/// We hold the opposite for $24, as the leader does for $200; now it has $10 on this side.
fn against() -> Inputs {
    let mut i = buy(following(Sizing::MinBet));
    (i.own.opposite_held, i.own.opposite_exposure) = (sh("40"), usd("24"));
    (i.leader.token_cost, i.leader.opposite_cost) = (usd("10"), usd("200"));
    i
}

#[test]
fn layer_scale_in_buys_the_floor_on_top_of_what_we_hold() {
    for sizing in [Sizing::MinBet, Sizing::TargetPercentileScaled, Sizing::Auto] {
        let planned = decide(&upon(sizing));
        assert_eq!((planned.reason, planned.branch), (Reason::LayerScaleIn, PositionBranch::Layer));
        assert_eq!(size(&planned), (px("0.41"), sh("5")));
    }
    let mut i = upon(Sizing::MinBet);
    i.policy.placement = Some(Placement::MarketFak);
    assert_eq!(decide(&i).order.unwrap().amount, Some(usd("1")));
}

#[test]
fn off_and_for_other_sizings_every_buy_is_a_new_entry() {
    let mut i = upon(Sizing::MinBet);
    i.policy.follow_ups = None;
    assert_eq!((decide(&i).reason, decide(&i).branch), (Reason::Ok, PositionBranch::NewEntry));
    let mut i = upon(Sizing::Fixed);
    i.policy.usdc_per_trade = Some(usd("4"));
    assert_eq!((decide(&i).reason, decide(&i).branch), (Reason::Ok, PositionBranch::NewEntry));
    let mut i = against();
    i.policy.follow_ups = Some(false);
    assert_eq!(decide(&i).reason, Reason::TargetDominantOtherSide, "rule 9 is skipped for hedges alone");
}

#[test]
fn a_layer_on_too_little_is_a_new_entry() {
    let with = |exposure: &str| {
        let mut i = upon(Sizing::TargetPercentileScaled);
        i.own.exposure = usd(exposure);
        let planned = decide(&i);
        (planned.branch, size(&planned).1)
    };
    // Five floors of 5 shares at 0.41: $10.25.
    assert_eq!(with("10.25"), (PositionBranch::Layer, sh("5")));
    assert_eq!(with("10.249999"), (PositionBranch::NewEntry, sh("12.19")));
    // A cheap one: five floors of $1.001 come to more than $5.
    let mut i = upon(Sizing::MinBet);
    i.price = px("0.1");
    i.own.exposure = usd("5.004999");
    assert_eq!(decide(&i).branch, PositionBranch::NewEntry);
    i.own.exposure = usd("5.005");
    assert_eq!(decide(&i).branch, PositionBranch::Layer);
}

#[test]
fn what_is_only_on_its_way_is_no_position_to_follow_up() {
    let mut i = upon(Sizing::MinBet);
    (i.own.held, i.own.pending) = (sh("0"), sh("30"));
    assert_eq!(decide(&i).branch, PositionBranch::NewEntry);
}

#[test]
fn target_position_below_threshold_for_a_layer_below_the_percentile() {
    let mut i = upon(Sizing::MinBet);
    i.leader.spent = Some(usd("75"));
    assert_eq!(decide(&i).reason, Reason::LayerScaleIn);
    i.leader.spent = Some(usd("74.999999"));
    let planned = decide(&i);
    assert_eq!(
        (planned.reason, planned.branch),
        (Reason::TargetPositionBelowThreshold, PositionBranch::None)
    );
    i.leader.percentile = None;
    assert_eq!(decide(&i).reason, Reason::TargetPositionBelowThreshold);
}

#[test]
fn hedge_followup_buys_the_leader_s_ratio_of_our_exposure() {
    let with = |token: &str, ours: &str| {
        let mut i = against();
        (i.leader.token_cost, i.own.exposure) = (usd(token), usd(ours));
        decide(&i)
    };
    // 10 / 200 of $24 = $1.20, raised to the floor of 5 shares, as `min_bet` has it.
    let planned = with("10", "0");
    assert_eq!((planned.outcome, planned.reason), (Outcome::Placed, Reason::HedgeFollowup));
    assert_eq!((planned.branch, size(&planned)), (PositionBranch::Hedge, (px("0.41"), sh("5"))));
    // 40 / 200 of $24 = $4.80: 11.70 shares.
    assert_eq!(size(&with("40", "0")).1, sh("11.7"));
    // $2 are on their way already: $2.80 are missing, 6.82 shares.
    assert_eq!(size(&with("40", "2")).1, sh("6.82"));
    // At most a quarter of the exposure, $6; but $5 a trade.
    let mut i = against();
    i.leader.token_cost = usd("150");
    i.policy.max_usdc_per_trade = Some(usd("10"));
    assert_eq!(size(&decide(&i)).1, sh("14.63"));
    // A leader who holds nothing of what we hold any more: the same.
    i.leader.opposite_cost = usd("0");
    assert_eq!(size(&decide(&i)).1, sh("14.63"));
    // What was kept joins, and the quarter still holds.
    i.policy.below_floor = Some(BelowFloor::Accumulate);
    i.own.kept = usd("100");
    assert_eq!(size(&decide(&i)).1, sh("14.63"));
    // A hedge that is smaller than the floor is skipped where the sizing skips.
    let mut i = against();
    i.policy.sizing = Sizing::TargetPercentileScaled;
    assert_eq!(decide(&i).reason, Reason::BelowMarketMin);
}

#[test]
fn followup_not_needed_where_we_are_hedged_as_the_leader_is() {
    let mut i = against();
    i.own.exposure = usd("1.2");
    assert_eq!(decide(&i).reason, Reason::FollowupNotNeeded);
    i.own.exposure = usd("1.199999");
    assert_eq!(decide(&i).reason, Reason::HedgeFollowup);
}

#[test]
fn target_position_below_threshold_for_a_hedge_that_is_none() {
    let with = |token: &str, opposite: &str| {
        let mut i = against();
        (i.leader.token_cost, i.leader.opposite_cost) = (usd(token), usd(opposite));
        decide(&i).reason
    };
    assert_eq!(with("5", "200"), Reason::HedgeFollowup);
    assert_eq!(with("4.999999", "200"), Reason::TargetPositionBelowThreshold);
    // A fiftieth of what it has on the other side.
    assert_eq!(with("10", "500"), Reason::HedgeFollowup);
    assert_eq!(with("9.999999", "500"), Reason::TargetPositionBelowThreshold);
}

#[test]
fn followup_position_too_small_below_five_floors_of_what_is_hedged() {
    let with = |exposure: &str| {
        let mut i = against();
        i.own.opposite_exposure = usd(exposure);
        decide(&i).reason
    };
    assert_eq!(with("10.25"), Reason::HedgeFollowup);
    assert_eq!(with("10.249999"), Reason::FollowupPositionTooSmall);
    // The leader's side is asked after ours.
    let mut i = against();
    (i.own.opposite_exposure, i.leader.token_cost) = (usd("4"), usd("1"));
    assert_eq!(decide(&i).reason, Reason::FollowupPositionTooSmall);
}

#[test]
fn who_holds_both_tokens_layers() {
    let mut i = upon(Sizing::MinBet);
    (i.own.opposite_held, i.own.opposite_exposure) = (sh("40"), usd("24"));
    assert_eq!(decide(&i).branch, PositionBranch::Layer);
}
