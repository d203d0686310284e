//! INSERT decides (`behaviour.md` 6.1): an order whose row another transaction wrote meanwhile is not placed, although
//! the gate looked before and saw nothing. On real Postgres, the conflict is a real one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::{
    Tenant, keyring,
    ledger::{Held, Ledger},
};
use execute::store::Gated;
use sqlx::AssertSqlSafe;

#[tokio::test]
async fn a_row_that_another_writes_between_look_and_insert_means_not_placed() {
    let ledger = Ledger::postgres().await;
    let Ledger::Postgres { admin, .. } = &ledger else { panic!("no database") };
    let tenant = Tenant::new(1);
    let keyring = keyring(&[(1, &tenant)]);
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let placed = held.place(tenant.buy(1, "10", "0.50"), &keyring).await;
    // The same row again, as another writes it: there, and not committed yet.
    let rewind = "create table another as select * from execution.orders;
                  delete from execution.outbox; delete from execution.orders";
    sqlx::raw_sql(rewind).execute(admin).await.unwrap();
    let columns: String = sqlx::query_scalar(
        "select string_agg(attname, ', ' order by attnum) from pg_attribute
         where attrelid = 'execution.orders'::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
    )
    .fetch_one(admin)
    .await
    .unwrap();
    let again = format!("insert into execution.orders ({columns}) select {columns} from another");
    let mut another = admin.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(again)).execute(&mut *another).await.unwrap();

    let intent = tenant.buy(1, "10", "0.50");
    let gate = tokio::spawn(async move { (held.gate(vec![intent.into()], &keyring).await, held) });
    testkit::wait_for("the gate to wait for the other's row", Duration::from_secs(20), async || {
        assert!(!gate.is_finished(), "the gate did not wait");
        sqlx::query_scalar::<_, bool>(
            "select exists (select from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and usename = 'executor')",
        )
        .fetch_one(admin)
        .await
        .unwrap()
    })
    .await;
    another.commit().await.unwrap();

    let (gated, held) = gate.await.unwrap();
    let gated = gated.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Nothing(_)]), "{gated:?}");
    assert_eq!(ledger.attempt(&placed).await, placed, "the row is the other's");
    assert!(held.store.outbox_next(0, 10).await.unwrap().is_empty(), "what was not placed is not told");
}
