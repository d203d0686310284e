//! Closes through the whole stage, over log, ledger and venue in memory, under virtual time (behaviour.md 4).
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
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{
    Tenant,
    crash::{Story, crash_everywhere, lose_everywhere},
    price, shares, usdc,
    venue::{Ask, Post},
    world::World,
};
use execute::{
    core::{
        Attempt,
        close::{Due, End, Note},
        gate::denial,
    },
    store::memory::Fate,
};
use runtime::Clock;
use schemas::{
    AssetId, ControlKind, Denial, FillId, IdempotencyKey, Mode, OrderStatus, OrderType, Shares, Side,
    events::{CancelIntent, CloseIntent, MigrateIntent},
};

const SOON: Duration = Duration::from_secs(20);
const NOTHING_TO_TAKE: Post = Post::Refuse(
    "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found.",
);

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A world with one tenant, who bought 25 shares at 0.40.
async fn holding() -> (World, Tenant, common::world::Executor) {
    let world = World::new();
    let tenant = world.add(1);
    let executor = world.start();
    bought(&world, &tenant, 1).await;
    (world, tenant, executor)
}

async fn bought(world: &World, tenant: &Tenant, fill: u32) {
    let buy = tenant.buy_now(fill, "10", "0.40");
    let key = buy.head.idempotency_key;
    world.publish(buy).await;
    let filled = || world.attempt(key).is_some_and(|a| a.filled_shares == shares("25"));
    world.until("it is bought", SOON, filled).await;
    world.venue.settle(world.attempt(key).unwrap().order_id.unwrap(), "CONFIRMED");
    world.until("it is settled", SOON, || world.status(key) == Some(OrderStatus::Filled)).await;
}

fn key(close: &CloseIntent) -> IdempotencyKey {
    close.head.idempotency_key
}

/// The attempts under a close's key, by number.
fn attempts(world: &World, close: &CloseIntent) -> Vec<Attempt> {
    world.store.attempts().into_iter().filter(|a| a.idempotency_key == key(close)).collect()
}

fn sold(world: &World) -> Shares {
    world.store.attempts().iter().filter(|a| a.side == Side::Sell).map(|a| a.filled_shares).sum()
}

fn dues(world: &World) -> Vec<Due> {
    world.store.closes().into_iter().flat_map(|c| c.dues).collect()
}

fn held(world: &World, tenant: &Tenant) -> Shares {
    let head = tenant.head(1, 1, 1, Side::Buy, 1);
    let position = world.store.position(tenant.account, Mode::Simulated, head.target_id, &head.asset);
    position.map_or(Shares::ZERO, |p| p.held)
}

/// A close with a cause in place of a fill, as decide writes it: without facts and, mostly, without a price.
fn caused(tenant: &Tenant, cause: &str) -> CloseIntent {
    let mut close = tenant.close(900, 1, 1, "0.50");
    let head = &mut close.head;
    let fill_id: FillId = cause.parse().unwrap();
    head.idempotency_key = IdempotencyKey::of(head.target_id, &fill_id);
    (head.fill_id, head.tx) = (fill_id, None);
    close.facts = None;
    close.sale_price = None;
    close
}

/// Every intent ends in at least one event of its own key, and every end is told.
fn all_is_told(world: &World) -> bool {
    let events = world.events();
    world.store.waiting() == (0, 0)
        && dues(world)
            .iter()
            .all(|d| d.ended.is_some() && events.iter().any(|e| e.idempotency_key == d.idempotency_key))
}

/// The venue settles what it matched, as time goes by.
fn settle(world: &World) {
    for (id, order) in world.venue.orders() {
        if order.trades.iter().any(|t| t.status == "MATCHED") {
            world.venue.settle(id, "CONFIRMED");
        }
    }
}

/// Everything that was due has ended, and is told.
async fn ends(world: &World, what: &str, within: Duration) {
    world
        .until(what, within, || {
            settle(world);
            all_is_told(world)
        })
        .await;
}

