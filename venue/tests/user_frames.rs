//! The user WebSocket's frames: written by hand after `venue.md` 3.2.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use schemas::{
    ids::OrderId,
    money::{Price, Shares},
    time::Timestamp,
    words::Side,
};
use venue::wire::{
    ApiKeyRow, ClobOrderStatus, ClobTradeStatus, Literal, OrderEventKind, OrderFrame, SizeUnits, TradeFrame,
    TradeFrameExtra, TraderSide, UserFrame, UserFrames, UserMessage, UserRequest, UserSubscribe,
    user::{PING, PONG, SubscribeOperation},
};

fn id(n: u8) -> String {
    format!("0x{}", format!("{n:02x}").repeat(32))
}

fn order_json(kind: &str, status: &str) -> String {
    format!(
        r#"{{"event_type":"order","id":"{}","owner":"k1","market":"{}","asset_id":"7132","side":"BUY","order_owner":"k1",
        "original_size":"10","size_matched":"2.5","price":"0.57","associate_trades":null,"outcome":"Yes","type":"{kind}",
        "created_at":"1790000000","expiration":"1790000660","order_type":"GTD","status":"{status}",
        "maker_address":"0x56687bf447db6ffa42ffe2204a05edaa20f55839","timestamp":"1790000001123"}}"#,
        id(0xaa),
        id(0xcd),
    )
}

fn trade_json(status: &str, match_time: &str) -> String {
    format!(
        r#"{{"event_type":"trade","type":"TRADE","id":"28c4d2eb","taker_order_id":"{}","market":"{}","asset_id":"7132",
        "side":"BUY","size":"10","price":"0.57","fee_rate_bps":"0","status":"{status}",{match_time},
        "last_update":"1790000002","outcome":"YES","owner":"k1","trade_owner":"k1",
        "maker_address":"0x56687bf447db6ffa42ffe2204a05edaa20f55839","transaction_hash":"","bucket_index":0,
        "maker_orders":[{{"order_id":"{}","owner":"k2","maker_address":"0x01","matched_amount":"4","price":"0.57",
        "fee_rate_bps":"0","asset_id":"7132","outcome":"YES","side":"SELL"}},{{"order_id":"{}","owner":"k2",
        "maker_address":"0x01","matched_amount":"6","price":"0.57"}}],"trader_side":"TAKER","timestamp":1790000002456}}"#,
        id(0xaa),
        id(0xcd),
        id(0xbb),
        id(0xcc),
    )
}

fn frames(message: &str) -> UserFrames {
    match UserMessage::read(message) {
        UserMessage::Frames(frames) => frames,
        other => panic!("{other:?}"),
    }
}

fn order(message: &str) -> OrderFrame {
    let read = frames(message);
    assert!(read.unreadable.is_empty() && read.strange.is_empty(), "{read:?}");
    match read.frames.as_slice() {
        [UserFrame::Order(order)] => (**order).clone(),
        other => panic!("{other:?}"),
    }
}

fn trade(message: &str) -> TradeFrame {
    let read = frames(message);
    match read.frames.as_slice() {
        [UserFrame::Trade(trade)] => (**trade).clone(),
        other => panic!("{other:?} {:?}", read.unreadable),
    }
}

