//! The gate's transaction (`behaviour.md` 6.1): hold the epoch, lock the budgets, read, decide, sign, insert, commit.

use std::collections::BTreeSet;

use schemas::{
    Address, AssetId, BillingAccountId, ControlKind, Mode, Side, SignatureType, TargetId, TargetRowId,
    TargetStatus, Timestamp, Usdc, UserId, codec::Codec,
};
use serde::Deserialize;
use sqlx::{PgConnection, Row, types::Json};
use uuid::Uuid;

use super::{PostgresStore, closes, failed, ledger, rows, text};
use crate::{
    core::{
        Attempt, AttemptKey, Snapshot,
        close::Close,
        gate::{Sign, Snapshots, Step, Wanted, gate_all, head_of},
        snapshot::{Connection, Grant, Target},
    },
    store::{
        Batch, Gated, Item, Source, StoreError, Turns, deferred_wait, passed_over, turn_all, wait,
        waiting_buys,
    },
};

pub async fn gate(
    store: &PostgresStore,
    batch: Batch<'_>,
    keys: &dyn Sign,
) -> Result<Vec<Gated>, StoreError> {
    let mut tx = pgpool::begin(&store.pool).await.map_err(failed)?;
    hold(&mut tx, batch.partition, batch.epoch, &batch.source).await?;
    let mut wanted = Wanted::by(batch.items.iter().map(|i| &i.intent), batch.partition);
    let (mut snapshots, closes) = read(store, &mut tx, &mut wanted, batch.served, batch.now).await?;

    let intents = batch.items.iter().map(|i| &i.intent);
    let steps =
        gate_all(&mut snapshots, intents, batch.partition, keys).map_err(|_| StoreError::NotLoaded)?;
    let written = write(store, &mut tx, steps.iter().flatten(), &closes, &snapshots).await?;
    let mut answers = Vec::with_capacity(steps.len());
    for (item, steps) in batch.items.iter().zip(steps) {
        answers.push(keep(&mut tx, &batch, item, steps, &written).await?);
    }
    tx.commit().await.map_err(failed)?;
    Ok(answers.into_iter().flatten().collect())
}

pub async fn turn(
    store: &PostgresStore,
    batch: Turns<'_>,
    keys: &dyn Sign,
) -> Result<Vec<Gated>, StoreError> {
    let mut tx = pgpool::begin(&store.pool).await.map_err(failed)?;
    hold(&mut tx, batch.partition, batch.epoch, &Source::Deferred).await?;
    let mut wanted = Wanted::by_closes(batch.closes.iter().map(|(name, condition, _)| (name, *condition)));
    let (mut snapshots, closes) = read(store, &mut tx, &mut wanted, batch.served, batch.now).await?;
    let steps = turn_all(&mut snapshots, &batch, keys).map_err(|_| StoreError::NotLoaded)?;
    let written = write(store, &mut tx, &steps, &closes, &snapshots).await?;
    tx.commit().await.map_err(failed)?;
    Ok(crate::store::answers(steps, |key| written.contains(key)))
}

/// The tenants as they stand, and the closes as they were read.
async fn read(
    store: &PostgresStore,
    db: &mut PgConnection,
    wanted: &mut Wanted,
    served: &[Mode],
    now: Timestamp,
) -> Result<(Snapshots, Vec<Close>), StoreError> {
    let mut snapshots = lock_budgets(db, wanted, served, now).await?;
    read_tenants(db, wanted, &mut snapshots).await?;
    read_waiting(&store.codec, db, wanted, &mut snapshots).await?;
    // Whoever changes where a position stands holds the tenant's budget, as this does.
    for migration in std::mem::take(&mut wanted.migrations) {
        closes::carry(db, &mut snapshots, migration, now).await?;
    }
    wanted.follow(&snapshots);
    let closes = closes::lock(db, wanted).await?;
    closes::known(db, wanted, &mut snapshots).await?;
    closes::place(&closes, &mut snapshots);
    ledger::read(db, wanted, &mut snapshots, now).await?;
    Ok((snapshots, closes))
}

