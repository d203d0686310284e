//! The tenants' routes as a client uses them. Every answer is held against the OpenAPI document.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::{
    Setup,
    rows::{at, decision, later, leader, of, order, projected, sale, told},
    server::{BASE, Client, Server},
    setup, wallet,
};
use project::core::token::Tokens;
use reqwest::Method;
use schemas::{
    OrderStatus, Reason,
    events::{OrderState, TargetsEvent},
};
use serde_json::{Value, json};

const TARGETS: &str = "/copy-trade/targets";

/// Follows a wallet; its row.
async fn follow(client: &Client<'_>, digit: char) -> String {
    let body = client.post(TARGETS, json!({ "wallet": wallet(digit) })).await.ok(201);
    body["id"].as_str().unwrap().to_owned()
}

async fn relayed(setup: &Setup) -> Vec<TargetsEvent> {
    api::relay::publish(&setup.relay().await, 1_000).await.unwrap();
    setup.targets().await.into_iter().map(|(_, event)| event).collect()
}

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
async fn a_wallet_is_followed_in_the_mode_that_is_asked_for_if_that_is_served() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let usual = client.post(TARGETS, json!({ "wallet": wallet('a') })).await.ok(201);
    assert_eq!(usual["mode"], "simulated");
    let paper = client.post(TARGETS, json!({ "wallet": wallet('b'), "mode": "paper" })).await.ok(201);
    assert_eq!(paper["mode"], "paper");
    let live = client.post(TARGETS, json!({ "wallet": wallet('c'), "mode": "live" })).await;
    assert_eq!(live.problem(), (409, "mode_not_served".to_owned()));
    assert!(live.detail().contains("simulated, paper"), "{}", live.detail());
    let none = client.post(TARGETS, json!({ "wallet": wallet('c'), "mode": "dreamt" })).await;
    assert_eq!(none.status, 422);
    let other = client.post(TARGETS, json!({ "wallet": wallet('b') })).await;
    assert_eq!(other.problem(), (409, "target_mode_differs".to_owned()));
    assert_eq!(setup.accounts.target_list(tenant).await.unwrap().len(), 2);
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

#[tokio::test]
async fn a_wallet_is_followed_once_whatever_its_case() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let upper = "0xABABABABABABABABABABABABABABABABABABABAB";
    let settings = json!({ "sizing": "fixed", "usdc_per_trade": "2.50" });
    let answer = client.post(TARGETS, json!({ "wallet": upper, "settings": settings })).await;
    let made = answer.ok(201);
    assert_eq!(made["wallet"], upper.to_lowercase());
    assert_eq!(made["settings"], json!({ "sizing": "fixed", "usdc_per_trade": "2.5" }));
    assert_eq!(
        (&made["status"], &made["mode"], &made["revision"]),
        (&json!("active"), &json!("simulated"), &json!(1))
    );
    assert_eq!(answer.header("etag"), Some("\"1\""));
    let id = made["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(format!("{BASE}{TARGETS}/{id}").as_str()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    // Once more, with other settings: what stands is answered, and nothing changes.
    let again = client.post(TARGETS, json!({ "wallet": upper.to_lowercase().replace("0X", "0x") })).await;
    assert_eq!(again.ok(200), made);
    assert_eq!(client.get(TARGETS).await.ok(200), json!({ "items": [made], "next_cursor": null }));
    assert_eq!(relayed(&setup).await.len(), 1);
}

#[tokio::test]
async fn a_change_is_one_revision_and_a_lost_update_is_refused() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let path = format!("{TARGETS}/{}", follow(&client, 'a').await);
    let both =
        json!({ "settings": { "order_ttl": "15m", "min_price": "0.05" }, "paused": true, "revision": 1 });
    let answer = client.patch(&path, both).await;
    let changed = answer.ok(200);
    assert_eq!((&changed["revision"], &changed["policy_revision"]), (&json!(2), &json!(2)));
    assert_eq!(changed["settings"], json!({ "sizing": "min_bet", "order_ttl": "900", "min_price": "0.05" }));
    assert_eq!((changed["status"].as_str(), answer.header("etag")), (Some("paused"), Some("\"2\"")));
    let stale = json!({ "paused": false });
    for given in ["\"1\"", "\"3\""] {
        let answer = client.with(Method::PATCH, &path, ("if-match", given), stale.clone()).await;
        assert_eq!(answer.problem(), (409, "revision_stale".to_owned()), "{given}");
    }
    let answer = client.patch(&path, json!({ "paused": false, "revision": 1 })).await;
    assert_eq!(answer.problem(), (409, "revision_stale".to_owned()));
    let two = client.with(Method::PATCH, &path, ("if-match", "\"2\""), json!({ "revision": 1 })).await;
    assert_eq!(two.problem(), (409, "revision_stale".to_owned()));
    for given in ["2", "W/\"2\"", "\"x\"", "\"2\", \"3\"", "\"99999999999999999999\""] {
        let answer = client.with(Method::PATCH, &path, ("if-match", given), stale.clone()).await;
        assert_eq!(answer.problem(), (400, "if_match_invalid".to_owned()), "{given}");
    }
    // The same again, and nothing at all, change nothing.
    for same in [json!({ "paused": true, "settings": { "order_ttl": "900s" } }), json!({})] {
        assert_eq!(client.patch(&path, same).await.ok(200), changed);
    }
    let back =
        client.patch(&path, json!({ "settings": { "order_ttl": null, "min_price": "default" } })).await;
    assert_eq!(back.ok(200)["settings"], json!({ "sizing": "min_bet" }));
    let resumed = client.with(Method::PATCH, &path, ("if-match", "\"3\""), stale).await.ok(200);
    assert_eq!((&resumed["revision"], &resumed["policy_revision"]), (&json!(4), &json!(3)));
}

