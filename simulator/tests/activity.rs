//! `/v2/activity`: what wallets do besides trading, as `venue.md` 1.3 says it is served.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::{path::PathBuf, sync::Arc, time::Duration};

use common::*;
use runtime::VirtualClock;
use schemas::{Shares, Timestamp};
use serde_json::{Value, json};
use simulator::{Options, Prints, Seeding, Simulator, TapeOptions};

/// A tape in the Data API's activity format, newest first as it pages: a split, trades of both outcomes, a rebate, a
/// merge in the second of a trade, a deposit, and a redemption.
fn tape() -> String {
    let row = |second: i64, kind: &str, token: &str, side: &str, size: &str, tx: u8| {
        let on_market = !matches!(kind, "MAKER_REBATE" | "DEPOSIT");
        json!({
            "proxyWallet": LEADER, "timestamp": 1_700_000_000 + second, "type": kind,
            "conditionId": if on_market { CONDITION } else { "" },
            "size": serde_json::from_str::<Value>(size).unwrap(),
            "usdcSize": serde_json::from_str::<Value>(size).unwrap(),
            "price": if side.is_empty() { json!(0) } else { json!(0.5) },
            "asset": token, "side": side,
            "outcomeIndex": match token { YES => 0, NO => 1, _ => 999 },
            "outcome": match token { YES => "Yes", NO => "No", _ => "" },
            "title": if on_market { "A market" } else { "" }, "slug": if on_market { "a-market" } else { "" },
            "transactionHash": format!("0x{:064x}", tx),
        })
    };
    let mut rows = vec![
        row(0, "SPLIT", "", "", "40", 1),
        row(5, "TRADE", YES, "BUY", "10", 2),
        row(10, "TRADE", NO, "SELL", "15", 3),
        row(12, "MAKER_REBATE", "", "", "0.25", 4),
        row(20, "MERGE", "", "", "20", 5),
        row(20, "TRADE", YES, "SELL", "5", 6),
        row(25, "DEPOSIT", "", "", "100", 7),
        row(30, "REDEEM", "", "", "25", 8),
    ];
    rows.reverse();
    Value::Array(rows).to_string()
}

/// The tape's market, as Gamma tells it: both tokens are known though a split names neither.
async fn stage() -> (Simulator, VirtualClock, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let markets = Some(write("gamma.jsonl", gamma_row("0.01", false, "0.05")));
    let tape = TapeOptions { markets, ..TapeOptions::new(write("tape.json", tape())) };
    let clock = VirtualClock::at(START);
    let simulator = Simulator::builder().tape(tape).clock(Arc::new(clock.clone())).start().await.unwrap();
    (simulator, clock, dir)
}

async fn kinds(base: &str, more: &str) -> Vec<String> {
    let page = get(base, &format!("/v2/activity?user={LEADER}{more}")).await;
    let rows = page["data"].as_array().unwrap_or_else(|| panic!("{page}"));
    rows.iter().map(|r| r["type"].as_str().unwrap().to_owned()).collect()
}

async fn held(base: &str) -> [i64; 2] {
    let page = get(base, &format!("/v2/positions?user={LEADER}&filter_amount=0")).await;
    [YES, NO].map(|token| {
        let row = page["data"].as_array().unwrap().iter().find(|r| r["token_id"] == token);
        row.map_or(0, |r| r["current_size"].to_string().parse::<Shares>().unwrap().micro() / 1_000_000)
    })
}

#[tokio::test]
async fn a_row_is_a_trade_row_with_its_type_and_dollars() {
    let (simulator, clock, _dir) = stage().await;
    clock.advance(Duration::from_secs(31));
    let page =
        get(&simulator.base_url, &format!("/v2/activity?user={LEADER}&type=SPLIT,TRADE&limit=10")).await;
    let expected = json!([
        {
            "proxy_wallet": LEADER, "side": "BUY", "token_id": YES, "size": 10, "price": 0.5,
            "condition_id": CONDITION, "title": "A market", "slug": "a-market", "icon": "",
            "event_slug": "a-market", "outcome": "Yes", "outcome_index": 0, "timestamp": 1_790_000_005,
            "name": "", "pseudonym": "", "bio": "", "profile_image": "", "profile_image_optimized": "",
            "transaction_hash": format!("0x{:064x}", 2), "type": "TRADE", "usdc_size": 5,
        },
        {
            "proxy_wallet": LEADER, "side": "", "token_id": "", "size": 40, "price": 0,
            "condition_id": CONDITION, "title": "A market", "slug": "a-market", "icon": "",
            "event_slug": "a-market", "outcome": "", "outcome_index": 999, "timestamp": 1_790_000_000,
            "name": "", "pseudonym": "", "bio": "", "profile_image": "", "profile_image_optimized": "",
            "transaction_hash": format!("0x{:064x}", 1), "type": "SPLIT", "usdc_size": 40,
        },
    ]);
    let rows = page["data"].as_array().unwrap();
    assert_eq!(json!([rows[2], rows[3]]), expected);
    assert_eq!(page["pagination"], json!({"limit": 10, "offset": 0, "has_more": false, "next_cursor": null}));
}

