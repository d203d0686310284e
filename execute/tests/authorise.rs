//! Each rule of behaviour.md 5, by example.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use common::{Tenant, facts, grant, inserted, keyring, price, shares, usdc};
use execute::core::{
    Attempt, Snapshot,
    authorise::{Asked, Authorised, Replaced, authorise},
    close::{Close, plan::Sale},
    gate::{Step, Wait, close_of, denial, gate},
    position::Position,
    snapshot::{Grant, Readiness},
};
use schemas::{
    Denial, Mode, OrderStatus, OrderType, Side, TargetId, TargetStatus, Usdc, events::PlaceIntent,
};

fn buy(snapshot: &Snapshot, intent: &PlaceIntent) -> Result<Authorised, Denial> {
    authorise(snapshot, Asked::Place(intent, Replaced::default()))
}

/// What a BUY of 10 shares at 0.50 is answered once the snapshot was changed.
fn answer(change: impl FnOnce(&mut Snapshot)) -> Result<Usdc, Denial> {
    let tenant = Tenant::new(1);
    let mut snapshot = tenant.snapshot();
    change(&mut snapshot);
    buy(&snapshot, &tenant.buy(1, "10", "0.50")).map(|a| a.cost)
}

fn granted(change: impl FnOnce(&mut Grant)) -> Result<Usdc, Denial> {
    answer(|s| {
        let mut changed = grant();
        change(&mut changed);
        s.grant = Some(changed);
    })
}

/// The answer to a SELL that its close has planned: 10 shares at 0.47.
fn close_answer(change: impl FnOnce(&mut Snapshot)) -> Result<Authorised, Denial> {
    let tenant = Tenant::new(1);
    let mut snapshot = tenant.snapshot();
    change(&mut snapshot);
    let head = tenant.close(9, 1, 2, "0.50").head;
    let made = Box::new(Close::new(close_of(&head), head.condition_id, 0, common::START));
    let sale = Sale {
        asset: head.asset.clone(),
        head,
        facts: facts(1),
        limit: price("0.47"),
        shares: shares("10"),
        order_type: OrderType::Fak,
        expires_at: None,
        book: None,
        at_floor: false,
        made,
    };
    authorise(&snapshot, Asked::Sell(&sale))
}

fn holding(tenant: &Tenant, held: &str, cost: &str) -> Snapshot {
    let mut snapshot = tenant.snapshot();
    let head = tenant.head(1, 1, 1, Side::Buy, 1);
    let position = Position { condition_id: head.condition_id, held: shares(held), cost: usdc(cost) };
    snapshot.positions.insert((head.target_id, head.asset), position);
    snapshot
}

/// A BUY that is alive.
fn alive(tenant: &Tenant, intent: PlaceIntent) -> Attempt {
    inserted(&mut tenant.snapshot(), intent, &keyring(&[(1, tenant)]))
}

#[test]
fn a_buy_costs_its_shares_at_the_limit_and_the_worst_fee() {
    assert_eq!(answer(|_| {}), Ok(usdc("5")));
    let tenant = Tenant::new(1);
    let mut intent = tenant.buy(1, "100", "0.90");
    intent.facts.fee_rate = 50_000;
    // 100 shares may fill at 0.50: 100 x 0.05 x 0.25 = 1.25.
    assert_eq!(buy(&tenant.snapshot(), &intent).unwrap().cost, usdc("91.25"));
    // $10 may buy 1,000 shares at a cent: 10 x 0.05 x 0.99.
    let mut intent = tenant.buy_now(1, "10", "0.90");
    intent.facts.fee_rate = 50_000;
    let authorised = buy(&tenant.snapshot(), &intent).unwrap();
    assert_eq!((authorised.cost, authorised.order_type), (usdc("10.495"), OrderType::Fak));
}

#[test]
fn a_limit_order_rests_for_its_ttl_and_never_for_less_than_four_minutes() {
    let tenant = Tenant::new(1);
    let mut intent = tenant.buy(1, "10", "0.50");
    let lapses = |intent: &PlaceIntent| buy(&tenant.snapshot(), intent).unwrap().expires_at.unwrap();
    assert_eq!(lapses(&intent).secs(), common::START.secs() + 601);
    intent.order_ttl_s = 60;
    assert_eq!(lapses(&intent).secs(), common::START.secs() + 241);
}

#[test]
fn switches_stop_buys() {
    assert_eq!(answer(|s| s.switches.global_pause = true), Err(Denial::GloballyPaused));
    assert_eq!(answer(|s| s.switches.global_halt = true), Err(Denial::Halted));
    assert_eq!(answer(|s| s.switches.tenant_halt = true), Err(Denial::Halted));
    assert_eq!(answer(|s| s.switches.tenant_pause = true), Err(Denial::TenantPaused));
}

