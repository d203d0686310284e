//! The log: one port, three backends, one conformance suite over all of them.
//!
//! - **In**: records with a key, headers and a time, for a topic and a partition chosen by the caller.
//! - **Out**: the same records in order per partition, to groups of members that share the partitions.
//! - **Remembers**: every record for ever (`decide-state` apart), the offsets each group has committed, and the
//!   manifest that names the log.
//! - **When a member dies**: its partitions go to the others after its session; what it had not committed
//!   was never visible; what it commits afterwards is refused.
//!
//! [`port`] is the contract; [`memory`], [`sqlite`] and [`kafka`] keep it; `conformance` (a feature, for tests)
//! proves it. [`position`] checks offsets that are kept outside the log; [`letter`] makes dead letters fit into it.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod event;
pub mod fault;
mod group;
pub mod kafka;
pub mod letter;
mod manifest;
pub mod memory;
pub mod port;
pub mod position;
pub mod sqlite;

pub use port::*;
