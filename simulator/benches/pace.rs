//! How fast the simulator answers, so that nobody takes its time for the product's.
//!
//! `cargo bench -p simulator` prints p50 and p99 of `POST /order` and of polls of `/v2/trades` over loopback
//! while leaders make 1,000 fills a second, and the rate at which a seeded past is made again.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement prints and may fail"
)]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use std::time::{Duration, Instant};

use runtime::{Clock as _, SystemClock};
use schemas::{SignatureType, Tick, Timestamp};
use simulator::{Options, Prints, Seeding, Simulator, print::Source as _, seeded::Leaders};
use venue::{
    http::{Clob, Endpoints, HttpSettings, PublicData},
    order::{OrderRequest, Terms, TradingWallet, build},
    outcome::SubmitOutcome,
    port::{Exchange as _, MarketData as _, TradesQuery},
    signing::{ExchangeTable, LocalSigner, Route},
};

fn tell(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |permille: usize| took[(took.len() - 1) * permille / 1_000];
    println!("{what:<44} p50 {:>9.1?}  p99 {:>9.1?}  of {}", at(500), at(990), took.len());
}

async fn orders(state: Option<std::path::PathBuf>, what: &str) {
    let mut options = Options::at_rate(1, 100);
    options.state = state;
    options.rules.opening_balance = schemas::Usdc::from_units(100_000_000);
    let simulator = Simulator::builder().options(options).start().await.unwrap();
    let clob = Clob::new(&simulator.base_url, HttpSettings::default()).unwrap();
    let key = LocalSigner::from_hex(&schemas::keccak256(&[b"bench"]).to_string()).unwrap();
    let clock = SystemClock::default();
    let creds = clob.api_key(&key, clock.now(), 0, 137).await.unwrap();
    let wallet = TradingWallet::new(SignatureType::Eoa, key.address(), key.address(), creds.key()).unwrap();
    let client = PublicData::new(&Endpoints::all_at(&simulator.base_url), HttpSettings::default()).unwrap();
    let leader = simulator.handle().leaders()[0];
    let mut took = Vec::new();
    for salt in 1..=3_000u64 {
        if salt % 200 == 1 {
            // Let the leaders trade on.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let query = TradesQuery { user: leader, limit: 1, cursor: None, start: None, end: None };
        let rows = client.trades(&query, clock.now()).await.unwrap().rows;
        let Some(row) = rows.first() else { continue };
        let market = client.clob_market(row.condition().unwrap()).await.unwrap().unwrap();
        let tick = Tick::from_micro(market.tick.unwrap().micro()).unwrap();
        let book = client.book(&row.token_id).await.unwrap().unwrap();
        let Some(ask) = book.best_ask() else { continue };
        let request = OrderRequest {
            route: if market.neg_risk == Some(true) { Route::NegRisk } else { Route::Normal },
            asset: row.token_id.clone(),
            tick,
            terms: Terms::MarketBuy {
                limit: ask.price,
                usdc: schemas::Usdc::from_units(2),
                all_or_nothing: false,
            },
            salt,
            timestamp: Timestamp::from_secs(1_790_000_000),
        };
        let order = build(&request, &wallet, &ExchangeTable::default(), &key).unwrap();
        let begin = Instant::now();
        let outcome = clob.post_order(&order.body, order.id, &creds, clock.now()).await;
        took.push(begin.elapsed());
        assert!(
            matches!(outcome, SubmitOutcome::Accepted(_) | SubmitOutcome::Rejected { .. }),
            "{outcome:?}"
        );
    }
    tell(what, took);
    simulator.stop().await;
}

async fn polls() {
    let options = Options { history: Duration::from_secs(60), ..Options::at_rate(1, 1_000) };
    let simulator = Simulator::builder().options(options).start().await.unwrap();
    let client = PublicData::new(&Endpoints::all_at(&simulator.base_url), HttpSettings::default()).unwrap();
    let clock = SystemClock::default();
    let leaders = simulator.handle().leaders();
    for limit in [100, 1_000] {
        let mut took = Vec::new();
        for n in 0..1_000 {
            let user = leaders[n % leaders.len()];
            let query = TradesQuery { user, limit, cursor: None, start: None, end: None };
            let begin = Instant::now();
            let rows = client.trades(&query, clock.now()).await.unwrap().rows;
            took.push(begin.elapsed());
            assert_eq!(rows.len(), limit as usize);
        }
        tell(&format!("GET /v2/trades, {limit} rows, at 1,000 fills/s"), took);
    }
    simulator.stop().await;
}

fn past() {
    let mut leaders = Leaders::new(Seeding::default(), Timestamp::from_secs(1_790_000_000));
    let begin = Instant::now();
    let n = 1_000_000u32;
    for _ in 0..n {
        leaders.take().unwrap();
    }
    println!("{:<44} {:>9.1?} a happening", "a seeded past made again", begin.elapsed() / n);

    let seeding = Seeding { mean_gap: Duration::from_secs(1), ..Seeding::default() };
    let options = Options {
        prints: Prints::Seeded(seeding),
        history: Duration::from_secs(86_400 * 7),
        ..Options::default()
    };
    let begin = Instant::now();
    let handle = Simulator::builder().options(options).build().unwrap();
    println!(
        "{:<44} {:>9.1?} for {} rows",
        "a week at one fill a second",
        begin.elapsed(),
        handle.stats().rows
    );
}

#[tokio::main]
async fn main() {
    orders(None, "POST /order").await;
    let dir = tempfile::tempdir().unwrap();
    orders(Some(dir.path().join("state.jsonl")), "POST /order, synced to a state file").await;
    polls().await;
    past();
}
