//! How the ledger's statements are planned: once, and perhaps while its tables are still empty and nobody has counted
//! them. Rows must be found by their keys all the same, or each gate reads everything that there ever was.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::{
    Tenant, keyring,
    ledger::{Held, Ledger},
};
use execute::{
    core::{Attempt, Event, fills::Fills, follow::Class, transition, transition::Seen},
    store::Gated,
};
use schemas::Round;
use venue::wire::ClobOrderStatus;

/// Bought and filled, and what it told is published.
async fn buy(held: &mut Held, tenant: &Tenant, keyring: &execute::Keyring, fill: u32) {
    let placed = held.place(tenant.buy(fill, "10", "0.10"), keyring).await;
    follow(held, &placed).await;
}

async fn follow(held: &Held, placed: &Attempt) {
    let fills = Fills {
        shares: placed.shares,
        usdc: placed.limit_price.cost(placed.shares, Round::Down).unwrap(),
        confirmed: placed.shares,
        ..Fills::default()
    };
    let event = Event::Seen(Seen { status: ClobOrderStatus::Matched, matched: placed.shares, fills });
    let filled = transition(placed, &event, held.now).unwrap();
    held.store.record(placed, &filled).await.unwrap();
    held.store.due(held.partition, Class::Urgent, held.now, 10).await.unwrap();
    held.store.unresolved(held.partition, None, 10).await.unwrap();
    let told = held.store.outbox_next(held.partition, 10).await.unwrap();
    let told: Vec<_> = told.iter().map(|row| (row.key, row.revision)).collect();
    held.store.outbox_published(&told).await.unwrap();
}

#[tokio::test]
async fn no_table_that_grows_is_read_whole_though_it_was_empty_when_reading_it_was_planned() {
    const ORDERS: u32 = 60;
    const GROW: &str = "orders outbox dues closes positions";
    let ledger = Ledger::postgres().await;
    let Ledger::Postgres { admin, store } = &ledger else { panic!("no database") };
    let tenant = Tenant::new(1);
    let keyring = keyring(&[(1, &tenant)]);
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    for fill in 0..ORDERS {
        buy(&mut held, &tenant, &keyring, fill).await;
    }
    for fill in ORDERS..ORDERS + 5 {
        let gated = held.gate(vec![tenant.close(fill, 1, 10, "0.10").into()], &keyring).await.unwrap();
        let sold = gated.iter().find_map(|g| if let Gated::Inserted(sold) = g { Some(sold) } else { None });
        follow(&held, sold.unwrap()).await;
        held.turns(&keyring).await;
    }
    // A connection tells what it did at the latest when it ends.
    store.close().await;
    let counted = async |what: &str, tables: &str| {
        let sql = format!(
            "select coalesce(sum({what}), 0)::bigint from pg_stat_user_tables
             where schemaname = 'execution' and relname = any(string_to_array('{tables}', ' '))"
        );
        sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)).fetch_one(admin).await.unwrap()
    };
    let orders = i64::from(ORDERS);
    testkit::wait_for("the statistics", Duration::from_secs(20), async || {
        counted("n_tup_ins", GROW).await > orders * 3
    })
    .await;
    assert!(counted("idx_scan", GROW).await > orders * 5);
    assert_eq!(counted("seq_tup_read", GROW).await, 0, "rows that were read without an index");
    // The one tenant's budget is locked and read at each gate and turn, and not for each order that is there.
    let asked = counted("idx_scan", "budgets").await;
    assert!((orders..orders * 4).contains(&asked), "budgets were looked for {asked} times");
}
