//! What execute decides: pure functions of recorded facts, without I/O, clock or async.
//!
//! | module | says |
//! |---|---|
//! | [`attempt`] | what is known of one attempt: the row that makes an order happen once |
//! | [`snapshot`] | what the gate knows of a tenant under its locks |
//! | [`mod@authorise`] | whether an intent may become an order, and for how much (`behaviour.md` 5) |
//! | [`mod@close`] | what a close sells, when, and at which price (`behaviour.md` 4) |
//! | [`build`] | the order that an authorised intent is |
//! | [`gate`] | what the gate writes for each intent |
//! | [`place`] | for a BUY, and for what it replaces |
//! | [`turn`] | what it writes for each close, when there is something to be done for it |
//! | [`mod@transition`] | what an event makes of an attempt (`behaviour.md` 6) |
//! | [`diagnosis`] | why an order was refused |
//! | [`fills`] | what trades say an order filled |
//! | [`follow`] | when to send, to post again, to look, and when to give up |
//! | [`position`] | what a target's copies hold, and what it cost |

pub mod attempt;
pub mod authorise;
pub mod build;
pub mod close;
pub mod diagnosis;
pub mod fills;
pub mod follow;
pub mod gate;
pub mod place;
pub mod position;
pub mod snapshot;
pub mod transition;
pub mod turn;

pub use attempt::{Attempt, AttemptKey, Body};
pub use authorise::{Authorised, MAX_DAILY, MAX_HOURLY, MAX_PER_ORDER, authorise};
pub use snapshot::Snapshot;
pub use transition::{Event, transition};
