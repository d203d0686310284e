//! One example with figures for each reason, and what must hold for all.

use proptest::prelude::*;
use schemas::{
    BelowFloor, IdempotencyKey, Outcome, Placement, PositionBranch, Price, Reason, Round, SellPolicy, Shares,
    Side, Sizing, TargetStatus, Tick, Usdc,
    events::{Inputs, LeaderView, OwnView, Policy},
};

use super::plan;
use crate::{
    fixtures::{at, condition, px, sh, usd},
    plan::{Planned, settings::defaults},
};

fn nobody() -> OwnView {
    OwnView {
        held: Shares::ZERO,
        pending: Shares::ZERO,
        closed: false,
        exposure: Usdc::ZERO,
        opposite_held: Shares::ZERO,
        opposite_exposure: Usdc::ZERO,
        resting: 0,
        oldest: None,
        oldest_limit: None,
        oldest_unfilled: None,
        kept: Usdc::ZERO,
    }
}

/// A BUY of $10 at 0.40, two seconds old, in an open market with a tick of a cent and a minimum of 5 shares.
fn buy(policy: Policy) -> Inputs {
    Inputs {
        status: TargetStatus::Active,
        side: Side::Buy,
        shares: sh("25"),
        notional: usd("10"),
        price: px("0.4"),
        filled_at: at(0),
        tick: Some(Tick::CENT),
        min_shares: Some(sh("5")),
        fee_rate: Some(0),
        fee_exponent: Some(1),
        category: Some("Politics".into()),
        slug: Some("who-wins".into()),
        accepting_orders: Some(true),
        end_at: Some(at(86_400)),
        best_bid: Some(px("0.39")),
        best_ask: Some(px("0.41")),
        depth_in_limit: Some(sh("100")),
        own: nobody(),
        leader: LeaderView {
            known: true,
            shares_before: Shares::ZERO,
            shares_after: sh("25"),
            token_cost: usd("10"),
            opposite_cost: Usdc::ZERO,
            average: None,
            baseline: None,
            percentile: None,
            percentile_99: None,
            sample: None,
        },
        policy,
    }
}

fn min_bet() -> Inputs {
    buy(defaults(Sizing::MinBet))
}

fn fixed(usdc: &str) -> Policy {
    Policy { usdc_per_trade: Some(usd(usdc)), ..defaults(Sizing::Fixed) }
}

fn decide(i: &Inputs) -> Planned {
    plan(condition(1), i, at(2))
}

/// The reason of the BUY after a change.
fn reason(change: impl FnOnce(&mut Inputs)) -> Reason {
    let mut i = min_bet();
    change(&mut i);
    decide(&i).reason
}

fn size(planned: &Planned) -> (Price, Shares) {
    let order = planned.order.as_ref().unwrap();
    (order.limit.unwrap(), order.shares.unwrap())
}

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
    assert_eq!(reason(|i| i.end_at = Some(at(1))), Reason::Ok, "a past date alone does not skip");
}

#[test]
fn price_outside_clob_bounds_is_tested_against_the_band_and_never_the_tick() {
    assert_eq!(reason(|i| i.price = px("0.009999")), Reason::PriceOutsideClobBounds);
    assert_eq!(reason(|i| i.price = px("0.990001")), Reason::PriceOutsideClobBounds);
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
    assert_eq!(with(|p| p.min_price = Some(px("0.41"))), Reason::FilterPriceBand);
    assert_eq!(with(|p| p.max_price = Some(px("0.39"))), Reason::FilterPriceBand);
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
}

#[test]
fn decision_failed_names_what_is_missing_or_not_supported() {
    for (policy, word) in [
        (defaults(Sizing::Auto), "auto"),
        (defaults(Sizing::TargetPercentileScaled), "target_percentile_scaled"),
        (defaults(Sizing::PositionGap), "position_gap"),
        (defaults(Sizing::Fixed), "usdc_per_trade"),
        (defaults(Sizing::Ratio), "ratio"),
        (Policy { follow_ups: Some(true), ..defaults(Sizing::MinBet) }, "follow_ups"),
        (Policy { stop_loss_fraction: Some(1), ..defaults(Sizing::MinBet) }, "stop_loss_fraction"),
    ] {
        let planned = decide(&buy(policy.clone()));
        assert_eq!((planned.outcome, planned.reason), (Outcome::Error, Reason::DecisionFailed));
        assert!(planned.error.as_ref().unwrap().contains(word), "{planned:?}");
        assert_eq!(crate::plan::unsupported(&policy), planned.error);
    }
    for sizing in [Sizing::Auto, Sizing::PositionGap, Sizing::TargetPercentileScaled] {
        assert!(!crate::plan::supports(sizing));
    }
    assert_eq!(crate::plan::unsupported(&defaults(Sizing::MinBet)), None);
}

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

