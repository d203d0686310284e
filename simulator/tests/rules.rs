//! The venue's rules around orders: batches, cancels, wallets, limits, modes, heartbeats, delays.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::time::Duration;

use common::*;
use schemas::{Side, SignatureType};
use serde_json::{Value, json};
use simulator::{
    Mode, Tier, WalletChange,
    exchange::{FeeRounding, Standing},
};
use venue::{
    outcome::SubmitOutcome,
    port::{BalanceOf, Exchange as _},
};

fn ids(orders: &[venue::order::SignedBody]) -> Vec<String> {
    orders.iter().map(|o| o.id.to_string()).collect()
}

async fn status_of(stage: &Stage, trader: &Trader, order: &venue::order::SignedBody) -> String {
    let row = stage.call(&trader.creds, "GET", &format!("/data/order/{}", order.id), "").await.json;
    row["status"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_batch_answers_each_order_by_itself_and_takes_at_most_fifteen() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let (rests, takes) = (trader.limit(Side::Buy, "0.40", "10"), trader.limit(Side::Buy, "0.50", "10"));
    let small = trader.limit(Side::Buy, "0.40", "4");
    let answer = stage.batch(&trader, &[&rests, &small, &takes, &rests]).await;
    assert_eq!(answer.status, 200);
    let entry = |n: usize| {
        let e = &answer.json[n];
        (e["success"].as_bool().unwrap(), e["orderID"].as_str().unwrap(), e["status"].as_str().unwrap())
    };
    assert_eq!(entry(0), (true, rests.id.to_string().as_str(), "live"));
    assert_eq!(entry(2), (true, takes.id.to_string().as_str(), "matched"));
    // It says success, and it is none.
    assert_eq!(entry(1), (true, "", ""));
    let words = format!("order {} is invalid. Size (4) lower than the minimum: 5", small.id);
    assert_eq!(answer.json[1]["errorMsg"], words);
    assert_eq!(answer.json[3]["errorMsg"], format!("order {} is invalid. Duplicated.", rests.id));
    stage.simulator.handle().switch(|s| s.failed_says_success = false);
    let answer = stage.batch(&trader, &[&small]).await;
    assert_eq!(answer.json[0]["success"], false);

    let many: Vec<_> = (0..16).map(|_| trader.limit(Side::Buy, "0.10", "5")).collect();
    let refs: Vec<_> = many.iter().collect();
    let refused = stage.batch(&trader, &refs).await;
    assert_eq!((refused.status, refused.words()), (400, "Too many orders in payload: 16, max allowed: 15"));
    assert_eq!(stage.batch(&trader, &refs[..15]).await.json.as_array().unwrap().len(), 15);
    assert_eq!(stage.batch(&trader, &[]).await.words(), "Invalid order payload");
    let tally = stage.simulator.handle().stats().tally;
    assert_eq!((tally.accepted, tally.duplicates, tally.posts), (17, 1, 4 + 1 + 16 + 15));
}

#[tokio::test]
async fn cancels_of_a_market_leave_others_alone_and_say_what_was_not_cancelled() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let mut stranger = stage.trader(2).await;
    let yes = trader.order(true, limit(Side::Buy, "0.40", "10"));
    let no = trader.order(false, limit(Side::Buy, "0.40", "10"));
    let theirs = stranger.order(true, limit(Side::Buy, "0.40", "10"));
    for (who, order) in [(&trader, &yes), (&trader, &no), (&stranger, &theirs)] {
        assert_eq!(stage.post(who, order).await.0, 200);
    }
    stage.simulator.handle().switch(|s| s.hold_millis = 3_000);
    let delayed = trader.order(false, limit(Side::Buy, "0.60", "10"));
    assert_eq!(stage.post(&trader, &delayed).await.1["status"], "delayed");
    let cancel = async |body: Value| {
        stage.call(&trader.creds, "DELETE", "/cancel-market-orders", &body.to_string()).await
    };
    let answer = cancel(json!({ "asset_id": NO })).await.json;
    assert_eq!(answer["canceled"], json!([no.id.to_string()]));
    let why = "order match delayed due to market conditions";
    assert_eq!(answer["not_canceled"], json!({ delayed.id.to_string(): why }));
    stage.advance(3);
    let answer = cancel(json!({ "market": CONDITION })).await.json;
    assert_eq!(answer, json!({ "canceled": ids(&[yes]), "not_canceled": {} }), "what matched is not open");
    let other = format!("0x{:064x}", 9);
    assert_eq!(cancel(json!({ "market": other })).await.json["canceled"], json!([]));
    assert_eq!(cancel(json!({})).await.status, 400);
    assert_eq!(status_of(&stage, &stranger, &theirs).await, "LIVE");
    let matched =
        stage.call(&trader.creds, "DELETE", "/order", &json!({"orderID": delayed.id}).to_string()).await;
    assert_eq!(matched.json["not_canceled"], json!({ delayed.id.to_string(): "Order already matched" }));
}

