//! The tables in Postgres, as role `projector`.

mod ids;
mod settle;
mod tokens;

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use async_trait::async_trait;
use eventlog::{Offset, TopicPartition};
use schemas::{
    BillingAccountId, Hash32, LogId, Shares, Side, UserId,
    events::{Decision, OrderState},
};
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use self::settle::Place;
use super::{Store, StoreError};
use crate::{
    connections::{ConnectError, Connections, pool},
    core::{
        chain::Head,
        fold::{Batch, Progress},
        ledger::{Attempts, CopyKey, LedgerRow},
    },
    migrate::{MigrateError, check_version},
    pg::{Tz, is_away},
    roles::Role,
};

/// Names the lock of a partition number among the advisory locks of the database.
const WALLETS: i32 = 0x706d;

/// The live tables, or the second set of a rebuild.
#[derive(Debug, Clone)]
pub struct PgStore(PgPool);

impl PgStore {
    /// Over the live tables.
    ///
    /// # Errors
    /// No password, no server, no such database, a refusal, or a database that is not at this program's
    /// version.
    pub async fn connect(connections: &Connections) -> Result<Self, MigrateError> {
        let store = Self::connect_to(connections, "public").await?;
        check_version(&store.0).await?;
        Ok(store)
    }

    /// Over the tables of another schema; `public` stands behind it.
    pub(crate) async fn connect_to(
        connections: &Connections,
        schema: &'static str,
    ) -> Result<Self, ConnectError> {
        let path = format!("{schema},public");
        // A lost commit takes rows and offsets with it together: they are read again. Nothing here waits for
        // a disk.
        let options = connections
            .options(Role::Projector)?
            .options([("search_path", path.as_str()), ("synchronous_commit", "off")]);
        Ok(Self(pool(options, 4).await?))
    }

    /// Over these connections, which are a projector's.
    pub const fn over(pool: PgPool) -> Self {
        Self(pool)
    }

    /// Its connections.
    pub const fn pool(&self) -> &PgPool {
        &self.0
    }
}

#[async_trait]
impl Store for PgStore {
    async fn progress(
        &self,
        of: &BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Progress>, StoreError> {
        let (topics, partitions) = columns(of.iter().map(|at| (at.topic.name(), at.partition)));
        let rows = sqlx::query(
            "select topic, partition, log_id, next_offset, before, cut, cut_hash, decisions_left, ignored, dead
             from projection_offsets
             where (topic, partition) in (select * from unnest($1::text[], $2::int[]))",
        )
        .bind(topics)
        .bind(partitions)
        .fetch_all(&self.0)
        .await
        .map_err(store_error)?;
        rows.iter().map(progress_of).collect()
    }

    async fn owners(
        &self,
        of: &BTreeSet<BillingAccountId>,
    ) -> Result<BTreeMap<BillingAccountId, UserId>, StoreError> {
        let accounts: Vec<Uuid> = of.iter().map(BillingAccountId::as_uuid).collect();
        let rows: Vec<(Uuid, Uuid)> =
            sqlx::query_as("select id, owner_user_id from billing_accounts where id = any($1)")
                .bind(accounts)
                .fetch_all(&self.0)
                .await
                .map_err(store_error)?;
        let typed = |(account, user)| (BillingAccountId::from_uuid(account), UserId::from_uuid(user));
        Ok(rows.into_iter().map(typed).collect())
    }

    async fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut transaction = pgpool::begin(&self.0).await.map_err(store_error)?;
        // First, and in order: an overtaken batch touches nothing, and two never wait for each other
        // crosswise.
        for (at, (from, to)) in &batch.advances {
            advance(&mut transaction, *at, from.as_ref(), to).await?;
        }
        // Orders, outcomes and ids of a wallet's tokens have one partition number: whoever writes one of them waits for whoever
        // writes another, so that one of the two sees both.
        let numbers: BTreeSet<i32> = batch.advances.keys().map(|at| at.partition).collect();
        for number in numbers {
            sqlx::query("select pg_advisory_xact_lock($1, $2)")
                .bind(WALLETS)
                .bind(number)
                .execute(&mut *transaction)
                .await
                .map_err(store_error)?;
        }
        insert_decisions(&mut transaction, &batch.decisions).await?;
        let changed = merge_attempts(&mut transaction, &batch.orders).await?;
        let rows: Vec<LedgerRow> = changed.values().filter_map(|(_, attempts)| attempts.row()).collect();
        write_rows(&mut transaction, &rows).await?;
        let moved = rows
            .iter()
            .zip(changed.values())
            .filter(|(row, (before, _))| row.side == Side::Sell || row.filled_shares != *before);
        let mut moved: BTreeSet<Place> = moved.map(|(row, _)| Place::of(row)).collect();
        // First the ids: what is told of one of them is told of the token.
        let mut news = ids::keep(&mut transaction, &batch.tokens.links).await?;
        news.extend(tokens::keep(&mut transaction, &batch.tokens).await?);
        moved.extend(settle::places(&mut transaction, &news).await?);
        settle::settle(&mut transaction, &moved).await?;
        transaction.commit().await.map_err(store_error)
    }
}