#[test]
fn a_wallet_that_cannot_trade_buys_nothing() {
    assert_eq!(answer(|s| s.connection = None), Err(Denial::NoConnection));
    assert_eq!(answer(|s| s.connection.as_mut().unwrap().approved = false), Err(Denial::TradingNotReady));
    assert_eq!(answer(|s| s.readiness = Readiness::Refused), Err(Denial::TradingNotReady));
    assert_eq!(answer(|s| s.served = false), Err(Denial::TradingNotReady));
}

#[test]
fn a_grant_is_needed_for_buying() {
    assert_eq!(answer(|s| s.grant = None), Err(Denial::NoActiveGrant));
    assert_eq!(granted(|g| g.revoked = true), Err(Denial::GrantRevoked));
    assert_eq!(granted(|g| g.expires_at = Some(common::START)), Err(Denial::GrantExpired));
    assert_eq!(granted(|g| g.scopes = vec!["poly:trade:sell".into()]), Err(Denial::ScopeMissing));
    let second = std::time::Duration::from_secs(1);
    assert!(granted(|g| g.expires_at = Some(common::START.plus(second))).is_ok());
}

#[test]
fn the_target_must_still_be_followed_as_it_was() {
    let with = |status| answer(|s| s.targets.values_mut().for_each(|t| t.status = status));
    assert_eq!(with(TargetStatus::Paused), Err(Denial::TargetPaused));
    assert_eq!(with(TargetStatus::Closing), Err(Denial::TargetInactive));
    assert_eq!(with(TargetStatus::Removed), Err(Denial::TargetInactive));
    assert_eq!(answer(|s| s.targets.clear()), Err(Denial::TargetInactive));
    // A target that was switched to another mode since the decision is another target.
    assert_eq!(
        answer(|s| s.targets.values_mut().for_each(|t| t.mode = Mode::Live)),
        Err(Denial::TargetInactive)
    );
}

#[test]
fn a_buy_of_an_old_fill_is_too_late() {
    let late = |secs| answer(|s| s.now = common::START.plus(std::time::Duration::from_secs(secs)));
    assert!(late(120).is_ok());
    assert_eq!(late(121), Err(Denial::IntentExpired));
}

#[test]
fn nobody_buys_against_another_of_his_own_targets() {
    let tenant = Tenant::new(1);
    let intent = tenant.buy(1, "10", "0.50");
    let other = alive(&tenant, tenant.buy_of(2, 1, 2, 7, "10", "0.40"));
    let mut snapshot = tenant.snapshot();
    snapshot.admit(&other);
    assert_eq!(buy(&snapshot, &intent), Err(Denial::OppositeHeld));
    assert!(buy(&snapshot, &PlaceIntent { allow_both_sides: true, ..intent.clone() }).is_ok());
    // The same target may: it hedges.
    let own = alive(&tenant, tenant.buy_of(1, 1, 2, 7, "10", "0.40"));
    let mut snapshot = tenant.snapshot();
    snapshot.admit(&own);
    assert!(buy(&snapshot, &intent).is_ok());
    // Held counts as bid does, less than 0.01 share does not.
    for (held, answer) in [("0.01", Err(Denial::OppositeHeld)), ("0.009", Ok(usdc("5")))] {
        let mut snapshot = tenant.snapshot();
        let theirs = TargetId::of_wallet(common::wallet(2));
        let position =
            Position { condition_id: common::condition(1), held: shares(held), cost: usdc("0.004") };
        snapshot.positions.insert((theirs, common::asset(1, 2)), position);
        assert_eq!(buy(&snapshot, &intent).map(|a| a.cost), answer, "{held}");
    }
}

#[test]
fn the_wallet_must_be_able_to_pay() {
    let with = |balance, claimed| {
        answer(|s| {
            s.balance = Some(usdc(balance));
            s.claimed = usdc(claimed);
        })
    };
    assert_eq!(with("5", "0"), Ok(usdc("5")));
    assert_eq!(with("4.999999", "0"), Err(Denial::InsufficientBalance));
    assert_eq!(with("12", "7.000001"), Err(Denial::InsufficientBalance));
    assert_eq!(with("12", "7"), Ok(usdc("5")));
    assert_eq!(with("12", "100"), Err(Denial::InsufficientBalance));
}

