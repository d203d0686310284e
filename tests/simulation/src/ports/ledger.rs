//! Execute's ledger: each transaction may have no effect, or an effect of which nobody hears.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use eventlog::position::StoredOffset;
use execute::{
    MemoryStore, Store, StoreError,
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
use schemas::{BillingAccountId, Mode, OrderId, Timestamp, Usdc, UserId};
use uuid::Uuid;

use super::{Place, at_once};
use crate::{fate, oracle::Judge};

/// What one way takes, in microseconds.
const TAKES: u64 = 800;

/// The ledger, as one place has it.
#[derive(Debug, Clone)]
pub struct SimLedger {
    store: MemoryStore,
    place: Place,
    judge: Arc<Judge>,
}

impl SimLedger {
    /// A handle for a place.
    pub const fn new(store: MemoryStore, place: Place, judge: Arc<Judge>) -> Self {
        Self { store, place, judge }
    }

    async fn call<T>(
        &self,
        site: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let call = self.place.call(site);
        call.way("there", TAKES).await;
        if call.meets(fate::LEDGER_UNREACHABLE) {
            return Err(StoreError::Unreachable("the ledger does not answer".to_owned()));
        }
        let unheard = call.meets(fate::LEDGER_UNHEARD);
        let done = at_once(work);
        if let Err(error) = &done {
            call.tell(|| error.to_string());
        }
        call.way("back", TAKES).await;
        if unheard { Err(StoreError::Unreachable("the answer was lost".to_owned())) } else { done }
    }
}

#[async_trait]
impl Store for SimLedger {
    async fn claim(&self, partition: i32, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        let claim = async {
            let before = self.store.lease(partition).map(|(owner, ..)| owner);
            let claim = self.store.claim(partition, owner, lease).await?;
            self.judge.claimed(self.place.name, owner, partition, before.as_deref(), &claim);
            Ok(claim)
        };
        self.call("claim", claim).await
    }

    async fn renew(&self, partition: i32, epoch: i64, lease: Duration) -> Result<bool, StoreError> {
        self.call("renew", self.store.renew(partition, epoch, lease)).await
    }

    async fn release(&self, partition: i32, epoch: i64) -> Result<(), StoreError> {
        self.call("release", self.store.release(partition, epoch)).await
    }

    async fn accounts(
        &self,
        ids: &[BillingAccountId],
    ) -> Result<BTreeMap<BillingAccountId, UserId>, StoreError> {
        self.call("accounts", self.store.accounts(ids)).await
    }

    async fn active_connections(&self, of: &[BillingAccountId]) -> Result<Vec<SealedConnection>, StoreError> {
        self.call("active_connections", self.store.active_connections(of)).await
    }

    async fn connection(&self, id: Uuid) -> Result<Option<SealedConnection>, StoreError> {
        self.call("connection", self.store.connection(id)).await
    }

    async fn keep_credentials(&self, id: Uuid, sealed: &[u8]) -> Result<(), StoreError> {
        self.call("keep_credentials", self.store.keep_credentials(id, sealed)).await
    }

    async fn approve(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        self.call("approve", self.store.approve(id, at)).await
    }

    async fn open_budgets(&self, of: &[BudgetKey]) -> Result<(), StoreError> {
        self.call("open_budgets", self.store.open_budgets(of)).await
    }

    async fn gate(&self, batch: Batch<'_>, keys: &dyn Sign) -> Result<Vec<Gated>, StoreError> {
        self.call("gate", self.store.gate(batch, keys)).await
    }

    async fn unresolved(
        &self,
        partition: i32,
        after: Option<AttemptKey>,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.call("unresolved", self.store.unresolved(partition, after, limit)).await
    }

    async fn due(
        &self,
        partition: i32,
        class: Class,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.call("due", self.store.due(partition, class, now, limit)).await
    }

    async fn turn(&self, batch: Turns<'_>, keys: &dyn Sign) -> Result<Vec<Gated>, StoreError> {
        self.call("turn", self.store.turn(batch, keys)).await
    }

    async fn closes_due(
        &self,
        partition: i32,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Close>, StoreError> {
        self.call("closes_due", self.store.closes_due(partition, now, limit)).await
    }

    async fn close(&self, of: &CloseName) -> Result<Option<Close>, StoreError> {
        self.call("close", self.store.close(of)).await
    }

    async fn attempt(&self, key: AttemptKey) -> Result<Option<Attempt>, StoreError> {
        self.call("attempt", self.store.attempt(key)).await
    }

    async fn record(&self, before: &Attempt, after: &Attempt) -> Result<(), StoreError> {
        self.place.fates.tell(|| {
            format!(
                "{} records {}#{} r{}: {} -> {}, filled {}, {:?}",
                self.place.name,
                crate::oracle::short(after.idempotency_key),
                after.attempt,
                after.revision,
                before.status,
                after.status,
                after.filled_shares,
                after.reason,
            )
        });
        self.call("record", self.store.record(before, after)).await
    }

    async fn looked(
        &self,
        key: AttemptKey,
        revision: i64,
        asked: i32,
        next_look_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.call("looked", self.store.looked(key, revision, asked, next_look_at)).await
    }

    async fn outbox_next(&self, partition: i32, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.call("outbox_next", self.store.outbox_next(partition, limit)).await
    }

    async fn outbox_published(&self, rows: &[(AttemptKey, i64)]) -> Result<(), StoreError> {
        self.call("outbox_published", self.store.outbox_published(rows)).await
    }

    async fn forget_published(&self, partition: i32, before: Timestamp) -> Result<(), StoreError> {
        self.call("forget_published", self.store.forget_published(partition, before)).await
    }

    async fn deferred(
        &self,
        partition: i32,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Deferred>, StoreError> {
        self.call("deferred", self.store.deferred(partition, now, limit)).await
    }

    async fn keep_balance(&self, of: BudgetKey, balance: Usdc, at: Timestamp) -> Result<(), StoreError> {
        self.call("keep_balance", self.store.keep_balance(of, balance, at)).await
    }

    async fn budgets(&self) -> Result<Vec<(BudgetKey, Option<Timestamp>)>, StoreError> {
        self.call("budgets", self.store.budgets()).await
    }

    async fn agreed_offsets(&self) -> Result<BTreeMap<i32, StoredOffset>, StoreError> {
        self.call("agreed_offsets", self.store.agreed_offsets()).await
    }

    async fn keep_agreed(&self, offset: &StoredOffset) -> Result<(), StoreError> {
        self.call("keep_agreed", self.store.keep_agreed(offset)).await
    }

    async fn revisions(&self, of: &[AttemptKey]) -> Result<BTreeMap<AttemptKey, i64>, StoreError> {
        self.call("revisions", self.store.revisions(of)).await
    }
}

#[async_trait]
impl Following for SimLedger {
    async fn followed(&self, partition: i32) -> Result<BTreeSet<(Uuid, Mode)>, StoreError> {
        self.call("followed", self.store.followed(partition)).await
    }

    async fn make_due(&self, partition: i32, connection: Uuid, now: Timestamp) -> Result<(), StoreError> {
        self.call("make_due", self.store.make_due(partition, connection, now)).await
    }

    async fn by_order_id(&self, partition: i32, ids: &[OrderId]) -> Result<Vec<AttemptKey>, StoreError> {
        self.call("by_order_id", self.store.by_order_id(partition, ids)).await
    }

    async fn resting(&self, partition: i32, connection: Uuid) -> Result<Vec<Attempt>, StoreError> {
        self.call("resting", self.store.resting(partition, connection)).await
    }

    async fn diagnosis(&self, key: AttemptKey) -> Result<Option<Diagnosis>, StoreError> {
        self.call("diagnosis", self.store.diagnosis(key)).await
    }

    async fn diagnose(
        &self,
        before: &Attempt,
        after: &Attempt,
        found: &Diagnosis,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.call("diagnose", self.store.diagnose(before, after, found, at)).await
    }

    async fn pause_after_rejections(&self, pause: &Pause<'_>) -> Result<bool, StoreError> {
        self.call("pause_after_rejections", self.store.pause_after_rejections(pause)).await
    }

    async fn controls_next(&self, partition: i32, limit: usize) -> Result<Vec<ControlRow>, StoreError> {
        self.call("controls_next", self.store.controls_next(partition, limit)).await
    }

    async fn controls_published(&self, rows: &[(BillingAccountId, i64)]) -> Result<(), StoreError> {
        self.call("controls_published", self.store.controls_published(rows)).await
    }

    async fn ticked(&self, partition: i32, at: Timestamp) -> Result<(), StoreError> {
        self.call("ticked", self.store.ticked(partition, at)).await
    }
}
