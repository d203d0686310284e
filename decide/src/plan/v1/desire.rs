//! Rule 11: what each sizing asks for, before floor and caps (`behaviour.md` 3).

use schemas::{
    Reason, Round, Shares, Sizing, Usdc,
    events::{Inputs, Policy},
    money::ONE,
};

use super::No;
use crate::plan::settings::Settings;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Desire {
    /// As little as the market takes.
    Floor,
    /// So many dollars.
    Dollars(Usdc),
    /// So many shares.
    Shares(Shares),
}

/// The tokens that a wallet's sample must hold for `auto` to judge by it.
const ENOUGH: i32 = 50;

/// The sizing in force: what `auto` stands for.
pub(super) fn kind(i: &Inputs) -> Sizing {
    match i.policy.sizing {
        Sizing::Auto if i.leader.sample.is_some_and(|tokens| tokens >= ENOUGH) => {
            Sizing::TargetPercentileScaled
        }
        Sizing::Auto => Sizing::MinBet,
        kind => kind,
    }
}

/// A setting without which the sizing is none.
pub(super) fn missing(policy: &Policy) -> Option<String> {
    let above_zero = |usdc: Option<Usdc>| usdc.is_some_and(Usdc::is_positive);
    let name = match policy.sizing {
        Sizing::Fixed if !above_zero(policy.usdc_per_trade) => "usdc_per_trade",
        Sizing::Ratio if policy.ratio.is_none_or(|r| r <= 0) => "ratio",
        Sizing::PositionGap if !above_zero(policy.gap_range_max) => "gap_range_max",
        Sizing::PositionGap if !above_zero(policy.gap_max_alloc) => "gap_max_alloc",
        _ => return None,
    };
    Some(format!("sizing `{}` needs `{name}` above zero; set it in the policy", policy.sizing))
}

/// The desire of a new entry, where the floor costs so much.
pub(super) fn of(i: &Inputs, kind: Sizing, s: &Settings, floor: Usdc) -> Result<Desire, No> {
    Ok(match kind {
        // `auto` stands for another kind: see `kind`.
        Sizing::MinBet | Sizing::Auto => Desire::Floor,
        Sizing::Fixed => Desire::Dollars(i.policy.usdc_per_trade.unwrap_or_default()),
        Sizing::Ratio => {
            let ratio = i.policy.ratio.unwrap_or(0);
            Desire::Dollars(i.notional.scale(ratio, ONE, Round::Down).ok_or_else(No::out_of_range)?)
        }
        Sizing::MirrorFillExact => Desire::Shares(i.shares),
        Sizing::TargetPercentileScaled => Desire::Dollars(scaled(i, floor, s.max_usdc_per_trade)?),
        Sizing::PositionGap => Desire::Dollars(gap(i)?),
    })
}

/// Whether the leader spent less on the token than the percentile of the gate. Both are figures of the sample: a
/// percentile can only be held against what it was made of. Without a sample nothing is above it.
pub(super) fn is_below_percentile(i: &Inputs) -> bool {
    !matches!((i.leader.spent, i.leader.percentile), (Some(spent), Some(gate)) if spent >= gate)
}

/// (floor + (most - floor) x clamp((spent - pXX) / (p99 - pXX), 0, 1)) x side fraction, each step rounded down.
fn scaled(i: &Inputs, floor: Usdc, most: Usdc) -> Result<Usdc, No> {
    if is_below_percentile(i) {
        return Err(No::Because(Reason::BelowTargetPercentile));
    }
    let gate = i.leader.percentile.unwrap_or_default();
    let above = i.leader.spent.unwrap_or_default().minus_or_zero(gate);
    let range = i.leader.percentile_99.unwrap_or(gate).minus_or_zero(gate);
    let span = most.minus_or_zero(floor);
    // Where p99 is the gate itself the quotient is one: the first arm takes that too.
    let grown = if above >= range {
        span
    } else {
        span.scale(above.micro(), range.micro(), Round::Down).ok_or_else(No::out_of_range)?
    };
    // This side's part of the leader's cost. Where it holds nothing of either any more, nothing is asked for.
    let (token, both) = (i.leader.token_cost, i.leader.token_cost.saturating_add(i.leader.opposite_cost));
    if !both.is_positive() {
        return Ok(Usdc::ZERO);
    }
    let full = floor.saturating_add(grown);
    full.scale(token.micro(), both.micro(), Round::Down).ok_or_else(No::out_of_range)
}

/// `max_alloc` x min(growth / `range_max`, 1), rounded down, minus what we have on both tokens.
fn gap(i: &Inputs) -> Result<Usdc, No> {
    let range = i.policy.gap_range_max.unwrap_or_default();
    let most = i.policy.gap_max_alloc.unwrap_or_default();
    let cost = i.leader.token_cost.saturating_add(i.leader.opposite_cost);
    // A leader whose start is not known has not grown.
    let grown = cost.minus_or_zero(i.leader.baseline.unwrap_or(cost)).min(range);
    let wanted = most.scale(grown.micro(), range.micro(), Round::Down).ok_or_else(No::out_of_range)?;
    let ours = i.own.exposure.saturating_add(i.own.opposite_exposure);
    let missing = wanted.minus_or_zero(ours);
    if missing.is_positive() { Ok(missing) } else { Err(No::Because(Reason::FollowupNotNeeded)) }
}
