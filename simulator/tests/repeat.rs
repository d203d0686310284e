//! A venue behind its ports, in one thread, under virtual time and bad weather: the same seed gives the same
//! run, to the last answer and the last event.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::{sync::Arc, time::Duration};

use common::*;
use runtime::{Clock as _, VirtualClock};
use schemas::{OrderId, Side, SignatureType};
use simulator::{
    Answer, Fate, Fault, Handle, Mishap, OrderView, Prints, Seeding, Simulator, Spell, StreamFrames,
    StreamWeather, Switches, Tier, TradeView, Weather,
};
use venue::{
    order::{OrderRequest, SignedBody, TradingWallet, build},
    port::{Exchange as _, MarketData as _, OwnTradesQuery, UserChannel as _},
    signing::{ApiCreds, ExchangeTable, LocalSigner, Route},
};

/// Every fault there is, of an order's post.
fn weather(seed: u64) -> Weather {
    let spell = |weight, fault| Spell { weight, fault };
    Weather {
        seed,
        of: 1_000,
        spells: vec![
            spell(60, Fault { delay_millis: 10_000, ..Fault::accepted_then_dropped() }),
            spell(40, Fault::dropped()),
            spell(60, Fault::accepted_then_500()),
            spell(40, Fault::refused_500()),
            spell(40, Fault::accepted_then_canceled()),
            spell(40, Fault::canceled()),
            spell(30, Fault::restarting()),
            spell(30, Fault::rate_limited(Some(1))),
            spell(30, Fault::rate_limited(None)),
            spell(30, Fault::unavailable(Some(2))),
            spell(60, Fault { answer: Answer::Drop, ..Fault::lands_late(120_000) }),
            spell(60, Fault::lands_late(30_000)),
            spell(60, Fault::slow(2_500)),
            spell(60, Fault::trades(Fate::Fails)),
            spell(60, Fault::trades(Fate::Retries)),
            spell(60, Fault::trades(Fate::Moves)),
            spell(100, Fault::slow(700).on("GET", "/data/order/*")),
            spell(50, Fault::refused_500().on("GET", "/data/*")),
            spell(50, Fault::refused_500().on("GET", "/ws/user")),
            spell(100, Fault::accepted_then_500().on("DELETE", "/order")),
        ],
    }
}

fn mishaps(seed: u64) -> StreamWeather {
    StreamWeather {
        seed,
        per_million: vec![
            (30_000, Mishap::Cut),
            (20_000, Mishap::Close),
            (10_000, Mishap::Silent(45_000)),
            (40_000, Mishap::Lose),
            (80_000, Mishap::Duplicate),
            (80_000, Mishap::Swap),
            (80_000, Mishap::Late(3_000)),
        ],
    }
}

/// What came of a run.
#[derive(Debug, PartialEq)]
struct Run {
    answers: Vec<String>,
    events: Vec<String>,
    orders: Vec<OrderView>,
    trades: Vec<TradeView>,
    ended: i64,
}

fn venue(seed: u64, clock: &VirtualClock) -> Handle {
    let seeding =
        Seeding { seed, mean_gap: Duration::from_millis(500), v2_permille: 300, ..Seeding::default() };
    let options = simulator::Options {
        prints: Prints::Seeded(seeding),
        switches: Switches {
            stream_frames: StreamFrames::Mixed,
            hold_millis: if seed.is_multiple_of(2) { 0 } else { 1_500 },
            tier: Tier::Standard,
            ..Switches::documented()
        },
        weather: weather(seed),
        stream_weather: mishaps(seed),
        ..simulator::Options::default()
    };
    Simulator::builder().options(options).clock(Arc::new(clock.clone())).build().unwrap()
}

struct Player {
    key: LocalSigner,
    creds: ApiCreds,
    wallet: TradingWallet,
}

impl Player {
    async fn new(handle: &Handle) -> Self {
        let key = signer(3);
        let creds = handle.api_key(key.address(), 0).await.unwrap();
        let wallet =
            TradingWallet::new(SignatureType::Eoa, key.address(), key.address(), creds.key()).unwrap();
        Self { key, creds, wallet }
    }

    /// The n-th order: by turns at the ask, far below it, and for dollars at once.
    async fn order(
        &self,
        local: &simulator::Local,
        assets: &[schemas::AssetId],
        n: u64,
        at: schemas::Timestamp,
    ) -> Option<SignedBody> {
        let asset = &assets[usize::try_from(n).unwrap() % assets.len()];
        let book = local.book(asset).await.ok()??;
        let ask = book.best_ask()?.price;
        let tick = schemas::Tick::from_micro(book.tick_size?.micro()).ok()?;
        let terms = match n % 3 {
            0 => limit(Side::Buy, &ask.to_string(), "10"),
            1 => limit(Side::Buy, &tick.lowest().to_string(), "10"),
            _ => market_buy(&ask.to_string(), "5", false),
        };
        let route = match (book.version.as_deref(), book.neg_risk?) {
            (Some("v2"), _) => Route::V3,
            (_, true) => Route::NegRisk,
            (_, false) => Route::Normal,
        };
        let request = OrderRequest { route, asset: asset.clone(), tick, terms, salt: n + 1, timestamp: at };
        build(&request, &self.wallet, &ExchangeTable::default(), &self.key).ok()
    }
}