#[test]
fn the_smaller_of_grant_and_constant_is_enforced() {
    let tenant = Tenant::new(1);
    let mut snapshot = tenant.snapshot();
    let big = |n: &str| tenant.buy(1, n, "0.50");
    assert!(buy(&snapshot, &big("1000")).is_ok());
    assert_eq!(buy(&snapshot, &big("1000.02")), Err(Denial::CapExceededPerOrder));
    // A grant that allows more than the code does not.
    snapshot.grant = Some(Grant { per_order: usdc("9000"), daily: usdc("90000"), hourly: 9_000, ..grant() });
    assert_eq!(buy(&snapshot, &big("1000.02")), Err(Denial::CapExceededPerOrder));
    snapshot.day = usdc("4995");
    assert!(buy(&snapshot, &big("10")).is_ok());
    snapshot.day = usdc("4995.000001");
    assert_eq!(buy(&snapshot, &big("10")), Err(Denial::CapExceededDaily));
    snapshot.day = Usdc::ZERO;
    snapshot.hour = 499;
    assert!(buy(&snapshot, &big("10")).is_ok());
    snapshot.hour = 500;
    assert_eq!(buy(&snapshot, &big("10")), Err(Denial::CapExceededHourlyFills));
    assert_eq!(granted(|g| g.per_order = usdc("4.99")), Err(Denial::CapExceededPerOrder));
    assert_eq!(granted(|g| g.daily = usdc("4.99")), Err(Denial::CapExceededDaily));
    assert_eq!(granted(|g| g.hourly = 0), Err(Denial::CapExceededHourlyFills));
    assert_eq!(granted(|g| g.hourly = 1), Ok(usdc("5")));
}

#[test]
fn the_market_cap_counts_all_targets_and_outcomes_of_the_tenant() {
    let tenant = Tenant::new(1);
    let mut snapshot = holding(&tenant, "20", "8");
    snapshot.grant = Some(Grant { per_market: Some(usdc("17")), ..grant() });
    snapshot.admit(&alive(&tenant, tenant.buy_of(2, 1, 1, 7, "10", "0.40")));
    // 8 held, 4 bid by another target, 5 asked.
    assert!(buy(&snapshot, &tenant.buy(1, "10", "0.50")).is_ok());
    assert_eq!(buy(&snapshot, &tenant.buy(1, "10.01", "0.50")), Err(Denial::CapExceededMarket));
    // Another market has room of its own.
    assert!(buy(&snapshot, &tenant.buy_of(1, 2, 1, 1, "30", "0.50")).is_ok());
}

#[test]
fn the_policys_cap_is_asked_again_for_this_target_and_token() {
    let tenant = Tenant::new(1);
    let mut snapshot = holding(&tenant, "20", "8");
    snapshot.admit(&alive(&tenant, tenant.buy(7, "10", "0.40")));
    snapshot.admit(&alive(&tenant, tenant.buy_of(2, 1, 1, 8, "100", "0.40")));
    let mut intent = tenant.buy(1, "10", "0.50");
    intent.max_usdc_per_token = usdc("17");
    assert!(buy(&snapshot, &intent).is_ok());
    intent.max_usdc_per_token = usdc("16.99");
    assert_eq!(buy(&snapshot, &intent), Err(Denial::CapExceededPosition));
}

#[test]
fn the_order_under_check_is_counted_once() {
    let tenant = Tenant::new(1);
    let keyring = keyring(&[(1, &tenant)]);
    let mut snapshot = tenant.snapshot();
    snapshot.grant = Some(Grant { daily: usdc("5"), hourly: 1, ..grant() });
    let first = inserted(&mut snapshot, tenant.buy(1, "10", "0.50"), &keyring);
    assert_eq!((first.status, first.reserved), (OrderStatus::Reserved, usdc("5")));
    // Redelivered in the same batch: nobody is asked again.
    let again = gate(&mut snapshot, &tenant.buy(1, "10", "0.50").into(), 0, &keyring).unwrap();
    assert!(matches!(again.as_slice(), [Step::Nothing(_)]), "{again:?}");
    let second = inserted(&mut snapshot, tenant.buy(2, "10", "0.50"), &keyring);
    assert_eq!(denial(&second), Some(Denial::CapExceededDaily));
}

#[test]
fn a_close_is_not_stopped_by_pauses_caps_or_an_expired_grant() {
    let sold = close_answer(|_| {}).unwrap();
    assert_eq!((sold.shares, sold.limit, sold.cost), (shares("10"), price("0.47"), Usdc::ZERO));
    assert!(
        close_answer(|s| {
            s.switches.global_pause = true;
            s.switches.tenant_pause = true;
            s.day = usdc("5000");
            s.hour = 500;
            s.balance = Some(Usdc::ZERO);
            s.targets.clear();
            s.grant.as_mut().unwrap().expires_at = Some(common::START);
        })
        .is_ok()
    );
}

