//! Attempts into rows, with their events.

use schemas::{BillingAccountId, codec::Codec};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, Row, postgres::PgRow, types::Json};

use super::{failed, parsed, unreadable};
use crate::{
    core::{
        Attempt, AttemptKey, Body,
        position::{Moved, Position},
    },
    store::StoreError,
};

/// The columns of `execution.orders`, but the one that the database computes.
macro_rules! columns {
    ($prefix:literal) => {
        concat!(
            $prefix,
            "billing_account_id, ",
            $prefix,
            "idempotency_key, ",
            $prefix,
            "attempt, ",
            $prefix,
            "natural_key, ",
            $prefix,
            "revision, ",
            $prefix,
            "status, ",
            $prefix,
            "created_by_user_id, ",
            $prefix,
            "target_row_id, ",
            $prefix,
            "target_id, ",
            $prefix,
            "wallet, ",
            $prefix,
            "fill_id, ",
            $prefix,
            "mode, ",
            $prefix,
            "side, ",
            $prefix,
            "asset, ",
            $prefix,
            "held_as, ",
            $prefix,
            "condition_id, ",
            $prefix,
            "limit_price, ",
            $prefix,
            "shares, ",
            $prefix,
            "order_type, ",
            $prefix,
            "expires_at, ",
            $prefix,
            "order_id, ",
            $prefix,
            "body, ",
            $prefix,
            "connection_id, ",
            $prefix,
            "reserved, ",
            $prefix,
            "fee_rate, ",
            $prefix,
            "fee_exponent, ",
            $prefix,
            "filled_shares, ",
            $prefix,
            "filled_usdc, ",
            $prefix,
            "fees_usdc, ",
            $prefix,
            "confirmed_shares, ",
            $prefix,
            "reason, ",
            $prefix,
            "origin, ",
            $prefix,
            "partition, ",
            $prefix,
            "filled_at, ",
            $prefix,
            "send_until, ",
            $prefix,
            "created_at, ",
            $prefix,
            "sent_at, ",
            $prefix,
            "last_send_at, ",
            $prefix,
            "answered_at, ",
            $prefix,
            "synced_at, ",
            $prefix,
            "changed_at, ",
            $prefix,
            "cancel_asked_at, ",
            $prefix,
            "cancel_cause, ",
            $prefix,
            "asked, ",
            $prefix,
            "next_look_at, ",
            $prefix,
            "is_final, ",
            $prefix,
            "note, ",
            $prefix,
            "book"
        )
    };
}

/// Inserts what nobody has: a conflict on any of the unique keys writes nothing for that row, not even its event.
const INSERT: &str = concat!(
    "with ins as (insert into execution.orders (",
    columns!(""),
    ") select ",
    columns!("r."),
    " from jsonb_populate_recordset(null::execution.orders, $1) r on conflict do nothing
      returning billing_account_id, idempotency_key, attempt),
     told as (insert into execution.outbox
         (billing_account_id, idempotency_key, attempt, revision, key, value, partition, created_at, published)
      select e.billing_account_id, e.idempotency_key, e.attempt, e.revision, e.key, e.value, e.partition, e.created_at,
          false
      from jsonb_populate_recordset(null::execution.outbox, $2) e
      join ins using (billing_account_id, idempotency_key, attempt))
     select billing_account_id, idempotency_key, attempt from ins"
);

/// Moves a row from one revision to the next, and tells it; no row where it stood elsewhere, or its position does.
const UPDATE: &str = "with moved as (
     update execution.orders o set
         revision = n.revision, status = n.status, filled_shares = n.filled_shares, filled_usdc = n.filled_usdc,
         fees_usdc = n.fees_usdc, confirmed_shares = n.confirmed_shares, reason = n.reason, sent_at = n.sent_at,
         last_send_at = n.last_send_at, answered_at = n.answered_at, synced_at = n.synced_at,
         changed_at = n.changed_at, cancel_asked_at = n.cancel_asked_at, cancel_cause = n.cancel_cause,
         asked = n.asked, next_look_at = n.next_look_at, is_final = n.is_final
     from jsonb_populate_record(null::execution.orders, $1) n
     where o.billing_account_id = n.billing_account_id and o.idempotency_key = n.idempotency_key
         and o.attempt = n.attempt and o.revision = $2 and o.held_as = n.held_as
     returning o.billing_account_id)
 insert into execution.outbox
     (billing_account_id, idempotency_key, attempt, revision, key, value, partition, created_at, published)
 select e.billing_account_id, e.idempotency_key, e.attempt, e.revision, e.key, e.value, e.partition, e.created_at, false
 from jsonb_populate_record(null::execution.outbox, $3) e, moved";

