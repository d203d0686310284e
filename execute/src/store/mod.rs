//! The ledger port: what the shell asks of the database, as named whole transactions (`design.md`, Ports).
//!
//! Each call is one transaction: it is done as a whole or has no effect. An answer that is lost is
//! [`StoreError::Unreachable`] too, so whoever gets it starts over from what is stored.
//!
//! [`postgres`] is the real one, [`memory`] the one of tests and simulations; one suite runs over both.

mod following;
pub mod memory;
mod paper;
pub mod postgres;

use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use eventlog::{TopicPartition, position::StoredOffset};
use schemas::{
    BillingAccountId, ConditionId, IdempotencyKey, Mode, Shares, Side, Timestamp, Usdc, UserId,
    codec::Codec,
    events::{IntentHead, IntentsEvent, PlaceIntent},
};
use uuid::Uuid;

use crate::core::{
    Attempt, AttemptKey,
    close::{Close, CloseName, plan::Market},
    follow::Class,
    gate::{NotLoaded, Sign, Snapshots, Step, Wait},
    snapshot::Connection,
    turn,
};
pub use crate::error::StoreError;
pub use following::{ControlRow, Following, Pause};
pub use paper::PaperLedger;

/// A partition that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The owner's number: grows with each claim.
    pub epoch: i64,
    /// Sends wait so long, measured from after this answer: until then the previous owner may send.
    pub send_in: Duration,
    /// Where reading goes on; `None` where nothing was taken yet.
    pub position: Option<StoredOffset>,
}

/// What an intent is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From the log: the offset moves over them in the same transaction.
    Log {
        /// Where the stored offset must stand.
        from: Option<StoredOffset>,
        /// Where it is put.
        to: StoredOffset,
    },
    /// From what was deferred: those that wait no longer are removed in the same transaction.
    Deferred,
}

/// One intent of a batch.
#[derive(Debug, Clone)]
pub struct Item {
    /// The intent.
    pub intent: IntentsEvent,
    /// Its framed bytes: kept where it is deferred.
    pub value: Bytes,
}

/// A batch for the gate.
#[derive(Debug)]
pub struct Batch<'b> {
    /// The partition of `intents`.
    pub partition: i32,
    /// The epoch it is held under.
    pub epoch: i64,
    /// Where the intents come from.
    pub source: Source,
    /// In the log's order.
    pub items: &'b [Item],
    /// The gate's clock.
    pub now: Timestamp,
    /// The modes that this executor has a venue for; others are denied.
    pub served: &'b [Mode],
}

/// What is to be done for closes, whoever asked for them.
#[derive(Debug)]
pub struct Turns<'b> {
    /// The partition of `intents` that they came by.
    pub partition: i32,
    /// The epoch it is held under.
    pub epoch: i64,
    /// Which, their conditions, and what was read at the venue for each.
    pub closes: &'b [(CloseName, ConditionId, Market)],
    /// The gate's clock.
    pub now: Timestamp,
    /// The modes that this executor has a venue for; others are denied.
    pub served: &'b [Mode],
}

/// What the gate did for one intent, or one close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gated {
    /// A new attempt is committed: to be sent if it is reserved, ended otherwise.
    Inserted(Box<Attempt>),
    /// A committed attempt shall be cancelled.
    Cancelling(Box<Attempt>),
    /// The intent is kept.
    Deferred(Wait),
    /// So many shares are due by it.
    Owed(Shares),
    /// Nothing was written, because of this.
    Nothing(&'static str),
}

/// An intent that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferred {
    /// The tenant.
    pub billing_account_id: BillingAccountId,
    /// The copy.
    pub idempotency_key: IdempotencyKey,
    /// The decision's revision.
    pub revision: i32,
    /// The framed intent.
    pub value: Bytes,
    /// When it was first kept.
    pub created_at: Timestamp,
}

/// A record to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// The attempt.
    pub key: AttemptKey,
    /// Its revision.
    pub revision: i64,
    /// The record's key: the followed wallet.
    pub wallet: String,
    /// The framed record.
    pub value: Bytes,
}

/// A connection with its sealed secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedConnection {
    /// The tenant.
    pub billing_account_id: BillingAccountId,
    /// The wallet.
    pub connection: Connection,
    /// Its signing key.
    pub signing_key: Vec<u8>,
    /// Its API credentials, once derived.
    pub api_credentials: Option<Vec<u8>>,
}

