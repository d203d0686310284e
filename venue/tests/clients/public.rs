//! What everybody may ask.

use std::time::Duration;

use schemas::{
    ids::{Address, ConditionId},
    time::Timestamp,
};
use venue::{
    VenueError,
    http::{Clob, Endpoints, HttpSettings, PublicData},
    port::{ActivityQuery, MarketData, PositionsQuery, TradesQuery},
    wire::{ActivityKind, PositionStatus},
};

use crate::server::{Raw, Reply, Venue, nobody, reply};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_123_456);
const USER: Address = Address::from_bytes([0x56; 20]);

fn client(venue: &Venue) -> PublicData {
    PublicData::new(&Endpoints::all_at(&venue.url), HttpSettings::default()).unwrap()
}

fn trade(size: &str, price: &str) -> String {
    format!(
        r#"{{"proxy_wallet":"{USER}","side":"BUY","token_id":"71","condition_id":"0x{}","size":{size},"price":{price},
            "timestamp":1790000000,"slug":"s","outcome":"Yes","outcome_index":0,"name":null,"transaction_hash":"0x{}","new_field":[1]}}"#,
        "dd".repeat(32),
        "ab".repeat(32)
    )
}

fn page(rows: &[String], next: Option<&str>) -> String {
    let next_json = next.map_or("null".to_owned(), |n| format!("{n:?}"));
    format!(
        r#"{{"data":[{}],"pagination":{{"limit":2,"offset":0,"has_more":{},"next_cursor":{next_json}}}}}"#,
        rows.join(","),
        next.is_some()
    )
}

fn trades(cursor: Option<&str>) -> TradesQuery {
    TradesQuery {
        user: USER,
        limit: 5_000,
        cursor: cursor.map(str::to_owned),
        start: Some(Timestamp::from_secs(1_789_000_000)),
        end: None,
    }
}

#[tokio::test]
async fn trades_are_asked_with_makers_and_past_every_cache() {
    let venue = Venue::answering([
        reply(200, page(&[trade("25.0", "0.3996666666666667"), trade("1e-2", "0.5")], Some("c/1+="))),
        reply(200, page(&[], None)),
    ])
    .await;
    let client = client(&venue);
    let first = client.trades(&trades(None), NOW).await.unwrap();
    assert_eq!(first.unreadable, []);
    assert_eq!(first.rows[0].price.micro(), 399_667, "the literal, to the nearest 10^-6");
    assert_eq!(first.rows[1].size.micro(), 10_000);
    assert_eq!(first.rows[0].timestamp.secs(), 1_790_000_000);
    let next = first.pagination.next().unwrap().to_owned();
    let second = client.trades(&trades(Some(&next)), NOW).await.unwrap();
    assert_eq!((second.rows.len(), second.pagination.next()), (0, None));

    let seen = venue.seen();
    for request in &seen {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/v2/trades"));
        assert_eq!(request.param("user"), Some(USER.to_string().as_str()));
        assert_eq!(request.param("taker_only"), Some("false"));
        assert_eq!(request.param("limit"), Some("1000"), "at most what the venue allows");
        assert_eq!(request.param("start"), Some("1789000000"), "filters are sent again with the cursor");
        assert_eq!(request.param("offset"), None);
    }
    assert_eq!((seen[0].param("cursor"), seen[1].param("cursor")), (None, Some("c/1+=")));
    assert!(seen[0].param("_").unwrap().starts_with("1790000000123456"));
    assert_ne!(seen[0].param("_"), seen[1].param("_"), "two calls in one instant are two URLs");
}

