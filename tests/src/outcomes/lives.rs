//! The recorded lives of orders: how large, when which part filled, how they ended.

use std::{collections::BTreeMap, path::Path, time::Duration};

use csv::StringRecord;
use flate2::read::GzDecoder;
use schemas::{
    Round, Shares,
    money::{ONE, parse_micro},
};

/// How an order ended that the venue had taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Filled,
    Expired,
    /// By somebody, so long after it was placed.
    Cancelled(Duration),
    /// The recorder never heard of it again: here it rests until it expires.
    Unheard,
}

/// What the market did to an order that the venue had taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    pub size: Shares,
    /// What filled of it, and how long after it was placed.
    pub parts: Vec<(Duration, Shares)>,
    pub end: End,
}

/// A recording: every life, in the order in which orders were placed, and how many orders were refused.
#[derive(Debug, Default)]
pub struct Lives {
    pub taken: Vec<Life>,
    pub refused: usize,
}

/// A file's rows, each with its columns by name.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(GzDecoder::new(std::fs::File::open(path).unwrap()));
    let headers = reader.headers().unwrap().clone();
    let named = |row: StringRecord| {
        headers.iter().map(str::to_owned).zip(row.iter().map(str::to_owned)).collect::<BTreeMap<_, _>>()
    };
    reader.records().map(|row| named(row.unwrap())).collect()
}

/// From one recorded second to another; what a clock's step made negative is nothing.
fn between(earlier: &str, later: &str) -> Duration {
    let micros = |literal: &str| parse_micro(literal, Round::Down).unwrap();
    Duration::from_micros(u64::try_from(micros(later) - micros(earlier)).unwrap_or(0))
}

fn shares(literal: &str) -> Shares {
    Shares::parse(literal, Round::Nearest).unwrap()
}

impl Lives {
    /// Reads `bot_orders.csv.gz` and `bot_fills.csv.gz` of a directory.
    pub fn load(dir: &Path) -> Self {
        let mut fills: BTreeMap<String, Vec<(String, Shares)>> = BTreeMap::new();
        for row in rows(&dir.join("bot_fills.csv.gz")) {
            let part = (row["timestamp"].clone(), shares(&row["cumulative_filled"]));
            fills.entry(row["order_id"].clone()).or_default().push(part);
        }
        let mut lives = Self::default();
        for row in rows(&dir.join("bot_orders.csv.gz")) {
            let (placed, resolved) = (&row["placed_at"], &row["resolved_at"]);
            let end = match &*row["final_status"] {
                "REJECTED" => {
                    lives.refused += 1;
                    continue;
                }
                "FILLED" => End::Filled,
                "EXPIRED_STALE" => End::Expired,
                "CANCELLED" => End::Cancelled(between(placed, resolved)),
                "SUBMITTED" => End::Unheard,
                other => panic!("`{other}` is no status of the recording"),
            };
            let size = shares(&row["size"]);
            let (mut parts, mut so_far) = (Vec::new(), Shares::ZERO);
            for (at, sum) in fills.remove(&row["order_id"]).unwrap_or_default() {
                // Hundredths, as the venue matches; in all, what the recorder added up.
                let part = sum.minus_or_zero(so_far).to_multiple(ONE / 100, Round::Down).unwrap();
                if part.is_positive() {
                    parts.push((between(placed, &at), part));
                    so_far = so_far.saturating_add(part);
                }
            }
            // Of some filled orders no fill was recorded, of some the last hundredths were not.
            let left = size.minus_or_zero(so_far);
            if end == End::Filled && left.is_positive() {
                parts.push((between(placed, resolved), left));
            }
            lives.taken.push(Life { size, parts, end });
        }
        lives
    }

    /// So many lives, taken evenly from all of the recording; more than there are begin again from the first. What ended
    /// as only few did, cancelled, is in every sample, as often as it was recorded.
    pub fn sample(&self, orders: usize) -> Vec<Life> {
        let all = self.taken.len();
        let nth = |n: usize| if orders > all { n % all } else { n * all / orders };
        let cancelled = |life: &Life| matches!(life.end, End::Cancelled(_));
        let mut sample: Vec<Life> = (0..orders).map(|n| self.taken[nth(n)].clone()).collect();
        let mut rare: Vec<&Life> = self.taken.iter().filter(|life| cancelled(life)).collect();
        rare.drain(..sample.iter().filter(|life| cancelled(life)).count().min(rare.len()));
        let apart = orders / (rare.len() + 1);
        for (n, life) in (1..).zip(rare) {
            sample[n * apart] = life.clone();
        }
        sample
    }
}
