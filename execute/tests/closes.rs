//! What every ledger promises of closes, over both: the one in memory and the real one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::{
    Tenant, condition, facts,
    ledger::{Held, LEASE, Ledger, codec, on_both, one, sells, then},
    price,
    scene::void_of,
    shares,
};
use execute::{
    Keyring, StoreError,
    core::{
        Attempt,
        close::{
            Close, End, Note,
            plan::{Market, lacks},
        },
        gate::{close_of, denial},
    },
    store::Gated,
};
use schemas::{
    ControlKind, Denial, FillId, IdempotencyKey, OrderStatus, Shares, Side,
    events::{CloseIntent, OrdersEvent, PlaceIntent},
};

on_both! {
    a_close_comes_back_as_it_was_written,
    what_is_due_is_due_once,
    one_sale_under_two_names_is_due_once,
    fills_are_allotted_in_the_step_that_records_them,
    a_step_that_is_told_twice_is_allotted_once,
    the_end_of_a_buy_wakes_the_close_that_waits_for_it,
    a_zombie_gives_no_turn,
    the_next_owner_goes_on_where_the_last_one_stopped,
    a_denied_close_waits_in_the_ledger,
    what_joins_another_close_is_told,
    a_dropped_due_sells_nothing,
    a_replacement_that_waits_is_overtaken_by_a_close,
    turns_and_steps_at_once_oversell_nothing,
    what_is_told_under_another_condition_is_sold_in_its_own_market,
    a_close_that_stood_under_another_condition_comes_to_its_own,
    one_transaction_of_two_leaders_is_closed_for_each_of_them,
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

async fn becomes(held: &Held, attempt: &Attempt, status: OrderStatus, filled: &str) -> Attempt {
    let next = then(attempt, status, filled, held);
    held.store.record(attempt, &next).await.unwrap();
    next
}

/// So much was bought in one order, which is filled.
async fn holding(held: &mut Held, tenant: &Tenant, keyring: &Keyring, size: &str) {
    let buy = held.place(tenant.buy(1, size, "0.40"), keyring).await;
    becomes(held, &buy, OrderStatus::Filled, size).await;
}

async fn close_in(held: &Held, intent: &CloseIntent) -> Close {
    held.store.close(&close_of(&intent.head)).await.unwrap().unwrap()
}

async fn gate_one(held: &mut Held, intent: &CloseIntent, keyring: &Keyring) -> Vec<Gated> {
    held.gate(vec![intent.clone().into()], keyring).await.unwrap()
}

async fn a_close_comes_back_as_it_was_written(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    holding(&mut held, &tenant, &keyring, "20").await;
    let resting = held.place(tenant.buy(2, "10", "0.30"), &keyring).await;
    let intent = tenant.close(3, 1, 2, "0.50");
    let gated = gate_one(&mut held, &intent, &keyring).await;
    let [Gated::Owed(due), Gated::Cancelling(buy), Gated::Inserted(sell)] = gated.as_slice() else {
        panic!("{gated:?}")
    };
    assert_eq!((*due, sell.shares, buy.key()), (shares("10"), shares("10"), resting.key()));
    assert_eq!(ledger.attempt(sell).await, **sell);
    let close = close_in(&held, &intent).await;
    assert_eq!((close.counted, close.offered, close.partition), (1, 1, 0));
    assert_eq!(close.stepped_at, Some(held.now));
    let [due] = close.dues.as_slice() else { panic!("{close:?}") };
    assert_eq!((due.shares, &due.intent, due.ended), (shares("10"), &intent, None));
    assert_eq!(
        due.awaits.iter().map(|a| (a.key, a.seen)).collect::<Vec<_>>(),
        [(resting.idempotency_key, Shares::ZERO)]
    );
    // Nothing is to be done before the attempt has ended.
    assert!(held.store.closes_due(0, held.now.plus(secs(9_999)), 9).await.unwrap().is_empty());
    becomes(&held, sell, OrderStatus::Cancelled, "4").await;
    let due = held.store.closes_due(0, held.now, 9).await.unwrap();
    assert_eq!(due, [close_in(&held, &intent).await]);
    assert!(held.store.closes_due(1, held.now, 9).await.unwrap().is_empty(), "another partition's");
}

async fn what_is_due_is_due_once(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    holding(&mut held, &tenant, &keyring, "20").await;
    let intent = tenant.close(3, 1, 4, "0.50");
    // Twice in one batch, and again when it is sold and over.
    let gated = held.gate(vec![intent.clone().into(), intent.clone().into()], &keyring).await.unwrap();
    let [Gated::Owed(_), Gated::Inserted(sell), Gated::Nothing(_)] = gated.as_slice() else {
        panic!("{gated:?}")
    };
    becomes(&held, sell, OrderStatus::Filled, "5").await;
    assert!(held.turns(&keyring).await.is_empty());
    let again = gate_one(&mut held, &intent, &keyring).await;
    assert!(matches!(again.as_slice(), [Gated::Nothing(_)]), "{again:?}");
    let close = close_in(&held, &intent).await;
    assert_eq!(
        close.dues.iter().map(|d| (d.shares, d.ended)).collect::<Vec<_>>(),
        [(shares("5"), Some(End::Filled))]
    );
    // An amendment is due by itself, once.
    let mut amended = tenant.close(3, 1, 3, "0.50");
    amended.head.revision = 1;
    let sold = sells(&gate_one(&mut held, &amended, &keyring).await).remove(0);
    assert_eq!((sold.shares, sold.attempt, sold.idempotency_key), (shares("5"), 1, sell.idempotency_key));
    let again = gate_one(&mut held, &amended, &keyring).await;
    assert!(matches!(again.as_slice(), [Gated::Nothing(_)]), "{again:?}");
}

async fn one_sale_under_two_names_is_due_once(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    holding(&mut held, &tenant, &keyring, "20").await;
    let first = tenant.close(3, 1, 4, "0.50");
    let mut second = first.clone();
    let head = &mut second.head;
    head.fill_id = FillId::clob_ws(head.tx.unwrap(), &head.asset, Side::Sell, head.filled_at);
    head.idempotency_key = IdempotencyKey::of(head.target_id, &head.fill_id);
    gate_one(&mut held, &first, &keyring).await;
    let again = gate_one(&mut held, &second, &keyring).await;
    assert!(matches!(again.as_slice(), [Gated::Nothing(_)]), "{again:?}");
}

async fn fills_are_allotted_in_the_step_that_records_them(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    holding(&mut held, &tenant, &keyring, "20").await;
    let (one, two) = (tenant.close(3, 1, 4, "0.50"), tenant.close(4, 1, 3, "0.50"));
    let first = sells(&gate_one(&mut held, &one, &keyring).await).remove(0);
    gate_one(&mut held, &two, &keyring).await;
    let first = becomes(&held, &first, OrderStatus::Cancelled, "2").await;
    let sold = |close: &Close| close.dues.iter().map(|d| (d.filled(), d.shares)).collect::<Vec<_>>();
    assert_eq!(sold(&close_in(&held, &one).await), [(shares("2"), shares("5")), (shares("0"), shares("5"))]);
    let second = sells(&held.turns(&keyring).await).remove(0);
    assert_eq!((second.shares, second.attempt), (shares("8"), 1));
    let second = becomes(&held, &second, OrderStatus::Filled, "8").await;
    assert_eq!(sold(&close_in(&held, &one).await), [(shares("5"), shares("5")), (shares("5"), shares("5"))]);
    held.turns(&keyring).await;
    assert!(close_in(&held, &one).await.dues.iter().all(|d| d.ended == Some(End::Filled)));
    // Of the second attempt four fail, of the first one: they go back to whose they were.
    becomes(&held, &second, OrderStatus::Cancelled, "4").await;
    becomes(&held, &first, OrderStatus::Cancelled, "1").await;
    assert_eq!(sold(&close_in(&held, &one).await), [(shares("4"), shares("5")), (shares("1"), shares("5"))]);
    let third = sells(&held.turns(&keyring).await).remove(0);
    assert_eq!((third.shares, third.attempt), (shares("5"), 2));
}

async fn a_step_that_is_told_twice_is_allotted_once(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    holding(&mut held, &tenant, &keyring, "20").await;
    let intent = tenant.close(3, 1, 2, "0.50");
    let sell = sells(&gate_one(&mut held, &intent, &keyring).await).remove(0);
    let part = becomes(&held, &sell, OrderStatus::PartiallyFilled, "4").await;
    let error = held.store.record(&sell, &part).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed(_)), "{error}");
    // The same total once more, by another step.
    let part = becomes(&held, &part, OrderStatus::PartiallyFilled, "4").await;
    becomes(&held, &part, OrderStatus::Cancelled, "4").await;
    let close = close_in(&held, &intent).await;
    assert_eq!(close.dues[0].filled(), shares("4"));
    assert_eq!(close.dues[0].sold.len(), 1);
}

