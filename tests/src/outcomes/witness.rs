//! What the venue answered to each post, as the client understood it; and that every repeat was the same bytes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use schemas::{Hash32, OrderId, SignatureType, Timestamp, keccak256};
use venue::{
    VenueError,
    outcome::{CancelOutcome, OrderLookup, SubmitOutcome},
    port::{BalanceOf, Exchange, OpenOrdersQuery, OwnTradesQuery},
    signing::ApiCreds,
    wire::{BalanceAllowance, ClobTrade, Listing, OrderRow},
};

/// Answers to the posts of an order, the first first.
pub type Answers = BTreeMap<OrderId, Vec<SubmitOutcome>>;

/// An exchange that is listened to. Clones share what was heard.
#[derive(Clone)]
pub struct Witness {
    inner: Arc<dyn Exchange>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    answers: Answers,
    bytes: BTreeMap<OrderId, Hash32>,
    other_bytes: Vec<OrderId>,
}

impl Witness {
    pub fn of(inner: Arc<dyn Exchange>) -> Self {
        Self { inner, heard: Arc::default() }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many orders were answered.
    pub fn answered(&self) -> usize {
        self.heard().answers.len()
    }

    /// What was answered. Fails the test where an order was posted again with other bytes.
    pub fn answers(&self) -> Answers {
        let heard = self.heard();
        assert!(heard.other_bytes.is_empty(), "posted again with other bytes: {:?}", heard.other_bytes);
        heard.answers.clone()
    }
}

#[async_trait]
impl Exchange for Witness {
    async fn post_order(&self, body: &[u8], id: OrderId, creds: &ApiCreds, now: Timestamp) -> SubmitOutcome {
        let hash = keccak256(&[body]);
        {
            let mut heard = self.heard();
            if *heard.bytes.entry(id).or_insert(hash) != hash {
                heard.other_bytes.push(id);
            }
        }
        let outcome = self.inner.post_order(body, id, creds, now).await;
        self.heard().answers.entry(id).or_default().push(outcome.clone());
        outcome
    }

    async fn order(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> OrderLookup {
        self.inner.order(id, creds, now).await
    }

    async fn cancel(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> CancelOutcome {
        self.inner.cancel(id, creds, now).await
    }

    async fn own_trades(
        &self,
        query: &OwnTradesQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<ClobTrade>, VenueError> {
        self.inner.own_trades(query, creds, now).await
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
