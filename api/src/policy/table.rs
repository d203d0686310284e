//! Every setting, by the name that `behaviour.md` gives it.

use schemas::{Price, events::Policy};

use super::values::{
    DEFAULT, count, fraction, list, optional, price, seconds, show_fraction, show_slippage, show_switch,
    slippage, switch, usdc, word,
};

/// A setting of a policy.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Another name for the same.
    pub also: Option<&'static str>,
    /// What it does, for people.
    pub help: &'static str,
    /// Reads a value; what was expected instead where it does not read.
    pub(super) set: fn(&mut Policy, &str) -> Result<(), String>,
    /// The value, where it is set.
    pub(super) get: fn(&Policy) -> Option<String>,
}

macro_rules! setting {
    ($name:literal, $field:ident, $read:expr, $show:expr, $help:literal) => {
        setting!($name, also None, $field, $read, $show, $help)
    };
    ($name:literal, also $also:expr, $field:ident, $read:expr, $show:expr, $help:literal) => {
        Setting {
            name: $name,
            also: $also,
            help: $help,
            set: |policy, text| {
                policy.$field = optional(text, $read)?;
                Ok(())
            },
            get: |policy| policy.$field.map($show),
        }
    };
}

macro_rules! words_of {
    ($name:literal, $field:ident, $help:literal) => {
        Setting {
            name: $name,
            also: None,
            help: $help,
            set: |policy, text| {
                policy.$field = optional(text, list)?.unwrap_or_default();
                Ok(())
            },
            get: |policy| (!policy.$field.is_empty()).then(|| policy.$field.join(",")),
        }
    };
}

/// `off` for a tolerance that switches its rule off.
fn tolerance(text: &str) -> Result<Price, String> {
    if text == "off" { Ok(Price::from_micro(-1)) } else { price(text) }
}

fn show_tolerance(price: Price) -> String {
    if price.micro() < 0 { "off".to_owned() } else { price.to_string() }
}

/// `off` for a part that switches its rule off.
fn part_or_off(text: &str) -> Result<i64, String> {
    if text == "off" { Ok(0) } else { fraction(text) }
}