/// The next fill is decided under what is in force now: the record goes out with the change, and nothing restarts.
#[tokio::test]
async fn an_edited_policy_is_in_the_log_without_a_restart() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let ports = setup.relay().await;
    let stop = runtime::Stop::new();
    let relay = {
        let (ports, stop) = (ports.clone(), stop.clone());
        let options = api::relay::Options { every: Duration::from_millis(5), ..Default::default() };
        tokio::spawn(async move { api::relay::run(&ports, &options, &stop).await })
    };
    let path = format!("{TARGETS}/{}", follow(&client, 'a').await);
    let settings = json!({ "sizing": "fixed", "usdc_per_trade": "3" });
    let edited = client.patch(&path, json!({ "settings": settings })).await.ok(200);
    let told = testkit::wait_for_some("the edit to be in the log", Duration::from_secs(30), async || {
        setup.targets().await.into_iter().find_map(|(_, event)| match event {
            TargetsEvent::TargetState(state) if state.revision == 2 => Some(state),
            _ => None,
        })
    })
    .await;
    assert_eq!((json!(told.policy_revision), told.policy_revision), (edited["policy_revision"].clone(), 2));
    assert_eq!(told.policy.usdc_per_trade, Some(schemas::Usdc::from_units(3)));
    assert_eq!(told.target_row_id.to_string(), edited["id"].as_str().unwrap());
    stop.request();
    relay.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_target_is_removed_in_the_way_that_is_asked_for() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    for (digit, query, status, close_now, keep) in [
        ('a', "", "closing", false, false),
        ('b', "?positions=follow", "closing", false, false),
        ('c', "?positions=close", "closing", true, false),
        ('d', "?positions=keep", "removed", false, true),
    ] {
        setup.clock.advance(Duration::from_secs(1));
        let path = format!("{TARGETS}/{}", follow(&client, digit).await);
        let gone = client.delete(&format!("{path}{query}")).await.ok(200);
        assert_eq!((&gone["status"], &gone["revision"]), (&json!(status), &json!(2)), "{query}");
        assert_eq!(
            (&gone["close_now"], &gone["keep_positions"]),
            (&json!(close_now), &json!(keep)),
            "{query}"
        );
        assert_eq!(client.delete(&format!("{path}{query}")).await.ok(200), gone, "once more");
        let (status, code) = client.patch(&path, json!({ "paused": true })).await.problem();
        assert_eq!((status, code.as_str()), if keep { (404, "not_found") } else { (409, "target_closing") });
    }
    setup.clock.advance(Duration::from_secs(1));
    let path = format!("{TARGETS}/{}", follow(&client, 'e').await);
    let stale = client.with(Method::DELETE, &path, ("if-match", "\"7\""), json!({})).await;
    assert_eq!(stale.problem(), (409, "revision_stale".to_owned()));
    let sold = client.delete(&format!("{path}?positions=sell")).await;
    assert_eq!(sold.problem(), (400, "query_invalid".to_owned()));
    let listed = |query: &'static str| {
        let client = &client;
        async move {
            let page = client.get(&format!("{TARGETS}{query}")).await.ok(200);
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|t| t["wallet"].as_str().unwrap()[2..3].to_owned())
                .collect::<String>()
        }
    };
    assert_eq!(listed("").await, "abce");
    assert_eq!(
        (listed("?status=closing").await, listed("?status=removed").await),
        ("abc".into(), "d".into())
    );
    assert_eq!(listed("?status=active").await, "e");
    // Followed again, the closing one is the same target; the kept one is a new one.
    client.post(TARGETS, json!({ "wallet": wallet('a') })).await.ok(200);
    client.post(TARGETS, json!({ "wallet": wallet('d') })).await.ok(201);
}

