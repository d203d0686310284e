//! Orders on paper through the whole stage, under virtual time: filled against the book that was recorded when they were
//! decided, and against nothing else; and nothing leaves the process (design.md, Modes).
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
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{START, Tenant, asset, price, shares, usdc, venue::Ask, world::World};
use execute::{
    core::{
        Attempt,
        close::{Due, End},
        snapshot::Target,
    },
    store::{PaperLedger, SealedConnection, memory::Fate},
};
use schemas::{
    IdempotencyKey, Mode, OrderStatus, OrderType, Shares, Side,
    events::{BookLevel, BookSnapshot, CloseIntent, PlaceIntent},
};

const SOON: Duration = Duration::from_secs(20);

/// A book of the first token of market 1.
fn book(bids: &[(&str, &str)], asks: &[(&str, &str)]) -> BookSnapshot {
    let levels = |of: &[(&str, &str)]| {
        of.iter().map(|(at, size)| BookLevel { price: price(at), shares: shares(size) }).collect()
    };
    BookSnapshot { asset: asset(1, 1), as_of: START, bids: levels(bids), asks: levels(asks) }
}

fn buy(tenant: &Tenant, fill: u32, size: &str, limit: &str, book: Option<BookSnapshot>) -> PlaceIntent {
    let mut buy = PlaceIntent { book, ..tenant.buy(fill, size, limit) };
    buy.head.mode = Mode::Paper;
    buy
}

/// Dollars up to a limit, at once or not at all.
fn buy_now(tenant: &Tenant, fill: u32, dollars: &str, limit: &str, book: BookSnapshot) -> PlaceIntent {
    let mut buy = PlaceIntent { book: Some(book), ..tenant.buy_now(fill, dollars, limit) };
    buy.head.mode = Mode::Paper;
    buy
}

/// A sale of everything.
fn close(tenant: &Tenant, fill: u32, sale: &str, book: Option<BookSnapshot>) -> CloseIntent {
    let mut close = CloseIntent { book, ..tenant.close(fill, 1, 1, sale) };
    close.head.mode = Mode::Paper;
    close
}

/// A world with a tenant whose targets are on paper, and whose wallet nobody has looked at.
fn world() -> (World, Tenant) {
    let world = World::new();
    let tenant = world.add(1);
    for leader in 1..=9 {
        let (id, target) = tenant.target(leader);
        world.store.put_target(tenant.account, id, Target { mode: Mode::Paper, ..target });
    }
    let mut connection = tenant.connection.clone();
    connection.approved = false;
    world.store.put_connection(SealedConnection {
        billing_account_id: tenant.account,
        signing_key: common::sealed_key(1, connection.id),
        connection,
        api_credentials: None,
    });
    (world, tenant)
}

/// Publishes a BUY and waits until it stands so.
async fn placed(world: &World, buy: PlaceIntent, status: OrderStatus) -> Attempt {
    let key = buy.head.idempotency_key;
    world.publish(buy).await;
    world.until("it stands", SOON, || world.status(key) == Some(status)).await;
    world.attempt(key).unwrap()
}

fn attempts(world: &World, key: IdempotencyKey) -> Vec<Attempt> {
    world.store.attempts().into_iter().filter(|a| a.idempotency_key == key).collect()
}

fn dues(world: &World) -> Vec<Due> {
    world.store.closes().into_iter().flat_map(|c| c.dues).collect()
}

fn held(world: &World, tenant: &Tenant) -> Shares {
    let head = tenant.head(1, 1, 1, Side::Buy, 1);
    let position = world.store.position(tenant.account, Mode::Paper, head.target_id, &head.asset);
    position.map_or(Shares::ZERO, |p| p.held)
}

/// No byte of it left, and what was told is what stands.
fn nothing_left_the_process(world: &World) {
    assert!(world.venue.posts().is_empty());
    assert!(world.venue.cancels().is_empty());
    world.check();
}

#[tokio::test]
async fn a_limit_order_takes_what_was_offered_within_its_limit_pays_the_fee_and_lapses_with_the_rest() {
    let (world, tenant) = world();
    let _executor = world.start();
    let asks = book(&[("0.38", "50")], &[("0.40", "3"), ("0.41", "4"), ("0.43", "100")]);
    let mut order = buy(&tenant, 1, "10", "0.42", Some(asks));
    order.facts.fee_rate = 70_000;
    let order = placed(&world, order, OrderStatus::PartiallyFilled).await;
    // 3 x 0.40 + 4 x 0.41; the fee 0.07 x shares x price x (1 - price), each trade rounded to 10^-5 (venue.md 5.6).
    assert_eq!((order.filled_shares, order.filled_usdc), (shares("7"), usdc("2.84")));
    assert_eq!(order.fees_usdc, usdc("0.11813"));
    assert_eq!(order.confirmed_shares, shares("7"), "paper trades are final at once");
    let key = order.idempotency_key;
    let lapsed = || world.status(key) == Some(OrderStatus::Expired);
    world.until("it lapses", Duration::from_secs(700), lapsed).await;
    assert_eq!(world.attempt(key).unwrap().filled_shares, shares("7"));
    assert_eq!(held(&world, &tenant), shares("7"));
    nothing_left_the_process(&world);
}

