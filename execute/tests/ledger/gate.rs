//! What the gate commits, under whose lease, and what it refuses to write.

use std::time::Duration;

use crate::{
    attempts, buys,
    common::{
        Tenant, keyring,
        ledger::{Held, LEASE, Ledger, codec, log_id, on_both, one},
        price, usdc,
    },
    step,
};
use eventlog::{Offset, TopicPartition, position::StoredOffset};
use execute::{
    StoreError,
    core::{
        Attempt, AttemptKey, Event,
        follow::Class,
        gate::{Wait, denial},
    },
    store::{BudgetKey, Gated},
};
use schemas::{
    Denial, FillId, Hash32, IdempotencyKey, Mode, OrderStatus, Side,
    events::{IntentsEvent, OrdersEvent, PlaceIntent},
    topics::Topic,
};

on_both! {
    a_gated_intent_is_a_row_an_event_and_an_offset,
    a_batch_is_gated_once,
    a_conflict_means_not_placed,
    one_fill_under_two_names_is_placed_once,
    a_zombie_commits_nothing,
    an_expired_lease_gates_nothing,
    a_new_owner_waits_for_the_old_lease_and_its_own_does_not_keep_it_waiting,
    nothing_is_written_when_something_is_missing,
    deferred_intents_are_kept_until_they_are_gated,
    a_replacement_of_one_that_waits_takes_its_place_whenever_it_is_asked,
    a_cancel_marks_the_order_that_it_names,
    a_cancel_of_what_was_not_sent_yet_leaves_it_to_whoever_sends,
    offsets_and_revisions_are_kept,
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

async fn a_replacement_of_one_that_waits_takes_its_place_whenever_it_is_asked(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let old = held.place(tenant.buy(1, "10", "0.10"), &keyring).await;
    let replacing =
        |fill, replaces| PlaceIntent { replaces: Some(replaces), ..tenant.buy(fill, "10", "0.50") };
    let middle = replacing(2, old.idempotency_key);
    let last = replacing(3, middle.head.idempotency_key);
    let gated = held.gate(vec![middle.clone().into()], &keyring).await.unwrap();
    let [Gated::Cancelling(cancelling), Gated::Deferred(_)] = gated.as_slice() else { panic!("{gated:?}") };
    let cancelling = (**cancelling).clone();
    let waits = Wait::Order(old.key());
    let gated = held.gate(vec![last.clone().into()], &keyring).await.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Deferred(wait)] if *wait == waits), "{gated:?}");
    // Neither goes while the old one may fill, by whichever it is asked.
    let next = Wait::Intent(last.head.idempotency_key);
    for (intent, wait) in [(&last, waits), (&middle, next), (&last, waits)] {
        let gated = held.gate_deferred(vec![intent.clone().into()], &keyring).await.unwrap();
        assert!(matches!(gated.as_slice(), [Gated::Deferred(w)] if *w == wait), "{gated:?}");
    }
    let unsent = step(&cancelling, &Event::CancelledUnsent, held.now);
    held.store.record(&cancelling, &unsent).await.unwrap();
    let gated = held.gate_deferred(vec![middle.clone().into()], &keyring).await.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Deferred(w)] if *w == next), "it is not its turn: {gated:?}");
    let gated = held.gate_deferred(vec![last.into()], &keyring).await.unwrap();
    let rows = attempts(&gated);
    let stand: Vec<_> = rows.iter().map(|a| (a.fill_id.clone(), a.status)).collect();
    let expected =
        [(tenant.buy(3, "10", "0.50"), OrderStatus::Reserved), (middle.clone(), OrderStatus::Denied)];
    assert_eq!(stand, expected.map(|(i, status)| (i.head.fill_id, status)));
    let long = held.now.plus(Duration::from_secs(9_000));
    assert!(held.store.deferred(0, long, 10).await.unwrap().is_empty(), "neither waits any more");
    // Asked again after a lost answer: it has its row.
    let gated = held.gate_deferred(vec![middle.into()], &keyring).await.unwrap();
    assert!(matches!(gated.as_slice(), [Gated::Nothing(_)]), "{gated:?}");
}

/// Between its commit and the moment in which it is handed to its lane, nobody finds it due.
async fn a_cancel_of_what_was_not_sent_yet_leaves_it_to_whoever_sends(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let buy = tenant.buy(1, "10", "0.50");
    let cancel = tenant.cancel(2, &buy.head);
    let gated = held.gate(vec![buy.into(), cancel.into()], &keyring).await.unwrap();
    let [Gated::Inserted(_), Gated::Cancelling(cancelling)] = gated.as_slice() else { panic!("{gated:?}") };
    assert!(cancelling.cancel_asked_at.is_some());
    let due = held.store.due(0, Class::Urgent, held.now.plus(Duration::from_secs(1)), 10).await.unwrap();
    assert!(due.is_empty(), "{due:?}");
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
