//! SELLs (`behaviour.md` 4): a fraction of what is held, never skipped for anything but having nothing to sell.

use schemas::{
    PositionBranch, Reason, SellPolicy,
    events::{Inputs, Order, OwnView},
};

use crate::plan::{Part, Planned, settings::Settings};

/// What a SELL of the leader comes to: its shares sold over its shares before, everything where those are
/// unknown or zero, or where the policy says so.
pub(super) fn plan(i: &Inputs, s: &Settings) -> Planned {
    let flat = !i.leader.shares_after.is_positive();
    let part = if s.sell_policy == SellPolicy::FullExit || !i.leader.known {
        Part::WHOLE
    } else {
        Part::clamped(i.shares.micro(), i.leader.shares_before.micro())
    };
    close(&i.own, part, flat)
}

/// A close of a part of what is held, if anything is held, on its way, resting or unknown.
pub fn close(own: &OwnView, part: Part, flat: bool) -> Planned {
    if !own.held.is_positive() && !own.pending.is_positive() {
        return Planned::skipped(if own.closed {
            Reason::SellClosedPosition
        } else {
            Reason::SellWithoutPosition
        });
    }
    Planned::placed(
        PositionBranch::SellClose,
        Order {
            limit: None,
            shares: None,
            amount: None,
            fraction_num: Some(part.num),
            fraction_den: Some(part.den),
            flat: Some(flat),
            placement: None,
            replaces: None,
            cancels: Vec::new(),
            becomes: None,
        },
    )
}
