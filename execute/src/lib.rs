//! The `execute` crate.
