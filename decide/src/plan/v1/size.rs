//! Rules 11 and 12: how much (`behaviour.md` 3). Dollars become shares at the limit, and caps are tested there.

use schemas::{
    BelowFloor, Placement, Price, Reason, Round, Shares, Sizing, Usdc,
    events::{Inputs, Policy},
    money::{ONE, mul_div},
};

use super::{down, up};
use crate::plan::{Planned, settings::Settings};

/// The size of a BUY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// What is bought; of a market order what its dollars come to at the limit.
    pub shares: Shares,
    /// A market order's dollars, in whole cents.
    pub amount: Option<Usdc>,
}

/// The least a market BUY may be worth, and the least that a limit order must be worth to be taken at once.
const LEAST: Usdc = Usdc::from_units(1);

/// A setting without which the sizing is none.
pub(super) fn missing(policy: &Policy) -> Option<String> {
    let name = match policy.sizing {
        Sizing::Fixed if !policy.usdc_per_trade.is_some_and(Usdc::is_positive) => "usdc_per_trade",
        Sizing::Ratio if !policy.ratio.is_some_and(|r| r > 0) => "ratio",
        _ => return None,
    };
    Some(format!("sizing `{}` needs `{name}` above zero; set it in the policy", policy.sizing))
}

/// What the sizing asks for, before floor and caps.
enum Desire {
    /// As little as the market takes.
    Floor,
    Dollars(Usdc),
    Shares(Shares),
}

fn desire(i: &Inputs) -> Result<Desire, Planned> {
    let range = || Planned::failed("a figure is out of range");
    Ok(match i.policy.sizing {
        Sizing::MinBet => Desire::Floor,
        Sizing::Fixed => Desire::Dollars(i.policy.usdc_per_trade.unwrap_or_default()),
        Sizing::Ratio => {
            let ratio = i.policy.ratio.unwrap_or(0);
            Desire::Dollars(i.notional.scale(ratio, ONE, Round::Down).ok_or_else(range)?)
        }
        Sizing::MirrorFillExact => Desire::Shares(i.shares),
        other @ (Sizing::TargetPercentileScaled | Sizing::PositionGap | Sizing::Auto) => {
            return Err(Planned::failed(format!("sizing `{other}` is not supported by plan version 1")));
        }
    })
}

/// The size of a BUY at a limit, where so much of `max_usdc_per_token` is taken already.
pub(super) fn of_buy(
    i: &Inputs,
    s: &Settings,
    limit: Price,
    min_shares: Shares,
    taken: Usdc,
) -> Result<Size, Planned> {
    let room = s.max_usdc_per_token.minus_or_zero(taken);
    let kept = if s.below_floor == BelowFloor::Accumulate { i.own.kept } else { Usdc::ZERO };
    let want = desire(i)?;
    let size = match s.placement {
        Placement::MirrorLimit => resting(s, limit, min_shares, room, kept, &want),
        Placement::MarketFak => taking(s, limit, room, kept, &want),
    };
    size.ok_or_else(|| Planned::failed("a figure is out of range"))?
}

/// Below the floor: what the policy makes of it. `Ok`: the floor it is.
fn below(s: &Settings, desired: Usdc) -> Result<(), Planned> {
    match s.below_floor {
        BelowFloor::Floor => Ok(()),
        BelowFloor::Skip => Err(Planned::skipped(Reason::BelowMarketMin)),
        BelowFloor::Accumulate => {
            Err(Planned { kept: Some(desired), ..Planned::skipped(Reason::BelowMarketMin) })
        }
    }
}

/// A limit order: shares, at least the market's minimum and a dollar's worth. `None` past the range.
fn resting(
    s: &Settings,
    limit: Price,
    min_shares: Shares,
    room: Usdc,
    kept: Usdc,
    want: &Desire,
) -> Option<Result<Size, Planned>> {
    let micro = Shares::from_micro;
    let floor = micro(up(min_shares.micro())?.max(up(limit.shares_for(LEAST, Round::Up)?.micro())?));
    let floor_cost = limit.cost(floor, Round::Up)?;
    if floor_cost > s.max_usdc_per_trade {
        return Some(Err(Planned::skipped(Reason::BelowMarketMin)));
    }
    let most = limit.shares_for(s.max_usdc_per_trade, Round::Down)?;
    let (desired, dollars) = match want {
        Desire::Floor => (floor, floor_cost),
        Desire::Dollars(d) => {
            let joined = d.saturating_add(kept).min(s.max_usdc_per_trade);
            (limit.shares_for(joined, Round::Down)?, *d)
        }
        Desire::Shares(n) => {
            let joined = n.saturating_add(limit.shares_for(kept, Round::Down)?);
            (joined, limit.cost(*n, Round::Down)?)
        }
    };
    let mut shares = micro(down(desired.min(most).micro()));
    if shares < floor {
        if let Err(skipped) = below(s, dollars) {
            return Some(Err(skipped));
        }
        shares = floor;
    }
    if room < floor_cost {
        return Some(Err(Planned::skipped(Reason::PositionCapReached)));
    }
    let fits = micro(down(limit.shares_for(room, Round::Down)?.micro()));
    Some(Ok(Size { shares: shares.min(fits), amount: None }))
}

/// A market order: dollars in whole cents, at least one dollar, and no least number of shares. `None` past the
/// range.
fn taking(
    s: &Settings,
    limit: Price,
    room: Usdc,
    kept: Usdc,
    want: &Desire,
) -> Option<Result<Size, Planned>> {
    if LEAST > s.max_usdc_per_trade {
        return Some(Err(Planned::skipped(Reason::BelowMarketMin)));
    }
    let dollars = match want {
        Desire::Floor => LEAST,
        Desire::Dollars(d) => *d,
        Desire::Shares(n) => limit.cost(*n, Round::Down)?,
    };
    let joined = match want {
        Desire::Floor => dollars,
        Desire::Dollars(_) | Desire::Shares(_) => dollars.saturating_add(kept),
    };
    let mut amount = Usdc::from_micro(down(joined.min(s.max_usdc_per_trade).micro()));
    if amount < LEAST {
        if let Err(skipped) = below(s, dollars) {
            return Some(Err(skipped));
        }
        amount = LEAST;
    }
    if room < LEAST {
        return Some(Err(Planned::skipped(Reason::PositionCapReached)));
    }
    amount = amount.min(Usdc::from_micro(down(room.micro())));
    let shares = mul_div(amount.micro(), ONE, limit.micro(), Round::Down)?;
    Some(Ok(Size { shares: Shares::from_micro(shares), amount: Some(amount) }))
}
