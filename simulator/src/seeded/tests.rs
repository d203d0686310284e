use std::collections::{BTreeMap, BTreeSet};

use super::*;

const EPOCH: Timestamp = Timestamp::from_secs(1_790_000_000);

fn happenings(plan: Seeding, n: usize) -> Vec<Happening> {
    let mut leaders = Leaders::new(plan, EPOCH);
    (0..n).map_while(|_| leaders.take()).collect()
}

fn prints(of: &[Happening]) -> Vec<(Timestamp, &Print)> {
    of.iter()
        .filter_map(|h| match &h.what {
            What::Print(print) => Some((h.at, print)),
            _ => None,
        })
        .collect()
}

/// Prints that are one fill: one wallet's rows of one transaction.
fn fills(of: &[Happening]) -> Vec<(Timestamp, Vec<&Print>)> {
    let mut fills: BTreeMap<TxHash, (Timestamp, Vec<&Print>)> = BTreeMap::new();
    for (at, print) in prints(of) {
        fills.entry(print.tx).or_insert((at, Vec::new())).1.push(print);
    }
    let mut fills: Vec<_> = fills.into_values().collect();
    fills.sort_by_key(|(at, rows)| (*at, rows[0].tx));
    fills
}

#[test]
fn the_same_seed_and_epoch_give_the_same_happenings_however_they_are_asked_for() {
    let plan =
        Seeding { market_life: Duration::from_secs(900), late_row_permille: 300, ..Seeding::default() };
    let straight = happenings(plan.clone(), 5_000);
    let mut again = Leaders::new(plan.clone(), EPOCH);
    let mut asked = Vec::new();
    for n in 0..5_000 {
        for _ in 0..n % 3 {
            again.next_at();
        }
        let at = again.next_at();
        let taken = again.take().unwrap();
        assert_eq!(at, Some(taken.at));
        asked.push(taken);
    }
    assert_eq!(straight, asked);
    assert!(straight.windows(2).all(|w| w[0].at <= w[1].at), "in the order of time");
    assert_ne!(straight, happenings(Seeding { seed: 2, ..plan }, 5_000));
}

#[test]
fn leaders_that_are_told_not_to_split_and_merge_never_do() {
    let all = happenings(Seeding { change_permille: 0, ..Seeding::default() }, 20_000);
    let splits = |h: &Happening| matches!(&h.what, What::Activity(a) if matches!(a.kind, ActivityKind::Split | ActivityKind::Merge));
    assert!(!all.iter().any(splits));
    let now_and_then = happenings(Seeding::default(), 20_000).iter().filter(|h| splits(h)).count();
    assert!((100..1_000).contains(&now_and_then), "{now_and_then}");
}

#[test]
fn no_leader_ever_gives_more_than_was_seen_to_come() {
    for seed in 0..4 {
        let plan = Seeding {
            seed,
            market_life: Duration::from_secs(1_200),
            multi_row_permille: 400,
            late_row_permille: 500,
            ..Seeding::default()
        };
        let mut held: BTreeMap<(Address, TokenRef), i64> = BTreeMap::new();
        let all = happenings(plan, 20_000);
        for happening in &all {
            let moves: Vec<(Address, TokenRef, i64)> = match &happening.what {
                What::Print(p) if p.side == Side::Buy => vec![(p.wallet, p.token, p.size.micro())],
                What::Print(p) => vec![(p.wallet, p.token, -p.size.micro())],
                What::Activity(a) => {
                    let market = a.market.unwrap();
                    let moved = match a.kind {
                        ActivityKind::Split => a.size.micro(),
                        ActivityKind::Merge => -a.size.micro(),
                        _ => 0,
                    };
                    [false, true].map(|second| (a.wallet, TokenRef { market, second }, moved)).to_vec()
                }
                What::Open(_) | What::Close(..) => Vec::new(),
            };
            for (wallet, token, moved) in moves {
                let balance = held.entry((wallet, token)).or_default();
                *balance += moved;
                assert!(*balance >= 0, "seed {seed}: {wallet} gave {moved} it did not have");
            }
        }
        assert!(all.iter().any(|h| matches!(h.what, What::Close(_, Some(_)))), "markets end");
        for kind in [ActivityKind::Redeem, ActivityKind::Split, ActivityKind::Merge] {
            let has = all.iter().any(|h| matches!(&h.what, What::Activity(a) if a.kind == kind));
            assert!(has, "seed {seed}: no {kind}");
        }
    }
}

