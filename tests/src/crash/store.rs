//! The ledger, with steps around its transactions.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use eventlog::position::StoredOffset;
use execute::{
    Store, StoreError,
    core::{
        Attempt, AttemptKey,
        close::{Close, CloseName},
        diagnosis::Diagnosis,
        follow::Class,
        gate::Sign,
    },
    store::{
        Batch, BudgetKey, Claim, ControlRow, Deferred, Following, Gated, OutboxRow, Pause, SealedConnection,
        Turns,
    },
};
use schemas::{BillingAccountId, Mode, OrderId, OrderStatus, Timestamp, Usdc, UserId};
use uuid::Uuid;

use super::points::Points;

/// A ledger whose callers may die.
#[derive(Debug)]
pub struct AtSteps<S> {
    pub inner: S,
    pub points: Points,
}

/// The step that an attempt's next revision is.
const fn recording(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Reserved | OrderStatus::Submitted => "record submitted",
        OrderStatus::Open => "record open",
        OrderStatus::PartiallyFilled => "record partially_filled",
        OrderStatus::Matched => "record matched",
        OrderStatus::Filled => "record filled",
        OrderStatus::Cancelled | OrderStatus::Expired => "record cancelled",
        OrderStatus::Rejected | OrderStatus::Denied => "record rejected",
        OrderStatus::Unknown => "record unknown",
    }
}

#[async_trait]
impl<S: Store> Store for AtSteps<S> {
    async fn claim(&self, partition: i32, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        self.points.around("claim", self.inner.claim(partition, owner, lease)).await
    }

    async fn renew(&self, partition: i32, epoch: i64, lease: Duration) -> Result<bool, StoreError> {
        self.points.around("renew", self.inner.renew(partition, epoch, lease)).await
    }

    async fn release(&self, partition: i32, epoch: i64) -> Result<(), StoreError> {
        self.inner.release(partition, epoch).await
    }

    async fn accounts(
        &self,
        ids: &[BillingAccountId],
    ) -> Result<BTreeMap<BillingAccountId, UserId>, StoreError> {
        self.inner.accounts(ids).await
    }

    async fn active_connections(&self, of: &[BillingAccountId]) -> Result<Vec<SealedConnection>, StoreError> {
        self.inner.active_connections(of).await
    }

    async fn connection(&self, id: Uuid) -> Result<Option<SealedConnection>, StoreError> {
        self.inner.connection(id).await
    }

    async fn keep_credentials(&self, id: Uuid, sealed: &[u8]) -> Result<(), StoreError> {
        self.points.around("keep_credentials", self.inner.keep_credentials(id, sealed)).await
    }

    async fn approve(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        self.inner.approve(id, at).await
    }

    async fn open_budgets(&self, of: &[BudgetKey]) -> Result<(), StoreError> {
        self.inner.open_budgets(of).await
    }

    async fn gate(&self, batch: Batch<'_>, keys: &dyn Sign) -> Result<Vec<Gated>, StoreError> {
        let step = match batch.source {
            execute::store::Source::Log { .. } => "gate",
            execute::store::Source::Deferred => "deferred",
        };
        self.points.around(step, self.inner.gate(batch, keys)).await
    }

    async fn unresolved(
        &self,
        partition: i32,
        after: Option<AttemptKey>,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.inner.unresolved(partition, after, limit).await
    }

    async fn due(
        &self,
        partition: i32,
        class: Class,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.inner.due(partition, class, now, limit).await
    }

    async fn turn(&self, batch: Turns<'_>, keys: &dyn Sign) -> Result<Vec<Gated>, StoreError> {
        self.points.around("turn", self.inner.turn(batch, keys)).await
    }

