//! What a tenant allows, and the pause.

use crate::common::{server::Server, setup};
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
