//! The `decide` crate.
