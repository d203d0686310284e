//! The rules of ingest, without I/O, clock or async.

pub mod following;
pub mod hold;
pub mod merge;
pub mod snapshot;
