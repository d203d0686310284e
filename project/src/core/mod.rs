//! From records to rows: no I/O, no clock. What each table becomes is decided here.
//!
//! - [`ledger`]: the attempts of a copy, summed into its row.
//! - [`lifecycle`]: where the position stands that a row opened or closed.
//! - [`token`]: what others pay for a token, and what it pays in the end.
//! - [`pnl`]: what a position won or lost.
//! - [`chain`]: which cuts, and so which decisions, count.
//! - [`fold`]: a batch of records into the changes it makes.

pub mod chain;
pub mod fold;
pub mod ledger;
pub mod lifecycle;
pub mod pnl;
pub mod token;
