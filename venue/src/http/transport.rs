//! One connection pool to one base URL.

use std::{fmt::Display, time::Duration};

use reqwest::{Client, Method, RequestBuilder, header::HeaderValue};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use url::Url;

use crate::{
    base::{Base, provide_cryptography},
    error::VenueError,
    outcome::{Answer, excerpt, later, words},
    signing::{CredsError, L2Headers},
};

/// More than any answer of the contract: the largest page has 1,000 rows.
const MAX_BODY: usize = 32 << 20;

/// How patient a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpSettings {
    /// To connect.
    pub connect_timeout: Duration,
    /// For a whole request, body included. The venue itself may hold an order for a while before it answers.
    pub timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(90),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    TimedOut,
    Broken(String),
    Creds(CredsError),
}

impl Failure {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::TimedOut => "no answer in time".to_owned(),
            Self::Broken(why) => why.clone(),
            Self::Creds(e) => e.to_string(),
        }
    }

    fn into_error(self, path: &str) -> VenueError {
        match self {
            Self::TimedOut => VenueError::TimedOut { path: path.to_owned() },
            Self::Broken(why) => VenueError::Unreachable { path: path.to_owned(), why },
            Self::Creds(e) => VenueError::Creds(e),
        }
    }
}

/// A query string in the making.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    pub(super) fn with(mut self, name: &'static str, value: &impl Display) -> Self {
        self.0.push((name, value.to_string()));
        self
    }

    pub(super) fn with_some(self, name: &'static str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(name, &value),
            None => self,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Transport {
    client: Client,
    base: Base,
}

impl Transport {
    pub(super) fn new(base: &str, settings: HttpSettings) -> Result<Self, VenueError> {
        let base = Base::read(base, "https", "http")?;
        provide_cryptography();
        let mut builder = Client::builder()
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            .pool_idle_timeout(settings.idle_timeout)
            .tcp_nodelay(true)
            // An order goes where it was signed to go, and is sent once.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("polymirror/", env!("CARGO_PKG_VERSION")));
        if base.local {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|e| VenueError::Client(e.to_string()))?;
        Ok(Self { client, base })
    }

    fn url(&self, path: &str, query: &Query) -> Url {
        let mut url = self.base.at(path);
        if !query.0.is_empty() {
            url.query_pairs_mut().extend_pairs(query.0.iter().map(|(n, v)| (n, v.as_str())));
        }
        url
    }

    /// Sends a request with headers that are signed, and reads the whole answer.
    pub(super) async fn signed(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        headers: Result<L2Headers, CredsError>,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Failure> {
        let mut request = self.client.request(method, self.url(path, query));
        for (name, value) in headers.map_err(Failure::Creds)? {
            let mut value = HeaderValue::from_str(value.expose_secret())
                .map_err(|_| Failure::Broken(format!("{name} cannot be sent as a header")))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        answer(request).await
    }

    /// Sends a GET without credentials.
    pub(super) async fn get(&self, path: &str, query: &Query) -> Result<Answer, Failure> {
        answer(self.client.get(self.url(path, query))).await
    }

    /// Sends a question that is too long for an address, without credentials.
    pub(super) async fn ask(&self, path: &str, body: Vec<u8>) -> Result<Answer, Failure> {
        let request = self.client.post(self.url(path, &Query::default()));
        answer(request.header("content-type", "application/json").body(body)).await
    }

    /// Sends a request with plain headers.
    pub(super) async fn with_headers(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Answer, Failure> {
        let mut request = self.client.request(method, self.url(path, &Query::default()));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        answer(request).await
    }
}

async fn answer(request: RequestBuilder) -> Result<Answer, Failure> {
    let failure = |e: reqwest::Error| {
        if e.is_timeout() { Failure::TimedOut } else { Failure::Broken(describe(&e.without_url())) }
    };
    let mut response = request.send().await.map_err(failure)?;
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(reqwest::header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok())
        .and_then(|text| seconds(text.trim()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Failure::Broken(format!("the answer is longer than {MAX_BODY} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, retry_after, body })
}

/// Seconds of a `Retry-After`, a fraction counted as one more. A date is not read: there is no clock here.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u64 = whole.parse().ok()?;
    let more = fraction.bytes().any(|b| b != b'0');
    Some(Duration::from_secs(whole.saturating_add(u64::from(more))))
}

/// An error with its causes: the last of them says what happened.
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// The body of a good answer, or the error that a read ends with.
pub(super) fn good(answer: Result<Answer, Failure>, path: &str) -> Result<Vec<u8>, VenueError> {
    let answer = answer.map_err(|f| f.into_error(path))?;
    let path = path.to_owned();
    if let Some((after, why)) = later(&answer) {
        return Err(VenueError::RetryLater { path, status: answer.status, after, why });
    }
    let status = answer.status;
    match status {
        200..=299 => Ok(answer.body),
        400..=499 if status != 408 => {
            let message = words(&answer.body)
                .map(|e| e.error)
                .filter(|e| !e.is_empty())
                .unwrap_or_else(|| excerpt(&answer.body));
            Err(VenueError::Refused { path, status, message })
        }
        _ => Err(VenueError::Failed { path, status, message: excerpt(&answer.body) }),
    }
}

/// The same, where "not found" in the venue's own words is an answer.
pub(super) fn good_or_absent(
    answer: Result<Answer, Failure>,
    path: &str,
) -> Result<Option<Vec<u8>>, VenueError> {
    if let Ok(Answer { status: 404, body, .. }) = &answer
        && words(body).is_some()
    {
        return Ok(None);
    }
    good(answer, path).map(Some)
}

/// Reads a body by a function of ours.
pub(super) fn read_with<T>(
    path: &str,
    body: &[u8],
    read: impl FnOnce(&[u8]) -> serde_json::Result<T>,
) -> Result<T, VenueError> {
    read(body).map_err(|e| VenueError::Unreadable {
        path: path.to_owned(),
        why: format!("{e}; it begins with {}", excerpt(&body[..body.len().min(120)])),
    })
}

/// Reads a JSON body.
pub(super) fn read<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, VenueError> {
    read_with(path, body, |body| serde_json::from_slice(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(base: &str) -> &'static str {
        Transport::new(base, HttpSettings::default()).unwrap_err().code()
    }

    #[test]
    fn credentials_never_go_over_the_net_in_the_clear() {
        for bad in [
            "http://clob.polymarket.com",
            "http://192.168.0.1",
            "ftp://127.0.0.1",
            "clob",
            "",
            "http://[::2]",
        ] {
            assert_eq!(refusal(bad), "venue_url_invalid", "{bad}");
        }
        for good in
            ["https://clob.polymarket.com", "http://127.0.0.1:80", "http://localhost/x", "http://[::1]:1"]
        {
            assert!(Transport::new(good, HttpSettings::default()).is_ok(), "{good}");
        }
    }

    #[test]
    fn paths_stand_under_the_base() {
        let at = |base: &str| {
            let transport = Transport::new(base, HttpSettings::default()).unwrap();
            transport.url("/book", &Query::default().with("token_id", &"1 2")).to_string()
        };
        assert_eq!(at("http://127.0.0.1:9/"), "http://127.0.0.1:9/book?token_id=1+2");
        assert_eq!(at("http://127.0.0.1:9/sim/"), "http://127.0.0.1:9/sim/book?token_id=1+2");
    }

    #[test]
    fn retry_after_is_read_in_whole_seconds() {
        assert_eq!(seconds("7"), Some(Duration::from_secs(7)));
        assert_eq!(seconds("0.2"), Some(Duration::from_secs(1)));
        assert_eq!(seconds("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(seconds("-1"), None);
    }
}
