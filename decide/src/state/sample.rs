//! What the wallets spent on each token in the last 30 days: the sample from which percentiles are read
//! (`behaviour.md` 3).
//!
//! Every BUY counts, once by its natural key: new ones and their amendments, history, and what came late. The
//! window ends at the cut's clock; what leaves it is taken out by the expiry of that one fill. Sums and
//! ranks follow from the fills: they are not written down, and every change of a fill, its being taken
//! back included, goes through [`Sample::shift`].

use std::{collections::BTreeMap, time::Duration};

use schemas::{Address, AssetId, Shares, Side, Timestamp, TxHash, Usdc, events::Fill};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Expiring, State, ranked::Ranked, tracked::Tracked};

/// How far the sample reaches back.
pub const WINDOW: Duration = Duration::from_secs(30 * 24 * 3_600);

/// A BUY of the sample: its natural key.
pub type BoughtKey = (Address, AssetId, TxHash);

/// What is known of a BUY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bought {
    /// Its shares; none once it was voided.
    pub shares: Shares,
    /// What they cost.
    pub notional: Usdc,
    /// The revision that was voided, where one was: only a higher one brings the fill back.
    pub voided: Option<i32>,
}

/// The sample of every wallet.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    fills: Tracked<BoughtKey, Bought>,
    sums: BTreeMap<(Address, AssetId), Usdc>,
    ranks: BTreeMap<Address, Ranked>,
}

/// Equal when their fills are: the rest follows from them.
impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.fills == other.fills
    }
}

impl Sample {
    /// How many BUYs there are.
    pub fn len(&self) -> usize {
        self.fills.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fills.is_empty()
    }

    /// What the wallet spent on the token.
    pub fn spent(&self, wallet: Address, asset: &AssetId) -> Usdc {
        self.sums.get(&(wallet, asset.clone())).copied().unwrap_or_default()
    }

    /// On how many tokens the wallet spent anything.
    pub fn tokens(&self, wallet: Address) -> usize {
        self.ranks.get(&wallet).map_or(0, Ranked::len)
    }

    /// The percentile of what the wallet spent on each token; none where it spent nothing.
    pub fn percentile(&self, wallet: Address, percent: u32) -> Option<Usdc> {
        self.ranks.get(&wallet)?.percentile(percent).map(Usdc::from_micro)
    }

    fn set(&mut self, key: BoughtKey, bought: Bought) {
        let before = self.fills.get(&key).map_or(Usdc::ZERO, |b| b.notional);
        self.shift(&key, before, bought.notional);
        self.fills.set(key, bought);
    }

    pub(super) fn remove(&mut self, key: &BoughtKey) {
        if let Some(gone) = self.fills.remove(key) {
            self.shift(key, gone.notional, Usdc::ZERO);
        }
    }

    /// A token goes on under another id: what was spent on the two was spent on one.
    pub(super) fn carry(&mut self, wallet: Address, from: &AssetId, to: &AssetId) {
        let first: BoughtKey = (wallet, from.clone(), TxHash::from_bytes([0; 32]));
        let theirs: Vec<(BoughtKey, Bought)> = self
            .fills
            .from(first)
            .take_while(|((w, asset, _), _)| *w == wallet && asset == from)
            .map(|(key, bought)| (key.clone(), *bought))
            .collect();
        for (key, bought) in theirs {
            self.remove(&key);
            let there = (wallet, to.clone(), key.2);
            let sum = self.fills.get(&there).map_or(bought, |known| Bought {
                shares: known.shares.saturating_add(bought.shares),
                notional: known.notional.saturating_add(bought.notional),
                voided: known.voided.max(bought.voided),
            });
            self.set(there, sum);
        }
    }

    /// A fill's part of its token's sum becomes another. Sums of nothing are no position of the sample.
    fn shift(&mut self, (wallet, asset, _): &BoughtKey, from: Usdc, to: Usdc) {
        if from == to {
            return;
        }
        let token = (*wallet, asset.clone());
        let before = self.sums.get(&token).copied().unwrap_or_default();
        let after = before.minus_or_zero(from).saturating_add(to);
        let ranks = self.ranks.entry(*wallet).or_default();
        if before.is_positive() {
            ranks.remove(before.micro());
        }
        if after.is_positive() {
            ranks.insert(after.micro());
            self.sums.insert(token, after);
        } else {
            self.sums.remove(&token);
        }
        if ranks.is_empty() {
            self.ranks.remove(wallet);
        }
    }

    pub(super) fn stage_another(&mut self) {
        self.fills.stage_another();
    }

    pub(super) fn keep(&mut self) {
        self.fills.keep();
    }

    pub(super) fn undo(&mut self) {
        while let Some((key, done, before)) = self.fills.undo_last() {
            let notional = |b: Option<Bought>| b.map_or(Usdc::ZERO, |b| b.notional);
            self.shift(&key, notional(done), notional(before));
        }
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.fills.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let fills = Tracked::<BoughtKey, Bought>::deserialize(d)?;
        let mut sample = Self::default();
        for (key, bought) in fills.iter() {
            sample.shift(key, Usdc::ZERO, bought.notional);
        }
        Ok(Self { fills, ..sample })
    }
}

impl State {
    /// A fill of any kind: a BUY within the window counts with what it brings on top of what was known of it.
    pub(crate) fn fold_bought(&mut self, fill: &Fill, clock: Timestamp) {
        let until = fill.filled_at.plus(WINDOW);
        if fill.side != Side::Buy || until <= clock || fill.notional.micro() < 0 {
            return;
        }
        let asset = self.current(fill.wallet, &fill.asset).clone();
        let key: BoughtKey = (fill.wallet, asset, fill.tx);
        let known = self.sample.fills.get(&key).copied();
        let brings_nothing = known.is_some_and(|k| {
            fill.shares <= k.shares || k.voided.is_some_and(|revision| fill.revision <= revision)
        });
        // Dollars past the range of all money: no such fill.
        let spent = self.sample.spent(fill.wallet, &key.1);
        if brings_nothing || spent.checked_add(fill.notional).is_none() {
            return;
        }
        if known.is_none() {
            self.expire(until, Expiring::Bought(key.clone()));
        }
        self.sample.set(key, Bought { shares: fill.shares, notional: fill.notional, voided: None });
    }

    /// A fill that never happened goes out of the sample again, and does not come back under the same revision.
    pub(super) fn void_bought(&mut self, key: &BoughtKey, revision: i32) {
        if let Some(known) = self.sample.fills.get(key) {
            let voided = known.voided.map_or(revision, |v| v.max(revision));
            let bought = Bought { shares: Shares::ZERO, notional: Usdc::ZERO, voided: Some(voided) };
            self.sample.set(key.clone(), bought);
        }
    }
}
