//! The Data API, Gamma and the CLOB's public side, as our clients and others read them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::*;
use runtime::{Clock as _, VirtualClock};
use schemas::{Address, Timestamp};
use simulator::{Options, Prints, Seeding, Simulator};
use venue::{
    http::{Endpoints, PublicData},
    port::{ActivityQuery, MarketData as _, PositionsQuery, TradesQuery},
    wire::{ActivityKind, PositionStatus, TradeRow},
};

/// Seeded leaders with an hour of past.
async fn seeded(change: impl FnOnce(&mut Seeding)) -> (Simulator, VirtualClock, PublicData) {
    let clock = VirtualClock::at(START);
    let mut seeding = Seeding { multi_row_permille: 300, ..Seeding::default() };
    change(&mut seeding);
    let options = Options {
        prints: Prints::Seeded(seeding),
        history: Duration::from_secs(3_600),
        ..Options::default()
    };
    let simulator = builder(options, &clock).start().await.unwrap();
    let client = PublicData::new(&Endpoints::all_at(&simulator.base_url), patience()).unwrap();
    (simulator, clock, client)
}

fn trades(user: Address, limit: u32, cursor: Option<String>) -> TradesQuery {
    TradesQuery { user, limit, cursor, start: None, end: None }
}

async fn walk(client: &PublicData, user: Address, limit: u32, now: Timestamp) -> Vec<TradeRow> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let page = client.trades(&trades(user, limit, cursor.clone()), now).await.unwrap();
        assert!(page.unreadable.is_empty(), "{:?}", page.unreadable);
        assert!(page.rows.len() <= limit as usize);
        rows.extend(page.rows);
        match page.pagination.next() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return rows,
        }
    }
}

#[tokio::test]
async fn a_walk_sees_each_row_exactly_once_for_every_page_size_equal_rows_included() {
    let (simulator, clock, client) = seeded(|s| s.equal_rows_permille = 800).await;
    let user = simulator.handle().leaders()[0];
    let whole = walk(&client, user, 1_000, clock.now()).await;
    assert!(whole.len() > 1_000, "{}", whole.len());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for row in &whole {
        *counts.entry(format!("{row:?}")).or_default() += 1;
    }
    assert!(counts.values().any(|n| *n > 1), "equal rows are among them");
    assert!(whole.windows(2).all(|w| w[0].timestamp >= w[1].timestamp), "newest first");
    for limit in [1, 2, 3, 7, 64, 100, 999] {
        // A walk of single rows is long: a part of it will do, over a boundary of equal rows.
        let rows = if limit < 3 {
            let mut rows = Vec::new();
            let mut cursor = None;
            while rows.len() < 200 {
                let page = client.trades(&trades(user, limit, cursor), clock.now()).await.unwrap();
                cursor = page.pagination.next().map(str::to_owned);
                rows.extend(page.rows);
            }
            rows
        } else {
            walk(&client, user, limit, clock.now()).await
        };
        assert_eq!(rows, whole[..rows.len()], "limit {limit}");
        assert!(limit < 3 || rows.len() == whole.len());
    }
}

#[tokio::test]
async fn rows_that_arrive_during_a_walk_do_not_shift_it() {
    let (simulator, clock, client) = seeded(|_| {}).await;
    let user = simulator.handle().leaders()[0];
    let before = walk(&client, user, 1_000, clock.now()).await;
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let page = client.trades(&trades(user, 50, cursor), clock.now()).await.unwrap();
        let next = page.pagination.next().map(str::to_owned);
        rows.extend(page.rows);
        clock.advance(Duration::from_secs(30));
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(rows, before);
    assert!(walk(&client, user, 1_000, clock.now()).await.len() > before.len());
}

#[tokio::test]
async fn a_late_row_of_a_transaction_appears_among_the_older_rows_of_its_second() {
    let (simulator, clock, client) = seeded(|s| {
        s.late_row_permille = 1_000;
        s.mean_gap = Duration::from_millis(500);
    })
    .await;
    let user = simulator.handle().leaders()[0];
    let since = clock.now();
    let recent = async || {
        let query =
            TradesQuery { start: Some(since.minus(Duration::from_secs(10))), ..trades(user, 1_000, None) };
        client.trades(&query, clock.now()).await.unwrap().rows
    };
    let mut seen: Vec<TradeRow> = recent().await;
    let mut late = 0;
    for _ in 0..60 {
        clock.advance(Duration::from_secs(1));
        let now = recent().await;
        let newest = seen.first().unwrap().timestamp;
        let known: BTreeSet<String> =
            seen.iter().map(|r| format!("{}{}", r.transaction_hash, r.size)).collect();
        late += now
            .iter()
            .filter(|r| r.timestamp < newest && !known.contains(&format!("{}{}", r.transaction_hash, r.size)))
            .count();
        assert!(now.len() >= seen.len());
        seen = now;
    }
    assert!(late > 0, "none since {since}");
}

