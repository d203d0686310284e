//! One example with figures for each reason and each sizing, and what must hold for all.

mod exits;
mod follow_ups;
mod properties;
mod rules;
mod sells;
mod sizing;

use schemas::{
    Price, Reason, Shares, Side, Sizing, TargetStatus, Tick, Usdc,
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
        held_cost: None,
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
            spent: None,
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
