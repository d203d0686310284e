//! A tenant's policy towards one target: full state, no hidden defaults at decision time.

use crate::{BelowFloor, Placement, Price, SellPolicy, Side, Sizing, Timestamp, Usdc, record};

record! {
    /// How one target is mirrored (`behaviour.md` 2-4). An absent setting stands for the default of the rule
    /// that uses it, in the plan version that decides.
    Policy {
        /// How a BUY is sized.
        sizing: Sizing,
        /// `fixed`: dollars a trade.
        usdc_per_trade: Option<Usdc>,
        /// `ratio`: our dollars for one of the leader's, in 10^-6.
        ratio: Option<i64>,
        /// The most a single BUY may cost.
        max_usdc_per_trade: Option<Usdc>,
        /// The most that open cost and pending orders on one token may come to.
        max_usdc_per_token: Option<Usdc>,
        /// What happens to a desire below the floor.
        below_floor: Option<BelowFloor>,
        /// Scaled sizing: the percentile of the gate, 50 to 99.
        mirror_filter_percentile: Option<i32>,
        /// Gap sizing: the leader's growth at which `gap_max_alloc` is reached.
        gap_range_max: Option<Usdc>,
        /// Gap sizing: the most that goes into one condition.
        gap_max_alloc: Option<Usdc>,
        /// Whether BUYs on a token we hold, or against it, are follow-ups.
        follow_ups: Option<bool>,
        /// How a BUY is placed.
        placement: Option<Placement>,
        /// How long a limit order rests, in seconds; at least 240.
        order_ttl_s: Option<i32>,
        /// The oldest fill that is still followed, in seconds.
        max_fill_age_s: Option<i32>,
        /// Added to the leader's price: whole ticks.
        max_slippage_ticks: Option<i32>,
        /// Added to the leader's price: a part of it, in 10^-6; the greater of the two counts.
        max_slippage_fraction: Option<i64>,
        /// How many BUYs may rest on one token.
        max_open_orders: Option<i32>,
        /// How far a new limit must lie from the oldest resting one's to replace it.
        stale_replace_delta: Option<Price>,
        /// The most that the taker fee may come to, as a part of the notional, in 10^-6.
        max_fee_fraction: Option<i64>,
        /// Rule 9: the least part of the leader's cost on the condition that must lie on this token, in 10^-6; zero
        /// switches the rule off.
        min_target_side_fraction: Option<i64>,
        /// Rule 10: how far above its own average the leader may buy; below zero switches the rule off.
        vwap_tolerance: Option<Price>,
        /// Filter: the smallest trade of the leader that is followed, in dollars.
        min_trade_usdc: Option<Usdc>,
        /// Filter: the largest.
        max_trade_usdc: Option<Usdc>,
        /// Filter: the lowest price followed.
        min_price: Option<Price>,
        /// Filter: the highest.
        max_price: Option<Price>,
        /// Filter: the widest spread of the recorded book.
        max_spread: Option<Price>,
        /// Filter: the least time to the market's end, in seconds.
        min_time_to_end_s: Option<i32>,
        /// Filter: the most.
        max_time_to_end_s: Option<i32>,
        /// Filter: only these conditions, slugs or categories; empty means all.
        only_markets: Vec<String>,
        /// Filter: none of these.
        not_markets: Vec<String>,
        /// Filter: only these categories; empty means all.
        only_categories: Vec<String>,
        /// Filter: none of these categories.
        not_categories: Vec<String>,
        /// Filter: the one side copied; both where absent.
        only_side: Option<Side>,
        /// Whether a SELL is followed by its fraction or by everything.
        sell_policy: Option<SellPolicy>,
        /// How far below the leader's sale price the first exit goes, as a part of it, in 10^-6.
        exit_slippage_fraction: Option<i64>,
        /// How far an exit widens at most, as a part of the sale price, in 10^-6.
        exit_floor_fraction: Option<i64>,
        /// Due shares gather until they are worth this.
        min_close_usdc: Option<Usdc>,
        /// Whether a token may be bought while another target of the tenant holds its opposite.
        allow_both_sides: Option<bool>,
        /// Exit without the leader: sell once the best bid reaches this.
        sell_winners_at: Option<Price>,
        /// Exit without the leader: sell at this gain, as a part of the cost, in 10^-6.
        take_profit_fraction: Option<i64>,
        /// Exit without the leader: sell at this loss, as a part of the cost, in 10^-6.
        stop_loss_fraction: Option<i64>,
        /// When the tenant set this policy.
        set_at: Timestamp,
    }
}