#[tokio::test]
async fn parameters_mean_what_the_venue_says() {
    let (simulator, clock, _) = seeded(|_| {}).await;
    let base = simulator.base_url.clone();
    let user = simulator.handle().leaders()[0];
    let rows =
        async |query: &str| get(&base, &format!("/v2/trades?user={user}&{query}")).await["data"].clone();
    let count = async |query: &str| rows(query).await.as_array().unwrap().len();
    let all = "limit=1000&taker_only=false";

    let (both, takers) = (count(all).await, count("limit=1000").await);
    assert!(takers < both, "taker_only is the default: {takers} of {both}");
    assert_eq!(takers, count("limit=1000&taker_only=true").await);
    assert_eq!(count("limit=0").await, 0);
    assert_eq!(count("taker_only=false").await, 100, "the default page");
    assert_eq!(count(&format!("{all}&unknown=1&_=17")).await, both, "what is unknown is ignored");
    let (buys, sells) = (count(&format!("{all}&side=BUY")).await, count(&format!("{all}&side=SELL")).await);
    assert!(buys > 0 && sells > 0 && buys + sells >= both);

    let newest = rows(all).await;
    let at = newest[both / 2]["timestamp"].as_i64().unwrap();
    for row in rows(&format!("{all}&start={at}&end={at}")).await.as_array().unwrap() {
        assert_eq!(row["timestamp"], at);
    }
    assert!(count(&format!("{all}&start={at}")).await < both);
    let far = clock.now().secs() + 10;
    assert_eq!(count(&format!("{all}&start={far}")).await, 0);
    let ignored = get(&base, &format!("/v2/trades?limit=5&start={far}")).await;
    assert_eq!(ignored["data"].as_array().unwrap().len(), 5, "times count only with a wallet");

    let large = rows(&format!("{all}&filter_type=CASH&filter_amount=500")).await;
    for row in large.as_array().unwrap() {
        let dollars = row["size"].as_f64().unwrap() * row["price"].as_f64().unwrap();
        assert!(dollars >= 499.999, "{row}");
    }
    for row in rows(&format!("{all}&filter_amount=100")).await.as_array().unwrap() {
        assert!(row["size"].as_f64().unwrap() >= 100.0);
    }
    let condition = newest[0]["condition_id"].as_str().unwrap().to_owned();
    for row in rows(&format!("{all}&condition={condition}")).await.as_array().unwrap() {
        assert_eq!(row["condition_id"], condition);
    }
    let two = get(&base, &format!("/v2/trades?user={user},{user}")).await;
    assert_eq!(two["data"].as_array().unwrap().len(), 0, "a list of wallets is nobody");
}

#[tokio::test]
async fn bad_parameters_are_refused_with_a_body_that_names_them() {
    let (simulator, _, _) = seeded(|_| {}).await;
    let user = simulator.handle().leaders()[0];
    let contract = "0xE111180000d2663C0091e4f400237545B87B996B";
    for (path, parameter) in [
        (format!("/v2/trades?user={user}&offset=0"), "offset"),
        (format!("/v2/trades?user={user}&limit=1001"), "limit"),
        (format!("/v2/trades?user={user}&limit=-1"), "limit"),
        (format!("/v2/trades?user={user}&cursor=zzz"), "cursor"),
        (format!("/v2/trades?user={user}&side=HOLD"), "side"),
        (format!("/v2/trades?user={user}&filter_type=EUR"), "filter_type"),
        ("/v2/trades?user=0x12".to_owned(), "user"),
        (format!("/v2/trades?user={contract}"), "user"),
        ("/v2/positions".to_owned(), "user"),
        ("/v2/activity".to_owned(), "user"),
        (format!("/v2/activity?user={user}&type=PARTY"), "type"),
        (format!("/v2/positions?user={user}&status=GONE"), "status"),
        ("/v2/resolutions".to_owned(), "condition"),
    ] {
        let answer = client().get(format!("{}{path}", simulator.base_url)).send().await.unwrap();
        let trace = answer.headers().get("x-trace-id").unwrap().to_str().unwrap().to_owned();
        assert_eq!(answer.status().as_u16(), 400, "{path}");
        let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(body["parameter"], parameter, "{path}");
        assert_eq!((&body["code"], &body["retryable"]), (&"invalid_request".into(), &false.into()));
        assert_eq!(body["trace_id"], trace);
    }
    let missing = get(&simulator.base_url, "/v3/trades").await;
    assert_eq!(missing["code"], "not_found");
    let gone = client().get(format!("{}/trades", simulator.base_url)).send().await.unwrap();
    assert_eq!(gone.status().as_u16(), 410);
    simulator.handle().switch(|s| s.v1_gone = false);
    let old = get(&simulator.base_url, &format!("/trades?user={user}&limit=3&offset=2")).await;
    assert_eq!(old.as_array().unwrap().len(), 3);
    assert!(old[0]["proxyWallet"].is_string() && old[0]["size"].is_number());
}

