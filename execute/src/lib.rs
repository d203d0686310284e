//! Orders that are placed once: gate, submit, reconcile.

pub mod core;
pub mod error;
pub mod signer;
pub mod store;
