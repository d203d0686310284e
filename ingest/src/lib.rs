//! Ingest: what followed wallets did, as records.
//!
//! - **In**: `targets` (whom to follow) and the venue's Data API (trades, positions), Gamma and CLOB (facts, books).
//! - **Out**: `fills` (fills, amendments, position snapshots, watermarks) and `markets` (facts). Records are
//!   idempotent by natural key and revision, so this hop needs no transaction.
//! - **Remembers**: per wallet the natural keys of 7 days with their totals, and how far its trades are known
//!   without a gap. All of it is in `fills`, and is read from there.
//! - **When it dies**: whoever gets its partitions reads the last 7 days of `fills`, walks the Data API from
//!   the watermark on, and publishes what is missing. What was published twice is one fill.
//!
//! [`core`] holds the rules, without I/O or clock; [`shell`] feeds it.

pub mod core;
pub mod shell;

pub use shell::{IngestError, Ports, Settings, run};
