//! The user stream: what it tells of orders and trades, that it repeats nothing, and everything that may go
//! wrong with it; over a WebSocket and without one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::{sync::Arc, time::Duration};

use common::*;
use futures_util::{SinkExt as _, StreamExt as _};
use runtime::{Chance, Clock as _};
use schemas::Side;
use serde_json::{Value, json};
use simulator::{Fate, Fault, Mishap, StreamFault, StreamFrames, StreamWeather};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};
use venue::{
    order::SignedBody,
    port::{UserChannel, UserEvent, UserStream},
    wire::UserSubscribe,
    ws::{UserSocket, WsSettings},
};

/// A WebSocket client that knows nothing of ours.
struct Ear(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Ear {
    async fn at(stage: &Stage) -> Self {
        let url = format!("{}/ws/user", stage.simulator.base_url.replace("http", "ws"));
        Self(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    /// Connected, known, and sure to be heard.
    async fn of(stage: &Stage, trader: &Trader, markets: &[&str]) -> Self {
        let mut ear = Self::at(stage).await;
        let subscribe = UserSubscribe {
            markets: markets.iter().map(|m| (*m).to_owned()).collect(),
            ..UserSubscribe::everything(trader.creds.to_row())
        };
        ear.say(&serde_json::to_string(&subscribe).unwrap()).await;
        ear.say("PING").await;
        assert_eq!(ear.next().await, "PONG");
        ear
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next text, or why there is none.
    async fn next(&mut self) -> String {
        let next = tokio::time::timeout(Duration::from_secs(10), self.0.next()).await;
        match next.unwrap_or_else(|_| panic!("nothing is said within ten seconds")) {
            Some(Ok(Message::Text(text))) => text.to_string(),
            Some(Ok(Message::Close(Some(frame)))) => {
                format!("closed: {} {}", u16::from(frame.code), frame.reason)
            }
            Some(Ok(other)) => format!("{other:?}"),
            Some(Err(_)) | None => "cut".to_owned(),
        }
    }

    /// What is told, one event each, until the answer to a ping that is sent now.
    async fn told(&mut self) -> Vec<Value> {
        self.say("PING").await;
        let mut told = Vec::new();
        loop {
            let text = self.next().await;
            if text == "PONG" {
                return told;
            }
            match serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")) {
                Value::Array(several) => told.extend(several),
                one => told.push(one),
            }
        }
    }

    /// The same in short.
    async fn short(&mut self) -> Vec<String> {
        self.told().await.iter().map(short).collect()
    }
}

/// `order UPDATE MATCHED 10`, `trade MINED`.
fn short(event: &Value) -> String {
    let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    match event["event_type"].as_str() {
        Some("order") => {
            format!("order {} {} {}", word("type"), word("status"), word("size_matched"))
        }
        Some("trade") => format!("trade {}", word("status")),
        _ => panic!("{event}"),
    }
}

async fn posted(stage: &Stage, trader: &Trader, order: &SignedBody) {
    let (status, answer) = stage.post(trader, order).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn an_orders_whole_life_is_told_to_its_owner_and_to_nobody_else() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let stranger = stage.trader(2).await;
    let mut ear = Ear::of(&stage, &trader, &[]).await;
    let mut other = Ear::of(&stage, &stranger, &[]).await;

    let rests = trader.limit(Side::Buy, "0.40", "10");
    posted(&stage, &trader, &rests).await;
    let told = ear.told().await;
    let frame = &told[0];
    assert_eq!(told.len(), 1);
    assert_eq!(frame["id"], rests.id.to_string());
    assert_eq!((&frame["asset_id"], &frame["market"]), (&json!(YES), &json!(CONDITION)));
    assert_eq!((&frame["side"], &frame["price"]), (&json!("BUY"), &json!("0.4")));
    assert_eq!((&frame["original_size"], &frame["size_matched"]), (&json!("10"), &json!("0")));
    assert_eq!(
        (&frame["owner"], &frame["order_owner"]),
        (&json!(trader.creds.key()), &json!(trader.creds.key()))
    );
    assert_eq!((&frame["order_type"], &frame["timestamp"]), (&json!("GTD"), &json!("1790000000000")));
    assert_eq!(short(frame), "order PLACEMENT LIVE 0");

    let takes = trader.limit(Side::Buy, "0.50", "10");
    posted(&stage, &trader, &takes).await;
    let told = ear.told().await;
    let words: Vec<_> = told.iter().map(short).collect();
    assert_eq!(words, ["order PLACEMENT LIVE 0", "order UPDATE MATCHED 10", "trade MATCHED"]);
    let trade = &told[2];
    assert_eq!((&trade["type"], &trade["trader_side"]), (&json!("TRADE"), &json!("TAKER")));
    assert_eq!((&trade["size"], &trade["fee_rate_bps"]), (&json!("10"), &json!("0")));
    assert_eq!(
        (trade["taker_order_id"].as_str(), &trade["transaction_hash"]),
        (Some(&*takes.id.to_string()), &json!(""))
    );
    stage.advance(1);
    let told = ear.told().await;
    assert_eq!(told.iter().map(short).collect::<Vec<_>>(), ["trade MINED"]);
    let hash = told[0]["transaction_hash"].as_str().unwrap();
    assert!(hash.len() == 66 && told[0]["id"] == trade["id"], "{told:?}");
    stage.advance(1);
    let told = ear.told().await;
    assert_eq!(
        (short(&told[0]), told[0]["transaction_hash"].as_str().unwrap()),
        ("trade CONFIRMED".to_owned(), hash)
    );

    let cancelled = json!({"orderID": rests.id}).to_string();
    stage.call(&trader.creds, "DELETE", "/order", &cancelled).await;
    assert_eq!(ear.short().await, ["order CANCELLATION CANCELED 0"]);
    // What is killed without a fill was refused: nothing is said. What fills in part is cancelled.
    let killed = trader.buy_for("0.10", "10");
    assert_eq!(stage.post(&trader, &killed).await.0, 400);
    let part = trader.buy_for("0.50", "100");
    posted(&stage, &trader, &part).await;
    let words = ear.short().await;
    assert_eq!(
        words,
        ["order PLACEMENT LIVE 0", "order UPDATE LIVE 90", "trade MATCHED", "order CANCELLATION CANCELED 90"]
    );
    assert_eq!(other.short().await, [] as [String; 0], "nothing of it is a stranger's");
}

#[tokio::test]
async fn time_alone_tells_of_fills_lapses_and_the_end_of_a_market() {
    let prints =
        [(0, "BUY", true, "100", "0.5"), (30, "SELL", true, "50", "0.38"), (200, "BUY", true, "1", "0.5")];
    let gamma = gamma_row("0.01", false, "0.05").replace(
        "\"negRisk\"",
        "\"closed\":true,\"umaResolutionStatus\":\"resolved\",\"outcomePrices\":\"[\\\"1\\\", \\\"0\\\"]\",\"negRisk\"",
    );
    let stage = Stage::with(&prints, &gamma, |o| o).await;
    let mut trader = stage.trader(1).await;
    let mut ear = Ear::of(&stage, &trader, &[]).await;
    let part = trader.limit(Side::Buy, "0.40", "80");
    posted(&stage, &trader, &part).await;
    let mut soon = trader.order(
        true,
        venue::order::Terms::Limit {
            side: Side::Buy,
            price: p("0.10"),
            shares: s("10"),
            expires: Some(START.plus(Duration::from_secs(240))),
            post_only: false,
        },
    );
    posted(&stage, &trader, &soon).await;
    soon = trader.limit(Side::Buy, "0.11", "10");
    posted(&stage, &trader, &soon).await;
    assert_eq!(ear.short().await.len(), 3);
    // Nobody asks: the stream wakes up by itself.
    let wake = async |ear: &mut Ear, seconds| {
        stage.advance(seconds);
        let event = serde_json::from_str(&ear.next().await).unwrap();
        short(&event)
    };
    assert_eq!(wake(&mut ear, 30).await, "order UPDATE LIVE 50");
    assert_eq!(short(&serde_json::from_str(&ear.next().await).unwrap()), "trade MATCHED");
    assert_eq!(wake(&mut ear, 1).await, "trade MINED");
    assert_eq!(wake(&mut ear, 1).await, "trade CONFIRMED");
    // A minute before its expiration.
    assert_eq!(wake(&mut ear, 180 - 32).await, "order CANCELLATION CANCELED_EXPIRED_ORDER 0");
    // The tape's last print was at 200, and the market takes orders for two minutes more.
    assert_eq!(wake(&mut ear, 320 - 180).await, "order CANCELLATION CANCELED_MARKET_RESOLVED 50");
    assert_eq!(ear.short().await, ["order CANCELLATION CANCELED_MARKET_RESOLVED 0"]);
    let resolution = stage.get(&format!("/v2/resolutions?condition={CONDITION}")).await;
    assert_eq!(resolution["data"][0]["payouts"], json!([1_000_000, 0]));
}

#[tokio::test]
async fn what_happened_while_nobody_listened_is_never_told() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let order = trader.limit(Side::Buy, "0.50", "10");
    posted(&stage, &trader, &order).await;
    let mut ear = Ear::of(&stage, &trader, &[]).await;
    drop(ear);
    stage.advance(1);
    let later = trader.limit(Side::Buy, "0.40", "10");
    posted(&stage, &trader, &later).await;
    ear = Ear::of(&stage, &trader, &[]).await;
    assert_eq!(ear.short().await, [] as [String; 0]);
    stage.advance(1);
    assert_eq!(ear.short().await, ["trade CONFIRMED"], "from here on it is told");
}

#[tokio::test]
async fn a_stream_is_for_known_keys_and_for_the_markets_it_names() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let mut ear = Ear::at(&stage).await;
    let mut wrong = trader.creds.to_row();
    wrong.passphrase.push('x');
    ear.say(&serde_json::to_string(&UserSubscribe::everything(wrong)).unwrap()).await;
    assert_eq!(ear.next().await, "closed: 1008 unauthorized");
    let mut ear = Ear::at(&stage).await;
    ear.say("what?").await;
    assert_eq!(ear.next().await, "INVALID OPERATION");
    ear.say("PING").await;
    assert_eq!(ear.next().await, "PONG", "whoever is nobody yet is answered too");

    let elsewhere = format!("0x{:064x}", 77);
    let mut ear = Ear::of(&stage, &trader, &[&elsewhere]).await;
    let order = trader.limit(Side::Buy, "0.40", "10");
    posted(&stage, &trader, &order).await;
    assert_eq!(ear.short().await, [] as [String; 0]);
    let change = |operation: &str| json!({ "operation": operation, "markets": [CONDITION] }).to_string();
    ear.say(&change("subscribe")).await;
    assert_eq!(ear.short().await, [] as [String; 0]);
    let order = trader.limit(Side::Buy, "0.41", "10");
    posted(&stage, &trader, &order).await;
    assert_eq!(ear.short().await, ["order PLACEMENT LIVE 0"]);
    ear.say(&change("unsubscribe")).await;
    assert_eq!(ear.short().await, [] as [String; 0]);
    stage.call(&trader.creds, "DELETE", "/cancel-all", "").await;
    assert_eq!(ear.short().await, [] as [String; 0]);
    stage.simulator.handle().switch(|s| s.stream_markets = 1);
    ear.say(&change("subscribe")).await;
    assert_eq!(ear.next().await, "closed: 1008 too many markets");
}

#[tokio::test]
async fn a_trade_may_move_to_another_transaction_be_tried_again_or_fail() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let mut ear = Ear::of(&stage, &trader, &[]).await;
    for (fate, expected) in [
        (Fate::Moves, vec![("MATCHED", 0), ("MINED", 1), ("CONFIRMED", 2)]),
        (Fate::Retries, vec![("MATCHED", 0), ("RETRYING", 1), ("MINED", 2), ("CONFIRMED", 2)]),
        (Fate::Fails, vec![("MATCHED", 0), ("RETRYING", 1), ("FAILED", 0)]),
    ] {
        stage.simulator.handle().fault(Fault::trades(fate));
        let before = trader.wallet.maker();
        let order = trader.limit(Side::Buy, "0.50", "5");
        posted(&stage, &trader, &order).await;
        let mut told = ear.told().await;
        for _ in 0..3 {
            stage.advance(1);
            told.extend(ear.told().await);
        }
        let trades: Vec<_> = told.iter().filter(|e| e["event_type"] == "trade").collect();
        let mut seen = vec![json!("")];
        let words: Vec<_> = trades
            .iter()
            .map(|t| {
                let hash = &t["transaction_hash"];
                if !seen.contains(hash) {
                    seen.push(hash.clone());
                }
                (t["status"].as_str().unwrap(), seen.iter().position(|h| h == hash).unwrap())
            })
            .collect();
        assert_eq!(words, expected, "{fate:?}");
        // The Data API serves what settled, with the transaction it settled in.
        let rows = stage.get(&format!("/v2/trades?user={before}&taker_only=false")).await;
        let settled: Vec<_> =
            rows["data"].as_array().unwrap().iter().map(|r| &r["transaction_hash"]).collect();
        assert_eq!(settled.contains(&seen.last().unwrap()), fate != Fate::Fails, "{fate:?}");
    }
}

