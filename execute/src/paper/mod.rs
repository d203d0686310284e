//! Paper: the same machine, filled against the book that was recorded when it was decided (`design.md`, Modes).
//!
//! - **Goes in**: attempts that the gate committed with mode `paper`, each with the recorded book in its row.
//! - **Comes out**: what a venue would answer: accepted, matched in part or whole, nothing to take, cancelled, expired;
//!   trades with the taker's fee, final at once; balances.
//! - **Remembers**: nothing. What an order took, and where it stands, follows from the ledger's row of it.
//! - **When it dies**: an answer that was not recorded was never given. The row is asked for, not known, and its bytes are
//!   posted again while they may be, as everywhere; they take the same of the same book.
//!
//! Everything else of an order's life is what it is for real money: gate, caps, signature, order id, doubt, closes. No
//! byte of it leaves the process.
//!
//! What rests is filled no more: a recorded book says what could be had at the decision, not who came later. And each
//! order sees the book as it was recorded, without what other orders of ours took of it. A BUY that came without a book
//! takes nothing; a close waits for one, and has a new one for each step of its ladder.
//!
//! [`order`] is pure, [`venue`] answers.

pub mod order;
pub mod venue;

pub use order::PaperOrder;
pub use venue::{PAPER_BALANCE, PaperVenue};
