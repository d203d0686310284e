//! The accepted chain of cuts (`design.md`, Cuts): a cut counts only if its number is the next and its
//! previous hash matches. Whoever wrote anything else, it changes nothing.

use schemas::{Hash32, events::Cut};

/// The last accepted cut of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub number: i64,
    /// Its hash: that of its content.
    pub hash: Hash32,
    /// How many of its decisions are still to come.
    pub left: i32,
}

/// Takes a cut; whether it was accepted. A decision of the cut before that could not be read does not hold up
/// the chain: it went to `dead-letters`.
pub fn take_cut(head: &mut Option<Head>, partition: i32, cut: &Cut, hash: Hash32) -> bool {
    let (next, previous) =
        head.map_or((Some(0), Hash32::ZERO), |head| (head.number.checked_add(1), head.hash));
    let counts = next == Some(cut.number) && cut.previous == previous && cut.partition == partition;
    if counts {
        *head = Some(Head { number: cut.number, hash, left: cut.decisions });
    }
    counts
}

/// Takes a decision, given what its header [`CUT`](eventlog::event::CUT) says; whether it belongs to the last accepted cut.
pub fn take_decision(head: &mut Option<Head>, of: Option<&[u8]>) -> bool {
    match head {
        Some(head) if head.left > 0 && of == Some(head.hash.to_string().as_bytes()) => {
            head.left -= 1;
            true
        }
        _ => false,
    }
}
