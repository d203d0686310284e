//! What every ledger promises, over both: the one in memory and the real one.
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
    Tenant, grant, keyring,
    ledger::{Held, LEASE, Ledger, codec, log_id},
    price, shares, usdc,
};
use eventlog::{Offset, TopicPartition, position::StoredOffset};
use execute::{
    Keyring, StoreError,
    core::{
        Attempt, AttemptKey, Event,
        diagnosis::{Ailment, Diagnosis},
        fills::Fills,
        follow::{self, Class},
        gate::{Wait, denial},
        snapshot::Grant,
        transition,
        transition::Seen,
    },
    store::{BudgetKey, Gated, Pause},
};
use futures_util::future::join_all;
use schemas::{
    ControlKind, Denial, FillId, Hash32, IdempotencyKey, Mode, OrderStatus, Side, TargetStatus, Timestamp,
    Usdc,
    events::{ControlsEvent, IntentsEvent, OrdersEvent, PlaceIntent},
    topics::Topic,
};
use venue::{
    outcome::{Accepted, RejectCause, SubmitOutcome},
    wire::{ClobOrderStatus, PlacedStatus},
};

macro_rules! on_both {
    ($($name:ident,)*) => {
        mod in_memory {
            $(#[tokio::test] async fn $name() { super::$name(super::Ledger::memory().await).await; })*
        }
        mod in_postgres {
            $(#[tokio::test] async fn $name() { super::$name(super::Ledger::postgres().await).await; })*
        }
    };
}

on_both! {
    a_gated_intent_is_a_row_an_event_and_an_offset,
    a_batch_is_gated_once,
    a_conflict_means_not_placed,
    one_fill_under_two_names_is_placed_once,
    a_zombie_commits_nothing,
    an_expired_lease_gates_nothing,
    a_new_owner_waits_for_the_old_lease_and_its_own_does_not_keep_it_waiting,
    nothing_is_written_when_something_is_missing,
    caps_count_what_is_committed_and_what_is_in_the_batch,
    ended_orders_give_their_part_back,
    switches_grants_and_targets_are_read_at_the_gate,
    a_tenant_sees_no_budget_of_another,
    a_step_is_written_once,
    positions_follow_fills,
    a_balance_is_less_what_it_does_not_show_yet,
    events_come_by_revision_until_they_are_published,
    what_is_due_comes_longest_due_first,
    what_rests_is_apart_from_what_is_urgent,
    a_connection_s_orders_are_made_due_at_once_and_no_others,
    a_pause_comes_of_five_rejections_in_a_row_and_is_told,
    unresolved_attempts_are_all_found,
    deferred_intents_are_kept_until_they_are_gated,
    a_cancel_marks_the_order_that_it_names,
    offsets_and_revisions_are_kept,
    secrets_are_kept_as_they_are_sealed,
    no_cap_is_exceeded_by_concurrent_gates,
}

fn one() -> (Tenant, Keyring) {
    let tenant = Tenant::new(1);
    let keyring = keyring(&[(1, &tenant)]);
    (tenant, keyring)
}

fn attempts(gated: &[Gated]) -> Vec<Attempt> {
    gated
        .iter()
        .filter_map(|g| match g {
            Gated::Inserted(attempt) => Some((**attempt).clone()),
            _ => None,
        })
        .collect()
}

/// The one SELL that was committed.
fn only_sell(gated: &[Gated]) -> Attempt {
    let sells: Vec<Attempt> = attempts(gated).into_iter().filter(|a| a.side == Side::Sell).collect();
    let [sell] = sells.as_slice() else { panic!("not one SELL: {gated:?}") };
    sell.clone()
}

fn buys(tenant: &Tenant, fills: std::ops::Range<u32>, size: &str, limit: &str) -> Vec<IntentsEvent> {
    fills.map(|fill| tenant.buy(fill, size, limit).into()).collect()
}

/// The next state of an attempt, and what makes it.
fn step(attempt: &Attempt, event: &Event, now: Timestamp) -> Attempt {
    transition(attempt, event, now).unwrap()
}

fn accepted(attempt: &Attempt, status: PlacedStatus) -> Event {
    Event::Answered {
        sent_at: attempt.created_at,
        outcome: SubmitOutcome::Accepted(Accepted {
            order_id: attempt.order_id.unwrap(),
            status,
            making: venue::wire::Literal::default(),
            taking: venue::wire::Literal::default(),
            trade_ids: Vec::new(),
        }),
    }
}

/// The venue says that so much of it filled.
fn filled(attempt: &Attempt, status: ClobOrderStatus, size: &str, confirmed: bool) -> Event {
    let size = shares(size);
    let usdc = attempt.limit_price.cost(size, schemas::Round::Down).unwrap();
    let confirmed = if confirmed { size } else { schemas::Shares::ZERO };
    let fills = Fills { shares: size, usdc, confirmed, ..Fills::default() };
    Event::Seen(Seen { status, matched: size, fills })
}

async fn a_gated_intent_is_a_row_an_event_and_an_offset(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 3, "a").await;
    let placed = held.place(tenant.buy(1, "10", "0.50"), &keyring).await;
    assert_eq!((placed.status, placed.revision, placed.reserved), (OrderStatus::Reserved, 1, usdc("5")));
    assert_eq!(ledger.attempt(&placed).await, placed, "a row comes back as it was written");
    let body = venue::wire::PostOrder::read(&placed.body.clone().unwrap().0).unwrap();
    assert_eq!((body.order.maker_amount, body.order.taker_amount), (5_000_000, 10_000_000));
    // The venue ends it a minute before what it is told.
    assert_eq!(body.order.expiration.unwrap(), placed.expires_at.unwrap().plus(Duration::from_secs(60)));

    let told = held.store.outbox_next(3, 10).await.unwrap();
    assert_eq!(told.len(), 1);
    let OrdersEvent::OrderState(event) = codec().decode(&told[0].value).unwrap();
    assert_eq!((event, told[0].wallet.clone()), (placed.to_event(), tenant.target(1).1.wallet.to_string()));
    let again = held.store.claim(3, "a", LEASE).await.unwrap();
    assert_eq!(again.position, held.stored);

    // A denial is a row and an event too.
    let denied = {
        let mut held = Held::claim(&ledger, 3, "a").await;
        held.place(tenant.buy(2, "1000.02", "0.50"), &keyring).await
    };
    assert_eq!(denial(&denied), Some(Denial::CapExceededPerOrder));
    assert_eq!(ledger.attempt(&denied).await, denied);
    assert_eq!(ledger.store().outbox_next(3, 10).await.unwrap().len(), 2);
}

async fn a_batch_is_gated_once(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let gated = held.gate(buys(&tenant, 0..20, "10", "0.05"), &keyring).await.unwrap();
    assert_eq!(attempts(&gated).len(), 20);
    // Its answer was lost: the offset says that it was done.
    let mut again = Held { stored: None, next: 0, ..held };
    let error = again.gate(buys(&tenant, 0..20, "10", "0.05"), &keyring).await.unwrap_err();
    assert!(matches!(error, StoreError::OffsetMoved(0)), "{error}");
    let keys: Vec<AttemptKey> = attempts(&gated).iter().map(Attempt::key).collect();
    assert!(again.store.revisions(&keys).await.unwrap().values().all(|r| *r == 1));
    // An empty batch of unreadable records moves the offset as well.
    let mut held = Held::claim(&ledger, 0, "a").await;
    held.next += 5;
    assert!(held.gate(Vec::new(), &keyring).await.unwrap().is_empty());
    assert_eq!(held.store.claim(0, "a", LEASE).await.unwrap().position.unwrap().next, Offset(25));
}

async fn a_conflict_means_not_placed(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let intent = tenant.buy(1, "10", "0.50");
    // Twice in one batch, and again in the next, with another price even.
    let gated = held.gate(vec![intent.clone().into(), intent.clone().into()], &keyring).await.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Inserted(_), Gated::Nothing(_)]), "{gated:?}");
    let first = attempts(&gated).remove(0);
    let other = PlaceIntent { limit: price("0.60"), ..intent };
    let gated = held.gate(vec![other.into()], &keyring).await.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Nothing(_)]), "{gated:?}");
    assert_eq!(ledger.attempt(&first).await, first);
    assert_eq!(held.store.outbox_next(0, 10).await.unwrap().len(), 1, "what was not placed is not told");
}