async fn the_end_of_a_buy_wakes_the_close_that_waits_for_it(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let buy = held.place(tenant.buy(1, "10", "0.40"), &keyring).await;
    let intent = tenant.close(3, 1, 1, "0.50");
    let gated = gate_one(&mut held, &intent, &keyring).await;
    let [Gated::Owed(due), Gated::Cancelling(buy)] = gated.as_slice() else { panic!("{gated:?} {buy:?}") };
    assert_eq!(*due, Shares::ZERO);
    let buy = becomes(&held, buy, OrderStatus::PartiallyFilled, "3").await;
    held.now = held.now.plus(secs(1));
    assert!(held.turns(&keyring).await.is_empty(), "it may fill more");
    becomes(&held, &buy, OrderStatus::Cancelled, "7").await;
    let sell = sells(&held.turns(&keyring).await).remove(0);
    assert_eq!(sell.shares, shares("7"));
}

async fn a_zombie_gives_no_turn(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut zombie = Held::claim(&ledger, 0, "a").await;
    holding(&mut zombie, &tenant, &keyring, "20").await;
    let intent = tenant.close(3, 1, 1, "0.50");
    let sell = sells(&gate_one(&mut zombie, &intent, &keyring).await).remove(0);
    becomes(&zombie, &sell, OrderStatus::Cancelled, "0").await;
    zombie.now = zombie.now.plus(secs(30));
    let owner = Held { now: zombie.now, ..Held::claim(&ledger, 0, "b").await };
    let error = zombie.turns_with(&Market::default(), &keyring).await.unwrap_err();
    assert!(matches!(error, StoreError::NotOwner { .. }), "{error}");
    assert_eq!(sells(&owner.turns(&keyring).await).len(), 1);
    assert!(owner.turns(&keyring).await.is_empty());
}