#[tokio::test]
async fn events_are_lost_doubled_swapped_and_late_on_demand() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let mut ear = Ear::of(&stage, &trader, &[]).await;
    let fault = |mishap| stage.simulator.handle().stream_fault(StreamFault::next(mishap));
    let mut place = async |price: &str| {
        let order = trader.limit(Side::Buy, price, "10");
        posted(&stage, &trader, &order).await;
    };
    let prices = async |ear: &mut Ear| -> Vec<String> {
        ear.told().await.iter().map(|e| e["price"].as_str().unwrap().to_owned()).collect()
    };
    fault(Mishap::Lose);
    place("0.10").await;
    place("0.11").await;
    assert_eq!(prices(&mut ear).await, ["0.11"]);
    fault(Mishap::Duplicate);
    place("0.12").await;
    assert_eq!(prices(&mut ear).await, ["0.12", "0.12"]);
    fault(Mishap::Swap);
    place("0.13").await;
    assert_eq!(prices(&mut ear).await, [] as [String; 0]);
    place("0.14").await;
    assert_eq!(prices(&mut ear).await, ["0.14", "0.13"]);
    fault(Mishap::Late(5_000));
    place("0.15").await;
    place("0.16").await;
    assert_eq!(prices(&mut ear).await, ["0.16"]);
    stage.advance(4);
    assert_eq!(prices(&mut ear).await, [] as [String; 0]);
    stage.advance(1);
    assert_eq!(prices(&mut ear).await, ["0.15"]);
}