async fn one_fill_under_two_names_is_placed_once(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let one = tenant.buy(1, "10", "0.50");
    let mut two = one.clone();
    let head = &mut two.head;
    head.fill_id = FillId::clob_ws(head.tx.unwrap(), &head.asset, Side::Buy, head.filled_at);
    head.idempotency_key = IdempotencyKey::of(head.target_id, &head.fill_id);
    assert_ne!(one.head.idempotency_key, two.head.idempotency_key);
    held.place(one, &keyring).await;
    let gated = held.gate(vec![two.into()], &keyring).await.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Nothing(_)]), "{gated:?}");
}

async fn a_zombie_commits_nothing(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut zombie = Held::claim(&ledger, 0, "a").await;
    zombie.place(tenant.buy(1, "10", "0.50"), &keyring).await;
    let mut owner = Held::claim(&ledger, 0, "b").await;
    assert!(owner.epoch > zombie.epoch);
    let error = zombie.gate(vec![tenant.buy(2, "10", "0.50").into()], &keyring).await.unwrap_err();
    assert!(matches!(error, StoreError::NotOwner { partition: 0, .. }), "{error}");
    let error = zombie.gate_deferred(vec![tenant.buy(2, "10", "0.50").into()], &keyring).await.unwrap_err();
    assert!(matches!(error, StoreError::NotOwner { .. }), "{error}");
    assert!(!zombie.store.renew(0, zombie.epoch, LEASE).await.unwrap());
    assert!(owner.store.renew(0, owner.epoch, LEASE).await.unwrap());
    // A zombie's release takes nothing from the owner.
    zombie.store.release(0, zombie.epoch).await.unwrap();
    owner.place(tenant.buy(2, "10", "0.50"), &keyring).await;
    assert_eq!(owner.store.outbox_next(0, 10).await.unwrap().len(), 2);
}

async fn an_expired_lease_gates_nothing(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    held.store.release(0, held.epoch).await.unwrap();
    let error = held.gate(vec![tenant.buy(1, "10", "0.50").into()], &keyring).await.unwrap_err();
    assert!(matches!(error, StoreError::NotOwner { .. }), "{error}");
    assert!(held.store.renew(0, held.epoch, LEASE).await.unwrap(), "nobody else has taken it");
    held.place(tenant.buy(1, "10", "0.50"), &keyring).await;
}

