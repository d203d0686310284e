//! What the api reads of the tables built from the log, as a tenant: each inside a transaction of
//! [`begin_as`](crate::pg::begin_as), so that row-level security filters before anything is counted.

mod decisions;
mod orders;
mod positions;

pub use decisions::{DecisionFilter, DecisionPlace, DecisionRow, decisions, decisions_of};
pub use orders::{Copied, OrderFilter, OrderPlace, order_of, orders};
pub use positions::{PositionFilter, PositionPlace, PositionRow, each_position, positions};

use std::{collections::BTreeMap, time::Duration};

use schemas::{BillingAccountId, OrderStatus, Outcome, Reason, Timestamp};
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use crate::pg::Tz;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// What the server says.
    #[error("database_error: {0}")]
    Sql(#[from] sqlx::Error),
    /// A row that this program would not have written.
    #[error("database_row_invalid: {0}. Another program wrote to the tables; rebuild them")]
    Row(#[from] schemas::ids::IdError),
}

/// Between two moments: from the first on, and before the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// From here on.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
}

/// A statement that grows by conditions; each value is bound, none is written into the text.
struct Where(QueryBuilder<Postgres>);

impl Where {
    /// Begins with the account: row-level security would find the same rows, and this finds the index.
    fn of(select: &str, account: BillingAccountId) -> Self {
        let mut query = QueryBuilder::new(select);
        query.push(" where billing_account_id = ").push_bind(account.as_uuid());
        Self(query)
    }

    /// `condition` ends where its value goes.
    fn and<T>(&mut self, condition: &str, value: Option<T>)
    where
        T: 'static + sqlx::Type<Postgres> + for<'q> sqlx::Encode<'q, Postgres>,
    {
        if let Some(value) = value {
            self.0.push(" and ").push(condition).push_bind(value);
        }
    }

    fn within(&mut self, column: &str, span: Span) {
        self.and(&format!("{column} >= "), span.since.map(Tz));
        self.and(&format!("{column} < "), span.until.map(Tz));
    }
}

/// How fresh the tenant's orders are (`behaviour.md` 8). Final orders need no freshness and do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncHealth {
    /// How long ago the venue confirmed the order that it confirmed longest ago; `None` where none was ever.
    pub oldest_synced_row_age: Option<Duration>,
    /// Orders confirmed, and last more than a minute ago.
    pub rows_stale_over_60s: u64,
    /// Orders never confirmed.
    pub rows_never_synced: u64,
}

/// How fresh the orders are that this transaction's user sees.
pub async fn sync_health(connection: &mut PgConnection, now: Timestamp) -> Result<SyncHealth, QueryError> {
    let row = sqlx::query(
        "select min(synced_at) as oldest, count(*) filter (where synced_at < $1) as stale,
             count(*) filter (where synced_at is null) as never
         from poly_copy_trade_fills where not is_final",
    )
    .bind(Tz(now.minus(Duration::from_secs(60))))
    .fetch_one(connection)
    .await?;
    let oldest: Option<Tz> = row.try_get("oldest")?;
    let count = |column| -> Result<u64, sqlx::Error> { Ok(row.try_get::<i64, _>(column)?.unsigned_abs()) };
    Ok(SyncHealth {
        oldest_synced_row_age: oldest.map(|Tz(oldest)| now.since(oldest)),
        rows_stale_over_60s: count("stale")?,
        rows_never_synced: count("never")?,
    })
}

/// When execute last went over the orders of a partition of `intents`.
///
/// # Errors
/// The database.
pub async fn reconciler_tick(
    connection: &mut PgConnection,
    partition: i32,
) -> Result<Option<Timestamp>, QueryError> {
    let at = sqlx::query_scalar("select ticked_at from poly_reconciler_ticks where partition = $1")
        .bind(partition)
        .fetch_optional(connection)
        .await?;
    Ok(at.map(|Tz(at)| at))
}

/// How many decisions ended how, for this transaction's user.
pub async fn decisions_by_reason(
    connection: &mut PgConnection,
) -> Result<BTreeMap<(Outcome, Reason), u64>, QueryError> {
    let rows = sqlx::query(
        "select outcome, reason, count(*) as n from poly_copy_trade_decisions group by outcome, reason",
    )
    .fetch_all(connection)
    .await?;
    let mut counts = BTreeMap::new();
    for row in &rows {
        let key = (row.try_get::<&str, _>("outcome")?.parse()?, row.try_get::<&str, _>("reason")?.parse()?);
        counts.insert(key, row.try_get::<i64, _>("n")?.unsigned_abs());
    }
    Ok(counts)
}

/// How many copies stand where, for this transaction's user.
pub async fn copies_by_status(
    connection: &mut PgConnection,
) -> Result<BTreeMap<OrderStatus, u64>, QueryError> {
    let rows = sqlx::query("select status, count(*) as n from poly_copy_trade_fills group by status")
        .fetch_all(connection)
        .await?;
    let mut counts = BTreeMap::new();
    for row in &rows {
        counts.insert(row.try_get::<&str, _>("status")?.parse()?, row.try_get::<i64, _>("n")?.unsigned_abs());
    }
    Ok(counts)
}
