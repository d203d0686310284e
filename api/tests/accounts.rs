//! What tenants change, and that the log is told exactly that.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::time::Duration;

use api::{
    AccountError, Tenant,
    accounts::{Added, ConnectWallet, Positions, SetGrant},
    policy::with_sizing,
    relay::publish,
};
use common::{Setup, setup, wallet};
use schemas::{
    BillingAccountId, ControlKind, Mode, SignatureType, Sizing, TargetRowId, TargetStatus, Usdc, UserId,
    events::{ControlsEvent, GrantState, TargetState, TargetsEvent},
};
use uuid::Uuid;

fn code<T: std::fmt::Debug>(answer: Result<T, AccountError>) -> &'static str {
    answer.unwrap_err().code()
}

/// All that the outbox holds, published.
async fn published(setup: &Setup) -> usize {
    publish(&setup.relay().await, 1_000).await.unwrap()
}

async fn target_states(setup: &Setup) -> Vec<TargetState> {
    published(setup).await;
    let states = setup.targets().await.into_iter().map(|(key, event)| match event {
        TargetsEvent::TargetState(state) => {
            assert_eq!(key, state.wallet.to_string());
            state
        }
        TargetsEvent::CloseRequested(other) => panic!("{other:?}"),
    });
    states.collect()
}

fn fixed(usdc: i64) -> schemas::events::Policy {
    schemas::events::Policy { usdc_per_trade: Some(Usdc::from_units(usdc)), ..with_sizing(Sizing::Fixed) }
}

#[tokio::test]
async fn a_tenant_has_a_name_of_its_own_and_is_found_by_it() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    assert_eq!(setup.operator.find("alice").await.unwrap(), tenant);
    assert_eq!(code(setup.accounts.create_tenant("alice").await), "name_taken");
    for bad in ["", "Alice", "a b", "-a", "é", &"a".repeat(64), "a\0"] {
        assert_eq!(code(setup.accounts.create_tenant(bad).await), "name_invalid", "{bad}");
    }
    assert_eq!(code(setup.operator.find("bob").await), "not_found");
    setup.accounts.create_tenant("bob").await.unwrap();
    let names: Vec<_> =
        setup.operator.list().await.unwrap().into_iter().map(|listed| listed.handle).collect();
    assert_eq!(names.len(), 2);
}

#[tokio::test]
async fn a_target_s_life_is_told_revision_by_revision() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let accounts = &setup.accounts;
    let (target, added) = accounts.target_add(tenant, wallet('a'), Mode::Simulated, fixed(2)).await.unwrap();
    assert_eq!((added, target.revision, target.policy_revision), (Added::New, 1, 1));
    assert_eq!(target.policy.set_at, target.created_at);
    setup.clock.advance(Duration::from_secs(10));
    let set = accounts.target_set(tenant, target.row, &["usdc_per_trade=3", "order_ttl=15m"]).await.unwrap();
    assert_eq!((set.revision, set.policy_revision, set.policy.order_ttl_s), (2, 2, Some(900)));
    let paused = accounts.target_pause(tenant, target.row, true).await.unwrap();
    assert_eq!((paused.revision, paused.policy_revision, paused.status), (3, 2, TargetStatus::Paused));
    accounts.target_pause(tenant, target.row, false).await.unwrap();
    let removed = accounts.target_remove(tenant, target.row, Positions::Follow, None).await.unwrap();
    assert_eq!((removed.revision, removed.status, removed.close_now), (5, TargetStatus::Closing, false));
    let closed = accounts.target_remove(tenant, target.row, Positions::Close, None).await.unwrap();
    assert_eq!((closed.revision, closed.close_now), (6, true));
    let states = target_states(&setup).await;
    assert_eq!(states.iter().map(|state| state.revision).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let last = states.last().unwrap();
    assert_eq!((last.target_row_id, last.billing_account_id), (target.row, tenant.account));
    assert_eq!(last.target_id, schemas::TargetId::of_wallet(wallet('a')));
    assert_eq!(last.policy, set.policy);
    assert_eq!(
        (last.created_at, last.status, last.close_now),
        (target.created_at, TargetStatus::Closing, true)
    );
    assert_eq!(accounts.target_list(tenant).await.unwrap(), [closed]);
}