async fn a_new_owner_waits_for_the_old_lease_and_its_own_does_not_keep_it_waiting(ledger: Ledger) {
    let store = ledger.store();
    let claim = |owner: &'static str| {
        let store = store.clone();
        async move { store.claim(5, owner, Duration::from_secs(60)).await.unwrap() }
    };
    assert_eq!(claim("a").await.send_in, Duration::ZERO);
    assert_eq!(claim("a").await.send_in, Duration::ZERO);
    let waits = claim("b").await.send_in;
    // A process that starts over still waits for whoever it took the partition from.
    assert!(claim("b").await.send_in > Duration::from_secs(50));
    assert!(waits > Duration::from_secs(50) && waits <= Duration::from_secs(60), "{waits:?}");
    // Taken over again: the one before the last may still be sending too.
    let owner = claim("c").await;
    assert!(owner.send_in > Duration::from_secs(50), "{owner:?}");
    store.release(5, owner.epoch).await.unwrap();
    let after_release = claim("d").await.send_in;
    assert!(
        after_release <= owner.send_in,
        "a release ends one's own lease, not the wait for another's: {after_release:?}"
    );
}

async fn nothing_is_written_when_something_is_missing(ledger: Ledger) {
    let (tenant, ring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let empty = keyring(&[]);
    let error = held.gate(buys(&tenant, 1..3, "10", "0.50"), &empty).await.unwrap_err();
    assert!(matches!(error, StoreError::NotLoaded), "{error}");
    // A mode without a budget's row cannot be locked.
    let mut live = tenant.buy(1, "10", "0.50");
    live.head.mode = Mode::Live;
    let error =
        held.gate(vec![tenant.buy(9, "10", "0.50").into(), live.clone().into()], &ring).await.unwrap_err();
    assert!(matches!(error, StoreError::NotLoaded), "{error}");
    assert!(held.store.outbox_next(0, 10).await.unwrap().is_empty());
    assert_eq!(held.store.claim(0, "a", LEASE).await.unwrap().position, None);
    // With the row it is denied: nobody serves that mode here.
    held.store
        .open_budgets(&[BudgetKey { billing_account_id: tenant.account, mode: Mode::Live }])
        .await
        .unwrap();
    let mut held = Held::claim(&ledger, 0, "a").await;
    assert_eq!(denial(&held.place(live, &ring).await), Some(Denial::TradingNotReady));
}

async fn caps_count_what_is_committed_and_what_is_in_the_batch(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    ledger.set_grant(&tenant, Grant { daily: usdc("22"), hourly: 6, ..grant() }).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    held.place(tenant.buy(0, "10", "0.50"), &keyring).await;
    let gated = held.gate(buys(&tenant, 1..6, "10", "0.50"), &keyring).await.unwrap();
    let denials: Vec<_> = attempts(&gated).iter().map(denial).collect();
    let over = Some(Denial::CapExceededDaily);
    assert_eq!(denials, [None, None, None, over, over], "4 x $5 of $22");
    assert_eq!(
        denial(&held.place(tenant.buy(7, "5", "0.40"), &keyring).await),
        None,
        "exactly the last two dollars"
    );
    // A day later there is room again; the orders of the last hour alone count as orders.
    held.now = held.now.plus(Duration::from_secs(24 * 3600));
    let fresh = |fill| {
        let mut intent = tenant.buy(fill, "5", "0.10");
        intent.send_until = intent.send_until.plus(Duration::from_secs(24 * 3600));
        intent
    };
    for fill in 20..26 {
        assert_eq!(denial(&held.place(fresh(fill), &keyring).await), None, "{fill}");
    }
    let seventh = held.place(fresh(26), &keyring).await;
    assert_eq!(denial(&seventh), Some(Denial::CapExceededHourlyFills));
}

async fn ended_orders_give_their_part_back(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    ledger.set_grant(&tenant, Grant { daily: usdc("10"), ..grant() }).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let one = held.place(tenant.buy(1, "10", "0.50"), &keyring).await;
    let two = held.place(tenant.buy(2, "10", "0.50"), &keyring).await;
    // One was cancelled with 4 of 10 filled: it keeps $2. Nobody knows of the other: it keeps its $5.
    let open = step(&one, &accepted(&one, PlacedStatus::Live), held.now);
    held.store.record(&one, &open).await.unwrap();
    let ended = step(&open, &filled(&open, ClobOrderStatus::Canceled, "4", true), held.now);
    assert_eq!((ended.status, ended.counted()), (OrderStatus::Cancelled, usdc("2")));
    held.store.record(&open, &ended).await.unwrap();
    let unknown =
        Event::Answered { sent_at: held.now, outcome: SubmitOutcome::Unknown { why: "timeout".into() } };
    let doubted = step(&two, &unknown, held.now);
    held.store.record(&two, &doubted).await.unwrap();
    assert_eq!(
        denial(&held.place(tenant.buy(4, "10", "0.31"), &keyring).await),
        Some(Denial::CapExceededDaily)
    );
    assert_eq!(denial(&held.place(tenant.buy(5, "10", "0.30"), &keyring).await), None, "$3 are left");
    // It did not land: its part comes back.
    let gone = step(&doubted, &Event::DidNotLand, held.now);
    held.store.record(&doubted, &gone).await.unwrap();
    assert_eq!(denial(&held.place(tenant.buy(6, "10", "0.50"), &keyring).await), None);
    assert_eq!(
        denial(&held.place(tenant.buy(7, "5", "0.01"), &keyring).await),
        Some(Denial::CapExceededDaily)
    );
}

async fn switches_grants_and_targets_are_read_at_the_gate(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let mut fill = 0;
    let mut ask = async || {
        fill += 1;
        denial(&held.place(tenant.buy(fill, "10", "0.10"), &keyring).await)
    };
    let account = Some(tenant.account);
    for (of, kind, expected) in [
        (None, ControlKind::Pause, Denial::GloballyPaused),
        (None, ControlKind::Halt, Denial::Halted),
        (account, ControlKind::Pause, Denial::TenantPaused),
        (account, ControlKind::Halt, Denial::Halted),
    ] {
        ledger.switch(of, kind, true).await;
        assert_eq!(ask().await, Some(expected));
        ledger.switch(of, kind, false).await;
        assert_eq!(ask().await, None);
    }
    ledger.set_target(&tenant, 1, TargetStatus::Paused).await;
    assert_eq!(ask().await, Some(Denial::TargetPaused));
    ledger.set_target(&tenant, 1, TargetStatus::Closing).await;
    assert_eq!(ask().await, Some(Denial::TargetInactive));
    ledger.set_target(&tenant, 1, TargetStatus::Active).await;
    ledger.set_grant(&tenant, Grant { expires_at: Some(common::START), ..grant() }).await;
    assert_eq!(ask().await, Some(Denial::GrantExpired));
    ledger.set_grant(&tenant, Grant { revoked: true, ..grant() }).await;
    assert_eq!(ask().await, Some(Denial::GrantRevoked));
    ledger.set_grant(&tenant, Grant { scopes: vec!["poly:trade:sell".into()], ..grant() }).await;
    assert_eq!(ask().await, Some(Denial::ScopeMissing));
    ledger.set_grant(&tenant, Grant { per_market: Some(usdc("4.5")), ..grant() }).await;
    assert_eq!(ask().await, Some(Denial::CapExceededMarket), "four of $1 are alive");
    ledger.set_grant(&tenant, Grant { per_order: usdc("0.999999"), ..grant() }).await;
    assert_eq!(ask().await, Some(Denial::CapExceededPerOrder));
    ledger.set_grant(&tenant, grant()).await;
    assert_eq!(ask().await, None);
}

async fn a_tenant_sees_no_budget_of_another(ledger: Ledger) {
    let (one, two) = (Tenant::new(1), Tenant::new(2));
    let keyring = keyring(&[(1, &one), (2, &two)]);
    ledger.add(1, &one).await;
    ledger.add(2, &two).await;
    for tenant in [&one, &two] {
        ledger.set_grant(tenant, Grant { hourly: 1, ..grant() }).await;
    }
    let mut held = Held::claim(&ledger, 0, "a").await;
    // The same fill of the same leader: one key, two tenants, two orders.
    let (a, b) = (one.buy(1, "10", "0.10"), two.buy(1, "10", "0.10"));
    assert_eq!(a.head.idempotency_key, b.head.idempotency_key);
    let gated = held.gate(vec![a.into(), b.into(), two.buy(2, "10", "0.10").into()], &keyring).await.unwrap();
    let denials: Vec<_> = attempts(&gated).iter().map(denial).collect();
    assert_eq!(denials, [None, None, Some(Denial::CapExceededHourlyFills)]);
    let ids: Vec<_> = attempts(&gated).iter().map(|a| a.order_id).collect();
    assert_ne!(ids[0], ids[1]);
}

async fn a_step_is_written_once(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let placed = held.place(tenant.buy(1, "10", "0.50"), &keyring).await;
    let open = step(&placed, &accepted(&placed, PlacedStatus::Live), held.now);
    assert_eq!((open.revision, open.status), (2, OrderStatus::Open));
    held.store.record(&placed, &open).await.unwrap();
    let error = held.store.record(&placed, &open).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed(key) if key == placed.key()), "{error}");
    assert_eq!(ledger.attempt(&placed).await, open);
    let rejected = step(&placed, &Event::NeverSent, held.now);
    assert!(held.store.record(&placed, &rejected).await.is_err(), "a live order does not become an error");
    assert_eq!(held.store.outbox_next(0, 10).await.unwrap().len(), 2);
}