/// Trades for some minutes, retrying what is unknown, and writes everything down.
async fn play(seed: u64) -> Run {
    let clock = VirtualClock::at(START);
    let handle = venue(seed, &clock);
    let local = handle.local();
    let player = Player::new(&handle).await;
    let mut assets = Vec::new();
    for leader in handle.leaders() {
        let query =
            venue::port::TradesQuery { user: leader, limit: 20, cursor: None, start: None, end: None };
        if let Ok(rows) = local.trades(&query, clock.now()).await {
            assets.extend(rows.rows.into_iter().map(|row| row.token_id));
        }
    }
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut stream = local.open(&player.creds);
    let heard = events.clone();
    let listening = tokio::spawn(async move {
        loop {
            let event = stream.next().await;
            heard.lock().unwrap().push(format!("{event:?}"));
        }
    });
    let ticking = {
        let clock = clock.clone();
        async move {
            // Time moves whenever nobody has anything else to do.
            loop {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                clock.advance(Duration::from_millis(50));
            }
        }
    };
    let mut answers = Vec::new();
    let playing = async {
        let mut open: Vec<OrderId> = Vec::new();
        for n in 0..100u64 {
            let now = clock.now();
            if let Some(order) = player.order(&local, &assets, n, now).await {
                for _ in 0..2 {
                    let outcome = local.post_order(&order.body, order.id, &player.creds, clock.now()).await;
                    answers.push(format!("{n} {outcome:?}"));
                    let look = local.order(order.id, &player.creds, clock.now()).await;
                    answers.push(format!("{n} {look:?}"));
                }
                open.push(order.id);
            }
            if n % 7 == 6 {
                let cancel = local.cancel(open[open.len() / 2], &player.creds, clock.now()).await;
                answers.push(format!("{n} {cancel:?}"));
                let trades = local.own_trades(&OwnTradesQuery::default(), &player.creds, clock.now()).await;
                answers.push(format!("{n} {:?}", trades.map(|t| t.count)));
            }
            clock.sleep(Duration::from_millis(300)).await;
        }
        // What is late lands, what is matched settles.
        clock.sleep(Duration::from_secs(200)).await;
    };
    tokio::select! {
        biased;
        () = playing => {}
        () = ticking => {}
    }
    listening.abort();
    let events = events.lock().unwrap().clone();
    Run { answers, events, orders: handle.orders(), trades: handle.trades(), ended: clock.now().micros() }
}

#[tokio::test]
async fn a_run_repeats_from_its_seed() {
    for seed in [1, 2] {
        let (first, again) = (play(seed).await, play(seed).await);
        assert_eq!(first.answers, again.answers);
        assert_eq!(first.events, again.events);
        assert_eq!(first, again);
        assert!(first.orders.len() > 50 && first.trades.len() > 20, "{} orders", first.orders.len());
        let words = |w: &str| first.answers.iter().chain(&first.events).filter(|a| a.contains(w)).count();
        for word in ["Accepted", "AlreadyLanded", "Unknown", "RetryLater", "NotFound", "Connected", "Gap"] {
            assert!(words(word) > 0, "{word} is met under seed {seed}");
        }
    }
    let (one, two) = (play(1).await, play(3).await);
    assert_ne!(one.answers, two.answers, "and another seed is another run");
}

#[tokio::test]
async fn whatever_happens_no_order_is_there_twice_and_every_dollar_is_somewhere() {
    for seed in [4, 5] {
        let run = play(seed).await;
        let ids: std::collections::BTreeSet<_> = run.orders.iter().map(|o| o.id).collect();
        assert_eq!(ids.len(), run.orders.len());
        for order in &run.orders {
            let trades: Vec<_> = run.trades.iter().filter(|t| t.order == order.id).collect();
            let size: i64 = trades.iter().map(|t| t.size.micro()).sum();
            let dollars: i64 = trades.iter().map(|t| t.dollars.micro()).sum();
            assert_eq!((order.matched.micro(), order.dollars.micro()), (size, dollars), "{}", order.id);
        }
        // What an answer called accepted is there; what was not found in the end is not.
        for answer in run.answers.iter().filter(|a| a.contains("Accepted")) {
            assert!(ids.iter().any(|id| answer.contains(&id.to_string()[2..])), "{answer}");
        }
    }
}
