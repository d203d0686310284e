//! Ingest: what followed wallets did, and what became of the tokens that their followers hold, as records.
//!
//! - **In**: `targets` (whom to follow), `orders` (what followers hold) and the venue's Data API (trades, activity,
//!   positions, resolutions), Gamma and CLOB (facts, books).
//! - **Out**: `fills` (fills, amendments, history, position changes, position snapshots, watermarks, marks and
//!   resolutions) and `markets` (facts). Records are idempotent by natural key and revision, changes by
//!   (wallet, transaction, condition, kind), so this hop needs no transaction.
//! - **Remembers**: per wallet the natural keys and the changes of 7 days, and how far both are known without a gap;
//!   per partition what followers hold. All of it is in the log, and is read from there.
//! - **When it dies**: whoever gets its partitions reads the last 7 days of `fills`, a slice between two polls of the
//!   group, walks the Data API from the watermark on, and publishes what is missing; what followers hold is read from
//!   `orders`, under which ids that goes on from `fills`, and every price told anew. What was published twice is one fill.
//!
//! # Three lists of one wallet
//!
//! - **Trades** are looked at all the time, and walked as a whole once a minute.
//! - **Activity** is looked at once a second, walked as a whole with the trades, and asked for at once when a SELL was
//!   seen: what was sold may have come by a split. A change found is published after another look at the trades, and
//!   within a second after what gives shares and before what takes them. When the activity list does not answer,
//!   trades go on; if a SELL went out meanwhile, the positions are read anew once it does.
//! - **History** is the trades of the 30 days before the follow, in a task of its own: two wallets at a time, two pages
//!   a second for all, at most 20,000 rows each, the newest. Which of it is published the log says: a fill cannot
//!   have been recorded before it happened, so the records of the last 30 days name all that were. A backfill not
//!   finished within 7 days of the follow is left as it is, and what the venue shows after it was read is not told.
//!
//! [`core`] holds the rules, without I/O or clock; [`shell`] feeds it.

pub mod core;
pub mod shell;

pub use shell::{IngestError, Ports, Settings, run};
