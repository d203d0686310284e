//! Orders over HTTP: signed as clients sign, verified as the venue verifies, filled from the made books.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::time::Duration;

use common::*;
use schemas::{OrderId, Side, SignatureType, Usdc};
use venue::{
    order::Terms,
    outcome::{CancelOutcome, NotCancelled, OrderLookup, RejectCause, SubmitOutcome},
    port::{BalanceOf, Exchange as _, OwnTradesQuery},
    signing::Route,
    wire::{ClobOrderStatus, ClobTradeStatus, OrderRow, PlacedStatus, PostOrder, TraderSide},
};

async fn look(stage: &Stage, trader: &Trader, id: OrderId) -> OrderRow {
    match stage.clob.order(id, &trader.creds, stage.now()).await {
        OrderLookup::Found(row) => *row,
        other => panic!("{other:?}"),
    }
}

async fn dollars(stage: &Stage, trader: &Trader) -> Usdc {
    let kind = trader.wallet.signature_type();
    let of = BalanceOf::Collateral;
    stage.clob.balance_allowance(&of, kind, &trader.creds, stage.now()).await.unwrap().balance().unwrap()
}

#[tokio::test]
async fn an_order_that_meets_the_ask_fills_at_the_ask_and_its_trade_is_confirmed_later() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let order = trader.limit(Side::Buy, "0.52", "10");
    let outcome = stage.clob.post_order(&order.body, order.id, &trader.creds, stage.now()).await;
    let SubmitOutcome::Accepted(accepted) = outcome else { panic!("{outcome:?}") };
    assert_eq!((accepted.order_id, accepted.status), (order.id, PlacedStatus::Matched));
    assert_eq!((accepted.making.as_str(), accepted.taking.as_str()), ("5", "10"));
    assert_eq!(accepted.trade_ids.len(), 1);

    let row = look(&stage, &trader, order.id).await;
    assert_eq!((&row.status, row.size_matched.as_str()), (&ClobOrderStatus::Matched, "10"));
    // 10 x 0.05 x 0.5 x 0.5 = 0.125 on top of 10 x 0.50.
    assert_eq!(dollars(&stage, &trader).await.to_string(), "9994.875");

    let query = OwnTradesQuery { id: Some(accepted.trade_ids[0].clone()), ..OwnTradesQuery::default() };
    let trade = |at| {
        let (clob, query, creds) = (stage.clob.clone(), query.clone(), trader.creds.clone());
        async move { clob.own_trades(&query, &creds, at).await.unwrap().data.remove(0) }
    };
    let matched = trade(stage.now()).await;
    assert_eq!((&matched.status, matched.transaction_hash), (&ClobTradeStatus::Matched, None));
    assert_eq!((matched.taker_order_id, matched.trader_side), (order.id, TraderSide::Taker));
    stage.advance(1);
    assert_eq!(trade(stage.now()).await.status, ClobTradeStatus::Mined);
    stage.advance(1);
    let confirmed = trade(stage.now()).await;
    assert_eq!(confirmed.status, ClobTradeStatus::Confirmed);
    let tx = confirmed.transaction_hash.unwrap();

    // The world sees it too: as a row of the maker's wallet, and as its position.
    let user = trader.wallet.maker();
    let rows = stage.get(&format!("/v2/trades?user={user}")).await;
    assert_eq!(rows["data"][0]["transaction_hash"], tx.to_string());
    let positions = stage.get(&format!("/v2/positions?user={user}")).await;
    assert_eq!(positions["data"][0]["current_size"].to_string(), "10");
}

