//! Foreign clients against the simulator: the venue's official ones for Python and for TypeScript. What works and every
//! gap stand in `compat/README.md`, which is held against what they say here.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use schemas::Usdc;
use serde::Deserialize;
use simulator::{Options, Prints, Simulator, Switches, TapeOptions, exchange::Rules};

/// The markets that the clients trade on: name, tick, protocol, neg-risk.
const MARKETS: [(&str, &str, &str, bool); 8] = [
    ("plain", "0.01", "v1", false),
    ("neg_risk", "0.01", "v1", true),
    ("v3", "0.01", "v2", false),
    ("tick_1", "0.1", "v1", false),
    ("tick_005", "0.005", "v1", false),
    ("tick_0025", "0.0025", "v1", false),
    ("tick_001", "0.001", "v1", false),
    ("tick_0001", "0.0001", "v1", false),
];

fn token(n: usize, second: bool) -> String {
    format!("7{n:02}000000000000000000000000000{}", u8::from(second))
}

fn condition(n: usize) -> String {
    format!("0x{:064x}", 0xc0 + n)
}

/// Every market stands at 0.50, where somebody bought a lot, and stays open.
fn options(dir: &Path) -> Options {
    let (mut tape, mut gamma) = (Vec::new(), Vec::new());
    for (n, (name, tick, version, neg_risk)) in MARKETS.into_iter().enumerate() {
        for (second, size) in [(0, "2000"), (100_000, "1")] {
            let row = serde_json::json!({
                "proxyWallet": format!("0x{:040x}", 0x11), "side": "BUY", "asset": token(n, false),
                "conditionId": condition(n), "size": size, "price": "0.5", "timestamp": 1_700_000_000 + second,
                "outcome": "Yes", "outcomeIndex": 0, "slug": name, "title": name,
                "transactionHash": format!("0x{:064x}", n * 2 + usize::from(second > 0) + 1),
            });
            tape.push(row.to_string());
        }
        let ids = serde_json::json!([token(n, false), token(n, true)]);
        let mut row = serde_json::json!({
            "id": n.to_string(), "conditionId": condition(n), "question": name, "slug": name, "version": version,
            "outcomes": "[\"Yes\", \"No\"]", "orderMinSize": 5, "negRisk": neg_risk, "feesEnabled": true,
            "feeSchedule": {"rate": 0.05, "exponent": 1, "takerOnly": true},
        });
        row["orderPriceMinTickSize"] = serde_json::from_str(tick).unwrap();
        match version {
            "v2" => row["positionIds"] = ids,
            _ => row["clobTokenIds"] = ids.to_string().into(),
        }
        gamma.push(row.to_string());
    }
    let (file, markets) = (dir.join("tape.jsonl"), dir.join("markets.jsonl"));
    std::fs::write(&file, tape.join("\n")).unwrap();
    std::fs::write(&markets, gamma.join("\n")).unwrap();
    Options {
        prints: Prints::Tape(TapeOptions { markets: Some(markets), ..TapeOptions::new(file) }),
        // The clients wait for each trade to be mined.
        rules: Rules {
            opening_balance: Usdc::from_units(10_000),
            confirm_after: Duration::from_millis(400),
            ..Rules::default()
        },
        // All that the documents say of limits and delays is in force.
        switches: Switches::documented(),
        ..Options::default()
    }
}

fn markets_json() -> String {
    let markets = MARKETS.into_iter().enumerate().map(|(n, (name, tick, _, neg_risk))| {
        let market = serde_json::json!({
            "condition": condition(n), "yes": token(n, false), "no": token(n, true),
            "tick": tick, "neg_risk": neg_risk,
        });
        (name.to_owned(), market)
    });
    serde_json::Value::Object(markets.collect()).to_string()
}

/// What a client said of one promise.
#[derive(Debug, Deserialize)]
struct Said {
    check: String,
    outcome: String,
    #[serde(default)]
    why: String,
}

/// Runs a client's suite and returns what it said, by check.
async fn run(program: &Path, script: &str, modules: &Path) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let simulator = Simulator::builder().options(options(dir.path())).start().await.unwrap();
    let script = compat().join(script);
    let mut command = tokio::process::Command::new(program);
    command
        .arg(&script)
        .env("SIMULATOR", &simulator.base_url)
        .env("MARKETS", markets_json())
        .env("MODULES", modules)
        .env("no_proxy", "127.0.0.1")
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(180), command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{} does not end", script.display())).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}: {errors}", script.display(), output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let said: Vec<Said> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    simulator.stop().await;
    let failed: Vec<_> = said.iter().filter(|s| s.outcome == "fails").collect();
    for one in &failed {
        eprintln!("{}: {}", one.check, one.why);
    }
    assert!(failed.is_empty(), "{} checks failed", failed.len());
    let count = said.len();
    let said: BTreeMap<_, _> = said.into_iter().map(|s| (s.check, s.outcome)).collect();
    assert_eq!(said.len(), count, "every check has a name of its own");
    said
}

fn compat() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat")
}

/// A column of the README's table: by check, what it says.
fn documented(column: usize) -> BTreeMap<String, String> {
    let readme = std::fs::read_to_string(compat().join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| {
        let cells: Vec<&str> =
            line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::trim).collect();
        let [check, ..] = cells[..] else { return None };
        let cell = *cells.get(column)?;
        let is_row = !check.is_empty() && !check.starts_with("---") && check != "check";
        (is_row && cell != "not offered").then(|| (check.to_owned(), cell.to_owned()))
    });
    rows.collect()
}

#[tokio::test]
async fn the_python_client_trades_here_as_the_table_says() {
    const TEST: &str = "the_python_client_trades_here_as_the_table_says";
    let venv = testkit::workspace_root().join(".deps/compat-python");
    let python = venv.join("bin/python");
    if !python.is_file() {
        return testkit::skip(TEST, "there is no .deps/compat-python; `make setup` makes it");
    }
    assert_eq!(run(&python, "client.py", &venv).await, documented(1));
}

#[tokio::test]
async fn the_typescript_client_trades_here_as_the_table_says() {
    const TEST: &str = "the_typescript_client_trades_here_as_the_table_says";
    let modules = testkit::workspace_root().join(".deps/compat-node");
    if !modules.join("node_modules").is_dir() {
        return testkit::skip(
            TEST,
            "there is no .deps/compat-node; `make setup` makes it where node is installed",
        );
    }
    assert_eq!(run(Path::new("node"), "client.mjs", &modules).await, documented(2));
}
