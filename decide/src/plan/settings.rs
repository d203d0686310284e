//! What a policy comes to once every absent setting has its default (`behaviour.md` 2 to 4).
//!
//! | setting | default | effect |
//! |---|---|---|
//! | `max_usdc_per_trade` | $5.00 | clamps the dollars of one BUY; a floor that costs more is not bought |
//! | `max_usdc_per_token` | $25.00 | open cost and pending BUYs of a token stay below it |
//! | `usdc_per_trade` | none: `fixed` needs it | the desired dollars of `fixed` |
//! | `ratio` | none: `ratio` needs it | our dollars for one of the leader's |
//! | `gap_range_max`, `gap_max_alloc` | none: `position_gap` needs both | the leader's growth at which the most is spent; the most |
//! | `mirror_filter_percentile` | 75, held between 50 and 99 | the percentile of the gate of scaled sizing, and of layers |
//! | `below_floor` | `floor` for `min_bet`; `accumulate` for `ratio`; else `skip`; `auto` as what it stands for | what a desire below the floor comes to |
//! | `placement` | `mirror_limit` | rests as GTD, or `market_fak`: takes what is there |
//! | `order_ttl_s` | 600, at least 240 | how long a limit order rests |
//! | `max_fill_age_s` | 120 | an older BUY of the leader is not followed |
//! | `max_slippage_ticks`, `max_slippage_fraction` | 1 tick and 2 %; one that is set alone leaves the other out | the greater is added to the leader's price, in whole ticks, at least one |
//! | `max_open_orders` | 3 | BUYs that may rest on one token |
//! | `stale_replace_delta` | $0.03 | a limit this far from the oldest resting one's replaces it |
//! | `max_fee_fraction` | 5 % | a taker fee above this part of the notional is too much |
//! | `min_target_side_fraction` | 20 % for `min_bet`, scaled and `auto`; else off (0) | rule 9 |
//! | `vwap_tolerance` | $0.005 for `min_bet`, scaled and `auto`; else off (below 0) | rule 10 |
//! | `follow_ups` | off | `min_bet`, scaled and `auto`: BUYs on a token we hold, or against it, are layers and hedges; off, and for other sizings, every BUY is a new entry |
//! | `sell_policy` | `fraction` | the leader's fraction is sold, or everything |
//! | `take_profit_fraction` | off | sells everything once the best bid is worth this part more than what is held cost |
//! | `stop_loss_fraction` | off | the same, once it is worth this part less |
//! | `sell_winners_at` | off | the same, once the best bid reaches this price |
//! | `exit_slippage_fraction`, `exit_floor_fraction`, `min_close_usdc` | the gate's | travel with a close |
//! | `allow_both_sides` | off | asked at the gate |
//! | filters | off | rule 8; what is not known says no to a filter that needs it |

use std::time::Duration;

use schemas::{BelowFloor, Placement, Price, SellPolicy, Sizing, Usdc, events::Policy};

/// A policy's settings in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most a single BUY may cost.
    pub max_usdc_per_trade: Usdc,
    /// The most that open cost and pending orders on one token may come to.
    pub max_usdc_per_token: Usdc,
    /// What a desire below the floor comes to.
    pub below_floor: BelowFloor,
    /// How a BUY is placed.
    pub placement: Placement,
    /// How long a limit order rests, in seconds.
    pub order_ttl_s: i32,
    /// The oldest fill that is followed.
    pub max_fill_age: Duration,
    /// The part of the slippage in ticks.
    pub slippage_ticks: i64,
    /// The part of the slippage in 10^-6 of the price.
    pub slippage_fraction: i64,
    /// How many BUYs may rest on one token.
    pub max_open_orders: i32,
    /// How far a limit must lie from the oldest resting one's to replace it.
    pub stale_replace_delta: Price,
    /// The most the taker fee may come to, in 10^-6 of the notional.
    pub max_fee_fraction: i64,
    /// Rule 9, in 10^-6; zero: off.
    pub min_target_side_fraction: i64,
    /// Rule 10; absent: off.
    pub vwap_tolerance: Option<Price>,
    /// Whether BUYs on what we hold, or against it, are follow-ups.
    pub follow_ups: bool,
    /// The percentile of the gate, where the sizing asks for percentiles.
    pub percentile: Option<u32>,
    /// Whether a SELL is followed by its fraction or by everything.
    pub sell_policy: SellPolicy,
    /// Asked at the gate.
    pub allow_both_sides: bool,
}

