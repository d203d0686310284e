//! Following a wallet, changing its policy and removing it.

use std::time::Duration;

use crate::{
    TARGETS,
    common::{
        server::{BASE, Server},
        setup, wallet,
    },
    follow, relayed,
};
use api::accounts::MOST_TARGETS;
use reqwest::Method;
use schemas::events::TargetsEvent;
use serde_json::json;

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

/// All wallets share the venue's limits: one tenant alone shall not slow everybody's copies.
#[tokio::test]
async fn an_account_follows_so_many_wallets_and_no_more_whoever_adds_them() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let other = setup.accounts.create_tenant("bob").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let numbered = |number: i64| format!("0x{number:040x}");
    let follow = |number| client.post(TARGETS, json!({ "wallet": numbered(number) }));
    let mut ids = Vec::new();
    for number in 1..MOST_TARGETS {
        ids.push(follow(number).await.ok(201)["id"].as_str().unwrap().to_owned());
    }
    // Several at once are room for one: each looks while nobody else adds.
    let (a, b, c) = tokio::join!(follow(1_000), follow(1_001), follow(1_002));
    let mut answers = [a.status, b.status, c.status];
    answers.sort_unstable();
    assert_eq!(answers, [201, 409, 409]);
    let refused = (409, "targets_too_many".to_owned());
    let answer = follow(MOST_TARGETS).await;
    assert_eq!(answer.problem(), refused);
    assert!(answer.detail().contains("100"), "{}", answer.detail());
    // As the command line adds.
    let policy = api::policy::with_sizing(schemas::Sizing::MinBet);
    let add = |tenant| {
        let wallet = numbered(MOST_TARGETS).parse().unwrap();
        setup.accounts.target_add(tenant, wallet, schemas::Mode::Simulated, policy.clone())
    };
    assert_eq!(add(tenant).await.unwrap_err().code(), "targets_too_many");
    add(other).await.unwrap();
    // What is followed stays so. What is being wound down is still read, and makes no room; what is gone does.
    follow(1).await.ok(200);
    client.delete(&format!("{TARGETS}/{}", ids[0])).await.ok(200);
    assert_eq!(follow(MOST_TARGETS).await.problem(), refused);
    follow(1).await.ok(200);
    client.delete(&format!("{TARGETS}/{}?positions=keep", ids[0])).await.ok(200);
    follow(MOST_TARGETS).await.ok(201);
    assert_eq!(follow(1).await.problem(), refused);
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
