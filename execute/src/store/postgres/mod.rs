//! The ledger in Postgres, as role `executor`.
//!
//! Rows go to and from the database as JSON under their column names, many at a time: one statement reads what a
//! batch needs of the tenants, one reads the ledger, one writes all rows and their events.

mod closes;
mod following;
mod gate;
mod ledger;
mod outbox;
mod paper;
mod rows;

use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use eventlog::{Offset, TopicPartition, position::StoredOffset};
use schemas::{BillingAccountId, LogId, Mode, Timestamp, Usdc, UserId, codec::Codec, topics::Topic};
use sqlx::{
    PgPool, Row,
    postgres::{PgConnectOptions, PgRow},
    types::Json,
};
use uuid::Uuid;

use super::{
    Batch, BudgetKey, Claim, Deferred, Gated, OutboxRow, SealedConnection, Store, StoreError, Turns, intents,
};
use crate::core::{
    Attempt, AttemptKey,
    close::{
        Close, CloseName,
        allot::{concerns, followed},
    },
    follow::Class,
    gate::Sign,
    position::Moved,
    snapshot::Connection,
};

/// Postgres, through a pool of its own.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    codec: Codec,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("connections", &self.pool.size()).finish_non_exhaustive()
    }
}

/// What a driver's error means here.
fn failed(error: sqlx::Error) -> StoreError {
    let Some(database) = error.as_database_error() else {
        return match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                StoreError::Unreadable(error.to_string())
            }
            other => StoreError::Unreachable(other.to_string()),
        };
    };
    // Connection trouble, resources, operator's intervention, deadlocks and lock timeouts pass by themselves.
    let code = database.code().unwrap_or_default().into_owned();
    // So does the end of a transaction that this process slept through (25P03).
    let passes = ["08", "25P03", "40", "53", "55", "57"].iter().any(|class| code.starts_with(class));
    let text = format!("{} ({code})", database.message());
    if passes { StoreError::Unreachable(text) } else { StoreError::Refused(text) }
}

fn unreadable(why: impl fmt::Display) -> StoreError {
    StoreError::Unreadable(why.to_string())
}

fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn text<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|v| v.to_string()).collect()
}

fn uuids(ids: &[BillingAccountId]) -> Vec<Uuid> {
    ids.iter().map(BillingAccountId::as_uuid).collect()
}

fn parsed<T: std::str::FromStr<Err: fmt::Display>>(row: &PgRow, column: &str) -> Result<T, StoreError> {
    row.try_get::<&str, _>(column).map_err(failed)?.parse().map_err(unreadable)
}

fn attempts(rows: &[PgRow]) -> Result<Vec<Attempt>, StoreError> {
    rows.iter().map(|row| Ok(row.try_get::<Json<Attempt>, _>(0).map_err(failed)?.0)).collect()
}

fn position(row: &PgRow, at: TopicPartition) -> Result<StoredOffset, StoreError> {
    let before: Option<&str> = row.try_get("before").map_err(failed)?;
    Ok(StoredOffset {
        log_id: LogId::from_uuid(row.try_get("log_id").map_err(failed)?),
        at,
        next: Offset(row.try_get("next_offset").map_err(failed)?),
        before: before.map(str::parse).transpose().map_err(unreadable)?,
    })
}

fn connection(row: &PgRow) -> Result<SealedConnection, StoreError> {
    Ok(SealedConnection {
        billing_account_id: BillingAccountId::from_uuid(row.try_get("billing_account_id").map_err(failed)?),
        connection: Connection {
            id: row.try_get("id").map_err(failed)?,
            address: parsed(row, "address")?,
            signature_type: parsed(row, "signature_type")?,
            funder: parsed(row, "funder")?,
            approved: row.try_get("approved").map_err(failed)?,
        },
        signing_key: row.try_get("signing_key_sealed").map_err(failed)?,
        api_credentials: row.try_get("api_credentials_sealed").map_err(failed)?,
    })
}