#[tokio::test]
async fn listings_begin_at_one_cursor_end_at_another_and_refuse_all_others() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader_of(1, SignatureType::Safe).await;
    let orders: Vec<_> = (0..120).map(|_| trader.limit(Side::Buy, "0.10", "5")).collect();
    for batch in orders.chunks(15) {
        assert_eq!(stage.batch(&trader, &batch.iter().collect::<Vec<_>>()).await.status, 200);
    }
    let page = async |query: &str| {
        let path = "/data/orders";
        let headers = venue::signing::l2_headers(&trader.creds, stage.now(), "GET", path, b"").unwrap();
        let mut request = client().get(format!("{}{path}{query}", stage.simulator.base_url));
        for (name, value) in headers {
            use secrecy::ExposeSecret as _;
            request = request.header(name, value.expose_secret());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
    };
    let first = page("?next_cursor=MA==").await.1;
    assert_eq!((&first["count"], &first["limit"]), (&json!(100), &json!(100)));
    assert_eq!(first, page("").await.1);
    let next = first["next_cursor"].as_str().unwrap();
    let second = page(&format!("?next_cursor={next}")).await.1;
    assert_eq!((&second["count"], &second["next_cursor"]), (&json!(20), &json!("LTE=")));
    assert_eq!(page("?next_cursor=LTE=").await.1["data"], json!([]));
    assert_eq!(page("?next_cursor=what").await.0, 400);
    let one = page(&format!("?id={}", orders[7].id)).await.1;
    assert_eq!((&one["count"], &one["data"][0]["id"]), (&json!(1), &json!(orders[7].id)));
    assert_eq!(page(&format!("?asset_id={NO}")).await.1["count"], 0);
}

#[tokio::test]
async fn as_many_orders_are_cancelled_at_once_as_the_switch_says() {
    let stage = Stage::new(&QUIET).await;
    let trader = stage.trader(1).await;
    let cancel = async |n: usize| {
        let ids: Vec<String> = (0..n).map(|n| format!("0x{n:064x}")).collect();
        stage.call(&trader.creds, "DELETE", "/orders", &json!(ids).to_string()).await
    };
    let answer = cancel(1_000).await;
    assert_eq!(answer.json["not_canceled"].as_object().unwrap().len(), 1_000);
    assert_eq!(cancel(1_001).await.words(), "Too many orders in payload: 1001, max allowed: 1000");
    stage.simulator.handle().switch(|s| s.cancels_at_once = 3_000);
    assert_eq!((cancel(3_000).await.status, cancel(3_001).await.status), (200, 400));
}

