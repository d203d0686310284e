//! The accepted chain of cuts (`design.md`, Cuts): a cut counts only if its number is the next and its previous hash
//! matches. Whoever wrote anything else, it changes nothing.

use schemas::{
    Hash32,
    events::{Cut, Decision},
};

/// The last accepted cut of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub number: i64,
    /// Its hash: that of its content.
    pub hash: Hash32,
    /// How many of its decisions are still to come. They stand behind it without another cut between.
    pub left: i32,
}

/// Takes a cut; whether it was accepted. The chain begins with number 0, whatever that one names as its previous: a
/// log with another partition count begins with the heads of the old chains.
pub fn take_cut(head: &mut Option<Head>, partition: i32, cut: &Cut, hash: Hash32) -> bool {
    let is_next = match head {
        None => cut.number == 0,
        Some(head) => head.number.checked_add(1) == Some(cut.number) && cut.previous == head.hash,
    };
    if is_next && cut.partition == partition && cut.decisions >= 0 {
        *head = Some(Head { number: cut.number, hash, left: cut.decisions });
        return true;
    }
    // What follows belongs to the cut that was refused.
    if let Some(head) = head {
        head.left = 0;
    }
    false
}

/// Takes a decision; whether it belongs to the accepted cut before it.
pub fn take_decision(head: &mut Option<Head>, partition: i32, decision: &Decision) -> bool {
    match head {
        Some(head)
            if head.left > 0 && decision.cut == head.number && decision.partition == partition =>
        {
            head.left -= 1;
            true
        }
        _ => false,
    }
}