/// Writes the rows, and what became of the closes; which of the new rows were inserted.
async fn write<'s>(
    store: &PostgresStore,
    db: &mut PgConnection,
    steps: impl IntoIterator<Item = &'s Step> + Clone,
    before: &[Close],
    snapshots: &Snapshots,
) -> Result<BTreeSet<AttemptKey>, StoreError> {
    closes::write(db, before, snapshots.values().flat_map(|s| s.closes.values())).await?;
    let inserts: Vec<&Attempt> = steps.clone().into_iter().filter_map(inserted).collect();
    let mut written = BTreeSet::new();
    if !inserts.is_empty() {
        written.extend(rows::insert(db, &store.codec, &inserts).await?);
        // Of a BUY it means that another has it; of a close, that what was planned is not what is.
        let missed = inserts.iter().find(|a| a.side == Side::Sell && !written.contains(&a.key()));
        if let Some(missed) = missed {
            return Err(StoreError::Changed(missed.key()));
        }
    }
    for step in steps {
        if let Step::Update { before, after } = step {
            rows::update(&mut *db, &store.codec, before, after).await?;
        }
    }
    Ok(written)
}

const fn inserted(step: &Step) -> Option<&Attempt> {
    match step {
        Step::Insert(attempt) => Some(attempt),
        _ => None,
    }
}

/// Holds the epoch to the end of the transaction, and moves the offset over the batch.
async fn hold(db: &mut PgConnection, partition: i32, epoch: i64, source: &Source) -> Result<(), StoreError> {
    const MOVE: &str = "with e as (select partition from execution.owner_epochs
             where partition = $1 and epoch = $2 and valid_until > clock_timestamp() for share)
         update execution.intent_offsets o set next_offset = $4, before = $5 from e
         where o.partition = e.partition and o.log_id = $3 and o.next_offset = $6 returning o.partition";
    const START: &str = "with e as (select partition from execution.owner_epochs
             where partition = $1 and epoch = $2 and valid_until > clock_timestamp() for share)
         insert into execution.intent_offsets (partition, log_id, next_offset, before)
         select e.partition, $3, $4, $5 from e on conflict do nothing returning partition";
    const LOOK: &str = "select partition from execution.owner_epochs
         where partition = $1 and epoch = $2 and valid_until > clock_timestamp() for share";
    let statement = match source {
        Source::Deferred => LOOK,
        Source::Log { from: None, .. } => START,
        Source::Log { from: Some(_), .. } => MOVE,
    };
    let mut query = sqlx::query(statement).bind(partition).bind(epoch);
    if let Source::Log { from, to } = source {
        query = query.bind(to.log_id.as_uuid()).bind(to.next.0).bind(to.before.map(|h| h.to_string()));
        if let Some(from) = from {
            query = query.bind(from.next.0);
        }
    }
    if query.fetch_optional(&mut *db).await.map_err(failed)?.is_some() {
        return Ok(());
    }
    let held = sqlx::query(LOOK).bind(partition).bind(epoch).fetch_optional(db).await.map_err(failed)?;
    match held {
        Some(_) => Err(StoreError::OffsetMoved(partition)),
        None => Err(StoreError::NotOwner { partition, epoch }),
    }
}

/// Locks the tenants' budgets and accounts, in one order for everybody, and begins their snapshots.
///
/// Whoever changes what a tenant allows, or pauses it, holds the account's row meanwhile. It is locked before anything of
/// that is read, and in another statement: one that waited for it would still see what stood before.
async fn lock_budgets(
    db: &mut PgConnection,
    wanted: &Wanted,
    served: &[Mode],
    now: Timestamp,
) -> Result<Snapshots, StoreError> {
    let accounts: Vec<Uuid> = wanted.tenants.iter().map(|(a, _)| a.as_uuid()).collect();
    let found = sqlx::query(
        "select b.billing_account_id, b.mode, b.balance from execution.budgets b
         join billing_accounts a on a.id = b.billing_account_id
         where (b.billing_account_id, b.mode) in (select * from unnest($1::uuid[], $2::text[]))
         order by b.billing_account_id, b.mode for update of b for share of a",
    )
    .bind(accounts)
    .bind(text(wanted.tenants.iter().map(|(_, m)| m)))
    .fetch_all(db)
    .await
    .map_err(failed)?;
    if found.len() != wanted.tenants.len() {
        return Err(StoreError::NotLoaded);
    }
    found
        .iter()
        .map(|row| {
            let account = BillingAccountId::from_uuid(row.try_get("billing_account_id").map_err(failed)?);
            let mode: Mode = super::parsed(row, "mode")?;
            let balance: Option<i64> = row.try_get("balance").map_err(failed)?;
            let snapshot = Snapshot {
                served: served.contains(&mode),
                balance: balance.map(Usdc::from_micro),
                ..Snapshot::empty(account, mode, now)
            };
            Ok(((account, mode), snapshot))
        })
        .collect()
}

