//! Errors as `application/problem+json` (RFC 9457), each with its code.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::AccountError;

/// What went wrong, for people and programs (RFC 9457). Each code has a page under `docs/errors/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the code says what it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What it is, for programs: stays the same when the words change.
    code: String,
    /// What it is, and what to do, for people.
    detail: String,
}

impl Problem {
    /// A problem with this status and code. The code before a message is left out: it has a place of its own.
    pub fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        let (code, message) = (code.into(), message.into());
        let detail = message
            .strip_prefix(&code)
            .and_then(|rest| rest.strip_prefix(": "))
            .unwrap_or(&message)
            .to_owned();
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail,
        }
    }

    /// Nothing is there: the answer to somebody else's things, too.
    pub fn not_found() -> Self {
        RequestError::NoRoute.into()
    }

    /// The address is right, the method is not.
    pub fn method_not_allowed() -> Self {
        RequestError::Method.into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750, section 3: the reason stands there only where a token was given.
            let challenge = match self.code.as_str() {
                "token_missing" => r#"Bearer realm="polymirror""#,
                _ => r#"Bearer realm="polymirror", error="invalid_token""#,
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// What is wrong with a request before anything is done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No route.
    #[error("not_found: there is nothing at this address")]
    NoRoute,
    /// Another method.
    #[error(
        "method_not_allowed: this address does not take this method. The `Allow` header names those it takes"
    )]
    Method,
    /// Nobody asks.
    #[error(
        "token_missing: this needs a token, as `Authorization: Bearer <token>`. `polymirror token create --tenant <name>` \
         makes one"
    )]
    NoToken,
    /// Nobody we know asks.
    #[error(
        "token_invalid: the token is none of ours, or it was revoked, or it has expired. `polymirror token create --tenant \
         <name>` makes a new one"
    )]
    BadToken,
    /// Not JSON.
    #[error("json_invalid: the body is not JSON: {0}")]
    Json(String),
    /// JSON, and not what this takes.
    #[error("body_invalid: {0}")]
    Body(String),
    /// Too much of it.
    #[error("body_too_large: the body is longer than {0} bytes")]
    TooLarge(usize),
    /// Something else than JSON.
    #[error("content_type_unsupported: the body must be JSON, with `Content-Type: application/json`")]
    ContentType,
    /// A query that does not read.
    #[error("query_invalid: {0}")]
    Query(String),
    /// A cursor that was not given for this.
    #[error(
        "cursor_invalid: this cursor was not given for this list and these filters. Begin at the first page, without a \
         cursor"
    )]
    Cursor,
    /// An `If-Match` that names no revision.
    #[error("if_match_invalid: `If-Match` takes one revision in quotes, such as \"3\", as `ETag` shows it")]
    IfMatch,
    /// Others of the account are being answered.
    #[error(
        "requests_too_many: {most} requests of this account are answered at once, and none of them ended within {waited} s. \
         Send fewer at once, and try again: nothing was done"
    )]
    TooMany {
        /// How many are answered at once.
        most: usize,
        /// For how many seconds this one waited.
        waited: u64,
    },
    /// It took too long.
    #[error(
        "request_timed_out: no answer within {0} s. A change may have been made or not: look, and repeat it if it was not"
    )]
    TimedOut(u64),
}

impl RequestError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoRoute => "not_found",
            Self::Method => "method_not_allowed",
            Self::NoToken => "token_missing",
            Self::BadToken => "token_invalid",
            Self::Json(_) => "json_invalid",
            Self::Body(_) => "body_invalid",
            Self::TooLarge(_) => "body_too_large",
            Self::ContentType => "content_type_unsupported",
            Self::Query(_) => "query_invalid",
            Self::Cursor => "cursor_invalid",
            Self::IfMatch => "if_match_invalid",
            Self::TooMany { .. } => "requests_too_many",
            Self::TimedOut(_) => "request_timed_out",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoToken | Self::BadToken => StatusCode::UNAUTHORIZED,
            Self::Json(_) | Self::Query(_) | Self::Cursor | Self::IfMatch => StatusCode::BAD_REQUEST,
            Self::Body(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TimedOut(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::new(error.status(), error.code(), error.to_string())
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        let status = match &error {
            AccountError::NotFound(_) => StatusCode::NOT_FOUND,
            AccountError::NameTaken(_)
            | AccountError::TargetClosing
            | AccountError::TargetsTooMany(_)
            | AccountError::ModeDiffers(_)
            | AccountError::ModeNotServed { .. }
            | AccountError::WalletElsewhere
            | AccountError::RevisionStale { .. }
            | AccountError::TokenExists(_)
            | AccountError::RequestIdReused
            | AccountError::PositionAmbiguous => StatusCode::CONFLICT,
            AccountError::NameInvalid(_)
            | AccountError::Policy(_)
            | AccountError::NoKey
            | AccountError::ScopeUnknown(_)
            | AccountError::CapInvalid(_)
            | AccountError::OperatorOnly(_)
            | AccountError::ReasonTooLong
            | AccountError::ReasonInvalid
            | AccountError::RequestIdInvalid => StatusCode::UNPROCESSABLE_ENTITY,
            AccountError::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
            AccountError::Sql(_) | AccountError::Row(_) | AccountError::Codec(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let code = error.code();
        if !status.is_server_error() {
            return Self::new(status, code, error.to_string());
        }
        // What the server says is for the operator: it may quote what is not the tenant's.
        tracing::error!(code, %error, "a request failed");
        let told = match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                "The database does not answer. Whether a change was made is not known: look, and try again."
            }
            _ => "This is a fault of ours. The program's log says more.",
        };
        Self::new(status, code, told)
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        AccountError::from(error).into()
    }
}

impl From<project::queries::QueryError> for Problem {
    fn from(error: project::queries::QueryError) -> Self {
        match error {
            project::queries::QueryError::Sql(error) => error.into(),
            project::queries::QueryError::Row(error) => AccountError::from(error).into(),
        }
    }
}
