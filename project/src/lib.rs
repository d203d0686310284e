//! The `project` crate.
