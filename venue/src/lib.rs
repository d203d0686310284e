//! The `venue` crate.

pub mod wire;
