//! The small print of the venue's JSON.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use schemas::{
    ids::Address,
    money::{Price, Shares},
    time::Timestamp,
    words::{MarketVersion, SignatureType},
};
use serde::{Deserialize, Serialize};
use venue::{
    facts::market_facts,
    wire::{
        ActivityKind, ActivityRow, BookLevel, Checksummed, ClobMarket, ClobTradeStatus, GammaMarket, Listing,
        Pagination, PlacedStatus, PostOrder, ResolutionRow, Rows, TraderSide, gamma::end_of, num,
        order::signature_type,
    },
};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    #[serde(with = "num::number")]
    number: Price,
    #[serde(default, with = "num::number_opt")]
    maybe: Option<Shares>,
    #[serde(with = "num::text")]
    text: Shares,
    #[serde(default, with = "num::text_opt")]
    text_opt: Option<Shares>,
    #[serde(with = "num::secs")]
    secs: Timestamp,
    #[serde(with = "num::millis_text")]
    millis: Timestamp,
    #[serde(with = "num::expiration")]
    expiration: Option<Timestamp>,
    #[serde(default, with = "num::secs_opt")]
    informal: Option<Timestamp>,
}

fn sample(number: &str, text_opt: &str, expiration: &str, informal: &str) -> serde_json::Result<Sample> {
    serde_json::from_str(&format!(
        r#"{{"number":{number},"text":"5","text_opt":{text_opt},"secs":"1790000000","millis":1790000000123,"expiration":{expiration},"informal":{informal}}}"#
    ))
}

#[test]
fn numbers_are_taken_from_their_literal_whether_quoted_or_not() {
    for (literal, micro) in [
        ("0.3996666666666667", 399_667),
        ("\"0.3996666666666667\"", 399_667),
        ("4e-1", 400_000),
        ("0.30000000000000004", 300_000),
        // A double cannot hold this one; its digits can be held.
        ("9007199254.740993", 9_007_199_254_740_993),
    ] {
        assert_eq!(sample(literal, "\"\"", "\"0\"", "null").unwrap().number.micro(), micro, "{literal}");
    }
    for bad in ["null", "true", "\"x\"", "\"\"", "[1]", "{}"] {
        assert!(sample(bad, "\"\"", "\"0\"", "null").is_err(), "{bad}");
    }
}

#[test]
fn absent_numbers_have_many_spellings() {
    for absent in ["\"\"", "null"] {
        assert_eq!(sample("1", absent, "\"0\"", "null").unwrap().text_opt, None, "{absent}");
    }
    assert_eq!(sample("1", "7", "0", "null").unwrap().text_opt, Some(Shares::from_units(7)));
    assert_eq!(
        sample("1", "7", "\"1790000600\"", "null").unwrap().expiration,
        Some(Timestamp::from_secs(1_790_000_600))
    );
    // An expiration decides something, so it is read strictly; a time that only informs is not.
    assert!(sample("1", "7", "\"soon\"", "null").is_err());
    assert_eq!(sample("1", "7", "0", "\"soon\"").unwrap().informal, None);
    assert_eq!(
        sample("1", "7", "0", "\"2026-07-20T03:59:00Z\"").unwrap().informal,
        Some(Timestamp::from_secs(1_784_519_940))
    );
    assert_eq!(
        sample("1", "7", "0", "1784519940").unwrap().informal,
        Some(Timestamp::from_secs(1_784_519_940))
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        number in 0i64..1_000_001, maybe in proptest::option::of(0i64..i64::MAX), text in 0i64..i64::MAX,
        secs in 1i64..10_000_000_000, millis in 0i64..10_000_000_000_000, expires: bool,
    ) {
        let value = Sample {
            number: Price::from_micro(number),
            maybe: maybe.map(Shares::from_micro),
            text: Shares::from_micro(text),
            text_opt: maybe.map(Shares::from_micro),
            secs: Timestamp::from_secs(secs),
            millis: Timestamp::from_millis(millis),
            expiration: expires.then(|| Timestamp::from_secs(secs)),
            informal: expires.then(|| Timestamp::from_secs(secs)),
        };
        let json = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(serde_json::from_str::<Sample>(&json).unwrap(), value);
        // A number is a number, and text is text.
        let plain: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert!(plain["number"].is_number() && plain["text"].is_string() && plain["millis"].is_string());
    }

    #[test]
    fn levels_keep_their_digits(price in 1i64..1_000_000, size in 1i64..i64::MAX) {
        let level = BookLevel { price: Price::from_micro(price), size: Shares::from_micro(size) };
        let json = serde_json::to_string(&level).unwrap();
        prop_assert_eq!(serde_json::from_str::<BookLevel>(&json).unwrap(), level);
    }

    #[test]
    fn a_wallet_in_any_case_is_read_and_written_with_its_checksum(bytes: [u8; 20]) {
        let address = Address::from_bytes(bytes);
        let text = Checksummed(address).to_string();
        prop_assert_eq!(text.to_lowercase(), address.to_string());
        let read: Checksummed = serde_json::from_str(&format!("{text:?}")).unwrap();
        prop_assert_eq!(read.0, address);
    }

    #[test]
    fn bodies_that_are_no_orders_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(PostOrder::read(&body).is_err());
    }
}