/// The least time a limit order rests: the venue takes no expiration closer than three minutes, and lets an
/// order lapse one before it (`venue.md` 5.3).
const LEAST_TTL_S: i32 = 240;

impl Settings {
    /// The settings of a policy.
    pub fn of(policy: &Policy) -> Self {
        Self::sized(policy, policy.sizing)
    }

    /// The settings of a policy whose BUYs are sized like this: what `auto` stands for.
    pub fn sized(policy: &Policy, sizing: Sizing) -> Self {
        let judged = matches!(sizing, Sizing::MinBet | Sizing::TargetPercentileScaled | Sizing::Auto);
        let follow_ups = judged && policy.follow_ups == Some(true);
        let measured = follow_ups || matches!(sizing, Sizing::TargetPercentileScaled | Sizing::Auto);
        let percent = policy.mirror_filter_percentile.unwrap_or(75).clamp(50, 99).unsigned_abs();
        let (ticks, fraction) = match (policy.max_slippage_ticks, policy.max_slippage_fraction) {
            (None, None) => (1, 20_000),
            (ticks, fraction) => (i64::from(ticks.unwrap_or(0)), fraction.unwrap_or(0)),
        };
        let vwap = policy.vwap_tolerance.or(judged.then_some(Price::from_micro(5_000)));
        Self {
            max_usdc_per_trade: policy.max_usdc_per_trade.unwrap_or(Usdc::from_units(5)),
            max_usdc_per_token: policy.max_usdc_per_token.unwrap_or(Usdc::from_units(25)),
            below_floor: policy.below_floor.unwrap_or(match sizing {
                Sizing::MinBet => BelowFloor::Floor,
                Sizing::Ratio => BelowFloor::Accumulate,
                _ => BelowFloor::Skip,
            }),
            placement: policy.placement.unwrap_or(Placement::MirrorLimit),
            order_ttl_s: policy.order_ttl_s.unwrap_or(600).max(LEAST_TTL_S),
            max_fill_age: Duration::from_secs(
                policy.max_fill_age_s.map_or(120, |s| u64::try_from(s).unwrap_or(0)),
            ),
            slippage_ticks: ticks,
            slippage_fraction: fraction,
            max_open_orders: policy.max_open_orders.unwrap_or(3),
            stale_replace_delta: policy.stale_replace_delta.unwrap_or(Price::from_micro(30_000)),
            max_fee_fraction: policy.max_fee_fraction.unwrap_or(50_000),
            min_target_side_fraction: policy.min_target_side_fraction.unwrap_or(if judged {
                200_000
            } else {
                0
            }),
            vwap_tolerance: vwap.filter(|t| t.micro() >= 0),
            follow_ups,
            percentile: measured.then_some(percent),
            sell_policy: policy.sell_policy.unwrap_or(SellPolicy::Fraction),
            allow_both_sides: policy.allow_both_sides.unwrap_or(false),
        }
    }
}

