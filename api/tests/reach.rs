//! Tenants cannot reach each other over HTTP (invariant 7): every route, asked by the wrong tenant, with ids, cursors
//! and names of the other one, answers as if the other one were not there, and changes nothing of theirs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{
    Setup,
    rows::{asset, decision, later, leader, of, order, projected, sale},
    server::{Answer, Client, Server},
    setup, wallet,
};
use reqwest::Method;
use schemas::{OrderStatus, Reason};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

const TARGETS: &str = "/copy-trade/targets";

/// What a tenant has: targets, a grant, a pause, a close, and copies of the same fills as the other one, whose keys
/// are the same, since keys hold no tenant.
struct World {
    tenant: api::Tenant,
    targets: Vec<Value>,
    close: Value,
}

async fn world(setup: &Setup, client: &Client<'_>, tenant: api::Tenant, own: char) -> World {
    let mut targets = Vec::new();
    for wallet in [leader(), wallet(own)] {
        targets.push(client.post(TARGETS, json!({ "wallet": wallet })).await.ok(201));
    }
    let caps = json!({
        "scopes": ["poly:trade:buy"], "per_order_usdc_cap": "5", "daily_usdc_cap": "50", "hourly_fills_cap": 10
    });
    client.put("/wallet/grants", caps).await.ok(200);
    client.put("/copy-trade/pause", json!({ "paused": true, "reason": format!("of {own}") })).await.ok(200);
    let samples = of(tenant);
    let orders = (1..=5).map(|number| later(&order(samples, number, 5), OrderStatus::Open, 2)).collect();
    let decisions = (1..=8).map(|number| decision(samples, 0, 0, number, Reason::Ok)).collect();
    projected(setup, orders, decisions).await;
    let path = format!("/copy-trade/positions/{}/close", asset(1));
    let close = client.post(&path, json!({ "request_id": "r" })).await.ok(202);
    World { tenant, targets, close }
}

/// Every row of a tenant, as the database holds it.
async fn rows_of(setup: &Setup, tenant: api::Tenant) -> Vec<String> {
    let superuser = setup.superuser().await;
    let mut all = Vec::new();
    for table in [
        "billing_accounts",
        "poly_copy_trade_targets",
        "poly_wallet_connections",
        "poly_wallet_grants",
        "poly_controls",
        "poly_close_requests",
        "api_tokens",
        "api_outbox",
        "poly_copy_trade_fills",
        "poly_copy_trade_decisions",
    ] {
        let column = if table == "billing_accounts" { "id" } else { "billing_account_id" };
        let sql = format!("select row_to_json(t)::text from {table} t where {column} = $1 order by 1");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(tenant.account.as_uuid())
            .fetch_all(&superuser)
            .await
            .unwrap();
        assert!(!rows.is_empty() || table == "poly_wallet_connections", "{table} is not looked at");
        all.extend(rows);
    }
    all
}

/// Everything that a tenant can read.
async fn readings(client: &Client<'_>) -> Vec<Answer> {
    let key = order(of(dummy()), 1, 5).idempotency_key;
    let mut all = Vec::new();
    for path in [
        TARGETS.to_owned(),
        "/wallet/grants".to_owned(),
        "/copy-trade/pause".to_owned(),
        "/copy-trade/decisions?limit=500".to_owned(),
        "/copy-trade/orders?limit=500".to_owned(),
        "/copy-trade/positions?closed_too=true".to_owned(),
        "/copy-trade/pnl".to_owned(),
        "/sync-health".to_owned(),
        format!("/copy-trade/explain/{key}"),
    ] {
        all.push(client.get(&path).await);
    }
    all
}

const fn dummy() -> api::Tenant {
    let nil = uuid::Uuid::nil();
    api::Tenant { user: schemas::UserId::from_uuid(nil), account: schemas::BillingAccountId::from_uuid(nil) }
}

/// What names the tenant or its things, and nobody else's.
async fn marks(setup: &Setup, world: &World) -> Vec<String> {
    let mut marks = vec![world.tenant.user.to_string(), world.tenant.account.to_string()];
    marks.extend(world.targets.iter().map(|target| target["id"].as_str().unwrap().to_owned()));
    marks.push(world.targets[1]["wallet"].as_str().unwrap().to_owned());
    let orders =
        "select order_id from poly_copy_trade_fills where billing_account_id = $1 and order_id is not null";
    let orders: Vec<String> = sqlx::query_scalar(orders)
        .bind(world.tenant.account.as_uuid())
        .fetch_all(&setup.superuser().await)
        .await
        .unwrap();
    assert_eq!(orders.len(), 6);
    marks.extend(orders);
    marks
}

