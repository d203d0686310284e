//! SELLs (`behaviour.md` 4).

use schemas::{
    PositionBranch, Reason, SellPolicy, Shares, Side, Sizing, TargetStatus,
    events::{Inputs, OwnView},
};

use super::{decide, min_bet};
use crate::{
    fixtures::{at, sh, usd},
    plan::Planned,
};

/// A SELL of 60 of 200 shares while we hold 20.
fn sell() -> Inputs {
    let mut i = min_bet();
    i.side = Side::Sell;
    i.shares = sh("60");
    i.leader.shares_before = sh("200");
    i.leader.shares_after = sh("140");
    i.own.held = sh("20");
    i
}

fn part(planned: &Planned) -> (i64, i64, bool) {
    let order = planned.order.as_ref().unwrap();
    (order.fraction_num.unwrap(), order.fraction_den.unwrap(), order.flat.unwrap())
}

#[test]
fn a_sell_closes_the_fraction_that_the_leader_sold() {
    let planned = decide(&sell());
    assert_eq!((planned.reason, planned.branch), (Reason::Ok, PositionBranch::SellClose));
    assert_eq!(part(&planned), (60_000_000, 200_000_000, false));
    let with = |change: fn(&mut Inputs)| {
        let mut i = sell();
        change(&mut i);
        part(&decide(&i))
    };
    assert_eq!(with(|i| i.leader.shares_before = Shares::ZERO), (1, 1, false));
    assert_eq!(with(|i| i.leader.known = false), (1, 1, false));
    assert_eq!(with(|i| i.policy.sell_policy = Some(SellPolicy::FullExit)), (1, 1, false));
    let all = |i: &mut Inputs| (i.shares, i.leader.shares_after) = (sh("200"), Shares::ZERO);
    assert_eq!(with(all), (1, 1, true));
}

#[test]
fn a_sell_is_skipped_only_where_nothing_is_ours() {
    let with = |change: fn(&mut OwnView)| {
        let mut i = sell();
        change(&mut i.own);
        decide(&i).reason
    };
    assert_eq!(with(|own| own.held = Shares::ZERO), Reason::SellWithoutPosition);
    assert_eq!(with(|own| (own.held, own.closed) = (Shares::ZERO, true)), Reason::SellClosedPosition);
    assert_eq!(with(|own| (own.held, own.pending) = (Shares::ZERO, sh("5"))), Reason::Ok);
}

#[test]
fn no_rule_of_a_buy_holds_up_a_sell() {
    let mut i = sell();
    i.filled_at = at(-86_400);
    (i.tick, i.min_shares, i.accepting_orders) = (None, None, Some(false));
    i.status = TargetStatus::Closing;
    i.policy.only_side = Some(Side::Buy);
    i.policy.min_trade_usdc = Some(usd("1000000"));
    i.policy.sizing = Sizing::Auto;
    i.own.resting = 99;
    i.own.exposure = usd("1000");
    assert_eq!(part(&decide(&i)), (60_000_000, 200_000_000, false));
}
