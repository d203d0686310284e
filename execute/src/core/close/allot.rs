//! Whose fills are whose: what an attempt sold, among the dues of its position.
//!
//! Each due holds how much of it each attempt sold, and what is told is an attempt's total: the same total again changes
//! nothing, and a smaller one, where a trade failed, is taken back from the dues that had it.

use schemas::{OrderStatus, Shares, Side};

use super::{Close, Due, Sold, due::is_dust};
use crate::core::{Attempt, AttemptKey};

/// Allots what one attempt filled in all: more goes to the oldest dues first, less comes back from the youngest first.
/// Nothing is allotted beyond what is due.
pub fn allot(close: &mut Close, attempt: AttemptKey, total: Shares) {
    let of = |s: &Sold| s.key == attempt.idempotency_key && s.attempt == attempt.attempt;
    let have: Shares = close.dues.iter().flat_map(|d| &d.sold).filter(|s| of(s)).map(|s| s.shares).sum();
    let (mut more, mut less) = (total.minus_or_zero(have), have.minus_or_zero(total));
    close.dues.sort_by_key(|d| d.place);
    for due in close.dues.iter_mut().filter(|d| d.ended.is_none()) {
        let taken = due.remaining().min(more);
        if taken.is_positive() {
            more = more.minus_or_zero(taken);
            match due.sold.iter_mut().find(|s| of(s)) {
                Some(sold) => sold.shares = sold.shares.saturating_add(taken),
                None => due.sold.push(Sold {
                    key: attempt.idempotency_key,
                    attempt: attempt.attempt,
                    shares: taken,
                }),
            }
        }
    }
    for due in close.dues.iter_mut().rev() {
        for sold in due.sold.iter_mut().filter(|s| of(s)) {
            let back = sold.shares.min(less);
            less = less.minus_or_zero(back);
            sold.shares = sold.shares.minus_or_zero(back);
        }
        due.sold.retain(|s| s.shares.is_positive());
        reopen(due);
    }
}

/// A due that was sold, and is not any more, is to be sold again.
fn reopen(due: &mut Due) {
    if due.ended == Some(super::End::Filled) && !is_dust(due.remaining()) {
        due.ended = None;
    }
}

/// Whether a step of an attempt is a matter of its position's close.
pub fn concerns(before: &Attempt, after: &Attempt) -> bool {
    let sold = after.side == Side::Sell && before.filled_shares != after.filled_shares;
    sold || before.is_final != after.is_final
}

/// The close after a step of an attempt of its position: what it sold is allotted, and the close is to be looked at. To
/// be written in the transaction that writes the step.
pub fn followed(mut close: Close, after: &Attempt) -> Close {
    if after.side == Side::Sell {
        allot(&mut close, after.key(), after.filled_shares);
        if after.is_final {
            let refused = after.status == OrderStatus::Rejected;
            close.refused = if refused { close.refused.saturating_add(1) } else { 0 };
            close.doubts |= refused || was_taken_off(after);
        }
    }
    close.next_look_at = Some(after.changed_at);
    close.changed_at = close.changed_at.max(after.changed_at);
    close
}

/// Whether the venue itself took it off the book: perhaps because the market has ended.
fn was_taken_off(attempt: &Attempt) -> bool {
    let word = attempt.reason.as_deref().unwrap_or_default();
    word.starts_with("canceled_market") || word.starts_with("canceled_not_enough")
}
