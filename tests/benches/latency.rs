//! From *ingest saw the fill* to *the venue received the order*: a real log, a real Postgres, orders over HTTP to the
//! simulator, which runs as a process of its own. On the SQLite log all stages are one process (`polymirror up`), on Kafka
//! each is its own.
//!
//! `cargo bench -p system-tests --bench latency -- [sqlite|kafka] [RATE …]` prints a table for BENCHMARKS.md. Each tenant
//! follows one leader, so that no tenant meets the 500 orders an hour that the code allows.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a measurement"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::Duration,
};

use schemas::Timestamp;
use sqlx::{PgPool, Row};
use system_tests::install::{Install, LogKind};

const BINARY: &str = env!("CARGO_BIN_EXE_polymirror-under-test");
/// Orders of the first half minute are not counted: connections are made, pages are faulted in, and the approvals of every
/// wallet are looked for once, before its first order; those of a hundred take some 20 s, as often as the venue lets us ask.
const WARM_UP: Duration = Duration::from_secs(30);
const MEASURED: Duration = Duration::from_secs(45);

/// The simulator as a process; killed when dropped.
struct Venue {
    child: Child,
    url: String,
    leaders: Vec<String>,
}

impl Venue {
    fn start(install: &Install, rate: u32, leaders: usize) -> Self {
        let (rate, leaders_arg) = (rate.to_string(), leaders.to_string());
        let args = ["simulate", "--fills-per-second", &rate, "--leaders", &leaders_arg, "--even"];
        let args = [&args[..], &["--changes-per-thousand", "0"]].concat();
        let mut child = install.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        let url = first.strip_prefix("simulator listening on ").unwrap().to_owned();
        let leaders = lines.take(leaders).map(|l| l.strip_prefix("leader ").unwrap().to_owned()).collect();
        Self { child, url, leaders }
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() {
    // `cargo bench` passes `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let logs: Vec<&str> = ["sqlite", "kafka"].into_iter().filter(|l| words.iter().any(|w| w == l)).collect();
    let logs = if logs.is_empty() { vec!["sqlite", "kafka"] } else { logs };
    let rates: Vec<u32> = words.iter().filter_map(|w| w.parse().ok()).collect();
    let rates = if rates.is_empty() { vec![10, 100, 1_000] } else { rates };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!(
        "| log | fills/s | orders | step | p50 ms | p99 ms | max ms |\n|---|---:|---:|---|---:|---:|---:|"
    );
    for log in logs {
        for rate in &rates {
            runtime.block_on(measure(log, *rate));
        }
    }
}

async fn measure(log: &str, rate: u32) {
    let kind = if log == "kafka" {
        let Some(brokers) = testkit::kafka_or_skip("latency on Kafka").await else { return };
        LogKind::kafka(brokers)
    } else {
        LogKind::Sqlite
    };
    let mut install = Install::new(BINARY, kind).await;
    // At most some 300 fills per leader and minute; polls of all together stay at 500 a second, as a poll says
    // nothing about what comes after it.
    let leaders = usize::try_from(rate).unwrap().clamp(4, 200);
    let poll = leaders * 2;
    install.configure(&format!("[ingest]\npoll_ms = {poll}\nrequests_per_second = 100000\n"));
    // The same seed gives the same leaders: everybody follows them before they begin.
    let followed = Venue::start(&install, rate, leaders).leaders.clone();
    follow(&install, &followed);
    let venue = Venue::start(&install, rate, leaders);
    assert_eq!(venue.leaders, followed, "another run has other leaders");
    install.venue(&venue.url);
    // The log in a file serves one process, as `make run` has it; Kafka serves a process for each stage.
    let stages = if log == "kafka" { install.stages() } else { vec![install.up()] };
    let admin = install.admin().await;
    let begin = now(&admin).await.plus(WARM_UP);
    tokio::time::sleep(WARM_UP / 2).await;
    // Statements are planned anew once there is something to count, as the server itself does within its first minutes.
    sqlx::query("analyze").execute(&admin).await.unwrap();
    tokio::time::sleep(WARM_UP / 2 + MEASURED).await;
    let end = now(&admin).await;
    let steps = steps(&admin, &venue.url, begin, end).await;
    let orders = steps.values().map(Vec::len).max().unwrap_or(0);
    if orders == 0 {
        let arrived = received(&venue.url).len();
        assert!(arrived > 0, "no order reached the venue: nothing was measured");
        let a_second = arrived as u64 / (WARM_UP + MEASURED).as_secs();
        println!("| {log} | {rate} | 0 | more than it can: {a_second} orders a second arrived | – | – | – |");
    }
    for (name, mut micros) in steps {
        micros.sort_unstable();
        let at = |permille: usize| micros[(micros.len() - 1) * permille / 1_000];
        let ms = |micros: i64| format!("{}.{}", micros / 1_000, micros.rem_euclid(1_000) / 100);
        println!(
            "| {log} | {rate} | {orders} | {} | {} | {} | {} |",
            name.1,
            ms(at(500)),
            ms(at(990)),
            ms(at(1_000))
        );
    }
    for stage in stages {
        stage.stop();
    }
}

/// A tenant for each leader.
fn follow(install: &Install, leaders: &[String]) {
    for (index, leader) in leaders.iter().enumerate() {
        let tenant = format!("t{index}");
        install.ok(&["tenant", "create", &tenant]);
        install.ok(&[
            "grant",
            "set",
            "--tenant",
            &tenant,
            "--per-order",
            "500",
            "--daily",
            "5000",
            "--hourly-orders",
            "500",
        ]);
        install.ok(&[
            "target",
            "add",
            "--tenant",
            &tenant,
            leader,
            "--set",
            "sizing=min_bet",
            "--set",
            "vwap_tolerance=off",
            "--set",
            "min_target_side_fraction=0",
            "--set",
            "max_usdc_per_token=5000",
            "--set",
            "max_open_orders=100",
            "--set",
            "max_fee_fraction=1",
        ]);
    }
}

async fn now(admin: &PgPool) -> Timestamp {
    let micros: i64 = sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
        .fetch_one(admin)
        .await
        .unwrap();
    Timestamp::from_micros(micros)
}

/// Microseconds of each order, per step, for BUYs whose fill was seen in that time. A close waits of its own accord: until
/// it is worth an order, and half a minute before each further attempt.
async fn steps(
    admin: &PgPool,
    venue: &str,
    begin: Timestamp,
    end: Timestamp,
) -> BTreeMap<(u8, &'static str), Vec<i64>> {
    let received = received(venue);
    let rows = sqlx::query(
        "select o.order_id, (o.origin->>'observed_at')::bigint, (extract(epoch from d.decided_at) * 1000000)::bigint,
                o.created_at, o.sent_at
         from execution.orders o join poly_copy_trade_decisions d using (billing_account_id, idempotency_key)
         where o.order_id is not null and o.sent_at is not null and o.side = 'BUY'
           and (o.origin->>'observed_at')::bigint between $1 and $2",
    )
    .bind(begin.micros())
    .bind(end.micros())
    .fetch_all(admin)
    .await
    .unwrap();
    let mut out: BTreeMap<(u8, &'static str), Vec<i64>> = BTreeMap::new();
    for row in rows {
        let [observed, decided, created, sent] = [1, 2, 3, 4].map(|i| row.get::<i64, _>(i));
        let Some(received) = received.get(row.get::<&str, _>(0)) else { continue };
        let mut add = |order, name, micros| out.entry((order, name)).or_default().push(micros);
        add(0, "seen to decide's cut", decided - observed);
        add(1, "cut to the gate", created - decided);
        add(2, "gate to the request", sent - created);
        add(3, "request to the venue", received - sent);
        add(4, "intent to the request", sent - decided);
        add(5, "**seen to the venue**", received - observed);
    }
    out
}

/// When the venue had read each order's body.
fn received(venue: &str) -> BTreeMap<String, i64> {
    let out =
        std::process::Command::new("curl").args(["-s", &format!("{venue}/sim/orders")]).output().unwrap();
    let orders: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let rows = orders.as_array().or_else(|| orders["orders"].as_array()).unwrap();
    rows.iter().map(|o| (o["id"].as_str().unwrap().to_owned(), o["received_at"].as_i64().unwrap())).collect()
}