#[tokio::test]
async fn what_changes_nothing_makes_no_revision_and_tells_nobody() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let accounts = &setup.accounts;
    let (target, _) = accounts.target_add(tenant, wallet('a'), Mode::Simulated, fixed(2)).await.unwrap();
    // As typed by somebody else: the same wallet, and other settings, which a POST does not change.
    let upper = "0xAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse().unwrap();
    let again = accounts.target_add(tenant, upper, Mode::Simulated, fixed(9)).await.unwrap();
    assert_eq!(again, (target.clone(), Added::Already));
    assert_eq!(accounts.target_set(tenant, target.row, &["usdc_per_trade=2.00"]).await.unwrap(), target);
    assert_eq!(accounts.target_pause(tenant, target.row, false).await.unwrap(), target);
    let grant = accounts.grant_set(tenant, terms(), None).await.unwrap();
    assert_eq!(accounts.grant_set(tenant, terms(), None).await.unwrap(), grant);
    let pause = accounts.control_set(tenant, ControlKind::Pause, true, "x", None).await.unwrap();
    assert_eq!(accounts.control_set(tenant, ControlKind::Pause, true, "x", None).await.unwrap(), pause);
    let connection = accounts.wallet_connect(tenant, connect(1, '1')).await.unwrap();
    assert_eq!(accounts.wallet_connect(tenant, connect(1, '1')).await.unwrap(), connection);
    assert_eq!(published(&setup).await, 4);
}

#[tokio::test]
async fn a_wallet_followed_again_while_it_closes_is_the_same_target() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let accounts = &setup.accounts;
    let (first, _) = accounts.target_add(tenant, wallet('a'), Mode::Simulated, fixed(2)).await.unwrap();
    accounts.target_remove(tenant, first.row, Positions::Close, None).await.unwrap();
    assert_eq!(code(accounts.target_pause(tenant, first.row, true).await), "target_closing");
    assert_eq!(code(accounts.target_set(tenant, first.row, &["usdc_per_trade=3"]).await), "target_closing");
    assert_eq!(
        code(accounts.target_add(tenant, wallet('a'), Mode::Paper, fixed(2)).await),
        "target_mode_differs"
    );
    let (again, added) = accounts.target_add(tenant, wallet('a'), Mode::Simulated, fixed(4)).await.unwrap();
    assert_eq!((again.row, again.revision, added), (first.row, 3, Added::Again));
    assert_eq!((again.status, again.close_now, again.policy_revision), (TargetStatus::Active, false, 2));
    // Kept positions are nobody's any more: what follows is another target, from its own beginning.
    setup.clock.advance(Duration::from_secs(60));
    let kept = accounts.target_remove(tenant, first.row, Positions::Keep, None).await.unwrap();
    assert_eq!((kept.status, kept.keep_positions), (TargetStatus::Removed, true));
    assert_eq!(
        accounts.target_remove(tenant, first.row, Positions::Close, None).await.unwrap(),
        kept,
        "gone stays gone"
    );
    let (fresh, added) = accounts.target_add(tenant, wallet('a'), Mode::Simulated, fixed(4)).await.unwrap();
    assert_eq!((fresh.revision, added), (1, Added::New));
    assert!(fresh.row != first.row && fresh.created_at > first.created_at);
    assert_eq!(accounts.target_of(tenant, wallet('a')).await.unwrap().row, fresh.row);
}

#[tokio::test]
async fn settings_that_are_none_change_nothing() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let accounts = &setup.accounts;
    let without = accounts.target_add(tenant, wallet('a'), Mode::Simulated, with_sizing(Sizing::Fixed)).await;
    assert_eq!(code(without), "policy_incomplete");
    let (target, _) = accounts.target_add(tenant, wallet('a'), Mode::Simulated, fixed(2)).await.unwrap();
    assert_eq!(
        code(accounts.target_set(tenant, target.row, &["order_ttl=60"]).await),
        "policy_value_out_of_range"
    );
    assert_eq!(accounts.target_list(tenant).await.unwrap(), [target]);
    assert_eq!(published(&setup).await, 1);
}