prop_compose! {
    fn any_buy()(
        sizing in proptest::sample::select(vec![
            Sizing::MinBet, Sizing::Fixed, Sizing::Ratio, Sizing::MirrorFillExact,
        ]),
        below in proptest::option::of(proptest::sample::select(BelowFloor::ALL)),
        placement in proptest::sample::select(Placement::ALL),
        price in 10_000i64..990_000,
        shares in 1i64..100_000_000_000,
        tick in proptest::sample::select(vec![10_000i64, 1_000, 100, 2_500, 5_000, 100_000]),
        min_shares in 0i64..20_000_000,
        per_trade in 0i64..50_000_000,
        per_token in 0i64..100_000_000,
        exposure in 0i64..60_000_000,
        usdc in 1i64..60_000_000,
        ratio in 1i64..3_000_000,
        kept in 0i64..5_000_000,
        resting in 0i32..6,
        unfilled in 0i64..10_000_000,
    ) -> Inputs {
        let mut i = buy(defaults(sizing));
        i.policy.below_floor = below;
        i.policy.placement = Some(placement);
        i.policy.usdc_per_trade = Some(Usdc::from_micro(usdc));
        i.policy.ratio = Some(ratio);
        i.policy.max_usdc_per_trade = Some(Usdc::from_micro(per_trade));
        i.policy.max_usdc_per_token = Some(Usdc::from_micro(per_token));
        i.tick = Some(Tick::from_micro(tick).unwrap());
        i.min_shares = Some(Shares::from_micro(min_shares));
        i.price = Price::from_micro(price);
        i.shares = Shares::from_micro(shares);
        i.notional = i.price.cost(i.shares, Round::Nearest).unwrap();
        i.own.exposure = Usdc::from_micro(exposure);
        i.own.kept = Usdc::from_micro(kept);
        i.own.resting = resting;
        if resting > 0 {
            i.own.oldest = Some(IdempotencyKey::from_bytes([1; 32]));
            i.own.oldest_limit = Some(px("0.4"));
            i.own.oldest_unfilled = Some(Usdc::from_micro(unfilled.min(exposure)));
        }
        i
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_placed_size_is_never_below_the_floor_nor_above_any_cap(i in any_buy()) {
        let planned = decide(&i);
        prop_assert_eq!(&planned, &decide(&i), "the plan is a function");
        let Some(order) = planned.order else {
            prop_assert_ne!(planned.outcome, Outcome::Placed);
            return Ok(());
        };
        let (limit, shares) = (order.limit.unwrap(), order.shares.unwrap());
        let tick = i.tick.unwrap();
        prop_assert_eq!(limit.micro() % tick.micro(), 0);
        prop_assert!(limit >= tick.lowest() && limit <= tick.highest());
        let cost = order.amount.unwrap_or(limit.cost(shares, Round::Up).unwrap());
        // A dollar's worth at least, in hundredths.
        prop_assert!(cost >= Usdc::from_units(1));
        let counted = order.amount.map_or(shares.micro(), Usdc::micro);
        prop_assert_eq!(counted % 10_000, 0);
        prop_assert!(order.amount.is_some() || shares >= i.min_shares.unwrap());
        prop_assert!(cost <= i.policy.max_usdc_per_trade.unwrap());
        let freed = if order.replaces.is_some() { i.own.oldest_unfilled.unwrap() } else { Usdc::ZERO };
        let taken = i.own.exposure.minus_or_zero(freed);
        prop_assert!(taken.saturating_add(cost) <= i.policy.max_usdc_per_token.unwrap());
        prop_assert!(i.own.resting < 3 || order.replaces.is_some());
    }

    #[test]
    fn no_figures_make_the_plan_panic(
        mut i in any_buy(),
        figures in proptest::array::uniform8(proptest::num::i64::ANY),
    ) {
        let [a, b, c, d, e, f, g, h] = figures;
        i.price = Price::from_micro(a);
        i.shares = Shares::from_micro(b);
        i.notional = Usdc::from_micro(c);
        i.min_shares = Some(Shares::from_micro(d));
        i.fee_rate = Some(e);
        i.own.exposure = Usdc::from_micro(f);
        i.own.kept = Usdc::from_micro(g);
        i.leader.token_cost = Usdc::from_micro(h);
        i.policy.ratio = Some(g);
        decide(&i);
        i.price = px("0.5");
        decide(&i);
        i.side = Side::Sell;
        decide(&i);
    }
}