#[tokio::test]
async fn a_market_order_gets_more_shares_where_the_price_is_better_and_nothing_where_nothing_is_offered() {
    let (world, tenant) = world();
    let _executor = world.start();
    // $2.00 at 0.50 would be 4 shares; at 0.40 it is 5.
    let order = buy_now(&tenant, 1, "2", "0.50", book(&[], &[("0.40", "100")]));
    let order = placed(&world, order, OrderStatus::Filled).await;
    assert_eq!((order.filled_shares, order.filled_usdc), (shares("5"), usdc("2")));
    let order = buy_now(&tenant, 2, "2", "0.50", book(&[], &[("0.51", "100")]));
    let order = placed(&world, order, OrderStatus::Cancelled).await;
    assert!(!order.filled_shares.is_positive());
    let part = buy_now(&tenant, 3, "2", "0.50", book(&[], &[("0.40", "1.5")]));
    let part = placed(&world, part, OrderStatus::Cancelled).await;
    assert_eq!((part.filled_shares, part.reason.as_deref()), (shares("1.5"), Some("rest_killed")));
    nothing_left_the_process(&world);
}

#[tokio::test]
async fn a_buy_without_a_recorded_book_rests_unfilled_and_goes_when_it_is_cancelled() {
    let (world, tenant) = world();
    let _executor = world.start();
    let order = placed(&world, buy(&tenant, 1, "10", "0.42", None), OrderStatus::Open).await;
    let mut cancel = tenant.cancel(2, &tenant.head(1, 1, 1, Side::Buy, 1));
    cancel.head.mode = Mode::Paper;
    world.publish(cancel).await;
    let gone = || world.status(order.idempotency_key) == Some(OrderStatus::Cancelled);
    world.until("it is cancelled", SOON, gone).await;
    assert_eq!(world.attempt(order.idempotency_key).unwrap().reason.as_deref(), Some("void"));
    nothing_left_the_process(&world);
}

#[tokio::test]
async fn a_close_sells_into_the_recorded_book_and_goes_on_in_the_book_of_each_later_step() {
    let (world, tenant) = world();
    let _executor = world.start();
    placed(&world, buy_now(&tenant, 1, "4", "0.40", book(&[], &[("0.40", "100")])), OrderStatus::Filled)
        .await;
    assert_eq!(held(&world, &tenant), shares("10"));
    // Five are bid for when it is decided; five more half a minute later.
    let sale = close(&tenant, 2, "0.50", Some(book(&[("0.50", "5"), ("0.30", "100")], &[])));
    let key = sale.head.idempotency_key;
    world.venue.set_bid(price("0.49"));
    world.publish(sale).await;
    let sold = || dues(&world).iter().all(|d| d.ended == Some(End::Filled)) && !dues(&world).is_empty();
    world.until("it is sold", Duration::from_secs(90), sold).await;
    let sales: Vec<_> =
        attempts(&world, key).iter().map(|a| (a.filled_shares, a.filled_usdc, a.order_type)).collect();
    let fak = Some(OrderType::Fak);
    assert_eq!(sales, [(shares("5"), usdc("2.5"), fak), (shares("5"), usdc("2.45"), fak)]);
    assert!(!held(&world, &tenant).is_positive());
    nothing_left_the_process(&world);
    // $10,000 less what it cost, and what it brought.
    let cash = world.store.paper_cash(tenant.connection.address).await.unwrap();
    assert_eq!(cash, usdc("0.95"));
    let left = world.store.paper_shares(tenant.connection.address, &asset(1, 1)).await.unwrap();
    assert!(!left.is_positive());
}

