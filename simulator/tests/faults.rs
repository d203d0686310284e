//! Every fault: what the client sees, and what really happened.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::time::Duration;

use common::*;
use runtime::Clock as _;
use schemas::Side;
use simulator::Fault;
use venue::{
    http::{Clob, HttpSettings},
    outcome::{OrderLookup, SubmitOutcome},
    port::Exchange as _,
};

/// What our client makes of an order posted under a fault, whether the venue has it afterwards, and how a
/// second post of the same bytes ends.
async fn under(fault: Fault) -> (SubmitOutcome, bool, SubmitOutcome) {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    stage.simulator.handle().fault(fault);
    let order = trader.limit(Side::Buy, "0.40", "10");
    let post = async || stage.clob.post_order(&order.body, order.id, &trader.creds, stage.now()).await;
    let first = post().await;
    let landed = match stage.clob.order(order.id, &trader.creds, stage.now()).await {
        OrderLookup::Found(_) => true,
        OrderLookup::NotFound => false,
        other => panic!("{other:?}"),
    };
    let again = post().await;
    assert_eq!(stage.simulator.handle().orders().len(), 1, "never two orders");
    assert_eq!(stage.simulator.handle().stats().tally.posts, 2);
    assert_eq!(stage.simulator.handle().stats().tally.faults, 1);
    (first, landed, again)
}

#[tokio::test]
async fn outcomes_that_nobody_knows_may_or_may_not_have_landed() {
    for (fault, expected) in [
        (Fault::accepted_then_dropped(), true),
        (Fault::dropped(), false),
        (Fault::accepted_then_500(), true),
        (Fault::refused_500(), false),
        (Fault::accepted_then_canceled(), true),
        (Fault::canceled(), false),
    ] {
        let (first, landed, again) = under(fault.clone()).await;
        assert!(matches!(first, SubmitOutcome::Unknown { .. }), "{fault:?}: {first:?}");
        assert_eq!(landed, expected, "{fault:?}");
        if expected {
            assert_eq!(again, SubmitOutcome::AlreadyLanded, "{fault:?}");
        } else {
            assert!(matches!(again, SubmitOutcome::Accepted(_)), "{fault:?}: {again:?}");
        }
    }
}

#[tokio::test]
async fn a_venue_that_says_later_has_done_nothing() {
    let seconds = |n| Some(Duration::from_secs(n));
    for (fault, status, wait) in [
        (Fault::restarting(), 425, None),
        (Fault::rate_limited(Some(7)), 429, seconds(7)),
        (Fault::rate_limited(None), 429, None),
        (Fault::unavailable(Some(30)), 503, seconds(30)),
        (Fault::unavailable(None), 503, None),
    ] {
        let (first, landed, again) = under(fault.clone()).await;
        let SubmitOutcome::RetryLater { status: got, after, .. } = first else {
            panic!("{fault:?}: {first:?}")
        };
        assert_eq!((got, after, landed), (status, wait, false), "{fault:?}");
        assert!(matches!(again, SubmitOutcome::Accepted(_)), "{fault:?}: {again:?}");
    }
}

#[tokio::test]
async fn a_slow_answer_comes_when_its_time_has_come() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    stage.simulator.handle().fault(Fault::slow(4_000));
    let order = trader.limit(Side::Buy, "0.40", "10");
    let (clob, body, creds) = (stage.clob.clone(), order.body.clone(), trader.creds.clone());
    let now = stage.now();
    let posting = tokio::spawn(async move { clob.post_order(&body, order.id, &creds, now).await });
    testkit::wait_for("the order to land", Duration::from_secs(5), async || {
        stage.simulator.handle().orders().len() == 1
    })
    .await;
    assert!(!posting.is_finished(), "it landed, and the answer is not there");
    let received = stage.simulator.handle().orders()[0].received_at;
    assert_eq!(received, stage.clock.now());
    // The sleeper may register after an advance: keep the time moving until it has woken.
    testkit::wait_for("the answer", Duration::from_secs(5), async || {
        stage.advance(5);
        posting.is_finished()
    })
    .await;
    assert!(matches!(posting.await.unwrap(), SubmitOutcome::Accepted(_)));
}

