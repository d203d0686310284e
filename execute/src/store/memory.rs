//! The ledger in memory: for tests, and for the whole system in one thread under virtual time.
//!
//! It keeps the promises of the real one with the same pure core. Every call yields before and after it takes effect, so
//! that others run in between, and asks a hook whether it fails: a lost answer, or a process that dies there.

mod closes;
mod following;
mod gate;
mod paper;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use eventlog::position::StoredOffset;
use runtime::Clock;
use schemas::{
    AssetId, BillingAccountId, ControlKind, IdempotencyKey, Mode, TargetId, TargetRowId, Timestamp, Usdc,
    UserId, codec::Codec,
};
use uuid::Uuid;

use self::closes::open_only;
use super::{
    Batch, BudgetKey, Claim, Deferred, Gated, OutboxRow, SealedConnection, Store, StoreError, Turns,
};
use crate::core::{
    Attempt, AttemptKey,
    close::{
        Close, CloseName,
        allot::{concerns, followed},
    },
    follow::{Class, class},
    gate::Sign,
    position::{Moved, Position},
    snapshot::{Grant, Target},
};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done and answered.
    Fine,
    /// It has no effect: an order that it is about was changed meanwhile.
    Overtaken,
    /// It has no effect, and its answer is lost.
    LostBefore,
    /// It is done, and its answer is lost.
    LostAfter,
    /// The caller never hears of it again, and it has no effect: the process died before it.
    DiesBefore,
    /// The caller never hears of it again, and it is done: the process died after it.
    DiesAfter,
}

/// The key of no attempt.
const fn nobody() -> AttemptKey {
    AttemptKey {
        billing_account_id: BillingAccountId::from_uuid(uuid::Uuid::nil()),
        idempotency_key: IdempotencyKey::from_bytes([0; 32]),
        attempt: 0,
    }
}