#[test]
fn leaders_trade_as_measured() {
    let all = happenings(Seeding::default(), 60_000);
    let fills = fills(&all);
    let share = |n: usize, of: usize| n * 1_000 / of;

    let bought: Vec<_> = fills.iter().filter(|(_, rows)| rows[0].side == Side::Buy).collect();
    assert!(
        (650..750).contains(&share(bought.len(), fills.len())),
        "BUY share {}",
        share(bought.len(), fills.len())
    );

    let mut dollars: Vec<i64> = bought
        .iter()
        .map(|(_, rows)| {
            rows.iter().map(|p| p.price.cost(p.size, Round::Nearest).unwrap().micro()).sum::<i64>() / 10_000
        })
        .collect();
    dollars.sort_unstable();
    let at = |permille: usize| dollars[dollars.len() * permille / 1_000];
    assert!((1_000..3_500).contains(&at(500)), "p50 {} cents", at(500));
    assert!((40_000..80_000).contains(&at(900)), "p90 {} cents", at(900));
    assert!((600_000..2_000_000).contains(&at(990)), "p99 {} cents", at(990));
    for round in [100, 500, 1_000, 10_000] {
        let n = dollars.iter().filter(|c| (**c - round).abs() <= round / 50).count();
        assert!(share(n, dollars.len()) >= 20, "mass at {round} cents: {n}");
    }

    let rows = prints(&all);
    let dear = rows.iter().filter(|(_, p)| p.price.micro() >= 950_000).count();
    assert!(
        (20..250).contains(&share(dear, rows.len())),
        "{} of 1000 rows at 0.95 or above",
        share(dear, rows.len())
    );
    assert!(
        rows.iter().all(|(_, p)| p.price.micro() > 0 && p.price.micro() < ONE && p.size.micro() >= SMALLEST)
    );

    let mut by_wallet: BTreeMap<Address, usize> = BTreeMap::new();
    let mut seconds: BTreeMap<(Address, i64), usize> = BTreeMap::new();
    for (at, rows) in &fills {
        *by_wallet.entry(rows[0].wallet).or_default() += 1;
        *seconds.entry((rows[0].wallet, at.secs())).or_default() += 1;
    }
    let busiest = by_wallet.values().max().copied().unwrap();
    assert!((650..790).contains(&share(busiest, fills.len())), "the busiest has {busiest}");
    let burst = seconds.values().max().copied().unwrap();
    assert!((15..=40).contains(&burst), "the longest burst is {burst} in a second");

    let several = fills.iter().filter(|(_, rows)| rows.len() > 1).count();
    assert!((80..180).contains(&share(several, fills.len())), "{several} fills of several rows");
    let equal = fills.iter().filter(|(_, rows)| {
        rows.iter().map(|p| (p.size, p.price)).collect::<BTreeSet<_>>().len() < rows.len()
    });
    assert!(equal.count() > 50, "rows equal to the last digit");
    assert!(rows.iter().any(|(_, p)| p.literals.is_some()), "averages with the digits of a double");
}

#[test]
fn the_rate_asked_for_is_the_rate_given() {
    for per_second in [1u32, 10, 100, 1_000] {
        let plan = Seeding { mean_gap: Duration::from_secs(1) / per_second, ..Seeding::default() };
        let all = happenings(plan, 12_000);
        let fills = fills(&all);
        let span = fills.last().unwrap().0.since(fills[0].0);
        let per_kilosecond = fills.len() as u128 * 1_000_000_000 / span.as_micros().max(1);
        let wanted = u128::from(per_second) * 1_000;
        assert!(
            per_kilosecond * 100 > wanted * 90 && per_kilosecond * 100 < wanted * 110,
            "{per_kilosecond} in 1000 s, wanted {wanted}"
        );
    }
}

#[test]
fn the_busiest_leader_comes_first_and_all_are_alike_when_told() {
    let count = |plan: Seeding| {
        let order = Leaders::new(plan.clone(), EPOCH).leaders();
        let mut by_wallet: BTreeMap<Address, usize> = BTreeMap::new();
        for (_, print) in prints(&happenings(plan, 10_000)) {
            *by_wallet.entry(print.wallet).or_default() += 1;
        }
        order.into_iter().map(|w| by_wallet.get(&w).copied().unwrap_or(0)).collect::<Vec<_>>()
    };
    let skewed = count(Seeding::default());
    assert!(skewed[0] > skewed[1] * 4 && skewed[1] > skewed[11], "{skewed:?}");
    let even = count(Seeding { top_share_permille: 0, ..Seeding::default() });
    assert!(even.iter().max().unwrap() < &(even.iter().min().unwrap() * 2), "{even:?}");
}

#[test]
fn markets_of_the_later_protocol_come_as_told_and_change_nothing_else() {
    let run = |v2_permille| happenings(Seeding { v2_permille, ..Seeding::default() }, 2_000);
    let opened = |of: &[Happening]| -> Vec<Market> {
        let markets = of.iter().filter_map(|h| match &h.what {
            What::Open(market) => Some((**market).clone()),
            _ => None,
        });
        markets.collect()
    };
    let (none, half, all) = (run(0), run(500), run(1_000));
    assert_eq!(prints(&none), prints(&half), "leaders trade alike");
    assert!(opened(&none).iter().all(|m| m.version == MarketVersion::V1));
    assert!(opened(&all).iter().all(|m| m.version == MarketVersion::V2));
    let later = opened(&half).iter().filter(|m| m.version == MarketVersion::V2).count();
    assert!((8..32).contains(&later), "{later} of forty");
    for market in opened(&all) {
        assert!(market.condition.to_string().ends_with("00"), "31 bytes and a zero: {}", market.condition);
    }
}
