//! What a tenant allows, and the pause.

use std::time::Duration;

use crate::common::{server::Server, setup};
use reqwest::Method;
use serde_json::{Value, json};

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
    let never = json!({ "paused": false, "reason": "", "revision": 0, "changed_at": null });
    assert_eq!(client.get(path).await.ok(200), never);
    let paused = client.put(path, json!({ "paused": true, "reason": "holiday \u{1f3d6}" })).await.ok(200);
    assert_eq!(
        (&paused["paused"], &paused["reason"], &paused["revision"]),
        (&json!(true), &json!("holiday \u{1f3d6}"), &json!(1))
    );
    assert_eq!(
        client.put(path, json!({ "paused": true, "reason": "holiday \u{1f3d6}" })).await.ok(200),
        paused
    );
    let read = client.get(path).await;
    assert_eq!((read.ok(200), read.header("etag")), (paused, Some("\"1\"")));
    assert_eq!(client.put(path, json!({ "paused": false })).await.ok(200)["revision"], 2);
    api::relay::publish(&setup.relay().await, 10).await.unwrap();
    assert_eq!(setup.controls().await.len(), 2);
}

/// Caps that were lowered stay lowered, whoever read them before.
#[tokio::test]
async fn what_is_allowed_is_not_changed_on_a_revision_that_somebody_has_changed_since() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let path = "/wallet/grants";
    let caps = |daily: &str| json!({ "scopes": ["poly:trade:buy"], "per_order_usdc_cap": "5", "daily_usdc_cap": daily, "hourly_fills_cap": 9 });
    let on = |method: Method, revision: &'static str, body: Value| {
        let client = &client;
        async move { client.with(method, path, ("if-match", revision), body).await }
    };
    let stale = (409, "revision_stale".to_owned());
    assert_eq!(on(Method::PUT, "\"1\"", caps("50")).await.problem(), stale, "there is none yet");
    on(Method::PUT, "\"0\"", caps("50")).await.ok(200);
    let read = client.get(path).await;
    assert_eq!(read.header("etag"), Some("\"1\""));
    let lowered = on(Method::PUT, "\"1\"", caps("10")).await.ok(200);
    // Who read it before would lift what was lowered, or take it for gone.
    for daily in ["60", "10"] {
        assert_eq!(on(Method::PUT, "\"1\"", caps(daily)).await.problem(), stale);
    }
    assert_eq!(on(Method::DELETE, "\"1\"", json!({})).await.problem(), stale);
    assert_eq!(client.get(path).await.ok(200), lowered);
    assert_eq!(on(Method::PUT, "2", caps("60")).await.problem(), (400, "if_match_invalid".to_owned()));
    let revoked = on(Method::DELETE, "\"2\"", json!({})).await;
    assert_eq!((&revoked.ok(200)["revision"], revoked.header("etag")), (&json!(3), Some("\"3\"")));
    // Nor is what was taken back allowed again by somebody who does not know.
    assert_eq!(on(Method::PUT, "\"2\"", caps("60")).await.problem(), stale);
    assert_eq!(client.get(path).await.status, 404);
    assert_eq!(on(Method::PUT, "\"3\"", caps("60")).await.ok(200)["revision"], 4);
    assert_eq!(on(Method::PUT, "*", caps("70")).await.ok(200)["revision"], 5);
}

/// Execute pauses a tenant whose orders are refused for want of money (`behaviour.md` 6.8), and holds no account for it:
/// whoever did not see that does not lift it, be it a moment ago or in the middle of it.
#[tokio::test]
async fn a_pause_that_the_tenant_has_not_seen_is_not_lifted() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    let superuser = setup.superuser().await;
    let executor = setup.connections.pool(project::Role::Executor, 1).await.unwrap();
    let path = "/copy-trade/pause";
    let lift = |revision: &'static str| {
        let client = &client;
        async move { client.with(Method::PUT, path, ("if-match", revision), json!({ "paused": false })).await }
    };
    let pause =
        "insert into poly_controls as c (id, billing_account_id, kind, active, reason, revision, changed_at)
         values ($1, $2, 'pause', true, 'no balance', 1, 'epoch')
         on conflict (billing_account_id, kind) do update
         set active = true, reason = excluded.reason, revision = c.revision + 1 where not c.active";
    let stale = (409, "revision_stale".to_owned());
    // The first pause of all, and one after the tenant's own.
    for (seen, paused, next) in [("\"0\"", 1, "\"1\""), ("\"2\"", 3, "\"3\"")] {
        let mut gate = pgpool::begin(&executor).await.unwrap();
        sqlx::query(pause)
            .bind(tenant.user.as_uuid())
            .bind(tenant.account.as_uuid())
            .execute(&mut *gate)
            .await
            .unwrap();
        let meanwhile = async {
            testkit::wait_for("the tenant to wait for the pause", Duration::from_secs(30), || async {
                let waiting = "select exists (select from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock')";
                sqlx::query_scalar::<_, bool>(waiting).fetch_one(&superuser).await.unwrap()
            })
            .await;
            gate.commit().await.unwrap();
        };
        let (lifted, ()) = tokio::join!(lift(seen), meanwhile);
        assert_eq!(lifted.problem(), stale, "in the middle of it");
        assert_eq!(lift(seen).await.problem(), stale, "a moment ago");
        let stands = client.get(path).await.ok(200);
        assert_eq!(
            (&stands["paused"], &stands["reason"], &stands["revision"]),
            (&json!(true), &json!("no balance"), &json!(paused))
        );
        // Whoever has read that may lift it.
        assert_eq!(lift(next).await.ok(200)["revision"], paused + 1);
    }
    assert_eq!(lift("\"9\"").await.problem(), stale);
}
