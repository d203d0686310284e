//! An attempt's steps: what is written, what is told, and which orders are looked at next.

use std::time::Duration;

use crate::{
    accepted, attempts, buys,
    common::{
        START, Tenant, keyring,
        ledger::{Held, Ledger, on_both, one},
        sealed_key, shares, usdc,
    },
    filled, only_sell, step,
};
use execute::{
    StoreError,
    core::{
        Attempt, AttemptKey, Event,
        fills::Fills,
        follow::{self, Class},
        gate::denial,
        transition::Seen,
    },
    store::Gated,
};
use schemas::{Denial, Mode, OrderStatus, Side};
use venue::wire::{ClobOrderStatus, PlacedStatus};

on_both! {
    a_step_is_written_once,
    positions_follow_fills,
    events_come_by_revision_until_they_are_published,
    what_is_due_comes_longest_due_first,
    what_rests_is_apart_from_what_is_urgent,
    a_connection_s_orders_are_made_due_at_once_and_no_others,
    unresolved_attempts_are_all_found,
    secrets_are_kept_as_they_are_sealed,
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

async fn secrets_are_kept_as_they_are_sealed(ledger: Ledger) {
    let mut tenant = Tenant::new(1);
    tenant.connection.approved = false;
    ledger.add(1, &tenant).await;
    let store = ledger.store();
    let id = tenant.connection.id;
    store.keep_credentials(id, b"\x00sealed\xff").await.unwrap();
    store.approve(id, START).await.unwrap();
    let active = store.active_connections(&[tenant.account]).await.unwrap();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].api_credentials.as_deref(), Some(&b"\x00sealed\xff"[..]));
    assert_eq!(active[0].signing_key, sealed_key(1, id));
    assert!(active[0].connection.approved);
    assert_eq!(store.connection(id).await.unwrap().as_ref(), Some(&active[0]));
    assert_eq!(store.connection(tenant.account.as_uuid()).await.unwrap(), None);
}