#[tokio::test]
async fn an_order_below_the_ask_rests_fills_when_prints_go_through_it_and_never_at_its_own_price() {
    let stage = Stage::new(&[
        (0, "BUY", true, "100", "0.5"),
        (10, "SELL", true, "50", "0.45"),
        (20, "SELL", true, "4", "0.44"),
        // The other outcome at 0.60 is this one at 0.40.
        (30, "BUY", false, "50", "0.60"),
        (900, "BUY", true, "1", "0.5"),
    ])
    .await;
    let mut trader = stage.trader(1).await;
    let order = trader.limit(Side::Buy, "0.45", "10");
    let (status, answer) = stage.post(&trader, &order).await;
    assert_eq!((status, &answer["status"], &answer["makingAmount"]), (200, &"live".into(), &"".into()));
    let matched = async || look(&stage, &trader, order.id).await.size_matched.as_str().to_owned();
    stage.advance(10);
    assert_eq!(matched().await, "0", "at its price others stood before it");
    stage.advance(10);
    assert_eq!(matched().await, "4", "no more than was printed");
    stage.advance(10);
    assert_eq!(matched().await, "10");
    let row = look(&stage, &trader, order.id).await;
    assert_eq!((&row.status, row.associate_trades.len()), (&ClobOrderStatus::Matched, 2));
    // At its own limit, and a maker pays no fee.
    assert_eq!(dollars(&stage, &trader).await.to_string(), "9995.5");
    let trades = stage.clob.own_trades(&OwnTradesQuery::default(), &trader.creds, stage.now()).await.unwrap();
    assert!(trades.data.iter().all(|t| t.part_of(order.id).unwrap().1 == p("0.45")));
}

#[tokio::test]
async fn a_large_order_takes_level_by_level_and_what_it_took_is_gone_until_the_next_print() {
    let stage = Stage::new(&[
        (0, "BUY", true, "20", "0.5"),
        (1, "BUY", true, "10", "0.5"),
        (60, "BUY", true, "30", "0.5"),
        (900, "BUY", true, "1", "0.5"),
    ])
    .await;
    stage.advance(1);
    let mut trader = stage.trader(1).await;
    // 10 at 0.50 and 20 at 0.51 stand there; 0.52 has 10 again.
    let order = trader.limit(Side::Buy, "0.51", "35");
    let (_, answer) = stage.post(&trader, &order).await;
    assert_eq!(
        (answer["takingAmount"].as_str(), answer["makingAmount"].as_str()),
        (Some("30"), Some("15.2"))
    );
    let row = look(&stage, &trader, order.id).await;
    assert_eq!(
        (&row.status, row.size_matched.as_str()),
        (&ClobOrderStatus::Live, "30"),
        "the rest of a GTD rests"
    );

    let fak = trader.buy_for("0.51", "5");
    assert!(stage.refused(&trader, &fak).await.starts_with("no orders found to match with FAK order."));
    assert_eq!(look(&stage, &trader, fak.id).await.status, ClobOrderStatus::Canceled);
    stage.advance(60);
    let fak = trader.buy_for("0.51", "5");
    assert_eq!(stage.post(&trader, &fak).await.1["status"], "matched", "a new print, a new book");
}

#[tokio::test]
async fn a_market_buy_spends_dollars_and_gets_more_shares_at_a_better_price() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let order = trader.buy_for("0.60", "6");
    assert!(order.amounts.taker < 10_010_000, "ten shares at the limit");
    let (_, answer) = stage.post(&trader, &order).await;
    assert_eq!((answer["makingAmount"].as_str(), answer["takingAmount"].as_str()), (Some("6"), Some("12")));

    // What it bought it can sell, at the bid one tick below; no more than that.
    let sell = trader.sell_now("0.40", "12");
    let (_, answer) = stage.post(&trader, &sell).await;
    assert_eq!(
        (answer["makingAmount"].as_str(), answer["takingAmount"].as_str()),
        (Some("12"), Some("5.88"))
    );
    let again = trader.sell_now("0.40", "12");
    assert_eq!(stage.refused(&trader, &again).await, "not enough balance / allowance");
}

#[tokio::test]
async fn a_fak_takes_what_there_is_and_a_fok_all_or_nothing() {
    let stage = Stage::new(&[(0, "BUY", true, "10", "0.5"), (900, "BUY", true, "1", "0.5")]).await;
    let mut trader = stage.trader(1).await;
    // Five levels of ten shares stand from 0.50 to 0.54.
    let fok = trader.order(true, market_buy("0.50", "6", true));
    let words = "order couldn't be fully filled. FOK orders are fully filled or killed.";
    assert_eq!(stage.refused(&trader, &fok).await, words);
    let fak = trader.buy_for("0.50", "6");
    let (_, answer) = stage.post(&trader, &fak).await;
    assert_eq!((answer["makingAmount"].as_str(), answer["takingAmount"].as_str()), (Some("5"), Some("10")));
    let row = look(&stage, &trader, fak.id).await;
    assert_eq!((&row.status, row.size_matched.as_str()), (&ClobOrderStatus::Canceled, "10"));
}

