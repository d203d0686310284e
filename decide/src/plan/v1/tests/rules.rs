//! Rules 3 to 10, 13 and 14.

use schemas::{
    IdempotencyKey, Placement, Price, Reason, Side, TargetStatus,
    events::{Inputs, Policy},
};

use super::{buy, decide, fixed, min_bet, reason, size};
use crate::fixtures::{at, condition, px, sh, usd};

#[test]
fn target_closing() {
    assert_eq!(reason(|i| i.status = TargetStatus::Closing), Reason::TargetClosing);
    assert_eq!(reason(|i| i.status = TargetStatus::Paused), Reason::Ok, "the gate denies a paused target");
}

#[test]
fn stale_fill_is_one_older_than_120_seconds() {
    assert_eq!(reason(|i| i.filled_at = at(-118)), Reason::Ok);
    assert_eq!(reason(|i| i.filled_at = at(-119)), Reason::StaleFill);
    assert_eq!(reason(|i| i.policy.max_fill_age_s = Some(1)), Reason::StaleFill);
}

#[test]
fn before_baseline_snapshot() {
    assert_eq!(reason(|i| i.leader.known = false), Reason::BeforeBaselineSnapshot);
}

#[test]
fn market_unknown_without_facts() {
    let no_facts = |i: &mut Inputs| {
        (i.tick, i.min_shares, i.fee_rate, i.fee_exponent, i.accepting_orders) =
            (None, None, None, None, None);
    };
    assert_eq!(reason(no_facts), Reason::MarketUnknown);
}

#[test]
fn a_market_that_takes_no_orders_is_closed_or_past_its_end() {
    assert_eq!(reason(|i| i.accepting_orders = Some(false)), Reason::MarketClosed);
    let past = |i: &mut Inputs| (i.accepting_orders, i.end_at) = (Some(false), Some(at(1)));
    assert_eq!(reason(past), Reason::MarketPastEndDate);
    let at_its_end = |i: &mut Inputs| (i.accepting_orders, i.end_at) = (Some(false), Some(at(2)));
    assert_eq!(reason(at_its_end), Reason::MarketClosed, "it has not passed");
    assert_eq!(reason(|i| i.end_at = Some(at(1))), Reason::Ok, "a past date alone does not skip");
}

#[test]
fn price_outside_clob_bounds_is_tested_against_the_band_and_never_the_tick() {
    assert_eq!(reason(|i| i.price = px("0.009999")), Reason::PriceOutsideClobBounds);
    assert_eq!(reason(|i| i.price = px("0.990001")), Reason::PriceOutsideClobBounds);
    assert_eq!(reason(|i| i.price = px("0.01")), Reason::Ok, "50 shares at 0.02");
    assert_eq!(reason(|i| i.price = px("0.413333")), Reason::Ok, "an average off the tick");
    // 0.99 is the top: 5 shares cost $4.95.
    assert_eq!(reason(|i| i.price = px("0.99")), Reason::Ok);
}

#[test]
fn filters_say_no_each_with_its_own_reason() {
    let with = |change: fn(&mut Policy)| reason(|i| change(&mut i.policy));
    assert_eq!(with(|p| p.min_trade_usdc = Some(usd("10.01"))), Reason::FilterTradeSize);
    assert_eq!(with(|p| p.max_trade_usdc = Some(usd("9.99"))), Reason::FilterTradeSize);
    assert_eq!(with(|p| p.min_trade_usdc = Some(usd("10"))), Reason::Ok);
    assert_eq!(with(|p| p.max_trade_usdc = Some(usd("10"))), Reason::Ok);
    assert_eq!(with(|p| p.min_price = Some(px("0.41"))), Reason::FilterPriceBand);
    assert_eq!(with(|p| p.max_price = Some(px("0.39"))), Reason::FilterPriceBand);
    assert_eq!(with(|p| (p.min_price, p.max_price) = (Some(px("0.4")), Some(px("0.4")))), Reason::Ok);
    assert_eq!(with(|p| p.max_spread = Some(px("0.01"))), Reason::FilterSpread);
    assert_eq!(with(|p| p.max_spread = Some(px("0.02"))), Reason::Ok);
    assert_eq!(with(|p| p.min_time_to_end_s = Some(86_399)), Reason::FilterTimeToEnd);
    assert_eq!(with(|p| p.max_time_to_end_s = Some(86_000)), Reason::FilterTimeToEnd);
    assert_eq!(with(|p| p.min_time_to_end_s = Some(86_398)), Reason::Ok);
    assert_eq!(with(|p| p.only_markets = vec!["another".into()]), Reason::FilterMarket);
    assert_eq!(with(|p| p.only_markets = vec!["Who-Wins".into()]), Reason::Ok);
    assert_eq!(with(|p| p.only_markets = vec![condition(1).to_string()]), Reason::Ok);
    assert_eq!(with(|p| p.not_markets = vec!["who-wins".into()]), Reason::FilterMarket);
    assert_eq!(with(|p| p.only_categories = vec!["sports".into()]), Reason::FilterCategory);
    assert_eq!(with(|p| p.not_categories = vec!["politics".into()]), Reason::FilterCategory);
    assert_eq!(with(|p| p.only_side = Some(Side::Sell)), Reason::FilterSide);
    assert_eq!(with(|p| p.only_side = Some(Side::Buy)), Reason::Ok);
}

