//! The HTTP clients against a venue on 127.0.0.1: what they ask, and what they make of each kind of answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod private;
mod public;
mod server;
