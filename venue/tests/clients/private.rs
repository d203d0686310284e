//! What one wallet may ask.

use std::time::Duration;

use schemas::{
    ids::{Address, OrderId},
    money::Usdc,
    time::Timestamp,
    words::{MarketVersion, SignatureType},
};
use secrecy::SecretString;
use venue::{
    http::{Clob, HttpSettings},
    outcome::{CancelOutcome, OrderLookup, RejectCause, SubmitOutcome},
    port::{BalanceOf, Exchange, OpenOrdersQuery, OwnTradesQuery},
    signing::{ApiCreds, LocalSigner, l1_signer, l2_signature},
    wire::{ClobTradeStatus, SizeUnits},
};

use crate::server::{Raw, Reply, Seen, Venue, nobody, reply};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_123_456);
const ID: OrderId = OrderId::from_bytes([0x11; 32]);
const SECRET: &str = "-_---_---_---_---_---_---_---_---_---_--_v8=";
const BODY: &[u8] = br#"{"order":{"salt":1},  "owner":"spaces and order are kept"}"#;

fn creds() -> ApiCreds {
    let address: Address = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266".parse().unwrap();
    ApiCreds::new(address, "key-id", SecretString::from(SECRET), SecretString::from("phrase")).unwrap()
}

fn client(venue: &Venue) -> Clob {
    Clob::new(&venue.url, HttpSettings::default()).unwrap()
}

