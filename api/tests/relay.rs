//! The relay: nothing is told twice for long, nothing is lost, and nobody speaks for another.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use api::{
    policy::with_sizing,
    relay::{Options, publish, run},
};
use common::{Setup, setup, wallet};
use eventlog::{Log, fault::Lost};
use runtime::Stop;
use schemas::{
    Mode, Sizing,
    codec::Codec,
    events::{ControlState, DeadLettersEvent, TargetsEvent},
    topics::Topic,
};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

async fn waiting(setup: &Setup) -> i64 {
    let sql = "select count(*) from api_outbox where not published";
    sqlx::query_scalar(sql).fetch_one(&setup.superuser().await).await.unwrap()
}

#[tokio::test]
async fn a_row_is_marked_only_when_the_log_has_it() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    setup
        .accounts
        .target_add(tenant, wallet('a'), Mode::Simulated, with_sizing(Sizing::MinBet))
        .await
        .unwrap();
    let ports = setup.relay().await;
    setup.log.faults().lose_next_append(Lost::Before);
    assert_eq!(publish(&ports, 10).await.unwrap_err().code(), "log_unreachable");
    assert_eq!((waiting(&setup).await, setup.targets().await.len()), (1, 0));
    setup.log.faults().lose_next_append(Lost::After);
    publish(&ports, 10).await.unwrap_err();
    assert_eq!((waiting(&setup).await, setup.targets().await.len()), (1, 1));
    assert_eq!(publish(&ports, 10).await.unwrap(), 1);
    // Twice, since nobody could know; it is the same event by its id.
    let place = setup.log.manifest().place(Topic::Targets, wallet('a').to_string().as_bytes());
    let records = setup.log.read(place, eventlog::Offset::ZERO, 10).await.unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].record.header("ce_id"), records[1].record.header("ce_id"));
    assert_eq!(
        records[0].record.timestamp.millis(),
        1_760_000_000_123,
        "when the change was made, not when it was told"
    );
    assert_eq!((waiting(&setup).await, publish(&ports, 10).await.unwrap()), (0, 0));
}

/// Transactions that commit late are not passed over, whatever was published before them.
#[tokio::test]
async fn a_row_that_was_committed_late_is_published_all_the_same() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let ports = setup.relay().await;
    let superuser = setup.superuser().await;
    let codec = Codec::bundled().unwrap();
    let state = |reason: &str| ControlState {
        billing_account_id: Some(tenant.account),
        kind: schemas::ControlKind::Pause,
        active: true,
        reason: reason.to_owned(),
        revision: 1,
        changed_at: schemas::Timestamp::from_secs(5),
    };
    let insert =
        "insert into api_outbox (id, billing_account_id, topic, key, subject, revision, value, created_at)
        values ($1, $2, 'controls', $2::text, $3, 1, $4, 'epoch')";
    let mut late = superuser.begin().await.unwrap();
    sqlx::query(insert)
        .bind(Uuid::from_u128(1))
        .bind(tenant.account.as_uuid())
        .bind("late")
        .bind(codec.encode(&state("late")).unwrap().value.to_vec())
        .execute(&mut *late)
        .await
        .unwrap();
    sqlx::query(insert)
        .bind(Uuid::from_u128(2))
        .bind(tenant.account.as_uuid())
        .bind("early")
        .bind(codec.encode(&state("early")).unwrap().value.to_vec())
        .execute(&superuser)
        .await
        .unwrap();
    assert_eq!(publish(&ports, 10).await.unwrap(), 1);
    late.commit().await.unwrap();
    assert_eq!(publish(&ports, 10).await.unwrap(), 1);
    assert_eq!(setup.controls().await.len(), 2);
}

#[tokio::test]
async fn revisions_of_one_target_keep_their_order_whatever_the_clock_did() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let mut rows = Vec::new();
    for digit in ['a', 'b', 'c'] {
        let policy = with_sizing(Sizing::MinBet);
        let (target, _) =
            setup.accounts.target_add(tenant, wallet(digit), Mode::Simulated, policy).await.unwrap();
        rows.push(target.row);
    }
    for round in 0..4 {
        for row in &rows {
            setup.accounts.target_pause(tenant, *row, round % 2 == 0).await.unwrap();
        }
    }
    // As after a clock that went back: the later the change, the earlier its time.
    sqlx::query("update api_outbox set created_at = 'epoch'::timestamptz - revision * interval '1 hour'")
        .execute(&setup.superuser().await)
        .await
        .unwrap();
    let ports = setup.relay().await;
    while publish(&ports, 2).await.unwrap() > 0 {}
    let mut last: BTreeMap<_, i64> = BTreeMap::new();
    for (_, event) in setup.targets().await {
        let TargetsEvent::TargetState(state) = event else { panic!("{event:?}") };
        let before = last.insert(state.target_row_id, state.revision).unwrap_or(0);
        assert_eq!(state.revision, before + 1);
    }
    assert_eq!(last.values().copied().collect::<Vec<_>>(), [5, 5, 5]);
}

