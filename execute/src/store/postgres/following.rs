//! What following orders needs, in Postgres.

use std::collections::BTreeSet;

use async_trait::async_trait;
use schemas::{BillingAccountId, ControlKind, Mode, OrderId, Timestamp, events::ControlState};
use sqlx::Row;
use uuid::Uuid;

use super::{PostgresStore, attempts, count, failed, parsed, rows, text, unreadable};
use crate::{
    core::{
        Attempt, AttemptKey,
        diagnosis::{Ailment, Diagnosis, IN_A_ROW},
    },
    store::{ControlRow, Following, Pause, StoreError},
};

#[async_trait]
impl Following for PostgresStore {
    async fn followed(&self, partition: i32) -> Result<BTreeSet<(Uuid, Mode)>, StoreError> {
        let found = sqlx::query(
            "select distinct connection_id, mode from execution.orders
             where partition = $1 and next_look_at is not null and connection_id is not null",
        )
        .bind(partition)
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        found
            .iter()
            .map(|row| Ok((row.try_get("connection_id").map_err(failed)?, parsed::<Mode>(row, "mode")?)))
            .collect()
    }

    async fn make_due(&self, partition: i32, connection: Uuid, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "update execution.orders set next_look_at = $3
             where partition = $1 and connection_id = $2 and next_look_at > $3",
        )
        .bind(partition)
        .bind(connection)
        .bind(now.micros())
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn by_order_id(&self, partition: i32, ids: &[OrderId]) -> Result<Vec<AttemptKey>, StoreError> {
        let found = sqlx::query(
            "select billing_account_id, idempotency_key, attempt from execution.orders
             where order_id = any($2) and partition = $1 order by 1, 2, 3",
        )
        .bind(partition)
        .bind(text(ids))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        found.iter().map(rows::key).collect()
    }

    async fn resting(&self, partition: i32, connection: Uuid) -> Result<Vec<Attempt>, StoreError> {
        let found = sqlx::query(
            "select to_jsonb(o) from execution.orders o
             where partition = $1 and connection_id = $2 and next_look_at is not null
                 and status in ('open', 'partially_filled') and cancel_asked_at is null
             order by billing_account_id, idempotency_key, attempt",
        )
        .bind(partition)
        .bind(connection)
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        attempts(&found)
    }

    async fn diagnosis(&self, key: AttemptKey) -> Result<Option<Diagnosis>, StoreError> {
        let found = sqlx::query(
            "select cause, detail from execution.diagnoses
             where billing_account_id = $1 and idempotency_key = $2 and attempt = $3",
        )
        .bind(key.billing_account_id.as_uuid())
        .bind(key.idempotency_key.to_string())
        .bind(key.attempt)
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        let Some(row) = found else { return Ok(None) };
        let word: &str = row.try_get("cause").map_err(failed)?;
        let ailment =
            Ailment::of(word).ok_or_else(|| unreadable(format!("nothing ails by the name {word}")))?;
        Ok(Some(Diagnosis { ailment, detail: row.try_get("detail").map_err(failed)? }))
    }

