//! Keys: sealed at rest, open in memory that is wiped, and used without leaving the process.
//!
//! - [`seal`]: what the database holds, and the installation's key that opens it.
//! - [`keyring`]: the keys of the connections at hand; signs inside the gate's transaction.

pub mod keyring;
pub mod seal;

pub use keyring::{Keyring, Keys};
pub use seal::{SealError, SealingKey, Secret};
