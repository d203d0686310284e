//! Error bodies.

use serde::{Deserialize, Serialize};

use super::text::or_default;

/// An error of the Data API v2 (`venue.md` 1.4).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DataError {
    /// What is wrong, in words.
    #[serde(default, deserialize_with = "or_default")]
    pub error: String,
    /// `invalid_request`, `not_found`, `rate_limited`, …
    #[serde(default, deserialize_with = "or_default")]
    pub code: String,
    /// Whether the same request may succeed later.
    #[serde(default, deserialize_with = "or_default")]
    pub retryable: bool,
    /// For the venue's support.
    #[serde(default, deserialize_with = "or_default")]
    pub trace_id: String,
    /// The parameter at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
}

/// An error of the CLOB (`venue.md` 5.5).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClobError {
    /// What is wrong, in words: the only thing that tells errors apart.
    #[serde(default, alias = "error_msg", alias = "errorMsg", deserialize_with = "or_default")]
    pub error: String,
    /// `post_only_mode` and its like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How long to wait, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}