#[tokio::test]
async fn a_close_that_came_without_a_book_waits_for_one() {
    let (world, tenant) = world();
    let executor = world.start();
    placed(&world, buy_now(&tenant, 1, "2", "0.40", book(&[], &[("0.40", "100")])), OrderStatus::Filled)
        .await;
    let sale = close(&tenant, 2, "0.50", None);
    let key = sale.head.idempotency_key;
    // The book cannot be read at first.
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    world.venue.set_bid(price("0.50"));
    executor.venue.on_ask(move |what, _| {
        let first = what == "book" && count.fetch_add(1, Ordering::SeqCst) < 2;
        if first { Ask::NoAnswer } else { Ask::Answer }
    });
    world.publish(sale).await;
    let sold = || attempts(&world, key).iter().any(|a| a.filled_shares == shares("5"));
    world.until("it is sold", Duration::from_secs(60), sold).await;
    assert!(asked.load(Ordering::SeqCst) > 2);
    assert_eq!(attempts(&world, key).len(), 1, "nothing was tried against no book");
}

#[tokio::test]
async fn a_death_between_the_answer_and_its_record_fills_the_order_once() {
    for fate in [Fate::DiesBefore, Fate::DiesAfter, Fate::LostBefore, Fate::LostAfter] {
        let (world, tenant) = world();
        let executor = world.start_with(|store, _| {
            let records = AtomicU32::new(0);
            store.on_call(Some(Arc::new(move |call| match call {
                "record" if records.fetch_add(1, Ordering::SeqCst) == 0 => fate,
                _ => Fate::Fine,
            })));
        });
        let order = buy(&tenant, 1, "10", "0.42", Some(book(&[], &[("0.40", "7")])));
        let key = order.head.idempotency_key;
        world.publish(order).await;
        world.pass(Duration::from_secs(2)).await;
        executor.kill().await;
        let _next = world.start();
        let known = || world.status(key) == Some(OrderStatus::PartiallyFilled);
        world.until("it is found again", Duration::from_secs(60), known).await;
        assert_eq!(held(&world, &tenant), shares("7"), "{fate:?}");
        assert_eq!(world.store.attempts().len(), 1);
        nothing_left_the_process(&world);
    }
}

#[tokio::test]
async fn a_ledger_that_does_not_answer_is_asked_again() {
    let (world, tenant) = world();
    let _executor = world.start_with(|store, _| {
        let asked = AtomicU32::new(0);
        store.on_call(Some(Arc::new(move |call| match call {
            "paper_attempt" if asked.fetch_add(1, Ordering::SeqCst) < 3 => Fate::LostAfter,
            _ => Fate::Fine,
        })));
    });
    let order = buy(&tenant, 1, "10", "0.42", Some(book(&[], &[("0.40", "100")])));
    let order = placed(&world, order, OrderStatus::Filled).await;
    assert_eq!((order.filled_shares, order.attempt), (shares("10"), 0));
    let doubted = world.events().iter().any(|e| e.status == OrderStatus::Unknown);
    assert!(!doubted, "reading the ledger leaves nothing in doubt");
    nothing_left_the_process(&world);
}

#[tokio::test]
async fn what_is_left_of_an_outage_expires_on_paper_too() {
    let (world, tenant) = world();
    let executor = world.start_with(|store, _| {
        store.on_call(Some(Arc::new(|call| match call {
            "paper_attempt" => Fate::DiesBefore,
            _ => Fate::Fine,
        })));
    });
    let order = buy(&tenant, 1, "10", "0.42", Some(book(&[], &[("0.40", "100")])));
    let key = order.head.idempotency_key;
    world.publish(order).await;
    world.until("it is committed", SOON, || world.attempt(key).is_some()).await;
    executor.kill().await;
    // Longer than a fill is young, and than its order lives.
    world.clock.advance(Duration::from_secs(1_200));
    let _next = world.start();
    let ended = || world.attempt(key).is_some_and(|a| a.is_final);
    world.until("it ends", Duration::from_secs(60), ended).await;
    assert!(!world.attempt(key).unwrap().filled_shares.is_positive());
    assert!(!held(&world, &tenant).is_positive());
}

#[tokio::test]
async fn what_paper_allows_says_nothing_about_money() {
    let (world, tenant) = world();
    world.venue.set_allowance(0);
    let _executor = world.start();
    placed(&world, buy_now(&tenant, 1, "2", "0.40", book(&[], &[("0.40", "100")])), OrderStatus::Filled)
        .await;
    // The same wallet, for real: its approvals are looked at, and are not there.
    let (id, target) = tenant.target(2);
    world.store.put_target(tenant.account, id, Target { mode: Mode::Simulated, ..target });
    let real = tenant.buy_of(2, 2, 1, 7, "10", "0.40");
    let key = real.head.idempotency_key;
    world.publish(real).await;
    world.until("it is denied", SOON, || world.status(key) == Some(OrderStatus::Denied)).await;
    assert_eq!(world.attempt(key).unwrap().reason.as_deref(), Some("trading_not_ready"));
    nothing_left_the_process(&world);
}
