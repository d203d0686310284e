//! Answers.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use venue::wire::{ClobError, DataError};

/// JSON.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => json_bytes(status, bytes.into()),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written");
            clob_error(500, "the simulator cannot write its answer")
        }
    }
}

/// JSON that is written already.
pub fn json_bytes(status: StatusCode, bytes: Body) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response()
}

/// 200 with JSON.
pub fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

/// Nothing.
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// An error of the CLOB.
pub fn clob_error(status: u16, error: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = ClobError { error: error.to_owned(), ..ClobError::default() };
    json(status, &body)
}

/// An error of the CLOB with the venue's code, and how long to wait, in its body too.
pub fn clob_error_with(status: u16, error: &str, code: Option<&str>, retry_after: Option<u32>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(
        status,
        &ClobError {
            error: error.to_owned(),
            code: code.map(str::to_owned),
            retry_after_seconds: retry_after,
        },
    )
}

/// A refusal in words. The words decide the status (`venue.md` 5.5).
pub fn refusal(words: &str) -> Response {
    let lower = words.to_ascii_lowercase();
    let status = match () {
        () if lower.contains("not found") => 404,
        () if lower.contains("unauthorized") => 401,
        () => 400,
    };
    clob_error(status, words)
}

/// An error of the Data API, with its trace.
pub fn data_error(status: StatusCode, code: &str, error: &str, parameter: Option<&str>) -> Response {
    let trace = schemas::keccak256(&[code.as_bytes(), error.as_bytes()]).to_string();
    let body = DataError {
        error: error.to_owned(),
        code: code.to_owned(),
        retryable: matches!(status.as_u16(), 429 | 500..),
        trace_id: trace[2..34].to_owned(),
        parameter: parameter.map(str::to_owned),
    };
    let mut answer = json(status, &body);
    if let Ok(value) = HeaderValue::from_str(&body.trace_id) {
        answer.headers_mut().insert("x-trace-id", value);
    }
    answer
}

/// No such route.
pub async fn no_route() -> Response {
    data_error(StatusCode::NOT_FOUND, "not_found", "no such route", None)
}