/// Every setting, in the order in which they are shown.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "sizing",
        also: None,
        help: "how a BUY is sized: min_bet, fixed, ratio, target_percentile_scaled, position_gap, mirror_fill_exact, auto",
        set: |policy, text| {
            if text == DEFAULT {
                return Err("one of the kinds: there is no default".to_owned());
            }
            policy.sizing = word(text)?;
            Ok(())
        },
        get: |policy| Some(policy.sizing.to_string()),
    },
    setting!("usdc_per_trade", usdc_per_trade, usdc, |v| v.to_string(), "fixed: dollars a trade"),
    setting!("ratio", ratio, fraction, show_fraction, "ratio: our dollars for one of the leader's"),
    setting!(
        "max_usdc_per_trade", also Some("mirror_max_usdc_per_trade"), max_usdc_per_trade, usdc, |v| v.to_string(),
        "the most one BUY may cost [5.00]"
    ),
    setting!(
        "max_usdc_per_token",
        max_usdc_per_token,
        usdc,
        |v| v.to_string(),
        "the most open cost and pending orders on a token [25.00]"
    ),
    setting!(
        "below_floor",
        below_floor,
        word,
        |v| v.to_string(),
        "a desire below the floor: skip, floor or accumulate [by sizing]"
    ),
    setting!(
        "mirror_filter_percentile",
        mirror_filter_percentile,
        count,
        |v| v.to_string(),
        "scaled: the percentile of the gate, 50 to 99 [75]"
    ),
    setting!(
        "range_max", also Some("gap_range_max"), gap_range_max, usdc, |v| v.to_string(),
        "position_gap: the leader's growth at which max_alloc is reached"
    ),
    setting!(
        "max_alloc", also Some("gap_max_alloc"), gap_max_alloc, usdc, |v| v.to_string(),
        "position_gap: the most on one condition"
    ),
    setting!("follow_ups", follow_ups, switch, show_switch, "layers and hedges [off]"),
    setting!("placement", placement, word, |v| v.to_string(), "mirror_limit or market_fak [mirror_limit]"),
    setting!(
        "order_ttl",
        order_ttl_s,
        seconds,
        |v| v.to_string(),
        "how long a limit order rests, at least 4m [10m]"
    ),
    setting!("max_fill_age", max_fill_age_s, seconds, |v| v.to_string(), "the oldest fill followed [120s]"),
    Setting {
        name: "max_slippage",
        also: None,
        help: "added to the leader's price, the greater of ticks and a part [1tick,2%]",
        set: |policy, text| {
            (policy.max_slippage_ticks, policy.max_slippage_fraction) =
                optional(text, slippage)?.unwrap_or_default();
            Ok(())
        },
        get: |policy| show_slippage(policy.max_slippage_ticks, policy.max_slippage_fraction),
    },
    setting!("max_open_orders", max_open_orders, count, |v| v.to_string(), "BUYs that rest on one token [3]"),
    setting!(
        "stale_replace_delta",
        stale_replace_delta,
        price,
        |v| v.to_string(),
        "how far a new limit lies from the oldest's to replace it [0.03]"
    ),
    setting!(
        "max_fee_fraction",
        max_fee_fraction,
        fraction,
        show_fraction,
        "the most the taker fee may be [0.05]"
    ),
    setting!(
        "min_target_side_fraction",
        min_target_side_fraction,
        part_or_off,
        show_fraction,
        "the least part of the leader's cost on this side, or off [0.20, off for some sizings]"
    ),
    setting!(
        "vwap_tolerance",
        vwap_tolerance,
        tolerance,
        show_tolerance,
        "how far above its own average the leader may buy, or off [0.005, off for some sizings]"
    ),
    setting!(
        "min_trade_usdc",
        min_trade_usdc,
        usdc,
        |v| v.to_string(),
        "filter: the leader's smallest trade"
    ),
    setting!("max_trade_usdc", max_trade_usdc, usdc, |v| v.to_string(), "filter: the leader's largest trade"),
    setting!("min_price", min_price, price, |v| v.to_string(), "filter: the lowest price"),
    setting!("max_price", max_price, price, |v| v.to_string(), "filter: the highest price"),
    setting!("max_spread", max_spread, price, |v| v.to_string(), "filter: the widest spread"),
    setting!(
        "min_time_to_end",
        min_time_to_end_s,
        seconds,
        |v| v.to_string(),
        "filter: the least time to the end"
    ),
    setting!(
        "max_time_to_end",
        max_time_to_end_s,
        seconds,
        |v| v.to_string(),
        "filter: the most time to the end"
    ),
    words_of!("only_markets", only_markets, "filter: only these conditions or slugs"),
    words_of!("not_markets", not_markets, "filter: none of these conditions or slugs"),
    words_of!("only_categories", only_categories, "filter: only these categories"),
    words_of!("not_categories", not_categories, "filter: none of these categories"),
    setting!("only_side", only_side, word, |v| v.to_string(), "filter: BUY or SELL alone"),
    setting!("sell_policy", sell_policy, word, |v| v.to_string(), "fraction or full_exit [fraction]"),
    setting!(
        "exit_slippage",
        exit_slippage_fraction,
        fraction,
        show_fraction,
        "how far below the sale price an exit begins [5%]"
    ),
    setting!("exit_floor", exit_floor_fraction, fraction, show_fraction, "how far an exit widens [0.70]"),
    setting!(
        "min_close_usdc",
        min_close_usdc,
        usdc,
        |v| v.to_string(),
        "due shares gather until worth this [1.00]"
    ),
    setting!(
        "allow_both_sides",
        allow_both_sides,
        switch,
        show_switch,
        "buy what another target's opposite is [off]"
    ),
    setting!(
        "sell_winners_at",
        sell_winners_at,
        price,
        |v| v.to_string(),
        "sell once the best bid reaches this [off]"
    ),
    setting!(
        "take_profit",
        take_profit_fraction,
        fraction,
        show_fraction,
        "sell at this gain on the cost [off]"
    ),
    setting!("stop_loss", stop_loss_fraction, fraction, show_fraction, "sell at this loss on the cost [off]"),
];
