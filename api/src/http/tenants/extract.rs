//! What handlers take from a request, each refused with a problem that says why.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::super::{
    State,
    problem::{Problem, RequestError},
    shapes::Quoted,
};
use crate::{
    Tenant,
    accounts::{AT_ONCE, ApiToken, PATIENCE, Turn},
};

/// The longest body, in bytes: far above what any of ours comes to.
pub(in crate::http) const LONGEST_BODY: usize = 64 * 1024;

/// Who asks: the owner of the bearer token, and the account it speaks for; and its turn, which is to be held until the
/// database has answered.
#[derive(Debug)]
pub(super) struct Caller(pub(super) Tenant, pub(super) Turn);

impl FromRequestParts<State> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)?;
        let tenant = state.accounts.token_owner(&token).await?.ok_or(RequestError::BadToken)?;
        let turn = state.accounts.turn(tenant).await;
        Ok(Self(tenant, turn.ok_or(RequestError::TooMany { most: AT_ONCE, waited: PATIENCE.as_secs() })?))
    }
}

fn bearer(headers: &HeaderMap) -> Result<ApiToken, RequestError> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (given.next().ok_or(RequestError::NoToken)?, given.next()) else {
        return Err(RequestError::BadToken);
    };
    let (scheme, token) =
        value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or(RequestError::BadToken)?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| ApiToken::parse(token.trim())).flatten().ok_or(RequestError::BadToken)
}

/// A part of the path. One that does not read names nothing that is there.
#[derive(Debug, Clone)]
pub(super) struct Id<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<State> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let read = Path::from_request_parts(parts, state).await;
        read.map(|Path(id)| Self(id)).map_err(|_| RequestError::NoRoute.into())
    }
}

/// The query. Parameters that are none are refused by name.
#[derive(Debug, Clone)]
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<State> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(params)| Self(params)).map_err(|rejection| {
            let said = rejection.body_text();
            let why = said.strip_prefix("Failed to deserialize query string: ").unwrap_or(&said);
            RequestError::Query(why.to_owned()).into()
        })
    }
}

/// A JSON body. Fields that are none are refused by name.
#[derive(Debug, Clone)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<State> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(RequestError::ContentType.into());
        }
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| match rejection
                .status()
            {
                StatusCode::PAYLOAD_TOO_LARGE => RequestError::TooLarge(LONGEST_BODY),
                _ => RequestError::Json("it ended before it was whole".to_owned()),
            })?;
        Ok(Self(parse(&bytes)?))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RequestError> {
    // A struct would be read from an array too, its fields by their order: nobody means that.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes)
            .map_err(|e| RequestError::Json(e.to_string()))?;
        return Err(RequestError::Body("an object is expected".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let at = error.path().to_string();
        let why = error.into_inner();
        match why.classify() {
            serde_json::error::Category::Data if at == "." => RequestError::Body(why.to_string()),
            serde_json::error::Category::Data => RequestError::Body(format!("`{at}`: {why}")),
            _ => RequestError::Json(why.to_string()),
        }
    })?;
    reader.end().map_err(|error| RequestError::Json(error.to_string()))?;
    Ok(value)
}

/// The header of a conditional change.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "what `IfMatch` reads, for the document")]
pub(super) struct MatchHeader {
    /// The revision that the change is made on, as `ETag` shows it.
    #[param(rename = "If-Match", inline, value_type = Quoted, required = false)]
    if_match: String,
}

/// The revision that `If-Match` asks for; none for `*`, or without the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct IfMatch(pub(super) Option<i64>);

impl FromRequestParts<State> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all(header::IF_MATCH).iter();
        match (given.next(), given.next()) {
            (None, _) => Ok(Self(None)),
            (Some(value), None) => match value.to_str().map(str::trim) {
                Ok("*") => Ok(Self(None)),
                Ok(value) => Ok(Self(Some(revision(value).ok_or(RequestError::IfMatch)?))),
                Err(_) => Err(RequestError::IfMatch.into()),
            },
            (Some(_), Some(_)) => Err(RequestError::IfMatch.into()),
        }
    }
}

fn revision(quoted: &str) -> Option<i64> {
    let digits = quoted.strip_prefix('"')?.strip_suffix('"')?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// A revision as `ETag` shows it.
pub(super) fn etag(revision: i64) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"{revision}\""))]
}

/// What a handler answers.
pub(super) type Answer<T> = Result<Json<T>, Problem>;