#[tokio::test]
async fn an_order_lapses_a_minute_before_its_expiration_and_gives_its_dollars_back() {
    let stage = Stage::with(&QUIET, &gamma_row("0.01", false, "0.05"), |mut o| {
        o.rules.opening_balance = Usdc::from_units(5);
        o
    })
    .await;
    let mut trader = stage.trader(1).await;
    let first = trader.limit(Side::Buy, "0.40", "10");
    assert_eq!(stage.post(&trader, &first).await.0, 200);
    let second = trader.limit(Side::Buy, "0.40", "10");
    assert_eq!(
        stage.refused(&trader, &second).await,
        "not enough balance / allowance",
        "4 of 5 dollars are bound"
    );
    stage.advance(539);
    assert_eq!(look(&stage, &trader, first.id).await.status, ClobOrderStatus::Live);
    stage.advance(1);
    assert_eq!(look(&stage, &trader, first.id).await.status, ClobOrderStatus::CanceledExpiredOrder);
    let terms =
        Terms::Limit { side: Side::Buy, price: p("0.40"), shares: s("10"), expires: None, post_only: false };
    let third = trader.order(true, terms);
    assert_eq!(stage.post(&trader, &third).await.0, 200);
}

#[tokio::test]
async fn a_cancel_says_what_it_cancelled_and_what_not() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let mut other = stage.trader(2).await;
    other.salt = 100;
    let resting = trader.limit(Side::Buy, "0.40", "10");
    let filled = trader.limit(Side::Buy, "0.50", "10");
    for order in [&resting, &filled] {
        assert_eq!(stage.post(&trader, order).await.0, 200);
    }
    let cancel = async |who: &Trader, id| stage.clob.cancel(id, &who.creds, stage.now()).await;
    let not = |outcome| match outcome {
        CancelOutcome::NotCancelled { cause, .. } => cause,
        other => panic!("{other:?}"),
    };
    assert_eq!(not(cancel(&other, resting.id).await), NotCancelled::NotFoundOrCancelled, "not theirs");
    assert_eq!(cancel(&trader, resting.id).await, CancelOutcome::Cancelled);
    assert_eq!(not(cancel(&trader, resting.id).await), NotCancelled::NotFoundOrCancelled);
    assert_eq!(not(cancel(&trader, filled.id).await), NotCancelled::AlreadyMatched);
    assert_eq!(look(&stage, &trader, resting.id).await.status, ClobOrderStatus::Canceled);
    assert!(matches!(stage.clob.order(resting.id, &other.creds, stage.now()).await, OrderLookup::NotFound));
}

#[tokio::test]
async fn the_same_order_posted_again_is_a_duplicate_whatever_became_of_it() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let order = trader.limit(Side::Buy, "0.50", "10");
    let killed = trader.buy_for("0.10", "5");
    assert_eq!(stage.post(&trader, &order).await.0, 200);
    assert!(stage.refused(&trader, &killed).await.contains("FAK"));
    for (posts, order) in [(2, &order), (2, &killed), (3, &order)] {
        let words = stage.refused(&trader, order).await;
        assert_eq!(words, format!("order {} is invalid. Duplicated.", order.id));
        let seen = stage.simulator.handle().orders().into_iter().find(|o| o.id == order.id).unwrap();
        assert_eq!(seen.posts, posts);
    }
    let outcome = stage.clob.post_order(&order.body, order.id, &trader.creds, stage.now()).await;
    assert_eq!(outcome, SubmitOutcome::AlreadyLanded);
    // The hash does not commit to the type: the same one as GTC is the same order.
    let mut body: PostOrder = serde_json::from_slice(&order.body).unwrap();
    body.order_type = schemas::OrderType::Gtc;
    body.order.expiration = None;
    let (status, _) = stage.post_raw(&trader.creds, &serde_json::to_vec(&body).unwrap()).await.unwrap();
    assert_eq!(status, 400);
    assert_eq!(stage.simulator.handle().orders().len(), 2);
    assert_eq!(stage.simulator.handle().stats().tally.duplicates, 5);
}