#[tokio::test]
async fn faults_are_set_over_http_and_reach_any_route() {
    let stage = Stage::new(&QUIET).await;
    let url = format!("{}/sim/faults", stage.simulator.base_url);
    let send = async |body: &str| {
        let answer = client().post(&url).body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let fault = r#"[{"method":"GET","path":"/v2/trades","execute":false,"count":2,"skip":1,
                     "answer":{"status":{"status":429,"error":"slow down","retry_after":3}}}]"#;
    assert_eq!(send(fault).await.0, 200);
    let (status, words) = send(r#"{"cuont":1}"#).await;
    assert!(status == 400 && words.contains("cuont"), "{words}");
    let status = async || {
        let url = format!("{}/v2/trades?user={LEADER}", stage.simulator.base_url);
        client().get(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!((status().await, status().await, status().await, status().await), (200, 429, 429, 200));
    stage.simulator.handle().fault(Fault::default().on("GET", "/book"));
    assert_eq!(client().delete(&url).send().await.unwrap().text().await.unwrap(), "[]");

    let switched = client().post(format!("{}/sim/switches", stage.simulator.base_url));
    let text = switched.body(r#"{"base_units":true}"#).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("\"base_units\":true") && text.contains("\"v1_gone\":true"), "{text}");
}

#[tokio::test]
async fn what_oracles_see_over_http_is_what_happened() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let order = trader.limit(Side::Buy, "0.50", "10");
    assert_eq!(stage.post(&trader, &order).await.0, 200);
    assert_eq!(stage.post(&trader, &order).await.0, 400);
    let orders = stage.get("/sim/orders").await;
    assert_eq!(orders.as_array().unwrap().len(), 1);
    let seen = &orders[0];
    assert_eq!(seen["id"], order.id.to_string());
    assert_eq!(seen["maker"], trader.wallet.maker().to_string());
    assert_eq!(
        (&seen["token"], &seen["side"], &seen["status"]),
        (&YES.into(), &"BUY".into(), &"MATCHED".into())
    );
    assert_eq!((&seen["maker_amount"], &seen["taker_amount"]), (&5_000_000.into(), &10_000_000.into()));
    assert_eq!((&seen["posts"], &seen["received_at"]), (&2.into(), &START.micros().into()));
    let trades = stage.get("/sim/trades").await;
    assert_eq!((&trades[0]["order"], &trades[0]["fee"]), (&seen["id"], &125_000.into()));
    let stats = stage.get("/sim/stats").await;
    assert_eq!(
        (&stats["posts"], &stats["accepted"], &stats["duplicates"]),
        (&2.into(), &1.into(), &1.into())
    );
    assert_eq!(stage.get("/sim/leaders").await[0], LEADER);
}

#[tokio::test]
async fn an_order_may_appear_minutes_after_its_post_failed() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let order = trader.limit(Side::Buy, "0.40", "10");
    stage.simulator.handle().fault(Fault::lands_late(180_000));
    let post = async || stage.clob.post_order(&order.body, order.id, &trader.creds, stage.now()).await;
    let look = async || stage.clob.order(order.id, &trader.creds, stage.now()).await;
    assert!(matches!(post().await, SubmitOutcome::Unknown { .. }));
    assert_eq!(look().await, OrderLookup::NotFound);
    stage.advance(179);
    assert_eq!(look().await, OrderLookup::NotFound);
    stage.advance(1);
    assert!(matches!(look().await, OrderLookup::Found(_)));
    let orders = stage.simulator.handle().orders();
    assert_eq!(orders[0].accepted_at, START.plus(Duration::from_secs(180)), "at its own time");
    assert_eq!(post().await, SubmitOutcome::AlreadyLanded);
}

#[tokio::test]
async fn a_late_order_whose_repeat_landed_first_lands_once() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let order = trader.limit(Side::Buy, "0.50", "10");
    stage.simulator.handle().fault(Fault { answer: simulator::Answer::Drop, ..Fault::lands_late(60_000) });
    let post = async || stage.clob.post_order(&order.body, order.id, &trader.creds, stage.now()).await;
    assert!(matches!(post().await, SubmitOutcome::Unknown { .. }));
    stage.advance(30);
    assert!(matches!(post().await, SubmitOutcome::Accepted(_)));
    stage.advance(60);
    let orders = stage.simulator.handle().orders();
    assert_eq!((orders.len(), orders[0].trades.len(), orders[0].posts), (1, 1, 1));
    assert_eq!(stage.simulator.handle().trades().len(), 1, "and trades once");
}

#[tokio::test]
async fn one_that_would_land_late_and_cannot_any_more_never_lands() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    // Its last minutes have begun by then.
    let order = trader.limit(Side::Buy, "0.40", "10");
    stage.simulator.handle().fault(Fault::lands_late(500_000));
    stage.clob.post_order(&order.body, order.id, &trader.creds, stage.now()).await;
    stage.advance(1_000);
    let found = stage.clob.order(order.id, &trader.creds, stage.now()).await;
    assert_eq!(found, OrderLookup::NotFound);
}

