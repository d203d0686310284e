//! What an event makes of an attempt (`behaviour.md` 6): pure, total, one revision for each change.
//!
//! A final attempt stays as it ended. Two things are still taken in: what becomes of its trades, and the one late
//! landing that the contract knows, which makes it live again.

use schemas::{OrderStatus, OrderType, Shares, Timestamp};
use venue::{
    outcome::{RejectCause, SubmitOutcome},
    wire::{ClobOrderStatus, PlacedStatus},
};

use super::{
    Attempt,
    fills::Fills,
    follow::{is_acknowledged, tell_synced},
};

/// What the venue says an order is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it stands.
    pub status: ClobOrderStatus,
    /// What is matched of it, by the order's own row.
    pub matched: Shares,
    /// What its trades say.
    pub fills: Fills,
}

impl Seen {
    /// Whether it can still be cancelled by asking.
    pub const fn status_rests(&self) -> bool {
        matches!(self.status, ClobOrderStatus::Live | ClobOrderStatus::Unmatched)
    }
}

/// Something that happened to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its bytes were handed to the venue, and this came back.
    Answered {
        /// When they were handed over.
        sent_at: Timestamp,
        /// What came back.
        outcome: SubmitOutcome,
    },
    /// The venue knows it.
    Seen(Seen),
    /// The venue's list of open orders has it, with so much matched.
    Rests {
        /// What is matched of it.
        matched: Shares,
    },
    /// It was taken over from an owner who may have sent it.
    Recovered,
    /// It was not sent, and will not be: its time is over.
    NeverSent,
    /// It was not sent, and will not be: it was cancelled before.
    CancelledUnsent,
    /// The venue does not know it, long enough after it could last have been sent.
    DidNotLand,
    /// It was refused, and looked into.
    Diagnosed {
        /// What was found.
        detail: String,
    },
    /// It shall be cancelled.
    CancelAsked {
        /// Why: `void`, `removed`, `replaced`; `closed` by a close of its position; `repriced`, `dropped` of a close.
        cause: String,
    },
}

impl Event {
    /// Whether it is what somebody saw of the attempt at a revision, and not something that happened: it says nothing
    /// about a later one.
    pub const fn is_a_view(&self) -> bool {
        matches!(self, Self::Seen(_) | Self::Rests { .. } | Self::DidNotLand)
    }
}

/// Whether a step is the landing of an order that had been given up: an alarm (`behaviour.md` 6.4).
pub fn landed_late(before: &Attempt, after: &Attempt) -> bool {
    let lives = !after.is_final || after.filled_shares > before.filled_shares;
    before.is_final && lives && before.status != after.status
}

/// Shares within which an order counts as full: below the step of sizes.
const FULL_WITHIN: Shares = super::close::LEAST_SHARES;

/// Its next revision, or `None` where the event changes nothing that anybody is told.
pub fn transition(attempt: &Attempt, event: &Event, now: Timestamp) -> Option<Attempt> {
    let mut next = attempt.clone();
    match event {
        Event::Answered { sent_at, outcome } => answered(&mut next, *sent_at, outcome, now),
        Event::Seen(seen) => seen_at_venue(&mut next, seen, now),
        // Only that it is as it was known to be: whatever differs is looked at.
        Event::Rests { matched } => {
            let rests = matches!(next.status, OrderStatus::Open | OrderStatus::PartiallyFilled);
            if rests && *matched == next.filled_shares && tell_synced(&next, now) {
                next.synced_at = Some(now);
            }
        }
        Event::Recovered => {
            if next.is_unresolved() {
                next.status = OrderStatus::Unknown;
                next.last_send_at = Some(next.last_send_at.map_or(now, |at| at.max(now)));
            }
        }
        // Both are said only by who knows: the process that gated it and never handed it over, or only ever got
        // answers that say that the request had no effect.
        Event::NeverSent => {
            if next.status != OrderStatus::Unknown && next.is_unresolved() && !is_acknowledged(attempt) {
                next.status = OrderStatus::Expired;
                next.reason = Some("too_old_to_send".to_owned());
            }
        }
        Event::CancelledUnsent => {
            if next.status != OrderStatus::Unknown && next.is_unresolved() && !is_acknowledged(attempt) {
                next.status = OrderStatus::Cancelled;
                next.reason.clone_from(&next.cancel_cause);
            }
        }
        Event::DidNotLand => {
            if next.status == OrderStatus::Unknown {
                next.status = OrderStatus::Rejected;
                next.reason = Some(DID_NOT_LAND.to_owned());
                next.synced_at = Some(now);
            }
        }
        Event::Diagnosed { detail } => {
            if next.status == OrderStatus::Rejected {
                let words = next.reason.take().unwrap_or_default();
                next.reason = Some(match words.ends_with(detail.as_str()) {
                    true => words,
                    false if words.is_empty() => detail.clone(),
                    false => format!("{words}; {detail}"),
                });
            }
        }
        Event::CancelAsked { cause } => {
            if !next.is_final && next.cancel_asked_at.is_none() {
                next.cancel_asked_at = Some(now);
                next.cancel_cause = Some(cause.clone());
            }
        }
    }
    next.is_final = next.status.is_final();
    // Words come from the venue, or from whatever answered in its place: none of them may keep a step from being written.
    if let Some(words) = &mut next.reason {
        words.retain(|c| !c.is_control());
    }
    if next == *attempt {
        return None;
    }
    next.revision = next.revision.saturating_add(1);
    // Revisions of one row come in order, whatever the clock does.
    next.changed_at = now.max(attempt.changed_at);
    if next.status != attempt.status {
        next.asked = 0;
    }
    Some(next)
}

