//! The venue, with steps around the calls that matter.

use std::sync::Arc;

use ::venue::{
    VenueError,
    outcome::{CancelOutcome, OrderLookup, SubmitOutcome},
    port::{BalanceOf, Exchange, OpenOrdersQuery, OwnTradesQuery},
    signing::{ApiCreds, LocalSigner},
    wire::{BalanceAllowance, ClobTrade, Listing, OrderRow},
};
use async_trait::async_trait;
use execute::KeyIssuer;
use schemas::{OrderId, SignatureType, Timestamp};

use super::points::Points;

/// An exchange whose callers may die.
pub struct AtSteps<V> {
    pub inner: Arc<V>,
    pub points: Points,
}

#[async_trait]
impl<V: Exchange> Exchange for AtSteps<V> {
    async fn post_order(&self, body: &[u8], id: OrderId, creds: &ApiCreds, now: Timestamp) -> SubmitOutcome {
        self.points.around("post", self.inner.post_order(body, id, creds, now)).await
    }

    async fn order(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> OrderLookup {
        self.points.around("look", self.inner.order(id, creds, now)).await
    }

    async fn cancel(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> CancelOutcome {
        self.points.around("cancel", self.inner.cancel(id, creds, now)).await
    }

    async fn own_trades(
        &self,
        query: &OwnTradesQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<ClobTrade>, VenueError> {
        self.points.around("trades", self.inner.own_trades(query, creds, now)).await
    }

    async fn open_orders(
        &self,
        query: &OpenOrdersQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<OrderRow>, VenueError> {
        self.inner.open_orders(query, creds, now).await
    }

    async fn balance_allowance(
        &self,
        of: &BalanceOf,
        signature_type: SignatureType,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<BalanceAllowance, VenueError> {
        self.inner.balance_allowance(of, signature_type, creds, now).await
    }
}

#[async_trait]
impl<V: KeyIssuer> KeyIssuer for AtSteps<V> {
    async fn api_key(
        &self,
        key: &LocalSigner,
        now: Timestamp,
        chain_id: u64,
    ) -> Result<ApiCreds, VenueError> {
        self.points.around("api_key", self.inner.api_key(key, now, chain_id)).await
    }
}