async fn positions_follow_fills(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let buy = held.place(tenant.buy(1, "20", "0.40"), &keyring).await;
    let part = step(&buy, &filled(&buy, ClobOrderStatus::Live, "8", false), held.now);
    assert_eq!(part.status, OrderStatus::PartiallyFilled);
    held.store.record(&buy, &part).await.unwrap();
    // 8 are held: a quarter of them are 2, and the BUY is left alone.
    let mut quarter = tenant.close(2, 1, 4, "0.50");
    quarter.flat = true;
    let close = only_sell(&held.gate(vec![quarter.into()], &keyring).await.unwrap());
    assert_eq!(close.shares, shares("2"));
    let whole = step(&part, &filled(&part, ClobOrderStatus::Matched, "20", true), held.now);
    assert_eq!(whole.status, OrderStatus::Filled);
    held.store.record(&part, &whole).await.unwrap();
    // 20 are held, 2 of them being sold: the rest is due, and goes when that is known.
    let gated = held.gate(vec![tenant.close(3, 1, 1, "0.50").into()], &keyring).await.unwrap();
    assert_eq!(gated, [Gated::Owed(shares("18"))]);
    let sold = step(&close, &filled(&close, ClobOrderStatus::Matched, "2", false), held.now);
    held.store.record(&close, &sold).await.unwrap();
    // Its trade failed: the two are back, and due again.
    let failed = Fills { failed: shares("2"), ..Fills::default() };
    let event = Event::Seen(Seen { status: ClobOrderStatus::Matched, matched: shares("2"), fills: failed });
    let back = step(&sold, &event, held.now);
    assert_eq!((back.status, back.filled_shares), (OrderStatus::Cancelled, schemas::Shares::ZERO));
    held.store.record(&sold, &back).await.unwrap();
    let rest = only_sell(&held.turns(&keyring).await);
    assert_eq!((rest.shares, rest.attempt), (shares("20"), 1));
    // The cost of what is held counts against the policy's cap: $8 and this one's $5.
    let mut intent = tenant.buy(5, "10", "0.50");
    intent.max_usdc_per_token = usdc("12.99");
    assert_eq!(denial(&held.place(intent.clone(), &keyring).await), Some(Denial::CapExceededPosition));
    intent.max_usdc_per_token = usdc("13");
    intent.head = tenant.head(1, 1, 1, Side::Buy, 6);
    assert_eq!(denial(&held.place(intent, &keyring).await), None);
    // Nobody else of the tenant may buy the other side of what is held.
    assert_eq!(
        denial(&held.place(tenant.buy_of(2, 1, 2, 7, "10", "0.10"), &keyring).await),
        Some(Denial::OppositeHeld)
    );
}