/// A row of what the tenants allow.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Allowed {
    Target {
        billing_account_id: BillingAccountId,
        id: TargetRowId,
        status: TargetStatus,
        target_wallet: Address,
        mode: Mode,
        created_by_user_id: UserId,
    },
    Connection {
        billing_account_id: BillingAccountId,
        id: Uuid,
        address: Address,
        signature_type: SignatureType,
        funder: Address,
        approved: bool,
    },
    Grant {
        billing_account_id: BillingAccountId,
        #[serde(flatten)]
        grant: Grant,
    },
    /// A position that goes on under another id.
    Link {
        billing_account_id: BillingAccountId,
        mode: Mode,
        target_id: TargetId,
        asset: AssetId,
        becomes: AssetId,
    },
    Switch {
        billing_account_id: Option<BillingAccountId>,
        switch: ControlKind,
    },
}

/// Targets, connections, grants and switches, held `FOR SHARE`: whoever pauses or revokes waits for the gates that did not
/// see it.
const ALLOWED: &str = "with
    t as (select id, billing_account_id, status, target_wallet, mode, created_by_user_id
        from poly_copy_trade_targets where id = any($2) and billing_account_id = any($1) for share),
    c as (select id, billing_account_id, address, signature_type, funder, approved_at
        from poly_wallet_connections where billing_account_id = any($1) and revoked_at is null for share),
    g as (select billing_account_id, scopes, per_order_usdc_cap, daily_usdc_cap, hourly_fills_cap, per_market_usdc_cap,
            expires_at, revoked_at
        from poly_wallet_grants where id in (
            select distinct on (n.billing_account_id) n.id from poly_wallet_grants n where n.billing_account_id = any($1)
            order by n.billing_account_id, (n.revoked_at is null) desc, n.revision desc)
        for share),
    k as (select billing_account_id, kind from poly_controls
        where (billing_account_id = any($1) or billing_account_id is null) and active and kind in ('pause', 'halt')
        for share)
    select to_jsonb(t) || '{\"kind\": \"target\"}' from t
    union all select to_jsonb(c) || jsonb_build_object('kind', 'connection', 'approved', approved_at is not null) from c
    union all select jsonb_build_object('kind', 'grant', 'billing_account_id', billing_account_id, 'scopes', scopes,
        'per_order', (per_order_usdc_cap * 1000000)::bigint, 'daily', (daily_usdc_cap * 1000000)::bigint,
        'hourly', hourly_fills_cap, 'per_market', (per_market_usdc_cap * 1000000)::bigint,
        'expires_at', (extract(epoch from expires_at) * 1000000)::bigint, 'revoked', revoked_at is not null) from g
    union all select jsonb_build_object('kind', 'switch', 'billing_account_id', billing_account_id, 'switch', kind) from k
    union all select jsonb_build_object('kind', 'link', 'billing_account_id', billing_account_id, 'mode', mode,
        'target_id', target_id, 'asset', asset, 'becomes', becomes)
        from execution.closes where billing_account_id = any($1) and becomes is not null";

/// The snapshots of an account, or of all.
pub fn of_account(
    snapshots: &mut Snapshots,
    account: Option<BillingAccountId>,
) -> impl Iterator<Item = &mut Snapshot> {
    snapshots.values_mut().filter(move |s| account.is_none_or(|a| a == s.billing_account_id))
}