#[tokio::test]
async fn another_tenant_s_things_are_not_found() {
    let setup = setup().await;
    let accounts = &setup.accounts;
    let (a, b) =
        (accounts.create_tenant("alice").await.unwrap(), accounts.create_tenant("bob").await.unwrap());
    let (target, _) = accounts.target_add(b, wallet('a'), Mode::Simulated, fixed(2)).await.unwrap();
    accounts.wallet_connect(b, connect(1, '1')).await.unwrap();
    accounts.grant_set(b, terms(), None).await.unwrap();
    assert_eq!(code(accounts.target_set(a, target.row, &["usdc_per_trade=3"]).await), "not_found");
    assert_eq!(code(accounts.target_remove(a, target.row, Positions::Close, None).await), "not_found");
    assert_eq!(code(accounts.target_pause(a, TargetRowId::from_uuid(Uuid::nil()), true).await), "not_found");
    assert_eq!(code(accounts.wallet_revoke(a).await), "not_found");
    assert_eq!(code(accounts.grant_revoke(a, None).await), "not_found");
    // One's own name on another's account, and a name that nobody has.
    let forged = Tenant { user: a.user, account: b.account };
    let nobody = Tenant { user: UserId::from_uuid(Uuid::nil()), account: b.account };
    let nowhere = Tenant { user: a.user, account: BillingAccountId::from_uuid(Uuid::nil()) };
    for forged in [forged, nobody, nowhere] {
        assert_eq!(
            code(accounts.target_add(forged, wallet('b'), Mode::Simulated, fixed(2)).await),
            "not_found"
        );
        assert_eq!(code(accounts.grant_set(forged, terms(), None).await), "not_found");
        assert_eq!(code(accounts.control_set(forged, ControlKind::Halt, true, "x", None).await), "not_found");
        assert_eq!(code(accounts.wallet_connect(forged, connect(2, '2')).await), "not_found");
        assert!(accounts.target_list(forged).await.unwrap().is_empty());
        assert_eq!(accounts.wallet(forged).await.unwrap(), None);
        assert_eq!(accounts.grant(forged).await.unwrap(), None);
    }
    assert_eq!(published(&setup).await, 3, "nothing was told of what was refused");
}

fn connect(id: u128, digit: char) -> ConnectWallet {
    ConnectWallet {
        id: Uuid::from_u128(id),
        address: wallet(digit),
        signature_type: SignatureType::Eoa,
        funder: wallet(digit),
        signing_key_sealed: b"sealed".to_vec(),
        approved_at: None,
    }
}

#[tokio::test]
async fn a_wallet_is_active_in_one_connection_only_and_its_key_never_leaves() {
    let setup = setup().await;
    let accounts = &setup.accounts;
    let (a, b) =
        (accounts.create_tenant("alice").await.unwrap(), accounts.create_tenant("bob").await.unwrap());
    let first = accounts.wallet_connect(a, connect(1, '1')).await.unwrap();
    assert_eq!(first.revision, 1);
    assert_eq!(code(accounts.wallet_connect(b, connect(2, '1')).await), "wallet_connected_elsewhere");
    let second = accounts.wallet_connect(a, connect(3, '2')).await.unwrap();
    assert_eq!((second.revision, accounts.wallet(a).await.unwrap()), (2, Some(second)));
    accounts.wallet_connect(b, connect(4, '1')).await.unwrap();
    let revoked = accounts.wallet_revoke(a).await.unwrap();
    assert_eq!((revoked.revision, revoked.revoked_at.is_some()), (3, true));
    assert_eq!(accounts.wallet(a).await.unwrap(), None);
    assert_eq!(accounts.wallet_connect(a, connect(5, '2')).await.unwrap().revision, 4);
    let empty = ConnectWallet { signing_key_sealed: Vec::new(), ..connect(6, '6') };
    assert_eq!(code(accounts.wallet_connect(a, empty).await), "signing_key_missing");
    published(&setup).await;
    let mut revisions = Vec::new();
    for (key, event) in setup.controls().await {
        let ControlsEvent::ConnectionState(state) = event else { panic!("{event:?}") };
        assert_eq!(key, state.billing_account_id.to_string());
        if state.billing_account_id == a.account {
            revisions.push((state.revision, state.funder == wallet('1'), state.revoked_at.is_some()));
        }
    }
    assert_eq!(revisions, [(1, true, false), (2, false, false), (3, false, true), (4, false, false)]);
    let sealed: Vec<u8> = sqlx::query_scalar("select value from api_outbox order by created_at limit 1")
        .fetch_one(&setup.superuser().await)
        .await
        .unwrap();
    assert!(!sealed.windows(6).any(|bytes| bytes == b"sealed"));
}

