//! The recorded tape `nobel-2025-trades`, and what a mirror has to make of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use schemas::{Address, AssetId, Side, TxHash};

/// A fill by its natural key, without the wallet.
pub type FillKey = (TxHash, AssetId, Side);

/// Where the tape lies; `None` (after a loud line) where it is not there.
pub fn tape(test: &str) -> Option<PathBuf> {
    Some(testkit::shared_dir(test, "data")?.join("nobel-2025-trades").join("trades.csv.gz"))
}

/// Every wallet's distinct fills, read from the file by its own means.
pub fn fills(tape: &Path) -> BTreeMap<Address, BTreeSet<FillKey>> {
    let mut reader = csv::Reader::from_reader(GzDecoder::new(std::fs::File::open(tape).unwrap()));
    let headers = reader.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|h| h == name).unwrap();
    let (wallet, tx, asset, side) =
        (column("proxyWallet"), column("transactionHash"), column("asset"), column("side"));
    let mut out: BTreeMap<Address, BTreeSet<FillKey>> = BTreeMap::new();
    for row in reader.records() {
        let row = row.unwrap();
        let key = (row[tx].parse().unwrap(), row[asset].parse().unwrap(), row[side].parse().unwrap());
        out.entry(row[wallet].parse().unwrap()).or_default().insert(key);
    }
    out
}

/// The wallets with most fills, the busiest first.
pub fn busiest(fills: &BTreeMap<Address, BTreeSet<FillKey>>, n: usize) -> Vec<Address> {
    let mut wallets: Vec<(usize, Address)> = fills.iter().map(|(w, f)| (f.len(), *w)).collect();
    wallets.sort_by(|a, b| b.cmp(a));
    wallets.into_iter().take(n).map(|(_, w)| w).collect()
}