#[test]
fn a_close_is_stopped_by_halt_wallet_revocation_and_scope() {
    assert_eq!(close_answer(|s| s.switches.global_halt = true), Err(Denial::Halted));
    assert_eq!(close_answer(|s| s.switches.tenant_halt = true), Err(Denial::Halted));
    assert_eq!(close_answer(|s| s.connection = None), Err(Denial::NoConnection));
    assert_eq!(
        close_answer(|s| s.connection.as_mut().unwrap().approved = false),
        Err(Denial::TradingNotReady)
    );
    assert_eq!(close_answer(|s| s.grant = None), Err(Denial::NoActiveGrant));
    assert_eq!(close_answer(|s| s.grant.as_mut().unwrap().revoked = true), Err(Denial::GrantRevoked));
    assert_eq!(
        close_answer(|s| s.grant.as_mut().unwrap().scopes = vec!["poly:trade:buy".into()]),
        Err(Denial::ScopeMissing)
    );
}

#[test]
fn a_replacing_order_waits_for_the_end_of_the_replaced_and_is_less_by_what_that_filled() {
    let tenant = Tenant::new(1);
    let keyring = keyring(&[(1, &tenant)]);
    let mut snapshot = tenant.snapshot();
    let old = inserted(&mut snapshot, tenant.buy(1, "10", "0.40"), &keyring);
    let mut intent = tenant.buy(2, "10", "0.50");
    intent.replaces = Some(old.idempotency_key);
    let steps = gate(&mut snapshot, &intent.clone().into(), 0, &keyring).unwrap();
    let [Step::Update { after, .. }, Step::Defer(Wait::Order(key))] = steps.as_slice() else {
        panic!("{steps:?}")
    };
    assert_eq!((after.cancel_cause.as_deref(), *key), (Some("replaced"), old.key()));
    let ended = |filled: &str| {
        let mut snapshot = tenant.snapshot();
        let old = Attempt {
            status: OrderStatus::Cancelled,
            is_final: true,
            filled_shares: shares(filled),
            filled_usdc: price("0.40").cost(shares(filled), schemas::Round::Up).unwrap(),
            ..old.clone()
        };
        snapshot.named.insert(old.key(), old);
        inserted(&mut snapshot, intent.clone(), &keyring)
    };
    assert_eq!(ended("0").shares, shares("10"));
    assert_eq!(ended("3.5").shares, shares("6.5"));
    // Five shares are the market's minimum: four and a half are dropped.
    assert_eq!(denial(&ended("5.5")), Some(Denial::Superseded));
}

#[test]
fn what_will_be_denied_anyway_cancels_nothing() {
    let tenant = Tenant::new(1);
    let keyring = keyring(&[(1, &tenant)]);
    let mut snapshot = tenant.snapshot();
    let old = inserted(&mut snapshot, tenant.buy(1, "10", "0.40"), &keyring);
    snapshot.switches.tenant_pause = true;
    let mut intent = tenant.buy(2, "10", "0.50");
    intent.replaces = Some(old.idempotency_key);
    assert_eq!(denial(&inserted(&mut snapshot, intent, &keyring)), Some(Denial::TenantPaused));
}

#[test]
fn an_order_that_cannot_be_built_is_rejected_and_takes_no_budget() {
    let tenant = Tenant::new(1);
    let keyring = keyring(&[(1, &tenant)]);
    let mut snapshot = tenant.snapshot();
    for (fill, mut intent) in [
        (1, tenant.buy(1, "10", "0.505")),
        (2, tenant.buy(2, "0.001", "0.5")),
        (3, tenant.buy(3, "-5", "0.5")),
    ] {
        intent.facts = facts(1);
        let attempt = inserted(&mut snapshot, intent, &keyring);
        assert_eq!(attempt.status, OrderStatus::Rejected, "{fill}");
        assert!(attempt.reason.is_some() && attempt.body.is_none() && attempt.next_look_at.is_none());
    }
    assert_eq!((snapshot.day, snapshot.hour), (Usdc::ZERO, 0));
}

#[test]
fn the_same_attempt_is_the_same_order_whoever_builds_it() {
    let tenant = Tenant::new(1);
    let keyring = keyring(&[(1, &tenant)]);
    let one = inserted(&mut tenant.snapshot(), tenant.buy(1, "10", "0.50"), &keyring);
    let mut later = tenant.snapshot();
    later.now = later.now.plus(std::time::Duration::from_secs(7));
    let two = inserted(&mut later, tenant.buy(1, "10", "0.50"), &keyring);
    // The expiration is not signed; the id says that the venue takes only one of the two.
    assert_eq!(one.order_id, two.order_id);
    let other = inserted(&mut tenant.snapshot(), tenant.buy(2, "10", "0.50"), &keyring);
    assert_ne!(one.order_id, other.order_id);
}