#[tokio::test]
async fn a_tenant_whose_wallet_is_somebody_elses_is_not_made_at_all() {
    let setup = setup().await;
    let accounts = &setup.accounts;
    let alice = accounts.create_tenant_with("alice", connect(1, '1')).await.unwrap();
    assert_eq!(accounts.wallet(alice).await.unwrap().unwrap().address, wallet('1'));
    assert_eq!(code(accounts.create_tenant_with("bob", connect(2, '1')).await), "wallet_connected_elsewhere");
    assert_eq!(code(setup.operator.find("bob").await), "not_found");
    let bob = accounts.create_tenant_with("bob", connect(2, '2')).await.unwrap();
    assert_eq!(accounts.wallet(bob).await.unwrap().unwrap().revision, 1);
    assert_eq!(published(&setup).await, 2);
}

/// As after the loss of the installation's key: the stored one does not open, which no request of a tenant can see.
#[tokio::test]
async fn a_wallet_connected_again_has_the_key_that_was_sealed_last() {
    let setup = setup().await;
    let (accounts, superuser) = (&setup.accounts, setup.superuser().await);
    let tenant = accounts.create_tenant("alice").await.unwrap();
    let approved = ConnectWallet { approved_at: Some(accounts.now()), ..connect(1, '1') };
    let first = accounts.wallet_connect(tenant, approved).await.unwrap();
    let again = ConnectWallet { signing_key_sealed: b"sealed anew".to_vec(), ..connect(2, '1') };
    let second = accounts.wallet_connect(tenant, again.clone()).await.unwrap();
    assert_eq!((second.revision, second.id, second.address), (2, again.id, first.address));
    assert_eq!(second.approved_at, first.approved_at, "what the wallet approved stands");
    assert_eq!(accounts.wallet_connect(tenant, again).await.unwrap(), second, "told twice");
    let active: Vec<Vec<u8>> =
        sqlx::query_scalar("select signing_key_sealed from poly_wallet_connections where revoked_at is null")
            .fetch_all(&superuser)
            .await
            .unwrap();
    assert_eq!(active, [b"sealed anew".to_vec()]);
    assert_eq!(published(&setup).await, 2);
}

#[tokio::test]
async fn what_was_once_allowed_is_known_after_it_was_taken_back() {
    let setup = setup().await;
    let (accounts, tenant) = (&setup.accounts, setup.accounts.create_tenant("alice").await.unwrap());
    assert!(!accounts.was_granted(tenant).await.unwrap());
    accounts.grant_set(tenant, terms(), None).await.unwrap();
    accounts.grant_revoke(tenant, None).await.unwrap();
    assert!(accounts.was_granted(tenant).await.unwrap());
    let other = accounts.create_tenant("bob").await.unwrap();
    assert!(!accounts.was_granted(other).await.unwrap());
}

fn terms() -> SetGrant {
    SetGrant {
        scopes: vec!["poly:trade:sell".into(), "poly:trade:buy".into()],
        per_order_usdc_cap: Usdc::from_micro(5_000_001),
        daily_usdc_cap: Usdc::from_units(50),
        hourly_fills_cap: 20,
        per_market_usdc_cap: None,
        expires_at: None,
    }
}