#[test]
fn an_order_frame_says_where_the_order_stands() {
    let frame = order(&order_json("UPDATE", "LIVE"));
    assert_eq!(frame.id.to_string(), id(0xaa));
    assert_eq!((&frame.kind, &frame.status), (&OrderEventKind::Update, &ClobOrderStatus::Live));
    assert_eq!((frame.side, frame.price.micro()), (Side::Buy, 570_000));
    let units = SizeUnits::of_order(&frame.original_size, Shares::from_units(10)).unwrap();
    assert_eq!(units.read(&frame.size_matched).unwrap(), Shares::from_micro(2_500_000));
    assert!(frame.associate_trades.is_empty(), "null is none");
    assert_eq!(frame.expiration, Some(Timestamp::from_secs(1_790_000_660)));
    // In millionths, and with trades.
    let json = order_json("UPDATE", "LIVE")
        .replace(r#""10""#, r#""10000000""#)
        .replace(r#""2.5""#, "2500000")
        .replace("null", r#"["t1","t2"]"#);
    let frame = order(&json);
    let units = SizeUnits::of_order(&frame.original_size, Shares::from_units(10)).unwrap();
    assert_eq!(units.read(&frame.size_matched).unwrap(), Shares::from_micro(2_500_000));
    assert_eq!(frame.associate_trades, ["t1", "t2"]);
}

#[test]
fn every_status_is_read_with_and_without_its_prefix_in_any_case() {
    use ClobOrderStatus as S;
    use ClobTradeStatus as T;
    for (word, status) in [
        ("LIVE", S::Live),
        ("MATCHED", S::Matched),
        ("DELAYED", S::Delayed),
        ("UNMATCHED", S::Unmatched),
        ("INVALID", S::Invalid),
        ("CANCELED", S::Canceled),
        ("CANCELED_MARKET_RESOLVED", S::CanceledMarketResolved),
        ("CANCELED_NOT_ENOUGH_BALANCE", S::CanceledNotEnoughBalance),
        ("CANCELED_MARKET_NOT_FOUND", S::CanceledMarketNotFound),
        ("CANCELED_EXPIRED_ORDER", S::CanceledExpiredOrder),
        ("CANCELED_ORDER_TIMED_OUT", S::CanceledOrderTimedOut),
    ] {
        for spelled in [word.to_owned(), format!("ORDER_STATUS_{word}"), word.to_ascii_lowercase()] {
            assert_eq!(order(&order_json("CANCELLATION", &spelled)).status, status, "{spelled}");
        }
        assert_eq!(status.is_cancelled(), word.starts_with("CANCELED"));
    }
    for (word, kind) in [
        ("PLACEMENT", OrderEventKind::Placement),
        ("update", OrderEventKind::Update),
        ("CANCELLATION", OrderEventKind::Cancellation),
    ] {
        assert_eq!(order(&order_json(word, "LIVE")).kind, kind);
    }
    for (word, status) in [
        ("MATCHED", T::Matched),
        ("MINED", T::Mined),
        ("CONFIRMED", T::Confirmed),
        ("RETRYING", T::Retrying),
        ("FAILED", T::Failed),
    ] {
        for spelled in [word.to_owned(), format!("TRADE_STATUS_{word}"), word.to_ascii_lowercase()] {
            let json = trade_json(&spelled, r#""match_time":"1790000001""#);
            assert_eq!(trade(&json).trade.status, status, "{spelled}");
        }
    }
}

#[test]
fn a_trade_frame_names_every_order_in_it() {
    for spelling in [r#""match_time":"1790000001""#, r#""matchtime":1790000001"#] {
        let frame = trade(&trade_json("MATCHED", spelling));
        assert_eq!(frame.orders().map(|o| o.to_string()).collect::<Vec<_>>(), [id(0xaa), id(0xbb), id(0xcc)]);
        assert_eq!(frame.trade.match_time, Some(Timestamp::from_secs(1_790_000_001)), "{spelling}");
        assert_eq!(frame.trade.transaction_hash, None, "empty until mined");
        assert_eq!(frame.trade.trader_side, TraderSide::Taker);
        // One trade, two of a maker's orders: each has its own part.
        let part = |n: u8| {
            let (size, price) = frame.trade.part_of(id(n).parse::<OrderId>().unwrap()).unwrap();
            (size.as_str().to_owned(), price)
        };
        assert_eq!(part(0xbb), ("4".to_owned(), Price::from_micro(570_000)));
        assert_eq!(part(0xcc), ("6".to_owned(), Price::from_micro(570_000)));
        assert_eq!(frame.extra.bucket_index, Literal::new("0"));
    }
}

#[test]
fn one_object_or_an_array_of_them() {
    let one = order_json("PLACEMENT", "LIVE");
    let two = trade_json("MINED", r#""match_time":"1""#);
    assert_eq!(frames(&one).frames.len(), 1);
    let both = frames(&format!(" [{one},{two}]\n"));
    assert!(matches!(both.frames.as_slice(), [UserFrame::Order(_), UserFrame::Trade(_)]), "{both:?}");
    assert_eq!(frames("[]"), UserFrames::default());
    assert_eq!(frames(""), UserFrames::default(), "an empty frame is no event");
}

#[test]
fn pings_and_pongs_are_text() {
    assert_eq!(UserMessage::read("PONG"), UserMessage::Pong);
    assert_eq!(UserMessage::read(" pong\n"), UserMessage::Pong);
    assert_eq!(UserMessage::read("PING"), UserMessage::Ping);
    assert_eq!((PING, PONG), ("PING", "PONG"));
}

#[test]
fn a_frame_that_cannot_be_read_is_told_and_costs_no_other() {
    let good = order_json("UPDATE", "LIVE");
    let bad = good.replace(&id(0xaa), "0xnot");
    let read = frames(&format!("[{bad},{good},7,{{}},{{\"event_type\":\"trade\"}}]"));
    assert_eq!(read.frames.len(), 1);
    assert_eq!(read.unreadable.iter().map(|r| r.index).collect::<Vec<_>>(), [0, 2, 3, 4]);
    for garbage in ["{", "[", "[{]", "null", "true", "hello", "\u{0}", "{\"event_type\":7}"] {
        let read = frames(garbage);
        assert_eq!((read.frames.len(), read.unreadable.len()), (0, 1), "{garbage}");
    }
    // The text that is kept for the report has an end.
    assert!(frames(&"x".repeat(1 << 20)).unreadable[0].json.len() <= 500);
}

#[test]
fn a_kind_of_event_that_nobody_knows_yet_is_no_error() {
    let read = frames(r#"[{"event_type":"fee_update","x":1},{"event_type":"order_book_reset"}]"#);
    assert_eq!(read.strange, ["fee_update", "order_book_reset"]);
    assert!(read.frames.is_empty() && read.unreadable.is_empty());
    // Without `event_type`, `type` tells.
    let order = order_json("CANCELLATION", "CANCELED").replace(r#""event_type":"order","#, "");
    assert!(matches!(frames(&order).frames.as_slice(), [UserFrame::Order(_)]));
    let trade = trade_json("FAILED", r#""match_time":"1""#).replace(r#""event_type":"trade","#, "");
    assert!(matches!(frames(&trade).frames.as_slice(), [UserFrame::Trade(_)]));
    // A frame of an old kind without a status still names its order.
    let old = order_json("UPDATE", "LIVE").replace(r#""status":"LIVE","#, "");
    assert_eq!(self::order(&old).status, ClobOrderStatus::default());
}

#[test]
fn what_the_simulator_writes_is_what_the_client_reads() {
    for json in [
        order_json("UPDATE", "CANCELED_EXPIRED_ORDER"),
        trade_json("RETRYING", r#""match_time":"1790000001""#),
    ] {
        let first = frames(&json);
        let written = serde_json::to_string(&first.frames).unwrap();
        assert_eq!(frames(&written), first, "{written}");
        let one: serde_json::Value = serde_json::from_str(&written).unwrap();
        let event = one[0]["event_type"].as_str().unwrap();
        assert!(event == "order" || event == "trade", "{written}");
        assert!(one[0]["price"].is_string() && one[0]["timestamp"].is_string(), "{written}");
    }
    let extra = TradeFrameExtra::of("k1", Timestamp::from_millis(1_790_000_002_456));
    assert_eq!((extra.kind.as_str(), extra.timestamp.as_str()), ("TRADE", "1790000002456"));
}

fn key() -> ApiKeyRow {
    ApiKeyRow {
        api_key: "key-id".to_owned(),
        secret: "c2VjcmV0".to_owned(),
        passphrase: "hush-hush".to_owned(),
    }
}

#[test]
fn a_client_says_who_it_is_and_nothing_prints_it() {
    let subscribe = UserSubscribe::everything(key());
    let json = serde_json::to_string(&subscribe).unwrap();
    assert_eq!(
        json,
        r#"{"type":"user","auth":{"apiKey":"key-id","secret":"c2VjcmV0","passphrase":"hush-hush"}}"#
    );
    let read = UserRequest::read(&json).unwrap();
    let shown = format!("{subscribe:?} {read:?}");
    assert!(!shown.contains("c2VjcmV0") && !shown.contains("hush"), "{shown}");
    let UserRequest::Subscribe(read) = read else { panic!("{read:?}") };
    assert_eq!((read.auth.secret.as_str(), read.auth.passphrase.as_str()), ("c2VjcmV0", "hush-hush"));
    let some = UserRequest::read(
        r#"{"type":"USER","auth":{"apiKey":"a","secret":"b","passphrase":"c"},"markets":["0x01"]}"#,
    );
    assert!(matches!(some.unwrap(), UserRequest::Subscribe(s) if s.markets == ["0x01"]));
}

#[test]
fn a_client_changes_its_mind_and_keeps_the_connection() {
    let change = UserRequest::read(r#"{"operation":"unsubscribe","markets":["0x01"]}"#).unwrap();
    assert!(
        matches!(change, UserRequest::Change(c) if c.operation == SubscribeOperation::Unsubscribe && c.markets == ["0x01"])
    );
    assert!(matches!(UserRequest::read("PING").unwrap(), UserRequest::Ping));
    assert!(matches!(UserRequest::read("PONG").unwrap(), UserRequest::Pong));
    for bad in [
        "",
        "{",
        "{}",
        r#"{"type":"market","auth":{"apiKey":"a","secret":"b","passphrase":"c"}}"#,
        r#"{"type":"user"}"#,
    ] {
        assert!(UserRequest::read(bad).is_err(), "{bad}");
    }
}