#[tokio::test]
async fn a_wallet_that_can_no_longer_pay_loses_its_newest_orders() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let wallet = trader.wallet.maker();
    let orders: Vec<_> = ["0.40", "0.30", "0.20"].map(|p| trader.limit(Side::Buy, p, "100")).into();
    for order in &orders {
        assert_eq!(stage.post(&trader, order).await.0, 200);
        stage.advance(1);
    }
    // $40 and $30 rest, and $20: with $75 the last goes.
    let change = |usdc| WalletChange { usdc: Some(usdc), ..WalletChange::of(wallet) };
    stage.simulator.handle().wallet(&change(75_000_000)).await.unwrap();
    let states = async || {
        let mut all = Vec::new();
        for order in &orders {
            all.push(status_of(&stage, &trader, order).await);
        }
        all
    };
    assert_eq!(states().await, ["LIVE", "LIVE", "CANCELED_NOT_ENOUGH_BALANCE"]);
    let more = trader.limit(Side::Buy, "0.10", "51");
    assert_eq!(stage.refused(&trader, &more).await, "not enough balance / allowance");
    let fits = trader.limit(Side::Buy, "0.10", "50");
    assert_eq!(stage.post(&trader, &fits).await.0, 200);

    // An allowance is as good a reason, and goes down with what is spent.
    let allowed = WalletChange { usdc_allowance: Some(45_000_000), ..change(1_000_000_000) };
    stage.simulator.handle().wallet(&allowed).await.unwrap();
    assert_eq!(status_of(&stage, &trader, &orders[1]).await, "CANCELED_NOT_ENOUGH_BALANCE");
    assert_eq!(status_of(&stage, &trader, &orders[0]).await, "LIVE");
    stage.call(&trader.creds, "DELETE", "/cancel-all", "").await;
    let took = trader.buy_for("0.50", "20");
    assert_eq!(stage.post(&trader, &took).await.0, 200);
    let now = stage.now();
    let answer = stage
        .clob
        .balance_allowance(&BalanceOf::Collateral, SignatureType::Eoa, &trader.creds, now)
        .await
        .unwrap();
    // 40 shares at 0.50 cost 40 x 0.05 x 0.25 = 0.50 in fees.
    assert_eq!(answer.balance().unwrap().to_string(), "979.5");
    assert_eq!(answer.least_allowance().unwrap().to_string(), "24.5");
    let beyond = trader.buy_for("0.50", "24.5");
    assert_eq!(
        stage.refused(&trader, &beyond).await,
        "not enough balance / allowance",
        "its fee is too much"
    );

    // Shares that the exchange may not take cannot be sold.
    let sell = trader.sell_now("0.40", "10");
    let locked = WalletChange { shares_allowed: Some(false), ..WalletChange::of(wallet) };
    stage.simulator.handle().wallet(&locked).await.unwrap();
    assert_eq!(stage.refused(&trader, &sell).await, "not enough balance / allowance");
    let unlocked = WalletChange { shares_allowed: Some(true), ..WalletChange::of(wallet) };
    stage.simulator.handle().wallet(&unlocked).await.unwrap();
    assert_eq!(stage.post(&trader, &sell).await.0, 200);
}