async fn a_balance_is_less_what_it_does_not_show_yet(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let key = BudgetKey { billing_account_id: tenant.account, mode: Mode::Simulated };
    let mut held = Held::claim(&ledger, 0, "a").await;
    let before = held.now.minus(Duration::from_secs(1));
    held.store.keep_balance(key, usdc("12"), before).await.unwrap();
    // An answer to an older question changes nothing.
    held.store.keep_balance(key, usdc("1000"), before.minus(Duration::from_secs(1))).await.unwrap();
    assert_eq!(held.store.budgets().await.unwrap(), [(key, Some(before))]);
    let buy = held.place(tenant.buy(1, "10", "0.50"), &keyring).await;
    assert_eq!(
        denial(&held.place(tenant.buy(2, "10", "0.71"), &keyring).await),
        Some(Denial::InsufficientBalance)
    );
    let matched = step(&buy, &filled(&buy, ClobOrderStatus::Matched, "10", false), held.now);
    held.store.record(&buy, &matched).await.unwrap();
    assert_eq!(
        denial(&held.place(tenant.buy(3, "10", "0.71"), &keyring).await),
        Some(Denial::InsufficientBalance)
    );
    // Read again after all of it was settled: the balance shows it.
    let settled = step(&matched, &filled(&matched, ClobOrderStatus::Matched, "10", true), held.now);
    held.store.record(&matched, &settled).await.unwrap();
    held.store.keep_balance(key, usdc("7.1"), held.now.plus(Duration::from_secs(1))).await.unwrap();
    held.now = held.now.plus(Duration::from_secs(2));
    assert_eq!(denial(&held.place(tenant.buy(4, "10", "0.71"), &keyring).await), None);
}

async fn events_come_by_revision_until_they_are_published(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let mut latest = Vec::new();
    for placed in attempts(&held.gate(buys(&tenant, 0..4, "10", "0.10"), &keyring).await.unwrap()) {
        let open = step(&placed, &accepted(&placed, PlacedStatus::Live), held.now);
        held.store.record(&placed, &open).await.unwrap();
        latest.push(open);
    }
    for open in latest {
        // The clock went back meanwhile: revisions come in order all the same.
        let early = held.now.minus(Duration::from_secs(60));
        let ended = step(&open, &filled(&open, ClobOrderStatus::Canceled, "0", false), early);
        held.store.record(&open, &ended).await.unwrap();
    }
    let mut seen: std::collections::BTreeMap<AttemptKey, i64> = std::collections::BTreeMap::new();
    loop {
        let rows = held.store.outbox_next(0, 5).await.unwrap();
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            let before = seen.insert(row.key, row.revision).unwrap_or(0);
            assert_eq!(row.revision, before + 1, "of one order, by revision");
        }
        let names: Vec<_> = rows.iter().map(|r| (r.key, r.revision)).collect();
        held.store.outbox_published(&names).await.unwrap();
    }
    assert_eq!(seen.values().copied().collect::<Vec<_>>(), [3, 3, 3, 3]);
    assert!(held.store.outbox_next(1, 5).await.unwrap().is_empty(), "another partition's");
    held.store.forget_published(0, held.now.plus(Duration::from_secs(1))).await.unwrap();
    // What was never published stays, however old.
    let placed = held.place(tenant.buy(9, "10", "0.10"), &keyring).await;
    held.store.forget_published(0, held.now.plus(Duration::from_secs(9_000))).await.unwrap();
    assert_eq!(held.store.outbox_next(0, 5).await.unwrap()[0].key, placed.key());
}

async fn what_is_due_comes_longest_due_first(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let placed = attempts(&held.gate(buys(&tenant, 0..4, "10", "0.10"), &keyring).await.unwrap());
    let at = |secs| held.now.plus(Duration::from_secs(secs));
    assert!(
        held.store.due(0, Class::Urgent, at(1), 10).await.unwrap().is_empty(),
        "just committed, and in hand"
    );
    for (attempt, secs) in placed.iter().zip([4, 2, 9, 3]) {
        held.store.looked(attempt.key(), 1, 1, Some(at(secs))).await.unwrap();
    }
    // A look at an older revision is no look at this one.
    held.store.looked(placed[0].key(), 7, 1, None).await.unwrap();
    let due = held.store.due(0, Class::Urgent, at(5), 10).await.unwrap();
    let order: Vec<_> = due.iter().map(Attempt::key).collect();
    assert_eq!(order, [placed[1].key(), placed[3].key(), placed[0].key()]);
    assert_eq!((due[0].asked, due[0].revision), (1, 1));
    assert_eq!(held.store.due(0, Class::Urgent, at(5), 1).await.unwrap().len(), 1);
    assert!(held.store.due(1, Class::Urgent, at(5), 10).await.unwrap().is_empty());
    held.store.looked(placed[1].key(), 1, 2, None).await.unwrap();
    assert_eq!(
        held.store.due(0, Class::Urgent, at(9_999), 10).await.unwrap().len(),
        3,
        "never again is never due"
    );
}

