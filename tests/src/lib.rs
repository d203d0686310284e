//! What the whole-system tests stand on: an installation of real processes, and the oracles that judge it.
//!
//! The stages run as processes of the real binary (`polymirror-under-test` is its `main`, built with this package), on
//! a log of their own (a SQLite file, or topics under a prefix of their own on a real Kafka) and a database of
//! their own on a real Postgres. The venue is the simulator, in the test's own process, so that an oracle can look
//! inside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests panic where a promise is broken, and their patience is real time"
)]

pub mod crash;
pub mod executor;
pub mod install;
pub mod judge;
pub mod mirror;
pub mod outcomes;
pub mod pace;
pub mod tape;
