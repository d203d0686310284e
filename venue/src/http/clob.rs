//! The CLOB: books and market specifications for everybody, orders for those with credentials
//! (`venue.md` 2, 4 to 6).

use async_trait::async_trait;
use reqwest::Method;
use schemas::{
    ids::{AssetId, ConditionId, OrderId},
    time::Timestamp,
    words::{MarketVersion, SignatureType},
};

use super::transport::{HttpSettings, Query, Transport, good, good_or_absent, read, read_with};
use crate::{
    error::VenueError,
    outcome::{CancelOutcome, OrderLookup, SubmitOutcome, of_cancel, of_lookup, of_submit},
    port::{BalanceOf, Exchange, OpenOrdersQuery, OwnTradesQuery},
    signing::{ApiCreds, LocalSigner, l1_headers, l2_headers},
    wire::{
        ApiKeyRow, BalanceAllowance, Book, BookQuery, CancelRequest, ClobMarket, ClobTrade, Listing,
        OrderRow, Rows, num::whole, order::signature_type,
    },
};

/// A client of the CLOB.
#[derive(Debug, Clone)]
pub struct Clob {
    transport: Transport,
}

impl Clob {
    /// A client of the CLOB at this address.
    ///
    /// # Errors
    /// An address that cannot be used.
    pub fn new(base: &str, settings: HttpSettings) -> Result<Self, VenueError> {
        Ok(Self { transport: Transport::new(base, settings)? })
    }

    /// The book of a token; `None` where there is none.
    ///
    /// # Errors
    /// No answer, or one that is no book.
    pub async fn book(&self, asset: &AssetId) -> Result<Option<Book>, VenueError> {
        let path = "/book";
        let query = Query::default().with("token_id", asset);
        let body = good_or_absent(self.transport.get(path, &query).await, path)?;
        body.map(|body| read(path, &body)).transpose()
    }

    /// The books of these tokens, of at most 500, as far as there are any. A book that cannot be read is missing.
    ///
    /// # Errors
    /// No answer, or one that is no list.
    pub async fn books(&self, assets: &[AssetId]) -> Result<Vec<Book>, VenueError> {
        let path = "/books";
        let asked: Vec<BookQuery> =
            assets.iter().map(|token_id| BookQuery { token_id: token_id.clone() }).collect();
        // Ids always become JSON.
        let body = serde_json::to_vec(&asked).unwrap_or_default();
        let body = good(self.transport.ask(path, body).await, path)?;
        Ok(read_with(path, &body, Rows::read_array)?.rows)
    }

    /// What an order needs to know of a market; `None` where the CLOB knows none.
    ///
    /// # Errors
    /// No answer, or one that is no market.
    pub async fn clob_market(&self, condition: ConditionId) -> Result<Option<ClobMarket>, VenueError> {
        let path = format!("/clob-markets/{condition}");
        let body = good_or_absent(self.transport.get(&path, &Query::default()).await, &path)?;
        body.map(|body| read(&path, &body)).transpose()
    }

    /// The venue's clock, in whole seconds: requests signed by a clock far from it are refused.
    ///
    /// # Errors
    /// No answer, or one that is no time.
    pub async fn time(&self) -> Result<Timestamp, VenueError> {
        let path = "/time";
        let body = good(self.transport.get(path, &Query::default()).await, path)?;
        let text = String::from_utf8_lossy(&body);
        whole(text.trim().trim_matches('"'))
            .map(Timestamp::from_secs)
            .map_err(|e| VenueError::Unreadable { path: path.to_owned(), why: e.to_string() })
    }

