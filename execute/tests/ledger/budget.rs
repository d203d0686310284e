//! Caps, switches, balances and pauses as the gate reads them.

use std::time::Duration;

use crate::{
    accepted, attempts, buys,
    common::{
        START, Tenant, grant, keyring,
        ledger::{Held, Ledger, codec, on_both, one},
        usdc,
    },
    filled, step,
};
use execute::{
    StoreError,
    core::{
        Attempt, AttemptKey, Event,
        diagnosis::{Ailment, Diagnosis},
        gate::denial,
        snapshot::Grant,
        transition,
    },
    store::{BudgetKey, Pause},
};
use futures_util::future::join_all;
use schemas::{ControlKind, Denial, Mode, OrderStatus, TargetStatus, Timestamp, Usdc, events::ControlsEvent};
use venue::{
    outcome::{RejectCause, SubmitOutcome},
    wire::{ClobOrderStatus, PlacedStatus},
};

on_both! {
    caps_count_what_is_committed_and_what_is_in_the_batch,
    ended_orders_give_their_part_back,
    switches_grants_and_targets_are_read_at_the_gate,
    a_tenant_sees_no_budget_of_another,
    a_balance_is_less_what_it_does_not_show_yet,
    what_rests_for_days_counts_as_long_as_it_lives_and_a_day_after,
    a_pause_comes_of_five_rejections_in_a_row_and_is_told,
    no_cap_is_exceeded_by_concurrent_gates,
}

async fn caps_count_what_is_committed_and_what_is_in_the_batch(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    ledger.set_grant(&tenant, Grant { daily: usdc("22"), hourly: 6, ..grant() }).await;
    let mut held = Held::claim(&ledger, 0, "a").await;
    let mut placed = vec![held.place(tenant.buy(0, "10", "0.50"), &keyring).await];
    let gated = held.gate(buys(&tenant, 1..6, "10", "0.50"), &keyring).await.unwrap();
    placed.extend(attempts(&gated));
    let denials: Vec<_> = attempts(&gated).iter().map(denial).collect();
    let over = Some(Denial::CapExceededDaily);
    assert_eq!(denials, [None, None, None, over, over], "4 x $5 of $22");
    placed.push(held.place(tenant.buy(7, "5", "0.40"), &keyring).await);
    assert_eq!(denial(&placed[6]), None, "exactly the last two dollars");
    for attempt in placed.iter().filter(|a| !a.is_final) {
        let size = attempt.shares.to_string();
        end(&held, attempt, ClobOrderStatus::Matched, &size).await;
    }
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
    ledger.set_grant(&tenant, Grant { expires_at: Some(START), ..grant() }).await;
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

/// The venue tells its end, with so much filled and confirmed.
async fn end(held: &Held, attempt: &Attempt, status: ClobOrderStatus, size: &str) -> Attempt {
    let ended = step(attempt, &filled(attempt, status, size, true), held.now);
    assert!(ended.is_final);
    held.store.record(attempt, &ended).await.unwrap();
    ended
}

async fn what_rests_for_days_counts_as_long_as_it_lives_and_a_day_after(ledger: Ledger) {
    let (tenant, keyring) = one();
    ledger.add(1, &tenant).await;
    ledger.set_grant(&tenant, Grant { daily: usdc("22"), ..grant() }).await;
    let key = BudgetKey { billing_account_id: tenant.account, mode: Mode::Simulated };
    let mut held = Held::claim(&ledger, 0, "a").await;
    let resting = |fill, after: Duration| {
        let mut intent = tenant.buy(fill, "20", "0.50");
        intent.order_ttl_s = 30 * 24 * 3600;
        intent.send_until = intent.send_until.plus(after);
        intent
    };
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let fills = held.place(resting(1, hours(0)), &keyring).await;
    let lapses = held.place(resting(2, hours(0)), &keyring).await;
    assert_eq!((denial(&fills), denial(&lapses)), (None, None));
    let begun = held.now;
    let over = async |held: &mut Held, fill, after, balance: &str| {
        held.now = begun.plus(after);
        // Read a moment ago, as it is all the time: what rests is still in it.
        held.store.keep_balance(key, usdc(balance), held.now).await.unwrap();
        denial(&held.place(resting(fill, after), &keyring).await)
    };
    assert_eq!(over(&mut held, 3, hours(30), "1000").await, Some(Denial::CapExceededDaily), "both live");
    ledger.set_grant(&tenant, Grant { daily: usdc("100"), ..grant() }).await;
    assert_eq!(over(&mut held, 4, hours(31), "29").await, Some(Denial::InsufficientBalance), "both live");
    ledger.set_grant(&tenant, Grant { daily: usdc("22"), ..grant() }).await;
    end(&held, &fills, ClobOrderStatus::Matched, "20").await;
    assert_eq!(over(&mut held, 5, hours(32), "1000").await, Some(Denial::CapExceededDaily), "one was paid");
    end(&held, &lapses, ClobOrderStatus::Canceled, "0").await;
    let third = held.place(resting(6, hours(32)), &keyring).await;
    assert_eq!(denial(&third), None, "one came to nothing");
    end(&held, &third, ClobOrderStatus::Canceled, "0").await;
    // What the first came to counts from its fill, not from when it was written.
    assert_eq!(over(&mut held, 7, hours(54), "1000").await, None);
    assert_eq!(over(&mut held, 8, hours(54), "1000").await, Some(Denial::CapExceededDaily));
    assert_eq!(over(&mut held, 9, hours(56), "1000").await, None, "it was a day ago");
    assert_eq!(over(&mut held, 10, hours(56), "1000").await, Some(Denial::CapExceededDaily));
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
