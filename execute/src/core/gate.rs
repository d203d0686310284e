//! What the gate writes for each intent. Runs inside the gate's transaction, over one snapshot per tenant and mode;
//! the store only reads the snapshot, calls this, and writes the steps.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    AssetId, BillingAccountId, ConditionId, Denial, IdempotencyKey, Mode, OrderStatus, Price, Shares, Side,
    TargetRowId, Timestamp, Usdc,
    events::{BookSnapshot, CancelIntent, IntentHead, IntentsEvent, MarketFacts, PlaceIntent},
};
use venue::order::{BuildError, OrderRequest, SignedBody};

use super::{
    Attempt, AttemptKey, Authorised, Body, Snapshot,
    attempt::natural_key,
    authorise::{Asked, authorise},
    build,
    close::{Close, CloseName, DueKey, Note, carried::Migration, due::voided},
    follow, place,
    snapshot::{Connection, Readiness},
    transition::{Event, transition},
    turn,
};

/// Signs an order with a connection's key. Pure CPU: it is called inside the gate's transaction.
pub trait Sign: Send + Sync {
    /// Whether a connection's key and credentials are at hand, and its approvals were looked for.
    fn readiness(&self, connection: &Connection) -> Readiness;

    /// Signs an order; `None` where the key is not at hand.
    fn sign(&self, connection: &Connection, request: &OrderRequest)
    -> Option<Result<SignedBody, BuildError>>;
}

/// For what an intent waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// For an order to end: the one it replaces.
    Order(AttemptKey),
    /// For the intent that replaces it while it waits.
    Intent(IdempotencyKey),
}

impl Wait {
    /// The word that is stored beside the intent.
    pub fn describe(self) -> String {
        match self {
            Self::Order(key) => format!("order:{}:{}", key.idempotency_key, key.attempt),
            Self::Intent(key) => format!("intent:{key}"),
        }
    }
}

/// What is written for an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A new attempt: reserved with its signed body, or denied, or not buildable.
    Insert(Box<Attempt>),
    /// An attempt at its next revision: it shall be cancelled.
    Update {
        /// The attempt as it stood.
        before: Box<Attempt>,
        /// The attempt as it shall stand.
        after: Box<Attempt>,
    },
    /// The intent is kept until what it waits for has come.
    Defer(Wait),
    /// So many shares of its position are due by it from now on.
    Owe(Shares),
    /// Nothing: somebody else has it, or it has ended.
    Nothing(&'static str),
}

/// Why a batch cannot be gated now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLoaded;

/// The head of an intent.
pub const fn head_of(intent: &IntentsEvent) -> &IntentHead {
    match intent {
        IntentsEvent::PlaceIntent(i) => &i.head,
        IntentsEvent::CloseIntent(i) => &i.head,
        IntentsEvent::CancelIntent(i) => &i.head,
        IntentsEvent::MigrateIntent(i) => &i.head,
    }
}

/// The other copy that an intent names: the one it replaces, cancels, or closes because its fill was voided.
pub fn names(intent: &IntentsEvent) -> Option<IdempotencyKey> {
    match intent {
        IntentsEvent::PlaceIntent(i) => i.replaces,
        IntentsEvent::CloseIntent(i) => voided(i),
        IntentsEvent::CancelIntent(i) => Some(i.cancels),
        IntentsEvent::MigrateIntent(_) => None,
    }
}

/// The position that an intent is about.
pub fn close_of(head: &IntentHead) -> CloseName {
    CloseName {
        billing_account_id: head.billing_account_id,
        mode: head.mode,
        target_id: head.target_id,
        asset: head.asset.clone(),
    }
}

/// The tenants of a batch, each in one mode.
pub type Snapshots = BTreeMap<(BillingAccountId, Mode), Snapshot>;

/// What a batch needs in its snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The tenants and modes, in the order in which their budgets are locked.
    pub tenants: BTreeSet<(BillingAccountId, Mode)>,
    /// The targets' rows.
    pub targets: BTreeSet<TargetRowId>,
    /// The conditions whose positions count.
    pub conditions: BTreeSet<(BillingAccountId, ConditionId)>,
    /// The copies whose attempts are asked for.
    pub keys: BTreeSet<(BillingAccountId, IdempotencyKey)>,
    /// The natural keys whose attempts are asked for.
    pub naturals: BTreeSet<(BillingAccountId, String)>,
    /// The positions whose closes are asked for, with what is held and alive of them whatever their condition; in the order
    /// in which they are locked.
    pub closes: BTreeSet<CloseName>,
    /// Tokens that go on under another id: carried there before anything is read.
    pub migrations: Vec<Migration>,
    /// The accounts whose BUYs that wait are asked for: an intent names another copy, which may be one of them.
    pub waiting: BTreeSet<BillingAccountId>,
}