#[test]
fn words_are_read_in_any_dialect_and_kept_when_unknown() {
    assert_eq!(ClobTradeStatus::read("TRADE_STATUS_CONFIRMED"), ClobTradeStatus::Confirmed);
    assert_eq!(ClobTradeStatus::read("confirmed"), ClobTradeStatus::Confirmed);
    assert_eq!(PlacedStatus::read("ORDER_STATUS_DELAYED"), PlacedStatus::Delayed);
    assert_eq!(TraderSide::read("MAKER"), TraderSide::Maker);
    let new: ActivityKind = serde_json::from_str("\"AIRDROP\"").unwrap();
    assert_eq!(serde_json::to_string(&new).unwrap(), "\"AIRDROP\"");
    // No character of a foreign word is cut in two.
    assert_eq!(ClobTradeStatus::read("ÄÖÜÄÖÜÄÖÜ"), ClobTradeStatus::Other("ÄÖÜÄÖÜÄÖÜ".to_owned()));
}

#[test]
fn signature_types_have_the_venues_numbers() {
    let numbers: Vec<u8> = SignatureType::ALL.iter().map(|k| signature_type::number(*k)).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

#[test]
fn a_date_without_time_is_the_end_of_its_utc_day() {
    assert_eq!(end_of("2026-07-20"), Some(Timestamp::from_secs(1_784_592_000)));
    assert_eq!(end_of("2026-07-20T00:00:00Z"), Some(Timestamp::from_secs(1_784_505_600)));
    assert_eq!(end_of("2026-07-20T03:59:00.5Z"), Some(Timestamp::from_micros(1_784_519_940_500_000)));
    assert_eq!((end_of("2026-13-01"), end_of("soon"), end_of("")), (None, None, None));
}

fn market(extra: &str) -> GammaMarket {
    serde_json::from_str(&format!(
        r#"{{"id":7,"conditionId":"0x{}","slug":"m","outcomes":"[\"Yes\",\"No\"]","clobTokenIds":"[\"1\",\"2\"]","positionIds":["3","4"],
            "acceptingOrders":true,"closed":false,"negRisk":false,"orderMinSize":5,"orderPriceMinTickSize":0.01{extra}}}"#,
        "dd".repeat(31)
    ))
    .unwrap()
}