/// A request that got hold of `app_user` can write rows for its own account, with what it likes in them.
#[tokio::test]
async fn a_row_that_speaks_for_another_account_is_a_dead_letter() {
    let setup = setup().await;
    let accounts = &setup.accounts;
    let (a, b) =
        (accounts.create_tenant("alice").await.unwrap(), accounts.create_tenant("bob").await.unwrap());
    let codec = Codec::bundled().unwrap();
    let halt = |account| {
        let state = ControlState {
            billing_account_id: account,
            kind: schemas::ControlKind::Halt,
            active: true,
            reason: String::new(),
            revision: 99,
            changed_at: schemas::Timestamp::from_secs(5),
        };
        codec.encode(&state).unwrap().value.to_vec()
    };
    let mut as_a = project::pg::begin_as(accounts.pool(), a.user).await.unwrap();
    for (number, value) in (0_u128..).zip([
        halt(Some(b.account)),
        halt(None),
        b"\0\x50\x4d\0\x01junk".to_vec(),
        vec![1; 9_000_000],
    ]) {
        sqlx::query(
            "insert into api_outbox (id, billing_account_id, topic, key, subject, revision, value, created_at)
             values ($1, $2, 'controls', $2::text, $1::text, 1, $3, 'epoch')",
        )
        .bind(Uuid::from_u128(number))
        .bind(a.account.as_uuid())
        .bind(value)
        .execute(&mut *as_a)
        .await
        .unwrap();
    }
    as_a.commit().await.unwrap();
    accounts.control_set(a, schemas::ControlKind::Pause, true, "own", None).await.unwrap();
    let ports = setup.relay().await;
    assert_eq!(publish(&ports, 10).await.unwrap(), 5);
    assert_eq!(setup.controls().await.len(), 1, "its own pause, and nothing else");
    let mut codes = Vec::new();
    for stored in setup
        .log
        .read(eventlog::TopicPartition::new(Topic::DeadLetters, 0), eventlog::Offset::ZERO, 10)
        .await
        .unwrap()
    {
        let DeadLettersEvent::DeadLetter(letter) =
            codec.decode(stored.record.value.as_deref().unwrap()).unwrap()
        else {
            panic!("no letter");
        };
        assert_eq!((letter.topic.as_str(), letter.reader.as_str()), ("controls", "relay"));
        // More than the log takes, with what a letter says beside it.
        assert_eq!(letter.value.is_none(), letter.code == "record_not_framed", "{}", letter.reason);
        codes.push(letter.code);
    }
    codes.sort_unstable();
    assert_eq!(
        codes,
        ["outbox_row_forged", "outbox_row_forged", "record_not_framed", "record_of_another_topic"]
    );
    assert_eq!(waiting(&setup).await, 0);
    assert_eq!(ports.board.figures().troubles.get("dead_letter"), Some(&4));
}

#[tokio::test]
async fn it_runs_until_it_is_asked_to_stop_and_leaves_nothing_behind() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let ports = setup.relay().await;
    let stop = Stop::new();
    let task = {
        let (ports, stop) = (ports.clone(), stop.clone());
        let options = Options { every: Duration::from_millis(5), ..Options::default() };
        tokio::spawn(async move { run(&ports, &options, &stop).await })
    };
    setup.log.faults().lose_next_append(Lost::Before);
    setup.accounts.control_set(tenant, schemas::ControlKind::Pause, true, "x", None).await.unwrap();
    testkit::wait_for("the pause to be told", PATIENCE, || async { setup.controls().await.len() == 1 }).await;
    assert_eq!(ports.board.figures().troubles.get("log_unreachable"), Some(&1));
    for number in 0..20 {
        setup
            .accounts
            .control_set(tenant, schemas::ControlKind::Pause, number % 2 == 0, "y", None)
            .await
            .unwrap();
    }
    stop.request();
    task.await.unwrap().unwrap();
    assert_eq!((waiting(&setup).await, setup.controls().await.len()), (0, 21));
}

#[tokio::test]
async fn two_relays_tell_the_same_things_and_lose_none() {
    let setup = setup().await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let stop = Stop::new();
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let (ports, stop) = (setup.relay().await, stop.clone());
        let options = Options { batch: 3, every: Duration::from_millis(1) };
        tasks.push(tokio::spawn(async move { run(&ports, &options, &stop).await }));
    }
    for number in 0..30 {
        setup
            .accounts
            .control_set(tenant, schemas::ControlKind::Pause, number % 2 == 0, "y", None)
            .await
            .unwrap();
    }
    stop.request();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let revisions: std::collections::BTreeSet<_> = setup
        .controls()
        .await
        .into_iter()
        .map(|(_, event)| match event {
            schemas::events::ControlsEvent::ControlState(state) => state.revision,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(revisions.into_iter().collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    assert_eq!(waiting(&setup).await, 0);
}