impl PostgresStore {
    /// Over a pool of `size` connections of the role `executor`. Connections are made on first use.
    pub fn new(options: PgConnectOptions, size: u32, codec: Codec) -> Self {
        // A gate that waits for a lock so long is better tried again; a connection that died shows on use, and a
        // ping before each use would cost each gate a round trip.
        let options = options.options([("lock_timeout", "5s"), ("statement_timeout", "15s")]);
        let options = pgpool::by_key(pgpool::awake(options));
        let pool = pgpool::options(size).test_before_acquire(false).connect_lazy_with(options);
        Self { pool, codec }
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn claim(&self, partition: i32, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        // The previous owner may send until its lease ends; this process itself sends no more when it claims again, and
        // goes on waiting for whoever it took the partition from.
        let claimed = sqlx::query(
            "insert into execution.owner_epochs as e (partition, epoch, owner, valid_until, send_from)
             values ($1, 1, $2, clock_timestamp() + $3 * interval '1 microsecond', clock_timestamp())
             on conflict (partition) do update set
                 epoch = e.epoch + 1,
                 owner = excluded.owner,
                 valid_until = clock_timestamp() + $3 * interval '1 microsecond',
                 send_from = case when e.owner = excluded.owner then greatest(e.send_from, clock_timestamp())
                     else greatest(e.valid_until, e.send_from, clock_timestamp()) end
             returning epoch,
                 greatest(0, ceil(extract(epoch from send_from - clock_timestamp()) * 1000000))::bigint as send_in",
        )
        .bind(partition)
        .bind(owner)
        .bind(micros(lease))
        .fetch_one(&self.pool)
        .await
        .map_err(failed)?;
        // After the bump no gate of an older epoch commits: what is read now stays.
        let stored = sqlx::query(
            "select log_id, next_offset, before from execution.intent_offsets where partition = $1",
        )
        .bind(partition)
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        let send_in: i64 = claimed.try_get("send_in").map_err(failed)?;
        Ok(Claim {
            epoch: claimed.try_get("epoch").map_err(failed)?,
            send_in: Duration::from_micros(u64::try_from(send_in).unwrap_or(0)),
            position: stored.map(|row| position(&row, intents(partition))).transpose()?,
        })
    }

    async fn renew(&self, partition: i32, epoch: i64, lease: Duration) -> Result<bool, StoreError> {
        let renewed = sqlx::query(
            "update execution.owner_epochs set valid_until = clock_timestamp() + $3 * interval '1 microsecond'
             where partition = $1 and epoch = $2",
        )
        .bind(partition)
        .bind(epoch)
        .bind(micros(lease))
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(renewed.rows_affected() == 1)
    }

    async fn release(&self, partition: i32, epoch: i64) -> Result<(), StoreError> {
        sqlx::query(
            "update execution.owner_epochs set valid_until = clock_timestamp() where partition = $1 and epoch = $2",
        )
        .bind(partition)
        .bind(epoch)
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn accounts(
        &self,
        ids: &[BillingAccountId],
    ) -> Result<BTreeMap<BillingAccountId, UserId>, StoreError> {
        let rows = sqlx::query("select id, owner_user_id from billing_accounts where id = any($1)")
            .bind(uuids(ids))
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let id = BillingAccountId::from_uuid(row.try_get("id").map_err(failed)?);
                Ok((id, UserId::from_uuid(row.try_get("owner_user_id").map_err(failed)?)))
            })
            .collect()
    }

    async fn active_connections(&self, of: &[BillingAccountId]) -> Result<Vec<SealedConnection>, StoreError> {
        let rows = sqlx::query(
            "select id, billing_account_id, address, signature_type, funder, approved_at is not null as approved,
                 signing_key_sealed, api_credentials_sealed
             from poly_wallet_connections where billing_account_id = any($1) and revoked_at is null",
        )
        .bind(uuids(of))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        rows.iter().map(connection).collect()
    }

