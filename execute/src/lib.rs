//! Orders that are placed once: gate, submit, reconcile.
//!
//! - **Goes in**: `intents` of the log; under the gate's locks, the tenants' accounts, targets, connections, grants and
//!   pauses; and what the venue says about our orders, asked and of its own accord.
//! - **Comes out**: orders at the venue; `orders` in the log, every step of each, through an outbox; in `controls` the
//!   pause of a tenant whose wallet cannot pay; what cannot be read, in `dead-letters`.
//! - **Remembers**: nothing outside the ledger (schema `execution` of Postgres): attempts with the exact bytes that are
//!   sent, positions, what is due of them and how far that is sold, budgets, who owns which partition and how far it is
//!   taken, intents that wait.
//! - **A token that goes on under another id**, which a `MigrateIntent` tells, takes its position along: what is held, due and
//!   on its way ([`core::close::carried`]).
//! - **When it dies**: the next owner of a partition bumps its epoch, so that the old one commits nothing more; asks the
//!   venue about every attempt that is reserved, submitted or unknown; sends only after the old lease has ended; and
//!   reads on from the stored offset.
//!
//! **Insert before place.** An order is a row first: one transaction authorises it, takes its budget, signs it, and stores
//! the signed bytes and the id they will have at the venue. Only what is committed is sent, only those bytes, and an
//! order whose outcome is unknown is never signed again: it can only be asked for by its id, or the same bytes posted
//! again, which the venue takes once. Nothing is written between the commit and the request: a process that dies there
//! leaves a reserved row, and whoever finds one treats it as sent.
//!
//! [`core`] decides, [`store`] keeps, [`signer`] signs, [`paper`] answers where nothing is sent, [`shell`] runs it all.

pub mod core;
pub mod error;
pub mod paper;
pub mod settings;
pub mod shell;
pub mod signer;
pub mod store;
pub mod venues;

pub use error::{ExecuteError, StoreError};
pub use paper::PaperVenue;
pub use settings::Settings;
pub use shell::{Stage, intake::run};
pub use signer::{Keyring, SealingKey, Secret};
pub use store::{Store, memory::MemoryStore, postgres::PostgresStore};
pub use venues::{KeyIssuer, Venues};
