//! Every fault: what the client sees, and what really happened.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::time::Duration;

use common::*;
use runtime::Clock as _;
use schemas::Side;
use simulator::Fault;
use venue::{
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