async fn the_next_owner_goes_on_where_the_last_one_stopped(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    holding(&mut held, &tenant, &keyring, "20").await;
    let mut intent = tenant.close(3, 1, 1, "0.50");
    intent.sale_price = None;
    assert_eq!(gate_one(&mut held, &intent, &keyring).await, [Gated::Owed(shares("20"))]);
    let bids =
        |bid: &str| Market { bid: execute::core::close::plan::Bid::Best(price(bid)), ..Market::default() };
    held.now = held.now.plus(secs(5));
    let first = sells(&held.turns_with(&bids("0.60"), &keyring).await.unwrap()).remove(0);
    assert_eq!(first.limit_price, price("0.57"));
    // Another owner: price, steps and what is left are in the ledger.
    let mut heir = Held { now: held.now, ..Held::claim(&ledger, 0, "b").await };
    becomes(&heir, &first, OrderStatus::Cancelled, "5").await;
    assert!(heir.turns(&keyring).await.is_empty());
    heir.now = heir.now.plus(secs(30));
    let second = sells(&heir.turns_with(&bids("0.20"), &keyring).await.unwrap()).remove(0);
    assert_eq!((second.limit_price, second.shares, second.attempt), (price("0.54"), shares("15"), 1));
}

async fn a_denied_close_waits_in_the_ledger(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    holding(&mut held, &tenant, &keyring, "20").await;
    ledger.switch(None, ControlKind::Halt, true).await;
    let intent = tenant.close(3, 1, 1, "0.50");
    let denied = sells(&gate_one(&mut held, &intent, &keyring).await).remove(0);
    assert_eq!(denial(&denied), Some(Denial::Halted));
    held.now = held.now.plus(secs(29));
    assert!(held.store.closes_due(0, held.now, 9).await.unwrap().is_empty());
    held.now = held.now.plus(secs(1));
    assert!(held.turns(&keyring).await.is_empty(), "told once");
    ledger.switch(None, ControlKind::Halt, false).await;
    held.now = held.now.plus(secs(30));
    let sell = sells(&held.turns(&keyring).await).remove(0);
    assert_eq!((sell.status, sell.attempt, sell.limit_price), (OrderStatus::Reserved, 1, price("0.47")));
}

