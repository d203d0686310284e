//! Recorded tapes, and what a mirror has to make of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use flate2::read::GzDecoder;
use schemas::{Address, AssetId, Side, TxHash, keccak256};
use serde_json::Value;
use tempfile::TempDir;

/// A fill by its natural key, without the wallet.
pub type FillKey = (TxHash, AssetId, Side);

/// A recording: a file that the simulator serves, and every wallet's distinct fills in it, read by its own means.
#[derive(Debug)]
pub struct Tape {
    pub path: PathBuf,
    pub fills: BTreeMap<Address, BTreeSet<FillKey>>,
    /// Holds a file that was made for this run.
    _dir: Option<TempDir>,
}

impl Tape {
    /// `nobel-2025-trades`: twenty markets of one question. `None` (after a loud line) where it is not there.
    pub fn nobel(test: &str) -> Option<Self> {
        let path = testkit::shared_dir(test, "data")?.join("nobel-2025-trades").join("trades.csv.gz");
        let mut reader = csv::Reader::from_reader(GzDecoder::new(std::fs::File::open(&path).unwrap()));
        let headers = reader.headers().unwrap().clone();
        let column = |name: &str| headers.iter().position(|h| h == name).unwrap();
        let (wallet, tx, asset, side) =
            (column("proxyWallet"), column("transactionHash"), column("asset"), column("side"));
        let mut fills: BTreeMap<Address, BTreeSet<FillKey>> = BTreeMap::new();
        for row in reader.records() {
            let row = row.unwrap();
            let key = (row[tx].parse().unwrap(), row[asset].parse().unwrap(), row[side].parse().unwrap());
            fills.entry(row[wallet].parse().unwrap()).or_default().insert(key);
        }
        Some(Self { path, fills, _dir: None })
    }

    /// `btc-5m-tape`: one market of five minutes, whole. Its rows name no transaction: each is given one of its own.
    pub fn btc(test: &str) -> Option<Self> {
        let from =
            testkit::shared_dir(test, "data")?.join("btc-5m-tape").join("smoke_candle_42353afe.json.gz");
        let recorded: Value =
            serde_json::from_reader(GzDecoder::new(std::fs::File::open(from).unwrap())).unwrap();
        let (mut rows, mut fills) = (Vec::new(), BTreeMap::<Address, BTreeSet<FillKey>>::new());
        for (n, row) in recorded["trades"].as_array().unwrap().iter().enumerate() {
            let (asset, side, wallet) = (&row[4], &row[1], &row[5]);
            let tx = TxHash::from_bytes(*keccak256(&[&n.to_be_bytes()]).as_bytes());
            rows.push(serde_json::json!({
                "proxyWallet": wallet, "side": side, "asset": asset, "conditionId": recorded["cid"],
                "size": row[3], "price": row[2], "timestamp": row[0], "transactionHash": tx.to_string(),
                "outcome": if *asset == recorded["up_token"] { "Up" } else { "Down" },
                "outcomeIndex": i32::from(*asset != recorded["up_token"]),
                "title": "Bitcoin up or down", "slug": "btc-up-or-down", "eventSlug": "btc-up-or-down",
            }));
            let key = (tx, asset.as_str().unwrap().parse().unwrap(), side.as_str().unwrap().parse().unwrap());
            fills.entry(wallet.as_str().unwrap().parse().unwrap()).or_default().insert(key);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tape.json");
        std::fs::write(&path, serde_json::to_vec(&rows).unwrap()).unwrap();
        Some(Self { path, fills, _dir: Some(dir) })
    }

    /// The wallets with most fills, the busiest first.
    pub fn busiest(&self, n: usize) -> Vec<Address> {
        let mut wallets: Vec<(usize, Address)> = self.fills.iter().map(|(w, f)| (f.len(), *w)).collect();
        wallets.sort_by(|a, b| b.cmp(a));
        wallets.into_iter().take(n).map(|(_, w)| w).collect()
    }
}
