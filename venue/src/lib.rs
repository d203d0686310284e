//! Polymarket's wire contract, and nothing that decides (`venue.md`).
//!
//! - **Goes in**: what a stage wants to know or to do, the time, and the credentials to do it with.
//! - **Comes out**: the venue's answer as types, or the outcome of a private request in words that leave no
//!   doubt about what is known ([`outcome`]).
//! - **Remembers**: nothing but open connections.
//! - **When it dies**: nothing is lost. An order that was on its way is found again by its id, which its
//!   signature gives before it is sent ([`order`]).
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | the JSON of every endpoint, for our clients and for our simulator |
//! | [`signing`] | EIP-712 digests and signatures, HMAC headers, recovery of signers |
//! | [`amounts`], [`fees`] | the venue's roundings and fees, in integers |
//! | [`order`] | from what is wanted to the bytes that are posted |
//! | [`facts`] | the venue's rows as the facts that records carry |
//! | [`outcome`] | what became of a private request, from its answer |
//! | [`port`] | what the stages ask of the venue |
//! | [`http`] | the clients that ask it |
//! | [`ws`] | the clients that listen to it |
//! | [`error`] | why there was no answer |

pub mod amounts;
mod base;
pub mod error;
pub mod facts;
pub mod fees;
pub mod http;
pub mod order;
pub mod outcome;
pub mod port;
pub mod signing;
pub mod wire;
pub mod ws;

pub use error::VenueError;
