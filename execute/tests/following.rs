//! Orders are followed: by what the venue tells, by asking, and by both when either fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    Tenant,
    channel::FakeChannel,
    price, shares, usdc,
    venue::{Ask, Post},
    world::{Executor, World},
};
use execute::{
    core::{Attempt, Event, fills::Fills, transition::Seen},
    shell::{desk::Desk, lease::Lease},
    store::memory::Fate,
};
use runtime::Clock;
use schemas::{IdempotencyKey, OrderId, OrderStatus, Shares, Usdc, events::PlaceIntent};
use venue::{port::UserEvent, wire::ClobOrderStatus};

const SOON: Duration = Duration::from_secs(20);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn key(intent: &PlaceIntent) -> IdempotencyKey {
    intent.head.idempotency_key
}

/// How often a process asks for each order, and for the list.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<BTreeMap<Question, usize>>>);

/// What was asked, and of which order.
type Question = (&'static str, Option<OrderId>);

impl Asked {
    fn note(&self, name: &'static str, id: Option<OrderId>) {
        *self.0.lock().unwrap().entry((name, id)).or_default() += 1;
    }

    fn count(&self, name: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|((n, _), _)| *n == name).map(|(_, count)| count).sum()
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// A world with a stream, one tenant, and `n` orders that rest; the stream is heard.
async fn resting(n: u32) -> (World, Tenant, Executor, FakeChannel, Vec<OrderId>, Asked) {
    let world = World::listening();
    let (tenant, channel, asked) = (world.add(1), world.channel.clone().unwrap(), Asked::default());
    let executor = {
        let asked = asked.clone();
        world.start_with(move |_, venue| {
            venue.on_ask(move |name, id| {
                asked.note(name, id);
                Ask::Answer
            });
        })
    };
    for fill in 0..n {
        world.publish(tenant.buy(fill, "10", "0.10")).await;
    }
    let all = || world.store.attempts().iter().filter(|a| a.status == OrderStatus::Open).count();
    world.until("all rest", secs(60), || all() == n as usize).await;
    world.until("somebody listens", SOON, || channel.listeners() == 1).await;
    channel.tell(&UserEvent::Connected);
    // What was due at the beginning was looked at, and is looked at seldom from now on.
    world.pass(secs(45)).await;
    asked.clear();
    let ids = world.store.attempts().iter().map(|a| a.order_id.unwrap()).collect();
    (world, tenant, executor, channel, ids, asked)
}

fn attempt_of(world: &World, id: OrderId) -> Attempt {
    world.store.attempts().into_iter().find(|a| a.order_id == Some(id)).unwrap()
}

fn filled(world: &World, id: OrderId) -> Shares {
    attempt_of(world, id).filled_shares
}

/// A reading that nobody polls keeps the database connection that it has, or is just being given: with as many of these
/// as there are connections, whoever waits for one waits for ever.
#[tokio::test]
async fn the_list_is_read_on_while_what_was_heard_waits_for_the_database() {
    let (world, _, executor, channel, ids, asked) = resting(3).await;
    let (frame, listed) = (world.venue.frame(ids[0], "UPDATE"), asked.clone());
    executor.store.on_call(Some(Arc::new(move |name| match name {
        // Something is heard while the database is asked what rests, to compare the list with it.
        "resting" => {
            channel.tell(&frame);
            Fate::Fine
        }
        "by_order_id" if listed.count("open_orders") == 0 => Fate::LostBefore,
        _ => Fate::Fine,
    })));
    world.until("the list is read", secs(60), || asked.count("open_orders") > 0).await;
    executor.stop(&world).await;
}

#[tokio::test]
async fn what_the_venue_tells_is_looked_at_at_once() {
    let (world, _, executor, channel, ids, asked) = resting(3).await;
    world.venue.fill(ids[1], shares("4"), price("0.10"), "MATCHED");
    channel.tell(&world.venue.trade_frame(ids[1]));
    world.until("the fill is known", secs(1), || filled(&world, ids[1]) == shares("4")).await;
    assert!(
        asked.0.lock().unwrap().keys().all(|(name, id)| *name != "order" || *id == Some(ids[1])),
        "only that one"
    );
    // Doubled, late and out of order: what it says is read from the venue.
    let late = world.venue.frame(ids[1], "UPDATE");
    world.venue.fill(ids[1], shares("6"), price("0.10"), "MATCHED");
    for event in [&late, &world.venue.frame(ids[1], "UPDATE"), &late, &late] {
        channel.tell(event);
    }
    world.until("all of it is matched", secs(1), || filled(&world, ids[1]) == shares("10")).await;
    world.venue.settle(ids[1], "CONFIRMED");
    channel.tell(&world.venue.trade_frame(ids[1]));
    world.until("it is settled", secs(1), || attempt_of(&world, ids[1]).status == OrderStatus::Filled).await;
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn news_that_come_while_an_order_is_looked_at_are_looked_at_again() {
    let (world, _, executor, channel, ids, _) = resting(1).await;
    // The answer to the first question is made before the fill, and comes after it.
    let first = Arc::new(AtomicBool::new(true));
    executor.venue.on_ask(move |name, _| {
        if name == "order" && first.swap(false, Ordering::SeqCst) { Ask::Late } else { Ask::Answer }
    });
    channel.tell(&world.venue.frame(ids[0], "UPDATE"));
    world.pass(secs(1)).await;
    world.venue.fill(ids[0], shares("10"), price("0.10"), "CONFIRMED");
    channel.tell(&world.venue.frame(ids[0], "UPDATE"));
    world.settle().await;
    world.venue.late.notify_one();
    world.until("the fill is known", secs(1), || filled(&world, ids[0]) == shares("10")).await;
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn news_are_kept_while_the_ledger_does_not_answer() {
    let (world, _, executor, channel, ids, _) = resting(6).await;
    for id in &ids {
        world.venue.fill(*id, shares("10"), price("0.10"), "CONFIRMED");
    }
    // From when the news are passed on, the rows cannot be read for a second.
    let (clock, until) = (world.clock.clone(), world.clock.monotonic() + secs(1));
    executor.store.on_call(Some(Arc::new(move |name| {
        if name == "attempt" && clock.monotonic() < until { Fate::LostBefore } else { Fate::Fine }
    })));
    for id in &ids {
        channel.tell(&world.venue.frame(*id, "UPDATE"));
    }
    world.pass(Duration::from_millis(900)).await;
    assert!(ids.iter().all(|id| filled(&world, *id) == Shares::ZERO));
    world
        .until("all of them are known", secs(2), || ids.iter().all(|id| filled(&world, *id) == shares("10")))
        .await;
    executor.stop(&world).await;
    world.check();
}

/// What happened while nobody was told is found at once when the stream breaks, and when it is back.
async fn reconciles(what: &str, event: UserEvent) {
    let (world, _, executor, channel, ids, asked) = resting(5).await;
    // The list is no help here.
    executor.venue.on_ask({
        let asked = asked.clone();
        move |name, id| {
            asked.note(name, id);
            if name == "open_orders" { Ask::NoAnswer } else { Ask::Answer }
        }
    });
    world.venue.fill(ids[2], shares("10"), price("0.10"), "CONFIRMED");
    world.venue.set_status(ids[3], "CANCELED");
    world.pass(secs(60)).await;
    assert_eq!(filled(&world, ids[2]), Shares::ZERO, "nobody was told");
    channel.tell(&event);
    world
        .until(what, secs(2), || {
            filled(&world, ids[2]) == shares("10")
                && attempt_of(&world, ids[3]).status == OrderStatus::Cancelled
        })
        .await;
    let asked: BTreeSet<_> = asked.0.lock().unwrap().keys().filter_map(|(_, id)| *id).collect();
    assert_eq!(asked, ids.iter().copied().collect(), "all that is open is looked at");
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_gap_makes_all_open_orders_of_the_connection_due() {
    reconciles("a gap reconciles", UserEvent::Gap { why: "a test".into() }).await;
}

#[tokio::test]
async fn a_stream_that_is_back_makes_all_open_orders_due_for_nothing_is_told_again() {
    reconciles("the new connection reconciles", UserEvent::Connected).await;
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_makes_all_open_orders_due() {
    reconciles("whatever it was is found", UserEvent::Unreadable { why: "a test".into() }).await;
}

#[tokio::test]
async fn without_a_stream_orders_are_asked_about_as_ever() {
    let (world, _, executor, channel, ids, _) = resting(2).await;
    channel.gap();
    world.pass(secs(60)).await;
    world.venue.fill(ids[0], shares("10"), price("0.10"), "CONFIRMED");
    world.until("the poll finds it", secs(25), || filled(&world, ids[0]) == shares("10")).await;
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn orders_that_rest_are_confirmed_by_one_list_and_asked_about_seldom() {
    let (world, _, executor, _, ids, asked) = resting(20).await;
    for _ in 0..12 {
        world.pass(secs(20)).await;
        for id in &ids {
            let age = world.clock.now().since(attempt_of(&world, *id).synced_at.unwrap());
            assert!(age < secs(60), "{age:?}");
        }
    }
    // Four minutes: one look at each at most, where the poll alone would have taken twelve.
    let (looks, lists) = (asked.count("order"), asked.count("open_orders"));
    assert!(looks <= 20 && (10..=14).contains(&lists), "{looks} looks and {lists} lists");
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn what_the_list_does_not_confirm_is_looked_at_and_a_deaf_stream_is_made_anew() {
    let (world, _, executor, channel, ids, _) = resting(4).await;
    world.venue.fill(ids[0], shares("10"), price("0.10"), "CONFIRMED");
    world.venue.fill(ids[1], shares("3"), price("0.10"), "MATCHED");
    world.venue.set_status(ids[2], "CANCELED");
    world
        .until("the list tells", secs(22), || {
            filled(&world, ids[0]) == shares("10")
                && filled(&world, ids[1]) == shares("3")
                && attempt_of(&world, ids[2]).status == OrderStatus::Cancelled
        })
        .await;
    world.until("nobody told of it: the stream is deaf", secs(45), || channel.distrusted() == 1).await;
    world.pass(secs(120)).await;
    assert_eq!(channel.distrusted(), 1, "once, and not again for the same");
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_stream_that_tells_is_not_called_deaf() {
    let (world, _, executor, channel, ids, _) = resting(4).await;
    for id in &ids {
        world.venue.fill(*id, shares("2"), price("0.10"), "CONFIRMED");
        // Just before the list, just after it, and in between.
        world.pass(Duration::from_millis(6_650)).await;
        channel.tell(&world.venue.frame(*id, "UPDATE"));
    }
    world.pass(secs(90)).await;
    assert_eq!(channel.distrusted(), 0);
    assert!(ids.iter().all(|id| filled(&world, *id) == shares("2")));
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_connection_is_listened_to_while_it_has_orders_and_no_longer() {
    let (world, tenant, executor, channel, ids, _) = resting(1).await;
    world.venue.fill(ids[0], shares("10"), price("0.10"), "CONFIRMED");
    channel.tell(&world.venue.frame(ids[0], "UPDATE"));
    world.until("it is over", SOON, || attempt_of(&world, ids[0]).status == OrderStatus::Filled).await;
    world.until("nobody listens", secs(90), || channel.listeners() == 0).await;
    let opened = channel.opened();
    let again = tenant.buy(70, "10", "0.10");
    world.publish(again.clone()).await;
    world.until("somebody listens again", secs(3), || channel.listeners() == 1).await;
    assert_eq!(channel.opened(), opened + 1);
    executor.stop(&world).await;
    world.check();
}

/// Orders that rest, in a world without a stream, and what becomes of the questions about them.
async fn crowd(n: u32, of_resting: Ask) -> (World, Tenant, Executor, Asked) {
    let world = World::new();
    let tenant = world.add(1);
    world.store.put_grant(
        tenant.account,
        execute::core::snapshot::Grant { daily: usdc("5000"), hourly: 10_000, ..common::grant() },
    );
    let (asked, quiet) = (Asked::default(), Arc::new(AtomicUsize::new(0)));
    let executor = {
        let (asked, venue, quiet) = (asked.clone(), world.venue.clone(), quiet.clone());
        world.start_with(move |_, process| {
            process.on_ask(move |name, id| {
                asked.note(name, id);
                let rests = id.is_some_and(|id| venue.orders().get(&id).is_some_and(|o| o.status == "LIVE"));
                let begun = quiet.load(Ordering::SeqCst) > 0;
                if begun && name == "order" && rests { of_resting } else { Ask::Answer }
            });
        })
    };
    for fill in 0..n {
        world.publish(tenant.buy(fill, "10", "0.10")).await;
    }
    let all = || world.store.attempts().iter().filter(|a| a.status == OrderStatus::Open).count();
    world.until("all rest", secs(120), || all() == n as usize).await;
    quiet.store(1, Ordering::SeqCst);
    asked.clear();
    (world, tenant, executor, asked)
}

#[tokio::test]
async fn an_urgent_look_does_not_wait_behind_resting_ones() {
    // A hundred orders rest, and no question about any of them is ever answered.
    let (world, tenant, executor, _) = crowd(100, Ask::Die).await;
    world.pass(secs(60)).await;
    world.venue.script([Post::LandUnheard]);
    *world.venue.otherwise.lock().unwrap() = Post::Delay;
    let lost = tenant.buy(200, "10", "0.20");
    world.publish(lost.clone()).await;
    world.until("nobody knows", SOON, || world.status(key(&lost)) == Some(OrderStatus::Unknown)).await;
    let id = world.attempt(key(&lost)).unwrap().order_id.unwrap();
    world.venue.fill(id, shares("10"), price("0.20"), "CONFIRMED");
    world
        .until("it is found all the same", secs(5), || world.status(key(&lost)) == Some(OrderStatus::Filled))
        .await;
    executor.stop(&world).await;
}

#[tokio::test]
async fn resting_orders_take_no_more_of_the_venue_s_time_than_is_theirs() {
    let (world, _, executor, asked) = crowd(400, Ask::Answer).await;
    let mut most = 0;
    for _ in 0..6 {
        asked.clear();
        world.pass(secs(10)).await;
        most = most.max(asked.count("order"));
    }
    assert!(most <= 220, "{most} questions in ten seconds");
    // And yet all of them are gone over, those that were due longest first.
    let stale = world
        .store
        .attempts()
        .iter()
        .filter(|a| world.clock.now().since(a.synced_at.unwrap()) > secs(60))
        .count();
    assert_eq!(stale, 0);
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn a_trade_that_failed_is_subtracted_and_a_buy_is_not_replaced() {
    let world = World::listening();
    let (tenant, channel) = (world.add(1), world.channel.clone().unwrap());
    let executor = world.start();
    let intent = tenant.buy_now(1, "10", "0.40");
    world.publish(intent.clone()).await;
    world.until("it is matched", SOON, || world.status(key(&intent)) == Some(OrderStatus::Matched)).await;
    channel.tell(&UserEvent::Connected);
    let bought = world.attempt(key(&intent)).unwrap();
    let id = bought.order_id.unwrap();
    world.until("what it bought is held", SOON, || filled(&world, id) == shares("25")).await;
    let held = || {
        world
            .store
            .position(tenant.account, bought.mode, bought.target_id, &bought.asset)
            .map_or(Shares::ZERO, |p| p.held)
    };
    assert_eq!(held(), shares("25"));
    for status in ["MINED", "RETRYING", "FAILED"] {
        world.venue.settle(id, status);
        channel.tell(&world.venue.trade_frame(id));
        world.pass(secs(1)).await;
    }
    let ended = world.attempt(key(&intent)).unwrap();
    assert_eq!((ended.status, ended.reason.as_deref()), (OrderStatus::Cancelled, Some("trade_failed")));
    assert_eq!(
        (ended.filled_shares, ended.filled_usdc, ended.counted(), held()),
        (Shares::ZERO, Usdc::ZERO, Usdc::ZERO, Shares::ZERO)
    );
    world.pass(secs(120)).await;
    assert_eq!((world.venue.posts().len(), world.store.attempts().len()), (1, 1), "a BUY is not replaced");
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn what_was_seen_of_an_older_revision_is_not_taken_for_news() {
    let world = World::new();
    let tenant = world.add(1);
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.until("it rests", SOON, || world.status(key(&intent)) == Some(OrderStatus::Open)).await;
    executor.stop(&world).await;
    let lease = Lease::granted(0, 1, secs(0), secs(0), secs(0), secs(3_600));
    let (desk, _queue) = Desk::new(world.stage(&world.store, &world.venue), lease);
    let open = world.attempt(key(&intent)).unwrap();
    let seen = |status, filled: &str| {
        let filled = shares(filled);
        let fills = Fills {
            shares: filled,
            usdc: price("0.50").cost(filled, schemas::Round::Up).unwrap(),
            confirmed: filled,
            ..Fills::default()
        };
        Event::Seen(Seen { status, matched: filled, fills })
    };
    let full = desk.apply(open.clone(), &seen(ClobOrderStatus::Matched, "10")).await.unwrap();
    assert_eq!(full.status, OrderStatus::Filled);
    // Whoever looked at the same time, and was answered before the fill, comes late: another owner, perhaps.
    world.clock.advance(secs(31));
    for stale in [seen(ClobOrderStatus::Live, "0"), seen(ClobOrderStatus::Canceled, "4"), Event::DidNotLand] {
        desk.apply(open.clone(), &stale).await.unwrap();
        assert_eq!(world.attempt(key(&intent)).unwrap(), full, "{stale:?}");
    }
    let now = world.attempt(key(&intent)).unwrap();
    assert_eq!((now.status, now.filled_shares), (OrderStatus::Filled, shares("10")));
    // What happened is taken in, whatever the row is by now.
    let asked = desk.apply(open, &Event::CancelAsked { cause: "void".into() }).await.unwrap();
    assert_eq!(asked, full, "a final order is not cancelled");
}

#[tokio::test]
async fn that_orders_are_gone_over_is_told() {
    let world = World::new();
    let tenant = world.add(1);
    let executor = world.start();
    let partition = world.partition(&tenant);
    world.pass(secs(30)).await;
    let tick = world.store.tick(partition).unwrap();
    assert!(world.clock.now().since(tick) <= secs(11));
    executor.stop(&world).await;
}

#[tokio::test]
async fn an_answer_that_was_asked_for_too_early_proves_nothing() {
    let world = World::new();
    let tenant = world.add(1);
    *world.venue.otherwise.lock().unwrap() = Post::LostUnheard;
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.until("nobody knows", SOON, || world.status(key(&intent)) == Some(OrderStatus::Unknown)).await;
    // It can land until 691 s after it was made. The question of the last minute before is answered a minute after.
    world.pass(secs(650)).await;
    let (clock, bound) = (world.clock.clone(), world.clock.monotonic() + secs(35));
    let held = Arc::new(AtomicBool::new(false));
    executor.venue.on_ask({
        let held = held.clone();
        move |name, _| {
            let early = name == "order" && clock.monotonic() < bound && !held.swap(true, Ordering::SeqCst);
            if early { Ask::Late } else { Ask::Answer }
        }
    });
    world.until("it is asked for", secs(35), || held.load(Ordering::SeqCst)).await;
    world.pass(secs(80)).await;
    world.venue.late.notify_one();
    world.settle().await;
    assert_eq!(world.status(key(&intent)), Some(OrderStatus::Unknown), "it may have landed in between");
    world
        .until("asked again, it is known", secs(40), || {
            world.status(key(&intent)) == Some(OrderStatus::Rejected)
        })
        .await;
    executor.stop(&world).await;
    world.check();
}

#[tokio::test]
async fn an_order_that_landed_late_and_is_filled_already_is_an_alarm() {
    let world = World::new();
    let tenant = world.add(1);
    world.venue.script([Post::Refuse("order canceled in the CTF exchange contract")]);
    let executor = world.start();
    let intent = tenant.buy(1, "10", "0.50");
    world.publish(intent.clone()).await;
    world.until("it is refused", SOON, || world.status(key(&intent)) == Some(OrderStatus::Rejected)).await;
    let attempt = world.attempt(key(&intent)).unwrap();
    let (id, body) = (attempt.order_id.unwrap(), attempt.body.unwrap().0);
    let creds = common::creds(&common::key_of(1));
    let _ = venue::port::Exchange::post_order(&world.venue, &body, id, &creds, world.clock.now()).await;
    world.venue.fill(id, shares("10"), price("0.50"), "CONFIRMED");
    world.until("it is found", secs(600), || world.status(key(&intent)) == Some(OrderStatus::Filled)).await;
    assert_eq!(executor.board.figures().troubles.get("late_landing"), Some(&1));
    assert_eq!(world.attempt(key(&intent)).unwrap().counted(), usdc("5"), "it takes budget");
    executor.stop(&world).await;
    world.check();
}

/// `n` BUYs, each refused with these words.
async fn refusals(
    world: &World,
    tenant: &Tenant,
    fills: std::ops::Range<u32>,
    words: &'static str,
) -> Vec<Attempt> {
    let mut ended = Vec::new();
    for fill in fills {
        world.venue.script([Post::Refuse(words)]);
        let mut intent = tenant.buy(fill, "10", "0.10");
        intent.send_until = world.clock.now().plus(secs(120));
        world.publish(intent.clone()).await;
        let key = key(&intent);
        world.until("it is gated", SOON, || world.attempt(key).is_some()).await;
        world
            .until("it is looked into", SOON, || {
                let attempt = world.attempt(key).unwrap();
                let told = attempt.reason.as_deref().is_some_and(|reason| reason.contains("the order needs"));
                attempt.status == OrderStatus::Denied || told
            })
            .await;
        ended.push(world.attempt(key).unwrap());
    }
    ended
}

fn pauses(world: &World) -> Vec<schemas::events::ControlState> {
    let contents = world.log.contents();
    contents
        .iter()
        .filter(|(at, _)| at.topic == schemas::topics::Topic::Controls)
        .flat_map(|(_, records)| records)
        .filter_map(|stored| match world.codec.decode(stored.record.value.as_ref().unwrap()).unwrap() {
            schemas::events::ControlsEvent::ControlState(state) => Some(state),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn five_rejections_in_a_row_for_want_of_money_pause_the_tenants_buys() {
    let world = World::new();
    let (tenant, other) = (world.add(1), world.add(2));
    world.venue.set_allowance(50_000);
    let executor = world.start();
    // An empty refusal is looked into too: the exchange may take five cents.
    let ended = refusals(&world, &tenant, 0..4, "").await;
    assert!(ended.iter().all(|a| a.status == OrderStatus::Rejected), "{ended:#?}");
    assert_eq!(
        ended[0].reason.as_deref(),
        Some(
            "other; the order needs 1 USDC; the wallet holds 1000000 USDC of which 0.05 may be taken, and 1000000 shares \
             of which 0.05 may be taken"
        )
    );
    assert_eq!(world.store.pause(tenant.account), None, "four are not five");
    refusals(&world, &tenant, 4..5, "not enough balance / allowance").await;
    world.until("it is told", SOON, || !pauses(&world).is_empty()).await;
    let told = pauses(&world);
    assert_eq!((told.len(), told[0].billing_account_id, told[0].active), (1, Some(tenant.account), true));
    assert!(told[0].reason.contains("not enough allowance"), "{}", told[0].reason);
    let posts = world.venue.posts().len();
    let denied = refusals(&world, &tenant, 5..7, "").await;
    for attempt in &denied {
        assert_eq!(execute::core::gate::denial(attempt), Some(schemas::Denial::TenantPaused));
    }
    assert_eq!(world.venue.posts().len(), posts, "the venue is not hammered");
    // Nobody else's business.
    let theirs = refusals(&world, &other, 20..21, "").await;
    assert_eq!(theirs[0].status, OrderStatus::Rejected);
    // The tenant lifts it: it takes five more to pause it again.
    world.store.lift_pause(tenant.account, world.clock.now());
    world.pass(secs(1)).await;
    let again = refusals(&world, &tenant, 30..34, "").await;
    assert!(again.iter().all(|a| a.status == OrderStatus::Rejected));
    assert!(!world.store.pause(tenant.account).unwrap().active);
    refusals(&world, &tenant, 34..35, "").await;
    world.until("paused once more", SOON, || pauses(&world).len() == 2).await;
    assert_eq!(pauses(&world)[1].revision, 3);
    executor.stop(&world).await;
}

#[tokio::test]
async fn rejections_for_other_causes_or_with_a_good_order_in_between_pause_nothing() {
    let world = World::new();
    let tenant = world.add(1);
    let executor = world.start();
    let ended = refusals(&world, &tenant, 0..6, "the market is not yet ready to process new orders").await;
    assert!(ended.iter().all(|a| a.status == OrderStatus::Rejected));
    let short = |n: std::ops::Range<u32>| refusals(&world, &tenant, n, "not enough balance / allowance");
    short(10..14).await;
    let good = tenant.buy(20, "10", "0.10");
    world.publish(good.clone()).await;
    world.until("a good one rests", SOON, || world.status(key(&good)) == Some(OrderStatus::Open)).await;
    let ended = short(30..34).await;
    assert!(ended.iter().all(|a| a.status == OrderStatus::Rejected), "{:#?}", world.summary());
    assert_eq!(world.store.pause(tenant.account), None);
    executor.stop(&world).await;
}

#[tokio::test]
async fn a_rejection_that_could_not_be_looked_into_is_looked_into_later() {
    let world = World::new();
    let tenant = world.add(1);
    world.venue.script([Post::Refuse("not enough balance / allowance")]);
    let deaf = Arc::new(AtomicBool::new(true));
    let executor = {
        let deaf = deaf.clone();
        world.start_with(move |_, venue| {
            venue.on_ask(move |name, _| {
                if name == "balance" && deaf.load(Ordering::SeqCst) { Ask::NoAnswer } else { Ask::Answer }
            });
        })
    };
    let intent = tenant.buy(1, "10", "0.10");
    world.publish(intent.clone()).await;
    world.until("it is refused", SOON, || world.status(key(&intent)) == Some(OrderStatus::Rejected)).await;
    world.pass(secs(5)).await;
    executor.stop(&world).await;
    // Also by whoever comes after.
    deaf.store(false, Ordering::SeqCst);
    let executor = world.start();
    world
        .until("it is looked into", secs(60), || {
            world.attempt(key(&intent)).unwrap().reason.unwrap().contains("the order needs")
        })
        .await;
    executor.stop(&world).await;
    world.check();
}
