//! Thousands of orders under the error frequencies of a recording: the answers come as often as recorded, and the
//! venue's own ledger agrees with every one of them.
//!
//! Reads `../shared/data/order-outcomes`, which does not come with the repository, and says so where it is missing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::*;
use runtime::{Clock as _, VirtualClock};
use schemas::{Side, SignatureType};
use simulator::{
    Simulator,
    outcomes::{Met, Outcomes},
};
use venue::{
    order::TradingWallet,
    outcome::{OrderLookup, SubmitOutcome},
    port::Exchange as _,
};

const ORDERS: usize = 3_000;

/// Drives a future while time passes whenever it waits.
async fn in_time<T>(clock: &VirtualClock, work: impl Future<Output = T>) -> T {
    let ticking = async {
        loop {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            clock.advance(std::time::Duration::from_millis(500));
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        () = ticking => unreachable!(),
    }
}

#[tokio::test]
async fn orders_under_recorded_error_frequencies_end_in_the_state_the_venue_holds() {
    const TEST: &str = "orders_under_recorded_error_frequencies_end_in_the_state_the_venue_holds";
    let Some(data) = testkit::shared_dir(TEST, "data") else { return };
    let recorded = Outcomes::load(&data.join("order-outcomes/bot_orders.csv.gz")).unwrap();
    assert_eq!(recorded.orders, 3_123);
    let of = |status, words: &str| {
        let is = |met: &&Met| matches!(met, Met::Words(s, w) if *s == status && w.contains(words));
        recorded.met.iter().filter(|(met, _)| is(met)).map(|(_, n)| *n).sum::<u32>()
    };
    assert_eq!((of(400, "not enough balance / allowance"), of(500, "could not insert order")), (376, 5));
    assert_eq!(recorded.met.get(&Met::Timeout), Some(&1));

    // The rare errors come so rarely that they are made ten times as frequent, each by itself.
    let mut weather = recorded.weather(42);
    for spell in &mut weather.spells {
        if spell.weight < 40 {
            spell.weight *= 10;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let clock = VirtualClock::at(START);
    let handle = Simulator::builder()
        .options(options(dir.path(), &QUIET, &gamma_row("0.01", false, "0.05")))
        .clock(Arc::new(clock.clone()))
        .build()
        .unwrap();
    handle.weather(weather.clone());
    let local = handle.local();
    let key = signer(1);
    let creds = handle.api_key(key.address(), 0).await.unwrap();
    let wallet = TradingWallet::new(SignatureType::Eoa, key.address(), key.address(), creds.key()).unwrap();
    let mut trader = Trader {
        signer: key,
        creds,
        wallet,
        route: venue::signing::Route::Normal,
        tick: schemas::Tick::CENT,
        salt: 0,
    };

    let (mut answers, mut accepted, mut refused, mut unclear) =
        (BTreeMap::<String, u32>::new(), BTreeSet::new(), BTreeSet::new(), Vec::new());
    for _ in 0..ORDERS {
        // A cent each, so that the wallet can pay for all of them.
        let terms = venue::order::Terms::Limit {
            side: Side::Buy,
            price: p("0.01"),
            shares: s("5"),
            expires: None,
            post_only: false,
        };
        let order = trader.order(true, terms);
        let post = local.post_order(&order.body, order.id, &trader.creds, clock.now());
        match in_time(&clock, post).await {
            SubmitOutcome::Accepted(_) => {
                accepted.insert(order.id);
            }
            SubmitOutcome::Rejected { message, .. } => {
                *answers.entry(message).or_default() += 1;
                refused.insert(order.id);
            }
            SubmitOutcome::Unknown { why } => {
                *answers.entry(why).or_default() += 1;
                unclear.push(order);
            }
            other => panic!("{other:?}"),
        }
    }

    // The ledger agrees with what was said: taken or not, as told, and of the rest about half.
    let ledger: BTreeSet<_> = handle.orders().into_iter().map(|o| o.id).collect();
    assert!(accepted.is_subset(&ledger), "what was accepted is there");
    assert!(refused.is_disjoint(&ledger), "what was refused is not");
    let landed = unclear.iter().filter(|o| ledger.contains(&o.id)).count();
    assert_eq!(ledger.len(), accepted.len() + landed);
    let tally = handle.stats().tally;
    assert_eq!(tally.posts, ORDERS as u64);
    assert_eq!(tally.accepted, ledger.len() as u64);

    // As often as recorded: within four standard deviations of each kind's share.
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for spell in &weather.spells {
        let words = match &spell.fault.answer {
            simulator::Answer::Status { error, .. } => error.clone(),
            _ => "cut".to_owned(),
        };
        *expected.entry(words).or_default() += u64::from(spell.weight);
    }
    for (words, weight) in expected {
        let met: u64 =
            answers.iter().filter(|(said, _)| said.contains(&words)).map(|(_, n)| u64::from(*n)).sum();
        let mean = weight * ORDERS as u64 / u64::from(weather.of);
        // A binomial's variance is below its mean; squares, so that nothing is a fraction.
        let off = met.abs_diff(mean);
        assert!(off * off <= 16 * mean.max(1), "{words}: {met}, and {mean} were expected");
    }

    // Whoever asks by id, and posts the same bytes again where nothing is found, ends where the venue is.
    let resolved = unclear.len();
    assert!(landed > 0 && landed < resolved, "{landed} of {resolved}");
    for order in unclear {
        let known = ledger.contains(&order.id);
        let look = local.order(order.id, &trader.creds, clock.now()).await;
        assert_eq!(matches!(look, OrderLookup::Found(_)), known, "{look:?}");
        for _ in 0..20 {
            let post = local.post_order(&order.body, order.id, &trader.creds, clock.now());
            match in_time(&clock, post).await {
                SubmitOutcome::Accepted(_) | SubmitOutcome::AlreadyLanded => break,
                // Any other answer to a repeat proves nothing.
                _ => {}
            }
        }
        let look = local.order(order.id, &trader.creds, clock.now()).await;
        assert!(matches!(look, OrderLookup::Found(_)), "{look:?}");
    }
    let after = handle.orders();
    assert_eq!(after.len(), accepted.len() + resolved, "each is there once");
}
