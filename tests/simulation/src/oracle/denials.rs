//! A BUY that was denied for a cap had no room, by the most that everything before it can have counted: an order that is
//! counted twice against its cap is denied here without need.

use std::time::Duration;

use execute::core::{Attempt, MAX_DAILY, MAX_HOURLY, MAX_PER_ORDER, gate::denial};
use schemas::{Denial, Round, Side, Usdc};
use venue::fees::{FeeTerms, worst_fee, worst_fee_of_market_buy};

use super::Broken;
use crate::{
    plan::{Caps, Plan, account, target, token},
    time::START,
};

/// Dollars of market orders are cents, and what fills is rounded.
const SLACK: Usdc = Usdc::from_micro(20_000);

/// What a gate reads is so much younger than its clock, at most: its transaction may be slow, its process frozen.
const GATES: Duration = Duration::from_secs(60);

/// How far the clocks of two processes that gated one after another may be apart.
const CLOCKS: Duration = Duration::from_secs(1);

/// The most that an order can have cost.
fn cost(plan: &Plan, row: &Attempt) -> Usdc {
    let terms =
        FeeTerms { rate: row.fee_rate, exponent: u32::try_from(row.fee_exponent).unwrap_or_default() };
    let plain = plain(row);
    let market = (0u8..)
        .zip(&plan.markets)
        .find(|(n, _)| [false, true].into_iter().any(|second| token(*n, second) == row.asset));
    let tick = market.map_or(schemas::Tick::CENT, |(_, m)| m.tick);
    let rests = worst_fee(terms, Side::Buy, row.limit_price, row.shares).unwrap_or_default();
    let takes = worst_fee_of_market_buy(terms, plain, tick).unwrap_or_default();
    plain.saturating_add(rests.max(takes))
}

/// The same without fees.
fn plain(row: &Attempt) -> Usdc {
    row.limit_price.cost(row.shares, Round::Up).unwrap_or_default().saturating_add(SLACK)
}

/// Judges the denials of a run.
pub fn judge(plan: &Plan, rows: &[Attempt]) -> Vec<Broken> {
    rows.iter().filter_map(|row| without_need(plan, rows, row)).collect()
}

fn without_need(plan: &Plan, rows: &[Attempt], row: &Attempt) -> Option<Broken> {
    let why = denial(row).filter(|_| row.side == Side::Buy)?;
    let tenants = u8::try_from(plan.tenants.len()).unwrap_or(u8::MAX);
    let tenant = (0..tenants).find(|n| account(*n) == row.billing_account_id)?;
    // Whatever may have been in force then: where it changed, the least of it.
    let from = row.created_at.minus(CLOCKS).since(START);
    let caps = plan.caps(tenant, from, row.created_at.plus(GATES).since(START));
    let least = |of: fn(&Caps) -> Usdc| caps.iter().map(of).min();
    // Whatever was placed before it, and never gave anything back.
    let before = || {
        rows.iter().filter(|r| {
            r.billing_account_id == row.billing_account_id
                && r.side == Side::Buy
                && r.key() != row.key()
                && r.order_id.is_some()
                && r.created_at <= row.created_at.plus(CLOCKS)
        })
    };
    let counted = |r: &Attempt| r.reserved.max(r.counted()).saturating_add(SLACK);
    let (used, cap) = match why {
        Denial::CapExceededPerOrder => (Usdc::ZERO, least(|c| c.per_order)?.min(MAX_PER_ORDER)),
        Denial::CapExceededDaily => (before().map(counted).sum(), least(|c| c.daily)?.min(MAX_DAILY)),
        Denial::CapExceededMarket => {
            let cap = caps.iter().filter_map(|c| c.per_market).min()?;
            (before().filter(|r| r.condition_id == row.condition_id).map(counted).sum(), cap)
        }
        Denial::CapExceededPosition => {
            let follow = plan
                .follows
                .iter()
                .find(|f| account(f.tenant) == row.billing_account_id && target(f.wallet) == row.target_id)?;
            let same = |r: &&Attempt| r.asset == row.asset && r.target_id == row.target_id;
            (before().filter(same).map(counted).sum(), follow.policy.max_usdc_per_token?)
        }
        Denial::CapExceededHourlyFills => {
            let orders = i64::try_from(before().count()).unwrap_or(i64::MAX);
            let cap = caps.iter().map(|c| c.hourly).min()?.min(MAX_HOURLY);
            return (orders < cap).then(|| broken(row, &format!("{why}: {orders} orders of {cap}")));
        }
        _ => return None,
    };
    let asked = cost(plan, row);
    let room = used.saturating_add(asked) <= cap;
    room.then(|| broken(row, &format!("{why}: {asked} on top of at most {used}, of {cap}")))
}

fn broken(row: &Attempt, what: &str) -> Broken {
    Broken { rule: "denied without need", what: format!("{}: {what}", super::short(row.idempotency_key)) }
}