impl Wanted {
    /// What these intents need.
    pub fn by<'i>(intents: impl IntoIterator<Item = &'i IntentsEvent>, partition: i32) -> Self {
        let mut wanted = Self::default();
        for intent in intents {
            let head = head_of(intent);
            wanted.tenants.insert(tenant_of(intent));
            wanted.targets.insert(head.target_row_id);
            let account = head.billing_account_id;
            wanted.conditions.insert((account, head.condition_id));
            wanted.keys.insert((account, head.idempotency_key));
            wanted.keys.extend(names(intent).map(|key| (account, key)));
            wanted.waiting.extend(names(intent).map(|_| account));
            wanted.naturals.insert((account, natural_key(head)));
            // A BUY that waits for another may be overtaken by a close.
            let may_close = !matches!(intent, IntentsEvent::PlaceIntent(i) if i.replaces.is_none());
            if may_close {
                wanted.closes.insert(close_of(head));
            }
            if let IntentsEvent::MigrateIntent(i) = intent {
                let migration = Migration {
                    billing_account_id: account,
                    mode: head.mode,
                    target_id: head.target_id,
                    from: head.asset.clone(),
                    to: i.becomes.clone(),
                    condition_id: head.condition_id,
                    partition,
                };
                wanted.closes.insert(migration.after());
                wanted.migrations.push(migration);
            }
        }
        wanted
    }

    /// What the closes of these positions need, their conditions and all.
    pub fn by_closes<'c>(closes: impl IntoIterator<Item = (&'c CloseName, ConditionId)>) -> Self {
        let mut wanted = Self::default();
        for (name, condition) in closes {
            wanted.tenants.insert((name.billing_account_id, name.mode));
            wanted.conditions.insert((name.billing_account_id, condition));
            wanted.closes.insert(name.clone());
        }
        wanted
    }

    /// Positions are asked for under the ids that they have now.
    pub fn follow(&mut self, snapshots: &Snapshots) {
        let current = |name: CloseName| {
            let snapshot = snapshots.get(&(name.billing_account_id, name.mode));
            match snapshot.map(|s| s.current(name.target_id, &name.asset)) {
                Some(asset) => CloseName { asset, ..name },
                None => name,
            }
        };
        self.closes = std::mem::take(&mut self.closes).into_iter().map(current).collect();
    }

    /// What BUYs that wait name besides: the orders that they replace.
    pub fn and_of_waiting(&mut self, waiting: &[PlaceIntent]) {
        self.keys.extend(waiting.iter().filter_map(|i| Some((i.head.billing_account_id, i.replaces?))));
    }

    /// What the closes that were read name besides: the attempts of their dues, and the BUYs that these wait for.
    pub fn and_of(&mut self, close: &Close) {
        let account = close.name.billing_account_id;
        self.conditions.insert((account, close.condition_id));
        for due in close.open() {
            self.keys.insert((account, due.idempotency_key));
            self.keys.extend(due.awaits.iter().map(|a| (account, a.key)));
        }
    }
}

/// What the gate writes for a batch, intent by intent; each sees what was decided before it.
///
/// # Errors
/// A tenant has no snapshot, or its keys have to be loaded first.
pub fn gate_all<'i>(
    snapshots: &mut Snapshots,
    intents: impl IntoIterator<Item = &'i IntentsEvent>,
    partition: i32,
    keys: &dyn Sign,
) -> Result<Vec<Vec<Step>>, NotLoaded> {
    intents
        .into_iter()
        .map(|intent| {
            let snapshot = snapshots.get_mut(&tenant_of(intent)).ok_or(NotLoaded)?;
            gate(snapshot, intent, partition, keys)
        })
        .collect()
}

/// What the gate writes for one intent, and takes into the snapshot.
///
/// # Errors
/// The tenant's key has to be loaded first; nothing was taken in.
pub fn gate(
    snapshot: &mut Snapshot,
    intent: &IntentsEvent,
    partition: i32,
    keys: &dyn Sign,
) -> Result<Vec<Step>, NotLoaded> {
    match intent {
        IntentsEvent::PlaceIntent(intent) => place::gate_place(snapshot, intent, partition, keys),
        IntentsEvent::CloseIntent(close) => turn::gate_close(snapshot, close, partition, keys),
        IntentsEvent::CancelIntent(cancel) => gate_cancel(snapshot, cancel, partition, keys),
        IntentsEvent::MigrateIntent(migrate) => turn::gate_migrate(snapshot, migrate, partition, keys),
    }
}

