//! Settings as people write them.
#![allow(clippy::unwrap_used, reason = "tests")]

use api::policy::{PolicyError, SETTINGS, apply, check, pairs, with_sizing};
use proptest::prelude::*;
use schemas::{BelowFloor, Placement, Price, Side, Sizing, Usdc, events::Policy};

fn set(pairs: &[&str]) -> Result<Policy, PolicyError> {
    apply(&with_sizing(Sizing::MinBet), pairs)
}

#[test]
fn settings_are_read_as_the_contract_names_them() {
    let policy = set(&[
        "sizing=fixed",
        "usdc_per_trade=2",
        "max_usdc_per_trade=$5.50",
        "order_ttl=10m",
        "max_fill_age=90",
        "max_slippage=1tick,2%",
        "below_floor=accumulate",
        "placement=market_fak",
        "min_target_side_fraction=20%",
        "vwap_tolerance=off",
        "only_side=BUY",
        "only_categories=sports, politics",
        "follow_ups=on",
        "mirror_filter_percentile=80",
        "take_profit=1.5",
    ])
    .unwrap();
    assert_eq!(policy.sizing, Sizing::Fixed);
    assert_eq!(policy.usdc_per_trade, Some(Usdc::from_units(2)));
    assert_eq!(policy.max_usdc_per_trade, Some(Usdc::from_micro(5_500_000)));
    assert_eq!((policy.order_ttl_s, policy.max_fill_age_s), (Some(600), Some(90)));
    assert_eq!((policy.max_slippage_ticks, policy.max_slippage_fraction), (Some(1), Some(20_000)));
    assert_eq!(policy.below_floor, Some(BelowFloor::Accumulate));
    assert_eq!(policy.placement, Some(Placement::MarketFak));
    assert_eq!(policy.min_target_side_fraction, Some(200_000));
    assert!(policy.vwap_tolerance.unwrap() < Price::ZERO);
    assert_eq!(policy.only_side, Some(Side::Buy));
    assert_eq!(policy.only_categories, ["sports", "politics"]);
    assert_eq!(policy.follow_ups, Some(true));
    assert_eq!(policy.mirror_filter_percentile, Some(80));
    assert_eq!(policy.take_profit_fraction, Some(1_500_000));
}

#[test]
fn a_setting_is_taken_back_and_the_others_stay() {
    let first = set(&["sizing=ratio", "ratio=10%", "max_usdc_per_token=30", "max_slippage=3ticks"]).unwrap();
    let second = apply(&first, &["max_usdc_per_token=default", "max_slippage=default"]).unwrap();
    assert_eq!((second.sizing, second.ratio), (Sizing::Ratio, Some(100_000)));
    assert_eq!((second.max_usdc_per_token, second.max_slippage_ticks), (None, None));
}

