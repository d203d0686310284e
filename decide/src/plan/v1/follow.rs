//! Follow-ups: BUYs on top of what we hold, and against it (`behaviour.md` 3, last paragraph).

use schemas::{PositionBranch, Reason, Round, Usdc, events::Inputs, money::ONE};

use super::{
    No,
    desire::{Desire, is_below_percentile},
};
use crate::plan::settings::Settings;

/// Where a BUY stands to what we hold. Held is what was filled: what is only on its way may never be ours, so
/// that the BUYs of a burst are new entries until the first of them is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// Neither token is held, or nobody asked.
    Apart,
    /// The token is held: a layer.
    Upon,
    /// Only the opposite is held: a hedge.
    Against,
}

/// See [`Stands`].
pub(super) fn stands(i: &Inputs, s: &Settings) -> Stands {
    if !s.follow_ups {
        Stands::Apart
    } else if i.own.held.is_positive() {
        Stands::Upon
    } else if i.own.opposite_held.is_positive() {
        Stands::Against
    } else {
        Stands::Apart
    }
}

/// The least exposure that is followed up, and the least that the leader must have put against its own.
const LEAST: Usdc = Usdc::from_units(5);

/// What a follow-up asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FollowUp {
    pub branch: PositionBranch,
    pub desire: Desire,
    /// The most it may cost, whatever joins the desire.
    pub most: Usdc,
}

/// The follow-up that a BUY is, where the floor costs so much. `None`: it is a new entry.
pub(super) fn up(i: &Inputs, s: &Settings, stands: Stands, floor: Usdc) -> Result<Option<FollowUp>, No> {
    let least = LEAST.max(Usdc::from_micro(floor.micro().saturating_mul(5)));
    match stands {
        Stands::Apart => Ok(None),
        Stands::Upon if i.own.exposure < least => Ok(None),
        Stands::Upon if is_below_percentile(i) => Err(No::Because(Reason::TargetPositionBelowThreshold)),
        // Half the exposure, the most of a layer, is two and a half floors here.
        Stands::Upon => Ok(Some(FollowUp {
            branch: PositionBranch::Layer,
            desire: Desire::Floor,
            most: s.max_usdc_per_trade,
        })),
        Stands::Against if i.own.opposite_exposure < least => {
            Err(No::Because(Reason::FollowupPositionTooSmall))
        }
        Stands::Against => hedge(i, s).map(Some),
    }
}

/// Our exposure x the leader's cost against its primary one / that one, minus what we have against ours, at most a
/// quarter of the exposure; rounded down. What is exposed is the opposite of the token bought.
fn hedge(i: &Inputs, s: &Settings) -> Result<FollowUp, No> {
    /// The least part of the leader's primary cost that is a hedge, in 10^-6.
    const LEAST_PART: i64 = 20_000;
    let (against, primary) = (i.leader.token_cost, i.leader.opposite_cost);
    let too_little =
        i128::from(against.micro()) * i128::from(ONE) < i128::from(primary.micro()) * i128::from(LEAST_PART);
    if against < LEAST || too_little {
        return Err(No::Because(Reason::TargetPositionBelowThreshold));
    }
    let exposure = i.own.opposite_exposure;
    let most = exposure.scale(1, 4, Round::Down).unwrap_or_default();
    let wanted = match exposure.scale(against.micro(), primary.micro(), Round::Down) {
        Some(wanted) => wanted.minus_or_zero(i.own.exposure),
        // A leader who holds nothing of the primary any more: the most.
        None => most,
    };
    if !wanted.is_positive() {
        return Err(No::Because(Reason::FollowupNotNeeded));
    }
    Ok(FollowUp {
        branch: PositionBranch::Hedge,
        desire: Desire::Dollars(wanted),
        most: most.min(s.max_usdc_per_trade),
    })
}
