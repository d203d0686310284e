//! What a tenant is told of its own rows.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{add_tenant, asset, at, database, decision, later, marked, migrated, order, resolved, sale};
use eventlog::{Offset, TopicPartition};
use project::{
    Role,
    core::fold::{Batch, Progress},
    pg::begin_as,
    queries::{
        PositionFilter, PositionRow, SyncHealth, copies_by_status, decisions_by_reason, positions,
        sync_health,
    },
    store::{PgStore, Store},
};
use schemas::{LogId, OrderStatus, Outcome, Reason, Shares, Usdc, events::OrderState, topics::Topic};
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

/// 10 shares bought for $4 under one id, 4 of them sold under the next for $1.60; then it goes on once more.
#[tokio::test]
async fn a_token_bought_under_one_id_and_sold_under_another_is_one_position_under_the_current_one() {
    let connections = database().await;
    let (a, b) = (add_tenant(&connections, 1).await, add_tenant(&connections, 2).await);
    let store = PgStore::connect(&connections).await.unwrap();
    let pool = connections.pool(Role::AppUser, 1).await.unwrap();
    let progress =
        |next| Progress { next: Offset(next), ..Progress::start(LogId::from_uuid(Uuid::from_u128(1))) };
    let place = TopicPartition::new(Topic::Fills, 0);
    let apply = async |from: i64, change: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::default();
        batch.advances.insert(place, ((from > 0).then(|| progress(from)), progress(from + 1)));
        change(&mut batch);
        store.apply(&batch).await.unwrap();
    };
    let all = PositionFilter { closed_too: true, ..PositionFilter::default() };
    let shown = async |filter: PositionFilter| -> Vec<PositionRow> {
        let mut as_a = begin_as(&pool, a.user).await.unwrap();
        positions(&mut as_a, a.account, &filter, None, 10).await.unwrap()
    };
    let put = |batch: &mut Batch, state: OrderState| {
        let copy = (state.billing_account_id, state.idempotency_key);
        batch.orders.entry(copy).or_default().take(state);
    };
    apply(0, &|batch| {
        for tenant in [a, b] {
            put(batch, later(&order(tenant, 1, 10), OrderStatus::Filled, 10));
        }
        put(batch, OrderState { asset: asset(2), ..later(&sale(a, 2, 0, 4), OrderStatus::Filled, 4) });
        // Another token of the same wallet, which stays what it is.
        put(batch, OrderState { asset: asset(8), ..later(&order(a, 4, 3), OrderStatus::Filled, 3) });
        batch.tokens.mark(marked(1, Some(300_000), 10));
    })
    .await;
    let told: Vec<_> = shown(all.clone())
        .await
        .into_iter()
        .map(|row| (row.asset, row.traded.bought, row.traded.sold))
        .collect();
    let (zero, four, ten) = (Shares::ZERO, Shares::from_units(4), Shares::from_units(10));
    let three = Shares::from_units(3);
    assert_eq!(told, [(asset(1), ten, zero), (asset(2), zero, four), (asset(8), three, zero)]);

    apply(1, &|batch| batch.tokens.change(&migrated(1, 2))).await;
    let rows = shown(all.clone()).await;
    assert_eq!(rows.iter().map(|row| row.asset.clone()).collect::<Vec<_>>(), [asset(2), asset(8)]);
    assert_eq!((rows[0].also.clone(), rows[1].also.len()), (vec![asset(1)], 0));
    let pnl = rows[0].pnl();
    assert_eq!((rows[0].traded.bought, rows[0].traded.sold, pnl.held), (ten, four, Shares::from_units(6)));
    assert_eq!((pnl.cost, pnl.realised), (Usdc::from_micro(2_400_000), Usdc::ZERO));
    // 6 shares that cost $2.40, at 0.30: as long as nobody has looked at the new id, the former's price counts.
    assert_eq!(pnl.unrealised, Some(Usdc::from_micro(-600_000)));
    assert_eq!(rows[0].fees, Usdc::from_micro(20));

    // The new id's price, though it is no later than the former's; and it goes on once more.
    apply(2, &|batch| batch.tokens.mark(marked(2, Some(500_000), 5))).await;
    assert_eq!(shown(all.clone()).await[0].pnl().unrealised, Some(Usdc::from_micro(600_000)));
    apply(3, &|batch| batch.tokens.change(&migrated(2, 30))).await;
    // Every id finds it; a page begins after it.
    for number in [1, 2, 30] {
        let of = PositionFilter { asset: Some(asset(number)), ..PositionFilter::default() };
        let rows = shown(of).await;
        assert_eq!(rows.len(), 1, "{number}");
        assert_eq!((rows[0].asset.clone(), rows[0].also.clone()), (asset(30), vec![asset(1), asset(2)]));
    }
    let mut as_a = begin_as(&pool, a.user).await.unwrap();
    let first = positions(&mut as_a, a.account, &all, None, 1).await.unwrap();
    let after = first.last().map(PositionRow::place);
    let second = positions(&mut as_a, a.account, &all, after, 1).await.unwrap();
    as_a.rollback().await.unwrap();
    let both: Vec<_> = first.into_iter().chain(second).map(|row| row.asset).collect();
    assert_eq!(both, [asset(8), asset(30)]);

    // Its market ends: that is told under the newest id.
    apply(4, &|batch| {
        let mut ended = resolved(1_000_000, 500);
        ended.payouts[0].asset = asset(30);
        batch.tokens.resolve(ended);
    })
    .await;
    let of = PositionFilter { asset: Some(asset(1)), ..PositionFilter::default() };
    let pnl = shown(of).await[0].pnl();
    assert_eq!((pnl.redeemable, pnl.realised), (Usdc::from_units(6), Usdc::from_micro(3_600_000)));
    // The orders keep the ids under which they were made.
    let mut as_b = begin_as(&pool, b.user).await.unwrap();
    let of_b: Vec<(String, String)> =
        sqlx::query_as("select asset, position_lifecycle from poly_copy_trade_fills")
            .fetch_all(&mut *as_b)
            .await
            .unwrap();
    assert_eq!(of_b, [(asset(1).to_string(), "winner".to_owned())]);
}