#[tokio::test]
async fn a_body_that_is_not_as_it_should_be_is_refused_with_what_is_wrong() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let path = format!("{TARGETS}/{}", follow(&client, 'a').await);
    let w = wallet('b');
    let grants = "/wallet/grants";
    let caps = |more: Value| {
        let mut all = json!({
            "scopes": ["poly:trade:buy"], "per_order_usdc_cap": "5", "daily_usdc_cap": "50", "hourly_fills_cap": 10
        });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    for (method, path, body, code, named) in [
        (Method::POST, TARGETS, json!({ "wallet": w, "modus": "live" }), "body_invalid", "`modus`"),
        (
            Method::POST,
            TARGETS,
            json!({ "wallet": w, "billing_account_id": w }),
            "body_invalid",
            "`billing_account_id`",
        ),
        (Method::POST, TARGETS, json!({}), "body_invalid", "`wallet`"),
        (Method::POST, TARGETS, json!({ "wallet": "0x12" }), "body_invalid", "0x12"),
        (Method::POST, TARGETS, json!({ "wallet": null }), "body_invalid", "wallet"),
        (Method::POST, TARGETS, json!([wallet('c'), {}]), "body_invalid", "object"),
        (
            Method::POST,
            TARGETS,
            json!({ "wallet": w, "settings": { "x": "1" } }),
            "policy_setting_unknown",
            "`x`",
        ),
        (
            Method::POST,
            TARGETS,
            json!({ "wallet": w, "settings": { "sizing=x": "1" } }),
            "policy_setting_unknown",
            "sizing=x",
        ),
        (
            Method::POST,
            TARGETS,
            json!({ "wallet": w, "settings": { "max_price": 0.5 } }),
            "body_invalid",
            "max_price",
        ),
        (
            Method::POST,
            TARGETS,
            json!({ "wallet": w, "settings": { "max_price": "2" } }),
            "policy_value_out_of_range",
            "max_price",
        ),
        (
            Method::POST,
            TARGETS,
            json!({ "wallet": w, "settings": { "max_price": "x" } }),
            "policy_value_invalid",
            "max_price",
        ),
        (
            Method::POST,
            TARGETS,
            json!({ "wallet": w, "settings": { "sizing": null } }),
            "policy_value_invalid",
            "sizing",
        ),
        (
            Method::POST,
            TARGETS,
            json!({ "wallet": w, "settings": { "sizing": "fixed" } }),
            "policy_incomplete",
            "usdc_per_trade",
        ),
        (
            Method::POST,
            TARGETS,
            json!({ "wallet": w, "settings": { "range_max": "1", "gap_range_max": "2" } }),
            "policy_setting_repeated",
            "range_max",
        ),
        (Method::PATCH, path.as_str(), json!({ "pause": true }), "body_invalid", "`pause`"),
        (Method::PATCH, path.as_str(), json!({ "paused": "yes" }), "body_invalid", "paused"),
        (Method::PUT, grants, caps(json!({ "scope": [] })), "body_invalid", "`scope`"),
        (Method::PUT, grants, caps(json!({ "scopes": ["poly:admin"] })), "body_invalid", "poly:admin"),
        (Method::PUT, grants, caps(json!({ "daily_usdc_cap": 50 })), "body_invalid", "daily_usdc_cap"),
        (Method::PUT, grants, caps(json!({ "daily_usdc_cap": "-1" })), "body_invalid", "daily_usdc_cap"),
        (
            Method::PUT,
            grants,
            caps(json!({ "daily_usdc_cap": "1.0000001" })),
            "body_invalid",
            "daily_usdc_cap",
        ),
        (Method::PUT, grants, caps(json!({ "hourly_fills_cap": -1 })), "cap_invalid", "hourly_fills_cap"),
        (Method::PUT, grants, caps(json!({ "hourly_fills_cap": 1.5 })), "body_invalid", "hourly_fills_cap"),
        (Method::PUT, grants, caps(json!({ "expires_at": "tomorrow" })), "body_invalid", "expires_at"),
        (
            Method::PUT,
            "/copy-trade/pause",
            json!({ "paused": true, "kind": "stop" }),
            "body_invalid",
            "`kind`",
        ),
        (
            Method::PUT,
            "/copy-trade/pause",
            json!({ "paused": true, "reason": "a\u{0}b" }),
            "reason_invalid",
            "control",
        ),
        (
            Method::PUT,
            "/copy-trade/pause",
            json!({ "paused": true, "reason": "a".repeat(501) }),
            "reason_too_long",
            "500",
        ),
        (
            Method::POST,
            "/copy-trade/positions/7/close",
            json!({ "request_id": "a:b" }),
            "request_id_invalid",
            "request id",
        ),
        (
            Method::POST,
            "/copy-trade/positions/7/close",
            json!({ "request_id": "" }),
            "request_id_invalid",
            "request id",
        ),
        (
            Method::POST,
            "/copy-trade/positions/7/close",
            json!({ "request_id": "a", "target": "x" }),
            "body_invalid",
            "target",
        ),
    ] {
        let answer = client.send(method.clone(), path, Some(&body)).await;
        assert_eq!(answer.problem(), (422, code.to_owned()), "{method} {path} {body}: {}", answer.text);
        assert!(answer.detail().contains(named), "{method} {path} {body}: {}", answer.text);
    }
    // What no JSON type can say.
    let doubled = br#"{"wallet":"0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","settings":{"min_price":"0.1","min_price":"0.2"}}"#;
    let answer = client.raw(Method::POST, TARGETS, Some("application/json"), doubled.to_vec()).await;
    assert_eq!(answer.problem(), (422, "policy_setting_repeated".to_owned()));
    let twice = br#"{"paused":true,"paused":false}"#;
    let answer = client.raw(Method::PUT, "/copy-trade/pause", Some("application/json"), twice.to_vec()).await;
    assert_eq!(answer.problem(), (422, "body_invalid".to_owned()));
    let deep = "[".repeat(10_000);
    for text in ["", "{", "{}x", "\u{feff}{}", "{'a':1}", "{\"wallet\":\"\\ud800\"}", deep.as_str()] {
        let answer = client.raw(Method::POST, TARGETS, Some("application/json"), text.into()).await;
        let cut: String = text.chars().take(20).collect();
        assert!(
            [("json_invalid".to_owned(), 400), ("body_invalid".to_owned(), 422)].contains(&{
                let (status, code) = answer.problem();
                (code, status)
            }),
            "{cut}: {}",
            answer.text
        );
    }
    assert_eq!(client.raw(Method::POST, TARGETS, Some("application/json"), vec![0xff; 9]).await.status, 400);
    let long = format!(r#"{{"wallet":"{}"}}"#, "a".repeat(64 * 1024));
    let answer = client.raw(Method::POST, TARGETS, Some("application/json"), long.into()).await;
    assert_eq!(answer.problem(), (413, "body_too_large".to_owned()));
    for kind in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp")]
    {
        let answer = client.raw(Method::POST, TARGETS, kind, b"{}".to_vec()).await;
        assert_eq!(answer.problem(), (415, "content_type_unsupported".to_owned()), "{kind:?}");
    }
    assert_eq!(
        client.get(TARGETS).await.ok(200)["items"].as_array().unwrap().len(),
        1,
        "nothing came of any of it"
    );
}

/// Policies that nothing here can carry out are refused before they are kept.
#[tokio::test]
async fn a_policy_that_cannot_be_carried_out_is_refused_when_it_is_made_and_when_it_is_changed() {
    let mut setup = setup().await;
    setup.accounts = setup.accounts.refusing(|policy| {
        policy.stop_loss_fraction.is_some().then(|| "`stop_loss` is not supported".to_owned())
    });
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let settings = json!({ "stop_loss": "10%" });
    let answer = client.post(TARGETS, json!({ "wallet": wallet('a'), "settings": settings })).await;
    assert_eq!(answer.problem(), (422, "policy_unsupported".to_owned()));
    let path = format!("{TARGETS}/{}", follow(&client, 'a').await);
    let answer = client.patch(&path, json!({ "settings": settings })).await;
    assert_eq!(answer.problem(), (422, "policy_unsupported".to_owned()));
    assert_eq!(answer.detail(), "`stop_loss` is not supported");
    assert_eq!(client.get(TARGETS).await.ok(200)["items"][0]["revision"], 1);
}

#[tokio::test]
async fn what_is_allowed_is_replaced_whole_and_taken_back() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let path = "/wallet/grants";
    assert_eq!(client.get(path).await.problem(), (404, "not_found".to_owned()));
    assert_eq!(client.delete(path).await.problem(), (404, "not_found".to_owned()));
    let terms = json!({
        "scopes": ["poly:trade:sell", "poly:trade:buy", "poly:trade:buy"], "per_order_usdc_cap": "5.25",
        "daily_usdc_cap": "999999999999.999999", "hourly_fills_cap": 10, "per_market_usdc_cap": "0.000001",
        "expires_at": "2030-01-01T02:00:00+02:00"
    });
    let answer = client.put(path, terms.clone()).await;
    let grant = answer.ok(200);
    assert_eq!(grant["scopes"], json!(["poly:trade:buy", "poly:trade:sell"]));
    assert_eq!(
        (&grant["per_order_usdc_cap"], &grant["per_market_usdc_cap"]),
        (&json!("5.25"), &json!("0.000001"))
    );
    assert_eq!(
        (&grant["daily_usdc_cap"], &grant["expires_at"]),
        (&json!("999999999999.999999"), &json!("2030-01-01T00:00:00Z"))
    );
    assert_eq!((answer.header("etag"), &grant["revision"]), (Some("\"1\""), &json!(1)));
    assert_eq!(client.put(path, terms).await.ok(200), grant, "the same again changes nothing");
    assert_eq!(client.get(path).await.ok(200), grant);
    let less =
        json!({ "scopes": [], "per_order_usdc_cap": "0", "daily_usdc_cap": "0", "hourly_fills_cap": 0 });
    let less = client.put(path, less).await.ok(200);
    assert_eq!(
        (&less["revision"], &less["per_market_usdc_cap"], &less["expires_at"]),
        (&json!(2), &Value::Null, &Value::Null)
    );
    let revoked = client.delete(path).await.ok(200);
    assert_eq!((&revoked["revision"], revoked["revoked_at"].is_string()), (&json!(3), true));
    assert_eq!(client.get(path).await.status, 404);
}