#[tokio::test]
async fn one_bad_row_does_not_cost_the_page() {
    let bad = r#"{"side":"HOLD","size":"many"}"#.to_owned();
    let combo = trade("1", "0.5")
        .replace(&"dd".repeat(32), &"dd".repeat(31))
        .replace(r#""slug":"s","outcome":"Yes""#, r#""slug":"","outcome":"""#);
    let venue = Venue::answering([reply(
        200,
        page(&[trade("1", "0.5"), bad.clone(), combo, "null".to_owned()], None),
    )])
    .await;
    let rows = client(&venue).trades(&trades(None), NOW).await.unwrap();
    assert_eq!(rows.rows.len(), 2);
    assert!(!rows.rows[0].is_combo() && rows.rows[1].is_combo());
    assert_eq!(rows.rows[1].condition().unwrap().to_string(), format!("0x{}00", "dd".repeat(31)));
    assert_eq!(rows.unreadable.iter().map(|u| u.index).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(rows.unreadable[0].json, bad);
}

#[tokio::test]
async fn positions_are_asked_with_their_dust() {
    let row = format!(
        r#"{{"proxy_wallet":"{USER}","token_id":"71","opposite_token_id":"","condition_id":"0x{}","current_size":12.5,
            "avg_price":0.41,"entry_cost_usdc":5.125,"status":"OPEN","redeemable":false,"negative_risk":true,"outcome_index":1}}"#,
        "dd".repeat(32)
    );
    let venue = Venue::answering([reply(200, page(&[row], None))]).await;
    let query = PositionsQuery {
        user: USER,
        status: Some(PositionStatus::RedeemableLost),
        condition: Some(ConditionId::from_bytes([0xdd; 32])),
        limit: 500,
        cursor: None,
    };
    let rows = client(&venue).positions(&query, NOW).await.unwrap().rows;
    assert_eq!(rows[0].current_size.to_string(), "12.5");
    assert_eq!(rows[0].entry_cost_usdc.unwrap().to_string(), "5.125");
    assert_eq!((rows[0].opposite_token_id.clone(), rows[0].status.clone()), (None, PositionStatus::Open));
    let seen = venue.only();
    assert_eq!(seen.path, "/v2/positions");
    assert_eq!((seen.param("filter_amount"), seen.param("status")), (Some("0"), Some("REDEEMABLE_LOST")));
    assert_eq!(seen.param("condition"), Some(format!("0x{}", "dd".repeat(32)).as_str()));
}