/// A policy in which everything but the sizing has its default.
pub fn defaults(sizing: Sizing) -> Policy {
    Policy {
        sizing,
        usdc_per_trade: None,
        ratio: None,
        max_usdc_per_trade: None,
        max_usdc_per_token: None,
        below_floor: None,
        mirror_filter_percentile: None,
        gap_range_max: None,
        gap_max_alloc: None,
        follow_ups: None,
        placement: None,
        order_ttl_s: None,
        max_fill_age_s: None,
        max_slippage_ticks: None,
        max_slippage_fraction: None,
        max_open_orders: None,
        stale_replace_delta: None,
        max_fee_fraction: None,
        min_target_side_fraction: None,
        vwap_tolerance: None,
        min_trade_usdc: None,
        max_trade_usdc: None,
        min_price: None,
        max_price: None,
        max_spread: None,
        min_time_to_end_s: None,
        max_time_to_end_s: None,
        only_markets: Vec::new(),
        not_markets: Vec::new(),
        only_categories: Vec::new(),
        not_categories: Vec::new(),
        only_side: None,
        sell_policy: None,
        exit_slippage_fraction: None,
        exit_floor_fraction: None,
        min_close_usdc: None,
        allow_both_sides: None,
        sell_winners_at: None,
        take_profit_fraction: None,
        stop_loss_fraction: None,
        set_at: schemas::Timestamp::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_contract() {
        let s = Settings::of(&defaults(Sizing::MinBet));
        assert_eq!(s.max_usdc_per_trade.to_string(), "5");
        assert_eq!(s.max_usdc_per_token.to_string(), "25");
        assert_eq!(s.below_floor, BelowFloor::Floor);
        assert_eq!(s.order_ttl_s, 600);
        assert_eq!(s.max_fill_age, Duration::from_secs(120));
        assert_eq!((s.slippage_ticks, s.slippage_fraction), (1, 20_000));
        assert_eq!(s.min_target_side_fraction, 200_000);
        assert_eq!(s.vwap_tolerance, Some(Price::from_micro(5_000)));
        let s = Settings::of(&defaults(Sizing::Fixed));
        assert_eq!((s.below_floor, s.min_target_side_fraction), (BelowFloor::Skip, 0));
        assert_eq!(s.vwap_tolerance, None);
        assert_eq!(Settings::of(&defaults(Sizing::Ratio)).below_floor, BelowFloor::Accumulate);
    }

    #[test]
    fn auto_has_the_settings_of_what_it_stands_for() {
        let auto = defaults(Sizing::Auto);
        for kind in [Sizing::MinBet, Sizing::TargetPercentileScaled] {
            assert_eq!(Settings::sized(&auto, kind), Settings::of(&defaults(kind)), "{kind}");
        }
        let s = Settings::of(&auto);
        assert_eq!((s.min_target_side_fraction, s.vwap_tolerance), (200_000, Some(Price::from_micro(5_000))));
    }

    #[test]
    fn percentiles_are_asked_for_by_the_sizings_that_read_them() {
        let with = |sizing, percent, follow_ups| {
            let policy = Policy { mirror_filter_percentile: percent, follow_ups, ..defaults(sizing) };
            let s = Settings::of(&policy);
            (s.percentile, s.follow_ups)
        };
        assert_eq!(with(Sizing::Auto, None, None), (Some(75), false));
        assert_eq!(with(Sizing::TargetPercentileScaled, Some(60), Some(false)), (Some(60), false));
        assert_eq!(with(Sizing::TargetPercentileScaled, Some(49), Some(true)), (Some(50), true));
        assert_eq!(with(Sizing::TargetPercentileScaled, Some(100), None), (Some(99), false));
        assert_eq!(with(Sizing::MinBet, Some(60), None), (None, false));
        assert_eq!(with(Sizing::MinBet, Some(60), Some(true)), (Some(60), true));
        assert_eq!(with(Sizing::Fixed, Some(60), Some(true)), (None, false), "not for these");
    }

    #[test]
    fn a_setting_that_is_given_counts() {
        let mut policy = defaults(Sizing::MinBet);
        policy.order_ttl_s = Some(10);
        policy.vwap_tolerance = Some(Price::from_micro(-1));
        policy.min_target_side_fraction = Some(0);
        policy.max_slippage_ticks = Some(4);
        let s = Settings::of(&policy);
        assert_eq!(s.order_ttl_s, 240, "an order that rests shorter is not taken by the venue");
        assert_eq!((s.vwap_tolerance, s.min_target_side_fraction), (None, 0));
        assert_eq!((s.slippage_ticks, s.slippage_fraction), (4, 0));
    }
}
