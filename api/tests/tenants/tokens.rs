//! Who may ask: bearer tokens, and a database that is away.

use std::time::Duration;

use crate::{
    TARGETS,
    common::{
        server::{BASE, Client, Server},
        setup,
    },
};
use reqwest::Method;

#[tokio::test]
async fn a_request_without_a_valid_token_is_nobody_s() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    client.get(TARGETS).await.ok(200);
    let path = format!("{BASE}{TARGETS}");
    let answer = server.get(&path).await;
    assert_eq!(answer.problem(), (401, "token_missing".to_owned()));
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="polymirror""#));
    let unknown = format!("polymirror_{}", "0".repeat(64));
    let cut = &client.token[..client.token.len() - 1];
    for given in [
        "Bearer ".to_owned(),
        "Bearer x".to_owned(),
        "Basic YTpi".to_owned(),
        client.token.clone(),
        format!("Bearer {unknown}"),
        format!("Bearer {cut}"),
        format!("Bearer {}", client.token.to_uppercase()),
        format!("Bearer {} {}", client.token, client.token),
    ] {
        let request = server.client.get(server.url(&path)).header("authorization", &given);
        let answer = server.send(Method::GET, &path, request).await;
        assert_eq!(answer.problem(), (401, "token_invalid".to_owned()), "{given}");
        let challenge = r#"Bearer realm="polymirror", error="invalid_token""#;
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
    }
    let bearer = format!("bEARER {}", client.token);
    let request = server.client.get(server.url(&path)).header("authorization", &bearer);
    server.send(Method::GET, &path, request).await.ok(200);
    // Two of them name nobody.
    let request = server
        .client
        .get(server.url(&path))
        .header("authorization", &bearer)
        .header("authorization", &bearer);
    assert_eq!(server.send(Method::GET, &path, request).await.status, 401);
}

#[tokio::test]
async fn a_token_ends_when_it_is_taken_back_or_its_time_is_over() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let accounts = &setup.accounts;
    let tenant = accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    setup.clock.advance(Duration::from_secs(1));
    let until = accounts.now().plus(Duration::from_secs(60));
    let (token, secret) = accounts.token_create(tenant, "short", Some(until)).await.unwrap();
    assert_eq!(accounts.token_create(tenant, "short", None).await.unwrap_err().code(), "token_exists");
    assert_eq!(accounts.token_create(tenant, "No", None).await.unwrap_err().code(), "name_invalid");
    let short = Client { server: &server, token: secret.expose().to_owned() };
    short.get(TARGETS).await.ok(200);
    setup.clock.advance(Duration::from_secs(59));
    short.get(TARGETS).await.ok(200);
    setup.clock.advance(Duration::from_secs(1));
    assert_eq!(short.get(TARGETS).await.problem(), (401, "token_invalid".to_owned()));
    client.get(TARGETS).await.ok(200);
    let revoked = accounts.token_revoke(tenant, "t0").await.unwrap();
    assert_eq!(revoked.revoked_at, Some(accounts.now()));
    assert_eq!(client.get(TARGETS).await.problem(), (401, "token_invalid".to_owned()));
    assert_eq!(accounts.token_revoke(tenant, "t0").await.unwrap_err().code(), "not_found");
    // Its name is free again, and the list shows both.
    accounts.token_create(tenant, "t0", None).await.unwrap();
    let list = accounts.token_list(tenant).await.unwrap();
    let names: Vec<_> = list.iter().map(|t| t.name.as_str()).collect();
    assert_eq!((names, list.contains(&token)), (vec!["t0", "short", "t0"], true));
}

/// A connection that waits for ever is one that nobody else has.
#[tokio::test]
async fn the_database_gives_up_what_takes_it_too_long_and_the_client_is_told_to_come_back() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let superuser = setup.superuser().await;
    for (setting, value) in [("statement_timeout", "10s"), ("idle_in_transaction_session_timeout", "5s")] {
        let set: String = sqlx::query_scalar("select current_setting($1)")
            .bind(setting)
            .fetch_one(setup.accounts.pool())
            .await
            .unwrap();
        assert_eq!(set, value, "{setting}");
    }
    let mut busy = pgpool::begin(&superuser).await.unwrap();
    sqlx::query("lock table poly_copy_trade_fills").execute(&mut *busy).await.unwrap();
    let given_up = async {
        // As the timeout does, sooner.
        testkit::wait_for("the statement to be given up", Duration::from_secs(30), async || {
            let give_up = "select coalesce(bool_or(pg_cancel_backend(pid)), false) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'";
            sqlx::query_scalar::<_, bool>(give_up).fetch_one(&mut *busy).await.unwrap()
        })
        .await;
    };
    let (answer, ()) = tokio::join!(client.get("/copy-trade/orders"), given_up);
    assert_eq!(answer.problem(), (503, "database_unreachable".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    busy.rollback().await.unwrap();
    client.get("/copy-trade/orders").await.ok(200);
}

/// Nor do those that their client has given up: the database is still at work on them.
#[tokio::test]
async fn one_tenant_s_slow_requests_do_not_keep_others_waiting() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let (a, b) = (
        setup.accounts.create_tenant("alice").await.unwrap(),
        setup.accounts.create_tenant("bob").await.unwrap(),
    );
    let (alice, bob) = (server.client_of(&setup, a).await, server.client_of(&setup, b).await);
    let superuser = setup.superuser().await;
    let mut busy = pgpool::begin(&superuser).await.unwrap();
    sqlx::query("lock table poly_copy_trade_fills").execute(&mut *busy).await.unwrap();
    let slow = "/copy-trade/orders";
    for _ in 0..6 {
        let request = alice.request(&Method::GET, slow).timeout(Duration::from_millis(100));
        assert!(request.send().await.unwrap_err().is_timeout());
    }
    testkit::wait_for("all that she may have to be taken", Duration::from_secs(3), async || {
        let waiting = "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'";
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&superuser).await.unwrap() == 3
    })
    .await;
    let refused = async {
        let answer = alice.get(slow).await;
        assert_eq!(answer.problem(), (429, "requests_too_many".to_owned()));
        assert_eq!(answer.header("retry-after"), Some("1"));
    };
    let served = async {
        for _ in 0..10 {
            let at_once = tokio::time::timeout(Duration::from_secs(4), bob.get(TARGETS)).await;
            at_once.expect("the other one is answered meanwhile").ok(200);
        }
    };
    tokio::join!(refused, served);
    busy.rollback().await.unwrap();
    alice.get(slow).await.ok(200);
}

#[tokio::test]
async fn a_database_that_is_away_is_a_problem_that_tells_nothing_of_it() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    sqlx::query("alter table poly_copy_trade_targets rename to elsewhere")
        .execute(&setup.superuser().await)
        .await
        .unwrap();
    let answer = client.get(TARGETS).await;
    assert_eq!(answer.problem(), (500, "database_error".to_owned()));
    assert!(!answer.text.contains("poly_copy_trade_targets"), "{}", answer.text);
    setup.accounts.pool().close().await;
    let answer = client.get(TARGETS).await;
    assert_eq!(answer.problem(), (503, "database_unreachable".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
}
