//! What must hold for every BUY.

use proptest::prelude::*;
use schemas::{
    BelowFloor, IdempotencyKey, Outcome, Placement, PositionBranch, Price, Reason, Round, Shares, Side,
    Sizing, Tick, Usdc, events::Inputs,
};

use super::{buy, decide};
use crate::{
    fixtures::px,
    plan::{settings::defaults, v1::exit},
};

prop_compose! {
    fn any_buy()(
        sizing in proptest::sample::select(Sizing::ALL),
        follow_ups in any::<bool>(),
        held in (0i64..2, 0i64..2),
        opposite_exposure in 0i64..60_000_000,
        costs in (0i64..200_000_000, 0i64..200_000_000),
        percentiles in (0i64..100_000_000, 0i64..100_000_000, 0i64..100_000_000),
        sample in 40i32..60,
        gap in (1i64..100_000_000, 1i64..100_000_000, 0i64..100_000_000),
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
        i.policy.follow_ups = Some(follow_ups);
        (i.policy.gap_range_max, i.policy.gap_max_alloc) =
            (Some(Usdc::from_micro(gap.0)), Some(Usdc::from_micro(gap.1)));
        i.leader.baseline = Some(Usdc::from_micro(gap.2));
        (i.own.held, i.own.opposite_held) =
            (Shares::from_units(held.0 * 30), Shares::from_units(held.1 * 30));
        i.own.opposite_exposure = Usdc::from_micro(opposite_exposure);
        (i.leader.token_cost, i.leader.opposite_cost) =
            (Usdc::from_micro(costs.0), Usdc::from_micro(costs.1));
        let [spent, gate, top] = [percentiles.0, percentiles.1, percentiles.2].map(Usdc::from_micro);
        (i.leader.spent, i.leader.percentile) = (Some(spent), Some(gate));
        (i.leader.percentile_99, i.leader.sample) = (Some(gate.max(top)), Some(sample));
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
        // A follow-up is one of what we hold, and follows what the leader has there.
        let is_follow_up = matches!(planned.branch, PositionBranch::Layer | PositionBranch::Hedge);
        prop_assert_eq!(planned.branch == PositionBranch::NewEntry, !is_follow_up);
        prop_assert_eq!(planned.reason == Reason::LayerScaleIn, planned.branch == PositionBranch::Layer);
        prop_assert_eq!(planned.reason == Reason::HedgeFollowup, planned.branch == PositionBranch::Hedge);
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
        match planned.branch {
            PositionBranch::Layer => {
                prop_assert!(i.policy.follow_ups == Some(true) && i.own.held.is_positive());
                prop_assert!(cost.micro() <= i.own.exposure.micro() / 2, "half of the exposure");
            }
            PositionBranch::Hedge => {
                prop_assert!(!i.own.held.is_positive() && i.own.opposite_held.is_positive());
                prop_assert!(cost.micro() <= i.own.opposite_exposure.micro() / 4, "a quarter of it");
                prop_assert!(i.leader.token_cost >= Usdc::from_units(5));
            }
            _ => {}
        }
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
        i.leader.opposite_cost = Usdc::from_micro(e);
        i.leader.baseline = Some(Usdc::from_micro(a));
        i.leader.spent = Some(Usdc::from_micro(b));
        i.leader.percentile = Some(Usdc::from_micro(c));
        i.leader.percentile_99 = Some(Usdc::from_micro(d));
        i.own.opposite_exposure = Usdc::from_micro(h);
        i.own.held_cost = Some(Usdc::from_micro(f));
        i.policy.gap_max_alloc = Some(Usdc::from_micro(e));
        i.policy.take_profit_fraction = Some(g);
        i.policy.stop_loss_fraction = Some(h);
        decide(&i);
        exit::due(&i.policy, &i.own, i.price);
        i.price = px("0.5");
        decide(&i);
        i.side = Side::Sell;
        decide(&i);
    }
}