    /// The API credentials of a signing key: derived where they exist, created where not.
    ///
    /// # Errors
    /// No answer, or a refusal of both.
    pub async fn api_key(
        &self,
        key: &LocalSigner,
        now: Timestamp,
        nonce: u64,
        chain_id: u64,
    ) -> Result<ApiCreds, VenueError> {
        let headers = l1_headers(key, now, nonce, chain_id);
        let path = "/auth/derive-api-key";
        let derived = good(self.transport.with_headers(Method::GET, path, &headers).await, path);
        let (path, body) = match derived {
            Ok(body) => (path, body),
            // No key of this nonce yet.
            Err(VenueError::Refused { .. }) => {
                let path = "/auth/api-key";
                (path, good(self.transport.with_headers(Method::POST, path, &headers).await, path)?)
            }
            Err(e) => return Err(e),
        };
        // The body holds secrets: it must not stand in an error.
        let row: ApiKeyRow = serde_json::from_slice(&body).map_err(|_| VenueError::Unreadable {
            path: path.to_owned(),
            why: "it holds no apiKey, secret and passphrase".to_owned(),
        })?;
        Ok(ApiCreds::from_row(key.address(), row)?)
    }

    async fn private(
        &self,
        path: &str,
        query: &Query,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Vec<u8>, VenueError> {
        let headers = l2_headers(creds, now, "GET", path, b"");
        good(self.transport.signed(Method::GET, path, query, headers, None).await, path)
    }
}

#[async_trait]
impl Exchange for Clob {
    async fn post_order(&self, body: &[u8], id: OrderId, creds: &ApiCreds, now: Timestamp) -> SubmitOutcome {
        let path = "/order";
        let headers = l2_headers(creds, now, "POST", path, body);
        let sent =
            self.transport.signed(Method::POST, path, &Query::default(), headers, Some(body.to_vec())).await;
        let outcome = match sent {
            Ok(answer) => of_submit(&answer, id),
            Err(failure) => SubmitOutcome::Unknown { why: failure.describe() },
        };
        tracing::debug!(order = %id, ?outcome, "order posted");
        outcome
    }

    async fn order(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> OrderLookup {
        let path = format!("/data/order/{id}");
        let headers = l2_headers(creds, now, "GET", &path, b"");
        match self.transport.signed(Method::GET, &path, &Query::default(), headers, None).await {
            Ok(answer) => of_lookup(&answer, id),
            Err(failure) => OrderLookup::Unknown { why: failure.describe() },
        }
    }

    async fn cancel(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> CancelOutcome {
        let path = "/order";
        let body = match serde_json::to_vec(&CancelRequest { order_id: id }) {
            Ok(body) => body,
            Err(e) => return CancelOutcome::Unknown { why: e.to_string() },
        };
        let headers = l2_headers(creds, now, "DELETE", path, &body);
        match self.transport.signed(Method::DELETE, path, &Query::default(), headers, Some(body)).await {
            Ok(answer) => of_cancel(&answer, id),
            Err(failure) => CancelOutcome::Unknown { why: failure.describe() },
        }
    }

    async fn own_trades(
        &self,
        query: &OwnTradesQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<ClobTrade>, VenueError> {
        let path = "/data/trades";
        let params = Query::default()
            .with_some("id", query.id.as_deref())
            .with_some("market", query.condition)
            .with_some("asset_id", query.asset.as_ref())
            .with_some("maker_address", query.maker)
            .with_some("after", query.after.map(Timestamp::secs))
            .with_some("before", query.before.map(Timestamp::secs))
            .with_some("next_cursor", query.cursor.as_deref());
        let body = self.private(path, &params, creds, now).await?;
        read_with(path, &body, Listing::read)
    }

    async fn open_orders(
        &self,
        query: &OpenOrdersQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<OrderRow>, VenueError> {
        let path = "/data/orders";
        let params = Query::default()
            .with_some("market", query.condition)
            .with_some("asset_id", query.asset.as_ref())
            .with_some("next_cursor", query.cursor.as_deref());
        let body = self.private(path, &params, creds, now).await?;
        read_with(path, &body, Listing::read)
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
            BalanceOf::Collateral => Query::default().with("asset_type", &"COLLATERAL"),
            BalanceOf::Token { asset, version } => {
                let asset_type = match version {
                    MarketVersion::V1 => "CONDITIONAL",
                    MarketVersion::V2 => "CONDITIONAL-V2",
                };
                Query::default().with("asset_type", &asset_type).with("token_id", asset)
            }
        };
        let params = params.with("signature_type", &signature_type::number(kind));
        let body = self.private(path, &params, creds, now).await?;
        read(path, &body)
    }
}
