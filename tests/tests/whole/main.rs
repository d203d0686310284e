//! Runs of the whole system, on real processes, logs and databases. In one binary, so that they run beside each other:
//! most of their time is waiting.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod crashes;
mod fidelity;
mod nobel;
mod outcomes;
mod signals;

const BINARY: &str = env!("CARGO_BIN_EXE_polymirror-under-test");