#[tokio::test]
async fn a_pause_is_told_with_its_revision() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let path = "/copy-trade/pause";
    let paused = client.put(path, json!({ "paused": true, "reason": "holiday \u{1f3d6}" })).await.ok(200);
    assert_eq!(
        (&paused["paused"], &paused["reason"], &paused["revision"]),
        (&json!(true), &json!("holiday \u{1f3d6}"), &json!(1))
    );
    assert_eq!(
        client.put(path, json!({ "paused": true, "reason": "holiday \u{1f3d6}" })).await.ok(200),
        paused
    );
    assert_eq!(client.put(path, json!({ "paused": false })).await.ok(200)["revision"], 2);
    api::relay::publish(&setup.relay().await, 10).await.unwrap();
    assert_eq!(setup.controls().await.len(), 2);
}

/// Twelve copies of one wallet: BUYs, of which some filled, and a sale.
async fn copies(setup: &Setup, tenant: api::Tenant) {
    let tenant = of(tenant);
    let mut orders: Vec<_> = (1..=9).map(|number| order(tenant, number, 5)).collect();
    orders.push(later(&order(tenant, 10, 5), OrderStatus::Open, 2));
    orders.push(later(&order(tenant, 11, 5), OrderStatus::Filled, 5));
    orders.push(later(&sale(tenant, 12, 0, 3), OrderStatus::Filled, 3));
    let mut decisions: Vec<_> = (1..=9).map(|number| decision(tenant, 0, 0, number, Reason::Ok)).collect();
    decisions.extend((10..=20).map(|number| decision(tenant, 0, 0, number, Reason::StaleFill)));
    projected(setup, orders, decisions).await;
}