#[tokio::test]
async fn every_signature_type_is_verified_and_none_other_passes() {
    let stage = Stage::with(&QUIET, &gamma_row("0.001", true, "0"), |o| o).await;
    let kinds = [SignatureType::Eoa, SignatureType::Proxy, SignatureType::Safe, SignatureType::Poly1271];
    for (seed, kind) in (1u8..).zip(kinds) {
        let mut trader = stage.trader_of(seed, kind).await;
        trader.tick = schemas::Tick::from_micro(1_000).unwrap();
        trader.route = Route::NegRisk;
        let order = trader.order(true, limit(Side::Buy, "0.501", "5.55"));
        assert_eq!(
            stage.post(&trader, &order).await,
            (
                200,
                serde_json::json!({
                    "success": true, "errorMsg": "", "orderID": order.id.to_string(), "status": "matched",
                    "makingAmount": "2.775", "takingAmount": "5.55", "tradeIDs": stage.simulator.handle().orders().into_iter().find(|o| o.id == order.id).unwrap().trades,
                })
            ),
            "{kind}"
        );
        assert_eq!(dollars(&stage, &trader).await.to_string(), "9997.225", "{kind}: the maker's balance");

        // Signed for the other exchange.
        trader.route = Route::Normal;
        let elsewhere = trader.order(true, limit(Side::Buy, "0.5", "5"));
        assert_eq!(stage.refused(&trader, &elsewhere).await, "order_version_mismatch", "{kind}");
        // Changed after signing.
        trader.route = Route::NegRisk;
        let good = trader.order(true, limit(Side::Buy, "0.5", "5"));
        let mut post: PostOrder = serde_json::from_slice(&good.body).unwrap();
        post.order.maker_amount -= 10_000;
        let body = serde_json::to_vec(&post).unwrap();
        let (status, answer) = stage.post_raw(&trader.creds, &body).await.unwrap();
        assert_eq!((status, answer["error"].as_str()), (400, Some("Invalid order payload")), "{kind}");
    }
}