    async fn closes_due(
        &self,
        partition: i32,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Close>, StoreError> {
        self.inner.closes_due(partition, now, limit).await
    }

    async fn close(&self, of: &CloseName) -> Result<Option<Close>, StoreError> {
        self.inner.close(of).await
    }

    async fn attempt(&self, key: AttemptKey) -> Result<Option<Attempt>, StoreError> {
        self.inner.attempt(key).await
    }

    async fn record(&self, before: &Attempt, after: &Attempt) -> Result<(), StoreError> {
        self.points.around(recording(after.status), self.inner.record(before, after)).await
    }

    async fn looked(
        &self,
        key: AttemptKey,
        revision: i64,
        asked: i32,
        next_look_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.points.around("looked", self.inner.looked(key, revision, asked, next_look_at)).await
    }

    async fn outbox_next(&self, partition: i32, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.inner.outbox_next(partition, limit).await
    }

    async fn outbox_published(&self, rows: &[(AttemptKey, i64)]) -> Result<(), StoreError> {
        self.points.around("published", self.inner.outbox_published(rows)).await
    }

    async fn forget_published(&self, partition: i32, before: Timestamp) -> Result<(), StoreError> {
        self.inner.forget_published(partition, before).await
    }

    async fn deferred(
        &self,
        partition: i32,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Deferred>, StoreError> {
        self.inner.deferred(partition, now, limit).await
    }

    async fn keep_balance(&self, of: BudgetKey, balance: Usdc, at: Timestamp) -> Result<(), StoreError> {
        self.points.around("keep_balance", self.inner.keep_balance(of, balance, at)).await
    }

    async fn budgets(&self) -> Result<Vec<(BudgetKey, Option<Timestamp>)>, StoreError> {
        self.inner.budgets().await
    }

    async fn agreed_offsets(&self) -> Result<BTreeMap<i32, StoredOffset>, StoreError> {
        self.inner.agreed_offsets().await
    }

    async fn keep_agreed(&self, offset: &StoredOffset) -> Result<(), StoreError> {
        self.inner.keep_agreed(offset).await
    }

    async fn revisions(&self, of: &[AttemptKey]) -> Result<BTreeMap<AttemptKey, i64>, StoreError> {
        self.inner.revisions(of).await
    }
}

#[async_trait]
impl<S: Store> Following for AtSteps<S> {
    async fn followed(&self, partition: i32) -> Result<BTreeSet<(Uuid, Mode)>, StoreError> {
        self.inner.followed(partition).await
    }

    async fn make_due(&self, partition: i32, connection: Uuid, now: Timestamp) -> Result<(), StoreError> {
        self.inner.make_due(partition, connection, now).await
    }

    async fn by_order_id(&self, partition: i32, ids: &[OrderId]) -> Result<Vec<AttemptKey>, StoreError> {
        self.inner.by_order_id(partition, ids).await
    }

    async fn resting(&self, partition: i32, connection: Uuid) -> Result<Vec<Attempt>, StoreError> {
        self.inner.resting(partition, connection).await
    }

    async fn diagnosis(&self, key: AttemptKey) -> Result<Option<Diagnosis>, StoreError> {
        self.inner.diagnosis(key).await
    }

    async fn diagnose(
        &self,
        before: &Attempt,
        after: &Attempt,
        found: &Diagnosis,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.points.around("diagnose", self.inner.diagnose(before, after, found, at)).await
    }

    async fn pause_after_rejections(&self, pause: &Pause<'_>) -> Result<bool, StoreError> {
        self.points.around("pause", self.inner.pause_after_rejections(pause)).await
    }

    async fn controls_next(&self, partition: i32, limit: usize) -> Result<Vec<ControlRow>, StoreError> {
        self.inner.controls_next(partition, limit).await
    }

    async fn controls_published(&self, rows: &[(BillingAccountId, i64)]) -> Result<(), StoreError> {
        self.points.around("controls published", self.inner.controls_published(rows)).await
    }

    async fn ticked(&self, partition: i32, at: Timestamp) -> Result<(), StoreError> {
        self.inner.ticked(partition, at).await
    }
}
