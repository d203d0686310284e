//! api.
pub mod policy;