#[tokio::test]
async fn a_socket_goes_silent_or_is_cut_or_is_closed_on_demand() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let mut ear = Ear::of(&stage, &trader, &[]).await;
    let url = format!("{}/sim/stream-faults", stage.simulator.base_url);
    let fault = async |text: &str| {
        assert_eq!(client().post(&url).body(text.to_owned()).send().await.unwrap().status().as_u16(), 200);
    };
    let mut place = async || {
        let order = trader.limit(Side::Buy, "0.10", "10");
        posted(&stage, &trader, &order).await;
    };
    fault(r#"{"mishap":{"silent":20000}}"#).await;
    place().await;
    ear.say("PING").await;
    let nothing = tokio::time::timeout(Duration::from_millis(200), ear.0.next()).await;
    assert!(nothing.is_err(), "no PONG, no data: {nothing:?}");
    stage.advance(20);
    place().await;
    assert_eq!(ear.short().await, ["order PLACEMENT LIVE 0"], "what was to be said meanwhile is lost");
    fault(r#"[{"mishap":"close"}]"#).await;
    place().await;
    assert_eq!(ear.next().await, "closed: 1013 slow consumer: send buffer full");
    let mut ear = Ear::of(&stage, &trader_again(&stage).await, &[]).await;
    fault(r#"{"mishap":"cut","skip":1}"#).await;
    place().await;
    place().await;
    assert_eq!(short(&serde_json::from_str(&ear.next().await).unwrap()), "order PLACEMENT LIVE 0");
    assert_eq!(ear.next().await, "cut");
    // And a connection may be refused at its start.
    stage.simulator.handle().fault(Fault::unavailable(None).on("GET", "/ws/user"));
    let url = format!("{}/ws/user", stage.simulator.base_url.replace("http", "ws"));
    assert!(tokio_tungstenite::connect_async(&url).await.is_err());
    assert!(tokio_tungstenite::connect_async(&url).await.is_ok());
}

async fn trader_again(stage: &Stage) -> Trader {
    stage.trader(1).await
}

#[tokio::test]
async fn frames_come_as_objects_in_arrays_or_now_so_and_now_so() {
    for frames in [StreamFrames::Objects, StreamFrames::Arrays, StreamFrames::Mixed] {
        let stage = Stage::new(&QUIET).await;
        stage.simulator.handle().switch(|s| s.stream_frames = frames);
        let mut trader = stage.trader(1).await;
        let mut ear = Ear::of(&stage, &trader, &[]).await;
        let mut seen = [0, 0];
        let (mut events, mut texts) = (0, 0);
        for _ in 0..4 {
            let order = trader.limit(Side::Buy, "0.10", "10");
            posted(&stage, &trader, &order).await;
            let text = ear.next().await;
            seen[usize::from(text.starts_with('['))] += 1;
        }
        let order = trader.limit(Side::Buy, "0.50", "10");
        posted(&stage, &trader, &order).await;
        while events < 3 {
            let text = ear.next().await;
            texts += 1;
            events += match serde_json::from_str::<Value>(&text).unwrap() {
                Value::Array(several) => several.len(),
                _ => 1,
            };
        }
        match frames {
            StreamFrames::Objects => assert_eq!((seen, texts), ([4, 0], 3)),
            StreamFrames::Arrays => assert_eq!((seen, texts), ([0, 4], 1)),
            StreamFrames::Mixed => assert_eq!((seen, texts), ([2, 2], 1)),
        }
    }
}

#[tokio::test]
async fn a_venue_that_ends_ends_its_streams() {
    for kill in [false, true] {
        let stage = Stage::new(&QUIET).await;
        let trader = stage.trader(1).await;
        let mut ear = Ear::of(&stage, &trader, &[]).await;
        let Stage { simulator, clock, .. } = stage;
        let ending =
            tokio::spawn(async move { if kill { simulator.kill().await } else { simulator.stop().await } });
        // The server's patience is of the virtual clock.
        testkit::wait_for("the venue to end", Duration::from_secs(10), async || {
            clock.advance(Duration::from_secs(1));
            ending.is_finished()
        })
        .await;
        assert_eq!(ear.next().await, "cut", "kill: {kill}");
    }
}

/// An event in short.
fn heard(event: &UserEvent) -> String {
    match event {
        UserEvent::Order(o) => format!("order {} {} {}", o.kind, o.status, o.size_matched),
        UserEvent::Trade(t) => format!("trade {}", t.trade.status),
        UserEvent::Connected => "connected".to_owned(),
        UserEvent::Gap { why } => format!("gap: {why}"),
        UserEvent::Unreadable { why } => format!("unreadable: {why}"),
    }
}

/// Waits for so many events, with the virtual clock standing still.
async fn hear(stream: &mut dyn UserStream, n: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..n {
        let next = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
        all.push(heard(&next.unwrap_or_else(|_| panic!("after {all:?}"))));
    }
    all
}

/// The same story through either channel.
async fn story(stage: &Stage, channel: &dyn UserChannel) -> Vec<String> {
    let mut trader = stage.trader(1).await;
    let mut stream = channel.open(&trader.creds);
    let mut all = hear(&mut *stream, 1).await;
    let rests = trader.limit(Side::Buy, "0.40", "10");
    posted(stage, &trader, &rests).await;
    all.extend(hear(&mut *stream, 1).await);
    let takes = trader.limit(Side::Buy, "0.50", "10");
    posted(stage, &trader, &takes).await;
    all.extend(hear(&mut *stream, 3).await);
    for _ in 0..2 {
        stage.advance(1);
        all.extend(hear(&mut *stream, 1).await);
    }
    stage.simulator.handle().stream_fault(StreamFault::next(Mishap::Duplicate));
    stage.call(&trader.creds, "DELETE", "/cancel-all", "").await;
    all.extend(hear(&mut *stream, 2).await);
    stage.simulator.handle().stream_fault(StreamFault::next(Mishap::Cut));
    let lost = trader.limit(Side::Buy, "0.41", "10");
    posted(stage, &trader, &lost).await;
    let gap = hear(&mut *stream, 1).await;
    assert!(gap[0].starts_with("gap: "), "{gap:?}");
    all.push("gap".to_owned());
    // It comes back by itself, when its time has come.
    let (clock, waker) = (stage.clock.clone(), Duration::from_millis(200));
    let back = async { hear(&mut *stream, 1).await };
    let time = async {
        loop {
            clock.advance(waker);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        back = back => all.extend(back),
        () = time => unreachable!(),
    }
    stage.call(&trader.creds, "DELETE", "/cancel-all", "").await;
    all.extend(hear(&mut *stream, 1).await);
    all
}

#[tokio::test]
async fn our_listener_hears_the_same_with_and_without_a_socket() {
    let expected = [
        "connected",
        "order PLACEMENT LIVE 0",
        "order PLACEMENT LIVE 0",
        "order UPDATE MATCHED 10",
        "trade MATCHED",
        "trade MINED",
        "trade CONFIRMED",
        "order CANCELLATION CANCELED 0",
        "order CANCELLATION CANCELED 0",
        "gap",
        "connected",
        "order CANCELLATION CANCELED 0",
    ];
    let stage = Stage::new(&QUIET).await;
    let base = stage.simulator.base_url.replace("http", "ws");
    let clock = Arc::new(stage.clock.clone());
    let socket = UserSocket::new(&base, clock, Chance::seeded(1), WsSettings::default()).unwrap();
    assert_eq!(story(&stage, &socket).await, expected);

    let stage = Stage::new(&QUIET).await;
    let local = stage.simulator.handle().local();
    assert_eq!(story(&stage, &local).await, expected);
}

#[tokio::test]
async fn a_silent_venue_is_given_up_after_thirty_seconds_without_a_socket_too() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let mut stream = stage.simulator.handle().local().open(&trader.creds);
    assert_eq!(hear(&mut *stream, 1).await, ["connected"]);
    stage.simulator.handle().stream_fault(StreamFault::next(Mishap::Silent(3_600_000)));
    let order = trader.limit(Side::Buy, "0.40", "10");
    posted(&stage, &trader, &order).await;
    let begun = stage.now();
    let next = async {
        loop {
            tokio::select! {
                biased;
                event = stream.next() => return heard(&event),
                () = tokio::time::sleep(Duration::from_millis(1)) => stage.advance(1),
            }
        }
    };
    assert_eq!(next.await, "gap: nothing was heard for 30 s");
    let waited = stage.clock.now().secs() - begun.secs();
    assert!((30..=31).contains(&waited), "{waited}");
}

#[tokio::test]
async fn mishaps_by_seed_come_again_with_their_seed() {
    let run = async |seed| {
        let stage = Stage::new(&QUIET).await;
        let mut trader = stage.trader(1).await;
        let weather = StreamWeather {
            seed,
            per_million: vec![(200_000, Mishap::Lose), (200_000, Mishap::Duplicate), (200_000, Mishap::Swap)],
        };
        stage.simulator.handle().stream_weather(weather);
        let mut ear = Ear::of(&stage, &trader, &[]).await;
        for n in 0..30 {
            let order = trader.limit(Side::Buy, &format!("0.{}", n + 10), "5");
            posted(&stage, &trader, &order).await;
        }
        let told = ear.told().await;
        told.iter().map(|e| e["price"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = run(1).await;
    assert_eq!(first, run(1).await);
    assert_ne!(first, run(2).await);
    let mut sorted = first.clone();
    sorted.sort();
    assert_ne!(first, sorted, "some changed places");
    sorted.dedup();
    assert!(sorted.len() < 30 && sorted.len() < first.len(), "some were lost, some doubled: {first:?}");
}
