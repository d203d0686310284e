//! Every sizing on recorded trades: for each tenant the fidelity ledger sums to all of the fills that it followed, and
//! says what became of each (`design.md`, invariant 2). The printed tables are those of `docs/fidelity.md`.

use std::collections::{BTreeMap, BTreeSet};

use system_tests::{
    install::LogKind,
    mirror::{Mirror, Policy},
    tape::Tape,
};

use crate::BINARY;

/// A tenant for each sizing, everything else at its default where the sizing has one; and one on paper.
const SIZINGS: [Policy; 8] = [
    ("auto", &["--set", "sizing=auto"]),
    ("fixed", &["--set", "sizing=fixed", "--set", "usdc_per_trade=5"]),
    ("gap", &["--set", "sizing=position_gap", "--set", "range_max=1000", "--set", "max_alloc=25"]),
    ("exact", &["--set", "sizing=mirror_fill_exact"]),
    ("min_bet", &["--set", "sizing=min_bet"]),
    ("paper", &["--mode", "paper", "--set", "sizing=min_bet"]),
    ("ratio", &["--set", "sizing=ratio", "--set", "ratio=0.1"]),
    ("scaled", &["--set", "sizing=target_percentile_scaled"]),
];

async fn every_fill_is_accounted_for(tape: Tape, speed: u32) {
    let mirror = Mirror::of(tape, speed, &SIZINGS, BINARY, LogKind::Sqlite).await;
    let stages = vec![mirror.install.up()];
    let ledger = mirror.judge(stages).await;
    print(&ledger);
    let errors: Vec<_> =
        ledger.values().flat_map(BTreeMap::keys).filter(|c| c.starts_with("error")).collect();
    assert!(errors.is_empty(), "decisions that could not be made: {errors:?}");
    let on_paper = ledger["paper"].get("placed: filled").copied().unwrap_or_default();
    assert!(on_paper > 0, "nothing was filled on paper: {:?}", ledger["paper"]);
}

fn print(ledger: &BTreeMap<String, BTreeMap<String, usize>>) {
    let rows: BTreeSet<&String> = ledger.values().flat_map(BTreeMap::keys).collect();
    println!("| came to | {} |", ledger.keys().cloned().collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---:|".repeat(ledger.len()));
    for row in rows {
        let figures: Vec<String> =
            ledger.values().map(|l| l.get(row).map_or("–".into(), ToString::to_string)).collect();
        println!("| {row} | {} |", figures.join(" | "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sizing_accounts_for_every_fill_of_the_nobel_markets() {
    let Some(tape) = Tape::nobel("every_sizing_accounts_for_every_fill_of_the_nobel_markets") else { return };
    every_fill_is_accounted_for(tape, 250).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sizing_accounts_for_every_fill_of_a_market_of_five_minutes() {
    let Some(tape) = Tape::btc("every_sizing_accounts_for_every_fill_of_a_market_of_five_minutes") else {
        return;
    };
    every_fill_is_accounted_for(tape, 15).await;
}