/// Every item of a list, page by page.
async fn walk(client: &Client<'_>, path: &str, query: &str, limit: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let more = cursor.as_ref().map(|c| format!("&cursor={c}")).unwrap_or_default();
        let page = client.get(&format!("{path}?limit={limit}{query}{more}")).await.ok(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit && (page["next_cursor"].is_null() || items.len() == limit), "{page}");
        all.extend(items.clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return all,
        }
    }
}

#[tokio::test]
async fn pages_of_a_list_hold_each_row_once_and_filters_apply_before_the_limit() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    copies(&setup, tenant).await;
    for digit in ['1', '2', '3', '4', '5'] {
        follow(&client, digit).await;
    }
    let name = |item: &Value| match item["id"].as_str() {
        Some(id) => id.to_owned(),
        None => format!("{} {} {}", item["idempotency_key"], item["revision"], item["asset"]),
    };
    for (path, query, expected) in [
        ("/copy-trade/orders", "", 12),
        ("/copy-trade/orders", "&status=reserved", 9),
        ("/copy-trade/orders", "&is_final=true", 2),
        ("/copy-trade/orders", "&side=SELL", 1),
        ("/copy-trade/orders", "&mode=live", 0),
        ("/copy-trade/decisions", "", 20),
        ("/copy-trade/decisions", "&reason=stale_fill", 11),
        ("/copy-trade/decisions", "&outcome=placed", 9),
        ("/copy-trade/decisions", "&outcome=placed&reason=stale_fill", 0),
        ("/copy-trade/positions", "&closed_too=true", 1),
        (TARGETS, "", 5),
    ] {
        let whole = walk(&client, path, query, 500).await;
        assert_eq!(whole.len(), expected, "{path} {query}");
        for limit in [1, 2, 3, 5, 12, 20] {
            assert_eq!(walk(&client, path, query, limit).await, whole, "{path} {query} by {limit}");
        }
        let names: BTreeSet<String> = whole.iter().map(name).collect();
        assert_eq!(names.len(), expected, "{path} {query}");
    }
    let orders = walk(&client, "/copy-trade/orders", "", 500).await;
    let times: Vec<&str> = orders.iter().map(|o| o["created_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "the newest first: {times:?}");
    // From one moment on and before another.
    let (since, until) = (api::http::rfc3339(at(4)), api::http::rfc3339(at(7)));
    let some = walk(&client, "/copy-trade/orders", &format!("&since={since}&until={until}"), 2).await;
    assert_eq!(some.len(), 3);
    let upper = leader().to_string().to_uppercase().replace("0X", "0x");
    let of_wallet = walk(&client, "/copy-trade/orders", &format!("&wallet={upper}"), 5).await;
    assert_eq!(of_wallet.len(), 12, "a wallet's case does not matter");
}

#[tokio::test]
async fn a_query_that_does_not_read_is_refused_by_name() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    copies(&setup, tenant).await;
    let page = client.get("/copy-trade/orders?limit=3").await.ok(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    for (query, code, named) in [
        ("?limit=0", "query_invalid", "limit"),
        ("?limit=501", "query_invalid", "limit"),
        ("?limit=-1", "query_invalid", "limit"),
        ("?limit=1&limit=2", "query_invalid", "limit"),
        ("?side=buy", "query_invalid", "side"),
        ("?side=", "query_invalid", "side"),
        ("?offset=1", "query_invalid", "offset"),
        ("?billing_account_id=x", "query_invalid", "billing_account_id"),
        ("?target=1", "query_invalid", "target"),
        ("?asset=%00", "query_invalid", "asset"),
        ("?asset=1%27%20or%20true--", "query_invalid", "asset"),
        ("?since=0", "query_invalid", "since"),
        ("?cursor=x", "cursor_invalid", "cursor"),
        ("?cursor=", "cursor_invalid", "cursor"),
        (&format!("?cursor={cursor}&side=BUY"), "cursor_invalid", "cursor"),
        (&format!("?cursor={}", &cursor[..cursor.len() - 2]), "cursor_invalid", "cursor"),
    ] {
        let answer = client.get(&format!("/copy-trade/orders{query}")).await;
        assert_eq!(answer.problem(), (400, code.to_owned()), "{query}: {}", answer.text);
        assert!(answer.detail().contains(named), "{query}: {}", answer.text);
    }
    // A cursor is of one list; how many at once may change on the way.
    for path in ["/copy-trade/decisions", "/copy-trade/positions", TARGETS] {
        let answer = client.get(&format!("{path}?cursor={cursor}")).await;
        assert_eq!(answer.problem(), (400, "cursor_invalid".to_owned()));
    }
    client.get(&format!("/copy-trade/orders?cursor={cursor}&limit=7")).await.ok(200);
}

#[tokio::test]
async fn orders_say_how_fresh_they_are_and_so_does_sync_health() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let health = client.get("/sync-health").await.ok(200);
    let none = json!({
        "oldest_synced_row_age_ms": null, "rows_stale_over_60s": 0, "rows_never_synced": 0, "reconciler_last_tick_at": null
    });
    assert_eq!(health, none);
    copies(&setup, tenant).await;
    // The samples confirm at 1,000 seconds; the clock stood at 0.
    setup.clock.advance(Duration::from_millis(1_061_500));
    let orders = client.get("/copy-trade/orders?limit=3").await.ok(200)["items"].clone();
    assert_eq!(
        (&orders[0]["side"], &orders[0]["staleness_ms"]),
        (&json!("SELL"), &Value::Null),
        "it is over"
    );
    assert!(orders[0]["synced_at"].is_string());
    assert_eq!((&orders[2]["status"], &orders[2]["staleness_ms"]), (&json!("open"), &json!(61_500)));
    assert_eq!(
        (&orders[2]["filled_shares"], &orders[2]["filled_usdc"], &orders[2]["limit"]),
        (&json!("2"), &json!("0.8"), &json!("0.4"))
    );
    let health = client.get("/sync-health").await.ok(200);
    assert_eq!(health["oldest_synced_row_age_ms"], 61_500);
    assert_eq!((&health["rows_stale_over_60s"], &health["rows_never_synced"]), (&json!(1), &json!(9)));
    // Whoever follows the account's orders says when it last went over them; the others' ticks are not this one's.
    let admin = sqlx::PgPool::connect_with(setup.connections.admin().clone()).await.unwrap();
    let place = eventlog::Log::manifest(&setup.log)
        .place(schemas::topics::Topic::Intents, tenant.account.to_string().as_bytes());
    let tick = |partition: i32, at: i64| {
        let admin = admin.clone();
        async move {
            sqlx::query("insert into poly_reconciler_ticks values ($1, timestamptz 'epoch' + $2 * interval '1 second')")
                .bind(partition)
                .bind(at)
                .execute(&admin)
                .await
                .unwrap();
        }
    };
    tick(place.partition + 100, 1_060).await;
    assert_eq!(client.get("/sync-health").await.ok(200)["reconciler_last_tick_at"], Value::Null);
    tick(place.partition, 1_055).await;
    let told = client.get("/sync-health").await.ok(200)["reconciler_last_tick_at"].clone();
    assert!(told.as_str().unwrap().starts_with("1970-01-01T00:17:35"), "{told}");
}