#[tokio::test]
async fn who_may_only_close_sells_and_who_is_banned_does_nothing() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let wallet = trader.wallet.maker();
    let bought = trader.buy_for("0.50", "10");
    assert_eq!(stage.post(&trader, &bought).await.0, 200);
    let stand = async |standing| {
        let change = WalletChange { standing: Some(standing), ..WalletChange::of(wallet) };
        stage.simulator.handle().wallet(&change).await.unwrap();
    };
    stand(Standing::ClosedOnly).await;
    let closed = stage.call(&trader.creds, "GET", "/auth/ban-status/closed-only", "").await;
    assert_eq!(closed.json, json!({ "closed_only": true }));
    let buy = trader.buy_for("0.50", "10");
    assert_eq!(stage.refused(&trader, &buy).await, format!("'{wallet}' address in closed only mode"));
    let sell = trader.sell_now("0.40", "5");
    assert_eq!(stage.post(&trader, &sell).await.0, 200);
    stand(Standing::Banned).await;
    let sell = trader.sell_now("0.40", "5");
    assert_eq!(stage.refused(&trader, &sell).await, format!("'{wallet}' address banned"));
    // Over HTTP it is the same.
    let good = json!({ "wallet": wallet, "standing": "good" }).to_string();
    let url = format!("{}/sim/wallets", stage.simulator.base_url);
    assert_eq!(client().post(&url).body(good).send().await.unwrap().status().as_u16(), 200);
    assert_eq!(client().post(&url).body(r#"{"wallet":"me"}"#).send().await.unwrap().status().as_u16(), 400);
    assert_eq!(stage.post(&trader, &sell).await.0, 200);
}

#[tokio::test]
async fn a_signer_has_forty_orders_a_second_and_is_told_how_many_are_left() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let mut other = stage.trader(2).await;
    stage.simulator.handle().switch(|s| s.tier = Tier::Standard);
    let many: Vec<_> = (0..75).map(|_| trader.limit(Side::Buy, "0.10", "5")).collect();
    let refs: Vec<_> = many.iter().collect();
    for n in 0..4 {
        let answer = stage.batch(&trader, &refs[n * 15..][..15]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("poly-ratelimit-remaining"), (60 - (n + 1) * 15).to_string());
        assert_eq!(answer.header("poly-ratelimit-tier"), "standard");
        assert_eq!(answer.header("poly-ratelimit-warning").is_empty(), n < 3, "{n}");
    }
    let refused = stage.batch(&trader, &refs[60..]).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1".to_owned()));
    assert_eq!(refused.header("poly-ratelimit-reset"), "2", "sixty at forty a second");
    let theirs = other.limit(Side::Buy, "0.10", "5");
    assert_eq!(stage.post(&other, &theirs).await.0, 200, "another signer");
    // Cancels are counted apart; all of them cost one more than there are.
    let all = stage.call(&trader.creds, "DELETE", "/cancel-all", "").await;
    assert_eq!((all.status, all.header("poly-ratelimit-remaining")), (200, (120 - 61).to_string()));
    stage.clock.advance(Duration::from_millis(375));
    assert_eq!(stage.batch(&trader, &refs[60..]).await.status, 200, "fifteen have come");
    // Our own client reads it as a refusal that had no effect.
    let order = trader.limit(Side::Buy, "0.10", "5");
    let outcome = stage.clob.post_order(&order.body, order.id, &trader.creds, stage.now()).await;
    let SubmitOutcome::RetryLater { status: 429, after, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(after, Some(Duration::from_secs(1)));
    assert_eq!(stage.simulator.handle().orders().len(), 76);
}

#[tokio::test]
async fn a_caller_who_asks_too_much_is_refused_until_the_window_has_room() {
    let stage = Stage::new(&QUIET).await;
    let trader = stage.trader(1).await;
    stage.simulator.handle().switch(|s| s.count_requests = true);
    let ask = async || stage.call(&trader.creds, "GET", "/balance-allowance/update", "").await;
    for n in 0..50 {
        assert_eq!(ask().await.status, 200, "{n}");
    }
    let refused = ask().await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "10".to_owned()));
    assert_eq!(stage.call(&trader.creds, "GET", "/data/orders", "").await.status, 200, "a window of its own");
    stage.advance(10);
    assert_eq!(ask().await.status, 200);
}