#[tokio::test]
async fn float_noise_of_the_venue_is_served_digit_by_digit() {
    let stage = Stage::new(&[
        (0, "BUY", true, "11.988287999999999", "0.5399999846999992"),
        (1, "SELL", true, "3", "0.1"),
    ])
    .await;
    stage.advance(2);
    let url = format!("{}/v2/trades?user={LEADER}", stage.simulator.base_url);
    let text = client().get(url).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("\"size\":11.988287999999999,\"price\":0.5399999846999992,"), "{text}");
    assert!(text.contains("\"size\":3,\"price\":0.1,"), "{text}");
}

#[tokio::test]
async fn positions_follow_the_prints_and_page_by_page_hold_each_token_once() {
    let (simulator, clock, client) = seeded(|s| s.market_life = Duration::from_secs(2_400)).await;
    let user = simulator.handle().leaders()[0];
    // The sum of all rows and redemptions is the position.
    let activity = async |kinds: Vec<ActivityKind>| {
        let (mut rows, mut cursor) = (Vec::new(), None);
        loop {
            let query =
                ActivityQuery { user, kinds: kinds.clone(), limit: 500, cursor, start: None, end: None };
            let page = client.activity(&query, clock.now()).await.unwrap();
            cursor = page.pagination.next().map(str::to_owned);
            rows.extend(page.rows);
            if cursor.is_none() {
                return rows;
            }
        }
    };
    // All rows at once, oldest first: what a row does depends on what came before it.
    let mut all = activity(vec![]).await;
    all.reverse();
    let of = |kind: ActivityKind| all.iter().filter(|r| r.kind == kind).count();
    for kind in [ActivityKind::Trade, ActivityKind::Redeem, ActivityKind::Split, ActivityKind::Merge] {
        assert!(of(kind.clone()) > 0, "no {kind}");
        assert_eq!(of(kind.clone()), activity(vec![kind]).await.len());
    }
    let mut tokens: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for condition in all.iter().map(|r| r.condition_id.clone()).collect::<BTreeSet<_>>() {
        let market = client.clob_market(condition.parse().unwrap()).await.unwrap().unwrap();
        tokens.insert(condition, market.tokens.iter().map(|t| t.token.to_string()).collect());
    }
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for row in &all {
        let both = &tokens[&row.condition_id];
        let mut move_by = |tokens: &[String], by: i64| {
            for token in tokens {
                *expected.entry(token.clone()).or_default() += by;
            }
        };
        match (&row.kind, row.side) {
            (ActivityKind::Trade, side) => {
                let sign = if side == Some(schemas::Side::Buy) { 1 } else { -1 };
                move_by(&[row.token_id.clone().unwrap().to_string()], sign * row.size.micro());
            }
            (ActivityKind::Split, None) => move_by(both, row.size.micro()),
            (ActivityKind::Merge, None) => move_by(both, -row.size.micro()),
            (ActivityKind::Redeem, None) => expected.retain(|token, _| !both.contains(token)),
            other => panic!("{other:?}"),
        }
        assert!(expected.values().all(|n| *n >= 0), "{row:?}");
    }
    expected.retain(|_, n| *n > 0);

    for limit in [1, 3, 100] {
        let (mut shown, mut cursor) = (BTreeMap::new(), None);
        for status in [None, Some(PositionStatus::RedeemableLost), Some(PositionStatus::Redeemable)] {
            loop {
                let query = PositionsQuery { user, status: status.clone(), condition: None, limit, cursor };
                let page = client.positions(&query, clock.now()).await.unwrap();
                assert!(page.unreadable.is_empty(), "{:?}", page.unreadable);
                for row in &page.rows {
                    let again = shown.insert(row.token_id.to_string(), row.current_size.micro());
                    assert_eq!(again, None, "each token once");
                }
                cursor = page.pagination.next().map(str::to_owned);
                if cursor.is_none() {
                    break;
                }
            }
        }
        assert_eq!(shown, expected, "limit {limit}");
    }
}

