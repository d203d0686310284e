//! What can go wrong, each with its code, cause and remedy.

use eventlog::LogError;
use schemas::codec::CodecError;

/// Why deciding stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// The log did not answer as it must.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record of a newer program, or one whose schema the registry did not tell; or one of our own that cannot be
    /// written: a bug.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A cut of the chain was decided under a version that this program does not have.
    #[error(
        "plan_version_unknown: cut {cut} of decisions-{partition} was decided under plan version {version}; this program knows up to {newest}. Start the newer program"
    )]
    PlanVersionUnknown {
        /// The partition.
        partition: i32,
        /// The cut's number.
        cut: i64,
        /// Its version.
        version: i32,
        /// The newest known here.
        newest: i32,
    },
    /// The chain does not hold what its cuts name.
    #[error(
        "chain_broken: decisions-{partition} at cut {cut}: {why}. The log was damaged or changed; restore it from a backup"
    )]
    ChainBroken {
        /// The partition.
        partition: i32,
        /// The cut's number.
        cut: i64,
        /// What is missing or differs.
        why: String,
    },
    /// Deciding a recorded cut again gave something else.
    #[error(
        "decision_not_reproduced: cut {cut} of decisions-{partition}: {why}. Run `polymirror replay` for the whole list, and start the program that wrote it"
    )]
    NotReproduced {
        /// The partition.
        partition: i32,
        /// The cut's number.
        cut: i64,
        /// The first difference.
        why: String,
    },
    /// A member got some inputs of a partition number and not the others.
    #[error(
        "partitions_not_together: of partition {partition} this member owns {owned}, and not all of targets, orders and fills. The topics must have one partition count"
    )]
    NotTogether {
        /// The partition's number.
        partition: i32,
        /// What it owns of it.
        owned: String,
    },
}

impl DecideError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Log(e) => e.code(),
            Self::Codec(e) => e.code(),
            Self::PlanVersionUnknown { .. } => "plan_version_unknown",
            Self::ChainBroken { .. } => "chain_broken",
            Self::NotReproduced { .. } => "decision_not_reproduced",
            Self::NotTogether { .. } => "partitions_not_together",
        }
    }

    /// Whether the same call may succeed later.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Log(e) => e.is_transient(),
            Self::Codec(e) => e.is_transient(),
            _ => false,
        }
    }
}
