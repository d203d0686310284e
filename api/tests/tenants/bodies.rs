//! Bodies that are not as they should be.

use crate::{
    TARGETS,
    common::{server::Server, setup, wallet},
    follow,
};
use reqwest::Method;
use serde_json::{Value, json};

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