#[test]
fn what_is_wrong_is_named_with_its_setting() {
    for (pairs, code, part) in [
        (&["order_tll=10m"][..], "policy_setting_unknown", "order_ttl"),
        (&["order_ttl"], "policy_pair_invalid", "setting=value"),
        (&["ratio=1", "ratio=2"], "policy_setting_repeated", "`ratio` is set twice"),
        (
            &["max_usdc_per_trade=1", "mirror_max_usdc_per_trade=2"],
            "policy_setting_repeated",
            "max_usdc_per_trade",
        ),
        (
            &["order_ttl=239"],
            "policy_value_out_of_range",
            "`order_ttl` = 239: it must be between 240s and 30d",
        ),
        (&["order_ttl=3m"], "policy_value_out_of_range", "180"),
        (&["mirror_filter_percentile=49"], "policy_value_out_of_range", "between 50 and 99"),
        (&["mirror_filter_percentile=100"], "policy_value_out_of_range", "between 50 and 99"),
        (&["max_usdc_per_trade=0"], "policy_value_out_of_range", "more than 0"),
        (&["max_usdc_per_trade=-1"], "policy_value_out_of_range", "-1"),
        (&["min_price=1.01"], "policy_value_out_of_range", "between 0 and 1"),
        (&["usdc_per_trade=2.0000001"], "policy_value_invalid", "six decimals"),
        (&["usdc_per_trade=two"], "policy_value_invalid", "dollars"),
        (&["ratio=0.12345%"], "policy_value_invalid", "four decimals"),
        (&["order_ttl=ten"], "policy_value_invalid", "10m"),
        (&["order_ttl=-5"], "policy_value_invalid", "10m"),
        (&["order_ttl=99999999999d"], "policy_value_invalid", "10m"),
        (&["max_slippage=1tick,2ticks"], "policy_value_invalid", "1tick,2%"),
        (&["max_slippage=0ticks"], "policy_value_out_of_range", "ticks"),
        (&["sizing=huge"], "policy_value_invalid", "min_bet"),
        (&["sizing=default"], "policy_value_invalid", "no default"),
        (&["only_side=both"], "policy_value_invalid", "BUY SELL"),
        (&["sizing=fixed"], "policy_incomplete", "usdc_per_trade"),
        (&["sizing=ratio"], "policy_incomplete", "needs ratio"),
        (&["sizing=position_gap", "range_max=100"], "policy_incomplete", "max_alloc"),
        (&["min_price=0.6", "max_price=0.5"], "policy_incomplete", "min_price"),
    ] {
        let error = set(pairs).unwrap_err();
        assert_eq!(error.code(), code, "{pairs:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn every_setting_has_a_name_of_its_own_and_says_what_it_does() {
    let mut names: Vec<_> = SETTINGS.iter().flat_map(|s| [Some(s.name), s.also]).flatten().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(SETTINGS.iter().all(|setting| setting.help.len() > 10));
    // One of each, and nothing of a policy without a setting: all that can be set is shown.
    let all = set(&[
        "sizing=position_gap",
        "usdc_per_trade=1",
        "ratio=1",
        "max_usdc_per_trade=1",
        "max_usdc_per_token=1",
        "below_floor=skip",
        "mirror_filter_percentile=75",
        "range_max=1",
        "max_alloc=1",
        "follow_ups=off",
        "placement=mirror_limit",
        "order_ttl=600",
        "max_fill_age=120",
        "max_slippage=1tick,2%",
        "max_open_orders=3",
        "stale_replace_delta=0.03",
        "max_fee_fraction=0.05",
        "min_target_side_fraction=0.2",
        "vwap_tolerance=0.005",
        "min_trade_usdc=1",
        "max_trade_usdc=2",
        "min_price=0.1",
        "max_price=0.9",
        "max_spread=0.1",
        "min_time_to_end=1h",
        "max_time_to_end=1d",
        "only_markets=a",
        "not_markets=b",
        "only_categories=c",
        "not_categories=d",
        "only_side=SELL",
        "sell_policy=full_exit",
        "exit_slippage=5%",
        "exit_floor=0.7",
        "min_close_usdc=1",
        "allow_both_sides=on",
        "sell_winners_at=0.95",
        "take_profit=0.5",
        "stop_loss=0.5",
    ])
    .unwrap();
    assert_eq!(pairs(&all).len(), SETTINGS.len());
    let json = serde_json::to_value(&all).unwrap();
    let unset: Vec<_> = json.as_object().unwrap().iter().filter(|(_, value)| value.is_null()).collect();
    assert!(unset.is_empty(), "cannot be set: {unset:?}");
}

proptest! {
    #[test]
    fn what_is_shown_reads_back_as_the_same_policy(
        usdc in 1_i64..1_000_000_000_000, part in 1_i64..=1_000_000, seconds in 240_i32..2_592_000, ticks in 1_i32..10_000,
        price in 1_i64..1_000_000, on in any::<bool>(), words in proptest::collection::vec("[a-z0-9-]{1,12}", 0..4),
    ) {
        let policy = Policy {
            usdc_per_trade: Some(Usdc::from_micro(usdc)),
            ratio: Some(part),
            order_ttl_s: Some(seconds),
            max_slippage_ticks: on.then_some(ticks),
            max_slippage_fraction: Some(part),
            stop_loss_fraction: Some(part),
            stale_replace_delta: Some(Price::from_micro(price)),
            vwap_tolerance: Some(if on { Price::from_micro(-1) } else { Price::from_micro(price) }),
            follow_ups: Some(on),
            only_markets: words,
            ..with_sizing(Sizing::Fixed)
        };
        check(&policy).unwrap();
        let shown: Vec<String> = pairs(&policy).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        prop_assert_eq!(apply(&with_sizing(Sizing::MinBet), &shown).unwrap(), policy);
    }

    #[test]
    fn no_text_makes_the_reader_panic(pair in "\\PC{0,40}", index in 0_usize..SETTINGS.len(), value in "\\PC{0,40}") {
        let _ = set(&[&pair]);
        let _ = set(&[&format!("{}={value}", SETTINGS[index].name)]);
    }
}