/// Invariant 1 for closes: what was sold is what dues were allotted, and no due sold more than it was.
fn check(world: &World) {
    world.check();
    let dues = dues(world);
    assert!(dues.iter().all(|d| d.filled() <= d.shares), "{dues:#?}");
    assert_eq!(dues.iter().map(Due::filled).sum::<Shares>(), sold(world), "{dues:#?}");
    for sell in world.store.attempts().iter().filter(|a| a.side == Side::Sell) {
        let allotted: Shares = dues
            .iter()
            .flat_map(|d| &d.sold)
            .filter(|s| s.key == sell.idempotency_key && s.attempt == sell.attempt)
            .map(|s| s.shares)
            .sum();
        assert_eq!(allotted, sell.filled_shares);
    }
}

#[tokio::test]
async fn every_cause_of_a_close_sells_through_the_same_machine() {
    let tx = format!("0x{}", "ab".repeat(32));
    for cause in [
        "exit:take_profit:1001:7",
        "exit:stop_loss:1001:7",
        "exit:sell_winners_at:1001:7",
        "manual:request-1:1001",
        "removed:00000000-0000-0000-0000-000000000001:2:1001",
        &format!("data-api:{tx}:1001:MERGE:1790000000"),
    ] {
        let (world, tenant, executor) = holding().await;
        let close = caused(&tenant, cause);
        world.publish(close.clone()).await;
        world.pass(secs(5)).await;
        assert!(attempts(&world, &close).is_empty(), "{cause}: nobody knows the market");
        world.venue.know_market();
        world.pass(secs(5)).await;
        assert!(attempts(&world, &close).is_empty(), "{cause}: nobody bids");
        world.venue.set_bid(price("0.60"));
        world.until(cause, SOON, || sold(&world) == shares("25")).await;
        let attempt = attempts(&world, &close).remove(0);
        assert_eq!((attempt.limit_price, attempt.fill_id.as_str()), (price("0.57"), cause));
        ends(&world, "all of it is told", SOON).await;
        executor.stop(&world).await;
        check(&world);
    }
}

#[tokio::test]
async fn a_sale_goes_out_with_its_intent() {
    let (world, tenant, executor) = holding().await;
    let begin = world.clock.now();
    let close = tenant.close(2, 3, 5, "0.50");
    world.publish(close.clone()).await;
    world.until("it is sold", SOON, || sold(&world) == shares("15")).await;
    let attempt = attempts(&world, &close).remove(0);
    assert!(attempt.created_at.since(begin) < secs(1), "nothing is waited for");
    assert_eq!(held(&world, &tenant), shares("10"));
    executor.stop(&world).await;
    check(&world);
}

#[tokio::test]
async fn an_exit_that_finds_nobody_widens_rests_at_its_floor_and_says_so() {
    let (world, tenant, executor) = holding().await;
    world.venue.script(vec![NOTHING_TO_TAKE; 5]);
    let close = tenant.close(2, 1, 1, "0.50");
    world.publish(close.clone()).await;
    world
        .until("it rests", secs(300), || {
            attempts(&world, &close).last().is_some_and(|a| a.status == OrderStatus::Open)
        })
        .await;
    let all = attempts(&world, &close);
    let limits: Vec<_> = all.iter().map(|a| a.limit_price.to_string()).collect();
    assert_eq!(limits, ["0.47", "0.45", "0.42", "0.4", "0.37", "0.35"]);
    for pair in all.windows(2) {
        assert!(pair[0].is_final && pair[0].changed_at <= pair[1].created_at, "one after another");
        let between = pair[1].created_at.since(all[0].created_at);
        assert!(between >= STEP * u32::try_from(pair[1].attempt).unwrap(), "{between:?}");
    }
    let rests = all.last().unwrap();
    assert_eq!((rests.order_type, rests.note), (Some(OrderType::Gtd), Some(Note::ExitFloor)));
    assert!(executor.board.figures().troubles.contains_key("exit_at_floor"));
    world
        .until("it is told", SOON, || world.events().iter().any(|e| e.note.as_deref() == Some("exit_floor")))
        .await;
    // Somebody buys in the end.
    world.venue.fill(rests.order_id.unwrap(), shares("25"), price("0.35"), "CONFIRMED");
    ends(&world, "it is sold", SOON).await;
    assert_eq!(held(&world, &tenant), Shares::ZERO);
    executor.stop(&world).await;
    check(&world);
}

