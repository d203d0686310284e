//! A simulator that ends and starts again: the same past, every order that was answered, none twice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::{path::Path, time::Duration};

use common::*;
use runtime::{Clock as _, VirtualClock};
use schemas::{Side, Tick};
use simulator::{Fault, Options, OrderView, Prints, Seeding, Simulator};
use venue::{
    http::Clob,
    order::{OrderRequest, SignedBody, TradingWallet, build},
    outcome::{OrderLookup, SubmitOutcome},
    port::Exchange as _,
    signing::{ApiCreds, ExchangeTable, LocalSigner, Route},
};

fn remembering(dir: &Path) -> Options {
    let seeding = Seeding {
        mean_gap: Duration::from_millis(200),
        market_life: Duration::from_secs(900),
        ..Seeding::default()
    };
    Options { prints: Prints::Seeded(seeding), state: Some(dir.join("venue.jsonl")), ..Options::default() }
}

async fn start(dir: &Path, clock: &VirtualClock) -> (Simulator, Clob) {
    let simulator = builder(remembering(dir), clock).start().await.unwrap();
    let clob = Clob::new(&simulator.base_url, patience()).unwrap();
    (simulator, clob)
}

/// A BUY of ten dollars at the best ask, and another far below it, on the n-th open market.
async fn orders(
    simulator: &Simulator,
    n: usize,
    key: &LocalSigner,
    creds: &ApiCreds,
    salt: u64,
) -> Vec<SignedBody> {
    let page = get(&simulator.base_url, "/markets/keyset?limit=100").await;
    let market = &page["markets"][n];
    let tokens: Vec<String> = serde_json::from_str(market["clobTokenIds"].as_str().unwrap()).unwrap();
    let book = get(&simulator.base_url, &format!("/book?token_id={}", tokens[0])).await;
    let tick: Tick = Tick::from_micro(p(book["tick_size"].as_str().unwrap()).micro()).unwrap();
    let ask = p(book["asks"].as_array().unwrap().last().unwrap()["price"].as_str().unwrap());
    let wallet =
        TradingWallet::new(schemas::SignatureType::Eoa, key.address(), key.address(), creds.key()).unwrap();
    let terms = [market_buy(&ask.to_string(), "10", false), limit(Side::Buy, &tick.to_string(), "5")];
    (salt..)
        .zip(terms)
        .map(|(salt, terms)| {
            let request = OrderRequest {
                route: if book["neg_risk"] == true { Route::NegRisk } else { Route::Normal },
                asset: tokens[0].parse().unwrap(),
                tick,
                terms,
                salt,
                timestamp: START,
            };
            build(&request, &wallet, &ExchangeTable::default(), key).unwrap()
        })
        .collect()
}

/// Everything that a client could have seen, but for what only this life counts.
async fn seen(simulator: &Simulator) -> (Vec<OrderView>, serde_json::Value, Vec<serde_json::Value>) {
    let mut rows = Vec::new();
    for user in simulator.handle().leaders() {
        rows.push(
            get(&simulator.base_url, &format!("/v2/trades?user={user}&limit=1000&taker_only=false")).await,
        );
        rows.push(get(&simulator.base_url, &format!("/v2/positions?user={user}&limit=500")).await);
    }
    (simulator.handle().orders(), get(&simulator.base_url, "/sim/trades").await, rows)
}