/// Says what becomes of the next call of that name.
pub type Hook = Arc<dyn Fn(&'static str) -> Fate + Send + Sync>;

#[derive(Debug, Clone)]
struct Owned {
    number: i64,
    owner: String,
    valid_until: Timestamp,
    send_from: Timestamp,
}

#[derive(Debug, Clone)]
struct Waiting {
    deferred: Deferred,
    partition: i32,
    next_look_at: Timestamp,
}

#[derive(Debug, Clone)]
struct Told {
    row: OutboxRow,
    partition: i32,
    created_at: Timestamp,
    published: bool,
}

type PositionKey = (BillingAccountId, Mode, TargetId, AssetId);

#[derive(Debug, Clone, Default)]
struct State {
    accounts: BTreeMap<BillingAccountId, UserId>,
    targets: BTreeMap<TargetRowId, (BillingAccountId, Target)>,
    connections: BTreeMap<Uuid, (SealedConnection, bool)>,
    grants: BTreeMap<BillingAccountId, Grant>,
    switches: BTreeSet<(Option<BillingAccountId>, ControlKind)>,
    epochs: BTreeMap<i32, Owned>,
    offsets: BTreeMap<i32, StoredOffset>,
    orders: BTreeMap<AttemptKey, Attempt>,
    positions: BTreeMap<PositionKey, Position>,
    budgets: BTreeMap<BudgetKey, Option<(Usdc, Timestamp)>>,
    outbox: BTreeMap<(AttemptKey, i64), Told>,
    deferred: BTreeMap<(BillingAccountId, IdempotencyKey, i32), Waiting>,
    /// With everything that was ever due.
    closes: BTreeMap<CloseName, Close>,
    agreed: BTreeMap<i32, StoredOffset>,
    following: following::Followed,
}

/// The ledger in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Hook>>>,
    clock: Arc<dyn Clock>,
    codec: Codec,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("orders", &self.lock().orders.len()).finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty ledger.
    pub fn new(clock: Arc<dyn Clock>, codec: Codec) -> Self {
        Self { state: Arc::default(), hook: Arc::default(), clock, codec }
    }

    /// A handle on the same ledger for another process, with a hook of its own.
    pub fn process(&self) -> Self {
        Self { hook: Arc::default(), ..self.clone() }
    }

    /// From now on this handle and its clones ask this hook.
    pub fn on_call(&self, hook: Option<Hook>) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = hook;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an account.
    pub fn add_account(&self, id: BillingAccountId, owner: UserId) {
        self.lock().accounts.insert(id, owner);
    }

    /// Adds or changes a target.
    pub fn put_target(&self, account: BillingAccountId, id: TargetRowId, target: Target) {
        self.lock().targets.insert(id, (account, target));
    }

    /// Adds a connection; whatever was active before is revoked.
    pub fn put_connection(&self, connection: SealedConnection) {
        let mut state = self.lock();
        for (other, revoked) in state.connections.values_mut() {
            *revoked |= other.billing_account_id == connection.billing_account_id;
        }
        state.connections.insert(connection.connection.id, (connection, false));
    }

    /// Sets the grant.
    pub fn put_grant(&self, account: BillingAccountId, grant: Grant) {
        self.lock().grants.insert(account, grant);
    }

    /// Turns a switch.
    pub fn put_switch(&self, account: Option<BillingAccountId>, kind: ControlKind, on: bool) {
        let mut state = self.lock();
        if on {
            state.switches.insert((account, kind));
        } else {
            state.switches.remove(&(account, kind));
        }
    }

    /// Every attempt, by name.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.lock().orders.values().cloned().collect()
    }

    /// A position.
    pub fn position(
        &self,
        account: BillingAccountId,
        mode: Mode,
        target: TargetId,
        asset: &AssetId,
    ) -> Option<Position> {
        self.lock().positions.get(&(account, mode, target, asset.clone())).copied()
    }

    /// How many records wait to be published, and how many intents wait to be gated.
    pub fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.outbox.values().filter(|t| !t.published).count(), state.deferred.len())
    }

    /// Every close, with everything that was ever due.
    pub fn closes(&self) -> Vec<Close> {
        self.lock().closes.values().cloned().collect()
    }

    /// Who owns a partition: the process, until when its sends are allowed, and from when.
    pub fn lease(&self, partition: i32) -> Option<(String, Timestamp, Timestamp)> {
        self.lock().epochs.get(&partition).map(|e| (e.owner.clone(), e.valid_until, e.send_from))
    }

    /// Where reading of a partition goes on.
    pub fn stored_offset(&self, partition: i32) -> Option<StoredOffset> {
        self.lock().offsets.get(&partition).cloned()
    }

    async fn call<T>(
        &self,
        name: &'static str,
        effect: impl FnOnce(&mut State) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fate = hook.map_or(Fate::Fine, |hook| hook(name));
        let lost = || StoreError::Unreachable("the answer was lost".to_owned());
        match fate {
            Fate::Overtaken => return Err(StoreError::Changed(nobody())),
            Fate::LostBefore => return Err(lost()),
            Fate::DiesBefore => std::future::pending().await,
            Fate::Fine | Fate::LostAfter | Fate::DiesAfter => {}
        }
        let answer = {
            let mut state = self.lock();
            // A transaction that fails leaves nothing behind.
            let mut staged = state.clone();
            let answer = effect(&mut staged);
            if answer.is_ok() {
                *state = staged;
            }
            answer
        };
        match fate {
            Fate::LostAfter => return Err(lost()),
            Fate::DiesAfter => std::future::pending().await,
            Fate::Fine | Fate::Overtaken | Fate::LostBefore | Fate::DiesBefore => {}
        }
        tokio::task::yield_now().await;
        answer
    }
}

fn told(codec: &Codec, attempt: &Attempt) -> Result<Told, StoreError> {
    let value = codec.encode(&attempt.to_event()).map_err(|e| StoreError::Unreadable(e.to_string()))?.value;
    Ok(Told {
        row: OutboxRow {
            key: attempt.key(),
            revision: attempt.revision,
            wallet: attempt.wallet.to_string(),
            value,
        },
        partition: attempt.partition,
        created_at: attempt.changed_at,
        published: false,
    })
}

impl State {
    fn held(&self, partition: i32, epoch: i64, now: Timestamp) -> Result<(), StoreError> {
        match self.epochs.get(&partition) {
            Some(e) if e.number == epoch && e.valid_until > now => Ok(()),
            _ => Err(StoreError::NotOwner { partition, epoch }),
        }
    }

    fn update(&mut self, codec: &Codec, before: &Attempt, after: &Attempt) -> Result<(), StoreError> {
        let key = after.key();
        if after.reason.as_ref().is_some_and(|reason| reason.contains('\0')) {
            return Err(StoreError::Refused("unsupported Unicode escape sequence".to_owned()));
        }
        match self.orders.get_mut(&key) {
            Some(row) if row.revision == before.revision && row.held_as == after.held_as => {
                *row = after.clone();
            }
            _ => return Err(StoreError::Changed(key)),
        }
        self.outbox.insert((key, after.revision), told(codec, after)?);
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn claim(&self, partition: i32, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        let now = self.clock.now();
        self.call("claim", |state| {
            let before = state.epochs.get(&partition);
            let send_from = match before {
                Some(e) if e.owner != owner => e.valid_until.max(e.send_from).max(now),
                Some(e) => e.send_from.max(now),
                None => now,
            };
            let epoch = before.map_or(0, |e| e.number) + 1;
            let valid_until = now.plus(lease);
            state
                .epochs
                .insert(partition, Owned { number: epoch, owner: owner.to_owned(), valid_until, send_from });
            let position = state.offsets.get(&partition).cloned();
            Ok(Claim { epoch, send_in: send_from.since(now), position })
        })
        .await
    }

    async fn renew(&self, partition: i32, epoch: i64, lease: Duration) -> Result<bool, StoreError> {
        let now = self.clock.now();
        self.call("renew", |state| {
            let held = state.epochs.get_mut(&partition).filter(|e| e.number == epoch);
            Ok(held.map(|e| e.valid_until = now.plus(lease)).is_some())
        })
        .await
    }

    async fn release(&self, partition: i32, epoch: i64) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.call("release", |state| {
            if let Some(e) = state.epochs.get_mut(&partition).filter(|e| e.number == epoch) {
                e.valid_until = now;
            }
            Ok(())
        })
        .await
    }