const STEP: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_new_sale_of_the_leader_cancels_what_rests_and_sells_at_its_own_price() {
    let (world, tenant, executor) = holding().await;
    world.venue.script(vec![NOTHING_TO_TAKE; 5]);
    let first = tenant.close(2, 2, 5, "0.50");
    world.publish(first.clone()).await;
    let rests = || attempts(&world, &first).last().filter(|a| a.status == OrderStatus::Open).cloned();
    world.until("it rests", secs(300), || rests().is_some()).await;
    let resting = rests().unwrap();
    world.venue.fill(resting.order_id.unwrap(), shares("3"), price("0.35"), "CONFIRMED");
    let second = tenant.close(3, 1, 1, "0.60");
    world.publish(second.clone()).await;
    ends(&world, "all is sold", secs(60)).await;
    assert_eq!(world.venue.cancels(), [resting.order_id.unwrap()]);
    let last = attempts(&world, &first).pop().unwrap();
    assert_eq!((last.limit_price, last.shares), (price("0.57"), shares("22")));
    // The younger one had no attempt of its own: its row names who sold for it.
    let told = attempts(&world, &second).pop().unwrap();
    assert_eq!((told.status, told.note), (OrderStatus::Filled, Some(Note::SoldBy(key(&first)))));
    assert_eq!(told.filled_shares, Shares::ZERO);
    executor.stop(&world).await;
    check(&world);
}

#[tokio::test]
async fn a_whole_exit_cancels_the_buys_and_sells_what_they_fill_after_all() {
    let (world, tenant, executor) = holding().await;
    let buy = tenant.buy(2, "10", "0.30");
    let bought = buy.head.idempotency_key;
    world.publish(buy).await;
    world.until("it rests", SOON, || world.status(bought) == Some(OrderStatus::Open)).await;
    let id = world.attempt(bought).unwrap().order_id.unwrap();
    // It is filled before the cancel arrives: "already matched" is a fill.
    world.venue.fill(id, shares("10"), price("0.30"), "CONFIRMED");
    let close = tenant.close(3, 1, 1, "0.50");
    world.publish(close.clone()).await;
    ends(&world, "all is sold", secs(90)).await;
    let sizes: Vec<_> = attempts(&world, &close).iter().map(|a| a.filled_shares).collect();
    assert_eq!(sold(&world), shares("35"), "{sizes:?}");
    assert_eq!(held(&world, &tenant), Shares::ZERO);
    executor.stop(&world).await;
    check(&world);
}

#[tokio::test]
async fn a_buy_of_which_nobody_knows_is_resolved_before_its_part_is_sold() {
    let (world, tenant, executor) = holding().await;
    world.venue.script([Post::LandUnheard]);
    let deaf = Arc::new(AtomicBool::new(true));
    executor.venue.on_ask({
        let deaf = deaf.clone();
        move |name, _| {
            if name == "order" && deaf.load(Ordering::SeqCst) { Ask::NoAnswer } else { Ask::Answer }
        }
    });
    let buy = tenant.buy(2, "10", "0.30");
    let bought = buy.head.idempotency_key;
    world.publish(buy).await;
    world.until("nobody knows", SOON, || world.status(bought) == Some(OrderStatus::Unknown)).await;
    let close = tenant.close(3, 1, 1, "0.50");
    world.publish(close.clone()).await;
    world
        .until("what is held is offered", SOON, || {
            !world.venue.posts().is_empty() && attempts(&world, &close).len() == 1
        })
        .await;
    world.pass(secs(40)).await;
    assert_eq!(attempts(&world, &close).len(), 1);
    let id = world.attempt(bought).unwrap().order_id.unwrap();
    world.venue.fill(id, shares("4"), price("0.30"), "CONFIRMED");
    deaf.store(false, Ordering::SeqCst);
    ends(&world, "all is sold", secs(200)).await;
    assert_eq!((sold(&world), held(&world, &tenant)), (shares("29"), Shares::ZERO));
    executor.stop(&world).await;
    check(&world);
}