fn answered(next: &mut Attempt, sent_at: Timestamp, outcome: &SubmitOutcome, now: Timestamp) {
    if next.is_final {
        let ended = matches!(next.status, OrderStatus::Rejected | OrderStatus::Expired);
        let landed = matches!(outcome, SubmitOutcome::Accepted(_) | SubmitOutcome::AlreadyLanded);
        if !ended || !landed {
            return;
        }
        (next.status, next.is_final) = (OrderStatus::Unknown, false);
        land_late(next, now);
    }
    next.sent_at = next.sent_at.or(Some(sent_at));
    next.last_send_at = Some(next.last_send_at.map_or(sent_at, |at| at.max(sent_at)));
    // After a send whose outcome nobody knows, only proof that it landed counts.
    let doubted = next.status == OrderStatus::Unknown;
    match outcome {
        SubmitOutcome::Accepted(accepted) => {
            next.answered_at = next.answered_at.or(Some(now));
            // It may have come further since the venue wrote this: what was seen of it stands.
            if next.is_unresolved() {
                next.synced_at = Some(now);
                next.reason = None;
                next.status = match accepted.status {
                    PlacedStatus::Live | PlacedStatus::Unmatched => OrderStatus::Open,
                    PlacedStatus::Matched => OrderStatus::Matched,
                    PlacedStatus::Delayed | PlacedStatus::Other(_) => OrderStatus::Submitted,
                };
            }
        }
        SubmitOutcome::AlreadyLanded => {
            next.answered_at = next.answered_at.or(Some(now));
            if next.is_unresolved() {
                next.reason = None;
                next.status = OrderStatus::Submitted;
            }
        }
        SubmitOutcome::Rejected { message, cause } if !doubted => {
            next.answered_at = next.answered_at.or(Some(now));
            if next.is_unresolved() {
                next.synced_at = Some(now);
                // A FAK that finds nothing was killed, not refused.
                let killed = *cause == RejectCause::NothingToTake && next.order_type != Some(OrderType::Gtd);
                next.status = if killed { OrderStatus::Cancelled } else { OrderStatus::Rejected };
                let words = if message.is_empty() { cause.as_str() } else { message };
                next.reason = Some(words.to_owned());
            }
        }
        SubmitOutcome::RetryLater { status, after, why } if !doubted => {
            // 425 and 429 had no effect, 503 only where it says when to come back (behaviour.md 6.7).
            let no_effect = *status != 503 || after.is_some();
            if next.is_unresolved() {
                next.status = if no_effect { OrderStatus::Submitted } else { OrderStatus::Unknown };
                next.reason = Some(format!("HTTP {status}: {why}"));
            }
        }
        SubmitOutcome::Rejected { .. } | SubmitOutcome::RetryLater { .. } => {}
        SubmitOutcome::Unknown { why } => {
            if next.is_unresolved() {
                next.status = OrderStatus::Unknown;
                next.reason = Some(why.clone());
            }
        }
    }
}

