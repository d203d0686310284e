//! Version 1: rules 2 to 15 with every sizing, follow-ups, and exits without the leader.

mod desire;
pub mod exit;
mod filters;
mod follow;
pub mod price;
pub mod sell;
mod size;

#[cfg(test)]
mod tests;

use schemas::{
    ConditionId, Placement, PositionBranch, Reason, Round, Shares, Side, TargetStatus, Tick, Timestamp, Usdc,
    events::{Inputs, Order, Policy},
    money::ONE,
};

use self::{
    follow::{FollowUp, Stands},
    size::{Bounds, Floor},
};
use super::{Planned, settings::Settings};

/// What a fill comes to for one follower, at the cut's clock.
pub fn plan(condition: ConditionId, i: &Inputs, now: Timestamp) -> Planned {
    match i.side {
        Side::Sell => sell::plan(i, &Settings::of(&i.policy)),
        Side::Buy => buy(condition, i, now).unwrap_or_else(Planned::from),
    }
}

/// What this version misses in a policy.
pub fn unsupported(policy: &Policy) -> Option<String> {
    desire::missing(policy)
}

/// What the first rule that said no had to say.
enum No {
    /// Its reason.
    Because(Reason),
    /// The size is below the floor, and these dollars join the next desire.
    Keep(Usdc),
    /// The decision could not be made.
    Failed(String),
}

impl No {
    fn out_of_range() -> Self {
        Self::Failed("a figure is out of range".into())
    }
}

impl From<No> for Planned {
    fn from(no: No) -> Self {
        match no {
            No::Because(reason) => Self::skipped(reason),
            No::Keep(desire) => Self { kept: Some(desire), ..Self::skipped(Reason::BelowMarketMin) },
            No::Failed(why) => Self::failed(why),
        }
    }
}

/// A market's facts that sizing and pricing need; all of them travel together.
struct Market {
    tick: Tick,
    min_shares: Shares,
    fee_rate: i64,
    fee_exponent: i32,
    accepting: bool,
}

impl Market {
    fn of(i: &Inputs) -> Option<Self> {
        Some(Self {
            tick: i.tick?,
            min_shares: i.min_shares?,
            fee_rate: i.fee_rate?,
            fee_exponent: i.fee_exponent?,
            accepting: i.accepting_orders?,
        })
    }
}

/// Rules 3 to 15.
fn buy(condition: ConditionId, i: &Inputs, now: Timestamp) -> Result<Planned, No> {
    let no = |reason| Err(No::Because(reason));
    let kind = desire::kind(i);
    let s = &Settings::sized(&i.policy, kind);

    // 3
    if matches!(i.status, TargetStatus::Closing | TargetStatus::Removed) {
        return no(Reason::TargetClosing);
    }
    if now.since(i.filled_at) > s.max_fill_age {
        return no(Reason::StaleFill);
    }
    // 4
    if !i.leader.known {
        return no(Reason::BeforeBaselineSnapshot);
    }
    // 5
    let Some(market) = Market::of(i) else {
        return no(Reason::MarketUnknown);
    };
    // 6
    if !market.accepting {
        let past = i.end_at.is_some_and(|end| end < now);
        return no(if past { Reason::MarketPastEndDate } else { Reason::MarketClosed });
    }
    // 7: never against the tick itself, a taker's price is an average.
    if i.price < market.tick.lowest() || i.price > market.tick.highest() {
        return no(Reason::PriceOutsideClobBounds);
    }
    // 8
    if let Some(reason) = filters::refusal(condition, i, now) {
        return no(reason);
    }
    // 9: not for a hedge, which is on the other side by its nature.
    let stands = follow::stands(i, s);
    let (token, opposite) =
        (i128::from(i.leader.token_cost.micro()), i128::from(i.leader.opposite_cost.micro()));
    if stands != Stands::Against
        && token * i128::from(ONE) < i128::from(s.min_target_side_fraction) * (token + opposite)
    {
        return no(Reason::TargetDominantOtherSide);
    }
    // 10
    if let (Some(tolerance), Some(average)) = (s.vwap_tolerance, i.leader.average)
        && i.price > average.saturating_add(tolerance)
    {
        return no(Reason::VwapFloorBreach);
    }
    // 11, 12
    if let Some(why) = unsupported(&i.policy) {
        return Err(No::Failed(why));
    }
    let limit = price::limit(i.price, market.tick, s);
    let replaces = replaced(i, s, limit);
    let freed = replaces.and(i.own.oldest_unfilled).unwrap_or_default();
    let taken = i.own.exposure.minus_or_zero(freed);
    let floor = Floor::of(s, limit, market.min_shares)?;
    let FollowUp { branch, desire, most } = match follow::up(i, s, stands, floor.cost)? {
        Some(follow_up) => follow_up,
        None => FollowUp {
            branch: PositionBranch::NewEntry,
            desire: desire::of(i, kind, s, floor.cost)?,
            most: s.max_usdc_per_trade,
        },
    };
    let size = size::of_buy(i, s, &Bounds { limit, floor, most, taken }, desire)?;
    // 13
    if i.own.resting >= s.max_open_orders && replaces.is_none() {
        return no(Reason::AlreadyResting);
    }
    // 14. A book that was not recorded says nothing about its depth; the limit protects all the same.
    if price::fee_above(limit, market.fee_rate, market.fee_exponent, s.max_fee_fraction)
        .ok_or_else(No::out_of_range)?
    {
        return no(Reason::FeeTooHigh);
    }
    if s.placement == Placement::MarketFak && i.depth_in_limit.is_some_and(|depth| !depth.is_positive()) {
        return no(Reason::SlippageExceeded);
    }
    // 15
    Ok(Planned::placed(
        branch,
        Order {
            limit: Some(limit),
            shares: Some(size.shares),
            amount: size.amount,
            fraction_num: None,
            fraction_den: None,
            flat: None,
            placement: Some(s.placement),
            replaces,
            cancels: Vec::new(),
            becomes: None,
        },
    ))
}

/// Rule 13: the oldest resting order, where the token has no place left and this limit lies far enough from its.
fn replaced(i: &Inputs, s: &Settings, limit: schemas::Price) -> Option<schemas::IdempotencyKey> {
    let oldest = i.own.oldest_limit.filter(|_| i.own.resting >= s.max_open_orders)?;
    let apart = oldest.micro().abs_diff(limit.micro());
    let far = apart >= u64::try_from(s.stale_replace_delta.micro()).unwrap_or(0);
    i.own.oldest.filter(|_| far)
}

/// To whole multiples of a hundredth, as the venue counts sizes and market amounts (`venue.md` 5.3).
const HUNDREDTH: i64 = 10_000;

/// Rounded down to a hundredth; nothing below zero.
fn down(micro: i64) -> i64 {
    micro.max(0) / HUNDREDTH * HUNDREDTH
}

/// Rounded up to a hundredth; `None` past the range.
fn up(micro: i64) -> Option<i64> {
    schemas::money::mul_div(micro.max(0), 1, HUNDREDTH, Round::Up)?.checked_mul(HUNDREDTH)
}