/// What is wrong with the data (22, 23), or with whose it is said to be (42501), will be wrong again.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn store_error(error: sqlx::Error) -> StoreError {
    let text = error.to_string();
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        Some(code) if code.starts_with("22") || code.starts_with("23") || code == "42501" => {
            StoreError::Unacceptable(text)
        }
        _ if matches!(error, sqlx::Error::Encode(_)) => StoreError::Unacceptable(text),
        _ if is_away(&error) => StoreError::Unreachable(text),
        _ => StoreError::Broken(text),
    }
}

fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}

fn columns<A, B>(pairs: impl Iterator<Item = (A, B)>) -> (Vec<A>, Vec<B>) {
    pairs.unzip()
}

fn progress_of(row: &PgRow) -> Result<(TopicPartition, Progress), StoreError> {
    let hash = |column: &str| -> Result<Option<Hash32>, StoreError> {
        let text: Option<String> = row.try_get(column).map_err(store_error)?;
        text.map(|text| Hash32::from_str(&text)).transpose().map_err(broken)
    };
    let name: &str = row.try_get("topic").map_err(store_error)?;
    let topic = schemas::topics::Topic::from_name(name).ok_or_else(|| broken(format!("no topic {name}")))?;
    let number: Option<i64> = row.try_get("cut").map_err(store_error)?;
    let left: Option<i32> = row.try_get("decisions_left").map_err(store_error)?;
    let head = match (number, hash("cut_hash")?, left) {
        (Some(number), Some(hash), Some(left)) => Some(Head { number, hash, left }),
        _ => None,
    };
    let at = TopicPartition::new(topic, row.try_get("partition").map_err(store_error)?);
    let progress = Progress {
        log_id: LogId::from_uuid(row.try_get("log_id").map_err(store_error)?),
        next: Offset(row.try_get("next_offset").map_err(store_error)?),
        before: hash("before")?,
        head,
        ignored: row.try_get("ignored").map_err(store_error)?,
        dead: row.try_get("dead").map_err(store_error)?,
    };
    Ok((at, progress))
}

/// Compare and set: the row is where the batch begins, or the batch is not.
async fn advance(
    connection: &mut PgConnection,
    at: TopicPartition,
    from: Option<&Progress>,
    to: &Progress,
) -> Result<(), StoreError> {
    let query = match from {
        Some(from) => sqlx::query(
            "update projection_offsets set log_id = $3, next_offset = $4, before = $5, cut = $6, cut_hash = $7,
                 decisions_left = $8, ignored = $9, dead = $10
             where topic = $1 and partition = $2 and log_id = $11 and next_offset = $12
                 and before is not distinct from $13",
        )
        .bind(at.topic.name())
        .bind(at.partition)
        .bind(to.log_id.as_uuid())
        .bind(to.next.0)
        .bind(to.before.map(|hash| hash.to_string()))
        .bind(to.head.map(|head| head.number))
        .bind(to.head.map(|head| head.hash.to_string()))
        .bind(to.head.map(|head| head.left))
        .bind(to.ignored)
        .bind(to.dead)
        .bind(from.log_id.as_uuid())
        .bind(from.next.0)
        .bind(from.before.map(|hash| hash.to_string())),
        None => sqlx::query(
            "insert into projection_offsets
                 (topic, partition, log_id, next_offset, before, cut, cut_hash, decisions_left, ignored, dead)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing",
        )
        .bind(at.topic.name())
        .bind(at.partition)
        .bind(to.log_id.as_uuid())
        .bind(to.next.0)
        .bind(to.before.map(|hash| hash.to_string()))
        .bind(to.head.map(|head| head.number))
        .bind(to.head.map(|head| head.hash.to_string()))
        .bind(to.head.map(|head| head.left))
        .bind(to.ignored)
        .bind(to.dead),
    };
    match query.execute(connection).await.map_err(store_error)?.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Overtaken(at)),
    }
}

