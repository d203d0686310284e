//! The gate's transaction (`behaviour.md` 6.1): hold the epoch, lock the budgets, read, decide, sign, insert, commit.

use std::{collections::BTreeSet, time::Duration};

use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, ControlKind, Mode, Shares, SignatureType, TargetId,
    TargetRowId, TargetStatus, Timestamp, Usdc, UserId,
};
use serde::Deserialize;
use sqlx::{PgConnection, Row, types::Json};
use uuid::Uuid;

use super::{PostgresStore, failed, rows, text};
use crate::{
    core::{
        Attempt, AttemptKey, Snapshot,
        gate::{Sign, Snapshots, Step, Wanted, gate_all, head_of},
        position::Position,
        snapshot::{Connection, Grant, Standing, Target},
    },
    store::{Batch, Gated, Item, Source, StoreError, deferred_wait},
};

/// The rolling windows of the caps.
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

pub async fn gate(
    store: &PostgresStore,
    batch: Batch<'_>,
    keys: &dyn Sign,
) -> Result<Vec<Gated>, StoreError> {
    let mut tx = pgpool::begin(&store.pool).await.map_err(failed)?;
    hold(&mut tx, &batch).await?;
    let wanted = Wanted::by(batch.items.iter().map(|i| &i.intent));
    let mut snapshots = lock_budgets(&mut tx, &wanted, &batch).await?;
    read_tenants(&mut tx, &wanted, &mut snapshots).await?;
    read_ledger(&mut tx, &wanted, &mut snapshots, batch.now).await?;

    let intents = batch.items.iter().map(|i| &i.intent);
    let steps =
        gate_all(&mut snapshots, intents, batch.partition, keys).map_err(|_| StoreError::NotLoaded)?;
    let inserts: Vec<&Attempt> = steps.iter().flatten().filter_map(inserted).collect();
    let written: BTreeSet<AttemptKey> = if inserts.is_empty() {
        BTreeSet::new()
    } else {
        rows::insert(&mut tx, &store.codec, &inserts).await?.into_iter().collect()
    };
    for step in steps.iter().flatten() {
        if let Step::Update { before, after } = step {
            rows::update(&mut *tx, &store.codec, before, after).await?;
        }
    }
    let mut answers = Vec::with_capacity(steps.len());
    for (item, steps) in batch.items.iter().zip(steps) {
        answers.push(keep(&mut tx, &batch, item, steps, &written).await?);
    }
    tx.commit().await.map_err(failed)?;
    Ok(answers.into_iter().flatten().collect())
}

const fn inserted(step: &Step) -> Option<&Attempt> {
    match step {
        Step::Insert(attempt) => Some(attempt),
        _ => None,
    }
}

/// Holds the epoch to the end of the transaction, and moves the offset over the batch.
async fn hold(db: &mut PgConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
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
    let Batch { partition, epoch, .. } = *batch;
    let statement = match &batch.source {
        Source::Deferred => LOOK,
        Source::Log { from: None, .. } => START,
        Source::Log { from: Some(_), .. } => MOVE,
    };
    let mut query = sqlx::query(statement).bind(partition).bind(epoch);
    if let Source::Log { from, to } = &batch.source {
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

/// Locks the tenants' budgets, in one order for everybody, and begins their snapshots.
async fn lock_budgets(
    db: &mut PgConnection,
    wanted: &Wanted,
    batch: &Batch<'_>,
) -> Result<Snapshots, StoreError> {
    let accounts: Vec<Uuid> = wanted.tenants.iter().map(|(a, _)| a.as_uuid()).collect();
    let found = sqlx::query(
        "select b.billing_account_id, b.mode, b.balance from execution.budgets b
         where (b.billing_account_id, b.mode) in (select * from unnest($1::uuid[], $2::text[]))
         order by b.billing_account_id, b.mode for update",
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
                served: batch.served.contains(&mode),
                balance: balance.map(Usdc::from_micro),
                ..Snapshot::empty(account, mode, batch.now)
            };
            Ok(((account, mode), snapshot))
        })
        .collect()
}

/// A row of what the tenants allow.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Allowed {
    Account {},
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
    Switch {
        billing_account_id: Option<BillingAccountId>,
        switch: ControlKind,
    },
}