    async fn accounts(
        &self,
        ids: &[BillingAccountId],
    ) -> Result<BTreeMap<BillingAccountId, UserId>, StoreError> {
        self.call("accounts", |state| {
            Ok(ids.iter().filter_map(|id| Some((*id, *state.accounts.get(id)?))).collect())
        })
        .await
    }

    async fn active_connections(&self, of: &[BillingAccountId]) -> Result<Vec<SealedConnection>, StoreError> {
        self.call("active_connections", |state| {
            let active = state.connections.values().filter(|(_, revoked)| !revoked).map(|(c, _)| c);
            Ok(active.filter(|c| of.contains(&c.billing_account_id)).cloned().collect())
        })
        .await
    }

    async fn connection(&self, id: Uuid) -> Result<Option<SealedConnection>, StoreError> {
        self.call("connection", |state| Ok(state.connections.get(&id).map(|(c, _)| c.clone()))).await
    }

    async fn keep_credentials(&self, id: Uuid, sealed: &[u8]) -> Result<(), StoreError> {
        self.call("keep_credentials", |state| {
            if let Some((c, _)) = state.connections.get_mut(&id) {
                c.api_credentials = Some(sealed.to_vec());
            }
            Ok(())
        })
        .await
    }

    async fn approve(&self, id: Uuid, _at: Timestamp) -> Result<(), StoreError> {
        self.call("approve", |state| {
            if let Some((c, _)) = state.connections.get_mut(&id) {
                c.connection.approved = true;
            }
            Ok(())
        })
        .await
    }

    async fn open_budgets(&self, of: &[BudgetKey]) -> Result<(), StoreError> {
        self.call("open_budgets", |state| {
            for key in of {
                state.budgets.entry(*key).or_default();
            }
            Ok(())
        })
        .await
    }

    async fn gate(&self, batch: Batch<'_>, keys: &dyn Sign) -> Result<Vec<Gated>, StoreError> {
        let now = self.clock.now();
        self.call("gate", |state| state.gate(&self.codec, &batch, keys, now)).await
    }

    async fn turn(&self, batch: Turns<'_>, keys: &dyn Sign) -> Result<Vec<Gated>, StoreError> {
        let now = self.clock.now();
        self.call("turn", |state| state.turn(&self.codec, &batch, keys, now)).await
    }