#[tokio::test]
async fn a_void_close_waits_for_its_order_and_sells_what_that_filled() {
    let (world, tenant, executor) = holding().await;
    let buy = tenant.buy(2, "10", "0.30");
    let head = buy.head.clone();
    world.publish(buy).await;
    world.until("it rests", SOON, || world.status(head.idempotency_key) == Some(OrderStatus::Open)).await;
    let id = world.attempt(head.idempotency_key).unwrap().order_id.unwrap();
    world.venue.fill(id, shares("6"), price("0.30"), "CONFIRMED");
    // As decide writes it while the order is open: the part of what is held is not known, and not what counts.
    let mut close = caused(&tenant, &format!("void:{}", head.fill_id));
    (close.fraction_num, close.fraction_den, close.flat) = (0, 1, true);
    world
        .publish(CancelIntent {
            head: close.head.clone(),
            cancels: head.idempotency_key,
            cause: "void".into(),
        })
        .await;
    world.publish(close.clone()).await;
    world.venue.know_market();
    world.venue.set_bid(price("0.40"));
    ends(&world, "it is sold", secs(60)).await;
    assert_eq!((sold(&world), held(&world, &tenant)), (shares("6"), shares("25")));
    executor.stop(&world).await;
    check(&world);
}

#[tokio::test]
async fn a_removed_target_that_keeps_its_positions_sells_nothing_more() {
    let (world, tenant, executor) = holding().await;
    *world.venue.otherwise.lock().unwrap() = NOTHING_TO_TAKE;
    let close = tenant.close(2, 1, 1, "0.50");
    world.publish(close.clone()).await;
    world.until("one attempt ended", SOON, || attempts(&world, &close).iter().any(|a| a.is_final)).await;
    let mut head = close.head.clone();
    head.fill_id = "removed:00000000-0000-0000-0000-000000000001:2:1001".parse().unwrap();
    world.publish(CancelIntent { head, cancels: key(&close), cause: "removed".into() }).await;
    ends(&world, "it is dropped", SOON).await;
    world.pass(secs(120)).await;
    let all = attempts(&world, &close);
    assert_eq!(all.iter().map(|a| a.attempt).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((all[1].status, all[1].reason.as_deref()), (OrderStatus::Cancelled, Some("removed")));
    assert_eq!((world.venue.posts().len(), held(&world, &tenant)), (2, shares("25")), "the BUY and one SELL");
    executor.stop(&world).await;
    check(&world);
}

#[tokio::test]
async fn small_sales_gather_and_go_together() {
    let (world, tenant, executor) = holding().await;
    let closes: Vec<_> = (0..3).map(|n| tenant.close(10 + n, 1, 25, "0.40")).collect();
    for close in &closes[..2] {
        world.publish(close.clone()).await;
    }
    world.pass(secs(60)).await;
    assert_eq!(world.venue.posts().len(), 1, "80 cents are due");
    let straight = executor.board.figures().latency["sent"];
    world.publish(closes[2].clone()).await;
    ends(&world, "they are sold", SOON).await;
    assert_eq!(executor.board.figures().latency["sent"], straight, "what gathered is not counted as slow");
    assert_eq!(world.venue.posts().len(), 2);
    assert_eq!(dues(&world).iter().map(|d| d.ended).collect::<Vec<_>>(), [Some(End::Filled); 3]);
    // 1 of 25, of 24 and of 23, each a twenty-fifth: to the step of sizes.
    assert_eq!(sold(&world), shares("2.88"));
    executor.stop(&world).await;
    check(&world);
}

#[tokio::test]
async fn a_halted_close_is_told_once_and_goes_when_it_may() {
    let (world, tenant, executor) = holding().await;
    world.store.put_switch(Some(tenant.account), ControlKind::Halt, true);
    let close = tenant.close(2, 1, 1, "0.50");
    world.publish(close.clone()).await;
    world.pass(secs(200)).await;
    let denied = attempts(&world, &close);
    assert_eq!(denied.iter().map(denial).collect::<Vec<_>>(), [Some(Denial::Halted)]);
    world.store.put_switch(Some(tenant.account), ControlKind::Halt, false);
    // A pause is no halt.
    world.store.put_switch(None, ControlKind::Pause, true);
    world.until("it is sold", secs(31), || sold(&world) == shares("25")).await;
    executor.stop(&world).await;
    check(&world);
}

#[tokio::test]
async fn shares_that_left_the_wallet_end_a_close_after_two_looks() {
    let (world, tenant, executor) = holding().await;
    *world.venue.otherwise.lock().unwrap() = Post::Refuse("not enough balance / allowance");
    world.venue.set_shares(Shares::ZERO);
    let close = tenant.close(2, 1, 1, "0.50");
    let begin = world.clock.now();
    world.publish(close.clone()).await;
    ends(&world, "it is told", secs(200)).await;
    assert!(world.clock.now().since(begin) >= secs(60));
    assert_eq!(dues(&world)[0].ended, Some(End::ExternalClose));
    let last = attempts(&world, &close).pop().unwrap();
    assert_eq!((last.status, last.reason.as_deref()), (OrderStatus::Cancelled, Some("external_close")));
    executor.stop(&world).await;
    check(&world);
}

#[tokio::test]
async fn a_resolved_market_ends_a_close() {
    let (world, tenant, executor) = holding().await;
    *world.venue.otherwise.lock().unwrap() =
        Post::Refuse("the market is not yet ready to process new orders");
    let close = tenant.close(2, 1, 1, "0.50");
    world.publish(close.clone()).await;
    world
        .until("it is refused", SOON, || {
            attempts(&world, &close).iter().any(|a| a.status == OrderStatus::Rejected)
        })
        .await;
    world.venue.resolve(&[1_000_000, 0]);
    ends(&world, "it is told", secs(90)).await;
    assert_eq!(dues(&world)[0].ended, Some(End::MarketEnded));
    let posts = world.venue.posts().len();
    world.pass(secs(300)).await;
    assert_eq!(world.venue.posts().len(), posts);
    executor.stop(&world).await;
    check(&world);
}

#[tokio::test]
async fn what_migrates_is_sold_as_far_as_our_own_wallet_has_moved() {
    let (world, tenant, executor) = holding().await;
    let new: AssetId = "7001".parse().unwrap();
    let head = tenant.head(1, 1, 1, Side::Sell, 700);
    let lies = |old: &str, there: &str| {
        world.venue.set_held(head.asset.clone(), shares(old));
        world.venue.set_held(new.clone(), shares(there));
    };
    lies("25", "0");
    world.venue.know_market();
    world.venue.migrate_market();
    world.venue.set_bid(price("0.50"));
    // A sale that was decided before its market went on, under the id that nobody trades any more.
    world.venue.script([Post::Refuse("order_version_mismatch")]);
    let first = tenant.close(2, 2, 5, "0.50");
    world.publish(first.clone()).await;
    let refused = || attempts(&world, &first).last().is_some_and(|a| a.status == OrderStatus::Rejected);
    world.until("it is refused", SOON, refused).await;
    let posts = world.venue.posts().len();
    // The wallet lacks what is sold, under the one id that is known: it is not missing, it is called otherwise.
    lies("0", "25");
    world.pass(secs(300)).await;
    assert_eq!((dues(&world)[0].ended, world.venue.posts().len()), (None, posts));
    // The leader's wallet has moved, ours has not.
    lies("25", "0");
    world.publish(MigrateIntent { head: head.clone(), becomes: new.clone() }).await;
    let mut second = tenant.close(3, 1, 1, "0.50");
    second.head.asset = new.clone();
    second.facts = None;
    world.publish(second.clone()).await;
    world.pass(secs(300)).await;
    assert_eq!(world.venue.posts().len(), posts);
    assert!(dues(&world).iter().all(|d| d.ended.is_none()));
    lies("15", "10");
    world.until("what has moved is sold", secs(90), || sold(&world) == shares("10")).await;
    lies("0", "15");
    ends(&world, "all of it is sold", secs(90)).await;
    assert_eq!(sold(&world), shares("25"));
    let ids: Vec<AssetId> = world
        .store
        .attempts()
        .into_iter()
        .filter(|a| a.side == Side::Sell && a.filled_shares.is_positive())
        .map(|a| a.asset)
        .collect();
    assert!(ids.len() >= 2 && ids.iter().all(|id| *id == new), "{ids:?}");
    executor.stop(&world).await;
    check(&world);
}

#[tokio::test]
async fn a_resolution_alone_ends_a_close_that_rests_and_one_that_gathers() {
    let (world, tenant, executor) = holding().await;
    // A quarter of a dollar gathers, and is tried for nothing.
    let small = tenant.close(2, 1, 50, "0.50");
    world.publish(small.clone()).await;
    world.until("it is due", SOON, || dues(&world).len() == 1).await;
    world.pass(secs(600)).await;
    assert!(attempts(&world, &small).is_empty());
    world.venue.resolve(&[0, 1_000_000]);
    ends(&world, "its end is told", secs(600)).await;
    assert_eq!(dues(&world)[0].ended, Some(End::MarketEnded));
    // The venue refuses nothing, and takes nothing off by itself.
    world.venue.resolve(&[]);
    world.venue.script(vec![NOTHING_TO_TAKE; 5]);
    let close = tenant.close(3, 1, 1, "0.50");
    world.publish(close.clone()).await;
    let rests = || attempts(&world, &close).last().is_some_and(|a| a.status == OrderStatus::Open);
    world.until("it rests", secs(300), rests).await;
    world.venue.resolve(&[0, 1_000_000]);
    ends(&world, "its end is told", secs(400)).await;
    assert!(dues(&world).iter().all(|d| d.ended == Some(End::MarketEnded)));
    let last = attempts(&world, &close).pop().unwrap();
    assert_eq!((last.status, last.reason.as_deref()), (OrderStatus::Cancelled, Some("market_ended")));
    assert_eq!(world.venue.cancels().len(), 1);
    executor.stop(&world).await;
    check(&world);
}

/// A BUY that is there, one that rests, a part sold, an amendment, and then everything.
struct Closing(Tenant);

impl Story for Closing {
    const PATIENCE: Duration = secs(2_400);
    const UNTOUCHED: Duration = secs(2_400);

    async fn tell(world: &World) -> Self {
        let tenant = world.add(1);
        world.venue.script([Post::Land, Post::Land, Post::LandUnheard, Post::LostUnheard, NOTHING_TO_TAKE]);
        world.publish(tenant.buy_now(1, "10", "0.40")).await;
        world.publish(tenant.buy(2, "10", "0.30")).await;
        world.publish(tenant.close(3, 1, 4, "0.50")).await;
        let mut amended = tenant.close(3, 1, 5, "0.50");
        amended.head.revision = 1;
        world.publish(amended).await;
        world.publish(tenant.close(4, 1, 1, "0.50")).await;
        Self(tenant)
    }

    fn is_over(&self, world: &World) -> bool {
        settle(world);
        // What was bought first may fill at any time: the story waits for it.
        let bought = world.store.attempts().iter().filter(|a| a.side == Side::Buy && a.is_final).count() == 2;
        bought && all_is_told(world)
    }

    fn judge(&self, world: &World) {
        check(world);
        let bought: Shares =
            world.store.attempts().iter().filter(|a| a.side == Side::Buy).map(|a| a.filled_shares).sum();
        assert_eq!((sold(world), held(world, &self.0)), (bought, Shares::ZERO), "{:#?}", world.summary());
        let counted: schemas::Usdc = world.store.attempts().iter().map(Attempt::counted).sum();
        assert!(counted <= usdc("10"), "{counted}");
    }
}

// A process dies at each of its calls: the close goes on, sells everything once, and each intent is told.

#[tokio::test]
async fn a_crash_before_any_call_oversells_and_forgets_nothing() {
    crash_everywhere::<Closing>(false).await;
}

#[tokio::test]
async fn a_crash_after_any_call_oversells_and_forgets_nothing() {
    crash_everywhere::<Closing>(true).await;
}

#[tokio::test]
async fn an_answer_of_the_ledger_that_gets_lost_oversells_nothing() {
    for fate in [Fate::LostBefore, Fate::LostAfter] {
        lose_everywhere::<Closing>(fate).await;
    }
}
