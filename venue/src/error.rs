//! Why the venue gave no answer that can be used.

use std::time::Duration;

use crate::signing::CredsError;

/// A read that failed. Reads change nothing, so every one of them may be tried again; how soon is the caller's
/// choice. (What became of a write is an outcome, not an error: see [`crate::outcome`].)
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VenueError {
    /// A base URL that is none, or that would send credentials in the clear.
    #[error(
        "venue_url_invalid: `{url}` cannot be the venue's address: {why}; give https://host (wss:// for streams), or http:// (ws://) on loopback"
    )]
    UrlInvalid {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// No client could be made.
    #[error("venue_client_failed: no HTTP client could be made: {0}; check the machine's certificates")]
    Client(String),
    /// No connection, or it broke.
    #[error("venue_unreachable: {path} did not answer: {why}; check the network and the venue's status page")]
    Unreachable {
        /// The path asked.
        path: String,
        /// What happened.
        why: String,
    },
    /// No answer in time.
    #[error("venue_timed_out: {path} did not answer in time; the venue may be restarting, try again later")]
    TimedOut {
        /// The path asked.
        path: String,
    },
    /// The venue asks to come back later (425, 429, 503).
    #[error("venue_busy: {path} answered {status}: {why}; wait {} and ask again", human(*after))]
    RetryLater {
        /// The path asked.
        path: String,
        /// The HTTP status.
        status: u16,
        /// How long the venue wants to be left alone, where it says so.
        after: Option<Duration>,
        /// Its words.
        why: String,
    },
    /// The venue said no (other 4xx).
    #[error("venue_refused: {path} answered {status}: {message}; asking again does not help")]
    Refused {
        /// The path asked.
        path: String,
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The venue failed (other 5xx, and redirects).
    #[error("venue_failed: {path} answered {status}: {message}; try again later")]
    Failed {
        /// The path asked.
        path: String,
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// An answer that is not what the contract says.
    #[error(
        "venue_unreadable: the answer of {path} cannot be read: {why}; the venue's contract may have changed"
    )]
    Unreadable {
        /// The path asked.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Credentials that cannot be used.
    #[error(transparent)]
    Creds(#[from] CredsError),
}

fn human(after: Option<Duration>) -> String {
    after.map_or_else(|| "a little".to_owned(), |d| format!("{} s", d.as_secs()))
}

impl VenueError {
    /// The error's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UrlInvalid { .. } => "venue_url_invalid",
            Self::Client(_) => "venue_client_failed",
            Self::Unreachable { .. } => "venue_unreachable",
            Self::TimedOut { .. } => "venue_timed_out",
            Self::RetryLater { .. } => "venue_busy",
            Self::Refused { .. } => "venue_refused",
            Self::Failed { .. } => "venue_failed",
            Self::Unreadable { .. } => "venue_unreadable",
            Self::Creds(e) => e.code(),
        }
    }

    /// How long the venue wants to be left alone, where it says so.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RetryLater { after, .. } => *after,
            _ => None,
        }
    }

    /// Whether the same question may get an answer later.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::RetryLater { .. } | Self::Failed { .. }
        )
    }
}