#[tokio::test]
async fn positions_are_what_was_bought_less_what_was_sold() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    copies(&setup, tenant).await;
    let page = client.get("/copy-trade/positions").await.ok(200);
    let held = &page["items"][0];
    assert_eq!(
        (&held["held_shares"], &held["bought_shares"], &held["sold_shares"]),
        (&json!("4"), &json!("7"), &json!("3"))
    );
    assert_eq!(
        (&held["bought_usdc"], &held["sold_usdc"], &held["fees_usdc"]),
        (&json!("2.8"), &json!("1.2"), &json!("0.00003"))
    );
    assert_eq!(held["wallet"], json!(leader()));
    // The rest is sold: nothing is held, and the row is shown where it is asked for.
    projected(&setup, vec![later(&sale(of(tenant), 13, 0, 4), OrderStatus::Filled, 4)], Vec::new()).await;
    assert_eq!(client.get("/copy-trade/positions").await.ok(200)["items"], json!([]));
    let all = client.get("/copy-trade/positions?closed_too=true").await.ok(200);
    assert_eq!(all["items"][0]["held_shares"], "0");
}

#[tokio::test]
async fn pnl_is_what_was_won_and_lost_to_the_last_millionth() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let empty = client.get("/copy-trade/pnl").await.ok(200);
    assert_eq!(empty, json!({ "totals": [], "items": [], "next_cursor": null }));
    // 7 shares for $2.80, 3 of them sold for $1.20: at cost, to the cent. Asset 2: 5 shares for $2.
    copies(&setup, tenant).await;
    let mut second = later(&order(of(tenant), 21, 5), OrderStatus::Filled, 5);
    second.asset = common::rows::asset(2);
    projected(&setup, vec![second], Vec::new()).await;
    let page = client.get("/copy-trade/pnl").await.ok(200);
    let one = &page["items"][0];
    assert_eq!(
        (
            &one["held_shares"],
            &one["cost_usdc"],
            &one["realised_usdc"],
            &one["unrealised_usdc"],
            &one["fees_usdc"]
        ),
        (&json!("4"), &json!("1.6"), &json!("0"), &Value::Null, &json!("0.00003"))
    );
    assert_eq!(
        (&page["totals"][0]["mode"], &page["totals"][0]["positions_without_price"]),
        (&json!("simulated"), &json!(2))
    );
    // Others pay 0.45 for the first; nobody bids for the second.
    let mut tokens = Tokens::default();
    tokens.mark(common::rows::marked(1, Some(450_000), 100));
    tokens.mark(common::rows::marked(2, None, 100));
    told(&setup, Vec::new(), Vec::new(), tokens).await;
    let page = client.get("/copy-trade/pnl").await.ok(200);
    assert_eq!(
        (&page["items"][0]["unrealised_usdc"], &page["items"][1]["unrealised_usdc"]),
        (&json!("0.2"), &json!("-2"))
    );
    assert_eq!(
        page["totals"],
        json!([{
            "mode": "simulated", "cost_usdc": "3.6", "realised_usdc": "0", "unrealised_usdc": "-1.8",
            "positions_without_price": 0, "redeemable_usdc": "0", "fees_usdc": "0.00004"
        }])
    );
    // The market ends: the first pays a dollar, the second nothing.
    let mut tokens = Tokens::default();
    tokens.resolve(common::rows::resolved(1_000_000, 200));
    told(&setup, Vec::new(), Vec::new(), tokens).await;
    let page = client.get("/copy-trade/pnl?limit=1").await.ok(200);
    let one = &page["items"][0];
    assert_eq!(
        (&one["realised_usdc"], &one["unrealised_usdc"], &one["redeemable_usdc"], &one["cost_usdc"]),
        (&json!("2.4"), &json!("0"), &json!("4"), &json!("0"))
    );
    // The totals are of everything, whatever the page shows.
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let total = &page["totals"][0];
    assert_eq!((&total["realised_usdc"], &total["redeemable_usdc"]), (&json!("0.4"), &json!("4")));
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = client.get(&format!("/copy-trade/pnl?limit=1&cursor={cursor}")).await.ok(200);
    assert_eq!((&next["items"][0]["realised_usdc"], &next["next_cursor"]), (&json!("-2"), &Value::Null));
    assert_eq!(next["totals"], page["totals"]);
    // The positions say what is to be redeemed, and the copies how they stand.
    let held = client.get("/copy-trade/positions").await.ok(200)["items"].clone();
    assert_eq!(
        (&held[0]["redeemable_usdc"], &held[0]["payout_per_share"], &held[1]["redeemable_usdc"]),
        (&json!("4"), &json!("1"), &json!("0"))
    );
    let stand = |asset: u32| {
        let client = &client;
        async move {
            let path =
                format!("/copy-trade/orders?side=BUY&is_final=true&asset={}", common::rows::asset(asset));
            client.get(&path).await.ok(200)["items"][0]["position_lifecycle"].clone()
        }
    };
    assert_eq!((stand(1).await, stand(2).await), (json!("winner"), json!("loser")));
    // Filters are those of the list.
    let none = client.get("/copy-trade/pnl?mode=live").await.ok(200);
    assert_eq!(none, json!({ "totals": [], "items": [], "next_cursor": null }));
    assert_eq!(client.get("/copy-trade/pnl?closed_too=true").await.problem().1, "query_invalid");
}