fn seen_at_venue(next: &mut Attempt, seen: &Seen, now: Timestamp) {
    if next.status == OrderStatus::Denied {
        return;
    }
    let known = |a: &Attempt| (a.status, a.filled_shares, a.filled_usdc, a.fees_usdc, a.confirmed_shares);
    let before = known(next);
    let was = next.status;
    let fills = seen.fills.at_least(next, seen.matched);
    next.filled_shares = fills.shares;
    next.filled_usdc = fills.usdc;
    next.fees_usdc = fills.fees;
    next.confirmed_shares = fills.confirmed.min(fills.shares);
    let status = stands(next, seen, now);
    next.status = match was {
        // These ended for good; their trades are all that still moves.
        OrderStatus::Filled => was,
        OrderStatus::Cancelled if !rests(status) => was,
        // It was refused, and nothing says otherwise.
        OrderStatus::Rejected | OrderStatus::Expired if status.is_final() && !fills.shares.is_positive() => {
            was
        }
        _ => status,
    };
    if !next.status.is_final() || next.status != was {
        // The venue has it, whatever became of the answer that would have said so.
        next.answered_at = next.answered_at.or(Some(now));
    }
    if next.status != was {
        next.reason = next.status.is_final().then(|| why_ended(next, seen)).flatten();
    }
    if was.is_final() && rests(next.status) {
        land_late(next, now);
    }
    // Being looked at is told when something came of it, and now and then besides.
    if known(next) != before || (!next.status.is_final() && tell_synced(next, now)) {
        next.synced_at = Some(now);
    }
}

/// It landed after all: it takes budget even beyond the cap, and goes (`behaviour.md` 6.4).
fn land_late(next: &mut Attempt, now: Timestamp) {
    next.cancel_asked_at = next.cancel_asked_at.or(Some(now));
    next.cancel_cause = next.cancel_cause.take().or_else(|| Some(LATE_LANDING.to_owned()));
}

/// The reason of an order that never came to the venue, though it was sent.
pub const DID_NOT_LAND: &str = "did_not_land";

/// The cause under which an order that landed late is cancelled.
pub const LATE_LANDING: &str = "late_landing";

const fn rests(status: OrderStatus) -> bool {
    matches!(status, OrderStatus::Open | OrderStatus::PartiallyFilled | OrderStatus::Submitted)
}

/// Where an order stands by the venue's words.
fn stands(next: &Attempt, seen: &Seen, now: Timestamp) -> OrderStatus {
    let filled = next.filled_shares;
    match &seen.status {
        ClobOrderStatus::Live | ClobOrderStatus::Unmatched if filled.is_positive() => {
            OrderStatus::PartiallyFilled
        }
        ClobOrderStatus::Live | ClobOrderStatus::Unmatched => OrderStatus::Open,
        ClobOrderStatus::Delayed => OrderStatus::Submitted,
        ClobOrderStatus::Matched if !next.is_settled() || nothing_yet(next, seen) => OrderStatus::Matched,
        ClobOrderStatus::Matched if filled.saturating_add(FULL_WITHIN) > next.shares => OrderStatus::Filled,
        // What is missing was killed with the rest of a FAK, or its trade failed.
        ClobOrderStatus::Matched => OrderStatus::Cancelled,
        ClobOrderStatus::Invalid => OrderStatus::Rejected,
        ClobOrderStatus::CanceledExpiredOrder => OrderStatus::Expired,
        other if other.is_cancelled() => {
            let lapsed = next.expires_at.is_some_and(|at| at <= now) && next.cancel_asked_at.is_none();
            if lapsed && *other == ClobOrderStatus::Canceled {
                OrderStatus::Expired
            } else {
                OrderStatus::Cancelled
            }
        }
        // A word that this build does not know moves nothing.
        _ => next.status,
    }
}

/// Whether it is called matched while no trade of it is known, neither good nor failed.
fn nothing_yet(next: &Attempt, seen: &Seen) -> bool {
    !next.filled_shares.is_positive() && !seen.fills.failed.is_positive()
}

fn why_ended(next: &Attempt, seen: &Seen) -> Option<String> {
    let word = || seen.status.as_str().to_ascii_lowercase();
    match next.status {
        OrderStatus::Filled => None,
        OrderStatus::Cancelled if seen.fills.failed.is_positive() => Some("trade_failed".to_owned()),
        OrderStatus::Cancelled if seen.status == ClobOrderStatus::Matched => Some("rest_killed".to_owned()),
        OrderStatus::Cancelled if seen.status == ClobOrderStatus::Canceled => {
            let own = next.cancel_cause.clone();
            let killed = next.order_type != Some(OrderType::Gtd) && own.is_none();
            own.or_else(|| Some(if killed { "rest_killed".to_owned() } else { word() }))
        }
        _ => Some(word()),
    }
}
