//! Who waits for whom: orders of a tenant, partitions, looks and gates.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use crate::{
    SOON,
    common::{
        Tenant, price, shares,
        venue::{Ask, Post},
        world::World,
    },
    key, one, one_new, secs,
};
use eventlog::{Log, Offset};
use execute::store::memory::Fate;
use runtime::Clock;
use schemas::{OrderStatus, events::PlaceIntent};

#[tokio::test]
async fn orders_of_a_tenant_go_out_in_order_and_tenants_do_not_wait_for_each_other() {
    let world = World::new();
    let (one, two) = (world.add(1), world.add(2));
    let executor = world.start();
    // The first tenant's venue calls are put off for half a minute.
    world.venue.script([Post::Later(429, Some(secs(30)))]);
    let first: Vec<_> = (0..5).map(|fill| one.buy(fill, "10", "0.10")).collect();
    world.publish(first[0].clone()).await;
    world
        .until("the first is put off", SOON, || world.status(key(&first[0])) == Some(OrderStatus::Submitted))
        .await;
    for intent in &first[1..] {
        world.publish(intent.clone()).await;
    }
    let other = two.buy(9, "10", "0.10");
    world.publish(other.clone()).await;
    let of = |intent: &PlaceIntent, tenant: &Tenant| {
        let all = world.store.attempts();
        all.into_iter().find(|a| a.idempotency_key == key(intent) && a.billing_account_id == tenant.account)
    };
    let is_open = |intent: &PlaceIntent, tenant: &Tenant| {
        of(intent, tenant).is_some_and(|a| a.status == OrderStatus::Open)
    };
    world.until("the other tenant's rests", secs(5), || is_open(&other, &two)).await;
    world.until("all rest", secs(40), || first.iter().all(|i| is_open(i, &one))).await;
    let mine: Vec<_> = first.iter().map(|i| of(i, &one).unwrap().order_id.unwrap()).collect();
    let mut posted: Vec<_> =
        world.venue.posts().into_iter().map(|(id, _)| id).filter(|id| mine.contains(id)).collect();
    posted.dedup();
    assert_eq!(posted, mine);
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_tenants_next_order_does_not_wait_until_an_answer_is_written_down() {
    let (world, tenant) = one();
    let deaf = Arc::new(AtomicBool::new(true));
    let executor = world.start_with({
        let deaf = deaf.clone();
        move |store, _| {
            store.on_call(Some(Arc::new(move |name| {
                if name == "record" && deaf.load(Ordering::SeqCst) { Fate::LostBefore } else { Fate::Fine }
            })));
        }
    });
    let intents: Vec<_> = (0..20).map(|fill| tenant.buy(fill, "10", "0.10")).collect();
    for intent in &intents {
        world.publish(intent.clone()).await;
    }
    world.until("all are at the venue", SOON, || world.venue.posts().len() == 20).await;
    let all = |status| intents.iter().all(|i| world.status(key(i)) == Some(status));
    assert!(all(OrderStatus::Reserved), "nothing was written down yet");
    deaf.store(false, Ordering::SeqCst);
    world.until("all rest", SOON, || all(OrderStatus::Open)).await;
    assert_eq!(world.venue.posts().len(), 20, "none went twice");
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_wallet_whose_approvals_take_long_holds_up_its_own_partition_alone() {
    let (world, slow) = one_new();
    let elsewhere = |n: &u128| world.partition(&Tenant::new(*n)) != world.partition(&slow);
    let other = world.add_new((2..20).find(elsewhere).unwrap());
    let (asked, claims) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let executor = world.start_with({
        let (asked, claims) = (asked.clone(), claims.clone());
        move |store, venue| {
            store.on_call(Some(Arc::new(move |name| {
                claims.fetch_add(u32::from(name == "claim"), Ordering::SeqCst);
                Fate::Fine
            })));
            venue.on_ask(move |name, _| match name {
                // The first wallet's approvals are told when the venue pleases, those of the others at once.
                "balance" if asked.fetch_add(1, Ordering::SeqCst) == 0 => Ask::Late,
                _ => Ask::Answer,
            });
        }
    });
    let waits = slow.buy(1, "10", "0.50");
    world.publish(waits.clone()).await;
    world.until("its approvals are asked for", SOON, || asked.load(Ordering::SeqCst) == 1).await;
    let goes = other.buy(2, "10", "0.50");
    world.publish(goes.clone()).await;
    world.until("the other is placed", SOON, || world.status(key(&goes)) == Some(OrderStatus::Open)).await;
    // Far past the time after which a member that is not heard of loses its partitions.
    world.pass(4 * execute::Settings::default().session).await;
    assert_eq!(world.status(key(&waits)), None, "it waits");
    let again = other.buy(3, "10", "0.50");
    world.publish(again.clone()).await;
    world.until("and again", SOON, || world.status(key(&again)) == Some(OrderStatus::Open)).await;
    world.venue.late.notify_one();
    world.until("it is placed, too", SOON, || world.status(key(&waits)) == Some(OrderStatus::Open)).await;
    assert_eq!(claims.load(Ordering::SeqCst), 2, "each partition was claimed once, and none lost on the way");
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_wallets_approvals() {
    let (world, tenant) = one_new();
    let executor = world.start_with(|_, venue| {
        venue.on_ask(|name, _| if name == "balance" { Ask::Late } else { Ask::Answer });
    });
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.pass(secs(2)).await;
    assert_eq!(world.status(key(&intent)), None, "it waits");
    let begun = world.clock.monotonic();
    executor.stop(&world).await;
    let taken = world.clock.monotonic() - begun;
    assert!(taken < secs(5), "{taken:?}");
    // It is in the log, and whoever comes next takes it.
    let next = world.start();
    world.until("it is placed", SOON, || world.status(key(&intent)) == Some(OrderStatus::Open)).await;
    next.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn more_intents_than_may_wait_for_a_gate_are_gated_in_their_order() {
    let (world, tenant) = one_new();
    let held = Arc::new(AtomicBool::new(true));
    let executor = world.start_with({
        let held = held.clone();
        move |_, venue| {
            venue.on_ask(move |name, _| match name {
                "balance" if held.load(Ordering::SeqCst) => Ask::Late,
                _ => Ask::Answer,
            });
        }
    });
    // Each costs a cent: however many, the budget has room for them.
    let many = 4 * u32::try_from(execute::Settings::default().batch).unwrap() + 700;
    let intents: Vec<_> = (1..=many).map(|fill| tenant.buy(fill, "10", "0.01")).collect();
    for intent in &intents {
        world.publish(intent.clone()).await;
    }
    world.pass(secs(3)).await;
    assert_eq!(world.store.attempts().len(), 0, "all of them wait");
    held.store(false, Ordering::SeqCst);
    world.venue.late.notify_waiters();
    let end = Offset(i64::from(many));
    world
        .until("all are gated", secs(120), || {
            let stored = world.store.stored_offset(world.partition(&tenant));
            stored.is_some_and(|s| s.next == end)
        })
        .await;
    let known: std::collections::BTreeSet<_> =
        world.store.attempts().iter().map(|a| a.idempotency_key).collect();
    assert!(intents.iter().all(|i| known.contains(&key(i))), "each has its row, be it a denial");
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_gate_that_an_orders_news_overtook_tries_again_and_keeps_its_partition() {
    let (world, tenant) = one();
    let (gates, claims) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let executor = world.start_with({
        let (gates, claims) = (gates.clone(), claims.clone());
        move |store, _| {
            store.on_call(Some(Arc::new(move |name| {
                claims.fetch_add(u32::from(name == "claim"), Ordering::SeqCst);
                if name == "gate" && gates.fetch_add(1, Ordering::SeqCst) % 4 != 3 {
                    Fate::Overtaken
                } else {
                    Fate::Fine
                }
            })));
        }
    });
    let claimed = world.log.manifest().partitions(schemas::topics::Topic::Intents);
    for fill in 1..=3 {
        let intent = tenant.buy(fill, "10", "0.50");
        world.publish(intent.clone()).await;
        world.until("it rests", SOON, || world.status(key(&intent)) == Some(OrderStatus::Open)).await;
    }
    assert!(gates.load(Ordering::SeqCst) >= 12);
    assert_eq!(i64::from(claims.load(Ordering::SeqCst)), i64::from(claimed), "none was claimed again");
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_slow_or_failing_order_does_not_starve_the_others() {
    let (world, tenant) = one();
    // More orders than are looked at at once never get an answer; the venue knows them all.
    let bad = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::<schemas::OrderId>::new()));
    let executor = {
        let bad = bad.clone();
        world.start_with(move |_, venue| {
            venue.on_ask(move |name, id| {
                let failing = name == "order" && id.is_some_and(|id| bad.lock().unwrap().contains(&id));
                if failing { Ask::NoAnswer } else { Ask::Answer }
            });
        })
    };
    let intents: Vec<_> = (0..80).map(|fill| tenant.buy(fill, "10", "0.10")).collect();
    for intent in &intents {
        world.publish(intent.clone()).await;
    }
    let all = |status| world.store.attempts().iter().filter(|a| a.status == status).count();
    world.until("all rest", secs(60), || all(OrderStatus::Open) == 80).await;
    let ids: Vec<_> = world.venue.orders().into_keys().collect();
    bad.lock().unwrap().extend(ids.iter().take(40));
    for id in &ids {
        world.venue.fill(*id, shares("10"), price("0.10"), "CONFIRMED");
    }
    world.until("the others are filled", secs(30), || all(OrderStatus::Filled) == 40).await;
    bad.lock().unwrap().clear();
    world.until("these too, once there is an answer", secs(30), || all(OrderStatus::Filled) == 80).await;
    executor.stop(&world).await;
    world.check();
}