#[tokio::test]
async fn activity_names_its_kinds() {
    let row = trade("3", "0")
        .replace(r#""side":"BUY""#, r#""side":"","type":"MERGE","usdc_size":3"#)
        .replace(r#""token_id":"71""#, r#""token_id":"""#);
    let venue = Venue::answering([reply(200, page(&[row], None))]).await;
    let query = ActivityQuery {
        user: USER,
        kinds: vec![ActivityKind::Split, ActivityKind::Merge],
        limit: 100,
        cursor: None,
        start: None,
        end: Some(NOW),
    };
    let rows = client(&venue).activity(&query, NOW).await.unwrap();
    assert_eq!(rows.unreadable, []);
    assert_eq!(
        (rows.rows[0].kind.clone(), rows.rows[0].side, rows.rows[0].token_id.clone()),
        (ActivityKind::Merge, None, None)
    );
    let seen = venue.only();
    assert_eq!(
        (seen.param("type"), seen.param("end"), seen.param("start")),
        (Some("SPLIT,MERGE"), Some("1790000000"), None)
    );
}

fn gamma(condition: &str, closed: bool) -> String {
    format!(
        r#"{{"conditionId":"{condition}","slug":"s","outcomes":"[\"Yes\", \"No\"]","clobTokenIds":"[\"1\", \"2\"]","closed":{closed}}}"#
    )
}

#[tokio::test]
async fn markets_are_found_open_closed_and_in_their_short_form() {
    let (open, closed) = (ConditionId::from_bytes([1; 32]), ConditionId::from_bytes([2; 32]));
    let short = ConditionId::parse_padded(&format!("0x{}", "03".repeat(31))).unwrap();
    let stranger = ConditionId::from_bytes([9; 32]);
    let venue = Venue::answering([
        reply(
            200,
            format!(
                r#"{{"$schema":"x","markets":[{},{}],"next_cursor":"LTE="}}"#,
                gamma(&open.to_string(), false),
                gamma(&stranger.to_string(), false)
            ),
        ),
        reply(
            200,
            format!(
                "[{},{}]",
                gamma(&closed.to_string(), true),
                gamma(&format!("0x{}", "03".repeat(31)), true)
            ),
        ),
    ])
    .await;
    let rows = client(&venue).markets(&[open, closed, short, open]).await.unwrap().rows;
    let found: Vec<_> = rows.iter().map(|m| m.condition().unwrap()).collect();
    assert_eq!(found, [open, closed, short], "and nothing that was not asked for");
    let seen = venue.seen();
    assert_eq!(
        (seen[0].path.as_str(), seen[0].param("closed"), seen[1].param("closed")),
        ("/markets/keyset", Some("false"), Some("true"))
    );
    let short_text = format!("0x{}", "03".repeat(31));
    assert_eq!(seen[0].params("condition_ids").len(), 4);
    assert!(seen[0].params("condition_ids").contains(&short_text.as_str()));
    assert!(!seen[1].params("condition_ids").contains(&open.to_string().as_str()));
}

#[tokio::test]
async fn what_does_not_exist_is_none_only_in_the_venues_own_words() {
    let venue = Venue::answering([
        reply(404, r#"{"error":"No orderbook exists for the requested token id"}"#),
        reply(404, r#"{"error":"market not found"}"#),
        reply(404, "<html>nginx</html>"),
        reply(200, r#"{"c":"0x01","t":[{"t":"71","o":"Yes"}],"mts":0.01}"#),
        reply(200, r#""1790000000""#),
        reply(200, r#"{"data":[{"condition_id":"0x01","status":"resolved","payouts":[1000000,0],"resolved_at":"2026-10-01T00:00:00Z"}]}"#),
        reply(404, r#"{"error":"resolution not found","code":"not_found","retryable":false}"#),
    ])
    .await;
    let client = client(&venue);
    let (token, condition) = ("71".parse().unwrap(), ConditionId::from_bytes([1; 32]));
    assert_eq!(client.book(&token).await.unwrap(), None);
    assert_eq!(client.clob_market(condition).await.unwrap(), None);
    assert_eq!(client.book(&token).await.unwrap_err().code(), "venue_refused");
    let market = client.clob_market(condition).await.unwrap().unwrap();
    assert_eq!((market.tick.unwrap().micro(), market.neg_risk), (10_000, None));
    assert_eq!(client.clob.time().await.unwrap(), Timestamp::from_secs(1_790_000_000));
    let resolution = client.resolution(condition, NOW).await.unwrap().unwrap();
    assert_eq!(
        (resolution.payouts, resolution.resolved_at.unwrap().secs()),
        (vec![1_000_000, 0], 1_790_812_800)
    );
    assert_eq!(client.resolution(condition, NOW).await.unwrap(), None);
}

#[tokio::test]
async fn a_busy_venue_says_how_long_to_wait() {
    let limited = |after: Option<&str>, status| Reply {
        headers: after.map(|a| ("retry-after", a.to_owned())).into_iter().collect(),
        ..reply(status, r#"{"error":"slow down","code":"rate_limited","retryable":true,"trace_id":"t"}"#)
    };
    let venue = Venue::answering([
        limited(Some("7"), 429),
        limited(None, 429),
        limited(Some("1"), 503),
        limited(None, 425),
    ])
    .await;
    let client = client(&venue);
    for expected in [Some(7), None, Some(1), None] {
        let error = client.trades(&trades(None), NOW).await.unwrap_err();
        assert_eq!((error.code(), error.retry_after()), ("venue_busy", expected.map(Duration::from_secs)));
        assert!(error.may_pass() && error.to_string().contains("slow down"), "{error}");
    }
}

#[tokio::test]
async fn reads_end_in_errors_that_name_cause_and_path() {
    let venue = Venue::answering([
        reply(400, r#"{"error":"invalid cursor","code":"invalid_request","retryable":false}"#),
        reply(500, "oops"),
        reply(200, "<html>"),
        Reply { headers: vec![("location", "http://127.0.0.1:1/".to_owned())], ..reply(302, "") },
    ])
    .await;
    let client = client(&venue);
    for (code, words) in [
        ("venue_refused", "invalid cursor"),
        ("venue_failed", "oops"),
        ("venue_unreadable", "<html>"),
        ("venue_failed", "302"),
    ] {
        let error = client.trades(&trades(None), NOW).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(words) && error.to_string().contains("/v2/trades"), "{error}");
    }
}

#[tokio::test]
async fn silence_and_broken_lines_are_told_apart() {
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"market\":";
    let patience = HttpSettings { timeout: Duration::from_millis(200), ..HttpSettings::default() };
    let token = "71".parse().unwrap();
    // Silence; half an answer and silence.
    for bytes in [b"", HALF] {
        let venue = Raw::writing(bytes, false).await;
        let answer = Clob::new(&venue.url, patience).unwrap().book(&token).await;
        assert!(matches!(answer, Err(VenueError::TimedOut { .. })), "{answer:?}");
    }
    // A broken line; half an answer and a broken line.
    for bytes in [b"", HALF] {
        let venue = Raw::writing(bytes, true).await;
        let answer = Clob::new(&venue.url, HttpSettings::default()).unwrap().book(&token).await;
        assert!(matches!(answer, Err(VenueError::Unreachable { .. })), "{answer:?}");
    }
    let answer = Clob::new(&nobody().await, patience).unwrap().book(&token).await;
    assert!(matches!(answer, Err(VenueError::Unreachable { .. })), "{answer:?}");
}