    async fn closes_due(
        &self,
        partition: i32,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Close>, StoreError> {
        self.call("closes_due", |state| {
            let is_due = |c: &&Close| c.partition == partition && c.next_look_at.is_some_and(|at| at <= now);
            let mut rows: Vec<Close> = state.closes.values().filter(is_due).map(open_only).collect();
            rows.sort_by(|a, b| (a.next_look_at, &a.name).cmp(&(b.next_look_at, &b.name)));
            rows.truncate(limit);
            Ok(rows)
        })
        .await
    }

    async fn close(&self, of: &CloseName) -> Result<Option<Close>, StoreError> {
        self.call("close", |state| Ok(state.closes.get(of).cloned())).await
    }

    async fn unresolved(
        &self,
        partition: i32,
        after: Option<AttemptKey>,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.call("unresolved", |state| {
            let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let rows = state.orders.range((from, std::ops::Bound::Unbounded)).map(|(_, a)| a);
            Ok(rows.filter(|a| a.partition == partition && a.is_unresolved()).take(limit).cloned().collect())
        })
        .await
    }

    async fn due(
        &self,
        partition: i32,
        of: Class,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.call("due", |state| {
            let is_due = |a: &&Attempt| {
                a.partition == partition && class(a) == of && a.next_look_at.is_some_and(|at| at <= now)
            };
            let mut rows: Vec<Attempt> = state.orders.values().filter(is_due).cloned().collect();
            rows.sort_by_key(|a| (a.next_look_at, a.key()));
            rows.truncate(limit);
            Ok(rows)
        })
        .await
    }

    async fn attempt(&self, key: AttemptKey) -> Result<Option<Attempt>, StoreError> {
        self.call("attempt", |state| Ok(state.orders.get(&key).cloned())).await
    }

    async fn record(&self, before: &Attempt, after: &Attempt) -> Result<(), StoreError> {
        self.call("record", |state| {
            if let Some(moved) = Moved::between(before, after) {
                let name = (after.billing_account_id, after.mode, after.target_id, after.held_as.clone());
                let position = state.positions.entry(name).or_insert(Position::none(after.condition_id));
                *position = position.after(moved);
            }
            state.update(&self.codec, before, after)?;
            if concerns(before, after)
                && let Some(close) = state.closes.get(&CloseName::of(after)).cloned()
            {
                state.write_close(&followed(close, after))?;
            }
            Ok(())
        })
        .await
    }

    async fn looked(
        &self,
        key: AttemptKey,
        revision: i64,
        asked: i32,
        next_look_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.call("looked", |state| {
            if let Some(row) = state.orders.get_mut(&key).filter(|a| a.revision == revision) {
                row.asked = asked;
                row.next_look_at = next_look_at;
            }
            Ok(())
        })
        .await
    }

    async fn outbox_next(&self, partition: i32, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.call("outbox_next", |state| {
            let mut rows: Vec<&Told> =
                state.outbox.values().filter(|t| t.partition == partition && !t.published).collect();
            rows.sort_by_key(|t| (t.created_at, t.row.key, t.row.revision));
            Ok(rows.into_iter().take(limit).map(|t| t.row.clone()).collect())
        })
        .await
    }

    async fn outbox_published(&self, rows: &[(AttemptKey, i64)]) -> Result<(), StoreError> {
        self.call("outbox_published", |state| {
            for name in rows {
                if let Some(told) = state.outbox.get_mut(name) {
                    told.published = true;
                }
            }
            Ok(())
        })
        .await
    }

    async fn forget_published(&self, partition: i32, before: Timestamp) -> Result<(), StoreError> {
        self.call("forget_published", |state| {
            state.outbox.retain(|_, t| t.partition != partition || !t.published || t.created_at >= before);
            Ok(())
        })
        .await
    }

    async fn deferred(
        &self,
        partition: i32,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Deferred>, StoreError> {
        self.call("deferred", |state| {
            let due = state.deferred.values().filter(|w| w.partition == partition && w.next_look_at <= now);
            let mut rows: Vec<Deferred> = due.map(|w| w.deferred.clone()).collect();
            rows.sort_by_key(|d| (d.created_at, d.billing_account_id, d.idempotency_key, d.revision));
            rows.truncate(limit);
            Ok(rows)
        })
        .await
    }

    async fn keep_balance(&self, of: BudgetKey, balance: Usdc, at: Timestamp) -> Result<(), StoreError> {
        self.call("keep_balance", |state| {
            if let Some(budget) = state.budgets.get_mut(&of)
                && budget.is_none_or(|(_, read)| read < at)
            {
                *budget = Some((balance, at));
            }
            Ok(())
        })
        .await
    }

    async fn budgets(&self) -> Result<Vec<(BudgetKey, Option<Timestamp>)>, StoreError> {
        self.call("budgets", |state| {
            let active: BTreeSet<BillingAccountId> =
                state.connections.values().filter(|(_, r)| !r).map(|(c, _)| c.billing_account_id).collect();
            let of = state.budgets.iter().filter(|(key, _)| active.contains(&key.billing_account_id));
            Ok(of.map(|(key, balance)| (*key, balance.map(|(_, at)| at))).collect())
        })
        .await
    }

    async fn agreed_offsets(&self) -> Result<BTreeMap<i32, StoredOffset>, StoreError> {
        self.call("agreed_offsets", |state| Ok(state.agreed.clone())).await
    }

    async fn keep_agreed(&self, offset: &StoredOffset) -> Result<(), StoreError> {
        self.call("keep_agreed", |state| {
            let stored = state.agreed.get(&offset.at.partition);
            if stored.is_none_or(|s| s.log_id != offset.log_id || s.next < offset.next) {
                state.agreed.insert(offset.at.partition, offset.clone());
            }
            Ok(())
        })
        .await
    }

    async fn revisions(&self, of: &[AttemptKey]) -> Result<BTreeMap<AttemptKey, i64>, StoreError> {
        self.call("revisions", |state| {
            Ok(of.iter().filter_map(|key| Some((*key, state.orders.get(key)?.revision))).collect())
        })
        .await
    }
}
