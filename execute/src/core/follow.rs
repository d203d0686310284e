//! When an attempt is sent, posted again, looked at, and given up: pure functions of the attempt and the time.

use std::time::Duration;

use schemas::{OrderStatus, OrderType, Timestamp};

use super::{Attempt, build::VENUE_MINUTE};

/// A GTD order is sent only with so much of its life left: the venue asks for three minutes (`behaviour.md` 6.3).
pub const LEAST_LIFE: Duration = Duration::from_secs(190);
/// A FAK that the venue does not know so long after it could last have been sent did not land.
const FAK_LANDS_WITHIN: Duration = Duration::from_secs(15 * 60);
/// A market order whose outcome is not known is posted again for so long after it was first sent, and then only asked
/// for. A BUY's fill is too old by then; a SELL is never too old, and a venue that refuses it each time, for shares that
/// went elsewhere, would keep it unknown for ever: what may still be sent can still land.
const DOUBT_POSTS_FOR: Duration = Duration::from_secs(120);
/// A GTD order that the venue does not know so long after its expiration there did not land.
const GRACE: Duration = Duration::from_secs(30);
/// Rejected and expired attempts are watched so long for a late landing.
const WATCH: Duration = Duration::from_secs(30 * 60);
/// How often an unchanged open order's `synced_at` is told: the API calls older rows stale at 60 s.
const TELL_SYNCED: Duration = Duration::from_secs(30);
/// A reserved attempt that nobody has in hand is found by the sweeper after so long.
const SWEEP_RESERVED: Duration = Duration::from_secs(15);

/// Whether the venue said that it has it, and nothing since put that in doubt.
pub fn is_acknowledged(attempt: &Attempt) -> bool {
    attempt.status == OrderStatus::Submitted && attempt.answered_at.is_some()
}

/// Whether its bytes may be handed to the venue now, for the first time or again.
pub fn may_send(attempt: &Attempt, now: Timestamp) -> bool {
    let lives = match (attempt.order_type, attempt.expires_at) {
        (Some(OrderType::Gtd), Some(at)) => now.plus(LEAST_LIFE) <= at,
        (Some(OrderType::Gtd) | None, _) => false,
        _ if attempt.status == OrderStatus::Unknown => {
            attempt.sent_at.is_none_or(|first| now <= first.plus(DOUBT_POSTS_FOR))
        }
        _ => true,
    };
    // What the venue acknowledged is there; what it never heard of, or nobody knows of, may go (again).
    let wanted = attempt.is_unresolved() && !is_acknowledged(attempt) && attempt.cancel_asked_at.is_none();
    // A SELL is never too old (behaviour.md 4); its `send_until` says so.
    wanted && now <= attempt.send_until && lives
}

/// Whether an order of which the venue says that it does not know it can no longer land.
pub fn cannot_land(attempt: &Attempt, now: Timestamp) -> bool {
    let bound = match attempt.expires_at {
        Some(at) => at.plus(VENUE_MINUTE).plus(GRACE),
        None => {
            attempt.last_send_at.unwrap_or(attempt.changed_at).max(attempt.created_at).plus(FAK_LANDS_WITHIN)
        }
    };
    now > bound && !may_send(attempt, now)
}

/// Whether its confirmation at the venue is worth a revision although nothing else changed.
pub fn tell_synced(attempt: &Attempt, now: Timestamp) -> bool {
    attempt.synced_at.is_none_or(|at| now.since(at) >= TELL_SYNCED)
}

fn backoff(first: Duration, most: Duration, asked: i32) -> Duration {
    let doublings = u32::try_from(asked.clamp(0, 20)).unwrap_or(0);
    first.saturating_mul(1u32 << doublings).min(most)
}

/// How soon somebody has to look: what is looked at in its own right never waits behind what is looked at to be sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nobody can say whether it is at the venue, or it is being cancelled, or its trades can still fail.
    Urgent,
    /// It rests, or is watched for a late landing.
    Resting,
}

/// The class of an attempt. The index `orders_urgent` of the database is over the same condition.
pub const fn class(attempt: &Attempt) -> Class {
    match attempt.status {
        OrderStatus::Open | OrderStatus::PartiallyFilled if attempt.cancel_asked_at.is_none() => {
            Class::Resting
        }
        _ if attempt.is_final && attempt.confirmed_shares.micro() >= attempt.filled_shares.micro() => {
            Class::Resting
        }
        _ => Class::Urgent,
    }
}

/// How often an order that rests is looked at by itself while its connection's stream tells what happens to it, and the
/// venue's list of open orders says that it is still there.
const WHILE_HEARD: Duration = Duration::from_secs(5 * 60);

/// When to look at it next while the venue tells of its own accord what happens to it: an order that rests is looked at
/// seldom. Everything else is looked at as ever.
pub fn next_look_while_heard(attempt: &Attempt, now: Timestamp) -> Option<Timestamp> {
    match (class(attempt), attempt.status) {
        (Class::Resting, OrderStatus::Open | OrderStatus::PartiallyFilled) => Some(now.plus(
            // What filled of it can still fail: that is told too, and matters more.
            if attempt.is_settled() {
                WHILE_HEARD
            } else {
                backoff(Duration::from_secs(2), Duration::from_secs(60), attempt.asked)
            },
        )),
        _ => next_look(attempt, now),
    }
}

/// When to look at it next; `None`: never again. Every attempt that is not final has a time, and so has every one
/// whose trades can still fail or that may still land.
pub fn next_look(attempt: &Attempt, now: Timestamp) -> Option<Timestamp> {
    let secs = Duration::from_secs;
    let asked = attempt.asked;
    let wait = match attempt.status {
        OrderStatus::Denied => return None,
        OrderStatus::Reserved => SWEEP_RESERVED,
        _ if attempt.cancel_asked_at.is_some() && !attempt.is_final => backoff(secs(1), secs(15), asked),
        OrderStatus::Submitted | OrderStatus::Unknown => backoff(secs(1), secs(30), asked),
        OrderStatus::Matched => backoff(Duration::from_millis(500), secs(30), asked),
        OrderStatus::Open | OrderStatus::PartiallyFilled => backoff(secs(2), secs(20), asked),
        OrderStatus::Filled | OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::Rejected => {
            let watched = matches!(attempt.status, OrderStatus::Expired | OrderStatus::Rejected)
                && attempt.order_id.is_some()
                && now < attempt.changed_at.plus(WATCH);
            if !attempt.is_settled() {
                backoff(secs(1), secs(60), asked)
            } else if watched {
                backoff(secs(15), secs(5 * 60), asked)
            } else {
                return None;
            }
        }
    };
    Some(now.plus(wait))
}