#[tokio::test]
async fn no_route_shows_or_changes_anything_of_another_tenant() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let (a, b) = (
        setup.accounts.create_tenant("alice").await.unwrap(),
        setup.accounts.create_tenant("bob").await.unwrap(),
    );
    let (alice, bob) = (server.client_of(&setup, a).await, server.client_of(&setup, b).await);
    world(&setup, &alice, a, 'a').await;
    let theirs = world(&setup, &bob, b, 'b').await;
    // What only bob holds: another asset, another copy.
    let mut other = later(&order(of(b), 9, 5), OrderStatus::Filled, 5);
    other.asset = asset(9);
    let only_bobs = other.idempotency_key;
    projected(&setup, vec![other], Vec::new()).await;
    let bobs_page = bob.get("/copy-trade/orders?limit=1").await.ok(200);
    let bobs_cursor = bobs_page["next_cursor"].as_str().unwrap();
    let targets_page = bob.get(&format!("{TARGETS}?limit=1")).await.ok(200);
    let targets_cursor = targets_page["next_cursor"].as_str().unwrap();
    let id = theirs.targets[0]["id"].as_str().unwrap();
    let marks = {
        let mut marks = marks(&setup, &theirs).await;
        marks.retain(|mark| mark != &wallet('a').to_string());
        marks
    };
    let (before, read_before) = (rows_of(&setup, b).await, readings(&bob).await);
    let close = |asset: schemas::AssetId| format!("/copy-trade/positions/{asset}/close");
    let mut answers: Vec<(String, Answer)> = Vec::new();
    // Theirs is not found, as nothing is not found.
    let nothing = uuid::Uuid::from_u128(7).to_string();
    for (method, path, body) in [
        (Method::PATCH, format!("{TARGETS}/{id}"), json!({ "paused": true })),
        (
            Method::PATCH,
            format!("{TARGETS}/{id}"),
            json!({ "revision": 1, "settings": { "sizing": "min_bet" } }),
        ),
        (Method::PATCH, format!("{TARGETS}/{id}"), json!({ "revision": 99 })),
        (Method::DELETE, format!("{TARGETS}/{id}"), Value::Null),
        (Method::DELETE, format!("{TARGETS}/{id}?positions=close"), Value::Null),
        (Method::DELETE, format!("{TARGETS}/{id}?positions=keep"), Value::Null),
        (Method::POST, close(asset(1)), json!({ "request_id": "steal", "target": id })),
        (Method::POST, close(asset(9)), json!({ "request_id": "steal", "target": id })),
        (Method::POST, close(asset(9)), json!({ "request_id": "steal" })),
        (Method::GET, format!("/copy-trade/explain/{only_bobs}"), Value::Null),
    ] {
        let body = Some(&body).filter(|body| !body.is_null());
        let answer = alice.send(method.clone(), &path, body).await;
        assert_eq!(answer.problem(), (404, "not_found".to_owned()), "{method} {path}");
        let path = path.replace(id, &nothing);
        let body = body.map(|body| serde_json::from_str(&body.to_string().replace(id, &nothing)).unwrap());
        let none = alice.send(method.clone(), &path, body.as_ref()).await;
        assert_eq!(none.text, answer.text, "{method} {path}: theirs is told apart from nothing");
        answers.push((path, answer));
    }
    // Filters find theirs nowhere.
    for path in [
        format!("/copy-trade/decisions?wallet={}", wallet('b')),
        format!("/copy-trade/orders?wallet={}", wallet('b')),
        format!("/copy-trade/orders?asset={}", asset(9)),
        format!("/copy-trade/orders?target={id}"),
        format!("/copy-trade/positions?asset={}", asset(9)),
        format!("/copy-trade/positions?wallet={}", wallet('b')),
    ] {
        let answer = alice.get(&path).await;
        assert_eq!(answer.ok(200), json!({ "items": [], "next_cursor": null }), "{path}");
        answers.push((path, answer));
    }
    for path in
        [format!("/copy-trade/pnl?asset={}", asset(9)), format!("/copy-trade/pnl?wallet={}", wallet('b'))]
    {
        let answer = alice.get(&path).await;
        assert_eq!(answer.ok(200), json!({ "totals": [], "items": [], "next_cursor": null }), "{path}");
        answers.push((path, answer));
    }
    // A cursor that was given to them is none.
    for path in [
        format!("/copy-trade/orders?limit=1&cursor={bobs_cursor}"),
        format!("/copy-trade/orders?cursor={bobs_cursor}"),
        format!("/copy-trade/decisions?cursor={bobs_cursor}"),
        format!("/copy-trade/positions?cursor={bobs_cursor}"),
        format!("/copy-trade/pnl?cursor={bobs_cursor}"),
        format!("{TARGETS}?cursor={targets_cursor}"),
    ] {
        let answer = alice.get(&path).await;
        assert_eq!(answer.problem(), (400, "cursor_invalid".to_owned()), "{path}");
        answers.push((path, answer));
    }
    // No body, no parameter and no header says who somebody is.
    for field in ["billing_account_id", "account", "created_by_user_id", "user_id", "tenant"] {
        for (method, path, mut body) in [
            (Method::POST, TARGETS.to_owned(), json!({ "wallet": wallet('c') })),
            (Method::PATCH, format!("{TARGETS}/{id}"), json!({ "paused": true })),
            (Method::PUT, "/copy-trade/pause".to_owned(), json!({ "paused": false })),
            (Method::POST, close(asset(1)), json!({ "request_id": "x" })),
        ] {
            body[field] = json!(b.account);
            let answer = alice.send(method, &path, Some(&body)).await;
            assert_eq!(answer.problem(), (422, "body_invalid".to_owned()), "{path} {field}");
            assert!(answer.detail().contains(field), "{}", answer.text);
        }
        let path = format!("/copy-trade/orders?{field}={}", b.account);
        assert_eq!(alice.get(&path).await.problem(), (400, "query_invalid".to_owned()));
    }
    for header in ["x-user-id", "x-billing-account-id", "app.current_user_id", "x-forwarded-user", "cookie"] {
        let request = alice.request(&Method::GET, TARGETS).header(header, b.user.to_string());
        let answer = server.send(Method::GET, "/api/v1/poly/copy-trade/targets", request).await;
        answer.ok(200);
        answers.push((header.to_owned(), answer));
    }
    // Her own names are hers, though his are the same: a request, a token's name.
    let own = alice.post(&close(asset(1)), json!({ "request_id": "r" })).await.ok(202);
    assert_ne!(own["target"], theirs.close["target"]);
    assert_eq!(own["idempotency_key"], theirs.close["idempotency_key"], "keys hold no tenant");
    setup.accounts.token_revoke(a, "t0").await.unwrap();
    bob.get(TARGETS).await.ok(200);
    let alice = server.client_of(&setup, a).await;
    answers.extend(readings(&alice).await.into_iter().map(|answer| ("reading".to_owned(), answer)));
    for (path, answer) in &answers {
        for mark in &marks {
            assert!(!answer.text.contains(mark.as_str()), "{path} says {mark}: {}", answer.text);
        }
    }
    // The marks are what they are taken for: he sees each of them somewhere.
    let bobs: String = readings(&bob).await.into_iter().map(|answer| answer.text).collect();
    for mark in marks.iter().skip(2) {
        assert!(bobs.contains(mark.as_str()), "{mark}");
    }
    assert_eq!(rows_of(&setup, b).await, before);
    let read_after: Vec<String> = readings(&bob).await.into_iter().map(|answer| answer.text).collect();
    assert_eq!(read_after, read_before.into_iter().map(|answer| answer.text).collect::<Vec<_>>());
}