#[tokio::test]
async fn a_position_is_closed_once_however_often_it_is_asked() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let made = client.post(TARGETS, json!({ "wallet": leader() })).await.ok(201);
    copies(&setup, tenant).await;
    let asset = common::rows::asset(1);
    let path = format!("/copy-trade/positions/{asset}/close");
    let asked = client.post(&path, json!({ "request_id": "r-1" })).await.ok(202);
    assert_eq!(
        (&asked["target"], &asked["wallet"], &asked["revision"]),
        (&made["id"], &json!(leader()), &json!(1))
    );
    setup.clock.advance(Duration::from_secs(5));
    assert_eq!(client.post(&path, json!({ "request_id": "r-1" })).await.ok(202), asked, "the same request");
    let named = json!({ "request_id": "r-1", "target": made["id"] });
    assert_eq!(client.post(&path, named).await.ok(202), asked);
    let other = client.post("/copy-trade/positions/9/close", json!({ "request_id": "r-1" })).await;
    assert_eq!(other.problem(), (409, "request_id_reused".to_owned()));
    let nothing = client.post("/copy-trade/positions/9/close", json!({ "request_id": "r-2" })).await;
    assert_eq!(nothing.problem(), (404, "not_found".to_owned()));
    for bad in ["x", "01", "-1", "1.0", "%00"] {
        let answer =
            client.post(&format!("/copy-trade/positions/{bad}/close"), json!({ "request_id": "r-3" })).await;
        assert_eq!(answer.problem(), (404, "not_found".to_owned()), "{bad}");
    }
    let requests: Vec<_> = relayed(&setup)
        .await
        .into_iter()
        .filter_map(|event| match event {
            TargetsEvent::CloseRequested(request) => Some(request),
            TargetsEvent::TargetState(_) => None,
        })
        .collect();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!((request.request_id.as_str(), &request.asset, request.wallet), ("r-1", &asset, leader()));
    assert_eq!(json!(request.target_row_id), made["id"]);
    assert_eq!(request.billing_account_id, tenant.account);
    // Its key is the one that decide gives the close (behaviour.md 1).
    let cause = format!("manual:r-1:{asset}").parse().unwrap();
    let key = schemas::IdempotencyKey::of(schemas::TargetId::of_wallet(leader()), &cause);
    assert_eq!(asked["idempotency_key"], json!(key));
}