async fn read_tenants(
    db: &mut PgConnection,
    wanted: &Wanted,
    snapshots: &mut Snapshots,
) -> Result<(), StoreError> {
    let accounts: BTreeSet<Uuid> = wanted.tenants.iter().map(|(a, _)| a.as_uuid()).collect();
    let found = sqlx::query(ALLOWED)
        .bind(accounts.into_iter().collect::<Vec<_>>())
        .bind(wanted.targets.iter().map(TargetRowId::as_uuid).collect::<Vec<_>>())
        .fetch_all(db)
        .await
        .map_err(failed)?;
    for row in &found {
        match row.try_get::<Json<Allowed>, _>(0).map_err(failed)?.0 {
            Allowed::Target { billing_account_id, id, status, target_wallet, mode, created_by_user_id } => {
                let target = Target { status, wallet: target_wallet, mode, created_by: created_by_user_id };
                for snapshot in of_account(snapshots, Some(billing_account_id)) {
                    snapshot.targets.insert(id, target.clone());
                }
            }
            Allowed::Connection { billing_account_id, id, address, signature_type, funder, approved } => {
                let connection = Connection { id, address, signature_type, funder, approved };
                for snapshot in of_account(snapshots, Some(billing_account_id)) {
                    snapshot.connect(&connection);
                }
            }
            Allowed::Grant { billing_account_id, grant } => {
                for snapshot in of_account(snapshots, Some(billing_account_id)) {
                    snapshot.grant = Some(grant.clone());
                }
            }
            Allowed::Link { billing_account_id, mode, target_id, asset, becomes } => {
                if let Some(snapshot) = snapshots.get_mut(&(billing_account_id, mode)) {
                    snapshot.links.insert((target_id, asset), becomes);
                }
            }
            Allowed::Switch { billing_account_id, switch } => {
                for snapshot in of_account(snapshots, billing_account_id) {
                    let on = &mut snapshot.switches;
                    match (billing_account_id, switch) {
                        (None, ControlKind::Pause) => on.global_pause = true,
                        (None, ControlKind::Halt) => on.global_halt = true,
                        (Some(_), ControlKind::Pause) => on.tenant_pause = true,
                        (Some(_), ControlKind::Halt) => on.tenant_halt = true,
                        (_, ControlKind::Stop) => {}
                    }
                }
            }
        }
    }
    Ok(())
}

/// The BUYs that wait for the one they replace.
async fn read_waiting(
    codec: &Codec,
    db: &mut PgConnection,
    wanted: &mut Wanted,
    snapshots: &mut Snapshots,
) -> Result<(), StoreError> {
    if wanted.waiting.is_empty() {
        return Ok(());
    }
    let found = sqlx::query_scalar::<_, Vec<u8>>(
        "select value from execution.deferred d where billing_account_id = any($1) and not exists (
             select from execution.orders o
             where (o.billing_account_id, o.idempotency_key) = (d.billing_account_id, d.idempotency_key))",
    )
    .bind(wanted.waiting.iter().map(BillingAccountId::as_uuid).collect::<Vec<_>>())
    .fetch_all(db)
    .await
    .map_err(failed)?;
    let waiting = waiting_buys(codec, found.iter().map(Vec::as_slice))?;
    wanted.and_of_waiting(&waiting);
    wait(snapshots, waiting);
    Ok(())
}

/// What remains to be written for an intent, and what the shell is told.
async fn keep(
    db: &mut PgConnection,
    batch: &Batch<'_>,
    item: &Item,
    steps: Vec<Step>,
    written: &BTreeSet<AttemptKey>,
) -> Result<Vec<Gated>, StoreError> {
    let head = head_of(&item.intent);
    let waits = steps.iter().find_map(|s| match s {
        Step::Defer(wait) => Some(*wait),
        _ => None,
    });
    let (account, key) = (head.billing_account_id.as_uuid(), head.idempotency_key.to_string());
    let passed_over = passed_over(&steps, head);
    if !passed_over.is_empty() {
        sqlx::query(
            "delete from execution.deferred where billing_account_id = $1 and idempotency_key = any($2)",
        )
        .bind(account)
        .bind(text(passed_over))
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    }
    match (waits, &batch.source) {
        (Some(wait), _) => {
            sqlx::query(
                "insert into execution.deferred as d (billing_account_id, idempotency_key, revision, partition, value,
                     waits_for, created_at, next_look_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8)
                 on conflict (billing_account_id, idempotency_key, revision) do update set
                     value = excluded.value, waits_for = excluded.waits_for,
                     next_look_at = excluded.next_look_at
                         + least(greatest((excluded.created_at - d.created_at) / 4, 0), 30000000)",
            )
            .bind(account)
            .bind(key)
            .bind(head.revision)
            .bind(batch.partition)
            .bind(item.value.as_ref())
            .bind(wait.describe())
            .bind(batch.now.micros())
            .bind(deferred_wait(batch.now).micros())
            .execute(&mut *db)
            .await
            .map_err(failed)?;
        }
        (None, Source::Deferred) => {
            sqlx::query(
                "delete from execution.deferred
                 where billing_account_id = $1 and idempotency_key = $2 and revision = $3",
            )
            .bind(account)
            .bind(key)
            .bind(head.revision)
            .execute(&mut *db)
            .await
            .map_err(failed)?;
        }
        (None, Source::Log { .. }) => {}
    }
    Ok(crate::store::answers(steps, |key| written.contains(key)))
}