/// What somebody could try to have run by the database.
#[tokio::test]
async fn text_that_would_be_sql_is_text() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let (a, b) = (
        setup.accounts.create_tenant("alice").await.unwrap(),
        setup.accounts.create_tenant("bob").await.unwrap(),
    );
    let (alice, bob) = (server.client_of(&setup, a).await, server.client_of(&setup, b).await);
    let theirs = world(&setup, &bob, b, 'b').await;
    let before = rows_of(&setup, b).await;
    let id = theirs.targets[0]["id"].as_str().unwrap();
    let become_b = format!("select set_config('app.current_user_id', '{}', false)", b.user);
    for text in [
        format!("x'; {become_b}; --"),
        format!("x'); {become_b}; --"),
        format!("' or created_by_user_id = '{}' --", b.user),
        "1; reset role; set role owner; --".to_owned(),
        "'; set session authorization owner; --".to_owned(),
        "'; drop table poly_copy_trade_targets; --".to_owned(),
        "$1".to_owned(),
        "\u{0}".to_owned(),
        "\\".to_owned(),
    ] {
        let encoded: String =
            text.bytes().flat_map(|byte| format!("%{byte:02x}").into_bytes()).map(char::from).collect();
        for name in [
            "target", "wallet", "asset", "market", "side", "status", "mode", "is_final", "since", "until",
            "limit", "cursor",
        ] {
            let answer = alice.get(&format!("/copy-trade/orders?{name}={encoded}")).await;
            assert_eq!(answer.status, 400, "{name}={text}: {}", answer.text);
        }
        for path in [
            format!("/copy-trade/explain/{encoded}"),
            format!("{TARGETS}/{encoded}"),
            format!("/copy-trade/positions/{encoded}/close"),
        ] {
            let answer = match path.split('/').nth(2) {
                Some("explain") => alice.get(&path).await,
                Some("targets") => alice.patch(&path, json!({})).await,
                _ => alice.post(&path, json!({ "request_id": "x" })).await,
            };
            assert_eq!(answer.problem(), (404, "not_found".to_owned()), "{path}");
        }
        let close = alice.post("/copy-trade/positions/1/close", json!({ "request_id": text })).await;
        assert_eq!(close.problem(), (422, "request_id_invalid".to_owned()));
        // Where any text may stand, it stands as it was given.
        let answer = alice.put("/copy-trade/pause", json!({ "paused": true, "reason": text })).await;
        match text.as_str() {
            "\u{0}" => assert_eq!(answer.problem(), (422, "reason_invalid".to_owned())),
            _ => assert_eq!(answer.ok(200)["reason"], json!(text)),
        }
        let settings = json!({ "wallet": wallet('c'), "settings": { "only_markets": text } });
        let answer = alice.post(TARGETS, settings).await;
        assert!([200, 201, 422].contains(&answer.status), "{}", answer.text);
        // Whatever it was: the next request is the caller's, and nobody else's.
        assert_eq!(alice.patch(&format!("{TARGETS}/{id}"), json!({ "paused": true })).await.status, 404);
        assert_eq!(alice.get("/copy-trade/orders").await.ok(200)["items"], json!([]));
    }
    assert_eq!(rows_of(&setup, b).await, before);
}

