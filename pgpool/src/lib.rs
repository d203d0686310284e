//! Pools of Postgres connections in which no cancelled transaction survives.
//!
//! The driver counts a transaction once `BEGIN` is answered, and rolls back what it counted. A `begin` that is dropped
//! between its request and its answer, as every `select!` may do, therefore leaves a connection inside a transaction that
//! nobody knows of: the next one who is given that connection writes into it, is told that it is written, and none of it
//! is ever committed. So transactions begin by [`begin`] alone (a lint sees to it), which runs to its end whoever waits.

use std::time::Duration;

use sqlx::{
    PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// The longest that a connection is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The options that every pool begins with.
pub fn options(size: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(size).acquire_timeout(PATIENCE)
}

/// A process that is stopped, or whose machine is, inside a transaction keeps its locks: whoever takes its work over
/// would wait for them for as long as it sleeps. The server ends such a transaction after this long; when the process
/// wakes up, it finds the connection gone.
const ASLEEP: &str = "5s";

/// Sessions whose transactions do not outlive the process that they wait for.
pub fn awake(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("idle_in_transaction_session_timeout", ASLEEP)])
}

/// The longest that a statement runs for a request: less than a request may take, so that the database has let go of it
/// by the time the client is told to come back.
const LONGEST_STATEMENT: &str = "10s";

/// Sessions for requests, a few of which serve everybody: none is kept for long by what one of them asks for.
pub fn bounded(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("statement_timeout", LONGEST_STATEMENT)])
}

/// Sessions for machines, which ask for rows by their keys, in the same few statements all day. A statement is planned once,
/// since to plan it for each set of parameters costs the server more than to run it; and as one lookup after another, by
/// an index wherever there is one, since that once may be when the tables are still empty. Not for lists whose filters may
/// be absent, which such a plan reads as if none were given.
pub fn by_key(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        // To compile what is estimated to be large pays for reports; here it would delay an order.
        ("jit", "off"),
    ])
}

/// Begins a transaction. May be dropped at any point: what was begun by then is rolled back.
///
/// # Errors
/// No connection within its time, and what the server says.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    #[expect(clippy::disallowed_methods, reason = "the one place where it cannot be dropped halfway")]
    let begun = tokio::spawn(async move { pool.begin().await }).await;
    match begun {
        Ok(begun) => begun,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down, and every connection with it.
            Err(_) => Err(sqlx::Error::PoolClosed),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use sqlx::Executor;

    use super::*;

    async fn pool() -> PgPool {
        options(1).connect(&testkit::fresh_database().await).await.unwrap()
    }

    /// Polls a future so many times, then drops it.
    async fn cancelled_after<F: Future>(polls: usize, future: F) {
        let mut future = pin!(future);
        for _ in 0..polls {
            if future.as_mut().now_or_never().is_some() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_written_after_a_cancelled_begin_is_committed() {
        let pool = pool().await;
        pool.execute("create table t (n int)").await.unwrap();
        // From before its request until past its answer: each of them is dropped a little later.
        for round in 0..1_000 {
            cancelled_after(round + 1, begin(&pool)).await;
            sqlx::query("insert into t values ($1)")
                .bind(i32::try_from(round).unwrap())
                .execute(&pool)
                .await
                .unwrap();
        }
        // Another connection sees what was committed, and nothing else.
        let other = PgPool::connect_with((*pool.connect_options()).clone()).await.unwrap();
        let there: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&other).await.unwrap();
        assert_eq!(there, 1_000);
    }

    #[tokio::test]
    async fn a_transaction_cancelled_in_the_middle_leaves_nothing_behind() {
        let pool = pool().await;
        pool.execute("create table t (n int)").await.unwrap();
        for round in 0..100 {
            let write = async {
                let mut transaction = begin(&pool).await.unwrap();
                sqlx::query("insert into t values (1)").execute(&mut *transaction).await.unwrap();
                sqlx::query("select 1 / 0").execute(&mut *transaction).await.unwrap_err();
                std::future::pending::<()>().await;
            };
            cancelled_after(round * 10 + 1, write).await;
        }
        let there: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&pool).await.unwrap();
        assert_eq!(there, 0);
    }

    #[tokio::test]
    async fn a_connection_that_did_nothing_wrong_is_kept() {
        let pool = pool().await;
        let backend =
            async || sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(&pool).await.unwrap();
        let first = backend().await;
        for _ in 0..20 {
            assert_eq!(backend().await, first);
        }
        let mut transaction = begin(&pool).await.unwrap();
        sqlx::query("select 1").execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(backend().await, first);
    }
}
