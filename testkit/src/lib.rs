//! What the tests of every crate stand on. A dev-dependency, never part of the program.
//!
//! | need | call | where it comes from |
//! |---|---|---|
//! | Postgres | [`fresh_database`] | `TEST_DATABASE_URL`, else one private cluster per test binary |
//! | Kafka | [`kafka_or_skip`] | `KAFKA_BROKERS`, else one private broker per test binary |
//! | recorded data | [`shared_dir`], [`vectors_dir`] | `../shared`, `VECTORS_DIR` |
//! | a foreign reader | [`python_or_skip`] | `.deps/venv` |
//! | patience | [`wait_for`], [`wait_for_some`], [`wait_for_blocking`] | a condition and a deadline, never a sleep |
//! | a name nobody else has | [`unique`] | for topics, groups, transactional ids on a shared broker |
//!
//! **Skipping is loud.** Each skip is one line, `SKIPPED: <test>: <why>`, on standard error (past libtest's
//! capture) and in the file that `POLYMIRROR_SKIPS` names, from which `make test` counts. Under `CI=true` a
//! skip is a failure.
//!
//! **Nothing stays.** Every server started here ends, and its directory goes, when the test process ends:
//! at its end, in a panic, by kill -9. A shell that waits for the end of a pipe sees to it.
//!
//! `DATABASE_URL` belongs to the developer and is never read.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a helper of tests fails the test that calls it"
)]

pub mod kafka;

mod background;
mod janitor;
mod places;
mod postgres;
mod skips;
mod wait;

pub use kafka::{Kafka, kafka, kafka_or_skip};
pub use places::{python_or_skip, shared_dir, vectors_dir, workspace_root};
pub use postgres::{Postgres, fresh_database, postgres};
pub use skips::{in_ci, skip};
pub use wait::{unique, wait_for, wait_for_blocking, wait_for_some};