async fn what_rests_is_apart_from_what_is_urgent(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let placed = attempts(&held.gate(buys(&tenant, 0..6, "10", "0.10"), &keyring).await.unwrap());
    let live = accepted(&placed[0], PlacedStatus::Live);
    let open: Vec<Attempt> = placed.iter().map(|a| step(a, &live, held.now)).collect();
    let rests = open[0].clone();
    let part = step(&open[1], &filled(&open[1], ClobOrderStatus::Live, "4", false), held.now);
    let cancelling = step(&open[2], &Event::CancelAsked { cause: "void".into() }, held.now);
    // Ended, but a trade of it can still fail; and ended for good, and watched.
    let unsettled = step(&open[3], &filled(&open[3], ClobOrderStatus::Canceled, "4", false), held.now);
    let settled =
        step(&open[4], &filled(&open[4], ClobOrderStatus::CanceledExpiredOrder, "4", true), held.now);
    for (before, after) in placed.iter().zip([&rests, &part, &cancelling, &unsettled, &settled]) {
        held.store.record(before, &Attempt { next_look_at: Some(held.now), ..after.clone() }).await.unwrap();
    }
    let at = held.now.plus(Duration::from_secs(60));
    let due = |class| {
        let store = held.store.clone();
        async move {
            let due = store.due(0, class, at, 10).await.unwrap();
            assert!(due.iter().all(|a| follow::class(a) == class), "{due:#?}");
            due.iter().map(Attempt::key).collect::<std::collections::BTreeSet<_>>()
        }
    };
    let keys = |of: &[&Attempt]| of.iter().map(|a| a.key()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(due(Class::Resting).await, keys(&[&rests, &part, &settled]));
    assert_eq!(due(Class::Urgent).await, keys(&[&cancelling, &unsettled, &placed[5]]));
    // A connection's orders: those that rest, and those that are looked at at all.
    let connection = tenant.connection.id;
    let resting = held.store.resting(0, connection).await.unwrap();
    assert_eq!(
        resting.iter().map(Attempt::key).collect::<std::collections::BTreeSet<_>>(),
        keys(&[&rests, &part])
    );
    assert!(held.store.resting(1, connection).await.unwrap().is_empty());
    assert!(held.store.resting(0, uuid::Uuid::nil()).await.unwrap().is_empty());
    assert_eq!(held.store.followed(0).await.unwrap(), [(connection, Mode::Simulated)].into());
    assert!(held.store.followed(1).await.unwrap().is_empty());
}

async fn a_connection_s_orders_are_made_due_at_once_and_no_others(ledger: Ledger) {
    let (tenant, other) = (Tenant::new(1), Tenant::new(2));
    let keyring = keyring(&[(1, &tenant), (2, &other)]);
    ledger.add(1, &tenant).await;
    ledger.add(2, &other).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let mine = attempts(&held.gate(buys(&tenant, 0..3, "10", "0.10"), &keyring).await.unwrap());
    let theirs = attempts(&held.gate(buys(&other, 5..6, "10", "0.10"), &keyring).await.unwrap());
    let later = held.now.plus(Duration::from_secs(600));
    for attempt in mine.iter().chain(&theirs) {
        held.store.looked(attempt.key(), 1, 4, Some(later)).await.unwrap();
    }
    held.store.looked(mine[2].key(), 1, 4, None).await.unwrap();
    let now = held.now.plus(Duration::from_secs(60));
    held.store.make_due(1, tenant.connection.id, now).await.unwrap();
    assert!(held.store.due(0, Class::Urgent, now, 10).await.unwrap().is_empty(), "another partition's");
    held.store.make_due(0, tenant.connection.id, now).await.unwrap();
    let due: Vec<_> =
        held.store.due(0, Class::Urgent, now, 10).await.unwrap().iter().map(Attempt::key).collect();
    assert_eq!(due, [mine[0].key(), mine[1].key()], "neither another's nor what is never looked at again");
    // By their ids at the venue.
    let ids = [mine[2].order_id.unwrap(), schemas::OrderId::from_bytes([9; 32]), mine[0].order_id.unwrap()];
    let mut expected = [mine[0].key(), mine[2].key()];
    expected.sort();
    assert_eq!(held.store.by_order_id(0, &ids).await.unwrap(), expected);
    assert!(held.store.by_order_id(1, &ids).await.unwrap().is_empty());
    held.store.ticked(0, now).await.unwrap();
    held.store.ticked(0, held.now).await.unwrap();
}

/// Refused, and looked into: with that finding.
async fn refuse(held: &Held, attempt: &Attempt, at: Timestamp, ailment: Ailment) -> Attempt {
    let refused = Event::Answered {
        sent_at: at,
        outcome: SubmitOutcome::Rejected { message: "no".into(), cause: RejectCause::Other },
    };
    let rejected = transition(attempt, &refused, at).unwrap();
    held.store.record(attempt, &rejected).await.unwrap();
    assert_eq!(held.store.diagnosis(attempt.key()).await.unwrap(), None);
    let found = Diagnosis { ailment, detail: "what was found".into() };
    let told = transition(&rejected, &Event::Diagnosed { detail: found.detail.clone() }, at).unwrap();
    held.store.diagnose(&rejected, &told, &found, at).await.unwrap();
    assert_eq!(held.store.diagnosis(attempt.key()).await.unwrap(), Some(found.clone()));
    // Once: what was found stands.
    let again = held.store.diagnose(&rejected, &told, &found, at).await;
    assert!(matches!(again, Err(StoreError::Changed(key)) if key == attempt.key()), "{again:?}");
    told
}

async fn a_pause_comes_of_five_rejections_in_a_row_and_is_told(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let placed = attempts(&held.gate(buys(&tenant, 0..9, "10", "0.10"), &keyring).await.unwrap());
    let at = |n: usize| held.now.plus(Duration::from_secs(10 + u64::try_from(n).unwrap()));
    let pause = |n: usize| Pause {
        account: tenant.account,
        mode: Mode::Simulated,
        partition: 0,
        id: uuid::Uuid::from_u128(0x9a),
        reason: "five in a row",
        at: at(n),
    };
    // One for another cause, and four for want of money.
    for (n, attempt) in placed[..5].iter().enumerate() {
        let ailment = if n == 0 { Ailment::Other } else { Ailment::Allowance };
        refuse(&held, attempt, at(n), ailment).await;
        assert!(!held.store.pause_after_rejections(&pause(n)).await.unwrap(), "{n}");
    }
    // In another mode nothing was ever answered.
    let paper = Pause { mode: Mode::Paper, ..pause(5) };
    refuse(&held, &placed[5], at(5), Ailment::Balance).await;
    assert!(!held.store.pause_after_rejections(&paper).await.unwrap());
    assert!(held.store.pause_after_rejections(&pause(5)).await.unwrap());
    assert!(!held.store.pause_after_rejections(&pause(6)).await.unwrap(), "it is paused");
    // The gate sees it, in the same database.
    let denied = attempts(&held.gate(buys(&tenant, 20..21, "10", "0.10"), &keyring).await.unwrap());
    assert_eq!(denial(&denied[0]), Some(Denial::TenantPaused));
    let told = held.store.controls_next(0, 10).await.unwrap();
    assert!(held.store.controls_next(1, 10).await.unwrap().is_empty());
    let [row] = told.as_slice() else { panic!("{told:?}") };
    let ControlsEvent::ControlState(state) = codec().decode::<ControlsEvent>(&row.value).unwrap() else {
        panic!("no switch")
    };
    assert_eq!(
        (state.billing_account_id, state.kind, state.active),
        (Some(tenant.account), ControlKind::Pause, true)
    );
    assert_eq!((state.reason.as_str(), state.revision, row.revision), ("five in a row", 1, 1));
    held.store.controls_published(&[(row.account, row.revision)]).await.unwrap();
    assert!(held.store.controls_next(0, 10).await.unwrap().is_empty());
}

async fn unresolved_attempts_are_all_found(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let placed = attempts(&held.gate(buys(&tenant, 0..7, "10", "0.10"), &keyring).await.unwrap());
    let open = step(&placed[0], &accepted(&placed[0], PlacedStatus::Live), held.now);
    held.store.record(&placed[0], &open).await.unwrap();
    let delayed = step(&placed[1], &accepted(&placed[1], PlacedStatus::Delayed), held.now);
    held.store.record(&placed[1], &delayed).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = held.store.unresolved(0, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key());
        found.extend(page.iter().map(Attempt::key));
    }
    let mut expected: Vec<_> = placed[1..].iter().map(Attempt::key).collect();
    expected.sort();
    assert_eq!(found, expected);
    assert!(held.store.unresolved(1, None, 10).await.unwrap().is_empty());
}

