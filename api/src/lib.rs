//! Tenants, whom they follow and what they allow; the relay of their changes into the log; HTTP.
//!
//! - **In**: what people ask for, at the command line now, over HTTP next.
//! - **Out**: rows of billing accounts, targets, connections, grants and switches; through the outbox,
//!   records of `targets` and `controls`; figures for people and machines.
//! - **Remembers**: nothing outside Postgres.
//! - **When it dies**: a change is whole or not at all; what the log was not told is told by the next relay.

pub mod accounts;
pub mod http;
pub mod operator;
pub mod policy;
pub mod relay;

pub use accounts::{AccountError, Accounts, Tenant};
pub use operator::Operator;