#[tokio::test]
async fn a_restart_answers_425_then_takes_post_only_orders_and_other_modes_do_what_they_say() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let resting = trader.limit(Side::Buy, "0.20", "10");
    assert_eq!(stage.post(&trader, &resting).await.0, 200);
    stage.simulator.handle().restart(Duration::from_secs(30), Duration::from_secs(120));
    let creds = trader.creds.clone();
    let cancel = async |order: &venue::order::SignedBody| {
        stage.call(&creds, "DELETE", "/order", &json!({"orderID": order.id}).to_string()).await
    };
    assert_eq!(cancel(&resting).await.status, 425);
    let order = trader.limit(Side::Buy, "0.30", "10");
    let post = async || stage.clob.post_order(&order.body, order.id, &creds, stage.now()).await;
    assert!(matches!(post().await, SubmitOutcome::RetryLater { status: 425, .. }));
    stage.advance(30);
    let SubmitOutcome::RetryLater { status: 503, after, .. } = post().await else { panic!() };
    assert_eq!(after, Some(Duration::from_secs(120)));
    let raw = stage.call(&trader.creds, "POST", "/order", std::str::from_utf8(&order.body).unwrap()).await;
    assert_eq!(
        (&raw.json["code"], &raw.json["retry_after_seconds"]),
        (&json!("post_only_mode"), &json!(120))
    );
    let quiet = trader.order(
        true,
        venue::order::Terms::Limit {
            side: Side::Buy,
            price: p("0.25"),
            shares: s("10"),
            expires: Some(START.plus(Duration::from_secs(600))),
            post_only: true,
        },
    );
    assert_eq!(stage.post(&trader, &quiet).await.0, 200);
    assert_eq!(cancel(&resting).await.json["canceled"], json!([resting.id.to_string()]));
    stage.advance(120);
    assert!(matches!(post().await, SubmitOutcome::Accepted(_)));

    let mode = async |text: &str| {
        let answer = client().post(format!("{}/sim/mode", stage.simulator.base_url)).body(text.to_owned());
        answer.send().await.unwrap().status().as_u16()
    };
    assert_eq!(mode(r#"{"mode":"cancel_only"}"#).await, 200);
    let late = trader.limit(Side::Buy, "0.30", "10");
    let (status, answer) = stage.post(&trader, &late).await;
    assert!(status == 503 && answer["error"].as_str().unwrap().contains("cancel-only"), "{answer}");
    assert_eq!(cancel(&order).await.status, 200);
    assert_eq!(mode(r#"{"mode":"disabled","seconds":60}"#).await, 200);
    let words = "Trading is currently disabled. Check polymarket.com for updates";
    assert_eq!(
        (cancel(&quiet).await.status, cancel(&quiet).await.words().to_owned()),
        (503, words.to_owned())
    );
    stage.advance(60);
    assert_eq!(stage.post(&trader, &late).await.0, 200);
    stage.simulator.handle().mode(Mode::Restarting);
    assert_eq!(stage.post(&trader, &late).await.0, 425, "before it is known for a repeat");
    assert_eq!(mode(r#"{"mode":"asleep"}"#).await, 400);
}

#[tokio::test]
async fn a_region_that_may_not_trade_is_refused_before_anything_else() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let order = trader.limit(Side::Buy, "0.40", "10");
    stage.simulator.handle().switch(|s| s.region_restricted = true);
    let answer = client().post(format!("{}/order", stage.simulator.base_url)).body("no order").send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status().as_u16(), 403);
    assert!(answer.text().await.unwrap().contains("Trading restricted in your region"));
    let outcome = stage.clob.post_order(&order.body, order.id, &trader.creds, stage.now()).await;
    assert!(matches!(outcome, SubmitOutcome::Rejected { .. }), "{outcome:?}");
    assert_eq!(stage.call(&trader.creds, "GET", "/data/orders", "").await.status, 200);
}

#[tokio::test]
async fn whoever_began_to_send_heartbeats_and_falls_silent_loses_all_orders() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let mut stranger = stage.trader(2).await;
    let (mine, theirs) = (trader.limit(Side::Buy, "0.40", "10"), stranger.limit(Side::Buy, "0.40", "10"));
    assert_eq!((stage.post(&trader, &mine).await.0, stage.post(&stranger, &theirs).await.0), (200, 200));
    let beat = async |id: &str| {
        stage.call(&trader.creds, "POST", "/v1/heartbeats", &json!({ "heartbeat_id": id }).to_string()).await
    };
    let mut id = String::new();
    for _ in 0..5 {
        id = beat(&id).await.json["heartbeat_id"].as_str().unwrap().to_owned();
        stage.advance(9);
    }
    let wrong = beat("another").await;
    let expected = json!({ "error_msg": "Invalid Heartbeat ID", "heartbeat_id": id });
    assert_eq!((wrong.status, wrong.json), (400, expected));
    assert_eq!(status_of(&stage, &trader, &mine).await, "LIVE");
    stage.advance(1);
    assert_eq!(status_of(&stage, &trader, &mine).await, "CANCELED");
    assert_eq!(status_of(&stage, &stranger, &theirs).await, "LIVE", "it was opt-in");
    assert_eq!(beat("").await.status, 200, "and begins anew");
}

#[tokio::test]
async fn a_post_that_takes_waits_for_the_takers_delay_and_one_that_rests_does_not() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let itode = async || stage.get(&format!("/clob-markets/{CONDITION}")).await["itode"].clone();
    assert_eq!(itode().await, false);
    stage.simulator.handle().switch(|s| s.taker_delay_millis = 150);
    assert_eq!(itode().await, true);
    let rests = trader.limit(Side::Buy, "0.40", "10");
    assert_eq!(stage.post(&trader, &rests).await.1["status"], "live", "at once");
    let takes = trader.limit(Side::Buy, "0.50", "10");
    let (clob, body, creds, now) =
        (stage.clob.clone(), takes.body.clone(), trader.creds.clone(), stage.now());
    let posting = tokio::spawn(async move { clob.post_order(&body, takes.id, &creds, now).await });
    testkit::wait_for("the post to arrive", Duration::from_secs(5), async || {
        stage.simulator.handle().stats().tally.posts == 2
    })
    .await;
    assert_eq!(stage.simulator.handle().orders().len(), 1, "not in the book yet");
    testkit::wait_for("the answer", Duration::from_secs(5), async || {
        stage.clock.advance(Duration::from_millis(150));
        posting.is_finished()
    })
    .await;
    let SubmitOutcome::Accepted(accepted) = posting.await.unwrap() else { panic!() };
    assert_eq!((accepted.status.as_str(), accepted.trade_ids.len()), ("matched", 1), "the final result");
    let order = &stage.simulator.handle().orders()[1];
    assert!(order.accepted_at >= order.received_at.plus(Duration::from_millis(150)));
}

#[tokio::test]
async fn what_would_take_is_delayed_and_a_killing_order_ends_when_its_time_has_come() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    stage.simulator.handle().switch(|s| s.hold_millis = 3_000);
    let gamma = stage.get(&format!("/markets?condition_ids={CONDITION}")).await;
    assert_eq!(gamma[0]["secondsDelay"], 3);
    let rests = trader.limit(Side::Buy, "0.40", "10");
    assert_eq!(stage.post(&trader, &rests).await.1["status"], "live");
    let fak = trader.buy_for("0.50", "10");
    let (_, answer) = stage.post(&trader, &fak).await;
    assert_eq!((&answer["status"], &answer["tradeIDs"]), (&json!("delayed"), &json!([])));
    assert_eq!((&answer["makingAmount"], &answer["takingAmount"]), (&json!("0"), &json!("0")));
    assert_eq!(status_of(&stage, &trader, &fak).await, "DELAYED");
    stage.advance(3);
    assert_eq!(status_of(&stage, &trader, &fak).await, "MATCHED");
    let nothing = trader.buy_for("0.10", "10");
    assert!(stage.refused(&trader, &nothing).await.starts_with("no orders found to match with FAK order"));
}