/// The request carries the five headers, and its HMAC is over the bytes that came.
fn assert_signed(seen: &Seen) {
    let expected =
        l2_signature(&SecretString::from(SECRET), NOW.secs(), &seen.method, &seen.path, &seen.body).unwrap();
    for (name, value) in [
        ("poly_address", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        ("poly_api_key", "key-id"),
        ("poly_passphrase", "phrase"),
        ("poly_timestamp", "1790000000"),
        ("poly_signature", expected.as_str()),
    ] {
        assert_eq!(seen.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
}

async fn post(reply: Reply) -> (SubmitOutcome, Seen) {
    let venue = Venue::answering([reply]).await;
    let outcome = client(&venue).post_order(BODY, ID, &creds(), NOW).await;
    // One call, one request: nothing is sent again behind our back.
    (outcome, venue.only())
}

#[tokio::test]
async fn the_stored_bytes_are_sent_as_they_are_and_signed() {
    let body = format!(
        r#"{{"success":true,"errorMsg":"","orderID":"{ID}","status":"live","makingAmount":"","takingAmount":""}}"#
    );
    let (outcome, seen) = post(reply(200, body)).await;
    assert!(matches!(outcome, SubmitOutcome::Accepted(a) if a.order_id == ID));
    assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.body.as_slice()), ("POST", "/order", BODY));
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_signed(&seen);
}

#[tokio::test]
async fn each_class_of_answer_to_a_post_is_told_from_the_others() {
    let error = |status, message: &str| reply(status, serde_json::json!({ "error": message }).to_string());
    assert!(matches!(
        post(error(400, "not enough balance / allowance")).await.0,
        SubmitOutcome::Rejected { cause: RejectCause::BalanceOrAllowance, .. }
    ));
    assert_eq!(
        post(error(400, &format!("order {ID} is invalid. Duplicated."))).await.0,
        SubmitOutcome::AlreadyLanded
    );
    for doubt in [
        error(400, "context canceled"),
        error(500, "could not insert order"),
        reply(400, "not json"),
        reply(200, "<html>"),
        reply(502, ""),
        reply(200, r#"{"success":true,"errorMsg":"","orderID":""}"#),
    ] {
        let (outcome, _) = post(doubt.clone()).await;
        assert!(matches!(outcome, SubmitOutcome::Unknown { .. }), "{doubt:?}: {outcome:?}");
    }
    let (outcome, _) =
        post(reply(200, r#"{"success":true,"errorMsg":"invalid expiration","orderID":""}"#)).await;
    assert!(matches!(outcome, SubmitOutcome::Rejected { cause: RejectCause::Expiration, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_venue_that_takes_no_orders_now_says_when() {
    for status in [425, 429, 503] {
        let after = Reply { headers: vec![("retry-after", "3".to_owned())], ..reply(status, "restarting") };
        assert_eq!(
            post(after).await.0,
            SubmitOutcome::RetryLater {
                status,
                after: Some(Duration::from_secs(3)),
                why: "restarting".to_owned()
            }
        );
        assert_eq!(
            post(reply(status, "")).await.0,
            SubmitOutcome::RetryLater { status, after: None, why: "an empty body".to_owned() }
        );
    }
}

#[tokio::test]
async fn an_order_whose_answer_is_lost_is_unknown_and_was_sent_once() {
    let patience = HttpSettings { timeout: Duration::from_millis(200), ..HttpSettings::default() };
    for (bytes, hang_up) in [
        // No answer; none and the line breaks; half of one and the line breaks; half of one and silence.
        (&b""[..], false),
        (b"", true),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"success\":true,", true),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"success\":true,", false),
    ] {
        let venue = Raw::writing(bytes, hang_up).await;
        let clob = Clob::new(&venue.url, patience).unwrap();
        let outcome = clob.post_order(BODY, ID, &creds(), NOW).await;
        assert!(matches!(outcome, SubmitOutcome::Unknown { .. }), "{outcome:?}");
        assert_eq!(venue.requests(), 1, "nothing is sent again behind our back");
    }
    // Nobody there at all.
    let clob = Clob::new(&nobody().await, patience).unwrap();
    assert!(matches!(clob.post_order(BODY, ID, &creds(), NOW).await, SubmitOutcome::Unknown { .. }));
    assert!(matches!(clob.order(ID, &creds(), NOW).await, OrderLookup::Unknown { .. }));
    assert!(matches!(clob.cancel(ID, &creds(), NOW).await, CancelOutcome::Unknown { .. }));
}

#[tokio::test]
async fn an_order_is_asked_for_by_its_id() {
    let row = format!(
        r#"{{"id":"{ID}","status":"ORDER_STATUS_LIVE","asset_id":"71","side":"SELL","original_size":"5000000","size_matched":"0","price":"0.4"}}"#
    );
    let venue =
        Venue::answering([reply(200, row), reply(404, r#"{"error":"order not found"}"#), reply(200, "null")])
            .await;
    let clob = client(&venue);
    assert!(matches!(clob.order(ID, &creds(), NOW).await, OrderLookup::Found(row) if row.id == ID));
    assert_eq!(clob.order(ID, &creds(), NOW).await, OrderLookup::NotFound);
    assert_eq!(clob.order(ID, &creds(), NOW).await, OrderLookup::Blank);
    for seen in venue.seen() {
        assert_eq!((seen.method.as_str(), seen.path), ("GET", format!("/data/order/{ID}")));
    }
    assert_signed(&venue.seen()[0]);
}

#[tokio::test]
async fn a_cancel_names_its_order_in_the_signed_body() {
    let venue = Venue::answering([
        reply(200, format!(r#"{{"canceled":["{ID}"],"not_canceled":{{}}}}"#)),
        reply(200, format!(r#"{{"canceled":[],"not_canceled":{{"{ID}":"Order already matched"}}}}"#)),
    ])
    .await;
    let clob = client(&venue);
    assert_eq!(clob.cancel(ID, &creds(), NOW).await, CancelOutcome::Cancelled);
    assert!(matches!(clob.cancel(ID, &creds(), NOW).await, CancelOutcome::NotCancelled { .. }));
    let seen = &venue.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("DELETE", "/order"));
    assert_eq!(seen.body, format!(r#"{{"orderID":"{ID}"}}"#).into_bytes());
    assert_signed(seen);
}

#[tokio::test]
async fn our_trades_are_read_with_the_parts_of_each_order() {
    let other = OrderId::from_bytes([0x22; 32]);
    let trade = |status: &str, hash: &str| {
        format!(
            r#"{{"id":"u-1","taker_order_id":"{other}","market":"0x1","asset_id":"71","side":"BUY","size":"12.5","price":"0.4","status":"{status}",
                "match_time":"1790000000","last_update":"1790000001","transaction_hash":"{hash}","trader_side":"MAKER","bucket_index":0,
                "maker_orders":[{{"order_id":"{ID}","matched_amount":"2.5","price":"0.4","asset_id":"71"}}]}}"#
        )
    };
    let listing = format!(
        r#"{{"limit":100,"count":1,"next_cursor":"MQ==","data":[{}]}}"#,
        trade("TRADE_STATUS_MINED", "")
    );
    let bare = format!("[{}]", trade("CONFIRMED", &format!("0x{}", "ab".repeat(32))));
    let broken = r#"{"limit":100,"count":1,"next_cursor":"LTE=","data":[{"id":7}]}"#;
    let venue = Venue::answering([reply(200, listing), reply(200, bare), reply(200, broken)]).await;
    let clob = client(&venue);
    let query = OwnTradesQuery {
        asset: Some("71".parse().unwrap()),
        after: Some(Timestamp::from_secs(5)),
        cursor: Some("MA==".to_owned()),
        ..OwnTradesQuery::default()
    };
    let first = clob.own_trades(&query, &creds(), NOW).await.unwrap();
    assert_eq!(first.next(), Some("MQ=="));
    let trade = &first.data[0];
    assert_eq!((&trade.status, trade.transaction_hash), (&ClobTradeStatus::Mined, None));
    let (part, price) = trade.part_of(ID).unwrap();
    assert_eq!(
        (SizeUnits::Decimal.read(part).unwrap().to_string(), price.to_string()),
        ("2.5".to_owned(), "0.4".to_owned())
    );
    assert_eq!(trade.part_of(other).unwrap().0.as_str(), "12.5");
    assert!(trade.part_of(OrderId::from_bytes([3; 32])).is_none());
    let second = clob.own_trades(&query, &creds(), NOW).await.unwrap();
    assert_eq!((second.next(), &second.data[0].status), (None, &ClobTradeStatus::Confirmed));
    assert!(second.data[0].transaction_hash.is_some());
    // A page that hides one of our own trades is no answer.
    assert_eq!(clob.own_trades(&query, &creds(), NOW).await.unwrap_err().code(), "venue_unreadable");

    let seen = &venue.seen()[0];
    assert_eq!(seen.path, "/data/trades");
    assert_eq!(
        (seen.param("asset_id"), seen.param("after"), seen.param("next_cursor")),
        (Some("71"), Some("5"), Some("MA=="))
    );
    // The query is not part of what is signed.
    assert_signed(seen);
}

#[tokio::test]
async fn open_orders_and_balances_are_read() {
    let row = format!(
        r#"{{"id":"{ID}","status":"LIVE","asset_id":"71","side":"SELL","original_size":"5","size_matched":"","price":"0.4"}}"#
    );
    let unlimited = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    let venue = Venue::answering([
        reply(200, format!(r#"{{"data":[{row}],"next_cursor":"LTE="}}"#)),
        reply(200, format!(r#"{{"balance":"2500000","allowances":{{"0xa":"{unlimited}","0xb":"7"}}}}"#)),
        reply(200, r#"{"balance":"5000000","allowance":"0"}"#),
        reply(200, "{}"),
    ])
    .await;
    let clob = client(&venue);
    let open = clob.open_orders(&OpenOrdersQuery::default(), &creds(), NOW).await.unwrap();
    assert_eq!((open.data.len(), open.next()), (1, None));
    let cash =
        clob.balance_allowance(&BalanceOf::Collateral, SignatureType::Safe, &creds(), NOW).await.unwrap();
    assert_eq!(
        (cash.balance(), cash.least_allowance()),
        (Some(Usdc::from_micro(2_500_000)), Some(Usdc::from_micro(7)))
    );
    let token = BalanceOf::Token { asset: "71".parse().unwrap(), version: MarketVersion::V2 };
    let shares = clob.balance_allowance(&token, SignatureType::Eoa, &creds(), NOW).await.unwrap();
    assert_eq!(
        (shares.balance(), shares.least_allowance()),
        (Some(Usdc::from_micro(5_000_000)), Some(Usdc::ZERO))
    );
    let silent = clob.balance_allowance(&token, SignatureType::Eoa, &creds(), NOW).await.unwrap();
    assert_eq!(
        (silent.balance(), silent.least_allowance()),
        (None, None),
        "nothing said is not nothing held"
    );

    let seen = venue.seen();
    assert_eq!(
        (seen[1].param("asset_type"), seen[1].param("signature_type"), seen[1].param("token_id")),
        (Some("COLLATERAL"), Some("2"), None)
    );
    assert_eq!(
        (seen[2].param("asset_type"), seen[2].param("signature_type"), seen[2].param("token_id")),
        (Some("CONDITIONAL-V2"), Some("0"), Some("71"))
    );
    for request in &seen {
        assert_signed(request);
    }
}

#[tokio::test]
async fn credentials_are_derived_and_created_only_where_there_are_none() {
    let key =
        LocalSigner::from_hex("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap();
    let row = format!(r#"{{"apiKey":"k","secret":"{SECRET}","passphrase":"p"}}"#);
    let venue = Venue::answering([reply(200, row.clone())]).await;
    let creds = client(&venue).api_key(&key, NOW, 0, 137).await.unwrap();
    assert_eq!((creds.key(), creds.address()), ("k", key.address()));
    let seen = venue.only();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/auth/derive-api-key"));
    let signature = const_hex::decode(&seen.headers["poly_signature"]).unwrap();
    assert_eq!(l1_signer(key.address(), NOW, 0, 137, &signature), Ok(key.address()));

    let venue =
        Venue::answering([reply(400, r#"{"error":"Could not derive api key!"}"#), reply(200, row)]).await;
    client(&venue).api_key(&key, NOW, 0, 137).await.unwrap();
    assert_eq!((venue.seen()[1].method.as_str(), venue.seen()[1].path.as_str()), ("POST", "/auth/api-key"));

    // No answer is not "none": nothing is created. And a body of secrets stands in no error.
    let venue = Venue::answering([reply(500, ""), reply(200, r#"{"apiKey":"k","secret":"c2VjcmV0"}"#)]).await;
    assert_eq!(client(&venue).api_key(&key, NOW, 0, 137).await.unwrap_err().code(), "venue_failed");
    let error = client(&venue).api_key(&key, NOW, 0, 137).await.unwrap_err();
    assert!(
        error.code() == "venue_unreadable" && !format!("{error} {error:?}").contains("c2VjcmV0"),
        "{error}"
    );
}