async fn deferred_intents_are_kept_until_they_are_gated(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let old = held.place(tenant.buy(1, "10", "0.10"), &keyring).await;
    let mut intent = tenant.buy(2, "10", "0.50");
    intent.replaces = Some(old.idempotency_key);
    let gated = held.gate(vec![intent.clone().into()], &keyring).await.unwrap();
    let [Gated::Cancelling(cancelling), Gated::Deferred(Wait::Order(_))] = gated.as_slice() else {
        panic!("{gated:?}")
    };
    assert_eq!(ledger.attempt(&old).await.cancel_cause.as_deref(), Some("replaced"));
    assert!(held.store.deferred(0, held.now, 10).await.unwrap().is_empty(), "not at once");
    let later = held.now.plus(Duration::from_secs(1));
    let waiting = held.store.deferred(0, later, 10).await.unwrap();
    assert_eq!(waiting.len(), 1);
    let again: IntentsEvent = codec().decode(&waiting[0].value).unwrap();
    assert_eq!(again, intent.into());
    // The old one is still there: it waits on, and less often.
    held.now = held.now.plus(Duration::from_secs(40));
    let gated = held.gate_deferred(vec![again.clone()], &keyring).await.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Deferred(_)]), "{gated:?}");
    assert!(held.store.deferred(0, held.now.plus(Duration::from_secs(5)), 10).await.unwrap().is_empty());
    let unsent = step(cancelling, &Event::CancelledUnsent, held.now);
    held.store.record(cancelling, &unsent).await.unwrap();
    let gated = held.gate_deferred(vec![again.clone()], &keyring).await.unwrap();
    assert!(
        matches!(gated.as_slice(), [Gated::Inserted(a)] if a.status == OrderStatus::Reserved),
        "{gated:?}"
    );
    let long = held.now.plus(Duration::from_secs(9_000));
    assert!(held.store.deferred(0, long, 10).await.unwrap().is_empty());
    // Gated again after a lost answer: it is there already.
    let gated = held.gate_deferred(vec![again], &keyring).await.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Nothing(_)]), "{gated:?}");
}

