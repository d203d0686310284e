//! The `replay` crate.
