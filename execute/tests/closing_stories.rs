//! Closes in whatever order things happen (behaviour.md 4, invariant 1): by property.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use common::scene::{Scene, cancel_of, void_of};
use execute::core::{
    Attempt,
    close::{
        Due,
        plan::{Bid, Market},
    },
};
use proptest::prelude::*;
use schemas::{OrderStatus, Shares, Side};

#[derive(Debug, Clone)]
enum Happens {
    Close { num: i64, den: i64, revision: i32 },
    Void,
    Drop(usize),
    Buy,
    BuyFills(usize, i64),
    BuyEnds(usize, i64),
    SellFills(i64, bool),
    Fails(usize, i64),
    Pass(u64),
    Turn { bid: i64, ended: bool },
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0i64..12, 0i64..10, 0i32..3)
            .prop_map(|(num, den, revision)| Happens::Close { num, den, revision }),
        1 => Just(Happens::Void),
        1 => (0usize..20).prop_map(Happens::Drop),
        3 => Just(Happens::Buy),
        2 => (0usize..8, 1i64..10_000_000).prop_map(|(b, f)| Happens::BuyFills(b, f)),
        3 => (0usize..8, 0i64..10_000_000).prop_map(|(b, f)| Happens::BuyEnds(b, f)),
        6 => (0i64..20_000_000, any::<bool>()).prop_map(|(f, ends)| Happens::SellFills(f, ends)),
        1 => (0usize..8, 0i64..5_000_000).prop_map(|(s, f)| Happens::Fails(s, f)),
        3 => (1u64..200).prop_map(Happens::Pass),
        5 => (0i64..99, prop::bool::weighted(0.02)).prop_map(|(bid, ended)| Happens::Turn { bid, ended }),
    ]
}

/// What holds after anything.
fn check(scene: &Scene) {
    let Some(close) = scene.snapshot.closes.get(&scene.position()) else { return };
    let all: Vec<&Attempt> = scene.snapshot.named.values().collect();
    let sells = || all.iter().filter(|a| a.side == Side::Sell);
    assert!(sells().filter(|a| !a.is_final).count() <= 1, "one at a time");
    // Each attempt's fills are those of the dues, no more.
    for sell in sells() {
        let sold: Shares = close
            .dues
            .iter()
            .flat_map(|d| &d.sold)
            .filter(|s| s.key == sell.idempotency_key && s.attempt == sell.attempt)
            .map(|s| s.shares)
            .sum();
        assert_eq!(sold, sell.filled_shares, "{sell:#?}");
    }
    // No due is oversold, and all that is alive sells what is due.
    let open: Shares = close.open().map(Due::remaining).sum();
    let alive: Shares = sells().map(|a| a.unfilled()).sum();
    assert!(alive <= open, "{alive} are offered of {open}");
    for due in &close.dues {
        assert!(due.filled() <= due.shares, "{due:#?}");
    }
    // Each due that ended was told: by attempts of its own key, or by a row of its own.
    for due in close.dues.iter().filter(|d| d.ended.is_some()) {
        assert!(sells().any(|a| a.idempotency_key == due.idempotency_key), "{due:#?}");
    }
    // Numbers count up, without a gap.
    let mut keys: std::collections::BTreeMap<_, Vec<i32>> = std::collections::BTreeMap::new();
    for sell in sells() {
        keys.entry(sell.idempotency_key).or_default().push(sell.attempt);
    }
    for (_, attempts) in keys {
        assert_eq!(attempts, (0..i32::try_from(attempts.len()).unwrap()).collect::<Vec<_>>());
    }
}