#[test]
fn the_version_alone_says_which_ids_are_traded() {
    let v1 = market_facts(&market(""), None).unwrap();
    assert_eq!(
        (v1.version, v1.tokens[0].asset.as_str()),
        (MarketVersion::V1, "1"),
        "position ids say nothing"
    );
    assert_eq!(v1.condition_id.to_string(), format!("0x{}00", "dd".repeat(31)));
    let v2 = market_facts(&market(r#","version":"v2""#), None).unwrap();
    assert_eq!((v2.version, v2.tokens[1].asset.as_str()), (MarketVersion::V2, "4"));
    assert_eq!(market_facts(&market(r#","version":"v3""#), None).unwrap_err().code(), "market_facts_missing");
}

#[test]
fn a_fee_that_nobody_names_is_not_free() {
    let fee = |extra: &str, clob: Option<&str>| {
        let clob: Option<ClobMarket> = clob.map(|json| serde_json::from_str(json).unwrap());
        market_facts(&market(extra), clob.as_ref())
            .map(|f| (f.fee_rate, f.fee_exponent))
            .map_err(|e| e.code())
    };
    assert_eq!(fee("", None), Ok((0, 1)));
    assert_eq!(fee(r#","feesEnabled":false"#, None), Ok((0, 1)));
    assert_eq!(fee(r#","feesEnabled":true"#, None), Err("market_facts_missing"));
    assert_eq!(fee("", Some(r#"{"tbf":1000}"#)), Err("market_facts_missing"));
    assert_eq!(fee(r#","feesEnabled":true,"feeSchedule":{"rate":0.05,"exponent":1}"#, None), Ok((50_000, 1)));
    assert_eq!(
        fee(r#","feeSchedule":{"rate":0.05,"exponent":1}"#, Some(r#"{"fd":{"r":0.07,"e":2,"to":true}}"#)),
        Ok((70_000, 2))
    );
    assert_eq!(fee(r#","feeSchedule":{"rate":0.05}"#, None), Ok((50_000, 1)));
    assert_eq!(fee(r#","feeSchedule":{"rate":0.05,"exponent":0.5}"#, None), Err("market_facts_missing"));
    assert_eq!(fee(r#","feeSchedule":{"exponent":1}"#, None), Err("market_facts_missing"));
    assert_eq!(fee(r#","feeSchedule":{"rate":-0.05,"exponent":1}"#, None), Err("market_facts_missing"));
}

#[test]
fn what_an_order_must_obey_is_the_clobs_word() {
    let clob: ClobMarket = serde_json::from_str(r#"{"mos":15,"mts":"0.001","ao":false,"nr":false}"#).unwrap();
    let facts = market_facts(&market(""), Some(&clob)).unwrap();
    assert_eq!(
        (facts.tick.micro(), facts.min_shares, facts.accepting_orders),
        (1_000, Shares::from_units(15), false)
    );
    // Each side can say that no orders are taken.
    assert!(market_facts(&market(""), None).unwrap().accepting_orders);
    let open: ClobMarket = serde_json::from_str(r#"{"ao":true}"#).unwrap();
    for over in [r#","closed":true"#, r#","archived":true"#, r#","enableOrderBook":false"#] {
        let row = market("");
        let mut json: serde_json::Value = serde_json::to_value(&row).unwrap();
        let (key, value) = over[1..].split_once(':').unwrap();
        json[key.trim_matches('"')] = serde_json::from_str(value).unwrap();
        let row: GammaMarket = serde_json::from_str(&json.to_string()).unwrap();
        assert!(!market_facts(&row, Some(&open)).unwrap().accepting_orders, "{over}");
    }
}

/// Written by hand after `venue.md` 1.3: a trade row with `type`, `usdc_size` and sometimes `is_combo`.
#[test]
fn an_activity_page_is_read_row_by_row_whatever_its_kinds() {
    let wallet = "0x56687bf447db6ffa42ffe2204a05edaa20f55839";
    let condition = format!("0x{}", "d2".repeat(32));
    let tx = |n: u8| format!("0x{}", format!("{n:02x}").repeat(32));
    let market = format!(
        r#""condition_id":"{condition}","title":"Rain?","slug":"rain","icon":"","event_slug":"weather""#
    );
    let body = format!(
        r#"{{"data":[
        {{"proxy_wallet":"{wallet}","side":"BUY","token_id":"71321","size":25.0,"price":0.39966660000000001,{market},
          "outcome":"Yes","outcome_index":0,"timestamp":1790000009,"transaction_hash":"{}","type":"TRADE",
          "usdc_size":9.991665}},
        {{"proxy_wallet":"{wallet}","side":"","token_id":"","size":40,"price":0,{market},
          "outcome":"","outcome_index":999,"timestamp":1790000008,"transaction_hash":"{}","type":"SPLIT","usdc_size":40}},
        {{"proxy_wallet":"{wallet}","side":"","token_id":"","size":3.9955,"price":0,"condition_id":"","outcome_index":999,
          "timestamp":1790000007,"transaction_hash":"{}","type":"MAKER_REBATE","usdc_size":3.9955}},
        {{"proxy_wallet":"{wallet}","side":"","token_id":"","size":12,"condition_id":"0x{}","is_combo":true,
          "timestamp":1790000006,"transaction_hash":"{}","type":"MERGE","usdc_size":12}},
        {{"proxy_wallet":"{wallet}","size":1,"timestamp":1790000005,"transaction_hash":"{}","type":"AIRDROP"}},
        {{"proxy_wallet":"{wallet}","size":"many","timestamp":1790000004,"transaction_hash":"{}","type":"REDEEM"}}
        ],"pagination":{{"limit":6,"offset":0,"has_more":true,"next_cursor":"b3BhcXVl"}}}}"#,
        tx(1),
        tx(2),
        tx(3),
        "ab".repeat(31),
        tx(4),
        tx(5),
        tx(6),
    );
    let page = Rows::<ActivityRow>::read(body.as_bytes()).unwrap();
    assert_eq!(page.pagination.next(), Some("b3BhcXVl"));
    assert_eq!(page.unreadable.iter().map(|r| r.index).collect::<Vec<_>>(), [5], "one row costs no other");
    let [trade, split, rebate, merge, unknown] = page.rows.as_slice() else { panic!("{:?}", page.rows) };
    assert_eq!((&trade.kind, trade.side), (&ActivityKind::Trade, Some(schemas::words::Side::Buy)));
    assert_eq!((trade.price.unwrap().micro(), trade.usdc_size.unwrap().micro()), (399_667, 9_991_665));
    assert_eq!((&split.kind, split.side, &split.token_id), (&ActivityKind::Split, None, &None));
    assert_eq!((split.size, split.timestamp), (Shares::from_units(40), Timestamp::from_secs(1_790_000_008)));
    assert_eq!(split.condition().unwrap().to_string(), condition);
    assert_eq!(rebate.kind, ActivityKind::MakerRebate);
    assert!(rebate.condition().is_err(), "a rebate is about no market");
    assert_eq!((&merge.kind, merge.is_combo), (&ActivityKind::Merge, Some(true)));
    assert!(merge.condition().unwrap().to_string().ends_with("ab00"), "padded on the right");
    assert_eq!(unknown.kind, ActivityKind::Other("AIRDROP".to_owned()));
}

/// Written by hand after `venue.md` 1.4.
#[test]
fn a_resolution_pays_whole_numbers_of_a_millionth() {
    let row = r#"{"condition_id":"0xd2","status":"resolved","payouts":[1000000,0],"reporter":"0x00",
        "resolved_at":1790000000,"was_disputed":false,"proposed_price":1,"price":69}"#;
    let row: ResolutionRow = serde_json::from_str(row).unwrap();
    assert_eq!(
        (row.payouts, row.resolved_at),
        (vec![1_000_000, 0], Some(Timestamp::from_secs(1_790_000_000)))
    );
    let open: ResolutionRow = serde_json::from_str(r#"{"status":"initialized"}"#).unwrap();
    assert!(open.payouts.is_empty());
}

#[test]
fn a_walk_goes_on_only_while_there_is_more() {
    let next = |has_more, cursor: Option<&str>| {
        let pagination =
            Pagination { has_more, next_cursor: cursor.map(str::to_owned), ..Pagination::default() };
        pagination.next().is_some()
    };
    assert!(next(true, Some("c")));
    assert!(!next(false, Some("c")) && !next(true, Some("")) && !next(true, None));
}

#[test]
fn a_listing_ends_where_the_venue_says_so() {
    let next = |json: &str| Listing::<u8>::read(json.as_bytes()).unwrap().next().map(str::to_owned);
    assert_eq!(next(r#"{"data":[1],"next_cursor":"LTE="}"#), None);
    assert_eq!(next(r#"{"data":[1],"next_cursor":""}"#), None);
    assert_eq!(next(r#"{"data":[],"next_cursor":"MTAw"}"#), Some("MTAw".to_owned()));
    assert_eq!(next(" [1, 2]"), None);
    assert!(Listing::<u8>::read(b"{}").is_err());
    let written = serde_json::to_string(&Listing::whole(vec![1u8])).unwrap();
    assert_eq!(next(&written), None);
}