/// Requests of all tenants share a few connections: what one transaction set, the next does not find.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_at_once_on_shared_connections_see_their_own_rows() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let mut tenants = Vec::new();
    for name in ["alice", "bob", "eve"] {
        let tenant = setup.accounts.create_tenant(name).await.unwrap();
        let client = server.client_of(&setup, tenant).await;
        let own = name.chars().next().unwrap();
        let target = client.post(TARGETS, json!({ "wallet": wallet(own) })).await.ok(201);
        let order = later(&order(of(tenant), 1, 5), OrderStatus::Open, 2);
        let order_id = order.order_id.unwrap().to_string();
        projected(&setup, vec![order, sale(of(tenant), 2, 0, 1)], Vec::new()).await;
        tenants.push((client.token, target["id"].clone(), order_id));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..40 {
        let (token, target, order) = tenants[round % tenants.len()].clone();
        let http = server.client.clone();
        let (targets, orders) = (
            server.url("/api/v1/poly/copy-trade/targets"),
            server.url("/api/v1/poly/copy-trade/orders?side=BUY"),
        );
        tasks.spawn(async move {
            for _ in 0..5 {
                let get = |url: &str| http.get(url).bearer_auth(&token).send();
                let seen: Value = get(&targets).await.unwrap().json().await.unwrap();
                assert_eq!((seen["items"].as_array().unwrap().len(), &seen["items"][0]["id"]), (1, &target));
                let seen: Value = get(&orders).await.unwrap().json().await.unwrap();
                assert_eq!(
                    (seen["items"].as_array().unwrap().len(), &seen["items"][0]["order_id"]),
                    (1, &json!(order))
                );
                // One that is given up on the way leaves nothing behind.
                let cut = std::time::Duration::from_micros(300);
                let _ = tokio::time::timeout(cut, get(&orders)).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