async fn a_cancel_marks_the_order_that_it_names(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let buy = tenant.buy(1, "10", "0.10");
    let cancel = tenant.cancel(2, &buy.head);
    let gated = held.gate(vec![cancel.clone().into()], &keyring).await.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Nothing(_)]), "never placed: {gated:?}");
    let placed = held.place(buy, &keyring).await;
    let gated = held.gate(vec![cancel.clone().into(), cancel.into()], &keyring).await.unwrap();
    let [Gated::Cancelling(marked), Gated::Nothing(_)] = gated.as_slice() else { panic!("{gated:?}") };
    assert_eq!((marked.revision, marked.cancel_cause.as_deref()), (2, Some("void")));
    assert_eq!(ledger.attempt(&placed).await, **marked);
    assert_eq!(held.store.due(0, Class::Urgent, held.now, 10).await.unwrap().len(), 1, "to be looked at now");
    assert_eq!(held.store.outbox_next(0, 10).await.unwrap().len(), 2);
}

async fn offsets_and_revisions_are_kept(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let placed = held.place(tenant.buy(1, "10", "0.10"), &keyring).await;
    let stranger = AttemptKey { attempt: 9, ..placed.key() };
    let revisions = held.store.revisions(&[placed.key(), stranger]).await.unwrap();
    assert_eq!(revisions.into_iter().collect::<Vec<_>>(), [(placed.key(), 1)]);

    let at = TopicPartition::new(Topic::Orders, 4);
    let offset = |next: i64| StoredOffset {
        log_id: log_id(),
        at,
        next: Offset(next),
        before: (next > 0).then(|| Hash32::from_bytes([1; 32])),
    };
    for next in [0, 7, 3] {
        held.store.keep_agreed(&offset(next)).await.unwrap();
    }
    let kept = held.store.agreed_offsets().await.unwrap();
    assert_eq!(kept.into_iter().collect::<Vec<_>>(), [(4, offset(7))], "it never goes back");
    let owners = held.store.accounts(&[tenant.account, Tenant::new(5).account]).await.unwrap();
    assert_eq!(owners.into_iter().collect::<Vec<_>>(), [(tenant.account, tenant.user)]);
}

async fn secrets_are_kept_as_they_are_sealed(ledger: Ledger) {
    let mut tenant = Tenant::new(1);
    tenant.connection.approved = false;
    ledger.add(1, &tenant).await;
    let store = ledger.store();
    let id = tenant.connection.id;
    store.keep_credentials(id, b"\x00sealed\xff").await.unwrap();
    store.approve(id, common::START).await.unwrap();
    let active = store.active_connections(&[tenant.account]).await.unwrap();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].api_credentials.as_deref(), Some(&b"\x00sealed\xff"[..]));
    assert_eq!(active[0].signing_key, common::sealed_key(1, id));
    assert!(active[0].connection.approved);
    assert_eq!(store.connection(id).await.unwrap().as_ref(), Some(&active[0]));
    assert_eq!(store.connection(tenant.account.as_uuid()).await.unwrap(), None);
}

/// Invariant 4. Each executor believes that it owns the tenant's partition; they gate at the same time.
async fn no_cap_is_exceeded_by_concurrent_gates(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    ledger.set_grant(&tenant, Grant { daily: usdc("52"), hourly: 40, ..grant() }).await;
    let executors = join_all((0..12).map(|p| Held::claim(&ledger, p, "a"))).await;
    let ledger = &ledger;
    let done = join_all(executors.into_iter().enumerate().map(|(e, mut held)| {
        let (tenant, keyring) = (tenant.clone(), keyring.clone());
        async move {
            let mut mine = Vec::new();
            for round in 0..6u32 {
                // Some intents are the same for everybody, so that they also meet on the unique keys.
                let own = 1_000 + u32::try_from(e).unwrap() * 100 + round;
                let batch =
                    vec![tenant.buy(round, "10", "0.20").into(), tenant.buy(own, "10", "0.30").into()];
                mine.extend(attempts(&held.gate(batch, &keyring).await.unwrap()));
            }
            mine
        }
    }))
    .await;
    let placed: Vec<Attempt> = done.into_iter().flatten().collect();
    let live: Vec<&Attempt> = placed.iter().filter(|a| a.status == OrderStatus::Reserved).collect();
    let spent: Usdc = live.iter().map(|a| a.counted()).sum();
    assert!(spent <= usdc("52") && live.len() <= 40, "{spent} in {} orders", live.len());
    assert!(spent > usdc("49"), "and what fits is placed: {spent}");
    let mut keys: Vec<AttemptKey> = placed.iter().map(Attempt::key).collect();
    keys.sort();
    let count = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), count, "nobody was told twice that it is his");
    for attempt in live {
        assert_eq!(ledger.attempt(attempt).await.status, OrderStatus::Reserved);
    }
}