#[tokio::test]
async fn a_fault_of_one_order_meets_that_order_alone_in_a_batch_too() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let (mine, other) = (trader.limit(Side::Buy, "0.40", "10"), trader.limit(Side::Buy, "0.41", "10"));
    stage.simulator.handle().fault(Fault::refused_500().of(mine.id));
    stage.simulator.handle().fault(Fault::refused_500().on("POST", "/orders").of(mine.id));
    assert_eq!(stage.post(&trader, &other).await.0, 200);
    assert_eq!(stage.post(&trader, &mine).await.0, 500);
    let more = trader.limit(Side::Buy, "0.42", "10");
    assert_eq!(stage.batch(&trader, &[&more, &mine]).await.status, 500);
    assert_eq!(stage.batch(&trader, &[&more, &mine]).await.status, 200);
    assert_eq!(stage.simulator.handle().orders().len(), 3);
    // Its look-ups and its cancel are requests about it as well.
    let any = Fault { path: String::new(), method: String::new(), ..Fault::says(500, "no") };
    stage.simulator.handle().fault(any.of(mine.id).times(2));
    let row = async |id| stage.call(&trader.creds, "GET", &format!("/data/order/{id}"), "").await.status;
    assert_eq!((row(other.id).await, row(mine.id).await), (200, 500));
    let cancel = serde_json::json!([other.id, mine.id]).to_string();
    assert_eq!(stage.call(&trader.creds, "DELETE", "/orders", &cancel).await.status, 500);
    assert_eq!(stage.call(&trader.creds, "DELETE", "/orders", &cancel).await.status, 200);
}

#[tokio::test]
async fn a_fault_before_and_after_the_effect_works_on_every_order_route() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let live = async || stage.simulator.handle().orders().iter().filter(|o| o.status == "LIVE").count();
    for (method, path) in [
        ("DELETE", "/order"),
        ("DELETE", "/orders"),
        ("DELETE", "/cancel-all"),
        ("DELETE", "/cancel-market-orders"),
    ] {
        for execute in [false, true] {
            let order = trader.limit(Side::Buy, "0.10", "5");
            assert_eq!(stage.post(&trader, &order).await.0, 200);
            let fault = Fault { execute, ..Fault::refused_500() };
            stage.simulator.handle().fault(fault.on(method, path));
            let body = match path {
                "/order" => serde_json::json!({"orderID": order.id}).to_string(),
                "/orders" => serde_json::json!([order.id]).to_string(),
                "/cancel-all" => String::new(),
                _ => serde_json::json!({"market": CONDITION}).to_string(),
            };
            assert_eq!(stage.call(&trader.creds, method, path, &body).await.status, 500);
            assert_eq!(live().await, usize::from(!execute), "{path}, {execute}");
            assert_eq!(stage.call(&trader.creds, method, path, &body).await.status, 200);
            assert_eq!(live().await, 0);
        }
    }
}

#[tokio::test]
async fn a_weather_brings_the_same_faults_to_the_same_orders_again() {
    let run = async |seed: u64, backwards: bool| {
        let stage = Stage::new(&QUIET).await;
        let mut trader = stage.trader(1).await;
        let weather = serde_json::json!({
            "seed": seed, "of": 100,
            "spells": [
                {"weight": 20, "fault": {"execute": false, "answer": {"status": {"status": 429, "error": "slow down"}}}},
                {"weight": 20, "fault": {"answer": {"status": {"status": 500, "error": "could not insert order"}}}},
            ],
        });
        let url = format!("{}/sim/weather", stage.simulator.base_url);
        let set = client().post(url).body(weather.to_string()).send().await.unwrap();
        assert_eq!(set.status().as_u16(), 200);
        let mut orders: Vec<_> = (0..60).map(|_| trader.limit(Side::Buy, "0.10", "5")).collect();
        if backwards {
            orders.reverse();
        }
        let mut seen = std::collections::BTreeMap::new();
        for order in &orders {
            let (status, _) = stage.post(&trader, order).await;
            let landed = stage.simulator.handle().orders().iter().any(|o| o.id == order.id);
            assert_eq!(landed, status != 429, "{status}");
            seen.insert(order.id, status);
        }
        seen
    };
    let first = run(1, false).await;
    assert_eq!(first, run(1, true).await, "in whatever order they come");
    assert_ne!(first, run(2, false).await);
    let count = |status| first.values().filter(|s| **s == status).count();
    assert!((4..=24).contains(&count(429)) && (4..=24).contains(&count(500)), "{first:?}");
}

#[tokio::test]
async fn an_order_that_was_taken_may_never_be_answered() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let impatient = HttpSettings { timeout: Duration::from_millis(300), ..HttpSettings::default() };
    let clob = Clob::new(&stage.simulator.base_url, impatient).unwrap();
    stage.simulator.handle().fault(Fault::accepted_then_silent(3_600_000));
    let order = trader.limit(Side::Buy, "0.40", "10");
    let outcome = clob.post_order(&order.body, order.id, &trader.creds, stage.now()).await;
    assert!(matches!(outcome, SubmitOutcome::Unknown { .. }), "{outcome:?}");
    assert!(matches!(clob.order(order.id, &trader.creds, stage.now()).await, OrderLookup::Found(_)));
}
