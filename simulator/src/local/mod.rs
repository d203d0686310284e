//! The venue's ports in the same process, without a socket: for whole-system tests in one thread under
//! virtual time. The same routes answer, and our client's own words judge the answers, so nothing is
//! simulated twice.

mod stream;

use std::{fmt::Write as _, sync::Arc};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{Method, Request, header::RETRY_AFTER},
};
use schemas::{AssetId, ConditionId, MarketVersion, OrderId, SignatureType, Timestamp};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use tower_service::Service as _;
use venue::{
    VenueError,
    outcome::{Answer, CancelOutcome, OrderLookup, SubmitOutcome, of_cancel, of_lookup, of_submit},
    port::{
        ActivityQuery, BalanceOf, Exchange, MarketData, OpenOrdersQuery, OwnTradesQuery, PositionsQuery,
        TradesQuery,
    },
    signing::{ApiCreds, l2_headers},
    wire::{
        ActivityKind, ActivityRow, BalanceAllowance, Book, CancelRequest, ClobMarket, ClobTrade, GammaMarket,
        GammaPage, Listing, OrderRow, Page, Pagination, PositionRow, ResolutionRow, Rows, TradeRow,
        order::signature_type,
    },
};

use crate::{http::DROPPED, shared::Shared};

/// The simulator as the venue's ports.
#[derive(Debug, Clone)]
pub struct Local {
    router: Router,
    shared: Arc<Shared>,
}

/// The largest answer: a page of a thousand rows is a tenth of it.
const MAX_BODY: usize = 32 << 20;
/// Conditions asked for at once.
const CHUNK: usize = 50;

/// What came back: an answer, or why there is none.
type Called = Result<Answer, String>;

/// A query string in the making. Values are ids, numbers, words and cursors: none needs an escape.
struct Query(String);

impl Query {
    const fn new() -> Self {
        Self(String::new())
    }

    fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        let joint = if self.0.is_empty() { '?' } else { '&' };
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{joint}{name}={value}");
        self
    }

    fn with_some(self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

fn unreachable(path: &str, why: String) -> VenueError {
    VenueError::Unreachable { path: path.to_owned(), why }
}

fn unreadable(path: &str, error: &serde_json::Error) -> VenueError {
    VenueError::Unreadable { path: path.to_owned(), why: error.to_string() }
}

/// The body of a good answer; `None` for a 404.
fn found(path: &str, called: Called) -> Result<Option<Vec<u8>>, VenueError> {
    let answer = called.map_err(|why| unreachable(path, why))?;
    let message = || String::from_utf8_lossy(&answer.body).into_owned();
    let path = path.to_owned();
    match answer.status {
        200..=299 => Ok(Some(answer.body)),
        404 => Ok(None),
        status @ (425 | 429 | 503) => {
            Err(VenueError::RetryLater { path, status, after: answer.retry_after, why: message() })
        }
        status @ 400..=499 => Err(VenueError::Refused { path, status, message: message() }),
        status => Err(VenueError::Failed { path, status, message: message() }),
    }
}

fn good(path: &str, called: Called) -> Result<Vec<u8>, VenueError> {
    found(path, called)?.ok_or_else(|| VenueError::Refused {
        path: path.to_owned(),
        status: 404,
        message: "not found".to_owned(),
    })
}

fn read<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, VenueError> {
    serde_json::from_slice(body).map_err(|e| unreadable(path, &e))
}

impl Local {
    /// The ports of a simulator's routes.
    pub(crate) const fn new(router: Router, shared: Arc<Shared>) -> Self {
        Self { router, shared }
    }

    async fn call(&self, request: Result<Request<Body>, axum::http::Error>) -> Called {
        let request = request.map_err(|e| e.to_string())?;
        let mut routes = self.router.clone();
        // Routes are always ready, and never fail.
        let answer = match routes.call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        if answer.headers().contains_key(DROPPED) {
            return Err("the connection was cut".to_owned());
        }
        let (parts, body) = answer.into_parts();
        let seconds = parts.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|e| e.to_string())?;
        Ok(Answer {
            status: parts.status.as_u16(),
            retry_after: seconds.map(std::time::Duration::from_secs),
            body: body.to_vec(),
        })
    }

    async fn get(&self, path: &str, query: &Query) -> Called {
        self.call(Request::get(format!("{path}{}", query.0)).body(Body::empty())).await
    }

    async fn rows<T: DeserializeOwned>(&self, path: &str, query: Query) -> Result<Rows<T>, VenueError> {
        let body = good(path, self.get(path, &query).await)?;
        Rows::read(&body).map_err(|e| unreadable(path, &e))
    }

    async fn signed(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        creds: &ApiCreds,
        now: Timestamp,
        body: Vec<u8>,
    ) -> Called {
        let headers = l2_headers(creds, now, method.as_str(), path, &body).map_err(|e| e.to_string())?;
        let mut request = Request::builder().method(method).uri(format!("{path}{}", query.0));
        for (name, value) in headers {
            request = request.header(name, value.expose_secret());
        }
        self.call(request.body(Body::from(body))).await
    }

    async fn private(
        &self,
        path: &str,
        query: &Query,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Vec<u8>, VenueError> {
        good(path, self.signed(Method::GET, path, query, creds, now, Vec::new()).await)
    }
}

#[async_trait]
impl MarketData for Local {
    async fn trades(&self, query: &TradesQuery, _: Timestamp) -> Result<Rows<TradeRow>, VenueError> {
        let params = Query::new()
            .with("user", query.user)
            .with("taker_only", false)
            .with("limit", query.limit.min(1_000))
            .with_some("start", query.start.map(Timestamp::secs))
            .with_some("end", query.end.map(Timestamp::secs))
            .with_some("cursor", query.cursor.as_deref());
        self.rows("/v2/trades", params).await
    }

    async fn activity(&self, query: &ActivityQuery, _: Timestamp) -> Result<Rows<ActivityRow>, VenueError> {
        let kinds: Vec<&str> = query.kinds.iter().map(ActivityKind::as_str).collect();
        let params = Query::new()
            .with("user", query.user)
            .with_some("type", (!kinds.is_empty()).then(|| kinds.join(",")))
            .with("limit", query.limit.min(1_000))
            .with_some("start", query.start.map(Timestamp::secs))
            .with_some("end", query.end.map(Timestamp::secs))
            .with_some("cursor", query.cursor.as_deref());
        self.rows("/v2/activity", params).await
    }

    async fn positions(&self, query: &PositionsQuery, _: Timestamp) -> Result<Rows<PositionRow>, VenueError> {
        let params = Query::new()
            .with("user", query.user)
            .with("filter_amount", 0)
            .with_some("status", query.status.as_ref())
            .with_some("condition", query.condition)
            .with("limit", query.limit)
            .with_some("cursor", query.cursor.as_deref());
        self.rows("/v2/positions", params).await
    }

    async fn resolution(
        &self,
        condition: ConditionId,
        _: Timestamp,
    ) -> Result<Option<ResolutionRow>, VenueError> {
        let path = "/v2/resolutions";
        let Some(body) = found(path, self.get(path, &Query::new().with("condition", condition)).await)?
        else {
            return Ok(None);
        };
        Ok(read::<Page<ResolutionRow>>(path, &body)?.data.into_iter().next())
    }

    async fn markets(&self, conditions: &[ConditionId]) -> Result<Rows<GammaMarket>, VenueError> {
        let path = "/markets/keyset";
        let mut all = Rows { rows: Vec::new(), unreadable: Vec::new(), pagination: Pagination::default() };
        for chunk in conditions.chunks(CHUNK) {
            let params =
                chunk.iter().fold(Query::new().with("limit", 100), |q, c| q.with("condition_ids", c));
            let body = good(path, self.get(path, &params).await)?;
            all.rows.extend(read::<GammaPage<GammaMarket>>(path, &body)?.markets);
        }
        Ok(all)
    }

    async fn clob_market(&self, condition: ConditionId) -> Result<Option<ClobMarket>, VenueError> {
        let path = format!("/clob-markets/{condition}");
        let body = found(&path, self.get(&path, &Query::new()).await)?;
        body.map(|body| read(&path, &body)).transpose()
    }

    async fn book(&self, asset: &AssetId) -> Result<Option<Book>, VenueError> {
        let path = "/book";
        let body = found(path, self.get(path, &Query::new().with("token_id", asset)).await)?;
        body.map(|body| read(path, &body)).transpose()
    }
}

#[async_trait]
impl Exchange for Local {
    async fn post_order(&self, body: &[u8], id: OrderId, creds: &ApiCreds, now: Timestamp) -> SubmitOutcome {
        match self.signed(Method::POST, "/order", &Query::new(), creds, now, body.to_vec()).await {
            Ok(answer) => of_submit(&answer, id),
            Err(why) => SubmitOutcome::Unknown { why },
        }
    }

    async fn order(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> OrderLookup {
        let path = format!("/data/order/{id}");
        match self.signed(Method::GET, &path, &Query::new(), creds, now, Vec::new()).await {
            Ok(answer) => of_lookup(&answer, id),
            Err(why) => OrderLookup::Unknown { why },
        }
    }

    async fn cancel(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> CancelOutcome {
        let body = match serde_json::to_vec(&CancelRequest { order_id: id }) {
            Ok(body) => body,
            Err(e) => return CancelOutcome::Unknown { why: e.to_string() },
        };
        match self.signed(Method::DELETE, "/order", &Query::new(), creds, now, body).await {
            Ok(answer) => of_cancel(&answer, id),
            Err(why) => CancelOutcome::Unknown { why },
        }
    }

    async fn own_trades(
        &self,
        query: &OwnTradesQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<ClobTrade>, VenueError> {
        let path = "/data/trades";
        let params = Query::new()
            .with_some("id", query.id.as_deref())
            .with_some("market", query.condition)
            .with_some("asset_id", query.asset.as_ref())
            .with_some("maker_address", query.maker)
            .with_some("after", query.after.map(Timestamp::secs))
            .with_some("before", query.before.map(Timestamp::secs))
            .with_some("next_cursor", query.cursor.as_deref());
        let body = self.private(path, &params, creds, now).await?;
        Listing::read(&body).map_err(|e| unreadable(path, &e))
    }

    async fn open_orders(
        &self,
        query: &OpenOrdersQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<OrderRow>, VenueError> {
        let path = "/data/orders";
        let params = Query::new()
            .with_some("market", query.condition)
            .with_some("asset_id", query.asset.as_ref())
            .with_some("next_cursor", query.cursor.as_deref());
        let body = self.private(path, &params, creds, now).await?;
        Listing::read(&body).map_err(|e| unreadable(path, &e))
    }

    async fn balance_allowance(
        &self,
        of: &BalanceOf,
        kind: SignatureType,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<BalanceAllowance, VenueError> {
        let path = "/balance-allowance";
        let params = match of {
            BalanceOf::Collateral => Query::new().with("asset_type", "COLLATERAL"),
            BalanceOf::Token { asset, version } => {
                let asset_type = match version {
                    MarketVersion::V1 => "CONDITIONAL",
                    MarketVersion::V2 => "CONDITIONAL-V2",
                };
                Query::new().with("asset_type", asset_type).with("token_id", asset)
            }
        };
        let params = params.with("signature_type", signature_type::number(kind));
        let body = self.private(path, &params, creds, now).await?;
        read(path, &body)
    }
}
