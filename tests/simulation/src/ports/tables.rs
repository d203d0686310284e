//! Project's tables: each transaction may have no effect, or an effect of which nobody hears.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use async_trait::async_trait;
use eventlog::TopicPartition;
use project::{
    core::fold::{Batch, Progress},
    store::{MemoryStore, Store, StoreError},
};
use schemas::{BillingAccountId, UserId};

use super::{Place, at_once};
use crate::fate;

/// What one way takes, in microseconds.
const TAKES: u64 = 800;

/// The tables, as one place has them.
#[derive(Debug, Clone)]
pub struct SimTables {
    store: MemoryStore,
    place: Place,
}

impl SimTables {
    /// A handle for a place.
    pub const fn new(store: MemoryStore, place: Place) -> Self {
        Self { store, place }
    }

    async fn call<T>(
        &self,
        site: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let call = self.place.call(site);
        call.way("there", TAKES).await;
        if call.meets(fate::TABLES_UNREACHABLE) {
            return Err(StoreError::Unreachable("the tables do not answer".to_owned()));
        }
        let unheard = call.meets(fate::TABLES_UNHEARD);
        let done = at_once(work);
        if let Err(error) = &done {
            call.tell(|| error.to_string());
        }
        call.way("back", TAKES).await;
        if unheard { Err(StoreError::Unreachable("the answer was lost".to_owned())) } else { done }
    }
}

#[async_trait]
impl Store for SimTables {
    async fn progress(
        &self,
        of: &BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Progress>, StoreError> {
        self.call("progress", self.store.progress(of)).await
    }

    async fn owners(
        &self,
        of: &BTreeSet<BillingAccountId>,
    ) -> Result<BTreeMap<BillingAccountId, UserId>, StoreError> {
        self.call("owners", self.store.owners(of)).await
    }

    async fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.call("apply", self.store.apply(batch)).await
    }
}
