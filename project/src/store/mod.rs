//! The store port: what project asks of its database, as whole transactions (`design.md`, Ports).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use async_trait::async_trait;
use eventlog::TopicPartition;
use schemas::{BillingAccountId, UserId};

use crate::core::fold::{Batch, Progress};

mod memory;
mod postgres;

pub use memory::{MemoryStore, Row};
pub use postgres::PgStore;

/// Why a transaction did not happen, or is not known to have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another projector advanced one of the partitions: read again from where it stands now.
    #[error("projection_overtaken: another projector has read on in {0}")]
    Overtaken(TopicPartition),
    /// The database refuses what is to be written, and would refuse it again.
    #[error("record_not_storable: {0}")]
    Unacceptable(String),
    /// The database cannot be reached, or its answer was lost: what is stored tells.
    #[error("database_unreachable: {0}. Check that Postgres runs; the stage goes on when it does")]
    Unreachable(String),
    /// The database answers, and not as one of ours would.
    #[error("database_error: {0}")]
    Broken(String),
}

impl StoreError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Overtaken(_) => "projection_overtaken",
            Self::Unacceptable(_) => "record_not_storable",
            Self::Unreachable(_) => "database_unreachable",
            Self::Broken(_) => "database_error",
        }
    }
}

/// Where the tables are.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// How far each of these partitions has been read; those never read are absent.
    async fn progress(
        &self,
        of: &BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Progress>, StoreError>;

    /// Who owns these accounts; unknown ones are absent.
    async fn owners(
        &self,
        of: &BTreeSet<BillingAccountId>,
    ) -> Result<BTreeMap<BillingAccountId, UserId>, StoreError>;

    /// The batch's rows and its partitions' progress, all or nothing, and nothing once a partition is no
    /// longer where the batch begins.
    async fn apply(&self, batch: &Batch) -> Result<(), StoreError>;
}
