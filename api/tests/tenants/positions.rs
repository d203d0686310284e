//! Positions, what they won and lost, closing them, and why they were bought.

use std::time::Duration;

use crate::{
    TARGETS,
    common::{
        rows::{self, decision, later, leader, of, order, projected, sale, told},
        server::Server,
        setup, wallet,
    },
    copies, relayed,
};
use project::core::token::Tokens;
use schemas::{
    OrderStatus, Reason,
    events::{OrderState, TargetsEvent},
};
use serde_json::{Value, json};

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
    second.asset = rows::asset(2);
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
    tokens.mark(rows::marked(1, Some(450_000), 100));
    tokens.mark(rows::marked(2, None, 100));
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
    tokens.resolve(rows::resolved(1_000_000, 200));
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
            let path = format!("/copy-trade/orders?side=BUY&is_final=true&asset={}", rows::asset(asset));
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
    let asset = rows::asset(1);
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
    let [former, current] = [1, 40].map(rows::asset);
    let mut tokens = Tokens::default();
    tokens.change(&rows::migrated(1, 40));
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
    let path = format!("/copy-trade/positions/{}/close", rows::asset(1));
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