#[tokio::test]
async fn an_activity_tape_serves_trades_in_both_lists_and_the_rest_in_activity_only() {
    let (simulator, clock, _dir) = stage().await;
    let base = simulator.base_url.clone();
    clock.advance(Duration::from_secs(31));
    let trades = get(&base, &format!("/v2/trades?user={LEADER}&taker_only=false")).await;
    assert_eq!(trades["data"].as_array().unwrap().len(), 3);
    assert!(trades["data"].as_array().unwrap().iter().all(|r| r.get("type").is_none()));
    // Deposits are told only to those who ask for them; the rest newest first, a second in its order.
    let all = ["REDEEM", "TRADE", "MERGE", "MAKER_REBATE", "TRADE", "TRADE", "SPLIT"];
    assert_eq!(kinds(&base, "").await, all);
    assert_eq!(kinds(&base, "&exclude_deposits_withdrawals=false").await.len(), 8);
    let mut upwards = kinds(&base, "&sort_by=TIMESTAMP&sort_direction=ASC").await;
    upwards.reverse();
    assert_eq!(upwards, all);
    assert_eq!(kinds(&base, "&type=MERGE,REDEEM").await, ["REDEEM", "MERGE"]);
    assert_eq!(kinds(&base, "&start=1790000012&end=1790000020").await, ["TRADE", "MERGE", "MAKER_REBATE"]);
    // Page by page, each row once, in both directions.
    for direction in ["DESC", "ASC"] {
        for limit in 1..=8 {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let path =
                    format!("/v2/activity?user={LEADER}&sort_direction={direction}&limit={limit}{cursor}");
                let page = get(&base, &path).await;
                seen.extend(
                    page["data"].as_array().unwrap().iter().map(|r| r["type"].as_str().unwrap().to_owned()),
                );
                match page["pagination"]["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            if direction == "ASC" {
                seen.reverse();
            }
            assert_eq!(seen, all, "{direction}, {limit} a page");
        }
    }
}

#[tokio::test]
async fn positions_follow_splits_merges_and_redemptions() {
    let (simulator, clock, _dir) = stage().await;
    let base = simulator.base_url.clone();
    assert_eq!(held(&base).await, [40, 40], "a split gives both");
    clock.advance(Duration::from_secs(11));
    assert_eq!(held(&base).await, [50, 25]);
    clock.advance(Duration::from_secs(10));
    assert_eq!(held(&base).await, [25, 5], "a merge takes of both");
    clock.advance(Duration::from_secs(10));
    assert_eq!(held(&base).await, [0, 0], "a redemption leaves nothing");
}

#[tokio::test]
async fn bad_parameters_of_the_activity_list_are_refused() {
    let (simulator, _clock, _dir) = stage().await;
    for (bad, name) in [
        ("user=".to_owned(), "user"),
        (format!("user={LEADER}&type=TRADE,NAP"), "type"),
        (format!("user={LEADER}&limit=1001"), "limit"),
        (format!("user={LEADER}&sort_by=CASH"), "sort_by"),
        (format!("user={LEADER}&sort_direction=UP"), "sort_direction"),
        (format!("user={LEADER}&condition={CONDITION}&event_id=77"), "condition"),
        (format!("user={LEADER}&offset=1"), "offset"),
    ] {
        let url = format!("{}/v2/activity?{bad}", simulator.base_url);
        let answer = client().get(url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 400, "{bad}");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!((&body["code"], &body["parameter"]), (&json!("invalid_request"), &json!(name)), "{bad}");
    }
}

#[tokio::test]
async fn an_activity_page_is_kept_by_the_cache_for_fifteen_seconds_unless_the_address_varies() {
    let (simulator, clock, _dir) = stage().await;
    let base = simulator.base_url.clone();
    simulator.handle().switch(|s| s.cache_seconds = 300);
    assert_eq!(kinds(&base, "").await, ["SPLIT"]);
    clock.advance(Duration::from_secs(14));
    assert_eq!(kinds(&base, "").await, ["SPLIT"], "from the cache");
    assert_eq!(kinds(&base, "&_=1").await.len(), 4);
    clock.advance(Duration::from_secs(2));
    assert_eq!(kinds(&base, "").await.len(), 4);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_activity_twice() {
    let page = async |seed: u64| {
        let clock = VirtualClock::at(START);
        let seeding = Seeding { seed, change_permille: 200, ..Seeding::default() };
        let options = Options {
            prints: Prints::Seeded(seeding),
            epoch: Some(Timestamp::from_secs(START.secs() - 3_600)),
            ..Options::default()
        };
        let simulator = builder(options, &clock).start().await.unwrap();
        let user = simulator.handle().leaders()[0];
        get(&simulator.base_url, &format!("/v2/activity?user={user}&type=SPLIT,MERGE&limit=1000")).await
    };
    let first = page(7).await;
    assert!(first["data"].as_array().unwrap().len() > 50);
    assert_eq!(first, page(7).await);
    assert_ne!(first, page(8).await);
}
