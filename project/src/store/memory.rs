//! The tables in memory, for runs under virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use eventlog::TopicPartition;
use schemas::{BillingAccountId, IdempotencyKey, UserId, events::Decision};

use super::{Store, StoreError};
use crate::core::{
    fold::{Batch, Progress},
    ledger::{Attempts, CopyKey, LedgerRow},
    lifecycle::{Lifecycle, Part, lifecycles},
    token::Tokens,
};

/// A row of the ledger with where its position stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The row.
    pub ledger: LedgerRow,
    /// Where its position stands.
    pub lifecycle: Option<Lifecycle>,
}

#[derive(Debug, Clone, Default)]
struct Tables {
    owners: BTreeMap<BillingAccountId, UserId>,
    progress: BTreeMap<TopicPartition, Progress>,
    attempts: BTreeMap<CopyKey, Attempts>,
    decisions: BTreeMap<(BillingAccountId, IdempotencyKey, i32), Decision>,
    tokens: Tokens,
}

/// Tables in memory; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Tables>>);

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an account.
    pub fn add_account(&self, account: BillingAccountId, owner: UserId) {
        self.tables().owners.insert(account, owner);
    }

    /// The decisions, by account, key and revision.
    pub fn decisions(&self) -> Vec<Decision> {
        self.tables().decisions.values().cloned().collect()
    }

    /// The ledger, by copy.
    pub fn rows(&self) -> BTreeMap<CopyKey, Row> {
        let tables = self.tables();
        let migrated = tables.tokens.migrated();
        let rows: Vec<LedgerRow> = tables.attempts.values().filter_map(Attempts::row).collect();
        let mut positions: BTreeMap<_, Vec<LedgerRow>> = BTreeMap::new();
        for row in rows {
            positions.entry(row.position(&migrated)).or_default().push(row);
        }
        positions
            .into_values()
            .flat_map(|rows| {
                let parts: Vec<Part> = rows.iter().map(LedgerRow::part).collect();
                let first = rows.first();
                let ended = first.and_then(|row| tables.tokens.outcome(&migrated, row.wallet, &row.asset));
                let per_share = ended.map(|outcome| outcome.per_share);
                let found = lifecycles(&parts, per_share);
                rows.into_iter()
                    .zip(found)
                    .map(|(ledger, lifecycle)| (ledger.copy(), Row { ledger, lifecycle }))
            })
            .collect()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn progress(
        &self,
        of: &BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Progress>, StoreError> {
        let tables = self.tables();
        Ok(of.iter().filter_map(|at| Some((*at, tables.progress.get(at)?.clone()))).collect())
    }

    async fn owners(
        &self,
        of: &BTreeSet<BillingAccountId>,
    ) -> Result<BTreeMap<BillingAccountId, UserId>, StoreError> {
        let tables = self.tables();
        Ok(of.iter().filter_map(|account| Some((*account, *tables.owners.get(account)?))).collect())
    }

    async fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut tables = self.tables();
        for (at, (from, _)) in &batch.advances {
            if tables.progress.get(at) != from.as_ref() {
                return Err(StoreError::Overtaken(*at));
            }
        }
        for (at, (_, to)) in &batch.advances {
            tables.progress.insert(*at, to.clone());
        }
        for (copy, attempts) in &batch.orders {
            let known = tables.attempts.entry(*copy).or_default();
            for state in attempts.states() {
                known.take(state.clone());
            }
        }
        tables.tokens.merge(&batch.tokens);
        for decision in &batch.decisions {
            let key = (decision.billing_account_id, decision.idempotency_key, decision.revision);
            tables.decisions.entry(key).or_insert_with(|| decision.clone());
        }
        Ok(())
    }
}