/// Where the wallet's money of a tenant has to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BudgetKey {
    /// The tenant.
    pub billing_account_id: BillingAccountId,
    /// The mode.
    pub mode: Mode,
}

/// The ledger.
#[async_trait]
pub trait Store: Following + fmt::Debug + Send + Sync {
    /// Takes a partition: bumps its epoch under lock, so that whoever held it commits nothing more. `owner` names
    /// this process: what it held itself it need not wait for.
    async fn claim(&self, partition: i32, owner: &str, lease: Duration) -> Result<Claim, StoreError>;

    /// Moves the lease on to `lease` from now. Whether the partition is still held under that epoch.
    async fn renew(&self, partition: i32, epoch: i64, lease: Duration) -> Result<bool, StoreError>;

    /// Ends the lease now, so that the next owner need not wait.
    async fn release(&self, partition: i32, epoch: i64) -> Result<(), StoreError>;

    /// Who owns these accounts; unknown ones are missing.
    async fn accounts(
        &self,
        ids: &[BillingAccountId],
    ) -> Result<BTreeMap<BillingAccountId, UserId>, StoreError>;

    /// The active connections of these accounts.
    async fn active_connections(&self, of: &[BillingAccountId]) -> Result<Vec<SealedConnection>, StoreError>;

    /// One connection, revoked or not: whose key signed a row.
    async fn connection(&self, id: Uuid) -> Result<Option<SealedConnection>, StoreError>;

    /// Keeps the API credentials of a connection.
    async fn keep_credentials(&self, id: Uuid, sealed: &[u8]) -> Result<(), StoreError>;