async fn what_joins_another_close_is_told(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    holding(&mut held, &tenant, &keyring, "10").await;
    let (one, two) = (tenant.close(3, 15, 100, "0.50"), tenant.close(4, 1, 5, "0.50"));
    assert_eq!(gate_one(&mut held, &one, &keyring).await, [Gated::Owed(shares("1.5"))]);
    let sell = sells(&gate_one(&mut held, &two, &keyring).await).remove(0);
    assert_eq!((sell.shares, sell.idempotency_key), (shares("3.2"), one.head.idempotency_key));
    becomes(&held, &sell, OrderStatus::Filled, "3.2").await;
    let told = sells(&held.turns(&keyring).await).remove(0);
    assert_eq!(
        (told.idempotency_key, told.status, told.filled_shares),
        (two.head.idempotency_key, OrderStatus::Filled, Shares::ZERO)
    );
    assert_eq!(ledger.attempt(&told).await, told);
    // In the log it names the close that sold for it, and has no order.
    let rows = held.store.outbox_next(0, 100).await.unwrap();
    let row = rows.iter().find(|r| r.key == told.key()).unwrap();
    let OrdersEvent::OrderState(event) = codec().decode(&row.value).unwrap();
    let note = Note::SoldBy(one.head.idempotency_key).to_string();
    assert_eq!((event.note, event.order_id, event.filled_usdc), (Some(note), None, schemas::Usdc::ZERO));
}

async fn a_dropped_due_sells_nothing(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    holding(&mut held, &tenant, &keyring, "10").await;
    let (one, two) = (tenant.close(3, 15, 100, "0.50"), tenant.close(4, 1, 1, "0.50"));
    gate_one(&mut held, &one, &keyring).await;
    let gated = held.gate(vec![tenant.cancel(5, &one.head).into()], &keyring).await.unwrap();
    let told = sells(&gated).remove(0);
    assert_eq!((told.status, told.reason.as_deref()), (OrderStatus::Cancelled, Some("void")));
    let close = close_in(&held, &one).await;
    assert_eq!((close.dues[0].ended, close.next_look_at), (Some(End::Dropped), None));
    // What was dropped is nobody's any more.
    let sell = sells(&gate_one(&mut held, &two, &keyring).await).remove(0);
    assert_eq!((sell.shares, sell.idempotency_key), (shares("10"), two.head.idempotency_key));
}

async fn a_replacement_that_waits_is_overtaken_by_a_close(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    // Each close comes while a replacement waits for the order that it replaces; it says so even where there is nothing
    // to sell.
    for (n, fraction, overtaken) in [(10, (1, 4), false), (20, (1, 2), true)] {
        let old = tenant.buy(n, "10", "0.30");
        let placed = held.place(old.clone(), &keyring).await;
        let new = PlaceIntent { replaces: Some(old.head.idempotency_key), ..tenant.buy(n + 1, "10", "0.40") };
        let gated = held.gate(vec![new.clone().into()], &keyring).await.unwrap();
        let [Gated::Cancelling(cancelling), Gated::Deferred(_)] = gated.as_slice() else {
            panic!("{gated:?}")
        };
        assert_eq!(cancelling.key(), placed.key());
        becomes(&held, cancelling, OrderStatus::Cancelled, "0").await;
        let close = tenant.close(n + 2, fraction.0, fraction.1, "0.50");
        let told = sells(&gate_one(&mut held, &close, &keyring).await).remove(0);
        assert_eq!(denial(&told), Some(Denial::SellWithoutPosition));
        let gated = held.gate_deferred(vec![new.clone().into()], &keyring).await.unwrap();
        let [Gated::Inserted(bought)] = gated.as_slice() else { panic!("{gated:?}") };
        assert_eq!(denial(bought), overtaken.then_some(Denial::Superseded), "{fraction:?}");
        // What the leader buys after that is bought.
        let mut later = tenant.buy(n + 3, "10", "0.40");
        later.head.filled_at = later.head.filled_at.plus(secs(1));
        later.replaces = new.replaces;
        let placed = held.place(later, &keyring).await;
        becomes(&held, &placed, OrderStatus::Cancelled, "0").await;
        if !overtaken {
            becomes(&held, bought, OrderStatus::Cancelled, "0").await;
        }
    }
}

