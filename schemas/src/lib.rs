//! What the stages say to each other.
//!
//! - [`money`]: prices, shares and dollars as integers of 10^-6.
//! - [`ids`]: wallets, tokens, fills, keys, and the frozen formulas that make them.
//! - [`migrated`]: which ids of a token are one.
//! - [`words`]: the closed sets of words: sides, reasons, statuses.
//! - [`events`]: every record of every topic.
//! - [`avro`]: schemas made from those types.
//! - [`codec`]: records to and from bytes, in the Confluent wire format.
//! - [`registry`]: a Confluent schema registry, for those who run one.
//! - [`topics`]: the topics, who keys them by what, and murmur2.

pub mod avro;
pub mod codec;
pub mod events;
pub mod ids;
pub mod migrated;
pub mod money;
pub mod registry;
pub mod time;
pub mod topics;
pub mod words;

pub use ids::{
    Address, AssetId, BillingAccountId, ConditionId, FillId, Hash32, IdempotencyKey, LogId, NaturalKey,
    OrderId, TargetId, TargetRowId, TxHash, UserId, keccak256,
};
pub use migrated::Migrated;
pub use money::{Price, Round, Shares, Tick, Usdc};
pub use time::Timestamp;
pub use words::*;