    async fn connection(&self, id: Uuid) -> Result<Option<SealedConnection>, StoreError> {
        let row = sqlx::query(
            "select id, billing_account_id, address, signature_type, funder, approved_at is not null as approved,
                 signing_key_sealed, api_credentials_sealed
             from poly_wallet_connections where id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        row.as_ref().map(connection).transpose()
    }

    async fn keep_credentials(&self, id: Uuid, sealed: &[u8]) -> Result<(), StoreError> {
        sqlx::query("update poly_wallet_connections set api_credentials_sealed = $2 where id = $1")
            .bind(id)
            .bind(sealed)
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn approve(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = pgpool::begin(&self.pool).await.map_err(failed)?;
        // Revisions are counted per account, under the lock of its row: the api gives them under the same.
        sqlx::query(
            "select a.id from billing_accounts a
             where a.id = (select c.billing_account_id from poly_wallet_connections c where c.id = $1) for update",
        )
        .bind(id)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        sqlx::query(
            "update poly_wallet_connections c set
                 approved_at = timestamptz 'epoch' + $2 * interval '1 microsecond',
                 changed_at = greatest(changed_at, timestamptz 'epoch' + $2 * interval '1 microsecond'),
                 revision = (select max(o.revision) + 1 from poly_wallet_connections o
                     where o.billing_account_id = c.billing_account_id)
             where id = $1 and approved_at is null",
        )
        .bind(id)
        .bind(at.micros())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    async fn open_budgets(&self, of: &[BudgetKey]) -> Result<(), StoreError> {
        let accounts: Vec<Uuid> = of.iter().map(|b| b.billing_account_id.as_uuid()).collect();
        sqlx::query(
            "insert into execution.budgets (billing_account_id, mode)
             select a, m from unnest($1::uuid[], $2::text[]) u(a, m) on conflict do nothing",
        )
        .bind(accounts)
        .bind(text(of.iter().map(|b| b.mode)))
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn gate(&self, batch: Batch<'_>, keys: &dyn Sign) -> Result<Vec<Gated>, StoreError> {
        gate::gate(self, batch, keys).await
    }

    async fn turn(&self, batch: Turns<'_>, keys: &dyn Sign) -> Result<Vec<Gated>, StoreError> {
        gate::turn(self, batch, keys).await
    }

    async fn closes_due(
        &self,
        partition: i32,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Close>, StoreError> {
        closes::due(&self.pool, partition, now, limit).await
    }

    async fn close(&self, of: &CloseName) -> Result<Option<Close>, StoreError> {
        closes::whole(&self.pool, of).await
    }

    async fn unresolved(
        &self,
        partition: i32,
        after: Option<AttemptKey>,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError> {
        let rows = sqlx::query(
            "select to_jsonb(o) from execution.orders o
             where partition = $1 and next_look_at is not null and status in ('reserved', 'submitted', 'unknown')
                 and ($2::uuid is null or (billing_account_id, idempotency_key, attempt) > ($2, $3, $4))
             order by billing_account_id, idempotency_key, attempt limit $5",
        )
        .bind(partition)
        .bind(after.map(|k| k.billing_account_id.as_uuid()))
        .bind(after.map(|k| k.idempotency_key.to_string()))
        .bind(after.map(|k| k.attempt))
        .bind(count(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        attempts(&rows)
    }

    async fn due(
        &self,
        partition: i32,
        class: Class,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Attempt>, StoreError> {
        // What is urgent by core::follow::class, in the words of the index `orders_urgent`; and what is not.
        const URGENT: &str =
            "select to_jsonb(o) from execution.orders o where partition = $1 and next_look_at <= $2
                 and not (status in ('open', 'partially_filled') and cancel_asked_at is null)
                 and not (is_final and confirmed_shares >= filled_shares)
             order by next_look_at, billing_account_id, idempotency_key, attempt limit $3";
        const RESTING: &str =
            "select to_jsonb(o) from execution.orders o where partition = $1 and next_look_at <= $2
                 and (status in ('open', 'partially_filled') and cancel_asked_at is null
                     or is_final and confirmed_shares >= filled_shares)
             order by next_look_at, billing_account_id, idempotency_key, attempt limit $3";
        let rows = sqlx::query(match class {
            Class::Urgent => URGENT,
            Class::Resting => RESTING,
        })
        .bind(partition)
        .bind(now.micros())
        .bind(count(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        attempts(&rows)
    }

    async fn attempt(&self, key: AttemptKey) -> Result<Option<Attempt>, StoreError> {
        let rows = sqlx::query(
            "select to_jsonb(o) from execution.orders o
             where billing_account_id = $1 and idempotency_key = $2 and attempt = $3",
        )
        .bind(key.billing_account_id.as_uuid())
        .bind(key.idempotency_key.to_string())
        .bind(key.attempt)
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        Ok(attempts(&rows)?.pop())
    }

    async fn record(&self, before: &Attempt, after: &Attempt) -> Result<(), StoreError> {
        let moved = Moved::between(before, after);
        let of_close = concerns(before, after);
        if moved.is_none() && !of_close {
            return rows::update(&self.pool, &self.codec, before, after).await;
        }
        let mut tx = pgpool::begin(&self.pool).await.map_err(failed)?;
        // First, as the gate does: who holds it sees all of an attempt's steps or none.
        let close = if of_close { closes::lock_of(&mut tx, after).await? } else { None };
        if let Some(moved) = moved {
            rows::move_position(&mut tx, after, moved).await?;
        }
        rows::update(&mut *tx, &self.codec, before, after).await?;
        if let Some(close) = close {
            let next = followed(close.clone(), after);
            closes::write(&mut tx, &[close], [&next]).await?;
        }
        tx.commit().await.map_err(failed)
    }

    async fn looked(
        &self,
        key: AttemptKey,
        revision: i64,
        asked: i32,
        next_look_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update execution.orders set asked = $5, next_look_at = $6
             where billing_account_id = $1 and idempotency_key = $2 and attempt = $3 and revision = $4",
        )
        .bind(key.billing_account_id.as_uuid())
        .bind(key.idempotency_key.to_string())
        .bind(key.attempt)
        .bind(revision)
        .bind(asked)
        .bind(next_look_at.map(Timestamp::micros))
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn outbox_next(&self, partition: i32, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        outbox::next(&self.pool, partition, limit).await
    }

    async fn outbox_published(&self, published: &[(AttemptKey, i64)]) -> Result<(), StoreError> {
        outbox::published(&self.pool, published).await
    }

    async fn forget_published(&self, partition: i32, before: Timestamp) -> Result<(), StoreError> {
        outbox::forget_published(&self.pool, partition, before).await
    }

    async fn deferred(
        &self,
        partition: i32,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Deferred>, StoreError> {
        let rows = sqlx::query(
            "select billing_account_id, idempotency_key, revision, value, created_at from execution.deferred
             where partition = $1 and next_look_at <= $2
             order by created_at, billing_account_id, idempotency_key, revision limit $3",
        )
        .bind(partition)
        .bind(now.micros())
        .bind(count(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        rows.iter()
            .map(|row| {
                Ok(Deferred {
                    billing_account_id: BillingAccountId::from_uuid(
                        row.try_get("billing_account_id").map_err(failed)?,
                    ),
                    idempotency_key: parsed(row, "idempotency_key")?,
                    revision: row.try_get("revision").map_err(failed)?,
                    value: row.try_get::<Vec<u8>, _>("value").map_err(failed)?.into(),
                    created_at: Timestamp::from_micros(row.try_get("created_at").map_err(failed)?),
                })
            })
            .collect()
    }

    async fn keep_balance(&self, of: BudgetKey, balance: Usdc, at: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "update execution.budgets set balance = $3, balance_at = $4
             where billing_account_id = $1 and mode = $2 and (balance_at is null or balance_at < $4)",
        )
        .bind(of.billing_account_id.as_uuid())
        .bind(of.mode.as_str())
        .bind(balance.micro())
        .bind(at.micros())
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn budgets(&self) -> Result<Vec<(BudgetKey, Option<Timestamp>)>, StoreError> {
        let rows = sqlx::query(
            "select b.billing_account_id, b.mode, b.balance_at from execution.budgets b
             where exists (select 1 from poly_wallet_connections c
                 where c.billing_account_id = b.billing_account_id and c.revoked_at is null)
             order by b.billing_account_id, b.mode",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let billing_account_id =
                    BillingAccountId::from_uuid(row.try_get("billing_account_id").map_err(failed)?);
                let read: Option<i64> = row.try_get("balance_at").map_err(failed)?;
                let mode: Mode = parsed(row, "mode")?;
                Ok((BudgetKey { billing_account_id, mode }, read.map(Timestamp::from_micros)))
            })
            .collect()
    }

    async fn agreed_offsets(&self) -> Result<BTreeMap<i32, StoredOffset>, StoreError> {
        let rows = sqlx::query("select partition, log_id, next_offset, before from execution.order_offsets")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let partition: i32 = row.try_get("partition").map_err(failed)?;
                Ok((partition, position(row, TopicPartition::new(Topic::Orders, partition))?))
            })
            .collect()
    }

    async fn keep_agreed(&self, offset: &StoredOffset) -> Result<(), StoreError> {
        sqlx::query(
            "insert into execution.order_offsets as o (partition, log_id, next_offset, before)
             values ($1, $2, $3, $4)
             on conflict (partition) do update set
                 log_id = excluded.log_id, next_offset = excluded.next_offset, before = excluded.before
             where o.log_id <> excluded.log_id or o.next_offset < excluded.next_offset",
        )
        .bind(offset.at.partition)
        .bind(offset.log_id.as_uuid())
        .bind(offset.next.0)
        .bind(offset.before.map(|h| h.to_string()))
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn revisions(&self, of: &[AttemptKey]) -> Result<BTreeMap<AttemptKey, i64>, StoreError> {
        let accounts: Vec<Uuid> = of.iter().map(|k| k.billing_account_id.as_uuid()).collect();
        let attempts: Vec<i32> = of.iter().map(|k| k.attempt).collect();
        let rows = sqlx::query(
            "select o.billing_account_id, o.idempotency_key, o.attempt, o.revision from execution.orders o
             join unnest($1::uuid[], $2::text[], $3::int[]) u(account, key, attempt)
                 on o.billing_account_id = u.account and o.idempotency_key = u.key and o.attempt = u.attempt",
        )
        .bind(accounts)
        .bind(text(of.iter().map(|k| k.idempotency_key)))
        .bind(attempts)
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        rows.iter().map(|row| Ok((rows::key(row)?, row.try_get("revision").map_err(failed)?))).collect()
    }
}