async fn insert_decisions(connection: &mut PgConnection, decisions: &[Decision]) -> Result<(), StoreError> {
    if decisions.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($decision:ident => $value:expr) => {
            decisions.iter().map(|$decision| $value).collect::<Vec<_>>()
        };
    }
    let intents: Vec<Option<String>> = decisions
        .iter()
        .map(|d| d.order.as_ref().map(serde_json::to_string).transpose())
        .collect::<Result<_, _>>()
        .map_err(broken)?;
    let inputs: Vec<String> = decisions
        .iter()
        .map(|d| serde_json::to_string(&d.inputs))
        .collect::<Result<_, _>>()
        .map_err(broken)?;
    // INSERT is all that projector may do here, so the conflict names no columns.
    let written = sqlx::query(
        "insert into poly_copy_trade_decisions
             (billing_account_id, idempotency_key, revision, created_by_user_id, target_row_id, target_id,
              target_wallet, fill_id, asset, market_id, mode, outcome, reason, position_branch, intent, inputs, error,
              plan_version, policy_revision, partition, cut, source_offset, decided_at)
         select account, key, revision, usr, target_row, target, wallet, fill, asset, market, mode, outcome, reason,
             branch, intent::jsonb, inputs::jsonb, error, plan, policy, partition, cut, source, decided
         from unnest($1::uuid[], $2::text[], $3::int[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[],
             $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
             $17::text[], $18::int[], $19::bigint[], $20::int[], $21::bigint[], $22::bigint[], $23::timestamptz[])
             as t (account, key, revision, usr, target_row, target, wallet, fill, asset, market, mode, outcome, reason,
             branch, intent, inputs, error, plan, policy, partition, cut, source, decided)
         on conflict do nothing",
    )
    .bind(column!(d => d.billing_account_id.as_uuid()))
    .bind(column!(d => d.idempotency_key.to_string()))
    .bind(column!(d => d.revision))
    .bind(column!(d => d.created_by_user_id.as_uuid()))
    .bind(column!(d => d.target_row_id.as_uuid()))
    .bind(column!(d => d.target_id.as_uuid()))
    .bind(column!(d => d.wallet.to_string()))
    .bind(column!(d => d.fill_id.as_str()))
    .bind(column!(d => d.asset.as_str()))
    .bind(column!(d => d.condition_id.to_string()))
    .bind(column!(d => d.mode.as_str()))
    .bind(column!(d => d.outcome.as_str()))
    .bind(column!(d => d.reason.as_str()))
    .bind(column!(d => d.position_branch.as_str()))
    .bind(intents)
    .bind(inputs)
    .bind(column!(d => d.error.as_deref()))
    .bind(column!(d => d.plan_version))
    .bind(column!(d => d.policy_revision))
    .bind(column!(d => d.partition))
    .bind(column!(d => d.cut))
    .bind(column!(d => d.source_offset))
    .bind(column!(d => Tz(d.decided_at)))
    .execute(connection)
    .await
    .map_err(store_error)?
    .rows_affected();
    if written < u64::try_from(decisions.len()).unwrap_or(u64::MAX) {
        // The chain decided something twice: the first stands. That is decide's to explain.
        tracing::error!(decisions = decisions.len(), written, "decisions that were recorded before");
    }
    Ok(())
}

/// Keeps what is news, and gives every attempt of the copies it is news of, with what had filled before.
async fn merge_attempts(
    connection: &mut PgConnection,
    orders: &BTreeMap<CopyKey, Attempts>,
) -> Result<BTreeMap<CopyKey, (Shares, Attempts)>, StoreError> {
    if orders.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (accounts, keys) = columns(orders.keys().map(|(account, key)| (account.as_uuid(), key.to_string())));
    let known: Vec<String> = sqlx::query_scalar(
        "select a.state::text from unnest($1::uuid[], $2::text[]) as k (account, key)
         join poly_copy_trade_attempts a on a.billing_account_id = k.account and a.idempotency_key = k.key",
    )
    .bind(accounts)
    .bind(keys)
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    let mut all: BTreeMap<CopyKey, Attempts> = BTreeMap::new();
    for text in known {
        let state: OrderState = serde_json::from_str(&text).map_err(broken)?;
        all.entry((state.billing_account_id, state.idempotency_key)).or_default().take(state);
    }
    let mut changed = BTreeMap::new();
    let mut news: Vec<&OrderState> = Vec::new();
    for (copy, attempts) in orders {
        let mut known = all.remove(copy).unwrap_or_default();
        let before = known.row().map_or(Shares::ZERO, |row| row.filled_shares);
        let first = news.len();
        news.extend(attempts.states().filter(|state| known.take((*state).clone())));
        if news.len() > first {
            changed.insert(*copy, (before, known));
        }
    }
    if news.is_empty() {
        return Ok(changed);
    }
    let states: Vec<String> =
        news.iter().map(serde_json::to_string).collect::<Result<_, _>>().map_err(broken)?;
    sqlx::query(
        "insert into poly_copy_trade_attempts
             (billing_account_id, idempotency_key, attempt, revision, created_by_user_id, state)
         select account, key, attempt, revision, usr, state::jsonb
         from unnest($1::uuid[], $2::text[], $3::int[], $4::bigint[], $5::uuid[], $6::text[])
             as t (account, key, attempt, revision, usr, state)
         on conflict (billing_account_id, idempotency_key, attempt) do update
         set revision = excluded.revision, state = excluded.state
         where poly_copy_trade_attempts.revision < excluded.revision",
    )
    .bind(news.iter().map(|o| o.billing_account_id.as_uuid()).collect::<Vec<_>>())
    .bind(news.iter().map(|o| o.idempotency_key.to_string()).collect::<Vec<_>>())
    .bind(news.iter().map(|o| o.attempt).collect::<Vec<_>>())
    .bind(news.iter().map(|o| o.revision).collect::<Vec<_>>())
    .bind(news.iter().map(|o| o.created_by_user_id.as_uuid()).collect::<Vec<_>>())
    .bind(states)
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(changed)
}