/// A neg-risk conversion took tokens of several conditions; its row names one of them, here that of market 1.
fn converted(tenant: &Tenant, fill: u32) -> CloseIntent {
    let mut close = tenant.close(fill, 1, 1, "0.50");
    let mut head = tenant.head(1, 2, 2, Side::Sell, fill);
    let cause = format!("data-api:{}:{}:CONVERSION:1790000000", head.tx.unwrap(), head.asset);
    head.fill_id = cause.parse().unwrap();
    head.idempotency_key = IdempotencyKey::of(head.target_id, &head.fill_id);
    (head.tx, head.condition_id) = (None, condition(1));
    close.head = head;
    close
}

async fn what_is_told_under_another_condition_is_sold_in_its_own_market(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let buy = held.place(tenant.buy_of(1, 2, 2, 1, "10", "0.60"), &keyring).await;
    let unconfirmed =
        Attempt { confirmed_shares: shares("4"), ..then(&buy, OrderStatus::Filled, "10", &held) };
    held.store.record(&buy, &unconfirmed).await.unwrap();
    let resting = held.place(tenant.buy_of(1, 2, 2, 2, "10", "0.50"), &keyring).await;
    let close = converted(&tenant, 3);
    let gated = gate_one(&mut held, &close, &keyring).await;
    let [Gated::Owed(due), Gated::Cancelling(buy)] = gated.as_slice() else { panic!("{gated:?}") };
    assert_eq!((*due, buy.key()), (shares("10"), resting.key()));
    // It is of its own market, whose facts are still to be read.
    let row = close_in(&held, &close).await;
    assert_eq!((row.condition_id, row.dues[0].intent.head.condition_id), (condition(2), condition(2)));
    assert!(lacks(&row, held.now).facts && row.next_look_at.is_some_and(|at| at <= held.now));
    // What can still fail need not be in the wallet yet.
    let market = Market { facts: Some(facts(2)), balance: Some(shares("4")), ..Market::default() };
    let sale = sells(&held.turns_with(&market, &keyring).await.unwrap()).remove(0);
    assert_eq!(
        (sale.status, sale.asset.clone(), sale.condition_id, sale.shares),
        (OrderStatus::Reserved, close.head.asset.clone(), condition(2), shares("10"))
    );
    assert_eq!(close_in(&held, &close).await.short, None);
    // One at a time, whoever asks: another cause is owed nothing more, and waits for what is alive.
    let again = gate_one(&mut held, &converted(&tenant, 4), &keyring).await;
    assert!(sells(&again).iter().all(|row| row.is_final), "{again:?}");
    becomes(&held, &sale, OrderStatus::Filled, "10").await;
    becomes(&held, buy, OrderStatus::Cancelled, "0").await;
    held.turns(&keyring).await;
    assert!(close_in(&held, &close).await.open().next().is_none());
}

async fn a_close_that_stood_under_another_condition_comes_to_its_own(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    // Nothing is known of the token when it is told, so its close is kept under the condition that was named.
    let told = converted(&tenant, 3);
    let denied = sells(&gate_one(&mut held, &told, &keyring).await).remove(0);
    assert_eq!(denial(&denied), Some(Denial::SellWithoutPosition));
    assert_eq!(close_in(&held, &told).await.condition_id, condition(1));
    let buy = held.place(tenant.buy_of(1, 2, 2, 1, "10", "0.60"), &keyring).await;
    becomes(&held, &buy, OrderStatus::Filled, "10").await;
    let mut sale = tenant.close(4, 1, 1, "0.50");
    (sale.head, sale.facts) = (tenant.head(1, 2, 2, Side::Sell, 4), Some(facts(2)));
    let sold = sells(&gate_one(&mut held, &sale, &keyring).await).remove(0);
    assert_eq!((sold.shares, sold.condition_id), (shares("10"), condition(2)));
    assert_eq!(close_in(&held, &sale).await.condition_id, condition(2));
    // An attempt that fills nothing is followed by the next: the closer's turn finds the position too.
    becomes(&held, &sold, OrderStatus::Cancelled, "0").await;
    held.now = held.now.plus(secs(30));
    assert_eq!(sells(&held.turns(&keyring).await).remove(0).shares, shares("10"));
}