fn play(scene: &mut Scene, what: &Happens, fill: u32) {
    let buys: Vec<Attempt> =
        scene.snapshot.named.values().filter(|a| a.side == Side::Buy && !a.is_final).cloned().collect();
    let micro = |n: i64| Shares::from_micro(n).to_string();
    match what {
        Happens::Close { num, den, revision } => {
            let mut close = scene.tenant.close(fill, *num, *den, "0.50");
            close.head.revision = *revision;
            scene.gate(close);
        }
        Happens::Void => {
            let of = scene.snapshot.named.values().rfind(|a| a.side == Side::Buy).cloned();
            if let Some(buy) = of {
                let mut head = scene.tenant.head(1, 1, 1, Side::Buy, 0);
                head.fill_id = buy.fill_id;
                scene.gate(void_of(&scene.tenant, &head));
            }
        }
        Happens::Drop(n) => {
            let dues = scene.snapshot.closes.get(&scene.position()).map_or(Vec::new(), |c| c.dues.clone());
            if let Some(due) = dues.get(*n) {
                scene.gate(cancel_of(&scene.tenant, &due.intent.head, "void"));
            }
        }
        Happens::Buy => {
            if buys.len() < 4 {
                scene.buy(fill, "10");
            }
        }
        Happens::BuyFills(n, more) | Happens::BuyEnds(n, more) => {
            let Some(buy) = buys.get(*n) else { return };
            let filled = (buy.filled_shares.micro() + more).min(buy.shares.micro());
            let status = match what {
                Happens::BuyEnds(..) => OrderStatus::Cancelled,
                _ => OrderStatus::PartiallyFilled,
            };
            scene.becomes(buy, status, &micro(filled));
        }
        Happens::SellFills(more, ends) => {
            let Some(alive) = scene.alive().first().map(|a| (*a).clone()) else { return };
            let filled = (alive.filled_shares.micro() + more).min(alive.shares.micro());
            let status = if *ends { OrderStatus::Cancelled } else { OrderStatus::PartiallyFilled };
            scene.becomes(&alive, status, &micro(filled));
        }
        Happens::Fails(n, less) => {
            let ended: Vec<Attempt> = scene
                .snapshot
                .named
                .values()
                .filter(|a| a.side == Side::Sell && a.is_final && a.filled_shares.is_positive())
                .cloned()
                .collect();
            if let Some(sell) = ended.get(*n) {
                let filled = (sell.filled_shares.micro() - less).max(0);
                scene.becomes(sell, sell.status, &micro(filled));
            }
        }
        Happens::Pass(time) => scene.pass(*time),
        Happens::Turn { bid, ended } => {
            let bid =
                if *bid == 0 { Bid::Nobody } else { Bid::Best(schemas::Price::from_micro(bid * 10_000)) };
            scene.turn_with(&Market { bid, ended: *ended, ..Market::default() });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Invariant 1: whatever happens in whatever order, the attempts never sell more than what is due, and what is due
    /// when it comes is never more than what is held.
    #[test]
    fn no_more_than_is_due_is_ever_sold(story in prop::collection::vec(happens(), 1..60)) {
        let mut scene = Scene::holding("20");
        for (n, what) in story.iter().enumerate() {
            let failed = matches!(what, Happens::Fails(..));
            play(&mut scene, what, 100 + u32::try_from(n).unwrap());
            check(&scene);
            let held = scene.snapshot.positions[&scene.position()].held;
            prop_assert!(held.micro() >= 0, "more was sold than was held");
            if let Some(close) = scene.snapshot.closes.get(&scene.position()).filter(|_| !failed) {
                let open: Shares = close.open().map(Due::remaining).sum();
                prop_assert!(open <= held, "{open} are due of {held} after {what:?}");
            }
        }
    }

    /// What is due in the end does not depend on when an order's fills became known between a close and the order's end.
    #[test]
    fn what_is_due_does_not_depend_on_when_fills_are_told(
        held in 0i64..50, parts in prop::collection::vec(1i64..5_000_000, 0..5), num in 5i64..10,
    ) {
        let due = |told: &[i64]| {
            let mut scene = Scene::holding(&held.to_string());
            let buy = scene.buy(2, "30");
            let intent = scene.tenant.close(9, num, 10, "0.50");
            scene.gate(intent.clone());
            for filled in told {
                let filled = Shares::from_micro(*filled).to_string();
                scene.becomes(&buy, OrderStatus::PartiallyFilled, &filled);
                scene.turn();
            }
            let total: i64 = parts.iter().sum();
            scene.becomes(&buy, OrderStatus::Cancelled, &Shares::from_micro(total).to_string());
            scene.turn();
            scene.due(intent.head.idempotency_key).shares
        };
        let mut sum = 0;
        let told: Vec<i64> = parts.iter().map(|p| { sum += p; sum }).collect();
        prop_assert_eq!(due(&told), due(&[]));
    }
}
