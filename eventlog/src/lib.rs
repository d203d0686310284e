//! The log: one port, three backends, one conformance suite over all of them.
//!
//! - **In**: records with a key, headers and a time, for a topic and a partition chosen by the caller.
//! - **Out**: the same records in order per partition, to groups of members that share the partitions.
//! - **Remembers**: every record for ever (`decide-state` apart), the offsets each group has committed, and the
//!   manifest that names the log.
//! - **When a member dies**: its partitions go to the others after its session; what it had not committed
//!   was never visible; what it commits afterwards is refused.
//!
//! [`port`] is the contract; [`memory`], [`sqlite`] and [`kafka`] keep it; [`conformance`] proves it.

pub mod event;
pub mod port;

pub use port::*;
