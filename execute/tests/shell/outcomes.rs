//! Answers that do not come, come late or say "later", and outages.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use crate::{
    SOON,
    common::{
        creds, grant, key_of, shares, usdc,
        venue::{Ask, Post},
    },
    key, one, secs,
};
use execute::core::{gate::denial, snapshot::Grant};
use runtime::Clock;
use schemas::{Denial, OrderStatus, Usdc};

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

/// It is asked about, nobody knows it, and it would go again: but its cancellation was committed while the question was out.
#[tokio::test]
async fn what_is_cancelled_while_it_is_asked_about_does_not_go_again() {
    let (world, tenant) = one();
    world.venue.script([Post::LostUnheard]);
    let (asked, late) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(true)));
    let executor = world.start_with({
        let (asked, late) = (asked.clone(), late.clone());
        move |_, venue| {
            venue.on_ask(move |name, _| {
                let waits = name == "order" && late.load(Ordering::SeqCst);
                asked.fetch_add(u32::from(waits), Ordering::SeqCst);
                if waits { Ask::Late } else { Ask::Answer }
            });
        }
    });
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.until("it is asked about", SOON, || asked.load(Ordering::SeqCst) > 0).await;
    world.publish(tenant.cancel(2, &intent.head)).await;
    let is_asked = || world.attempt(key(&intent)).is_some_and(|a| a.cancel_asked_at.is_some());
    world.until("its cancellation is committed", SOON, is_asked).await;
    late.store(false, Ordering::SeqCst);
    world.venue.late.notify_waiters();
    world.pass(secs(100)).await;
    assert_eq!(world.venue.posts().len(), 1, "{:#?}", world.summary());
    executor.stop(&world).await;
    world.check();
}

/// What the venue, or something before it, writes is kept in words that every table takes.
#[tokio::test]
async fn words_that_no_table_takes_hold_nothing_up() {
    let (world, tenant) = one();
    world.venue.script([Post::Refuse("\u{0}\u{1}not <\u{0}html>")]);
    let executor = world.start();
    let intents = [tenant.buy(1, "10", "0.50"), tenant.buy(2, "10", "0.50")];
    for intent in &intents {
        world.publish(intent.clone()).await;
    }
    let status = |i: usize| world.status(key(&intents[i]));
    world.until("it is refused", SOON, || status(0) == Some(OrderStatus::Rejected)).await;
    world.until("the next rests", SOON, || status(1) == Some(OrderStatus::Open)).await;
    let reason = world.attempt(key(&intents[0])).unwrap().reason.unwrap();
    assert!(reason.starts_with("not <html>") && !reason.contains(char::is_control), "{reason:?}");
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
    let creds = creds(&key_of(1));
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

/// Whatever the header holds: a BUY that waits for it expires with its fill, is cancelled, and holds up no exit for ever.
#[tokio::test]
async fn one_who_is_asked_to_come_back_much_later_looks_up_meanwhile() {
    let (world, tenant) = one();
    let executor = world.start();
    let bought = tenant.buy_now(9, "10", "0.40");
    world.publish(bought.clone()).await;
    let filled = || world.attempt(key(&bought)).is_some_and(|a| a.filled_shares == shares("25"));
    world.until("it is bought", SOON, filled).await;
    world.venue.script([Post::Later(429, Some(secs(1_790_000_000)))]);
    let [called_back, after] = [tenant.buy(1, "10", "0.50"), tenant.buy(2, "10", "0.50")];
    world.publish(called_back.clone()).await;
    world
        .until("it is put off", SOON, || world.status(key(&called_back)) == Some(OrderStatus::Submitted))
        .await;
    world.publish(tenant.cancel(3, &called_back.head)).await;
    let ended = || world.status(key(&called_back)) == Some(OrderStatus::Cancelled);
    world.until("it is called back", secs(5), ended).await;
    let posts = world.venue.posts().len();
    world.publish(after.clone()).await;
    let close = tenant.close(4, 1, 1, "0.50");
    let sold = close.head.idempotency_key;
    world.publish(close).await;
    world.pass(secs(40)).await;
    assert_eq!(world.venue.posts().len(), posts, "the venue is left alone for a while");
    let out = || world.attempt(sold).is_some_and(|a| a.filled_shares == shares("25"));
    world.until("it is sold", secs(40), out).await;
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
