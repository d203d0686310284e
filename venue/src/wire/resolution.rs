//! `GET /v2/resolutions`: the authority on payouts (`venue.md` 1.4).

use schemas::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{num::secs_opt, text::or_default};

/// How a condition ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolutionRow {
    /// The condition as it came.
    #[serde(default, deserialize_with = "or_default")]
    pub condition_id: String,
    /// `resolved` and what comes before it.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// What a share of each outcome pays, in 10^-6 dollars: `[1000000, 0]`. Empty until resolved.
    #[serde(default, deserialize_with = "or_default")]
    pub payouts: Vec<i64>,
    /// When it was resolved.
    #[serde(default, with = "secs_opt")]
    pub resolved_at: Option<Timestamp>,
    /// Whether it was disputed on the way.
    #[serde(default, deserialize_with = "or_default")]
    pub was_disputed: bool,
}
