//! The stage as a whole, over log, ledger and venue in memory, under virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{
    Tenant, grant, price, shares, usdc,
    venue::{Ask, Post},
    world::World,
};
use eventlog::{Log, Offset, fault::Lost};
use execute::{
    Store,
    core::{Attempt, gate::denial, snapshot::Grant},
    store::{SealedConnection, intents, memory::Fate},
};
use runtime::Clock;
use schemas::{Denial, IdempotencyKey, OrderStatus, Shares, Side, Usdc, events::PlaceIntent};

const SOON: Duration = Duration::from_secs(20);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn key(intent: &PlaceIntent) -> IdempotencyKey {
    intent.head.idempotency_key
}

/// A world with one tenant and a running executor.
fn one() -> (World, Tenant) {
    let world = World::new();
    let tenant = world.add(1);
    (world, tenant)
}

/// A world with one tenant, whose wallet is new.
fn one_new() -> (World, Tenant) {
    let world = World::new();
    let tenant = world.add_new(1);
    (world, tenant)
}

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
async fn an_unknown_outcome_that_landed_is_found_by_its_id() {
    let (world, tenant) = one();
    world.venue.script([Post::LandUnheard]);
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.until("nobody knows", SOON, || world.status(key(&intent)) == Some(OrderStatus::Unknown)).await;
    assert_eq!(world.attempt(key(&intent)).unwrap().counted(), usdc("5"), "the reservation is kept");
    world.until("it is found", SOON, || world.status(key(&intent)) == Some(OrderStatus::Open)).await;
    assert_eq!(world.venue.posts().len(), 1, "found, not posted again");
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn an_unknown_outcome_that_did_not_land_is_the_same_bytes_again() {
    let (world, tenant) = one();
    world.venue.script([Post::LostUnheard, Post::LostUnheard, Post::Land]);
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.until("it lands", secs(60), || world.status(key(&intent)) == Some(OrderStatus::Open)).await;
    assert_eq!((world.venue.posts().len(), world.venue.orders().len()), (3, 1));
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn an_order_that_cannot_land_any_more_is_rejected_and_not_before() {
    let (world, tenant) = one();
    world.store.put_grant(tenant.account, Grant { daily: usdc("5"), ..grant() });
    *world.venue.otherwise.lock().unwrap() = Post::LostUnheard;
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.pass(secs(130)).await;
    let posts = world.venue.posts().len();
    assert!(posts > 1);
    // Too old to be sent again; it lapses at 601 s, and the venue was told 661 s.
    world.pass(secs(540)).await;
    assert_eq!(world.status(key(&intent)), Some(OrderStatus::Unknown));
    assert_eq!(world.venue.posts().len(), posts, "no post after max_fill_age");
    let mut late = tenant.buy(2, "10", "0.50");
    late.send_until = world.clock.now().plus(secs(120));
    world.publish(late.clone()).await;
    world.until("a second is denied", SOON, || world.attempt(key(&late)).is_some()).await;
    assert_eq!(denial(&world.attempt(key(&late)).unwrap()), Some(Denial::CapExceededDaily));
    world
        .until("it did not land", secs(120), || world.status(key(&intent)) == Some(OrderStatus::Rejected))
        .await;
    assert_eq!(world.attempt(key(&intent)).unwrap().counted(), Usdc::ZERO);
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn an_order_that_lands_after_it_was_given_up_is_cancelled_and_told() {
    let (world, tenant) = one();
    world.venue.script([Post::Refuse("not enough balance / allowance")]);
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.until("it is refused", SOON, || world.status(key(&intent)) == Some(OrderStatus::Rejected)).await;
    let reason = world.attempt(key(&intent)).unwrap().reason.unwrap();
    assert!(reason.starts_with("not enough balance / allowance"), "{reason}");
    // The venue says one thing and does another.
    let attempt = world.attempt(key(&intent)).unwrap();
    let (id, body) = (attempt.order_id.unwrap(), attempt.body.unwrap().0);
    let creds = common::creds(&common::key_of(1));
    let _ = venue::port::Exchange::post_order(&world.venue, &body, id, &creds, world.clock.now()).await;
    world
        .until("it is found", secs(600), || world.status(key(&intent)) == Some(OrderStatus::Cancelled))
        .await;
    assert_eq!(world.venue.cancels(), [id]);
    assert_eq!(executor.board.figures().troubles.get("late_landing"), Some(&1));
    assert!(world.events().iter().any(|e| e.status == OrderStatus::Open));
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_venue_that_asks_to_come_back_is_asked_again_and_not_hammered() {
    let (world, tenant) = one();
    world.venue.script([
        Post::Later(425, None),
        Post::Later(429, Some(secs(5))),
        Post::Later(503, Some(secs(3))),
    ]);
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.until("it is put off", SOON, || world.status(key(&intent)) == Some(OrderStatus::Submitted)).await;
    let begin = world.clock.monotonic();
    world.until("it lands", SOON, || world.status(key(&intent)) == Some(OrderStatus::Open)).await;
    assert!(world.clock.monotonic() - begin >= secs(8));
    assert_eq!(world.venue.posts().len(), 4);
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn an_order_that_was_never_taken_expires_with_its_fill() {
    let (world, tenant) = one();
    *world.venue.otherwise.lock().unwrap() = Post::Later(425, None);
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world
        .until("its time is over", secs(140), || world.status(key(&intent)) == Some(OrderStatus::Expired))
        .await;
    let attempt = world.attempt(key(&intent)).unwrap();
    assert!(attempt.last_send_at.unwrap() <= attempt.send_until);
    assert_eq!(attempt.counted(), Usdc::ZERO);
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn after_an_outage_stale_buys_are_denied_and_sells_go_out() {
    let (world, tenant) = one();
    let executor = world.start();
    let buy = tenant.buy_now(1, "10", "0.40");
    world.publish(buy.clone()).await;
    world
        .until("it is bought", SOON, || {
            world.attempt(key(&buy)).is_some_and(|a| a.filled_shares == shares("25"))
        })
        .await;
    executor.stop(&world).await;
    let stale = tenant.buy(2, "10", "0.50");
    let close = tenant.close(3, 1, 1, "0.50");
    let sold = close.head.idempotency_key;
    world.publish(stale.clone()).await;
    world.publish(close).await;
    world.clock.advance(secs(900));
    let executor = world.start();
    world
        .until("it is sold", SOON, || world.attempt(sold).is_some_and(|a| a.filled_shares == shares("25")))
        .await;
    assert_eq!(denial(&world.attempt(key(&stale)).unwrap()), Some(Denial::IntentExpired));
    executor.stop(&world).await;
    world.check();
}

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
async fn what_cannot_be_read_goes_to_dead_letters_and_stops_nothing() {
    let (world, tenant) = one();
    let executor = world.start();
    let account = tenant.account.to_string();
    world.publish_raw(&account, Some(b"\x01 not framed")).await;
    world.publish_raw(&account, None).await;
    // Nobody's money.
    world.publish(Tenant::new(77).buy(1, "10", "0.50")).await;
    let mut stolen = tenant.buy(2, "10", "0.50");
    stolen.head.created_by_user_id = Tenant::new(77).user;
    world.publish(stolen).await;
    let good = tenant.buy(3, "10", "0.50");
    world.publish(good.clone()).await;
    world.until("the good one rests", SOON, || world.status(key(&good)) == Some(OrderStatus::Open)).await;
    world.until("four letters", SOON, || world.letters().len() == 4).await;
    let mut codes: Vec<_> = world.letters().iter().map(|l| (l.reader.clone(), l.code.clone())).collect();
    codes.sort();
    let of = |code: &str| ("execute".to_owned(), code.to_owned());
    assert_eq!(
        codes,
        [of("account_of_another"), of("account_unknown"), of("record_not_framed"), of("record_not_framed")]
    );
    assert_eq!(world.store.attempts().len(), 1);
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn credentials_are_derived_once_and_kept_sealed() {
    let (world, tenant) = one();
    let executor = world.start();
    world.publish(tenant.buy(1, "10", "0.50")).await;
    world.until("it is posted", SOON, || world.venue.posts().len() == 1).await;
    executor.stop(&world).await;
    let kept = world.store.connection(tenant.connection.id).await.unwrap().unwrap().api_credentials.unwrap();
    assert!(!kept.windows(4).any(|w| w == b"pass"), "sealed");
    let executor = world.start();
    world.publish(tenant.buy(2, "10", "0.50")).await;
    world.until("it is posted", SOON, || world.venue.posts().len() == 2).await;
    assert_eq!(world.venue.keys_given(), 1);
    executor.stop(&world).await;
}

#[tokio::test]
async fn a_wallet_that_does_not_open_is_denied_and_the_others_go_on() {
    let (world, tenant) = one();
    let broken = world.add(2);
    world.store.put_connection(SealedConnection {
        billing_account_id: broken.account,
        connection: broken.connection.clone(),
        signing_key: b"sealed with another installation's key".to_vec(),
        api_credentials: None,
    });
    let executor = world.start();
    world.publish(broken.buy(1, "10", "0.50")).await;
    world.publish(tenant.buy(2, "10", "0.50")).await;
    world.until("both are gated", SOON, || world.store.attempts().len() == 2).await;
    world.until("the good one is posted", SOON, || world.venue.posts().len() == 1).await;
    let denied = world.store.attempts().into_iter().find(|a| a.billing_account_id == broken.account).unwrap();
    assert_eq!(denial(&denied), Some(Denial::TradingNotReady));
    executor.stop(&world).await;
}

#[tokio::test]
async fn approvals_are_looked_for_before_a_market_is_bought() {
    let (world, tenant) = one_new();
    world.venue.set_allowance(0);
    let executor = world.start();
    let first = tenant.buy(1, "10", "0.50");
    world.publish(first.clone()).await;
    world.until("it is denied", SOON, || world.attempt(key(&first)).is_some()).await;
    assert_eq!(denial(&world.attempt(key(&first)).unwrap()), Some(Denial::TradingNotReady));
    executor.stop(&world).await;
    world.venue.set_allowance(1);
    let executor = world.start();
    let second = tenant.buy(2, "10", "0.50");
    world.publish(second.clone()).await;
    world.until("it rests", SOON, || world.status(key(&second)) == Some(OrderStatus::Open)).await;
    executor.stop(&world).await;
}

#[tokio::test]
async fn balances_are_read_and_count() {
    let (world, tenant) = one();
    world.venue.set_balance(7_000_000);
    let executor = world.start();
    world.publish(tenant.buy(1, "10", "0.50")).await;
    world.until("it is posted", SOON, || world.venue.posts().len() == 1).await;
    world.pass(secs(31)).await;
    let second = tenant.buy(2, "10", "0.50");
    world.publish(second.clone()).await;
    world.until("it is gated", SOON, || world.attempt(key(&second)).is_some()).await;
    assert_eq!(denial(&world.attempt(key(&second)).unwrap()), Some(Denial::InsufficientBalance));
    executor.stop(&world).await;
}

#[tokio::test]
async fn events_are_published_once_for_certain_whatever_the_log_answers() {
    let (world, tenant) = one();
    let executor = world.start();
    for fill in 0..3 {
        world.publish(tenant.buy(fill, "10", "0.10")).await;
        // The next to append is the relay.
        world.log.faults().lose_next_append(if fill % 2 == 0 { Lost::After } else { Lost::Before });
        world.pass(secs(2)).await;
    }
    world.until("all is told", SOON, || world.store.waiting().0 == 0).await;
    executor.stop(&world).await;
    let events = world.events();
    assert_eq!(world.store.attempts().len(), 3);
    assert!(events.len() > 6, "an append whose answer was lost is repeated");
    world.check();
}

#[tokio::test]
async fn a_database_older_than_the_log_is_refused() {
    let (world, tenant) = one();
    let executor = world.start();
    world.publish(tenant.buy(1, "10", "0.50")).await;
    world.until("all is told", SOON, || world.events().len() == 2).await;
    executor.stop(&world).await;
    let older = World::with_log(Some((world.log.clone(), world.clock.clone())));
    older.add(1);
    let executor = older.start();
    older.until("it refuses", SOON, || executor.running.is_finished()).await;
    let error = executor.running.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "database_older_than_log");
    assert!(error.to_string().contains("newer backup"), "{error}");
}

#[tokio::test]
async fn an_older_log_under_a_newer_database_is_refused() {
    let (world, tenant) = one();
    let executor = world.start();
    world.publish(tenant.buy(1, "10", "0.50")).await;
    world.until("it is posted", SOON, || world.venue.posts().len() == 1).await;
    executor.stop(&world).await;
    // The intents went another way than the ledger has taken them.
    let mut stored = world.store.stored_offset(world.partition(&tenant)).unwrap();
    stored.next = Offset(stored.next.0 + 50);
    let other = World::with_log(Some((world.log.clone(), world.clock.clone())));
    let claim = other.store.claim(stored.at.partition, "x", secs(1)).await.unwrap();
    let batch = execute::store::Batch {
        partition: stored.at.partition,
        epoch: claim.epoch,
        source: execute::store::Source::Log { from: None, to: stored },
        items: &[],
        now: world.clock.now(),
        served: &[],
    };
    other.store.gate(batch, &common::keyring(&[])).await.unwrap();
    let revisions = world.store.attempts();
    assert_eq!(revisions.len(), 1);
    let executor = other.start_with(|store, _| {
        // What the ledger lacks of the orders is another test's matter.
        let _ = store;
    });
    other.until("it refuses", SOON, || executor.running.is_finished()).await;
    let code = executor.running.await.unwrap().unwrap_err().code();
    assert!(["stored_offset_ahead_of_log", "database_older_than_log"].contains(&code), "{code}");
}

#[tokio::test]
async fn a_zombie_sends_nothing_once_another_may() {
    let (world, tenant) = one();
    let partition = world.partition(&tenant);
    let zombie = world.start();
    world.publish(tenant.buy(1, "10", "0.10")).await;
    world.until("it is posted", SOON, || world.venue.posts().len() == 1).await;
    // Its session ends; it lives on and does not know. The orders it holds wait at a venue that says: later.
    world.venue.script([Post::Later(429, Some(secs(12)))]);
    let put_off = tenant.buy(2, "10", "0.10");
    world.publish(put_off.clone()).await;
    world.until("it is put off", SOON, || world.status(key(&put_off)) == Some(OrderStatus::Submitted)).await;
    let owner = world.start();
    assert!(world.log.evict("execute", intents(partition)));
    world.until("it is resolved", secs(60), || world.status(key(&put_off)) == Some(OrderStatus::Open)).await;
    let posts = world.venue.posts().len();
    world.pass(secs(30)).await;
    assert_eq!(world.venue.posts().len(), posts);
    assert_eq!(world.venue.orders().len(), 2);
    owner.stop(&world).await;
    zombie.stop(&world).await;
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
async fn without_a_renewed_lease_nothing_is_sent() {
    let (world, tenant) = one();
    let deaf = Arc::new(AtomicBool::new(false));
    let executor = {
        let deaf = deaf.clone();
        world.start_with(move |store, _| {
            store.on_call(Some(Arc::new(move |name| {
                if name == "renew" && deaf.load(Ordering::SeqCst) { Fate::LostBefore } else { Fate::Fine }
            })));
        })
    };
    world.venue.script([Post::Later(429, Some(secs(11)))]);
    world.publish(tenant.buy(1, "10", "0.10")).await;
    world.until("it is put off", SOON, || world.venue.posts().len() == 1).await;
    deaf.store(true, Ordering::SeqCst);
    world.pass(secs(40)).await;
    assert_eq!(world.venue.posts().len(), 1, "the lease ran out");
    deaf.store(false, Ordering::SeqCst);
    world.until("it goes", SOON, || world.venue.posts().len() == 2).await;
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

/// What a story is, and when it is over.
struct Story {
    tenant: Tenant,
    intents: Vec<PlaceIntent>,
}

async fn tell(world: &World) -> Story {
    let tenant = world.add(1);
    // One order whose answer gets lost, one that is lost itself, one that takes, one that is denied, one replaced.
    world.venue.script([Post::Land, Post::LandUnheard, Post::LostUnheard]);
    let mut intents = vec![
        tenant.buy(1, "10", "0.40"),
        tenant.buy(2, "10", "0.41"),
        tenant.buy(3, "10", "0.42"),
        tenant.buy_now(4, "5", "0.50"),
        tenant.buy(5, "2000", "0.50"),
    ];
    intents.push(PlaceIntent { replaces: Some(key(&intents[0])), ..tenant.buy(6, "10", "0.45") });
    for intent in &intents {
        world.publish(intent.clone()).await;
    }
    Story { tenant, intents }
}

impl Story {
    /// Every intent has come to something that does not change by itself, and all of it is told.
    fn is_over(&self, world: &World) -> bool {
        let bought = |a: &Attempt| a.status == OrderStatus::Matched && a.filled_shares.is_positive();
        let quiet = |a: &Attempt| a.is_final || a.status == OrderStatus::Open || bought(a);
        let known = self.intents.iter().all(|i| world.attempt(key(i)).is_some_and(|a| quiet(&a)));
        known && world.store.waiting() == (0, 0)
    }

    fn check(&self, world: &World) {
        world.check();
        let cost = world.store.attempts().iter().map(Attempt::counted).sum::<Usdc>();
        assert!(cost <= usdc("22"), "{cost}");
        let status = |i: usize| world.status(key(&self.intents[i])).unwrap();
        assert_eq!(status(4), OrderStatus::Denied);
        let bought = world.venue.orders().values().flat_map(|o| &o.trades).map(|t| t.shares).sum::<Shares>();
        let head = &self.intents[0].head;
        let position = world.store.position(self.tenant.account, head.mode, head.target_id, &head.asset);
        assert_eq!(position.map_or(Shares::ZERO, |p| p.held), bought);
        let at_venue = world.venue.orders();
        for attempt in world.store.attempts() {
            // It was given up only where it is not there; where it is, the ledger says so.
            let there = attempt.order_id.is_some_and(|id| at_venue.contains_key(&id));
            let given_up =
                matches!(attempt.status, OrderStatus::Rejected | OrderStatus::Expired | OrderStatus::Denied);
            assert!(!(there && given_up), "{attempt:#?}");
        }
    }
}

/// Crashes a process at its n-th call of ledger or venue; whether it came to that.
async fn crash_at(n: u32, after: bool) -> bool {
    let world = World::new();
    let story = tell(&world).await;
    let (count, dead) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let dies = move |at: u32, count: &AtomicU32, dead: &AtomicBool| -> bool {
        if dead.load(Ordering::SeqCst) || count.fetch_add(1, Ordering::SeqCst) + 1 != at {
            return dead.load(Ordering::SeqCst);
        }
        dead.store(true, Ordering::SeqCst);
        true
    };
    let victim = world.start_with(|store, venue| {
        let (c, d) = (count.clone(), dead.clone());
        store.on_call(Some(Arc::new(move |_| {
            let was_dead = d.load(Ordering::SeqCst);
            match (dies(n, &c, &d), after && !was_dead) {
                (false, _) => Fate::Fine,
                (true, true) => Fate::DiesAfter,
                (true, false) => Fate::DiesBefore,
            }
        })));
        let (c, d) = (count.clone(), dead.clone());
        venue.on_ask(move |_, _| if dies(n, &c, &d) { Ask::Die } else { Ask::Answer });
    });
    world
        .until("it dies, or is done", secs(30), || dead.load(Ordering::SeqCst) || story.is_over(&world))
        .await;
    let died = dead.load(Ordering::SeqCst);
    victim.kill().await;
    let heir = world.start();
    world.until("the story ends", secs(900), || story.is_over(&world)).await;
    heir.stop(&world).await;
    story.check(&world);
    died
}

async fn crash_everywhere(after: bool) {
    let mut points = 0;
    while crash_at(points + 1, after).await {
        points += 1;
    }
    assert!(points > 40, "{points} points");
}

// Invariants 1, 3 and 4 over a crash at each step: never two bodies of one attempt, never a post before its commit,
// never an order that the ledger does not know, and the budget is what the venue has in the end.

#[tokio::test]
async fn a_crash_before_any_call_doubles_and_loses_nothing() {
    crash_everywhere(false).await;
}

#[tokio::test]
async fn a_crash_after_any_call_doubles_and_loses_nothing() {
    crash_everywhere(true).await;
}

/// The process lives on, and the answer of its n-th call of the ledger is lost.
async fn lose_everywhere(fate: Fate) {
    for n in 1..=120 {
        let world = World::new();
        let story = tell(&world).await;
        let count = Arc::new(AtomicU32::new(0));
        let executor = {
            let count = count.clone();
            world.start_with(move |store, _| {
                store.on_call(Some(Arc::new(move |name| {
                    // What is asked for once at the start fails the start: that is said, and not survived.
                    let asked =
                        if name.starts_with("agreed") { 0 } else { count.fetch_add(1, Ordering::SeqCst) + 1 };
                    if asked == n { fate } else { Fate::Fine }
                })));
            })
        };
        world.until("the story ends", secs(900), || story.is_over(&world)).await;
        let reached = count.load(Ordering::SeqCst) >= n;
        executor.stop(&world).await;
        story.check(&world);
        if !reached {
            return;
        }
    }
}

#[tokio::test]
async fn a_call_of_the_ledger_that_gets_lost_doubles_and_loses_nothing() {
    lose_everywhere(Fate::LostBefore).await;
}

#[tokio::test]
async fn an_answer_of_the_ledger_that_gets_lost_doubles_and_loses_nothing() {
    lose_everywhere(Fate::LostAfter).await;
}
