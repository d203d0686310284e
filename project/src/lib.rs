//! The log into Postgres.
//!
//! - **In**: `decisions` and `orders` of the log, and what `fills` tell of the tokens that copies hold: their prices, what
//!   they pay in the end, and under which ids they go on.
//! - **Out**: `poly_copy_trade_fills`, `poly_copy_trade_attempts`, `poly_copy_trade_decisions`, `poly_token_outcomes`,
//!   `poly_token_marks`, `poly_token_ids`; what cannot be read goes to `dead-letters`.
//! - **Remembers**: how far it has read, in the transaction of the rows themselves.
//! - **When it dies**: the next one continues there. Two at once do no harm: the offsets are advanced by
//!   compare-and-set, so the later one's batch fails and it reads again.
//!
//! It also owns the migrations of every table, the five logins ([`roles`]) and the policies between them
//! (`behaviour.md` 7).

pub mod connections;
pub mod core;
pub mod migrate;
pub mod passwords;
pub mod pg;
pub mod queries;
pub mod rebuild;
pub mod roles;
pub mod shell;
pub mod store;

mod scram;

pub use connections::{ConnectError, Connections};
pub use migrate::{MigrateError, check_version, migrate};
pub use passwords::{PasswordError, RolePasswords};
pub use roles::{Role, RolesError};