#[tokio::test]
async fn a_restart_has_the_same_past_and_knows_every_order_with_its_fills() {
    let dir = tempfile::tempdir().unwrap();
    let clock = VirtualClock::at(START);
    let (simulator, clob) = start(dir.path(), &clock).await;
    let key = signer(1);
    let creds = clob.api_key(&key, clock.now(), 0, 137).await.unwrap();
    let mut posted = Vec::new();
    for n in 0..10usize {
        // One comes delayed, one fails to settle: that is met again too.
        simulator
            .handle()
            .switch(|s| (s.hold_millis, s.fail_orders) = (u32::from(n == 3) * 2_500, u32::from(n == 5)));
        for order in orders(&simulator, n, &key, &creds, n as u64 * 10 + 1).await {
            // Accepted, killed, refused: all are met again.
            clob.post_order(&order.body, order.id, &creds, clock.now()).await;
            posted.push(order);
        }
        clock.advance(Duration::from_secs(17));
    }
    let resting = simulator.handle().orders().into_iter().find(|o| o.status == "LIVE").unwrap().id;
    clob.cancel(resting, &creds, clock.now()).await;
    clob.post_order(&posted[0].body, posted[0].id, &creds, clock.now()).await;
    clock.advance(Duration::from_secs(60));
    let before = seen(&simulator).await;
    assert!(before.0.len() >= 10, "{}", before.0.len());
    let statuses: std::collections::BTreeSet<_> = before.0.iter().map(|o| o.status.clone()).collect();
    assert!(
        statuses.contains("MATCHED") && statuses.contains("LIVE") && statuses.contains("CANCELED"),
        "{statuses:?}"
    );
    let epoch = simulator.handle().epoch();
    simulator.stop().await;

    let (simulator, clob) = start(dir.path(), &clock).await;
    assert_eq!(simulator.handle().epoch(), epoch);
    assert_eq!(seen(&simulator).await, before);
    // The same key, the same orders, none twice.
    let again = clob.api_key(&key, clock.now(), 0, 137).await.unwrap();
    assert_eq!(again.key(), creds.key());
    for order in &before.0 {
        let found = clob.order(order.id, &creds, clock.now()).await;
        assert!(matches!(found, OrderLookup::Found(_)), "{found:?}");
        let body = &posted.iter().find(|p| p.id == order.id).unwrap().body;
        assert_eq!(clob.post_order(body, order.id, &creds, clock.now()).await, SubmitOutcome::AlreadyLanded);
    }
    assert_eq!(simulator.handle().orders().len(), before.0.len());
    // Time goes on.
    clock.advance(Duration::from_secs(1_000));
    assert!(simulator.handle().stats().rows > 5_000);
    assert!(simulator.handle().orders().iter().all(|o| o.status != "LIVE"), "what rested has lapsed");
    simulator.stop().await;
}

#[tokio::test]
async fn an_answered_order_outlives_a_kill_and_one_whose_answer_was_lost_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let clock = VirtualClock::at(START);
    let (simulator, clob) = start(dir.path(), &clock).await;
    let key = signer(1);
    let creds = clob.api_key(&key, clock.now(), 0, 137).await.unwrap();
    let pair = orders(&simulator, 0, &key, &creds, 1).await;
    simulator.handle().fault(Fault::accepted_then_dropped().after(1));
    let first = clob.post_order(&pair[0].body, pair[0].id, &creds, clock.now()).await;
    assert!(matches!(first, SubmitOutcome::Accepted(_)), "{first:?}");
    let second = clob.post_order(&pair[1].body, pair[1].id, &creds, clock.now()).await;
    assert!(matches!(second, SubmitOutcome::Unknown { .. }), "{second:?}");
    simulator.kill().await;
    let dead = clob.post_order(&pair[0].body, pair[0].id, &creds, clock.now()).await;
    assert!(matches!(dead, SubmitOutcome::Unknown { .. }), "a killed venue answers nobody: {dead:?}");
    // A crash in the middle of a line: it was never answered.
    let file = dir.path().join("venue.jsonl");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("{\"order\":{\"at\":17");
    std::fs::write(&file, text).unwrap();

    let (simulator, clob) = start(dir.path(), &clock).await;
    assert_eq!(simulator.handle().orders().len(), 2);
    for order in &pair {
        let again = clob.post_order(&order.body, order.id, &creds, clock.now()).await;
        assert_eq!(again, SubmitOutcome::AlreadyLanded);
    }
    simulator.stop().await;
    assert!(std::fs::read_to_string(&file).unwrap().ends_with("}\n"), "the half line is gone");
}

