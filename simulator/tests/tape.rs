//! Recorded tapes, in every shape in which people keep them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use common::get;
use runtime::VirtualClock;
use schemas::{Address, AssetId, Shares, Side, Timestamp};
use simulator::{
    Simulator, Speed, TapeOptions,
    tape::{RowKind, Tape},
};

const WALLET: &str = "0x1111111111111111111111111111111111111111";
const CONDITION: &str = "0x3babdbeccd1b2ff90547d2789e605f8c55067b4a411b1fb47b92b0fbcc8d5696";

fn row(second: i64, side: &str, size: &str, price: &str, tx: u8) -> [(&'static str, String); 10] {
    [
        ("proxyWallet", WALLET.to_owned()),
        ("side", side.to_owned()),
        ("asset", "777".to_owned()),
        ("conditionId", CONDITION.to_owned()),
        ("size", size.to_owned()),
        ("price", price.to_owned()),
        ("timestamp", second.to_string()),
        ("title", "Will \"it\", or not?".to_owned()),
        ("outcome", "Yes".to_owned()),
        ("transactionHash", format!("0x{}", format!("{tx:02x}").repeat(32))),
    ]
}

/// Newest first, as the API pages.
fn rows() -> Vec<[(&'static str, String); 10]> {
    vec![
        row(1_760_000_020, "SELL", "3", "0.6", 3),
        row(1_760_000_010, "BUY", "11.988287999999999", "0.5399999846999992", 2),
        row(1_760_000_000, "BUY", "5", "0.5", 1),
    ]
}

fn v2(name: &str) -> &str {
    match name {
        "proxyWallet" => "proxy_wallet",
        "asset" => "token_id",
        "conditionId" => "condition_id",
        "transactionHash" => "transaction_hash",
        same => same,
    }
}

fn json_row(row: &[(&'static str, String)], second_version: bool) -> String {
    let fields: Vec<String> = row
        .iter()
        .map(|(name, value)| {
            let name = if second_version { v2(name) } else { name };
            let number = matches!(name, "size" | "price" | "timestamp");
            if number { format!("\"{name}\":{value}") } else { format!("\"{name}\":{}", quote(value)) }
        })
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

fn csv(rows: &[[(&'static str, String); 10]], second_version: bool) -> String {
    let header: Vec<_> = rows[0].iter().map(|(n, _)| if second_version { v2(n) } else { n }).collect();
    let mut out = format!("{}\n", header.join(","));
    for row in rows {
        let values: Vec<_> = row.iter().map(|(_, v)| format!("\"{}\"", v.replace('"', "\"\""))).collect();
        out.push_str(&values.join(","));
        out.push('\n');
    }
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_tape_reads_the_same_in_every_shape_and_compression() {
    let dir = tempfile::tempdir().unwrap();
    let mut tapes = Vec::new();
    for second_version in [false, true] {
        let lines: Vec<_> = rows().iter().map(|r| json_row(r, second_version)).collect();
        let shapes = [
            format!("[{}]", lines.join(",\n")),
            format!("\u{feff}[\n{}\n]\n", lines.join(",")),
            lines.join("\n"),
            format!("{{\"data\":[{}],\"pagination\":{{\"limit\":3}}}}", lines.join(",")),
            csv(&rows(), second_version),
        ];
        for (n, text) in shapes.iter().enumerate() {
            let plain = text.as_bytes();
            // The name says nothing: the content does.
            for (packing, bytes) in
                [("plain", plain.to_vec()), ("gz", gzip(plain)), ("zst", zstd::encode_all(plain, 3).unwrap())]
            {
                let path = write(dir.path(), &format!("{second_version}-{n}-{packing}.dat"), &bytes);
                let tape = Tape::load(&path, false).unwrap();
                assert_eq!(tape.broken, [], "shape {n} {packing}");
                tapes.push(tape.rows);
            }
        }
    }
    assert_eq!(tapes.len(), 30);
    for tape in &tapes {
        assert_eq!(tape, &tapes[0]);
    }
    let seconds: Vec<_> = tapes[0].iter().map(|r| r.second).collect();
    assert_eq!(seconds, [1_760_000_000, 1_760_000_010, 1_760_000_020], "oldest first");
    assert_eq!(tapes[0][1].literals, ("11.988287999999999".into(), "0.5399999846999992".into()));
    assert_eq!(tapes[0][1].size, Shares::from_micro(11_988_288));
}

#[test]
fn broken_rows_are_reported_with_line_and_reason_and_loading_goes_on() {
    let good = json_row(&rows()[0], false);
    let mut lines = vec![good.clone()];
    let broken = [
        ("size", "-1", "size"),
        ("size", "\"x\"", "size"),
        ("price", "1.5", "price"),
        ("timestamp", "1760000000000", "timestamp"),
        ("side", "\"HOLD\"", "side"),
        ("asset", "\"0x12\"", "asset"),
        ("proxyWallet", "\"0x12\"", "proxyWallet"),
        ("transactionHash", "null", "transactionHash"),
        ("conditionId", "\"\"", "conditionId"),
    ];
    for (column, value, _) in broken {
        let mut fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(&good).unwrap();
        fields.insert(column.to_owned(), serde_json::from_str(value).unwrap());
        lines.push(serde_json::to_string(&fields).unwrap());
    }
    lines.push("{\"half\":".to_owned());
    lines.push(json_row(&rows()[1], false));
    let tape = Tape::parse(&lines.join("\n"), false);
    assert_eq!(tape.rows.len(), 2);
    assert_eq!(tape.broken.iter().map(|b| b.line).collect::<Vec<_>>(), (2..=11).collect::<Vec<_>>());
    for ((_, _, names), report) in broken.iter().zip(&tape.broken) {
        assert!(report.reason.contains(names), "{report}");
    }
}

#[test]
fn a_file_cut_off_in_the_middle_gives_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..2_000)
        .map(|n| json_row(&row(1_760_000_000 + n, "BUY", &format!("{}.{n}", n + 1), "0.5", 1), false) + "\n")
        .collect();
    let packed = gzip(text.as_bytes());
    let path = write(dir.path(), "cut.gz", &packed[..packed.len() / 2]);
    let tape = Tape::load(&path, false).unwrap();
    assert!(tape.rows.len() > 100, "{}", tape.rows.len());
    assert!(tape.broken.iter().any(|b| b.reason.contains("packed")), "{:?}", tape.broken);
}

#[test]
fn a_file_without_a_usable_row_says_what_a_tape_is() {
    let dir = tempfile::tempdir().unwrap();
    let error = Tape::load(&dir.path().join("absent"), false).unwrap_err();
    assert_eq!(error.code(), "tape_unreadable");
    let path = write(dir.path(), "empty", b"[]");
    assert_eq!(Tape::load(&path, false).unwrap_err().code(), "tape_empty");
    let path = write(dir.path(), "other", b"a,b\n1,2\n");
    let error = Tape::load(&path, false).unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn repeated_rows_are_dropped_unless_they_are_to_be_kept() {
    let text: String = [0, 1, 1, 1, 2].iter().map(|n| json_row(&rows()[*n], false) + "\n").collect();
    let dropped = Tape::parse(&text, false);
    assert_eq!((dropped.rows.len(), dropped.repeated), (3, 2));
    let kept = Tape::parse(&text, true);
    assert_eq!((kept.rows.len(), kept.repeated), (5, 0));
}

#[test]
fn a_wallet_opens_with_the_smallest_position_that_keeps_its_balance_from_going_negative() {
    let text: String =
        [row(10, "SELL", "4", "0.5", 1), row(11, "BUY", "10", "0.5", 2), row(12, "SELL", "8.5", "0.5", 3)]
            .iter()
            .map(|r| json_row(r, false) + "\n")
            .collect();
    let openings = Tape::parse(&text, false).openings(|_| Vec::new());
    // 4 for the first; then 0 + 10 - 8.5 needs no more.
    assert_eq!(openings.len(), 1);
    assert_eq!(openings[0].shares, Shares::from_units(4));
}

fn balances_never_go_negative(tape: &Tape) {
    let openings = tape.openings(|_| Vec::new());
    let mut held: BTreeMap<(Address, AssetId), i64> =
        openings.iter().map(|o| ((o.wallet, o.asset.clone()), o.shares.micro())).collect();
    let mut touched_zero = BTreeSet::new();
    for row in &tape.rows {
        let RowKind::Trade { asset, side, .. } = &row.kind else { continue };
        let balance = held.entry((row.wallet, asset.clone())).or_default();
        *balance += if *side == Side::Buy { row.size.micro() } else { -row.size.micro() };
        assert!(*balance >= 0, "{} {asset}", row.wallet);
        if *balance == 0 {
            touched_zero.insert((row.wallet, asset.clone()));
        }
    }
    for opening in openings {
        assert!(touched_zero.contains(&(opening.wallet, opening.asset)), "an opening larger than needed");
    }
}

fn nobel(test: &str) -> Option<PathBuf> {
    testkit::shared_dir(test, "data/nobel-2025-trades").map(|dir| dir.join("trades.csv.gz"))
}

#[test]
fn the_recorded_tape_of_5000_rows_has_1500_distinct_ones_and_never_a_negative_balance() {
    let Some(path) =
        nobel("the_recorded_tape_of_5000_rows_has_1500_distinct_ones_and_never_a_negative_balance")
    else {
        return;
    };
    let tape = Tape::load(&path, false).unwrap();
    assert_eq!((tape.rows.len(), tape.repeated, tape.broken.len()), (1_500, 3_500, 0));
    assert_eq!(tape.wallets().len(), 665);
    assert_eq!(tape.wallets()[0].to_string(), "0xe8dd7741ccb12350957ec71e9ee332e0d1e6ec86");
    balances_never_go_negative(&tape);
    assert_eq!(Tape::load(&path, true).unwrap().rows.len(), 5_000);
}

#[test]
fn recordings_with_other_columns_and_other_activity_are_read() {
    let test = "recordings_with_other_columns_and_other_activity_are_read";
    let Some(data) = testkit::shared_dir(test, "data") else { return };
    let equal = data.join("wallet-fill-collisions/wallet_trades_aa9a7e9e.csv.gz");
    let kept = Tape::load(&equal, true).unwrap();
    assert_eq!((kept.rows.len(), kept.broken.len()), (161, 0));
    balances_never_go_negative(&kept);
    let dropped = Tape::load(&equal, false).unwrap();
    assert!(dropped.rows.len() < 161);
    let activity = Tape::load(&data.join("wallet-activity/whale1_activity.json.gz"), false).unwrap();
    assert_eq!(activity.broken, []);
    assert!(activity.rows.iter().any(|r| matches!(r.kind, RowKind::Activity(_))));
}

#[tokio::test]
async fn the_recorded_tape_is_served_as_if_it_happened_now_row_by_row() {
    let Some(path) = nobel("the_recorded_tape_is_served_as_if_it_happened_now_row_by_row") else { return };
    let facts = path.parent().unwrap().parent().unwrap();
    let facts = facts.join("gamma-resolutions/gamma_markets_resolutions_2021-01_2025-11.csv.zst");
    let start = Timestamp::from_secs(1_790_000_000);
    let clock = VirtualClock::at(start);
    let tape = TapeOptions { speed: Speed::times(100), markets: Some(facts), ..TapeOptions::new(&path) };
    let simulator = Simulator::builder().tape(tape).clock(Arc::new(clock.clone())).start().await.unwrap();
    let report = simulator.handle().tape_report();
    assert_eq!((report.rows, report.markets_without_facts), (1_500, 0), "{report:?}");
    let base = simulator.base_url.clone();
    let busiest = simulator.handle().leaders()[0];

    // At the start only the first second's rows are there, and positions are the openings.
    let page = get(&base, "/v2/trades?limit=1000&taker_only=false").await;
    let first = page["data"].as_array().unwrap().len();
    assert!((1..50).contains(&first), "{first}");
    assert_eq!(page["data"][0]["timestamp"], 1_790_000_000);
    let opening = Tape::load(&path, false).unwrap();
    let openings = opening.openings(|_| Vec::new());
    let expected: BTreeSet<_> =
        openings.iter().filter(|o| o.wallet == busiest).map(|o| o.asset.to_string()).collect();
    let positions = get(&base, &format!("/v2/positions?user={busiest}&filter_amount=0&limit=500")).await;
    let shown: BTreeSet<_> = positions["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["token_id"].as_str().unwrap().to_owned())
        .collect();
    assert!(expected.is_subset(&shown), "{expected:?} {shown:?}");

    // 13,580 recorded seconds take 135.8 s now; a little later all has happened.
    clock.advance(Duration::from_secs(137));
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(&base, &format!("/v2/trades?limit=37&taker_only=false{cursor}")).await;
        for row in page["data"].as_array().unwrap() {
            let parts = ["transaction_hash", "proxy_wallet", "token_id", "side"];
            seen.push(parts.map(|part| row[part].as_str().unwrap().to_owned()));
        }
        match page["pagination"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 1_500);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 1_500, "each row once");

    // Market facts came from the file; the market takes orders until the tape has ended.
    let asset = &seen[0][2];
    let market = get(&base, &format!("/markets?clob_token_ids={asset}")).await;
    assert_eq!((&market[0]["negRisk"], &market[0]["acceptingOrders"]), (&true.into(), &true.into()));
    let condition = market[0]["conditionId"].as_str().unwrap();
    assert_eq!(get(&base, &format!("/clob-markets/{condition}")).await["ao"], true);
    clock.advance(Duration::from_secs(121));
    assert_eq!(get(&base, &format!("/clob-markets/{condition}")).await["ao"], false);
    let resolution = get(&base, &format!("/v2/resolutions?condition={condition}")).await;
    assert_eq!(resolution["data"][0]["status"], "resolved");
    simulator.stop().await;
}

#[tokio::test]
async fn without_facts_a_market_gets_what_its_prints_suggest() {
    let dir = tempfile::tempdir().unwrap();
    let clock = VirtualClock::at(Timestamp::from_secs(1_790_000_000));
    for (price, tick) in
        [("0.5", "0.01"), ("0.52666666", "0.01"), ("0.521", "0.001"), ("0.97", "0.001"), ("0.03", "0.001")]
    {
        let text = json_row(&row(1_760_000_000, "SELL", "7", price, 1), false);
        let path = write(dir.path(), "tape.json", text.as_bytes());
        let simulator = Simulator::builder()
            .tape(TapeOptions::new(path))
            .clock(Arc::new(clock.clone()))
            .start()
            .await
            .unwrap();
        let market = get(&simulator.base_url, &format!("/clob-markets/{CONDITION}")).await;
        assert_eq!(market["mts"].to_string(), tick, "{price}");
        assert_eq!((&market["mos"], &market["nr"]), (&5.into(), &false.into()));
        assert_eq!((&market["t"][0]["t"], &market["t"][0]["o"]), (&"777".into(), &"Yes".into()));
        let opposite = market["t"][1]["t"].as_str().unwrap();
        assert!(opposite.parse::<AssetId>().is_ok_and(|id| id.as_str() != "777"));
        // The seller's opening position was sold; the book stands around the print.
        let positions = get(&simulator.base_url, &format!("/v2/positions?user={WALLET}&status=CLOSED")).await;
        assert_eq!(positions["data"][0]["token_id"], "777");
        let book = get(&simulator.base_url, "/book?token_id=777").await;
        assert_eq!((&book["tick_size"], &book["bids"][4]["size"]), (&tick.into(), &"7".into()), "{book}");
        simulator.stop().await;
    }
}

#[test]
fn a_speed_is_a_factor_above_zero() {
    assert_eq!("2.5".parse::<Speed>().unwrap().micro(), 2_500_000);
    assert_eq!("200".parse::<Speed>().unwrap(), Speed::times(200));
    for bad in ["0", "-1", "fast", ""] {
        assert!(bad.parse::<Speed>().unwrap_err().contains("factor above zero"), "{bad}");
    }
}