/// Accounts, targets, connections, grants and switches, held `FOR SHARE`: whoever pauses or revokes waits for the
/// gates that did not see it.
const ALLOWED: &str = "with
    a as (select id from billing_accounts where id = any($1) for share),
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
    select jsonb_build_object('kind', 'account') from a
    union all select to_jsonb(t) || '{\"kind\": \"target\"}' from t
    union all select to_jsonb(c) || jsonb_build_object('kind', 'connection', 'approved', approved_at is not null) from c
    union all select jsonb_build_object('kind', 'grant', 'billing_account_id', billing_account_id, 'scopes', scopes,
        'per_order', (per_order_usdc_cap * 1000000)::bigint, 'daily', (daily_usdc_cap * 1000000)::bigint,
        'hourly', hourly_fills_cap, 'per_market', (per_market_usdc_cap * 1000000)::bigint,
        'expires_at', (extract(epoch from expires_at) * 1000000)::bigint, 'revoked', revoked_at is not null) from g
    union all select jsonb_build_object('kind', 'switch', 'billing_account_id', billing_account_id, 'switch', kind) from k";

fn of_account(
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
            Allowed::Account {} => {}
            Allowed::Target { billing_account_id, id, status, target_wallet, mode, created_by_user_id } => {
                let target = Target { status, wallet: target_wallet, mode, created_by: created_by_user_id };
                for snapshot in of_account(snapshots, Some(billing_account_id)) {
                    snapshot.targets.insert(id, target.clone());
                }
            }
            Allowed::Connection { billing_account_id, id, address, signature_type, funder, approved } => {
                let connection = Connection { id, address, signature_type, funder, approved };
                for snapshot in of_account(snapshots, Some(billing_account_id)) {
                    snapshot.connection = Some(connection.clone());
                }
            }
            Allowed::Grant { billing_account_id, grant } => {
                for snapshot in of_account(snapshots, Some(billing_account_id)) {
                    snapshot.grant = Some(grant.clone());
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

/// A row of the ledger.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Entry {
    Window {
        billing_account_id: BillingAccountId,
        mode: Mode,
        day: Usdc,
        hour: i64,
    },
    Claimed {
        billing_account_id: BillingAccountId,
        mode: Mode,
        claimed: Usdc,
    },
    Position {
        billing_account_id: BillingAccountId,
        mode: Mode,
        target_id: TargetId,
        asset: AssetId,
        condition_id: ConditionId,
        held: Shares,
        cost: Usdc,
    },
    Standing {
        billing_account_id: BillingAccountId,
        mode: Mode,
        target_id: TargetId,
        asset: AssetId,
        #[serde(flatten)]
        standing: Standing,
    },
    Named {
        order: Box<Attempt>,
    },
}

/// One statement, so that all of it is one picture: what filled is either still alive or in the position. (What a BUY
/// can still cost stays far inside 64 bits: the constant caps hold limit times shares below 5 x 10^14.)
const LEDGER: &str = "
    select jsonb_build_object('kind', 'window', 'billing_account_id', billing_account_id, 'mode', mode,
        'day', sum(counted)::bigint, 'hour', count(*) filter (where created_at > $9)) as entry
    from execution.orders
    where billing_account_id = any($1) and side = 'BUY' and status not in ('denied', 'rejected') and created_at > $8
    group by billing_account_id, mode
    union all
    select jsonb_build_object('kind', 'claimed', 'billing_account_id', b.billing_account_id, 'mode', b.mode,
        'claimed', sum(o.counted)::bigint)
    from execution.budgets b join execution.orders o using (billing_account_id, mode)
    where b.billing_account_id = any($1) and b.balance is not null and o.side = 'BUY'
        and o.status not in ('denied', 'rejected') and o.created_at > b.balance_at - 3600000000
        and (not o.is_final or o.changed_at > b.balance_at or o.confirmed_shares < o.filled_shares)
    group by b.billing_account_id, b.mode
    union all
    select to_jsonb(p) || '{\"kind\": \"position\"}' from execution.positions p
    join unnest($2::uuid[], $3::text[]) w(account, condition)
        on p.billing_account_id = w.account and p.condition_id = w.condition
    union all
    select jsonb_build_object('kind', 'standing', 'billing_account_id', o.billing_account_id, 'mode', o.mode,
        'target_id', o.target_id, 'asset', o.asset, 'condition_id', o.condition_id,
        'buys', count(*) filter (where o.side = 'BUY'),
        'pending', coalesce(sum((o.limit_price * greatest(o.shares - o.filled_shares, 0) + 999999) / 1000000)
            filter (where o.side = 'BUY'), 0)::bigint,
        'counted', coalesce(sum(greatest(o.counted - o.filled_usdc, 0)) filter (where o.side = 'BUY'), 0)::bigint,
        'selling', coalesce(sum(greatest(o.shares - o.filled_shares, 0)) filter (where o.side = 'SELL'), 0)::bigint)
    from execution.orders o join unnest($2::uuid[], $3::text[]) w(account, condition)
        on o.billing_account_id = w.account and o.condition_id = w.condition
    where not o.is_final
    group by o.billing_account_id, o.mode, o.target_id, o.asset, o.condition_id
    union all
    select jsonb_build_object('kind', 'named', 'order', to_jsonb(o)) from execution.orders o
    join unnest($4::uuid[], $5::text[]) w(account, key)
        on o.billing_account_id = w.account and o.idempotency_key = w.key
    union all
    select jsonb_build_object('kind', 'named', 'order', to_jsonb(o)) from execution.orders o
    join unnest($6::uuid[], $7::text[]) w(account, name)
        on o.billing_account_id = w.account and o.natural_key = w.name";

/// Pairs of an account and something of it, as two arrays.
fn pairs<'p, T: std::fmt::Display + 'p>(
    pairs: impl IntoIterator<Item = &'p (BillingAccountId, T)>,
) -> (Vec<Uuid>, Vec<String>) {
    pairs.into_iter().map(|(account, of)| (account.as_uuid(), of.to_string())).unzip()
}

async fn read_ledger(
    db: &mut PgConnection,
    wanted: &Wanted,
    snapshots: &mut Snapshots,
    now: Timestamp,
) -> Result<(), StoreError> {
    let accounts: BTreeSet<Uuid> = wanted.tenants.iter().map(|(a, _)| a.as_uuid()).collect();
    let (conditions, keys) = (pairs(&wanted.conditions), pairs(&wanted.keys));
    let naturals = pairs(&wanted.naturals);
    let found = sqlx::query(LEDGER)
        .bind(accounts.into_iter().collect::<Vec<_>>())
        .bind(conditions.0)
        .bind(conditions.1)
        .bind(keys.0)
        .bind(keys.1)
        .bind(naturals.0)
        .bind(naturals.1)
        .bind(now.minus(DAY).micros())
        .bind(now.minus(HOUR).micros())
        .fetch_all(db)
        .await
        .map_err(failed)?;
    for row in &found {
        match row.try_get::<Json<Entry>, _>(0).map_err(failed)?.0 {
            Entry::Window { billing_account_id, mode, day, hour } => {
                if let Some(snapshot) = snapshots.get_mut(&(billing_account_id, mode)) {
                    (snapshot.day, snapshot.hour) = (day, hour);
                }
            }
            Entry::Claimed { billing_account_id, mode, claimed } => {
                if let Some(snapshot) = snapshots.get_mut(&(billing_account_id, mode)) {
                    snapshot.claimed = claimed;
                }
            }
            Entry::Position { billing_account_id, mode, target_id, asset, condition_id, held, cost } => {
                if let Some(snapshot) = snapshots.get_mut(&(billing_account_id, mode)) {
                    snapshot.positions.insert((target_id, asset), Position { condition_id, held, cost });
                }
            }
            Entry::Standing { billing_account_id, mode, target_id, asset, standing } => {
                if let Some(snapshot) = snapshots.get_mut(&(billing_account_id, mode)) {
                    snapshot.standing.insert((target_id, asset), standing);
                }
            }
            // A copy is taken in whichever mode it was.
            Entry::Named { order } => {
                for snapshot in of_account(snapshots, Some(order.billing_account_id)) {
                    snapshot.named.insert(order.key(), (*order).clone());
                }
            }
        }
    }
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