#[tokio::test]
async fn a_state_file_of_another_run_in_use_or_broken_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let clock = VirtualClock::at(START);
    let (simulator, _) = start(dir.path(), &clock).await;
    let refused = async |options: Options| builder(options, &clock).start().await.unwrap_err();
    let error = refused(remembering(dir.path())).await;
    assert_eq!(error.code(), "state_in_use", "{error}");
    simulator.stop().await;

    let mut other = remembering(dir.path());
    other.prints = Prints::Seeded(Seeding { seed: 99, ..Seeding::default() });
    let error = refused(other).await;
    assert_eq!(error.code(), "state_of_another_run", "{error}");
    assert!(error.to_string().contains("same options"), "{error}");

    let file = dir.path().join("venue.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}garbage\n")).unwrap();
    let error = refused(remembering(dir.path())).await;
    assert_eq!(error.code(), "state_broken");
    assert!(error.to_string().contains("line 2"), "{error}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = refused(Options { port, ..Options::default() }).await;
    assert_eq!(error.code(), "port_unavailable");
}

#[tokio::test]
async fn late_orders_wallets_heartbeats_and_deleted_keys_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = VirtualClock::at(START);
    let (simulator, clob) = start(dir.path(), &clock).await;
    let key = signer(1);
    let creds = clob.api_key(&key, clock.now(), 0, 137).await.unwrap();
    let beating = clob.api_key(&key, clock.now(), 1, 137).await.unwrap();
    let pair = orders(&simulator, 8, &key, &creds, 1).await;
    let theirs = orders(&simulator, 1, &key, &beating, 5).await;
    // The resting one of each pair; both keys are one wallet's.
    let (late, held) = (&pair[1], &theirs[1]);
    simulator.handle().fault(Fault::lands_late(15_000));
    let outcome = clob.post_order(&late.body, late.id, &creds, clock.now()).await;
    assert!(matches!(outcome, SubmitOutcome::Unknown { .. }), "{outcome:?}");
    let outcome = clob.post_order(&held.body, held.id, &beating, clock.now()).await;
    assert!(matches!(outcome, SubmitOutcome::Accepted(_)), "{outcome:?}");
    let send = async |base: &str, creds: &venue::signing::ApiCreds, method: &str, path: &str, body: &str| {
        let method: reqwest::Method = method.parse().unwrap();
        let mut request = client().request(method.clone(), format!("{base}{path}")).body(body.to_owned());
        let now = clock.now();
        for (name, value) in
            venue::signing::l2_headers(creds, now, method.as_str(), path, body.as_bytes()).unwrap()
        {
            use secrecy::ExposeSecret as _;
            request = request.header(name, value.expose_secret());
        }
        request.send().await.unwrap().status().as_u16()
    };
    let beat = r#"{"heartbeat_id":""}"#;
    assert_eq!(send(&simulator.base_url, &beating, "POST", "/v1/heartbeats", beat).await, 200);
    let gone = clob.api_key(&signer(2), clock.now(), 0, 137).await.unwrap();
    assert_eq!(send(&simulator.base_url, &gone, "DELETE", "/auth/api-key", "").await, 200);
    let rich = simulator::WalletChange {
        usdc: Some(77_000_000_000),
        ..simulator::WalletChange::of(signer(2).address())
    };
    simulator.handle().wallet(&rich).await.unwrap();
    simulator.kill().await;

    let (simulator, clob) = start(dir.path(), &clock).await;
    assert_eq!(send(&simulator.base_url, &gone, "GET", "/auth/api-keys", "").await, 401);
    clob.api_key(&signer(2), clock.now(), 0, 137).await.unwrap();
    assert_eq!(send(&simulator.base_url, &gone, "GET", "/auth/api-keys", "").await, 200, "made again");
    let balance = clob
        .balance_allowance(
            &venue::port::BalanceOf::Collateral,
            schemas::SignatureType::Eoa,
            &gone,
            clock.now(),
        )
        .await
        .unwrap();
    assert_eq!(balance.balance().unwrap().to_string(), "77000");
    let state = |id| simulator.handle().orders().into_iter().find(|o| o.id == id).map(|o| o.status);
    assert_eq!(state(late.id), None);
    clock.advance(Duration::from_secs(10));
    assert_eq!(state(held.id).as_deref(), Some("CANCELED"), "the silence went on over the restart");
    clock.advance(Duration::from_secs(4));
    assert_eq!(state(late.id), None);
    clock.advance(Duration::from_secs(1));
    assert!(state(late.id).is_some(), "it landed when it was to");
    simulator.stop().await;
}
