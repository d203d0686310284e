//! INSERT decides (`behaviour.md` 6.1): an order whose row another transaction wrote meanwhile is not placed, although
//! the gate looked before and saw nothing. And what another is just writing of a position is not passed over. On real
//! Postgres, the conflict is a real one.
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
use execute::{Keyring, StoreError, core::gate::denial, store::Gated};
use schemas::{Denial, IdempotencyKey, Side, events::MigrateIntent};
use sqlx::{AssertSqlSafe, PgPool};

/// A ledger and who sees all of it, a tenant, and its partition held.
async fn scene() -> (Ledger, PgPool, Tenant, Keyring, Held) {
    let ledger = Ledger::postgres().await;
    let Ledger::Postgres { admin, .. } = &ledger else { panic!("no database") };
    let admin = admin.clone();
    let tenant = Tenant::new(1);
    let keyring = keyring(&[(1, &tenant)]);
    ledger.add(1, &tenant).await;
    let held = Held::claim(&ledger, 0, "a").await;
    (ledger, admin, tenant, keyring, held)
}

#[tokio::test]
async fn a_row_that_another_writes_between_look_and_insert_means_not_placed() {
    let (ledger, admin, tenant, keyring, mut held) = scene().await;
    let placed = held.place(tenant.buy(1, "10", "0.50"), &keyring).await;
    // The same row again, as another writes it: there, and not committed yet.
    let rewind = "create table another as select * from execution.orders;
                  delete from execution.outbox; delete from execution.orders";
    sqlx::raw_sql(rewind).execute(&admin).await.unwrap();
    let columns: String = sqlx::query_scalar(
        "select string_agg(attname, ', ' order by attnum) from pg_attribute
         where attrelid = 'execution.orders'::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
    )
    .fetch_one(&admin)
    .await
    .unwrap();
    let again = format!("insert into execution.orders ({columns}) select {columns} from another");
    let mut another = admin.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(again)).execute(&mut *another).await.unwrap();

    let intent = tenant.buy(1, "10", "0.50");
    let gate = tokio::spawn(async move { (held.gate(vec![intent.into()], &keyring).await, held) });
    somebody_waits(&admin, || gate.is_finished()).await;
    another.commit().await.unwrap();

    let (gated, held) = gate.await.unwrap();
    let gated = gated.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Nothing(_)]), "{gated:?}");
    assert_eq!(ledger.attempt(&placed).await, placed, "the row is the other's");
    assert!(held.store.outbox_next(0, 10).await.unwrap().is_empty(), "what was not placed is not told");
}

async fn somebody_waits(admin: &PgPool, is_finished: impl Fn() -> bool) {
    testkit::wait_for("the gate to wait for the other's row", Duration::from_secs(20), async || {
        assert!(!is_finished(), "the gate did not wait");
        sqlx::query_scalar::<_, bool>(
            "select exists (select from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and usename = 'executor')",
        )
        .fetch_one(admin)
        .await
        .unwrap()
    })
    .await;
}

/// The same for what is due: it is not due twice, and nothing is sold for it from here.
#[tokio::test]
async fn a_due_that_another_writes_between_look_and_insert_is_due_once() {
    let (_ledger, admin, tenant, keyring, mut held) = scene().await;
    held.place(tenant.buy(1, "10", "0.50"), &keyring).await;
    let intent = tenant.close(2, 1, 1, "0.50");
    held.gate(vec![intent.clone().into()], &keyring).await.unwrap();
    // The same due again, as another writes it: there, and not committed yet.
    let rewind = "create table another as select * from execution.dues; delete from execution.dues;
                  delete from execution.closes; delete from execution.outbox";
    sqlx::raw_sql(rewind).execute(&admin).await.unwrap();
    let mut another = admin.begin().await.unwrap();
    sqlx::raw_sql("insert into execution.dues select * from another").execute(&mut *another).await.unwrap();

    let gate = tokio::spawn({
        let (intent, keyring) = (intent.clone(), keyring.clone());
        async move { (held.gate(vec![intent.into()], &keyring).await, held) }
    });
    somebody_waits(&admin, || gate.is_finished()).await;
    another.commit().await.unwrap();
    let (gated, mut held) = gate.await.unwrap();
    let error = gated.unwrap_err();
    assert!(
        matches!(error, StoreError::Changed(key) if key.idempotency_key == intent.head.idempotency_key),
        "{error}"
    );
    assert!(held.store.outbox_next(0, 10).await.unwrap().is_empty(), "nothing of it stayed");
    let gated = held.gate(vec![intent.into()], &keyring).await.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Nothing(_)]), "{gated:?}");
    let sells: i64 = sqlx::query_scalar("select count(*) from execution.orders where side = $1")
        .bind(Side::Sell.as_str())
        .fetch_one(&admin)
        .await
        .unwrap();
    assert_eq!(sells, 0);
}

