//! Rules 11 and 12: how much (`behaviour.md` 3). Dollars become shares at the limit, and caps are tested there.

use schemas::{
    BelowFloor, Placement, Price, Reason, Round, Shares, Sizing, Usdc,
    events::{Inputs, Policy},
    money::ONE,
};

use super::{No, down, up};
use crate::plan::settings::Settings;

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
        Sizing::Ratio if policy.ratio.is_none_or(|r| r <= 0) => "ratio",
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

fn desire(i: &Inputs) -> Result<Desire, No> {
    Ok(match i.policy.sizing {
        Sizing::MinBet => Desire::Floor,
        Sizing::Fixed => Desire::Dollars(i.policy.usdc_per_trade.unwrap_or_default()),
        Sizing::Ratio => {
            let ratio = i.policy.ratio.unwrap_or(0);
            Desire::Dollars(i.notional.scale(ratio, ONE, Round::Down).ok_or_else(No::out_of_range)?)
        }
        Sizing::MirrorFillExact => Desire::Shares(i.shares),
        other @ (Sizing::TargetPercentileScaled | Sizing::PositionGap | Sizing::Auto) => {
            return Err(No::Failed(format!("sizing `{other}` is not supported by plan version 1")));
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
) -> Result<Size, No> {
    let room = s.max_usdc_per_token.minus_or_zero(taken);
    let kept = if s.below_floor == BelowFloor::Accumulate { i.own.kept } else { Usdc::ZERO };
    let want = desire(i)?;
    match s.placement {
        Placement::MirrorLimit => resting(s, limit, min_shares, room, kept, &want),
        Placement::MarketFak => taking(s, limit, room, kept, &want),
    }
}

/// A figure, unless it left the range.
fn within<T>(figure: Option<T>) -> Result<T, No> {
    figure.ok_or_else(No::out_of_range)
}

/// Below the floor: what the policy makes of it. `Ok`: the floor it is.
fn below(s: &Settings, desired: Usdc) -> Result<(), No> {
    match s.below_floor {
        BelowFloor::Floor => Ok(()),
        BelowFloor::Skip => Err(No::Because(Reason::BelowMarketMin)),
        BelowFloor::Accumulate => Err(No::Keep(desired)),
    }
}

/// A limit order: shares, at least the market's minimum and a dollar's worth.
fn resting(
    s: &Settings,
    limit: Price,
    min_shares: Shares,
    room: Usdc,
    kept: Usdc,
    want: &Desire,
) -> Result<Size, No> {
    let shares_for = |usdc| within(limit.shares_for(usdc, Round::Down));
    let dollar = within(limit.shares_for(LEAST, Round::Up))?;
    let floor = Shares::from_micro(within(up(min_shares.max(dollar).micro()))?);
    let floor_cost = within(limit.cost(floor, Round::Up))?;
    if floor_cost > s.max_usdc_per_trade {
        return Err(No::Because(Reason::BelowMarketMin));
    }
    let most = shares_for(s.max_usdc_per_trade)?;
    let (desired, dollars) = match want {
        Desire::Floor => (floor, floor_cost),
        Desire::Dollars(d) => {
            let joined = d.saturating_add(kept).min(s.max_usdc_per_trade);
            (shares_for(joined)?, *d)
        }
        Desire::Shares(n) => (n.saturating_add(shares_for(kept)?), within(limit.cost(*n, Round::Down))?),
    };
    let mut shares = Shares::from_micro(down(desired.min(most).micro()));
    if shares < floor {
        below(s, dollars)?;
        shares = floor;
    }
    if room < floor_cost {
        return Err(No::Because(Reason::PositionCapReached));
    }
    let fits = Shares::from_micro(down(shares_for(room)?.micro()));
    Ok(Size { shares: shares.min(fits), amount: None })
}

/// A market order: dollars in whole cents, at least one dollar, and no least number of shares.
fn taking(s: &Settings, limit: Price, room: Usdc, kept: Usdc, want: &Desire) -> Result<Size, No> {
    if LEAST > s.max_usdc_per_trade {
        return Err(No::Because(Reason::BelowMarketMin));
    }
    let (desired, dollars) = match want {
        Desire::Floor => (LEAST, LEAST),
        Desire::Dollars(d) => (d.saturating_add(kept), *d),
        Desire::Shares(n) => {
            let dollars = within(limit.cost(*n, Round::Down))?;
            (dollars.saturating_add(kept), dollars)
        }
    };
    let mut amount = Usdc::from_micro(down(desired.min(s.max_usdc_per_trade).micro()));
    if amount < LEAST {
        below(s, dollars)?;
        amount = LEAST;
    }
    if room < LEAST {
        return Err(No::Because(Reason::PositionCapReached));
    }
    amount = amount.min(Usdc::from_micro(down(room.micro())));
    Ok(Size { shares: within(limit.shares_for(amount, Round::Down))?, amount: Some(amount) })
}
