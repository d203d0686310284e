//! What every store promises, over Postgres and over memory.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{collections::BTreeMap, sync::Arc};

use common::{Tenant, add_tenant, database, decision, later, order, sale, tenant};
use eventlog::{Offset, TopicPartition};
use project::{
    core::{
        chain::Head,
        fold::{Batch, Progress},
        token::Tokens,
    },
    pg::Tz,
    store::{MemoryStore, PgStore, Store, StoreError},
};
use runtime::Chance;
use schemas::{Hash32, LogId, OrderStatus, Reason, Timestamp, events::OrderState, topics::Topic};
use uuid::Uuid;

fn place() -> TopicPartition {
    TopicPartition::new(Topic::Orders, 3)
}

fn progress(next: i64) -> Progress {
    Progress {
        log_id: LogId::from_uuid(Uuid::from_u128(9)),
        next: Offset(next),
        before: Some(Hash32::from_bytes([u8::try_from(next).unwrap(); 32])),
        head: Some(Head { number: next, hash: Hash32::from_bytes([5; 32]), left: 2 }),
        ignored: 1,
        dead: 2,
    }
}

fn batch(from: Option<i64>, to: i64, orders: &[OrderState]) -> Batch {
    let mut batch = Batch::default();
    batch.advances.insert(place(), (from.map(progress), progress(to)));
    for state in orders {
        let copy = (state.billing_account_id, state.idempotency_key);
        batch.orders.entry(copy).or_default().take(state.clone());
    }
    batch
}

/// The store over each kind of tables, with these two tenants.
async fn stores() -> Vec<(Arc<dyn Store>, Tenant, Tenant)> {
    let connections = database().await;
    let (a, b) = (add_tenant(&connections, 1).await, add_tenant(&connections, 2).await);
    let memory = MemoryStore::default();
    memory.add_account(a.account, a.user);
    memory.add_account(b.account, b.user);
    let postgres = PgStore::connect(&connections).await.unwrap();
    vec![(Arc::new(postgres), a, b), (Arc::new(memory), a, b)]
}

#[tokio::test]
async fn progress_is_kept_with_the_rows_and_read_back_whole() {
    for (store, a, _) in stores().await {
        let of = [place(), TopicPartition::new(Topic::Decisions, 3)].into();
        assert!(store.progress(&of).await.unwrap().is_empty());
        store.apply(&batch(None, 4, &[order(a, 1, 5)])).await.unwrap();
        assert_eq!(store.progress(&of).await.unwrap(), BTreeMap::from([(place(), progress(4))]));
    }
}

#[tokio::test]
async fn of_two_that_read_the_same_records_one_is_overtaken() {
    for (store, a, _) in stores().await {
        store.apply(&batch(None, 4, &[order(a, 1, 5)])).await.unwrap();
        let first = batch(Some(4), 6, &[order(a, 2, 5)]);
        let second = batch(Some(4), 8, &[order(a, 3, 5)]);
        let (one, two) = tokio::join!(store.apply(&first), store.apply(&second));
        let overtaken = StoreError::Overtaken(place());
        assert!(
            (one.is_ok() && two == Err(overtaken.clone())) || (two.is_ok() && one == Err(overtaken.clone()))
        );
        assert_eq!(store.apply(&batch(None, 9, &[])).await, Err(overtaken), "as new, though it is not");
    }
}