    /// The approvals of a connection were found in place.
    async fn approve(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError>;

    /// Makes sure that these tenants have a row to be locked by.
    async fn open_budgets(&self, of: &[BudgetKey]) -> Result<(), StoreError>;

    /// The gate: under the partition's epoch and the budgets' locks, authorises, signs, inserts, and tells the outbox.
    /// The answers come in the order of the items; one that replaces gives two.
    ///
    /// [`StoreError::NotLoaded`] where a key is missing in `keys` or a budget has no row; nothing was written.
    async fn gate(&self, batch: Batch<'_>, keys: &dyn Sign) -> Result<Vec<Gated>, StoreError>;

    /// The closes' turn, as [`Store::gate`]: what ended is told, and the next attempt of each is made where it is time
    /// for it. Each close's row is held to the end, so that no step of its attempts is recorded meanwhile.
    async fn turn(&self, batch: Turns<'_>, keys: &dyn Sign) -> Result<Vec<Gated>, StoreError>;

    /// Closes of a partition that are to be looked at by now, the longest due first, with what is due and not ended.
    async fn closes_due(
        &self,
        partition: i32,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Close>, StoreError>;

    /// The close of a position, with everything that was ever due of it.
    async fn close(&self, of: &CloseName) -> Result<Option<Close>, StoreError>;

    /// Attempts of a partition of which nobody can say whether they are at the venue, by name, from after `after`.
    async fn unresolved(
        &self,
        partition: i32,
        after: Option<AttemptKey>,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError>;

    /// Attempts of a class of a partition that are to be looked at by now, the longest due first.
    async fn due(
        &self,
        partition: i32,
        class: Class,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError>;

    /// One attempt.
    async fn attempt(&self, key: AttemptKey) -> Result<Option<Attempt>, StoreError>;

    /// Writes an attempt's next revision, its position, what of it is whose in the position's close, and its event in
    /// one transaction, provided that it still stands at `before`. [`StoreError::Changed`] where it does not.
    async fn record(&self, before: &Attempt, after: &Attempt) -> Result<(), StoreError>;

    /// An attempt was looked at and nothing came of it. No revision; ignored where it changed meanwhile.
    async fn looked(
        &self,
        key: AttemptKey,
        revision: i64,
        asked: i32,
        next_look_at: Option<Timestamp>,
    ) -> Result<(), StoreError>;

    /// Unpublished records of a partition, so that those of one key come by revision.
    async fn outbox_next(&self, partition: i32, limit: usize) -> Result<Vec<OutboxRow>, StoreError>;

    /// These are in the log.
    async fn outbox_published(&self, rows: &[(AttemptKey, i64)]) -> Result<(), StoreError>;

    /// Removes what was published before that.
    async fn forget_published(&self, partition: i32, before: Timestamp) -> Result<(), StoreError>;

    /// Intents that wait and are to be asked again by now.
    async fn deferred(
        &self,
        partition: i32,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Deferred>, StoreError>;

    /// The collateral of a wallet, as read at the venue.
    async fn keep_balance(&self, of: BudgetKey, balance: Usdc, at: Timestamp) -> Result<(), StoreError>;

    /// Tenants with a connection whose orders come by this partition, and when their balance was read.
    async fn budgets(&self) -> Result<Vec<(BudgetKey, Option<Timestamp>)>, StoreError>;

    /// How far `orders` in the log is known to agree with the store, per partition.
    async fn agreed_offsets(&self) -> Result<BTreeMap<i32, StoredOffset>, StoreError>;

    /// It agrees up to there.
    async fn keep_agreed(&self, offset: &StoredOffset) -> Result<(), StoreError>;

    /// The revisions of these attempts; unknown ones are missing.
    async fn revisions(&self, of: &[AttemptKey]) -> Result<BTreeMap<AttemptKey, i64>, StoreError>;
}

/// The partition of `intents` as the log names it.
pub const fn intents(partition: i32) -> TopicPartition {
    TopicPartition::new(schemas::topics::Topic::Intents, partition)
}

/// When an intent that waits is asked again at first; the longer it waits, the less often.
pub(crate) fn deferred_wait(now: Timestamp) -> Timestamp {
    now.plus(Duration::from_millis(500))
}

/// The BUYs among intents that wait, as they are kept.
pub(crate) fn waiting_buys<'v>(
    codec: &Codec,
    values: impl IntoIterator<Item = &'v [u8]>,
) -> Result<Vec<PlaceIntent>, StoreError> {
    let mut buys = Vec::new();
    for value in values {
        let intent = codec.decode(value).map_err(|e| StoreError::Unreadable(e.to_string()))?;
        if let IntentsEvent::PlaceIntent(buy) = intent {
            buys.push(buy);
        }
    }
    Ok(buys)
}

/// The BUYs that waited and end with this intent: it takes their place, and they wait no more.
pub(crate) fn passed_over(steps: &[Step], head: &IntentHead) -> Vec<IdempotencyKey> {
    let others = steps.iter().filter_map(|step| match step {
        Step::Insert(row) if row.side == Side::Buy && row.idempotency_key != head.idempotency_key => {
            Some(row)
        }
        _ => None,
    });
    others.map(|row| row.idempotency_key).collect()
}

/// Takes BUYs that wait into their tenants' snapshots.
pub(crate) fn wait(snapshots: &mut Snapshots, waiting: Vec<PlaceIntent>) {
    for buy in waiting {
        if let Some(snapshot) = snapshots.get_mut(&(buy.head.billing_account_id, buy.head.mode)) {
            snapshot.waiting.insert(buy.head.idempotency_key, buy);
        }
    }
}

/// What the shell is told of an intent, given which attempts were really inserted: a conflict on a unique key means
/// that somebody else has it, and that it is not placed from here (`behaviour.md` 6.1).
pub(crate) fn answers(steps: Vec<Step>, inserted: impl Fn(&AttemptKey) -> bool) -> Vec<Gated> {
    steps
        .into_iter()
        .map(|step| match step {
            Step::Insert(attempt) if inserted(&attempt.key()) => Gated::Inserted(attempt),
            Step::Insert(_) => Gated::Nothing("another has it"),
            Step::Update { after, .. } => Gated::Cancelling(after),
            Step::Defer(wait) => Gated::Deferred(wait),
            Step::Owe(shares) => Gated::Owed(shares),
            Step::Nothing(why) => Gated::Nothing(why),
        })
        .collect()
}

/// What a batch of closes comes to; each sees what was decided before it.
pub(crate) fn turn_all(
    snapshots: &mut Snapshots,
    batch: &Turns<'_>,
    keys: &dyn Sign,
) -> Result<Vec<Step>, NotLoaded> {
    let mut steps = Vec::new();
    for (name, _, market) in batch.closes {
        let snapshot = snapshots.get_mut(&(name.billing_account_id, name.mode)).ok_or(NotLoaded)?;
        let position = (name.target_id, name.asset.clone());
        steps.extend(turn::turn(snapshot, &position, market, batch.partition, keys)?);
    }
    Ok(steps)
}