/// A tenant pauses while the gate is on its way: whoever was told that it is paused sees no BUY after that. The API holds the
/// account's row while it writes; a gate that waits for it has to read afterwards what it waited for.
#[tokio::test]
async fn a_pause_that_is_being_written_stops_the_gate_that_waits_for_it() {
    for stood_before in [false, true] {
        let (_ledger, admin, tenant, keyring, mut held) = scene().await;
        let account = tenant.account.as_uuid();
        let switch = |on: bool| {
            sqlx::query(
                "insert into poly_controls (id, billing_account_id, kind, active, reason, revision, changed_at)
                 values (gen_random_uuid(), $1, 'pause', $2, '', 1, now())
                 on conflict (billing_account_id, kind) do update set active = excluded.active",
            )
            .bind(account)
            .bind(on)
        };
        if stood_before {
            switch(false).execute(&admin).await.unwrap();
        }
        let mut pausing = admin.begin().await.unwrap();
        sqlx::query("select from billing_accounts where id = $1 for no key update")
            .bind(account)
            .execute(&mut *pausing)
            .await
            .unwrap();
        switch(true).execute(&mut *pausing).await.unwrap();

        let buy = tenant.buy(1, "10", "0.50");
        let gate = tokio::spawn(async move { held.gate(vec![buy.into()], &keyring).await });
        somebody_waits(&admin, || gate.is_finished()).await;
        pausing.commit().await.unwrap();
        let gated = gate.await.unwrap().unwrap();
        let [Gated::Inserted(attempt)] = gated.as_slice() else { panic!("{gated:?}") };
        assert_eq!(denial(attempt), Some(Denial::TenantPaused), "the row stood before: {stood_before}");
    }
}

/// The first fill of a position is being written when its token goes on under another id: nobody sees the row of the position
/// yet, and what filled is carried there all the same.
#[tokio::test]
async fn what_fills_while_its_token_goes_on_under_another_id_goes_there_too() {
    let (ledger, admin, tenant, keyring, mut held) = scene().await;
    let buy = held.place(tenant.buy(1, "10", "0.40"), &keyring).await;
    // A fill, as whoever follows the order writes it: first the position, then the order.
    let mut step = admin.begin().await.unwrap();
    sqlx::query(
        "insert into execution.positions select billing_account_id, target_id, held_as, mode, condition_id,
             4000000, 1600000, created_at from execution.orders",
    )
    .execute(&mut *step)
    .await
    .unwrap();
    sqlx::query("update execution.orders set revision = revision + 1, filled_shares = 4000000")
        .execute(&mut *step)
        .await
        .unwrap();

    let mut head = tenant.head(1, 1, 1, Side::Sell, 700);
    let fill = format!("data-api:{}:{}:MIGRATION:1790000000", head.tx.unwrap(), head.asset);
    (head.fill_id, head.tx) = (fill.parse().unwrap(), None);
    head.idempotency_key = IdempotencyKey::of(head.target_id, &head.fill_id);
    let becomes = common::asset(7, 1);
    let migration = MigrateIntent { head, becomes: becomes.clone() };
    let gate = tokio::spawn(async move { held.gate(vec![migration.into()], &keyring).await });
    somebody_waits(&admin, || gate.is_finished()).await;
    step.commit().await.unwrap();
    gate.await.unwrap().unwrap();

    let stands: Vec<(String, i64)> =
        sqlx::query_as("select asset, held from execution.positions where held <> 0")
            .fetch_all(&admin)
            .await
            .unwrap();
    assert_eq!(stands, [(becomes.to_string(), 4_000_000)]);
    assert_eq!(ledger.attempt(&buy).await.held_as, becomes);
}
