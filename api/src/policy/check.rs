//! What a policy may say: the one place that knows (`behaviour.md` 2 to 4).

use schemas::{Price, Sizing, Usdc, events::Policy, money::ONE};

use super::PolicyError;

/// The least time a limit order rests: the venue wants an expiration three minutes away and more
/// (`behaviour.md` 2).
const LEAST_ORDER_TTL_S: i32 = 240;
/// The most: thirty days.
const MOST_ORDER_TTL_S: i32 = 30 * 86_400;
/// The oldest fill that anybody may want to follow.
const MOST_FILL_AGE_S: i32 = 86_400;

/// Whether a policy is one that can be decided by.
///
/// # Errors
/// The first setting that is out of its range, or what does not fit together.
pub fn check(policy: &Policy) -> Result<(), PolicyError> {
    let Policy {
        sizing,
        usdc_per_trade,
        ratio,
        max_usdc_per_trade,
        max_usdc_per_token,
        below_floor: _,
        mirror_filter_percentile,
        gap_range_max,
        gap_max_alloc,
        follow_ups: _,
        placement: _,
        order_ttl_s,
        max_fill_age_s,
        max_slippage_ticks,
        max_slippage_fraction,
        max_open_orders,
        stale_replace_delta,
        max_fee_fraction,
        min_target_side_fraction,
        vwap_tolerance,
        min_trade_usdc,
        max_trade_usdc,
        min_price,
        max_price,
        max_spread,
        min_time_to_end_s,
        max_time_to_end_s,
        only_markets: _,
        not_markets: _,
        only_categories: _,
        not_categories: _,
        only_side: _,
        sell_policy: _,
        exit_slippage_fraction,
        exit_floor_fraction,
        min_close_usdc,
        allow_both_sides: _,
        sell_winners_at,
        take_profit_fraction,
        stop_loss_fraction,
        set_at: _,
    } = policy;
    for (name, value) in [
        ("usdc_per_trade", usdc_per_trade),
        ("max_usdc_per_trade", max_usdc_per_trade),
        ("max_usdc_per_token", max_usdc_per_token),
        ("range_max", gap_range_max),
        ("max_alloc", gap_max_alloc),
        ("min_close_usdc", min_close_usdc),
    ] {
        within(name, value.map(Usdc::micro), 1, MOST_USDC, "more than 0 and at most 1000000", micro)?;
    }
    for (name, value) in [("min_trade_usdc", min_trade_usdc), ("max_trade_usdc", max_trade_usdc)] {
        within(name, value.map(Usdc::micro), 0, i64::MAX, "0 or more", micro)?;
    }
    for (name, value) in [("min_price", min_price), ("max_price", max_price), ("max_spread", max_spread)] {
        within(name, value.map(Price::micro), 0, ONE, "between 0 and 1", micro)?;
    }
    for (name, value) in [("stale_replace_delta", stale_replace_delta), ("sell_winners_at", sell_winners_at)]
    {
        within(name, value.map(Price::micro), 1, ONE - 1, "more than 0 and less than 1", micro)?;
    }
    within("vwap_tolerance", vwap_tolerance.map(Price::micro), -1, ONE, "between 0 and 1, or off", micro)?;
    within("ratio", *ratio, 1, 100 * ONE, "more than 0 and at most 100", micro)?;
    for (name, value) in [
        ("max_slippage", max_slippage_fraction),
        ("max_fee_fraction", max_fee_fraction),
        ("min_target_side_fraction", min_target_side_fraction),
        ("exit_slippage", exit_slippage_fraction),
        ("exit_floor", exit_floor_fraction),
    ] {
        within(name, *value, 0, ONE, "between 0 and 1", micro)?;
    }
    within("take_profit", *take_profit_fraction, 1, 1_000 * ONE, "more than 0 and at most 1000", micro)?;
    within("stop_loss", *stop_loss_fraction, 1, ONE, "more than 0 and at most 1", micro)?;
    within("mirror_filter_percentile", *mirror_filter_percentile, 50, 99, "between 50 and 99", whole)?;
    within("order_ttl", *order_ttl_s, LEAST_ORDER_TTL_S, MOST_ORDER_TTL_S, "between 240s and 30d", whole)?;
    within("max_fill_age", *max_fill_age_s, 1, MOST_FILL_AGE_S, "between 1s and 1d", whole)?;
    within("max_slippage", *max_slippage_ticks, 1, 10_000, "between 1 and 10000 ticks", whole)?;
    within("max_open_orders", *max_open_orders, 1, 100, "between 1 and 100", whole)?;
    for (name, value) in [("min_time_to_end", min_time_to_end_s), ("max_time_to_end", max_time_to_end_s)] {
        within(name, *value, 0, i32::MAX, "0 or more", whole)?;
    }
    if above(*min_trade_usdc, *max_trade_usdc) {
        return Err(PolicyError::Incomplete("min_trade_usdc is above max_trade_usdc: no trade would pass"));
    }
    if above(*min_price, *max_price) {
        return Err(PolicyError::Incomplete("min_price is above max_price: no price would pass"));
    }
    if above(*min_time_to_end_s, *max_time_to_end_s) {
        return Err(PolicyError::Incomplete(
            "min_time_to_end is above max_time_to_end: no market would pass",
        ));
    }
    match sizing {
        Sizing::Fixed if usdc_per_trade.is_none() => {
            Err(PolicyError::Incomplete("sizing=fixed needs usdc_per_trade"))
        }
        Sizing::Ratio if ratio.is_none() => Err(PolicyError::Incomplete("sizing=ratio needs ratio")),
        Sizing::PositionGap if gap_range_max.is_none() || gap_max_alloc.is_none() => {
            Err(PolicyError::Incomplete("sizing=position_gap needs range_max and max_alloc"))
        }
        _ => Ok(()),
    }
}

/// A million dollars: far above every cap that the gate enforces.
const MOST_USDC: i64 = 1_000_000 * ONE;

fn within<T: PartialOrd + Copy>(
    name: &'static str,
    value: Option<T>,
    least: T,
    most: T,
    range: &'static str,
    show: fn(T) -> String,
) -> Result<(), PolicyError> {
    match value {
        Some(value) if value < least || value > most => {
            Err(PolicyError::OutOfRange { name, value: show(value), range })
        }
        _ => Ok(()),
    }
}

fn above<T: PartialOrd>(least: Option<T>, most: Option<T>) -> bool {
    matches!((least, most), (Some(least), Some(most)) if least > most)
}

fn micro(value: i64) -> String {
    Usdc::from_micro(value).to_string()
}

fn whole(value: i32) -> String {
    value.to_string()
}
