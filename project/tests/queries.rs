//! What a tenant is told of its own rows.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{add_tenant, at, database, decision, later, order};
use eventlog::{Offset, TopicPartition};
use project::{
    Role,
    core::fold::{Batch, Progress},
    pg::begin_as,
    queries::{SyncHealth, copies_by_status, decisions_by_reason, sync_health},
    store::{PgStore, Store},
};
use schemas::{LogId, OrderStatus, Outcome, Reason, topics::Topic};
use uuid::Uuid;

#[tokio::test]
async fn counts_and_freshness_are_of_the_tenant_s_own_rows() {
    let connections = database().await;
    let (a, b) = (add_tenant(&connections, 1).await, add_tenant(&connections, 2).await);
    let store = PgStore::connect(&connections).await.unwrap();
    let to = Progress { next: Offset(1), ..Progress::start(LogId::from_uuid(Uuid::from_u128(1))) };
    let mut batch = Batch::default();
    batch.advances.insert(TopicPartition::new(Topic::Orders, 0), (None, to));
    // Of A: one never confirmed, one confirmed at 1,000, one filled and done with. Of B: one of each, and
    // more.
    for (tenant, more) in [(a, 0), (b, 5)] {
        let mut orders = vec![
            order(tenant, 1, 5),
            later(&order(tenant, 2, 5), OrderStatus::Open, 0),
            later(&order(tenant, 3, 5), OrderStatus::Filled, 5),
        ];
        orders.extend((10..10 + more).map(|number| order(tenant, number, 5)));
        for order in orders {
            batch.orders.entry((tenant.account, order.idempotency_key)).or_default().take(order);
        }
        batch.decisions.push(decision(tenant, 0, 0, 1, Reason::Ok));
        batch.decisions.extend((2..4 + more).map(|number| decision(tenant, 0, 0, number, Reason::StaleFill)));
    }
    store.apply(&batch).await.unwrap();
    let pool = connections.pool(Role::AppUser, 1).await.unwrap();
    let mut as_a = begin_as(&pool, a.user).await.unwrap();
    assert_eq!(
        decisions_by_reason(&mut as_a).await.unwrap(),
        BTreeMap::from([((Outcome::Placed, Reason::Ok), 1), ((Outcome::Skipped, Reason::StaleFill), 2)])
    );
    let each = BTreeMap::from([(OrderStatus::Reserved, 1), (OrderStatus::Open, 1), (OrderStatus::Filled, 1)]);
    assert_eq!(copies_by_status(&mut as_a).await.unwrap(), each);
    for (seconds, stale) in [(1_059, 0), (1_061, 1)] {
        let expected = SyncHealth {
            oldest_synced_row_age: Some(at(seconds).since(at(1_000))),
            rows_stale_over_60s: stale,
            rows_never_synced: 1,
        };
        assert_eq!(sync_health(&mut as_a, at(seconds)).await.unwrap(), expected);
    }
    assert_eq!(at(1_061).since(at(1_000)), Duration::from_secs(61));
}
