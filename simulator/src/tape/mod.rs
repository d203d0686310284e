//! Recorded tapes: Data API rows of either version, in any of the shapes in which people keep them.

mod row;
mod rows;
pub(crate) mod unpack;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use schemas::{Address, AssetId, ConditionId, Hash32, Shares, Side, keccak256};

pub use row::{RowKind, TapeRow};
pub use rows::BrokenRow;
pub(crate) use rows::{Row, read_rows};

use venue::wire::ActivityKind;

/// Why a file could not be read at all. Broken rows are no such error.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// The file cannot be read.
    #[error("tape_unreadable: cannot read {path}: {source}: check the path and its permissions")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not one row of it can be used.
    #[error(
        "tape_empty: \
         {path} has no usable row ({broken} broken{first}): a tape is Data API rows as a JSON array, JSON lines \
         or CSV with the API's own column names, plain, gzip or zstd"
    )]
    Empty {
        /// The file.
        path: PathBuf,
        /// How many rows are broken.
        broken: usize,
        /// The first of them.
        first: String,
    },
}

impl TapeError {
    /// The error's code, for people who search.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "tape_unreadable",
            Self::Empty { .. } => "tape_empty",
        }
    }
}

/// A file's text, and what of it could not be unpacked.
pub(crate) fn read_text(path: &Path, broken: &mut Vec<BrokenRow>) -> Result<String, TapeError> {
    let packed =
        std::fs::read(path).map_err(|source| TapeError::Unreadable { path: path.to_owned(), source })?;
    let unpacked = unpack::unpack(&packed);
    let text = String::from_utf8(unpacked.bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    if let Some(error) = unpacked.cut_off {
        let line = text.bytes().map(|b| u64::from(b == b'\n')).sum::<u64>() + 1;
        broken.push(BrokenRow { line, reason: format!("the packed file cannot be read further: {error}") });
    }
    Ok(text)
}

/// What a wallet opens with, so that its balances never go negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpeningPosition {
    /// Who.
    pub wallet: Address,
    /// What.
    pub asset: AssetId,
    /// How much: the smallest that suffices.
    pub shares: Shares,
}

/// A recorded tape, oldest row first.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    /// The rows that will be served, oldest first; within one second in the order in which they happened.
    pub rows: Vec<TapeRow>,
    /// Rows that could not be read, with line and reason.
    pub broken: Vec<BrokenRow>,
    /// Rows dropped because they repeat another.
    pub repeated: usize,
}

impl Tape {
    /// Reads a tape. Broken rows are reported and skipped. Rows that are equal in everything are pages that
    /// overlap, and dropped, unless `keep_equal`: then they are fills of equal orders (`venue.md` 1.5).
    ///
    /// # Errors
    /// A file that cannot be read, or without a single usable row.
    pub fn load(path: &Path, keep_equal: bool) -> Result<Self, TapeError> {
        let mut broken = Vec::new();
        let text = read_text(path, &mut broken)?;
        let mut tape = Self::parse(&text, keep_equal);
        broken.append(&mut tape.broken);
        tape.broken = broken;
        if tape.rows.is_empty() {
            let first = tape.broken.first().map_or_else(String::new, |b| format!(", first: {b}"));
            return Err(TapeError::Empty { path: path.to_owned(), broken: tape.broken.len(), first });
        }
        Ok(tape)
    }

    /// Reads a tape from its text; [`Tape::load`] unpacks first.
    pub fn parse(text: &str, keep_equal: bool) -> Self {
        let (mut rows, mut broken) = (Vec::new(), Vec::new());
        read_rows(text, &mut broken, |row| {
            rows.push(TapeRow::read(row)?);
            Ok::<_, String>(())
        });
        let read = rows.len();
        if !keep_equal {
            let mut seen = BTreeSet::new();
            rows.retain(|row| seen.insert(row.clone()));
        }
        let repeated = read - rows.len();
        // The API pages newest first. Within one second only the page's order tells what came first.
        let falls = rows.windows(2).filter(|w| w[1].second < w[0].second).count();
        let rises = rows.windows(2).filter(|w| w[1].second > w[0].second).count();
        if falls > rises {
            rows.reverse();
        }
        rows.sort_by_key(|row| row.second);
        Self { rows, broken, repeated }
    }

    /// The digest of what will be served: two tapes with the same digest are the same past.
    pub fn digest(&self) -> Hash32 {
        keccak256(&[format!("{:?}", self.rows).as_bytes()])
    }

    /// The wallets that trade, the busiest first; equally busy ones by address.
    pub fn wallets(&self) -> Vec<Address> {
        let mut trades: BTreeMap<Address, usize> = BTreeMap::new();
        for row in &self.rows {
            if matches!(row.kind, RowKind::Trade { .. }) {
                *trades.entry(row.wallet).or_default() += 1;
            }
        }
        let mut wallets: Vec<_> = trades.into_iter().collect();
        wallets.sort_by_key(|(wallet, n)| (std::cmp::Reverse(*n), *wallet));
        wallets.into_iter().map(|(wallet, _)| wallet).collect()
    }

    /// For every wallet and token the smallest position that keeps its balance from going negative over
    /// the whole tape. `tokens_of` names the tokens of a condition, for splits, merges and redemptions.
    pub fn openings(&self, tokens_of: impl Fn(ConditionId) -> Vec<AssetId>) -> Vec<OpeningPosition> {
        // The balance so far, were it to start at zero, and the lowest it ever was.
        let mut balances: BTreeMap<(Address, AssetId), (i64, i64)> = BTreeMap::new();
        // A redemption ends a position: no opening could mend what a row claims after it.
        let mut redeemed: BTreeSet<(Address, ConditionId)> = BTreeSet::new();
        for row in &self.rows {
            if let (RowKind::Activity(ActivityKind::Redeem), Some(condition)) = (&row.kind, row.condition) {
                redeemed.insert((row.wallet, condition));
            }
            if row.condition.is_some_and(|condition| redeemed.contains(&(row.wallet, condition))) {
                continue;
            }
            for (asset, delta) in row.moves(&tokens_of) {
                let (now, lowest) = balances.entry((row.wallet, asset)).or_default();
                *now = now.saturating_add(delta);
                *lowest = (*lowest).min(*now);
            }
        }
        balances
            .into_iter()
            .filter(|(_, (_, lowest))| *lowest < 0)
            .map(|((wallet, asset), (_, lowest))| OpeningPosition {
                wallet,
                asset,
                shares: Shares::from_micro(lowest.saturating_neg()),
            })
            .collect()
    }
}

impl TapeRow {
    /// How a row moves its wallet's balances, in 10^-6 shares. A redemption is not a move: it ends the
    /// position, however large.
    pub fn moves(&self, tokens_of: impl Fn(ConditionId) -> Vec<AssetId>) -> Vec<(AssetId, i64)> {
        let size = self.size.micro();
        match (&self.kind, self.condition) {
            (RowKind::Trade { asset, side: Side::Buy, .. }, _) => vec![(asset.clone(), size)],
            (RowKind::Trade { asset, side: Side::Sell, .. }, _) => vec![(asset.clone(), -size)],
            (RowKind::Activity(ActivityKind::Split), Some(condition)) => {
                tokens_of(condition).into_iter().map(|asset| (asset, size)).collect()
            }
            (RowKind::Activity(ActivityKind::Merge), Some(condition)) => {
                tokens_of(condition).into_iter().map(|asset| (asset, -size)).collect()
            }
            _ => Vec::new(),
        }
    }
}