async fn one_transaction_of_two_leaders_is_closed_for_each_of_them(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let mut voids = Vec::new();
    for leader in [1, 2] {
        let mut buy = tenant.buy_of(leader, 1, 1, 1, "10", "0.40");
        buy.allow_both_sides = true;
        let bought = held.place(buy.clone(), &keyring).await;
        becomes(&held, &bought, OrderStatus::Filled, "10").await;
        let mut void = void_of(&tenant, &buy.head);
        void.head = tenant.head(leader, 1, 1, Side::Sell, 999);
        void.head.fill_id = format!("void:{}", buy.head.fill_id).parse().unwrap();
        void.head.idempotency_key = IdempotencyKey::of(void.head.target_id, &void.head.fill_id);
        void.head.tx = None;
        voids.push(void);
    }
    // Both had one fill id, and so both causes have one.
    assert_eq!(voids[0].head.fill_id, voids[1].head.fill_id);
    let gated = held.gate(voids.iter().cloned().map(Into::into).collect(), &keyring).await.unwrap();
    let sold = sells(&gated);
    assert_eq!(
        sold.iter().map(|a| (a.status, a.shares)).collect::<Vec<_>>(),
        [(OrderStatus::Reserved, shares("10")), (OrderStatus::Reserved, shares("10"))]
    );
    assert_ne!(sold[0].target_id, sold[1].target_id);
    // Rows of before causes were told apart by target: what is in them is not sold again.
    if let Ledger::Postgres { admin, .. } = &ledger {
        for table in ["orders", "dues"] {
            let key = voids[0].head.idempotency_key;
            let former = format!(
                "update execution.{table} set natural_key = substr(natural_key, strpos(natural_key, ':') + 1)
                 where idempotency_key = '{key}'"
            );
            let written = sqlx::query(sqlx::AssertSqlSafe(former)).execute(admin).await.unwrap();
            assert_eq!(written.rows_affected(), 1);
        }
    }
    for void in &voids {
        let again = gate_one(&mut held, void, &keyring).await;
        assert!(matches!(again.as_slice(), [Gated::Nothing(_)]), "{again:?}");
    }
    for (void, sold) in voids.iter().zip(&sold) {
        becomes(&held, sold, OrderStatus::Filled, "10").await;
        held.turns(&keyring).await;
        assert!(close_in(&held, void).await.open().next().is_none());
    }
}

/// Invariant 1. Steps are recorded while the gate takes closes and gives turns, each as often as it has to be tried.
async fn turns_and_steps_at_once_oversell_nothing(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim_for(&ledger, 0, "a", LEASE * 6).await;
    holding(&mut held, &tenant, &keyring, "100").await;
    let first = tenant.close(10, 1, 10, "0.50");
    let mut sell = sells(&gate_one(&mut held, &first, &keyring).await).remove(0);
    for round in 0..12u32 {
        held.now = held.now.plus(secs(1));
        let mut gating = Held { store: held.store.clone(), stored: held.stored.clone(), ..held };
        let intents: Vec<_> =
            (0..3).map(|n| tenant.close(100 + round * 10 + n, 1, 10, "0.50").into()).collect();
        let recording = async {
            let part = becomes(&held, &sell, OrderStatus::PartiallyFilled, "1").await;
            becomes(&held, &part, OrderStatus::Cancelled, "1.5").await
        };
        let turning = async {
            let mut made = Vec::new();
            for _ in 0..4 {
                made.extend(sells(&held.turns(&keyring).await));
            }
            made
        };
        let gate = async { (gating.gate(intents, &keyring).await.unwrap(), gating) };
        let (_, made, (gated, after)) = tokio::join!(recording, turning, gate);
        (held.stored, held.next) = (after.stored, after.next);
        let mut alive = [made, sells(&gated), sells(&held.turns(&keyring).await)].concat();
        alive.retain(|a| !a.is_final);
        let close = close_in(&held, &first).await;
        let open: Shares = close.open().map(execute::core::close::Due::remaining).sum();
        assert_eq!(alive.len(), 1, "round {round}: {alive:#?}");
        assert!(alive[0].shares <= open, "{} of {open}", alive[0].shares);
        let filled: Shares = close.dues.iter().map(execute::core::close::Due::filled).sum();
        assert_eq!(filled, Shares::from_micro(1_500_000 * i64::from(round + 1)));
        sell = alive.remove(0);
    }
}
