//! The Data API v2 (`venue.md` 1).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use schemas::{ids::ConditionId, time::Timestamp};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::transport::{HttpSettings, Query, Transport, good, good_or_absent, read, read_with};
use crate::{
    error::VenueError,
    port::{ActivityQuery, PositionsQuery, TradesQuery},
    wire::{ActivityRow, PositionRow, ResolutionRow, Rows, TradeRow},
};

/// An answer around something that may be one row or several.
#[derive(serde::Deserialize)]
struct Envelope {
    data: Option<Box<RawValue>>,
}

/// A client of the Data API.
#[derive(Debug, Clone)]
pub struct DataApi {
    transport: Transport,
    calls: Arc<AtomicU64>,
}

impl DataApi {
    /// A client of the Data API at this address.
    ///
    /// # Errors
    /// An address that cannot be used.
    pub fn new(base: &str, settings: HttpSettings) -> Result<Self, VenueError> {
        Ok(Self { transport: Transport::new(base, settings)?, calls: Arc::default() })
    }

    /// A parameter that the venue ignores and its caches do not: without it answers are minutes old
    /// (`venue.md` 0.5). Nanoseconds of the caller's time, made different for each call of this client.
    fn uncached(&self, now: Timestamp) -> i128 {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        i128::from(now.micros()) * 1_000 + i128::from(call % 1_000)
    }

    async fn rows<T: DeserializeOwned>(&self, path: &str, query: Query) -> Result<Rows<T>, VenueError> {
        let body = good(self.transport.get(path, &query).await, path)?;
        read_with(path, &body, Rows::read)
    }

    /// A page of a wallet's trades, makers' rows included.
    ///
    /// # Errors
    /// No answer, or one that is no page.
    pub async fn trades(&self, query: &TradesQuery, now: Timestamp) -> Result<Rows<TradeRow>, VenueError> {
        let params = Query::default()
            .with("user", &query.user)
            .with("taker_only", &false)
            .with("limit", &query.limit.min(1_000))
            .with_some("start", query.start.map(Timestamp::secs))
            .with_some("end", query.end.map(Timestamp::secs))
            .with_some("cursor", query.cursor.as_deref())
            .with("_", &self.uncached(now));
        self.rows("/v2/trades", params).await
    }

    /// A page of a wallet's activity.
    ///
    /// # Errors
    /// No answer, or one that is no page.
    pub async fn activity(
        &self,
        query: &ActivityQuery,
        now: Timestamp,
    ) -> Result<Rows<ActivityRow>, VenueError> {
        let kinds: Vec<&str> = query.kinds.iter().map(crate::wire::ActivityKind::as_str).collect();
        let params = Query::default()
            .with("user", &query.user)
            .with_some("type", (!kinds.is_empty()).then(|| kinds.join(",")))
            .with("limit", &query.limit.min(1_000))
            .with_some("start", query.start.map(Timestamp::secs))
            .with_some("end", query.end.map(Timestamp::secs))
            .with_some("cursor", query.cursor.as_deref())
            .with("_", &self.uncached(now));
        self.rows("/v2/activity", params).await
    }

    /// A page of a wallet's positions, dust included: by default the venue leaves out what is below 0.1.
    ///
    /// # Errors
    /// No answer, or one that is no page.
    pub async fn positions(
        &self,
        query: &PositionsQuery,
        now: Timestamp,
    ) -> Result<Rows<PositionRow>, VenueError> {
        let params = Query::default()
            .with("user", &query.user)
            .with("filter_amount", &0)
            .with_some("status", query.status.as_ref())
            .with_some("condition", query.condition)
            .with("limit", &query.limit)
            .with_some("cursor", query.cursor.as_deref())
            .with("_", &self.uncached(now));
        self.rows("/v2/positions", params).await
    }

    /// How a condition ended, where the venue says anything about it.
    ///
    /// # Errors
    /// No answer, or one that is no resolution.
    pub async fn resolution(
        &self,
        condition: ConditionId,
        now: Timestamp,
    ) -> Result<Option<ResolutionRow>, VenueError> {
        let path = "/v2/resolutions";
        let params = Query::default().with("condition", &condition).with("_", &self.uncached(now));
        let Some(body) = good_or_absent(self.transport.get(path, &params).await, path)? else {
            return Ok(None);
        };
        let Some(data) = read::<Envelope>(path, &body)?.data else { return Ok(None) };
        // One row, or a list of one.
        if data.get().starts_with('[') {
            let rows: Vec<ResolutionRow> = read(path, data.get().as_bytes())?;
            return Ok(rows.into_iter().next());
        }
        read(path, data.get().as_bytes())
    }
}
