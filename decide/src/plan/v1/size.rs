//! Rules 11 and 12: how much (`behaviour.md` 3). Dollars become shares at the limit, and caps are tested there.

use schemas::{BelowFloor, Placement, Price, Reason, Round, Shares, Usdc, events::Inputs};

use super::{No, desire::Desire, down, up};
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

/// The smallest BUY that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floor {
    /// Of a limit order: the market's minimum and a dollar's worth at the limit, in whole hundredths. A market order
    /// has no least number of shares.
    shares: Shares,
    /// What it costs at the limit.
    pub cost: Usdc,
}

impl Floor {
    /// The floor at a limit.
    ///
    /// # Errors
    /// A floor that costs more than `max_usdc_per_trade`, whatever `below_floor` says; figures out of range.
    pub fn of(s: &Settings, limit: Price, min_shares: Shares) -> Result<Self, No> {
        let floor = match s.placement {
            Placement::MirrorLimit => {
                let dollar = within(limit.shares_for(LEAST, Round::Up))?;
                let shares = Shares::from_micro(within(up(min_shares.max(dollar).micro()))?);
                Self { shares, cost: within(limit.cost(shares, Round::Up))? }
            }
            Placement::MarketFak => Self { shares: Shares::ZERO, cost: LEAST },
        };
        if floor.cost > s.max_usdc_per_trade {
            return Err(No::Because(Reason::BelowMarketMin));
        }
        Ok(floor)
    }
}

/// What a size has to keep to.
pub(super) struct Bounds {
    pub limit: Price,
    pub floor: Floor,
    /// The most this one may cost.
    pub most: Usdc,
    /// What of `max_usdc_per_token` is taken already.
    pub taken: Usdc,
}

/// The size of a BUY.
pub(super) fn of_buy(i: &Inputs, s: &Settings, bounds: &Bounds, want: Desire) -> Result<Size, No> {
    let room = s.max_usdc_per_token.minus_or_zero(bounds.taken);
    let kept = if s.below_floor == BelowFloor::Accumulate { i.own.kept } else { Usdc::ZERO };
    match s.placement {
        Placement::MirrorLimit => resting(s, bounds, room, kept, want),
        Placement::MarketFak => taking(s, bounds, room, kept, want),
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
fn resting(s: &Settings, bounds: &Bounds, room: Usdc, kept: Usdc, want: Desire) -> Result<Size, No> {
    let Bounds { limit, floor, most, .. } = *bounds;
    let shares_for = |usdc| within(limit.shares_for(usdc, Round::Down));
    let (desired, dollars) = match want {
        Desire::Floor => (floor.shares, floor.cost),
        Desire::Dollars(d) => (shares_for(d.saturating_add(kept).min(most))?, d),
        Desire::Shares(n) => (n.saturating_add(shares_for(kept)?), within(limit.cost(n, Round::Down))?),
    };
    let mut shares = Shares::from_micro(down(desired.min(shares_for(most)?).micro()));
    if shares < floor.shares {
        below(s, dollars)?;
        shares = floor.shares;
    }
    if room < floor.cost {
        return Err(No::Because(Reason::PositionCapReached));
    }
    let fits = Shares::from_micro(down(shares_for(room)?.micro()));
    Ok(Size { shares: shares.min(fits), amount: None })
}

/// A market order: dollars in whole cents, at least one dollar, and no least number of shares.
fn taking(s: &Settings, bounds: &Bounds, room: Usdc, kept: Usdc, want: Desire) -> Result<Size, No> {
    let Bounds { limit, floor, most, .. } = *bounds;
    let (desired, dollars) = match want {
        Desire::Floor => (floor.cost, floor.cost),
        Desire::Dollars(d) => (d.saturating_add(kept), d),
        Desire::Shares(n) => {
            let dollars = within(limit.cost(n, Round::Down))?;
            (dollars.saturating_add(kept), dollars)
        }
    };
    let mut amount = Usdc::from_micro(down(desired.min(most).micro()));
    if amount < floor.cost {
        below(s, dollars)?;
        amount = floor.cost;
    }
    if room < floor.cost {
        return Err(No::Because(Reason::PositionCapReached));
    }
    amount = amount.min(Usdc::from_micro(down(room.micro())));
    Ok(Size { shares: within(limit.shares_for(amount, Round::Down))?, amount: Some(amount) })
}