/// A row of the outbox, under its column names.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    key: AttemptKey,
    revision: i64,
    #[serde(rename = "key")]
    wallet: &'a schemas::Address,
    value: Body,
    partition: i32,
    created_at: schemas::Timestamp,
}

fn told<'a>(codec: &Codec, attempt: &'a Attempt) -> Result<Told<'a>, StoreError> {
    Ok(Told {
        key: attempt.key(),
        revision: attempt.revision,
        wallet: &attempt.wallet,
        value: Body(codec.encode(&attempt.to_event()).map_err(unreadable)?.value.to_vec()),
        partition: attempt.partition,
        created_at: attempt.changed_at,
    })
}

/// The attempt that a row names.
pub fn key(row: &PgRow) -> Result<AttemptKey, StoreError> {
    Ok(AttemptKey {
        billing_account_id: BillingAccountId::from_uuid(row.try_get("billing_account_id").map_err(failed)?),
        idempotency_key: parsed(row, "idempotency_key")?,
        attempt: row.try_get("attempt").map_err(failed)?,
    })
}

/// Inserts new attempts with their events; the names of those that were.
pub async fn insert(
    db: &mut PgConnection,
    codec: &Codec,
    attempts: &[&Attempt],
) -> Result<Vec<AttemptKey>, StoreError> {
    let events = attempts.iter().map(|a| told(codec, a)).collect::<Result<Vec<_>, _>>()?;
    let rows =
        sqlx::query(INSERT).bind(Json(attempts)).bind(Json(events)).fetch_all(db).await.map_err(failed)?;
    rows.iter().map(key).collect()
}

/// Moves an attempt to its next revision, with its event.
pub async fn update(
    db: impl PgExecutor<'_>,
    codec: &Codec,
    before: &Attempt,
    after: &Attempt,
) -> Result<(), StoreError> {
    let event = told(codec, after)?;
    let moved = sqlx::query(UPDATE)
        .bind(Json(after))
        .bind(before.revision)
        .bind(Json(event))
        .execute(db)
        .await
        .map_err(failed)?;
    if moved.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Changed(after.key())) }
}

/// Takes what filled, or failed, into the position.
pub async fn move_position(db: &mut PgConnection, attempt: &Attempt, moved: Moved) -> Result<(), StoreError> {
    let found = sqlx::query(
        "insert into execution.positions as p
             (billing_account_id, target_id, asset, mode, condition_id, held, cost, changed_at)
         values ($1, $2, $3, $4, $5, 0, 0, $6)
         on conflict (billing_account_id, target_id, asset, mode) do update set changed_at = excluded.changed_at
         returning held, cost",
    )
    .bind(attempt.billing_account_id.as_uuid())
    .bind(attempt.target_id.as_uuid())
    .bind(attempt.held_as.as_str())
    .bind(attempt.mode.as_str())
    .bind(attempt.condition_id.to_string())
    .bind(attempt.changed_at.micros())
    .fetch_one(&mut *db)
    .await
    .map_err(failed)?;
    let position = Position {
        condition_id: attempt.condition_id,
        held: schemas::Shares::from_micro(found.try_get("held").map_err(failed)?),
        cost: schemas::Usdc::from_micro(found.try_get("cost").map_err(failed)?),
    }
    .after(moved);
    sqlx::query(
        "update execution.positions set held = $5, cost = $6
         where billing_account_id = $1 and target_id = $2 and asset = $3 and mode = $4",
    )
    .bind(attempt.billing_account_id.as_uuid())
    .bind(attempt.target_id.as_uuid())
    .bind(attempt.held_as.as_str())
    .bind(attempt.mode.as_str())
    .bind(position.held.micro())
    .bind(position.cost.micro())
    .execute(db)
    .await
    .map_err(failed)?;
    Ok(())
}