#[tokio::test]
async fn market_facts_agree_on_every_route_and_a_market_that_ends_is_resolved() {
    let (simulator, clock, client) = seeded(|s| s.market_life = Duration::from_secs(2_400)).await;
    let page = get(&simulator.base_url, "/markets/keyset?limit=100").await;
    let open: Vec<_> = page["markets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["conditionId"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(open.len(), 40, "as many markets as asked for are open");
    let rows = client.markets(&open).await.unwrap();
    assert_eq!((rows.rows.len(), rows.unreadable.len()), (40, 0));
    for row in &rows.rows {
        let condition = row.condition().unwrap();
        let clob = client.clob_market(condition).await.unwrap().unwrap();
        let facts = venue::facts::market_facts(row, Some(&clob));
        assert!(facts.is_ok(), "{facts:?}");
        assert_eq!(
            clob.tokens.iter().map(|t| &t.token).collect::<Vec<_>>(),
            row.traded_ids().iter().collect::<Vec<_>>()
        );
        assert_eq!(
            (clob.tick, clob.neg_risk, clob.min_order_size),
            (row.order_price_min_tick_size, row.neg_risk, row.order_min_size)
        );
        let book = client.book(&row.traded_ids()[0]).await.unwrap().unwrap();
        let other = client.book(&row.traded_ids()[1]).await.unwrap().unwrap();
        let (bid, ask) = (book.best_bid().unwrap().price, book.best_ask().unwrap().price);
        assert!(bid < ask);
        assert_eq!(other.best_ask().unwrap().price, bid.complement(), "two sides of one market");
        assert_eq!(other.best_bid().unwrap().price, ask.complement());
        let ids = row.traded_ids();
        let mut both = client.books(&[ids[1].clone(), "7".parse().unwrap(), ids[0].clone()]).await.unwrap();
        both.sort_by_key(|b| b.asset_id != ids[0]);
        assert_eq!(both, [book.clone(), other.clone()], "the books there are");
        assert_eq!(book.bids.last().unwrap().price, bid, "the best level is the last");
        assert_eq!(book.asks.last().unwrap().price, ask);
    }
    // Pages of open markets hold each once.
    let mut seen = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let page = get(&simulator.base_url, &format!("/markets/keyset?limit=7{cursor}")).await;
        for market in page["markets"].as_array().unwrap() {
            assert!(seen.insert(market["conditionId"].to_string()));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&after_cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 40);

    clock.advance(Duration::from_secs(2_401));
    for condition in open {
        let resolution = client.resolution(condition, clock.now()).await.unwrap().unwrap();
        assert_eq!(resolution.payouts.iter().sum::<i64>(), 1_000_000);
        assert_eq!(client.clob_market(condition).await.unwrap().unwrap().accepting_orders, Some(false));
    }
}

#[tokio::test]
async fn a_cached_answer_is_stale_until_the_address_varies() {
    let (simulator, clock, _) = seeded(|_| {}).await;
    simulator.handle().switch(|s| s.cache_seconds = 300);
    let user = simulator.handle().leaders()[0];
    let newest = async |more: &str| {
        get(&simulator.base_url, &format!("/v2/trades?user={user}&taker_only=false&limit=1{more}")).await["data"][0].clone()
    };
    let first = newest("").await;
    clock.advance(Duration::from_secs(120));
    assert_eq!(newest("").await, first);
    assert_ne!(newest("&_=1").await, first);
    clock.advance(Duration::from_secs(181));
    assert_ne!(newest("").await, first);

    simulator.handle().switch(|s| {
        s.cache_seconds = 0;
        s.trades_per_10s = 2;
    });
    let status = async || {
        let url = format!("{}/v2/trades?user={user}", simulator.base_url);
        client().get(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!((status().await, status().await, status().await), (200, 200, 429));
    clock.advance(Duration::from_secs(11));
    assert_eq!(status().await, 200);
}
