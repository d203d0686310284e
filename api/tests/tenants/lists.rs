//! Lists: pages, filters, and how fresh they are.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    TARGETS,
    common::{
        rows::{at, leader},
        server::{Client, Server},
        setup,
    },
    copies, follow,
};
use serde_json::{Value, json};

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
