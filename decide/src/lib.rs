//! Decide: fills in, decisions out, cut by cut.
//!
//! - **In**: `targets`, `orders` and `fills` of the partition numbers that this member owns.
//! - **Out**: `decisions`-p (a cut, then its decisions) and `intents`, with the consumed offsets in one atomic step;
//!   now and then a snapshot of its state in `decide-state`; what it cannot read in `dead-letters`.
//! - **Remembers**: targets, the leaders' positions, the fills of the last week and the BUYs of the last month, our own
//!   positions, open orders and closes. All of it is the fold of the cuts' inputs and of its own decisions, and of
//!   nothing else.
//! - **A token that goes on under another id** (MIGRATION) is one token from then on, here ([`state::carried`]) and, by a
//!   `MigrateIntent` for everyone who holds it, in the ledger that sells.
//! - **When it dies**: the next owner of the partition takes the newest snapshot, folds the cuts after it again,
//!   checks that they give the same decisions, and goes on behind the last one. What was not committed was
//!   never decided. Two that believe to own the same partition do no harm: one chain of cuts counts.
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | what a fill comes to: pure, every released version |
//! | [`state`] | the folds |
//! | [`cut`], [`chain`] | the order given to the inputs, and its hashes; reading it back |
//! | [`core`] | inputs to cut, decisions and intents: the same code live, restoring and in replay |
//! | [`source`] | the inputs of a recorded cut, read again |
//! | [`shell`] | the loop over log, clock and chance |

pub mod chain;
pub mod core;
pub mod cut;
mod error;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod plan;
pub mod shell;
pub mod source;
pub mod state;

pub use error::DecideError;