    async fn diagnose(
        &self,
        before: &Attempt,
        after: &Attempt,
        found: &Diagnosis,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let key = after.key();
        let mut tx = pgpool::begin(&self.pool).await.map_err(failed)?;
        rows::update(&mut *tx, &self.codec, before, after).await?;
        sqlx::query(
            "insert into execution.diagnoses
                 (billing_account_id, idempotency_key, attempt, cause, detail, diagnosed_at)
             values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        )
        .bind(key.billing_account_id.as_uuid())
        .bind(key.idempotency_key.to_string())
        .bind(key.attempt)
        .bind(found.ailment.as_str())
        .bind(&found.detail)
        .bind(at.micros())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn pause_after_rejections(&self, pause: &Pause<'_>) -> Result<bool, StoreError> {
        let mut tx = pgpool::begin(&self.pool).await.map_err(failed)?;
        // What the answers since the last switching of the pause were; and, in the same statement, the pause.
        let paused = sqlx::query(
            "with was as (
                 select active, (extract(epoch from changed_at) * 1000000)::bigint as at from poly_controls
                 where billing_account_id = $1 and kind = 'pause'
             ), answers as (
                 select o.status, d.cause from execution.orders o
                 left join execution.diagnoses d using (billing_account_id, idempotency_key, attempt)
                 where o.billing_account_id = $1 and o.mode = $2 and o.side = 'BUY'
                     and o.answered_at > coalesce((select at from was), -1)
                 order by o.answered_at desc, o.billing_account_id, o.idempotency_key, o.attempt limit $3
             )
             insert into poly_controls as c
                 (id, billing_account_id, kind, active, reason, revision, changed_at)
             select $4, $1, 'pause', true, $5, 1, timestamptz 'epoch' + $6 * interval '1 microsecond'
             where not exists (select 1 from was where active)
                 and (select count(*) from answers where status = 'rejected' and cause in ('balance', 'allowance')) = $3
             on conflict (billing_account_id, kind) do update
             set active = true, reason = excluded.reason, revision = c.revision + 1, changed_at = excluded.changed_at
             where not c.active
             returning revision",
        )
        .bind(pause.account.as_uuid())
        .bind(pause.mode.as_str())
        .bind(count(IN_A_ROW))
        .bind(pause.id)
        .bind(pause.reason)
        .bind(pause.at.micros())
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        let Some(row) = paused else { return Ok(false) };
        let revision: i64 = row.try_get("revision").map_err(failed)?;
        let control = ControlState {
            billing_account_id: Some(pause.account),
            kind: ControlKind::Pause,
            active: true,
            reason: pause.reason.to_owned(),
            revision,
            changed_at: pause.at,
        };
        let value = self.codec.encode(&control).map_err(unreadable)?.value;
        sqlx::query(
            "insert into execution.control_outbox (billing_account_id, kind, revision, value, partition, created_at)
             values ($1, 'pause', $2, $3, $4, $5)",
        )
        .bind(pause.account.as_uuid())
        .bind(revision)
        .bind(value.as_ref())
        .bind(pause.partition)
        .bind(pause.at.micros())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(true)
    }

    async fn controls_next(&self, partition: i32, limit: usize) -> Result<Vec<ControlRow>, StoreError> {
        let found = sqlx::query(
            "select billing_account_id, revision, value from execution.control_outbox
             where partition = $1 and not published order by created_at, billing_account_id, revision limit $2",
        )
        .bind(partition)
        .bind(count(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        found
            .iter()
            .map(|row| {
                Ok(ControlRow {
                    account: BillingAccountId::from_uuid(row.try_get("billing_account_id").map_err(failed)?),
                    revision: row.try_get("revision").map_err(failed)?,
                    value: row.try_get::<Vec<u8>, _>("value").map_err(failed)?.into(),
                })
            })
            .collect()
    }

    async fn controls_published(&self, published: &[(BillingAccountId, i64)]) -> Result<(), StoreError> {
        sqlx::query(
            "update execution.control_outbox c set published = true
             from unnest($1::uuid[], $2::bigint[]) u(account, revision)
             where c.billing_account_id = u.account and c.revision = u.revision",
        )
        .bind(published.iter().map(|(account, _)| account.as_uuid()).collect::<Vec<_>>())
        .bind(published.iter().map(|(_, revision)| *revision).collect::<Vec<_>>())
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn ticked(&self, partition: i32, at: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "insert into poly_reconciler_ticks as t (partition, ticked_at)
             values ($1, timestamptz 'epoch' + $2 * interval '1 microsecond')
             on conflict (partition) do update set ticked_at = greatest(t.ticked_at, excluded.ticked_at)",
        )
        .bind(partition)
        .bind(at.micros())
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }
}
