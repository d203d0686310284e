//! Replay: what was decided, decided again.
//!
//! - **In**: a log, from its first cut on. Nothing else: no clock, no chance, no database.
//! - **Out**: a [`Report`]: how many decisions are identical, byte for byte, and the first that are not, field by field.
//! - **Remembers**: nothing. It reads in batches and holds one partition's state at a time.
//! - **When it dies**: it is started again.
//!
//! It runs the code that decides live ([`decide::core`]), under each cut's own plan version, with the salts that
//! stand beside the decisions, and checks two things (`design.md`, Cuts): that the inputs of each cut follow from
//! the log, and that the plan gives the same bytes.

mod audit;
mod diff;
mod report;

pub use audit::{AuditError, Options, audit};
pub use diff::{FieldDiff, fields};
pub use report::{Difference, Intents, Report, What};
