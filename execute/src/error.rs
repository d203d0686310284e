//! What can stop execute, or make it try again.

use eventlog::{LogError, position::PositionError};
use schemas::codec::CodecError;

use crate::core::AttemptKey;

/// Why a store's transaction did not end in "done".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It had no effect, or its effect is not known; the same call tells.
    #[error("database_unreachable: {0}. Check that Postgres runs and that the URL and password are right")]
    Unreachable(String),
    /// Somebody else owns the partition now, or the lease ran out.
    #[error(
        "partition_not_owned: partition {partition} of `intents` is not this executor's any more (epoch {epoch})"
    )]
    NotOwner {
        /// The partition.
        partition: i32,
        /// The epoch it was held under.
        epoch: i64,
    },
    /// The stored offset is not where the batch begins: the batch was taken before, or is not the next one.
    #[error("intents_offset_moved: the offset of partition {0} of `intents` is not where this batch begins")]
    OffsetMoved(i32),
    /// The attempt is at another revision than the change begins with.
    #[error("order_changed_meanwhile: attempt {0:?} is at another revision")]
    Changed(AttemptKey),
    /// The keys of a tenant have to be loaded first.
    #[error("keys_not_loaded: the keys of a tenant are not at hand")]
    NotLoaded,
    /// The database refused the call: a constraint, a policy, a missing table.
    #[error(
        "database_refused: {0}. The database does not fit this program: run its migrations, and check the roles with \
         `polymirror doctor`"
    )]
    Refused(String),
    /// What is stored does not read.
    #[error(
        "database_row_unreadable: {0}. The row was changed by something else, or belongs to another version"
    )]
    Unreadable(String),
}

impl StoreError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "database_unreachable",
            Self::NotOwner { .. } => "partition_not_owned",
            Self::OffsetMoved(_) => "intents_offset_moved",
            Self::Changed(_) => "order_changed_meanwhile",
            Self::NotLoaded => "keys_not_loaded",
            Self::Refused(_) => "database_refused",
            Self::Unreadable(_) => "database_row_unreadable",
        }
    }

    /// Whether starting over may help: everything but a database that does not fit.
    pub const fn may_pass(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::Unreadable(_))
    }
}

/// What stops the stage.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A stored offset that must not be used.
    #[error(transparent)]
    Position(#[from] PositionError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record of a newer program, or one whose schema the registry did not tell; or one of ours that cannot be written: a
    /// bug.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The log holds what the database does not know.
    #[error(
        "database_older_than_log: the log's `orders` hold revision {in_log} of order {key:?}, the database {in_database}. An \
         older database was put under a newer log: put back the database that belongs to this log, or a newer backup of it"
    )]
    DatabaseOlderThanLog {
        /// The attempt.
        key: AttemptKey,
        /// Its revision in the log.
        in_log: i64,
        /// Its revision in the database; 0 where it has none.
        in_database: i64,
    },
    /// A part of the stage ended unexpectedly.
    #[error("stage_failed: execute's {0} ended unexpectedly. Start it again; report it with the log")]
    Broken(&'static str),
}

impl ExecuteError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Log(e) => e.code(),
            Self::Position(e) => e.code(),
            Self::Store(e) => e.code(),
            Self::Codec(e) => e.code(),
            Self::DatabaseOlderThanLog { .. } => "database_older_than_log",
            Self::Broken(_) => "stage_failed",
        }
    }

    /// Whether a partition may start over: what is wrong passes by itself.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Store(e) => e.may_pass(),
            Self::Log(e) | Self::Position(PositionError::Log(e)) => e.is_transient(),
            Self::Codec(e) | Self::Position(PositionError::Schema(e)) => e.is_transient(),
            Self::Position(_) | Self::DatabaseOlderThanLog { .. } | Self::Broken(_) => false,
        }
    }
}