async fn write_rows(connection: &mut PgConnection, rows: &[LedgerRow]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($row:ident => $value:expr) => {
            rows.iter().map(|$row| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "insert into poly_copy_trade_fills
             (billing_account_id, target_id, fill_id, created_by_user_id, target_row_id, target_wallet,
              idempotency_key, market_id, asset, side, mode, price, shares, size_usdc, filled_shares, filled_usdc,
              fees_usdc, order_id, status, is_final, reason, attempts, observed_at, created_at, synced_at,
              changed_at, position_lifecycle)
         select account, target, fill, usr, target_row, wallet, key, market, asset, side, mode, price * 0.000001,
             shares * 0.000001, size * 0.000001, filled_shares * 0.000001, filled_usdc * 0.000001, fees * 0.000001,
             order_id, status, is_final, reason, attempts, observed, created, synced, changed,
             case when side = 'BUY' and filled_shares > 0 then 'open' end
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[],
             $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[],
             $16::bigint[], $17::bigint[], $18::text[], $19::text[], $20::bool[], $21::text[], $22::int[],
             $23::timestamptz[], $24::timestamptz[], $25::timestamptz[], $26::timestamptz[])
             as t (account, target, fill, usr, target_row, wallet, key, market, asset, side, mode, price, shares, size,
             filled_shares, filled_usdc, fees, order_id, status, is_final, reason, attempts, observed, created, synced,
             changed)
         on conflict (billing_account_id, idempotency_key) do update
         set price = excluded.price, shares = excluded.shares, size_usdc = excluded.size_usdc,
             filled_shares = excluded.filled_shares, filled_usdc = excluded.filled_usdc,
             fees_usdc = excluded.fees_usdc, order_id = excluded.order_id, status = excluded.status,
             is_final = excluded.is_final, reason = excluded.reason, attempts = excluded.attempts,
             observed_at = excluded.observed_at, created_at = excluded.created_at, synced_at = excluded.synced_at,
             changed_at = excluded.changed_at,
             -- What has just been filled is open, until a sale says otherwise; what stands somewhere stays there, unless
             -- nothing is filled any more.
             position_lifecycle = case
                 when excluded.side = 'BUY' and excluded.filled_shares <= 0 then null
                 else coalesce(poly_copy_trade_fills.position_lifecycle, excluded.position_lifecycle) end",
    )
    .bind(column!(r => r.account.as_uuid()))
    .bind(column!(r => r.target.as_uuid()))
    .bind(column!(r => r.fill.as_str()))
    .bind(column!(r => r.user.as_uuid()))
    .bind(column!(r => r.target_row.as_uuid()))
    .bind(column!(r => r.wallet.to_string()))
    .bind(column!(r => r.key.to_string()))
    .bind(column!(r => r.condition.to_string()))
    .bind(column!(r => r.asset.as_str()))
    .bind(column!(r => r.side.as_str()))
    .bind(column!(r => r.mode.as_str()))
    .bind(column!(r => r.price.micro()))
    .bind(column!(r => r.shares.micro()))
    .bind(column!(r => r.size.micro()))
    .bind(column!(r => r.filled_shares.micro()))
    .bind(column!(r => r.filled_usdc.micro()))
    .bind(column!(r => r.fees.micro()))
    .bind(column!(r => r.order_id.map(|id| id.to_string())))
    .bind(column!(r => r.status.as_str()))
    .bind(column!(r => r.status.is_final()))
    .bind(column!(r => r.reason.as_deref()))
    .bind(column!(r => r.attempts))
    .bind(column!(r => Tz(r.observed_at)))
    .bind(column!(r => Tz(r.created_at)))
    .bind(column!(r => r.synced_at.map(Tz)))
    .bind(column!(r => Tz(r.changed_at)))
    .execute(connection)
    .await
    .map(drop)
    .map_err(store_error)
}