/// Whether something was written for a fill or cause before.
pub(super) fn is_taken(snapshot: &Snapshot, head: &IntentHead) -> bool {
    let natural = natural_key(head);
    let key = DueKey { key: head.idempotency_key, revision: head.revision };
    snapshot.named.values().any(|a| a.is_of(head))
        || snapshot.known_dues.iter().any(|(name, known)| *name == key || *known == natural)
}

/// The last attempt of a copy.
pub(super) fn last_of(snapshot: &Snapshot, key: IdempotencyKey) -> Option<&Attempt> {
    snapshot.named.values().filter(|a| a.idempotency_key == key).max_by_key(|a| a.attempt)
}

fn gate_cancel(
    snapshot: &mut Snapshot,
    intent: &CancelIntent,
    partition: i32,
    keys: &dyn Sign,
) -> Result<Vec<Step>, NotLoaded> {
    // A close's key: what is due of it and not sold is dropped.
    if let Some(steps) = turn::drop_dues(snapshot, intent, partition, keys)? {
        return Ok(steps);
    }
    let Some(attempt) = last_of(snapshot, intent.cancels).cloned() else {
        let waiting = place::waiting_before(snapshot, Some(intent.cancels));
        if !waiting.is_empty() {
            return Ok(waiting
                .iter()
                .map(|waiting| place::superseded(snapshot, waiting, partition))
                .collect());
        }
        return Ok(vec![Step::Nothing("no such order was ever placed")]);
    };
    let ask = ask_cancel(snapshot, &attempt, &intent.cause);
    Ok(vec![ask.unwrap_or(Step::Nothing("the order has ended, or is being cancelled"))])
}

/// Asks for the cancellation of an attempt, unless it has ended or was asked before.
pub(super) fn ask_cancel(snapshot: &mut Snapshot, attempt: &Attempt, cause: &str) -> Option<Step> {
    let mut after = transition(attempt, &Event::CancelAsked { cause: cause.to_owned() }, snapshot.now)?;
    after.asked = 0;
    // One of this batch must not be found due before it is handed to whoever sends, who is told: whoever looked at it then
    // could not say that it was never sent.
    if !snapshot.fresh.contains(&attempt.key()) {
        after.next_look_at = Some(snapshot.now);
    }
    snapshot.named.insert(after.key(), after.clone());
    Some(Step::Update { before: Box::new(attempt.clone()), after: Box::new(after) })
}

/// What an attempt's row takes from its intent.
pub(super) struct Line<'i> {
    pub head: &'i IntentHead,
    /// What is traded.
    pub asset: &'i AssetId,
    /// A close is a SELL whatever its cause was.
    pub side: Side,
    pub facts: Option<&'i MarketFacts>,
    pub attempt: i32,
    pub partition: i32,
    pub send_until: Timestamp,
    pub note: Option<Note>,
    /// On paper: the recorded book.
    pub book: Option<&'i BookSnapshot>,
}

/// Authorises and signs; the row of it, or of its denial.
pub(super) fn insert(
    snapshot: &mut Snapshot,
    asked: Asked<'_>,
    line: &Line<'_>,
    facts: &MarketFacts,
    shown: (Price, Shares),
    keys: &dyn Sign,
) -> Result<Step, NotLoaded> {
    look_for_keys(snapshot, keys)?;
    let attempt = match authorise(snapshot, asked) {
        Ok(authorised) => build_or_reject(snapshot, line, facts, &authorised, shown, keys)?,
        Err(denial) => ended(snapshot, line, shown, OrderStatus::Denied, denial.as_str().to_owned()),
    };
    snapshot.admit(&attempt);
    Ok(Step::Insert(Box::new(attempt)))
}

/// Whether the tenant's wallet can sign.
///
/// # Errors
/// Nobody has looked yet.
pub(super) fn look_for_keys(snapshot: &mut Snapshot, keys: &dyn Sign) -> Result<(), NotLoaded> {
    if let Some(connection) = &snapshot.connection {
        snapshot.readiness = keys.readiness(connection);
        if snapshot.readiness == Readiness::NotLoaded {
            return Err(NotLoaded);
        }
    }
    Ok(())
}