#[tokio::test]
async fn headers_that_did_not_sign_these_very_bytes_are_refused() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let order = trader.limit(Side::Buy, "0.50", "10");
    let url = format!("{}/order", stage.simulator.base_url);
    let send = async |body: Vec<u8>, drop_header: &str, change: &str| {
        let headers =
            venue::signing::l2_headers(&trader.creds, stage.now(), "POST", "/order", &order.body).unwrap();
        let mut request = client().post(&url).body(body);
        for (name, value) in headers {
            use secrecy::ExposeSecret as _;
            let value = value.expose_secret();
            let value = if name == change { "1".to_owned() } else { value.to_owned() };
            if name != drop_header {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let unauthorized = (401, "{\"error\":\"Unauthorized/Invalid api key\"}".to_owned());
    let mut spaced = order.body.clone();
    spaced.push(b' ');
    assert_eq!(send(spaced, "", "").await, unauthorized, "one more byte");
    for header in ["POLY_ADDRESS", "POLY_API_KEY", "POLY_PASSPHRASE", "POLY_TIMESTAMP", "POLY_SIGNATURE"] {
        assert_eq!(send(order.body.clone(), header, "").await, unauthorized, "without {header}");
        assert_eq!(send(order.body.clone(), "", header).await, unauthorized, "with another {header}");
    }
    assert_eq!(send(order.body.clone(), "", "").await.0, 200);

    // Another trader's key, and another owner in the body.
    let stranger = stage.trader(2).await;
    let order = trader.limit(Side::Buy, "0.50", "10");
    let (_, answer) = stage.post_raw(&stranger.creds, &order.body).await.unwrap();
    assert_eq!(answer["error"], "the order owner has to be the owner of the API KEY");
    let mut post: PostOrder = serde_json::from_slice(&order.body).unwrap();
    post.owner = stranger.creds.key().to_owned();
    let body = serde_json::to_vec(&post).unwrap();
    let (_, answer) = stage.post_raw(&stranger.creds, &body).await.unwrap();
    assert_eq!(answer["error"], "the order signer address has to be the address of the API KEY");
}

#[tokio::test]
async fn an_api_key_is_given_to_who_signs_for_its_address_and_is_the_same_each_time() {
    let stage = Stage::new(&QUIET).await;
    let table = venue::signing::ExchangeTable::default();
    let mine = signer(1);
    let key = stage.clob.api_key(&mine, stage.now(), 0, table.chain_id).await.unwrap();
    let again = stage.clob.api_key(&mine, stage.now(), 0, table.chain_id).await.unwrap();
    assert_eq!(key.key(), again.key());
    let other = stage.clob.api_key(&mine, stage.now(), 1, table.chain_id).await.unwrap();
    assert_ne!(key.key(), other.key(), "one key per nonce");
    assert_eq!(stage.simulator.handle().api_key(mine.address(), 0).await.unwrap().key(), key.key());

    // A signature of somebody else.
    let url = format!("{}/auth/api-key", stage.simulator.base_url);
    let mut request = client().post(url);
    for (name, value) in venue::signing::l1_headers(&signer(2), stage.now(), 0, table.chain_id) {
        let value = if name == "POLY_ADDRESS" { mine.address().to_string() } else { value };
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 401);
    assert_eq!(answer.text().await.unwrap(), "{\"error\":\"Invalid L1 Request headers\"}");
}

#[tokio::test]
async fn orders_that_break_a_rule_are_refused_in_the_venues_words() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let expires = |seconds| Some(START.plus(Duration::from_secs(seconds)));
    let gtd = |price: &str, shares: &str, expires, post_only| Terms::Limit {
        side: Side::Buy,
        price: p(price),
        shares: s(shares),
        expires,
        post_only,
    };

    let small = trader.order(true, gtd("0.40", "4.99", expires(600), false));
    assert_eq!(
        stage.refused(&trader, &small).await,
        format!("order {} is invalid. Size (4.99) lower than the minimum: 5", small.id)
    );
    let soon = trader.order(true, gtd("0.40", "5", expires(179), false));
    assert_eq!(stage.refused(&trader, &soon).await, "invalid expiration");
    let just = trader.order(true, gtd("0.40", "5", expires(180), false));
    assert_eq!(stage.post(&trader, &just).await.0, 200);
    let taking = trader.order(true, gtd("0.50", "5", expires(600), true));
    assert_eq!(stage.refused(&trader, &taking).await, "invalid post-only order: order crosses book");

    // A book at 0.05 and a BUY of 5 shares at 0.06: 30 cents that take.
    let cheap = Stage::new(&[(0, "BUY", true, "100", "0.05"), (900, "BUY", true, "1", "0.05")]).await;
    let mut buyer = cheap.trader(1).await;
    let below = buyer.limit(Side::Buy, "0.06", "5");
    assert_eq!(
        cheap.refused(&buyer, &below).await,
        "invalid amount for a marketable BUY order ($0.3), min size: $1"
    );
    let resting = buyer.limit(Side::Buy, "0.02", "5");
    assert_eq!(cheap.post(&buyer, &resting).await.0, 200, "one that rests may be as small");

    // Off the tick, and with too many decimals: signed by hand, for our builder refuses to.
    trader.tick = schemas::Tick::from_micro(1_000).unwrap();
    let off = trader.order(true, gtd("0.405", "10", expires(600), false));
    assert_eq!(
        stage.refused(&trader, &off).await,
        format!("order {} is invalid. Price (0.405) breaks minimum tick size rule: 0.01", off.id)
    );
    let fine = trader.order(true, gtd("0.405", "10.01", expires(600), false));
    assert_eq!(
        stage.refused(&trader, &fine).await,
        "invalid amounts, the buy orders maker amount supports a max accuracy of 4 decimals, taker amount a \
         max of 2 decimals"
    );
    let answers = stage.simulator.handle().stats().tally.refused;
    assert_eq!(answers.get("invalid expiration"), Some(&1), "{answers:?}");
    assert!(answers.keys().all(|words| RejectCause::of(words) != RejectCause::Other), "{answers:?}");
}

#[tokio::test]
async fn a_market_that_is_over_takes_no_orders_and_cancels_those_that_rest() {
    let gamma = gamma_row("0.01", false, "0.05").replace(
        "\"negRisk\"",
        "\"closed\":true,\"umaResolutionStatus\":\"resolved\",\"outcomePrices\":\"[\\\"1\\\", \\\"0\\\"]\",\"negRisk\"",
    );
    let stage =
        Stage::with(&[(0, "BUY", true, "100", "0.5"), (60, "BUY", true, "1", "0.5")], &gamma, |o| o).await;
    let mut trader = stage.trader(1).await;
    let bought = trader.limit(Side::Buy, "0.50", "10");
    let resting = trader.limit(Side::Buy, "0.40", "10");
    for order in [&bought, &resting] {
        assert_eq!(stage.post(&trader, order).await.0, 200);
    }
    stage.advance(179);
    assert_eq!(look(&stage, &trader, resting.id).await.status, ClobOrderStatus::Live);
    stage.advance(1);
    assert_eq!(look(&stage, &trader, resting.id).await.status, ClobOrderStatus::CanceledMarketResolved);
    let late = trader.limit(Side::Buy, "0.50", "10");
    assert_eq!(stage.refused(&trader, &late).await, format!("the orderbook {YES} does not exist"));
    // What was won is paid: 10,000 - 5 - 0.125 + 10.
    stage.advance(20);
    assert_eq!(dollars(&stage, &trader).await.to_string(), "10004.875");
    let user = trader.wallet.maker();
    let activity = stage.get(&format!("/v2/activity?user={user}&type=REDEEM")).await;
    assert_eq!(activity["data"][0]["usdc_size"].to_string(), "10");
    let positions = stage.get(&format!("/v2/positions?user={user}&filter_amount=0")).await;
    assert_eq!(positions["data"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn switches_change_words_units_and_delays() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let handle = stage.simulator.handle();
    handle.switch(|s| {
        s.status_prefix = true;
        s.base_units = true;
        s.hold_millis = 3_000;
    });
    let order = trader.limit(Side::Buy, "0.50", "10");
    let (_, answer) = stage.post(&trader, &order).await;
    assert_eq!((answer["status"].as_str(), answer["makingAmount"].as_str()), (Some("delayed"), Some("0")));
    let cancel = stage.clob.cancel(order.id, &trader.creds, stage.now()).await;
    assert!(matches!(cancel, CancelOutcome::NotCancelled { cause: NotCancelled::Delayed, .. }), "{cancel:?}");
    let raw = async || {
        let path = format!("/data/order/{}", order.id);
        let headers = venue::signing::l2_headers(&trader.creds, stage.now(), "GET", &path, b"").unwrap();
        let mut request = client().get(format!("{}{path}", stage.simulator.base_url));
        for (name, value) in headers {
            use secrecy::ExposeSecret as _;
            request = request.header(name, value.expose_secret());
        }
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    assert_eq!(raw().await["status"], "ORDER_STATUS_DELAYED");
    stage.advance(3);
    let row = raw().await;
    assert_eq!((&row["status"], &row["size_matched"]), (&"ORDER_STATUS_MATCHED".into(), &"10000000".into()));

    // Trades that fail give everything back.
    handle.switch(|s| {
        s.hold_millis = 0;
        s.fail_orders = 1;
    });
    let before = dollars(&stage, &trader).await;
    let order = trader.limit(Side::Buy, "0.50", "10");
    assert_eq!(stage.post(&trader, &order).await.1["status"], "matched");
    assert!(dollars(&stage, &trader).await < before);
    stage.advance(2);
    assert_eq!(dollars(&stage, &trader).await, before);
    let trades = stage.clob.own_trades(&OwnTradesQuery::default(), &trader.creds, stage.now()).await.unwrap();
    let trade = trades.data.iter().find(|t| t.taker_order_id == order.id).unwrap();
    assert_eq!((&trade.status, trade.transaction_hash), (&ClobTradeStatus::Failed, None));
}

#[tokio::test]
async fn one_body_posted_twenty_times_at_once_is_one_order() {
    let stage = Stage::new(&QUIET).await;
    let mut trader = stage.trader(1).await;
    let order = trader.limit(Side::Buy, "0.50", "10");
    let posts = (0..20).map(|_| {
        let (clob, body, creds, now) =
            (stage.clob.clone(), order.body.clone(), trader.creds.clone(), stage.now());
        tokio::spawn(async move { clob.post_order(&body, order.id, &creds, now).await })
    });
    let (mut accepted, mut known) = (0, 0);
    for post in posts.collect::<Vec<_>>() {
        match post.await.unwrap() {
            SubmitOutcome::Accepted(_) => accepted += 1,
            SubmitOutcome::AlreadyLanded => known += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((accepted, known), (1, 19));
    let orders = stage.simulator.handle().orders();
    assert_eq!((orders.len(), orders[0].posts, orders[0].matched), (1, 20, s("10")));
    assert_eq!(dollars(&stage, &trader).await.to_string(), "9994.875", "paid once");
}

#[tokio::test]
async fn a_market_of_the_later_protocol_is_signed_for_its_own_exchange_and_an_unknown_one_is_left_out() {
    let gamma =
        gamma_row("0.01", false, "0.05").replace("\"clobTokenIds\"", "\"version\":\"v2\",\"positionIds\"");
    let stage = Stage::with(&QUIET, &gamma, |o| o).await;
    let mut trader = stage.trader(1).await;
    let order = trader.limit(Side::Buy, "0.50", "10");
    assert_eq!(stage.refused(&trader, &order).await, "order_version_mismatch");
    trader.route = Route::V3;
    let order = trader.limit(Side::Buy, "0.50", "10");
    assert_eq!(stage.post(&trader, &order).await.0, 200);
    assert_eq!(stage.get(&format!("/book?token_id={YES}")).await["version"], "v2");

    let gamma = gamma.replace("\"v2\"", "\"v9\"");
    let stage = Stage::with(&QUIET, &gamma, |o| o).await;
    let report = stage.simulator.handle().tape_report();
    assert_eq!((report.broken_markets.len(), report.markets_without_facts), (1, 1));
    assert!(report.broken_markets[0].reason.contains("v9"), "{report:?}");
}

#[tokio::test]
async fn what_is_not_settled_about_the_venue_is_a_switch() {
    let stage = Stage::with(
        &[(0, "BUY", true, "10", "0.5"), (900, "BUY", true, "1", "0.5")],
        &gamma_row("0.001", false, "0"),
        |mut o| {
            o.rules.credit_when_confirmed = true;
            o
        },
    )
    .await;
    let handle = stage.simulator.handle();
    let mut trader = stage.trader(1).await;
    trader.tick = schemas::Tick::from_micro(1_000).unwrap();

    handle.switch(|s| s.partial_fak_matched = true);
    let fak = trader.buy_for("0.500", "6");
    assert_eq!(stage.post(&trader, &fak).await.0, 200);
    let row = look(&stage, &trader, fak.id).await;
    assert_eq!((&row.status, row.size_matched.as_str()), (&ClobOrderStatus::Matched, "10"));

    // Shares that are not confirmed cannot be sold yet.
    let early = trader.sell_now("0.400", "5");
    assert_eq!(stage.refused(&trader, &early).await, "not enough balance / allowance");
    stage.advance(2);
    let sell = trader.sell_now("0.400", "5");
    assert_eq!(stage.post(&trader, &sell).await.0, 200);

    // 5.01 x 0.333 = 1.66833: five decimals on a tick of 0.001, four in the error text.
    let fine = trader.limit(Side::Buy, "0.333", "5.01");
    handle.switch(|s| s.strict_amounts = true);
    assert!(stage.refused(&trader, &fine).await.contains("max accuracy of 4 decimals"));
    handle.switch(|s| s.strict_amounts = false);
    assert_eq!(stage.post(&trader, &fine).await.0, 200);

    // Orders carry the start as their timestamp.
    handle.switch(|s| s.timestamp_window_seconds = 60);
    let timely = trader.limit(Side::Buy, "0.300", "5");
    assert_eq!(stage.post(&trader, &timely).await.0, 200);
    stage.advance(61);
    let late = trader.limit(Side::Buy, "0.300", "5");
    assert_eq!(stage.refused(&trader, &late).await, "Invalid order payload");
}