#[tokio::test]
async fn open_questions_of_prices_pages_and_fees_are_switches() {
    let prints = [
        (0, "BUY", true, "100", "0.5"),
        (1, "BUY", true, "10", "0.5"),
        (2, "BUY", true, "10", "0.5"),
        (100_000, "BUY", true, "1", "0.5"),
    ];
    let stage = Stage::new(&prints).await;
    let handle = stage.simulator.handle();
    stage.advance(10);
    let price =
        async |side: &str| stage.get(&format!("/price?token_id={YES}&side={side}")).await["price"].clone();
    assert_eq!((price("BUY").await, price("SELL").await), (json!("0.49"), json!("0.5")));
    handle.switch(|s| s.price_of_taker = true);
    assert_eq!((price("BUY").await, price("SELL").await), (json!("0.5"), json!("0.49")));

    let last = async |token: &str| stage.get(&format!("/last-trade-price?token_id={token}")).await;
    assert_eq!(last(YES).await, json!({ "price": "0.5", "side": "BUY" }));
    assert_eq!(
        last(NO).await,
        json!({ "price": "0.5", "side": "SELL" }),
        "the same print from the other side"
    );

    let rows = async |query: &str| {
        stage.get(&format!("/v2/trades?taker_only=false&limit=1000{query}")).await["data"]
            .as_array()
            .unwrap()
            .len()
    };
    let user = format!("&user={LEADER}");
    assert_eq!(rows(&user).await, 3);
    handle.switch(|s| s.trades_of_user_most = 2);
    assert_eq!((rows(&user).await, rows("").await), (2, 3), "only where it names a wallet");

    // 5 x 0.05 x 0.333 x 0.667 = 0.05552775: down, and up.
    for (rounding, fee) in [(FeeRounding::Down, "0.05552"), (FeeRounding::Up, "0.05553")] {
        let at = [(0, "BUY", true, "100", "0.333"), (900, "BUY", true, "1", "0.333")];
        let stage = Stage::with(&at, &gamma_row("0.001", false, "0.05"), |mut o| {
            o.rules.fee_rounding = rounding;
            o
        })
        .await;
        let mut trader = stage.trader(1).await;
        trader.tick = schemas::Tick::from_micro(1_000).unwrap();
        let buy = trader.limit(Side::Buy, "0.333", "5");
        assert_eq!(stage.post(&trader, &buy).await.0, 200);
        assert_eq!(stage.simulator.handle().trades()[0].fee.to_string(), fee, "{rounding:?}");
    }
}