/// 10 shares bought for $4 and sold for $5; then 10 are bought for $8.
#[tokio::test]
async fn what_is_bought_later_leaves_what_was_won_as_it_was() {
    let connections = database().await;
    let a = add_tenant(&connections, 1).await;
    let store = PgStore::connect(&connections).await.unwrap();
    let pool = connections.pool(Role::AppUser, 1).await.unwrap();
    let at_price =
        |state: &OrderState, price: &str| OrderState { limit: price.parse().unwrap(), ..state.clone() };
    // The sale's second attempt is later than the purchase: it is of what was held before.
    let rows = [
        later(&at_price(&order(a, 1, 10), "0.40"), OrderStatus::Filled, 10),
        later(&at_price(&sale(a, 2, 0, 10), "0.50"), OrderStatus::Cancelled, 4),
        later(&at_price(&order(a, 3, 10), "0.80"), OrderStatus::Filled, 10),
        later(&at_price(&sale(a, 2, 5, 6), "0.50"), OrderStatus::Filled, 6),
    ];
    let mut batch = Batch::default();
    for state in rows {
        let copy = (state.billing_account_id, state.idempotency_key);
        batch.orders.entry(copy).or_default().take(state);
    }
    store.apply(&batch).await.unwrap();
    let mut as_a = begin_as(&pool, a.user).await.unwrap();
    let filter = PositionFilter { closed_too: true, ..PositionFilter::default() };
    let shown = positions(&mut as_a, a.account, &filter, None, 10).await.unwrap();
    let pnl = shown[0].pnl();
    assert_eq!(
        (pnl.held, pnl.cost, pnl.realised),
        (Shares::from_units(10), Usdc::from_units(8), Usdc::from_units(1))
    );
}