#[test]
fn a_filter_that_needs_what_is_not_known_says_no() {
    let no_bid = |i: &mut Inputs| {
        i.best_bid = None;
        i.policy.max_spread = Some(px("0.5"));
    };
    assert_eq!(reason(no_bid), Reason::FilterSpread);
    let no_category = |i: &mut Inputs| {
        i.category = None;
        i.policy.only_categories = vec!["politics".into()];
    };
    assert_eq!(reason(no_category), Reason::FilterCategory);
    let no_end = |i: &mut Inputs| {
        i.end_at = None;
        i.policy.max_time_to_end_s = Some(60);
    };
    assert_eq!(reason(no_end), Reason::FilterTimeToEnd);
}

#[test]
fn target_dominant_other_side_below_a_fifth_of_the_cost() {
    let on = |token: &'static str, opposite: &'static str| {
        move |i: &mut Inputs| (i.leader.token_cost, i.leader.opposite_cost) = (usd(token), usd(opposite))
    };
    assert_eq!(reason(on("10", "40")), Reason::Ok, "exactly a fifth");
    assert_eq!(reason(on("9.99", "40.01")), Reason::TargetDominantOtherSide);
    let mut i = buy(fixed("4"));
    on("9.99", "40.01")(&mut i);
    assert_eq!(decide(&i).reason, Reason::Ok, "off for `fixed`");
}

#[test]
fn vwap_floor_breach_above_the_average_and_half_a_cent() {
    assert_eq!(reason(|i| i.leader.average = Some(px("0.395"))), Reason::Ok);
    assert_eq!(reason(|i| i.leader.average = Some(px("0.394999"))), Reason::VwapFloorBreach);
    let off = |i: &mut Inputs| {
        i.leader.average = Some(px("0.1"));
        i.policy.vwap_tolerance = Some(Price::from_micro(-1));
    };
    assert_eq!(reason(off), Reason::Ok);
}

#[test]
fn already_resting_unless_the_limit_has_moved_far_enough() {
    let resting = |n: i32, oldest: &str| {
        let mut i = min_bet();
        i.own.resting = n;
        i.own.oldest = Some(IdempotencyKey::from_bytes([9; 32]));
        i.own.oldest_limit = Some(px(oldest));
        i.own.oldest_unfilled = Some(usd("2"));
        i.own.exposure = usd("24");
        i.policy.max_usdc_per_token = Some(usd("25"));
        decide(&i)
    };
    // $1 of room is below the floor of $2.05: rule 12 speaks first.
    assert_eq!(resting(2, "0.41").reason, Reason::PositionCapReached);
    // The one that is replaced leaves room: $25 - $22 = $3.
    for far in ["0.38", "0.44"] {
        let planned = resting(3, far);
        assert_eq!(planned.order.as_ref().unwrap().replaces, Some(IdempotencyKey::from_bytes([9; 32])));
        assert_eq!(size(&planned), (px("0.41"), sh("5")));
    }
    let near = |n: i32| {
        let mut i = min_bet();
        (i.own.resting, i.own.oldest_limit) = (n, Some(px("0.39")));
        i.own.oldest = Some(IdempotencyKey::from_bytes([9; 32]));
        decide(&i).reason
    };
    assert_eq!(near(2), Reason::Ok);
    assert_eq!(near(3), Reason::AlreadyResting);
}

#[test]
fn fee_too_high_above_a_twentieth_of_the_notional() {
    // 0.07 x (1 - 0.41) = 4.13 %; at a limit of 0.21 it is 5.53 %.
    assert_eq!(reason(|i| i.fee_rate = Some(70_000)), Reason::Ok);
    let cheap = |i: &mut Inputs| (i.fee_rate, i.price) = (Some(70_000), px("0.2"));
    assert_eq!(reason(cheap), Reason::FeeTooHigh);
}

#[test]
fn slippage_exceeded_where_the_book_has_nothing_within_the_limit() {
    let fak = |depth: Option<&str>| {
        let mut i = min_bet();
        i.policy.placement = Some(Placement::MarketFak);
        i.depth_in_limit = depth.map(sh);
        decide(&i)
    };
    assert_eq!(fak(Some("0")).reason, Reason::SlippageExceeded);
    let planned = fak(Some("1"));
    let order = planned.order.unwrap();
    // One dollar in whole cents, at most 2.439024 shares of it.
    assert_eq!((order.amount, order.shares), (Some(usd("1")), Some(sh("2.439024"))));
    assert_eq!(order.placement, Some(Placement::MarketFak));
    assert_eq!(fak(None).reason, Reason::Ok, "a book that was not recorded says nothing");
    assert_eq!(reason(|i| i.depth_in_limit = Some(sh("0"))), Reason::Ok, "a limit order rests");
}