#[tokio::test]
async fn an_overtaken_batch_leaves_nothing() {
    let connections = database().await;
    let a = add_tenant(&connections, 1).await;
    let store = PgStore::connect(&connections).await.unwrap();
    store.apply(&batch(None, 4, &[])).await.unwrap();
    assert!(store.apply(&batch(Some(3), 6, &[order(a, 1, 5)])).await.is_err());
    let rows: i64 = sqlx::query_scalar("select count(*) from poly_copy_trade_fills")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn owners_are_told_and_strangers_are_absent() {
    for (store, a, b) in stores().await {
        let owners = store.owners(&[a.account, b.account, tenant(9).account].into()).await.unwrap();
        assert_eq!(owners, BTreeMap::from([(a.account, a.user), (b.account, b.user)]));
    }
}

/// Money and times of every size, through Postgres and back, exactly.
#[tokio::test]
async fn money_and_time_are_kept_to_the_last_digit() {
    let connections = database().await;
    let a = add_tenant(&connections, 1).await;
    let store = PgStore::connect(&connections).await.unwrap();
    let amounts = [0, 1, 999_999, 1_000_001, 123_456_789_012_345_678, i64::MAX];
    let mut orders = Vec::new();
    for (number, amount) in (0..).zip(amounts) {
        let mut state = order(a, number, 0);
        state.shares = schemas::Shares::from_micro(amount);
        state.filled_shares = state.shares;
        state.filled_usdc = schemas::Usdc::from_micro(amount);
        state.created_at = Timestamp::from_micros(1_760_000_000_000_001 + i64::from(number));
        state.changed_at = Timestamp::from_micros(i64::MAX - amount);
        orders.push(state);
    }
    store.apply(&batch(None, 1, &orders)).await.unwrap();
    let rows: Vec<(i64, i64, i64, Tz)> = sqlx::query_as(
        "select (shares * 1000000)::bigint, (filled_usdc * 1000000)::bigint,
             (extract(epoch from created_at) * 1000000)::bigint, changed_at
         from poly_copy_trade_fills order by created_at",
    )
    .fetch_all(store.pool())
    .await
    .unwrap();
    for (state, (shares, usdc, created, changed)) in orders.iter().zip(rows) {
        assert_eq!((shares, usdc), (state.shares.micro(), state.filled_usdc.micro()));
        assert_eq!((created, changed), (state.created_at.micros(), Tz(state.changed_at)));
    }
}

/// What the database holds is what the core says, whatever came in how many batches.
#[tokio::test]
async fn the_ledger_in_postgres_is_the_ledger_in_memory() {
    let connections = database().await;
    let a = add_tenant(&connections, 1).await;
    let postgres = PgStore::connect(&connections).await.unwrap();
    let memory = MemoryStore::default();
    let (buy, first, second) = (order(a, 1, 10), sale(a, 2, 0, 10), sale(a, 2, 1, 6));
    let batches = [
        vec![buy.clone()],
        vec![later(&buy, OrderStatus::Filled, 10), first.clone()],
        vec![later(&first, OrderStatus::Cancelled, 4)],
        vec![second.clone(), buy],
        vec![later(&second, OrderStatus::Filled, 6)],
    ];
    let expected = ["", "closing,closing", "open,closed", "closing,closing", "closed,closed"];
    for ((number, orders), expected) in (0..).zip(batches).zip(expected) {
        let from = (number > 0).then_some(number);
        let batch = batch(from, number + 1, &orders);
        postgres.apply(&batch).await.unwrap();
        memory.apply(&batch).await.unwrap();
        let rows: Vec<(String, i64, i64, i32, Option<String>)> = sqlx::query_as(
            "select status, (filled_shares * 1000000)::bigint, (size_usdc * 1000000)::bigint, attempts,
                 position_lifecycle
             from poly_copy_trade_fills order by idempotency_key",
        )
        .fetch_all(postgres.pool())
        .await
        .unwrap();
        let from_memory: Vec<_> = memory
            .rows()
            .into_values()
            .map(|row| {
                let ledger = row.ledger;
                let stands = row.lifecycle.map(|stands| stands.as_str().to_owned());
                (
                    ledger.status.to_string(),
                    ledger.filled_shares.micro(),
                    ledger.size.micro(),
                    ledger.attempts,
                    stands,
                )
            })
            .collect();
        assert_eq!(rows, from_memory);
        let stands: Vec<_> = {
            let by_age = "select position_lifecycle from poly_copy_trade_fills order by created_at";
            let stands: Vec<Option<String>> =
                sqlx::query_scalar(by_age).fetch_all(postgres.pool()).await.unwrap();
            stands.into_iter().flatten().collect()
        };
        assert_eq!(stands.join(","), expected);
    }
}

/// Random lives of purchases and sales, in random batches, some of them taken back: each step the same in
/// both.
#[tokio::test]
async fn whatever_happens_to_orders_both_stores_say_the_same() {
    let connections = database().await;
    let a = add_tenant(&connections, 1).await;
    let postgres = PgStore::connect(&connections).await.unwrap();
    let memory = MemoryStore::default();
    let mut place = 0;
    for seed in 0..6_u32 {
        let chance = Chance::seeded(u64::from(seed));
        let below = |bound: u32| u32::try_from(chance.below(u64::from(bound))).unwrap();
        let mut known: Vec<OrderState> = Vec::new();
        for _ in 0..12 {
            let mut orders = Vec::new();
            for _ in 0..=below(4) {
                let fresh = known.len() < 8 && (known.is_empty() || below(2) == 0);
                let state = if fresh {
                    let number = seed * 40 + u32::try_from(known.len()).unwrap();
                    let base = if below(3) == 0 { sale(a, number, 0, 5) } else { order(a, number, 5) };
                    let state = OrderState { asset: common::asset(900 + seed), ..base };
                    known.push(state.clone());
                    state
                } else {
                    let index = usize::try_from(below(u32::try_from(known.len()).unwrap())).unwrap();
                    let statuses = [OrderStatus::Open, OrderStatus::Filled, OrderStatus::Cancelled];
                    let status = statuses[usize::try_from(below(3)).unwrap()];
                    known[index] = later(&known[index], status, i64::from(below(6)));
                    known[index].clone()
                };
                orders.push(state);
            }
            let batch = batch((place > 0).then_some(place), place + 1, &orders);
            postgres.apply(&batch).await.unwrap();
            memory.apply(&batch).await.unwrap();
            place += 1;
            let rows: Vec<(String, i64, Option<String>)> = sqlx::query_as(
                "select status, (filled_shares * 1000000)::bigint, position_lifecycle from poly_copy_trade_fills
                 order by billing_account_id, idempotency_key",
            )
            .fetch_all(postgres.pool())
            .await
            .unwrap();
            let expected: Vec<_> = memory
                .rows()
                .into_values()
                .map(|row| {
                    let stands = row.lifecycle.map(|stands| stands.as_str().to_owned());
                    (row.ledger.status.to_string(), row.ledger.filled_shares.micro(), stands)
                })
                .collect();
            assert_eq!(rows, expected, "seed {seed}, batch {place}");
        }
    }
}

/// Orders and the end of their market, in either order, in both stores; and a second outcome, later than the first.
#[tokio::test]
async fn a_market_that_ends_moves_what_is_held_whichever_is_told_first() {
    let bought = |a| later(&order(a, 1, 10), OrderStatus::Filled, 10);
    let sold = |a| later(&sale(a, 2, 0, 4), OrderStatus::Filled, 4);
    let told = |events: &[schemas::events::TokenResolved]| {
        let mut tokens = Tokens::default();
        for event in events {
            tokens.resolve(event.clone());
        }
        tokens
    };
    for outcome_first in [true, false] {
        let connections = database().await;
        let a = add_tenant(&connections, 1).await;
        let postgres = PgStore::connect(&connections).await.unwrap();
        let memory = MemoryStore::default();
        let ended = Batch { tokens: told(&[common::resolved(1_000_000, 500)]), ..batch(None, 1, &[]) };
        let orders = batch(None, 1, &[bought(a), sold(a)]);
        let mut batches = if outcome_first { vec![ended, orders] } else { vec![orders, ended] };
        // An older one changes nothing; a later one does.
        for (pays, at) in [(0, 400), (250_000, 600)] {
            batches.push(Batch { tokens: told(&[common::resolved(pays, at)]), ..batch(None, 1, &[]) });
        }
        let mut stands = Vec::new();
        for (number, mut batch) in (0..).zip(batches) {
            let advance = batch.advances.pop_first().unwrap().1;
            // Each of a partition of its own.
            batch.advances.insert(TopicPartition::new(Topic::Fills, number), advance);
            postgres.apply(&batch).await.unwrap();
            memory.apply(&batch).await.unwrap();
            let rows: Vec<Option<String>> = sqlx::query_scalar(
                "select position_lifecycle from poly_copy_trade_fills order by idempotency_key",
            )
            .fetch_all(postgres.pool())
            .await
            .unwrap();
            let expected: Vec<Option<String>> = memory
                .rows()
                .into_values()
                .map(|row| row.lifecycle.map(|stands| stands.as_str().to_owned()))
                .collect();
            assert_eq!(rows, expected, "batch {number}, outcome first: {outcome_first}");
            let mut words: Vec<String> = rows.into_iter().flatten().collect();
            words.sort();
            stands.push(words.join(","));
        }
        let first = if outcome_first { "" } else { "closed,open" };
        assert_eq!(stands, [first, "closed,winner", "closed,winner", "closed,split"]);
    }
}

/// Where every row stands, by account and key, in either store.
async fn standing(postgres: &PgStore, memory: &MemoryStore) -> [Vec<Option<String>>; 2] {
    let rows = sqlx::query_scalar(
        "select position_lifecycle from poly_copy_trade_fills order by billing_account_id, idempotency_key",
    )
    .fetch_all(postgres.pool())
    .await
    .unwrap();
    let word = |row: project::store::Row| row.lifecycle.map(|stands| stands.as_str().to_owned());
    [rows, memory.rows().into_values().map(word).collect()]
}

/// Bought under one id, sold under another, and it is told under the second what it pays: in every order, of two tenants.
#[tokio::test]
async fn a_token_that_goes_on_under_another_id_is_one_position_whatever_is_told_first() {
    let orders = |a, b| {
        let bought = |tenant| later(&order(tenant, 1, 10), OrderStatus::Filled, 10);
        let again = OrderState { asset: common::asset(2), ..later(&order(a, 3, 5), OrderStatus::Filled, 5) };
        let sold =
            OrderState { asset: common::asset(2), ..later(&sale(a, 2, 0, 10), OrderStatus::Filled, 10) };
        batch(None, 1, &[bought(a), bought(b), sold, again])
    };
    let mut link = Tokens::default();
    link.change(&common::migrated(1, 2));
    let mut ended = Tokens::default();
    let mut pays = common::resolved(0, 500);
    pays.payouts.remove(0);
    ended.resolve(pays);
    let connections = database().await;
    let postgres = PgStore::connect(&connections).await.unwrap();
    let memory = MemoryStore::default();
    let mut place = 0;
    // Of three, in all orders, each with tenants of its own; the tokens of the first stay known, so each has a wallet too.
    for (number, turn) in (1_u8..).zip([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]) {
        let wallet = schemas::Address::from_bytes([number; 20]);
        let a = add_tenant(&connections, u128::from(number) * 2).await;
        let b = add_tenant(&connections, u128::from(number) * 2 + 1).await;
        let of_wallet = |tokens: &Tokens| {
            let mut tokens = tokens.clone();
            tokens.links.iter_mut().for_each(|link| link.wallet = wallet);
            tokens.outcomes = std::mem::take(&mut tokens.outcomes)
                .into_iter()
                .map(|((_, asset), outcome)| ((wallet, asset), outcome))
                .collect();
            Batch { tokens, ..batch(None, 1, &[]) }
        };
        let mut own = Batch::default();
        for attempts in orders(a, b).orders.into_values() {
            for state in attempts.states() {
                let target_id = schemas::TargetId::of_wallet(wallet);
                let copy = (state.billing_account_id, state.idempotency_key);
                own.orders.entry(copy).or_default().take(OrderState { wallet, target_id, ..state.clone() });
            }
        }
        let parts = [own, of_wallet(&link), of_wallet(&ended)];
        for which in turn {
            let mut batch = parts[which].clone();
            batch.advances = [(TopicPartition::new(Topic::Fills, place), (None, progress(1)))].into();
            postgres.apply(&batch).await.unwrap();
            memory.apply(&batch).await.unwrap();
            place += 1;
            let [rows, expected] = standing(&postgres, &memory).await;
            assert_eq!(rows, expected, "{turn:?}, after {which}");
        }
        let stands = |tenant: Tenant| {
            let rows = memory.rows().into_iter().filter(move |((account, _), _)| *account == tenant.account);
            let mut rows: Vec<_> = rows.map(|(_, row)| (row.ledger.created_at, row.lifecycle)).collect();
            rows.sort_by_key(|(at, _)| *at);
            rows.into_iter().map(|(_, stands)| stands.unwrap().as_str()).collect::<Vec<_>>().join(",")
        };
        assert_eq!((stands(a).as_str(), stands(b).as_str()), ("closed,closed,winner", "winner"), "{turn:?}");
    }
}

/// Random orders under four ids, and random links between these, told by two wallets: each step the same in both.
#[tokio::test]
async fn whatever_is_told_of_ids_both_stores_say_the_same() {
    let connections = database().await;
    let a = add_tenant(&connections, 1).await;
    let postgres = PgStore::connect(&connections).await.unwrap();
    let memory = MemoryStore::default();
    let mut place = 0;
    for seed in 0..8_u32 {
        let chance = Chance::seeded(u64::from(seed) + 100);
        let below = |bound: u32| u32::try_from(chance.below(u64::from(bound))).unwrap();
        for step in 0..10 {
            let number = seed * 20 + step;
            let wallet = schemas::Address::from_bytes([u8::try_from(seed * 2 + below(2)).unwrap(); 20]);
            let base = if below(3) == 0 { sale(a, number, 0, 5) } else { order(a, number, 5) };
            let statuses = [OrderStatus::Open, OrderStatus::Filled];
            let state = OrderState {
                wallet,
                target_id: schemas::TargetId::of_wallet(wallet),
                asset: common::asset(below(4)),
                ..later(&base, statuses[usize::try_from(below(2)).unwrap()], i64::from(below(6)))
            };
            let mut batch = batch((place > 0).then_some(place), place + 1, &[state]);
            for _ in 0..below(3) {
                // Circles and forks too: what was told first stands.
                let told = common::migrated(below(4), below(4));
                batch.tokens.change(&schemas::events::PositionChanged { wallet, ..told });
            }
            if below(6) == 0 {
                let mut ended = common::resolved(1_000_000, i64::from(number));
                ended.wallet = wallet;
                ended.payouts[0].asset = common::asset(below(4));
                ended.payouts.truncate(1);
                batch.tokens.resolve(ended);
            }
            postgres.apply(&batch).await.unwrap();
            memory.apply(&batch).await.unwrap();
            place += 1;
            let [rows, expected] = standing(&postgres, &memory).await;
            assert_eq!(rows, expected, "seed {seed}, step {step}");
        }
    }
}

#[tokio::test]
async fn a_decision_is_written_once() {
    let connections = database().await;
    let a = add_tenant(&connections, 1).await;
    let store = PgStore::connect(&connections).await.unwrap();
    let first = decision(a, 0, 0, 1, Reason::StaleFill);
    let again = decision(a, 0, 5, 1, Reason::MarketClosed);
    for (from, to, decision) in [(None, 1, &first), (Some(1), 2, &again), (Some(2), 3, &first)] {
        store.apply(&Batch { decisions: vec![decision.clone()], ..batch(from, to, &[]) }).await.unwrap();
    }
    let superuser = common::superuser(&connections).await;
    let rows: Vec<(String, i64, String)> =
        sqlx::query_as("select reason, cut, inputs->'policy'->>'sizing' from poly_copy_trade_decisions")
            .fetch_all(&superuser)
            .await
            .unwrap();
    assert_eq!(rows, [("stale_fill".to_owned(), 0, "fixed".to_owned())]);
}

#[tokio::test]
async fn rows_for_somebody_else_s_account_are_refused_by_the_database_itself() {
    let connections = database().await;
    let (a, b) = (add_tenant(&connections, 1).await, add_tenant(&connections, 2).await);
    let store = PgStore::connect(&connections).await.unwrap();
    let forged = Tenant { user: b.user, account: a.account };
    let by_order = store.apply(&batch(None, 1, &[order(forged, 1, 5)])).await;
    assert!(matches!(by_order, Err(StoreError::Unacceptable(_))), "{by_order:?}");
    let decisions = vec![decision(forged, 0, 0, 1, Reason::Ok)];
    let by_decision = store.apply(&Batch { decisions, ..batch(None, 1, &[]) }).await;
    assert!(matches!(by_decision, Err(StoreError::Unacceptable(_))), "{by_decision:?}");
}

#[tokio::test]
async fn values_that_postgres_cannot_hold_are_told_from_a_database_that_is_away() {
    let connections = database().await;
    let a = add_tenant(&connections, 1).await;
    let store = PgStore::connect(&connections).await.unwrap();
    let mut nul = order(a, 1, 5);
    nul.reason = Some("a\0b".into());
    let mut early = order(a, 1, 5);
    early.origin.observed_at = Timestamp::from_micros(i64::MIN);
    for (state, what) in [(nul, "a NUL"), (early, "the far past")] {
        let answer = store.apply(&batch(None, 1, &[state])).await;
        assert!(matches!(answer, Err(StoreError::Unacceptable(_))), "{what}: {answer:?}");
    }
    let gone = connections.options(project::Role::Projector).unwrap().port(1);
    let pool = sqlx::postgres::PgPoolOptions::new()
        .acquire_timeout(std::time::Duration::from_millis(300))
        .connect_lazy_with(gone);
    let answer = PgStore::over(pool).owners(&[a.account].into()).await;
    assert!(matches!(answer, Err(StoreError::Unreachable(_))), "{answer:?}");
}