#[tokio::test]
async fn a_grant_is_told_with_every_cap_to_the_last_digit_and_its_revisions_never_begin_again() {
    let setup = setup().await;
    let accounts = &setup.accounts;
    let tenant = accounts.create_tenant("alice").await.unwrap();
    let first = accounts.grant_set(tenant, terms(), None).await.unwrap();
    assert_eq!(first.terms.scopes, ["poly:trade:buy", "poly:trade:sell"]);
    let more = SetGrant {
        per_market_usdc_cap: Some(Usdc::from_micro(i64::MAX)),
        expires_at: Some(first.changed_at.plus(Duration::from_secs(3_600))),
        ..terms()
    };
    let second = accounts.grant_set(tenant, more.clone(), None).await.unwrap();
    assert_eq!((second.id, second.revision), (first.id, 2));
    assert_eq!(accounts.grant(tenant).await.unwrap(), Some(second));
    accounts.grant_revoke(tenant, None).await.unwrap();
    assert_eq!(accounts.grant(tenant).await.unwrap(), None);
    let fourth = accounts.grant_set(tenant, terms(), None).await.unwrap();
    assert_eq!(fourth.revision, 4);
    published(&setup).await;
    let states: Vec<GrantState> = setup
        .controls()
        .await
        .into_iter()
        .map(|(_, event)| match event {
            ControlsEvent::GrantState(state) => state,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(states.iter().map(|state| state.revision).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(states[0].per_order_usdc_cap, Usdc::from_micro(5_000_001));
    assert_eq!(
        (states[1].per_market_usdc_cap, states[1].expires_at),
        (more.per_market_usdc_cap, more.expires_at)
    );
    assert!(states[2].revoked_at.is_some() && states[3].revoked_at.is_none());
    let unknown = SetGrant { scopes: vec!["poly:withdraw".into()], ..terms() };
    assert_eq!(code(accounts.grant_set(tenant, unknown, None).await), "scope_unknown");
    let negative = SetGrant { daily_usdc_cap: Usdc::from_units(-1), ..terms() };
    assert_eq!(code(accounts.grant_set(tenant, negative, None).await), "cap_invalid");
}

/// Two who change one cap each: neither takes back what the other did.
#[tokio::test]
async fn an_amended_grant_keeps_what_others_made_of_it() {
    let setup = setup().await;
    let accounts = &setup.accounts;
    let tenant = accounts.create_tenant("alice").await.unwrap();
    let first = accounts.grant_amend(tenant, |there| there.cloned().unwrap_or_else(terms)).await.unwrap();
    assert_eq!((first.revision, first.terms.daily_usdc_cap), (1, terms().daily_usdc_cap));
    let daily = accounts.grant_amend(tenant, |there| SetGrant {
        daily_usdc_cap: Usdc::from_units(60),
        ..there.unwrap().clone()
    });
    let market = accounts.grant_amend(tenant, |there| SetGrant {
        per_market_usdc_cap: Some(Usdc::from_units(20)),
        ..there.unwrap().clone()
    });
    let (daily, market) = tokio::join!(daily, market);
    assert_eq!(daily.unwrap().revision + market.unwrap().revision, 2 + 3);
    let stands = accounts.grant(tenant).await.unwrap().unwrap().terms;
    assert_eq!(
        (stands.daily_usdc_cap, stands.per_market_usdc_cap),
        (Usdc::from_units(60), Some(Usdc::from_units(20)))
    );
    accounts.grant_revoke(tenant, None).await.unwrap();
    accounts
        .grant_amend(tenant, |there| {
            there.map_or_else(terms, |_| panic!("what was taken back is not allowed"))
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_tenant_switches_its_own_trading_and_only_the_operator_everybody_s() {
    let setup = setup().await;
    let accounts = &setup.accounts;
    let tenant = accounts.create_tenant("alice").await.unwrap();
    assert_eq!(
        accounts.control_set(tenant, ControlKind::Pause, true, "holiday", None).await.unwrap().revision,
        1
    );
    assert_eq!(
        accounts.control_set(tenant, ControlKind::Pause, false, "back", None).await.unwrap().revision,
        2
    );
    assert_eq!(accounts.control_set(tenant, ControlKind::Halt, true, "", None).await.unwrap().revision, 1);
    let stop = accounts.control_set(tenant, ControlKind::Stop, true, "", None).await;
    assert_eq!(code(stop), "control_for_operator_only");
    let long = "x".repeat(501);
    assert_eq!(
        code(accounts.control_set(tenant, ControlKind::Halt, true, &long, None).await),
        "reason_too_long"
    );
    for active in [true, true, false] {
        setup.operator.control_set(ControlKind::Halt, active, "drill").await.unwrap();
    }
    published(&setup).await;
    let mut seen = Vec::new();
    for (key, event) in setup.controls().await {
        let ControlsEvent::ControlState(state) = event else { panic!("{event:?}") };
        let whose = state.billing_account_id.map_or("*".to_owned(), |account| account.to_string());
        assert_eq!(key, whose);
        seen.push((key == "*", state.kind, state.active, state.revision));
    }
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            (false, ControlKind::Pause, false, 2),
            (false, ControlKind::Pause, true, 1),
            (false, ControlKind::Halt, true, 1),
            (true, ControlKind::Halt, false, 2),
            (true, ControlKind::Halt, true, 1),
        ]
    );
}

/// The gate reads what a tenant allows, and commits. What is switched meanwhile is not switched before that:
/// whoever is told that trading is paused sees no order committed afterwards.
#[tokio::test]
async fn a_switch_waits_for_the_gates_that_did_not_see_it() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let superuser = setup.superuser().await;
    let executor = setup.connections.pool(project::Role::Executor, 1).await.unwrap();
    for by_operator in [false, true] {
        let mut gate = executor.begin().await.unwrap();
        for read in [
            "select id from billing_accounts for share",
            "select kind from poly_controls where active for share",
        ] {
            sqlx::query(read).fetch_all(&mut *gate).await.unwrap();
        }
        let switched = {
            let (accounts, operator) = (setup.accounts.clone(), setup.operator.clone());
            tokio::spawn(async move {
                if by_operator {
                    operator.control_set(ControlKind::Pause, true, "all").await.unwrap()
                } else {
                    accounts.control_set(tenant, ControlKind::Pause, true, "mine", None).await.unwrap()
                }
            })
        };
        testkit::wait_for("the switch to wait for the gate", Duration::from_secs(30), || async {
            let waiting = "select count(*) from pg_locks where not granted";
            sqlx::query_scalar::<_, i64>(waiting).fetch_one(&superuser).await.unwrap() > 0
        })
        .await;
        assert!(!switched.is_finished());
        gate.commit().await.unwrap();
        assert_eq!(switched.await.unwrap().revision, 1);
    }
}

#[tokio::test]
async fn a_switch_is_not_made_on_a_revision_that_is_not_there() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let set = async |active, expected| {
        setup.accounts.control_set(tenant, ControlKind::Halt, active, "", expected).await
    };
    assert_eq!(code(set(true, Some(1)).await), "revision_stale");
    assert_eq!(setup.accounts.control(tenant, ControlKind::Halt).await.unwrap(), None);
    let halted = set(true, Some(0)).await.unwrap();
    assert_eq!((halted.active, halted.revision), (true, 1));
    assert_eq!(setup.accounts.control(tenant, ControlKind::Halt).await.unwrap(), Some(halted.clone()));
    assert_eq!(code(set(true, Some(0)).await), "revision_stale");
    assert_eq!(set(true, Some(1)).await.unwrap(), halted, "the same again");
    assert_eq!(published(&setup).await, 1);
}

#[tokio::test]
async fn a_database_that_is_away_is_called_that() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    setup.accounts.pool().close().await;
    assert_eq!(code(setup.accounts.grant_set(tenant, terms(), None).await), "database_unreachable");
}

/// Many at once on one account and one wallet: one row, revisions without a gap.
#[tokio::test]
async fn concurrent_changes_of_one_account_take_turns() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let mut tasks = Vec::new();
    for number in 1..=8_i64 {
        let accounts = setup.accounts.clone();
        tasks.push(tokio::spawn(async move {
            let (target, _) =
                accounts.target_add(tenant, wallet('a'), Mode::Simulated, fixed(1)).await.unwrap();
            let pair = format!("usdc_per_trade={}", number + 1);
            accounts.target_set(tenant, target.row, &[pair]).await.unwrap();
            let terms = SetGrant { hourly_fills_cap: number, ..terms() };
            accounts.grant_set(tenant, terms, None).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let targets = setup.accounts.target_list(tenant).await.unwrap();
    assert_eq!(targets.len(), 1);
    assert_eq!((targets[0].revision, targets[0].policy_revision), (9, 9));
    assert_eq!(setup.accounts.grant(tenant).await.unwrap().unwrap().revision, 8);
    let states = target_states(&setup).await;
    assert_eq!(states.iter().map(|state| state.revision).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    assert_eq!(states.last().unwrap().policy, targets[0].policy);
}