#[tokio::test]
async fn a_position_that_went_on_under_another_id_is_shown_and_closed_under_it() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    client.post(TARGETS, json!({ "wallet": leader() })).await.ok(201);
    copies(&setup, tenant).await;
    let [former, current] = [1, 40].map(common::rows::asset);
    let mut tokens = Tokens::default();
    tokens.change(&common::rows::migrated(1, 40));
    let sold = OrderState { asset: current.clone(), ..sale(of(tenant), 13, 0, 1) };
    told(&setup, vec![later(&sold, OrderStatus::Filled, 1)], Vec::new(), tokens).await;
    for query in [String::new(), format!("?asset={former}"), format!("?asset={current}")] {
        let items = client.get(&format!("/copy-trade/positions{query}")).await.ok(200)["items"].clone();
        assert_eq!(items.as_array().unwrap().len(), 1, "{query}");
        assert_eq!((&items[0]["asset"], &items[0]["other_ids"]), (&json!(current), &json!([former])));
        assert_eq!((&items[0]["bought_shares"], &items[0]["held_shares"]), (&json!("7"), &json!("3")));
    }
    assert_eq!(client.get("/copy-trade/pnl").await.ok(200)["items"][0]["asset"], json!(current));
    // Nobody ordered anything under the new id but a sale; both names close it.
    for (request, asset) in [("new", &current), ("old", &former)] {
        let path = format!("/copy-trade/positions/{asset}/close");
        let asked = client.post(&path, json!({ "request_id": request })).await.ok(202);
        assert_eq!((&asked["asset"], &asked["wallet"]), (&json!(asset), &json!(leader())));
    }
}

#[tokio::test]
async fn a_position_that_several_targets_hold_has_to_be_named() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let first = client.post(TARGETS, json!({ "wallet": leader() })).await.ok(201);
    let second = client.post(TARGETS, json!({ "wallet": wallet('b') })).await.ok(201);
    let mut other = later(&order(of(tenant), 2, 5), OrderStatus::Filled, 5);
    other.wallet = wallet('b');
    other.target_id = schemas::TargetId::of_wallet(other.wallet);
    let one = later(&order(of(tenant), 1, 5), OrderStatus::Filled, 5);
    projected(&setup, vec![one, other], Vec::new()).await;
    let path = format!("/copy-trade/positions/{}/close", common::rows::asset(1));
    let answer = client.post(&path, json!({ "request_id": "a" })).await;
    assert_eq!(answer.problem(), (409, "position_ambiguous".to_owned()));
    for (request, target) in [("a", &first), ("b", &second)] {
        let body = json!({ "request_id": request, "target": target["id"] });
        assert_eq!(client.post(&path, body).await.ok(202)["wallet"], target["wallet"]);
    }
}

#[tokio::test]
async fn a_copy_is_explained_from_what_it_was_decided() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    copies(&setup, tenant).await;
    let skipped = decision(of(tenant), 0, 0, 15, Reason::StaleFill).idempotency_key;
    let told = client.get(&format!("/copy-trade/explain/{skipped}")).await.ok(200);
    assert_eq!(
        (&told["order"], &told["decisions"][0]["decision"]["reason"]),
        (&Value::Null, &json!("stale_fill"))
    );
    let inputs = &told["decisions"][0]["inputs"];
    assert_eq!(
        (&inputs["price"], &inputs["notional"], &inputs["shares"]),
        (&json!("0.4"), &json!("4"), &json!("10"))
    );
    assert_eq!(inputs["settings"], json!({ "sizing": "fixed", "usdc_per_trade": "2" }));
    let placed = order(of(tenant), 3, 5).idempotency_key;
    let told = client.get(&format!("/copy-trade/explain/{placed}")).await.ok(200);
    assert_eq!(
        (&told["order"]["status"], told["decisions"].as_array().unwrap().len()),
        (&json!("reserved"), 1)
    );
    for none in [format!("0x{}", "0".repeat(64)), "x".to_owned(), "0x12".to_owned()] {
        assert_eq!(
            client.get(&format!("/copy-trade/explain/{none}")).await.problem(),
            (404, "not_found".to_owned())
        );
    }
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

#[tokio::test]
async fn every_route_is_in_the_document_and_everything_in_it_is_served() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let served = server.get("/api/v1/openapi.json").await.ok(200);
    assert!(served["openapi"].as_str().unwrap().starts_with("3."));
    // Routes come by `routes!`, which writes the document; one that was added past it would stand in the sources.
    let mut open = vec![testkit::workspace_root().join("api/src/http")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            for past in [".route(", ".route_service(", ".nest(", ".nest_service("] {
                assert!(!text.contains(past), "{} has {past}", path.display());
            }
        }
    }
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    assert_eq!(server.document.unresolved(), BTreeSet::new());
    let operations = server.document.operations();
    assert_eq!(operations.len(), 20, "{operations:#?}");
    for (method, template) in operations {
        let path = template
            .replace("{id}", &tenant.user.to_string())
            .replace("{asset}", "7")
            .replace("{key}", "0x00");
        let method: Method = method.parse().unwrap();
        let request = server.client.request(method.clone(), server.url(&path));
        let nobody = server.send(method.clone(), &path, request).await;
        let is_private = template.starts_with(BASE);
        assert_eq!(nobody.status == 401, is_private, "{method} {template}: {}", nobody.text);
        if is_private {
            let request = server.client.request(method.clone(), server.url(&path)).bearer_auth(&client.token);
            let answer = server.send(method.clone(), &path, request).await;
            assert!(![401, 405, 500].contains(&answer.status), "{method} {template}: {}", answer.text);
        }
    }
}