/// The attempt of an authorised order, signed.
///
/// # Errors
/// The key is not at hand.
pub(super) fn build_or_reject(
    snapshot: &Snapshot,
    line: &Line<'_>,
    facts: &MarketFacts,
    authorised: &Authorised,
    shown: (Price, Shares),
    keys: &dyn Sign,
) -> Result<Attempt, NotLoaded> {
    let connection = snapshot.connection.clone().ok_or(NotLoaded)?;
    let request = build::request(authorised, line.head, line.asset, facts, line.attempt);
    Ok(match keys.sign(&connection, &request).ok_or(NotLoaded)? {
        Ok(signed) => reserved(snapshot, line, facts, authorised, &connection, signed),
        // Nothing that could be sent came of it: it provably never landed.
        Err(error) => ended(snapshot, line, shown, OrderStatus::Rejected, error.to_string()),
    })
}

fn row(snapshot: &Snapshot, line: &Line<'_>) -> Attempt {
    let head = line.head;
    Attempt {
        billing_account_id: head.billing_account_id,
        idempotency_key: head.idempotency_key,
        attempt: line.attempt,
        natural_key: natural_key(head),
        revision: 1,
        status: OrderStatus::Reserved,
        created_by_user_id: head.created_by_user_id,
        target_row_id: head.target_row_id,
        target_id: head.target_id,
        wallet: head.wallet,
        fill_id: head.fill_id.clone(),
        mode: head.mode,
        side: line.side,
        asset: line.asset.clone(),
        held_as: snapshot.current(head.target_id, line.asset),
        condition_id: head.condition_id,
        limit_price: Price::from_micro(0),
        shares: Shares::ZERO,
        order_type: None,
        expires_at: None,
        order_id: None,
        body: None,
        connection_id: None,
        reserved: Usdc::ZERO,
        fee_rate: line.facts.map_or(0, |f| f.fee_rate),
        fee_exponent: line.facts.map_or(1, |f| f.fee_exponent),
        filled_shares: Shares::ZERO,
        filled_usdc: Usdc::ZERO,
        fees_usdc: Usdc::ZERO,
        confirmed_shares: Shares::ZERO,
        reason: None,
        origin: head.origin.clone(),
        partition: line.partition,
        filled_at: head.filled_at,
        send_until: line.send_until,
        created_at: snapshot.now,
        sent_at: None,
        last_send_at: None,
        answered_at: None,
        synced_at: None,
        changed_at: snapshot.now,
        cancel_asked_at: None,
        cancel_cause: None,
        asked: 0,
        next_look_at: None,
        is_final: false,
        note: line.note,
        book: None,
    }
}

fn reserved(
    snapshot: &Snapshot,
    line: &Line<'_>,
    facts: &MarketFacts,
    authorised: &Authorised,
    connection: &Connection,
    signed: SignedBody,
) -> Attempt {
    let mut attempt = Attempt {
        limit_price: authorised.limit,
        shares: authorised.shares,
        order_type: Some(authorised.order_type),
        expires_at: authorised.expires_at,
        order_id: Some(signed.id),
        body: Some(Body(signed.body)),
        connection_id: Some(connection.id),
        reserved: authorised.cost.max(Usdc::ZERO),
        book: line.book.filter(|_| line.head.mode == Mode::Paper).cloned(),
        fee_rate: facts.fee_rate,
        fee_exponent: facts.fee_exponent,
        ..row(snapshot, line)
    };
    attempt.next_look_at = follow::next_look(&attempt, snapshot.now);
    attempt
}

/// A row that ends where it begins.
pub(super) fn ended(
    snapshot: &Snapshot,
    line: &Line<'_>,
    (limit, shares): (Price, Shares),
    status: OrderStatus,
    reason: String,
) -> Attempt {
    Attempt {
        limit_price: limit,
        shares: shares.max(Shares::ZERO),
        status,
        reason: Some(reason),
        is_final: true,
        ..row(snapshot, line)
    }
}

/// The denial that an attempt ended with, if it was denied.
pub fn denial(attempt: &Attempt) -> Option<Denial> {
    (attempt.status == OrderStatus::Denied).then(|| attempt.reason.as_deref()?.parse().ok()).flatten()
}

/// The tenant and mode whose snapshot an intent needs.
pub const fn tenant_of(intent: &IntentsEvent) -> (BillingAccountId, Mode) {
    let head = head_of(intent);
    (head.billing_account_id, head.mode)
}
