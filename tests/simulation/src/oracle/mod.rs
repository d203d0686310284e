//! What must hold, whatever happened (`design.md`, Invariants).
//!
//! | module | when | asks |
//! |---|---|---|
//! | [`sends`] | whenever an order is sent, and whenever one arrives | was it committed, with these bytes? may it be sent, now, by this process? does any cap break, by the venue's truth? |
//! | [`decisions`] | in the end | did each fill come to one decision for each who follows? does the chain replay? |
//! | `denials` | in the end | was there really no room, where a BUY was denied for a cap? |
//! | `closed` | in the end | is nothing left of what was to be sold? |
//! | `outcomes` | in the end | does what was held of a market that ended stand by what it pays? |
//! | [`ends`] | in the end | do ledger, venue, log and tables say the same? |

mod closed;
pub mod decisions;
mod denials;
pub mod ends;
mod exposure;
mod outcomes;
pub mod sends;

pub use sends::Judge;

/// A rule that was broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The rule, in a few words: two stories broke the same one if these are equal.
    pub rule: &'static str,
    /// What was found.
    pub what: String,
}

/// The first digits of an id, for stories.
pub fn short(id: impl std::fmt::Display) -> String {
    id.to_string().chars().take(10).collect()
}
