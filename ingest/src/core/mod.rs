//! The rules of ingest, without I/O, clock or async.

pub mod changes;
pub mod convert;
pub mod following;
pub mod held;
pub mod history;
pub mod hold;
pub mod ledger;
pub mod merge;
pub mod snapshot;

#[cfg(test)]
pub(crate) mod fixtures;
