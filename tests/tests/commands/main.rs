//! What the operator's commands promise, by the binary itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod containers;
mod doctor;
mod passwords;
mod wallets;

const BINARY: &str = env!("CARGO_BIN_EXE_polymirror-under-test");
