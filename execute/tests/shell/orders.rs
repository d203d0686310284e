//! What becomes of an order that the venue took, and of a close.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    SOON,
    common::{
        price, shares, usdc,
        venue::{Ask, Post},
    },
    key, one, secs,
};
use eventlog::Log;
use execute::{core::gate::denial, store::intents};
use runtime::Clock;
use schemas::{Denial, OrderStatus, Side, Usdc, events::PlaceIntent};

#[tokio::test]
async fn an_intent_becomes_one_order_that_is_followed_to_its_end() {
    let (world, tenant) = one();
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.until("it rests", SOON, || world.status(key(&intent)) == Some(OrderStatus::Open)).await;
    let id = world.attempt(key(&intent)).unwrap().order_id.unwrap();
    assert_eq!(world.venue.posts().len(), 1);
    world.venue.fill(id, shares("4"), price("0.48"), "MATCHED");
    world
        .until("part of it fills", SOON, || world.status(key(&intent)) == Some(OrderStatus::PartiallyFilled))
        .await;
    world.venue.fill(id, shares("6"), price("0.50"), "CONFIRMED");
    world.until("all of it fills", SOON, || world.status(key(&intent)) == Some(OrderStatus::Matched)).await;
    world.venue.settle(id, "CONFIRMED");
    world.until("it is settled", secs(40), || world.status(key(&intent)) == Some(OrderStatus::Filled)).await;
    let attempt = world.attempt(key(&intent)).unwrap();
    assert_eq!((attempt.filled_shares, attempt.filled_usdc), (shares("10"), usdc("4.92")));
    let position =
        world.store.position(tenant.account, attempt.mode, attempt.target_id, &attempt.asset).unwrap();
    assert_eq!((position.held, position.cost), (shares("10"), usdc("4.92")));
    world.until("all is told", SOON, || world.store.waiting().0 == 0).await;
    world.check();
    let statuses: Vec<_> = world.events().iter().map(|e| e.status).collect();
    let steps = [
        OrderStatus::Reserved,
        OrderStatus::Open,
        OrderStatus::PartiallyFilled,
        OrderStatus::Matched,
        OrderStatus::Filled,
    ];
    let mut walked = statuses.clone();
    walked.dedup();
    assert_eq!(walked, steps);
    let figures = executor.board.figures();
    assert_eq!(figures.orders.get("filled"), Some(&1));
    assert_eq!(figures.orders.get("reserved"), Some(&0));
    assert!(["committed", "sent", "answered"].iter().all(|step| figures.latency.contains_key(step)));
    executor.stop(&world).await;
    assert_eq!(world.log.committed("execute", &[intents(world.partition(&tenant))]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_position_is_bought_and_sold() {
    let (world, tenant) = one();
    let executor = world.start();
    let buy = tenant.buy_now(1, "10", "0.40");
    world.publish(buy.clone()).await;
    world
        .until("it is bought", SOON, || {
            world.attempt(key(&buy)).is_some_and(|a| a.filled_shares == shares("25"))
        })
        .await;
    let id = world.attempt(key(&buy)).unwrap().order_id.unwrap();
    world.venue.settle(id, "CONFIRMED");
    world.until("it is settled", SOON, || world.status(key(&buy)) == Some(OrderStatus::Filled)).await;
    let close = tenant.close(2, 3, 5, "0.50");
    let sold = close.head.idempotency_key;
    world.publish(close).await;
    world
        .until("it is sold", SOON, || world.attempt(sold).is_some_and(|a| a.filled_shares == shares("15")))
        .await;
    let attempt = world.attempt(sold).unwrap();
    assert_eq!(
        (attempt.side, attempt.limit_price, attempt.reserved),
        (Side::Sell, price("0.47"), Usdc::ZERO)
    );
    let position =
        world.store.position(tenant.account, attempt.mode, attempt.target_id, &attempt.asset).unwrap();
    assert_eq!((position.held, position.cost), (shares("10"), usdc("4")));
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_cancel_cancels_what_rests_and_a_fill_stays_a_fill() {
    let (world, tenant) = one();
    let executor = world.start();
    let (rests, fills) = (tenant.buy(1, "10", "0.50"), tenant.buy(2, "10", "0.40"));
    world.publish(rests.clone()).await;
    world.publish(fills.clone()).await;
    let open = |i: &PlaceIntent| world.status(key(i)) == Some(OrderStatus::Open);
    world.until("both rest", SOON, || open(&rests) && open(&fills)).await;
    let id = |i: &PlaceIntent| world.attempt(key(i)).unwrap().order_id.unwrap();
    world.venue.fill(id(&rests), shares("3"), price("0.50"), "CONFIRMED");
    // Filled before the cancel arrives: the answer says "already matched".
    world.venue.fill(id(&fills), shares("10"), price("0.40"), "CONFIRMED");
    world.publish(tenant.cancel(3, &rests.head)).await;
    world.publish(tenant.cancel(4, &fills.head)).await;
    world.until("one ends", SOON, || world.status(key(&rests)) == Some(OrderStatus::Cancelled)).await;
    world.until("the other too", SOON, || world.status(key(&fills)) == Some(OrderStatus::Filled)).await;
    let ended = world.attempt(key(&rests)).unwrap();
    assert_eq!(
        (ended.filled_shares, ended.reason.as_deref(), ended.counted()),
        (shares("3"), Some("void"), usdc("1.5"))
    );
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_cancel_before_the_order_went_keeps_it_from_going() {
    let (world, tenant) = one();
    world.venue.script([Post::Later(429, Some(secs(10)))]);
    let executor = world.start();
    let (first, second) = (tenant.buy(1, "10", "0.50"), tenant.buy(2, "10", "0.40"));
    world.publish(first.clone()).await;
    world.publish(second.clone()).await;
    world.until("both are committed", SOON, || world.store.attempts().len() == 2).await;
    world.publish(tenant.cancel(3, &second.head)).await;
    world
        .until("it is cancelled", secs(30), || world.status(key(&second)) == Some(OrderStatus::Cancelled))
        .await;
    let id = world.attempt(key(&second)).unwrap().order_id.unwrap();
    assert!(world.venue.posts().iter().all(|(posted, _)| *posted != id));
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_replacement_goes_when_the_replaced_has_ended_less_what_that_filled() {
    let (world, tenant) = one();
    let executor = world.start();
    let old = tenant.buy(1, "10", "0.40");
    world.publish(old.clone()).await;
    world.until("the old one rests", SOON, || world.status(key(&old)) == Some(OrderStatus::Open)).await;
    let id = world.attempt(key(&old)).unwrap().order_id.unwrap();
    world.venue.fill(id, shares("2.5"), price("0.40"), "CONFIRMED");
    let new = PlaceIntent { replaces: Some(key(&old)), ..tenant.buy(2, "10", "0.50") };
    world.publish(new.clone()).await;
    world.until("the new one rests", SOON, || world.status(key(&new)) == Some(OrderStatus::Open)).await;
    assert_eq!(world.status(key(&old)), Some(OrderStatus::Cancelled));
    assert_eq!(world.attempt(key(&new)).unwrap().shares, shares("7.5"));
    assert_eq!(world.store.waiting().1, 0);
    executor.stop(&world).await;
    world.check();
}

/// A leader who moves his price quickly: each replaces the one before, which may still wait itself. One of them is placed.
#[tokio::test]
async fn of_a_chain_of_replacements_the_last_one_goes_alone() {
    for links in 2..5 {
        for between in [Duration::ZERO, Duration::from_millis(700), secs(4)] {
            let (world, tenant) = one();
            let held = Arc::new(AtomicBool::new(true));
            let executor = world.start_with({
                let held = held.clone();
                move |_, venue| {
                    venue.on_ask(move |name, _| {
                        if name == "cancel" && held.load(Ordering::SeqCst) {
                            Ask::NoAnswer
                        } else {
                            Ask::Answer
                        }
                    });
                }
            });
            let mut chain = vec![tenant.buy(0, "10", "0.40")];
            world.publish(chain[0].clone()).await;
            let status = |i: &PlaceIntent| world.status(key(i));
            world.until("the first rests", SOON, || status(&chain[0]) == Some(OrderStatus::Open)).await;
            for link in 1..=links {
                let replaces = chain.last().map(key);
                chain.push(PlaceIntent { replaces, ..tenant.buy(link, "10", "0.45") });
                world.publish(chain[chain.len() - 1].clone()).await;
                world.pass(between).await;
            }
            world.pass(secs(5)).await;
            assert_eq!(world.venue.posts().len(), 1, "the others wait");
            held.store(false, Ordering::SeqCst);
            let last = &chain[chain.len() - 1];
            world.until("the last one rests", secs(60), || status(last) == Some(OrderStatus::Open)).await;
            world.until("nothing waits any more", secs(60), || world.store.waiting() == (0, 0)).await;
            world.pass(secs(60)).await;
            assert_eq!(status(&chain[0]), Some(OrderStatus::Cancelled));
            for passed_over in &chain[1..chain.len() - 1] {
                let attempt = world.attempt(key(passed_over)).unwrap();
                assert_eq!(denial(&attempt), Some(Denial::Superseded), "{:#?}", world.summary());
            }
            assert_eq!(status(last), Some(OrderStatus::Open));
            assert_eq!(world.venue.posts().len(), 2);
            executor.stop(&world).await;
            world.check();
        }
    }
}

/// What is called back while it waits is not placed later.
#[tokio::test]
async fn a_cancel_of_a_replacement_that_waits_keeps_it_from_being_placed() {
    let (world, tenant) = one();
    let executor = world.start_with(|_, venue| {
        venue.on_ask(|name, _| if name == "cancel" { Ask::NoAnswer } else { Ask::Answer });
    });
    let old = tenant.buy(1, "10", "0.40");
    let new = PlaceIntent { replaces: Some(key(&old)), ..tenant.buy(2, "10", "0.50") };
    world.publish(old.clone()).await;
    world.until("the old one rests", SOON, || world.status(key(&old)) == Some(OrderStatus::Open)).await;
    world.publish(new.clone()).await;
    world.pass(secs(5)).await;
    assert_eq!(world.status(key(&new)), None, "it waits");
    world.publish(tenant.cancel(3, &new.head)).await;
    world.until("it is told", SOON, || world.status(key(&new)) == Some(OrderStatus::Denied)).await;
    assert_eq!(denial(&world.attempt(key(&new)).unwrap()), Some(Denial::Superseded));
    world.until("nothing waits any more", secs(60), || world.store.waiting().1 == 0).await;
    executor.stop(&world).await;
}

/// The figures say how fast orders are: not how long the venue took to cancel what another one replaces.
#[tokio::test]
async fn an_order_that_had_to_wait_is_not_counted_as_a_slow_one() {
    let (world, tenant) = one();
    let held = Arc::new(AtomicBool::new(true));
    let executor = world.start_with({
        let held = held.clone();
        move |_, venue| {
            venue.on_ask(move |name, _| {
                if name == "cancel" && held.load(Ordering::SeqCst) { Ask::NoAnswer } else { Ask::Answer }
            });
        }
    });
    let old = tenant.buy(1, "10", "0.40");
    world.publish(old.clone()).await;
    world.until("the old one rests", SOON, || world.status(key(&old)) == Some(OrderStatus::Open)).await;
    let straight = executor.board.figures().latency["sent"];
    let new = PlaceIntent { replaces: Some(key(&old)), ..tenant.buy(2, "10", "0.50") };
    world.publish(new.clone()).await;
    world.pass(secs(30)).await;
    assert_eq!(world.status(key(&new)), None, "it waits");
    held.store(false, Ordering::SeqCst);
    world.until("the new one rests", SOON, || world.status(key(&new)) == Some(OrderStatus::Open)).await;
    let figures = executor.board.figures();
    assert_eq!(figures.latency["sent"], straight, "{figures:?}");
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_close_without_a_price_waits_for_a_bid() {
    let (world, tenant) = one();
    let executor = world.start();
    let buy = tenant.buy_now(1, "10", "0.40");
    world.publish(buy.clone()).await;
    world
        .until("it is bought", SOON, || {
            world.attempt(key(&buy)).is_some_and(|a| a.filled_shares == shares("25"))
        })
        .await;
    let mut close = tenant.close(2, 1, 1, "0.50");
    close.sale_price = None;
    let sold = close.head.idempotency_key;
    world.publish(close).await;
    world.pass(secs(10)).await;
    assert_eq!(world.attempt(sold), None);
    world.venue.set_bid(price("0.60"));
    world
        .until("it is sold", SOON, || world.attempt(sold).is_some_and(|a| a.filled_shares == shares("25")))
        .await;
    assert_eq!(world.attempt(sold).unwrap().limit_price, price("0.57"));
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn an_open_order_is_never_called_stale_while_the_venue_answers() {
    let (world, tenant) = one();
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.until("it rests", SOON, || world.status(key(&intent)) == Some(OrderStatus::Open)).await;
    for _ in 0..10 {
        world.pass(secs(20)).await;
        let attempt = world.attempt(key(&intent)).unwrap();
        let age = world.clock.now().since(attempt.synced_at.unwrap());
        assert!(age < secs(60), "{age:?}");
    }
    executor.stop(&world).await;
    world.check();
}
