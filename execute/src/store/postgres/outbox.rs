//! The outbox: order events, written with their rows, until they are in the log (`design.md`, Outbox).

use schemas::Timestamp;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::{count, failed, rows, text};
use crate::{
    core::AttemptKey,
    store::{OutboxRow, StoreError},
};

/// What is not published yet, oldest first.
pub async fn next(pool: &PgPool, partition: i32, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
    let rows = sqlx::query(
        "select billing_account_id, idempotency_key, attempt, revision, key, value from execution.outbox
         where partition = $1 and not published
         order by created_at, billing_account_id, idempotency_key, attempt, revision limit $2",
    )
    .bind(partition)
    .bind(count(limit))
    .fetch_all(pool)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            Ok(OutboxRow {
                key: rows::key(row)?,
                revision: row.try_get("revision").map_err(failed)?,
                wallet: row.try_get("key").map_err(failed)?,
                value: row.try_get::<Vec<u8>, _>("value").map_err(failed)?.into(),
            })
        })
        .collect()
}

/// Marks rows as published. Nobody waits for the disk: what a database that falls forgets of it is published again.
pub async fn published(pool: &PgPool, published: &[(AttemptKey, i64)]) -> Result<(), StoreError> {
    let accounts: Vec<Uuid> = published.iter().map(|(k, _)| k.billing_account_id.as_uuid()).collect();
    let attempts: Vec<i32> = published.iter().map(|(k, _)| k.attempt).collect();
    let revisions: Vec<i64> = published.iter().map(|(_, revision)| *revision).collect();
    // For this transaction alone: what else the connection commits is waited for.
    sqlx::query(
        "with soon as materialized (select set_config('synchronous_commit', 'off', true))
         update execution.outbox o set published = true
         from soon, unnest($1::uuid[], $2::text[], $3::int[], $4::bigint[]) u(account, key, attempt, revision)
         where o.billing_account_id = u.account and o.idempotency_key = u.key and o.attempt = u.attempt
             and o.revision = u.revision",
    )
    .bind(accounts)
    .bind(text(published.iter().map(|(k, _)| k.idempotency_key)))
    .bind(attempts)
    .bind(revisions)
    .execute(pool)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Removes what was published before.
pub async fn forget_published(pool: &PgPool, partition: i32, before: Timestamp) -> Result<(), StoreError> {
    sqlx::query("delete from execution.outbox where partition = $1 and published and created_at < $2")
        .bind(partition)
        .bind(before.micros())
        .execute(pool)
        .await
        .map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use project::{Connections, Role};
    use runtime::Chance;
    use schemas::{BillingAccountId, IdempotencyKey};

    use super::*;

    /// A setting that stayed on would let a crash of the database forget orders that were sent.
    #[tokio::test]
    async fn what_is_committed_after_a_mark_that_waits_for_no_disk_waits_for_it() {
        let connections = Connections::for_tests(&testkit::fresh_database().await).unwrap();
        project::migrate(&connections, &Chance::system()).await.unwrap();
        let pool = connections.pool(Role::Executor, 1).await.unwrap();
        let key = AttemptKey {
            billing_account_id: BillingAccountId::from_uuid(Uuid::nil()),
            idempotency_key: IdempotencyKey::from_bytes([1; 32]),
            attempt: 0,
        };
        sqlx::query("insert into execution.outbox values ($1, $2, 0, 1, 'wallet', 'value', 0, 0)")
            .bind(key.billing_account_id.as_uuid())
            .bind(key.idempotency_key.to_string())
            .execute(&pool)
            .await
            .unwrap();
        assert_eq!(next(&pool, 0, 10).await.unwrap().len(), 1);
        published(&pool, &[(key, 1)]).await.unwrap();
        assert!(next(&pool, 0, 10).await.unwrap().is_empty());
        let waits: String = sqlx::query_scalar("show synchronous_commit").fetch_one(&pool).await.unwrap();
        assert_eq!(waits, "on");
    }
}
