//! What followed wallets hold: the snapshot, and on top of it their fills and position changes, at average cost.
//!
//! A fill that the snapshot contains moves nothing, whatever their order in the log: fills later than the moment it
//! covers are contained as far as it names them (`near`), earlier ones entirely. So a snapshot that comes after
//! fills is applied by folding the remembered fills on it again.

use std::{collections::BTreeMap, sync::Arc};

use schemas::{
    Address, AssetId, ChangeKind, ConditionId, FillId, Price, Round, Shares, Side, Timestamp, TxHash, Usdc,
    events::{Fill, FillVoided, HeldPosition, PositionChanged, PositionSnapshot, TokenDelta},
    money::mul_div,
};
use serde::{Deserialize, Serialize};

use super::{Expiring, REMEMBERED, State, seen_key};

/// A fill among those seen: its natural key.
pub type SeenKey = (Address, TxHash, AssetId, Side);

/// A position change among those seen: whose, in which transaction, of which condition, and what kind.
pub type ChangeKey = (Address, TxHash, ConditionId, String);

/// A fill that was folded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The name under which it was first seen.
    pub fill_id: FillId,
    /// The highest revision folded.
    pub revision: i32,
    /// Its shares; none once it was voided.
    pub shares: Shares,
    /// Its dollars.
    pub notional: Usdc,
    /// When it settled.
    pub filled_at: Timestamp,
    /// Its place among all that was folded.
    pub sequence: u64,
    /// When it may be forgotten.
    pub until: Timestamp,
}

/// A position change that was folded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSeen {
    /// When it settled.
    pub at: Timestamp,
    /// What it moved.
    pub deltas: Vec<TokenDelta>,
    /// Its place among all that was folded.
    pub sequence: u64,
}

/// What a wallet holds of a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// How much.
    pub shares: Shares,
    /// What these shares cost, at the average.
    pub cost: Usdc,
}

impl Holding {
    /// The average price; none where nothing is held.
    pub fn average(self) -> Option<Price> {
        if self.shares.is_positive() { Price::of(self.cost, self.shares, Round::Nearest) } else { None }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        self.plus(other.shares, other.cost)
    }

    fn plus(self, shares: Shares, cost: Usdc) -> Self {
        Self { shares: self.shares.saturating_add(shares), cost: self.cost.saturating_add(cost) }
    }

    /// Without some of its shares, which take their part of the cost along.
    fn without(self, shares: Shares) -> Self {
        if shares >= self.shares {
            return Self::default();
        }
        let gone = self.cost.scale(shares.micro(), self.shares.micro(), Round::Down).unwrap_or_default();
        Self { shares: self.shares.minus_or_zero(shares), cost: self.cost.minus_or_zero(gone) }
    }

    fn moved(self, side: Side, shares: Shares, notional: Usdc) -> Self {
        match side {
            Side::Buy => self.plus(shares, notional),
            Side::Sell => self.without(shares),
        }
    }
}

/// What a snapshot contains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    covers_until: Timestamp,
    observed_at: Timestamp,
    #[serde(with = "pairs")]
    near: BTreeMap<(TxHash, AssetId, Side), Shares>,
}

impl Baseline {
    /// How many shares of a fill the snapshot contains.
    fn contains(&self, key: &SeenKey, filled_at: Timestamp, shares: Shares) -> Shares {
        match self.near.get(&(key.1, key.2.clone(), key.3)) {
            Some(contained) => (*contained).min(shares),
            None if filled_at <= self.covers_until => shares,
            None => Shares::ZERO,
        }
    }

    /// Whether it contains a position change. Those are not named, so the moment it was read decides.
    fn contains_change(&self, at: Timestamp) -> bool {
        at <= self.observed_at
    }
}

/// What is known of a wallet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The newest complete snapshot.
    baseline: Option<Arc<Baseline>>,
    /// The parts of one that is not complete.
    parts: BTreeMap<i32, PositionSnapshot>,
}

/// How a token moved with a record of a fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    /// The fill's first name: the key is made from it.
    pub fill_id: FillId,
    /// Whether the fill was not seen before.
    pub fresh: bool,
    /// Shares that this record brings on top of what was known of the fill.
    pub shares: Shares,
    /// Dollars that it brings.
    pub notional: Usdc,
    /// What was held without them.
    pub before: Holding,
    /// What is held with them.
    pub after: Holding,
}

/// What is folded again on a snapshot.
enum Again {
    Fill(SeenKey, Timestamp, Shares, Usdc),
    Change(Vec<TokenDelta>),
}

/// `notional` for `part` of `whole` shares.
fn part_of(notional: Usdc, part: Shares, whole: Shares) -> Usdc {
    if part == whole {
        return notional;
    }
    notional.scale(part.micro(), whole.micro(), Round::Down).unwrap_or_default()
}

impl State {
    /// Whether a wallet's snapshot has been read.
    pub(crate) fn is_known(&self, wallet: Address) -> bool {
        self.followed.get(&wallet).is_some_and(|f| f.baseline.is_some())
    }

    /// What a wallet holds of a token.
    pub(crate) fn holding(&self, wallet: Address, asset: &AssetId) -> Holding {
        self.holdings.get(&(wallet, asset.clone())).copied().unwrap_or_default()
    }

    fn hold(&mut self, wallet: Address, asset: &AssetId, holding: Holding) {
        let key = (wallet, asset.clone());
        if holding.shares.is_positive() {
            self.holdings.set(key, holding);
        } else {
            self.holdings.remove(&key);
        }
    }

    /// How many shares of a fill, and for what, lie beyond the snapshot.
    fn beyond(&self, key: &SeenKey, filled_at: Timestamp, shares: Shares, notional: Usdc) -> (Shares, Usdc) {
        let contained = self
            .followed
            .get(&key.0)
            .and_then(|f| f.baseline.as_ref())
            .map_or(Shares::ZERO, |b| b.contains(key, filled_at, shares));
        let rest = shares.minus_or_zero(contained);
        (rest, part_of(notional, rest, shares))
    }

    /// A fill, new or amended. `None` where it brings nothing: its revision was seen, or its totals are not above
    /// the known ones.
    pub(crate) fn fold_fill(&mut self, fill: &Fill, clock: Timestamp) -> Option<Move> {
        let key = seen_key(fill.natural_key());
        let known = self.seen.get(&key).cloned();
        if known.as_ref().is_some_and(|k| fill.revision <= k.revision || fill.shares <= k.shares) {
            return None;
        }
        let fresh = known.is_none();
        let (fill_id, sequence, old_shares, old_notional) = match known {
            Some(k) => (k.fill_id, k.sequence, k.shares, k.notional),
            None => (fill.fill_id.clone(), self.sequence.next(), Shares::ZERO, Usdc::ZERO),
        };
        let added = fill.shares.minus_or_zero(old_shares);
        let added_notional = fill.notional.minus_or_zero(old_notional);
        let (beyond, beyond_notional) = self.beyond(&key, fill.filled_at, fill.shares, fill.notional);
        let (was, was_notional) = self.beyond(&key, fill.filled_at, old_shares, old_notional);
        let moved = beyond.minus_or_zero(was);
        let moved_notional = beyond_notional.minus_or_zero(was_notional);

        let current = self.holding(fill.wallet, &fill.asset);
        let after = current.moved(fill.side, moved, moved_notional);
        // What the snapshot contains of it was not there before it.
        let contained = added.minus_or_zero(moved);
        let before = match fill.side {
            Side::Buy => Holding {
                shares: current.shares.minus_or_zero(contained),
                cost: current.cost.minus_or_zero(added_notional.minus_or_zero(moved_notional)),
            },
            Side::Sell => Holding { shares: current.shares.saturating_add(contained), ..current },
        };
        self.hold(fill.wallet, &fill.asset, after);
        let until = clock.plus(REMEMBERED);
        self.seen.set(
            key.clone(),
            Seen {
                fill_id: fill_id.clone(),
                revision: fill.revision,
                shares: fill.shares,
                notional: fill.notional,
                filled_at: fill.filled_at,
                sequence,
                until,
            },
        );
        self.expire(until, Expiring::Seen(key));
        Some(Move { fill_id, fresh, shares: added, notional: added_notional, before, after })
    }

    /// A fill that never happened: the wallet's position goes back. Answers whether it had counted.
    pub(crate) fn fold_voided(&mut self, voided: &FillVoided, clock: Timestamp) -> Option<FillId> {
        let key: SeenKey = (voided.wallet, voided.tx, voided.asset.clone(), voided.side);
        if voided.side == Side::Buy {
            let asset = self.current(voided.wallet, &voided.asset).clone();
            self.void_bought(&(voided.wallet, asset, voided.tx), voided.revision);
        }
        let seen = self.seen.get(&key).cloned()?;
        if !seen.shares.is_positive() {
            return None;
        }
        let (moved, notional) = self.beyond(&key, seen.filled_at, seen.shares, seen.notional);
        let current = self.holding(voided.wallet, &voided.asset);
        let after = match voided.side {
            // At its own price, so that the average is what it was.
            Side::Buy if moved < current.shares => Holding {
                shares: current.shares.minus_or_zero(moved),
                cost: current.cost.minus_or_zero(notional),
            },
            Side::Buy => Holding::default(),
            // The shares come back at the average of what stayed, or at their sale price.
            Side::Sell => {
                let back = mul_div(current.cost.micro(), moved.micro(), current.shares.micro(), Round::Down);
                current.plus(moved, back.map_or(notional, Usdc::from_micro))
            }
        };
        self.hold(voided.wallet, &voided.asset, after);
        let until = clock.plus(REMEMBERED);
        let fill_id = seen.fill_id.clone();
        self.seen.set(
            key.clone(),
            Seen {
                revision: seen.revision.max(voided.revision),
                shares: Shares::ZERO,
                notional: Usdc::ZERO,
                until,
                ..seen
            },
        );
        self.expire(until, Expiring::Seen(key));
        Some(fill_id)
    }

    /// A part of a snapshot; the last one puts it in force.
    pub(crate) fn fold_snapshot(&mut self, part: PositionSnapshot) {
        let wallet = part.wallet;
        let mut followed = self.followed.get(&wallet).cloned().unwrap_or_default();
        let read_at = part.observed_at;
        if followed.baseline.as_ref().is_some_and(|b| b.observed_at >= read_at) {
            return;
        }
        // Another read begins anew.
        followed.parts.retain(|_, p| p.observed_at == read_at && p.parts == part.parts);
        let parts = usize::try_from(part.parts).unwrap_or(0);
        followed.parts.insert(part.part, part);
        if followed.parts.len() < parts {
            self.followed.set(wallet, followed);
            return;
        }
        let parts = std::mem::take(&mut followed.parts);
        let mut near = BTreeMap::new();
        let mut positions: Vec<HeldPosition> = Vec::new();
        let mut covers_until = Timestamp::default();
        for part in parts.into_values() {
            covers_until = part.covers_until;
            near.extend(part.near.into_iter().map(|n| ((n.tx, n.asset, n.side), n.shares)));
            positions.extend(part.positions);
        }
        followed.baseline = Some(Arc::new(Baseline { covers_until, observed_at: read_at, near }));
        self.followed.set(wallet, followed);
        self.rebase(wallet, positions);
    }

    /// The wallet's positions are these, and on top of them whatever the snapshot does not contain, in the order in
    /// which it was folded.
    fn rebase(&mut self, wallet: Address, positions: Vec<HeldPosition>) {
        let old: Vec<AssetId> = self
            .holdings
            .iter()
            .skip_while(|((w, _), _)| *w < wallet)
            .take_while(|((w, _), _)| *w == wallet)
            .map(|((_, asset), _)| asset.clone())
            .collect();
        for asset in old {
            self.holdings.remove(&(wallet, asset));
        }
        for p in positions {
            self.hold(wallet, &p.asset, Holding { shares: p.shares, cost: p.cost });
        }
        let mut again: BTreeMap<u64, Again> = BTreeMap::new();
        for (key, s) in self.seen.iter().filter(|((w, ..), _)| *w == wallet) {
            again.insert(s.sequence, Again::Fill(key.clone(), s.filled_at, s.shares, s.notional));
        }
        let baseline = self.followed.get(&wallet).and_then(|f| f.baseline.clone());
        for (_, c) in self.changes.iter().filter(|((w, ..), _)| *w == wallet) {
            if !baseline.as_ref().is_some_and(|b| b.contains_change(c.at)) {
                again.insert(c.sequence, Again::Change(c.deltas.clone()));
            }
        }
        for step in again.into_values() {
            match step {
                Again::Fill(key, at, shares, notional) => {
                    let (moved, cost) = self.beyond(&key, at, shares, notional);
                    let holding = self.holding(wallet, &key.2).moved(key.3, moved, cost);
                    self.hold(wallet, &key.2, holding);
                }
                Again::Change(deltas) => {
                    for delta in &deltas {
                        self.fold_delta(wallet, delta);
                    }
                }
            }
        }
    }

    fn fold_delta(&mut self, wallet: Address, delta: &TokenDelta) {
        let current = self.holding(wallet, &delta.asset);
        let gone = Shares::from_micro(delta.shares.micro().saturating_neg());
        if let Some(becomes) = &delta.becomes {
            // The whole holding, or the part that moved, goes on under another id with its cost.
            let part = if gone.is_positive() { gone.min(current.shares) } else { current.shares };
            let cost = part_of(current.cost, part, current.shares);
            self.hold(wallet, &delta.asset, current.without(part));
            let there = self.holding(wallet, becomes);
            self.hold(wallet, becomes, there.plus(part, cost));
        } else if gone.is_positive() {
            self.hold(wallet, &delta.asset, current.without(gone));
        } else {
            self.hold(wallet, &delta.asset, current.plus(delta.shares, delta.cost));
        }
    }

    /// A position change. Answers, for each token that went, what was held before and after; `None` where it was
    /// seen, or where the snapshot contains it.
    pub(crate) fn fold_change(
        &mut self,
        changed: &PositionChanged,
        clock: Timestamp,
    ) -> Option<Vec<(TokenDelta, Holding, Holding)>> {
        let key: ChangeKey =
            (changed.wallet, changed.tx, changed.condition_id, changed.kind.as_str().to_owned());
        if self.changes.contains(&key) {
            return None;
        }
        let sequence = self.sequence.next();
        self.changes.set(
            key.clone(),
            ChangeSeen { at: changed.changed_at, deltas: changed.deltas.clone(), sequence },
        );
        self.expire(clock.plus(REMEMBERED), Expiring::Change(key));
        let contained = self
            .followed
            .get(&changed.wallet)
            .and_then(|f| f.baseline.as_ref())
            .is_some_and(|b| b.contains_change(changed.changed_at));
        let mut went = Vec::new();
        for delta in &changed.deltas {
            let gone = delta.shares.micro() < 0 && delta.becomes.is_none();
            let before = self.holding(changed.wallet, &delta.asset);
            if !contained {
                self.fold_delta(changed.wallet, delta);
            }
            let after = self.holding(changed.wallet, &delta.asset);
            let before = if contained {
                let gone = Shares::from_micro(delta.shares.micro().saturating_neg());
                Holding { shares: after.shares.saturating_add(gone), ..after }
            } else {
                before
            };
            if gone {
                went.push((delta.clone(), before, after));
            }
        }
        let sold = matches!(changed.kind, ChangeKind::Merge | ChangeKind::Conversion);
        Some(if sold { went } else { Vec::new() })
    }
}

mod pairs {
    //! A map whose keys are no strings, as a list of pairs.

    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(d: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(d)?.into_iter().collect())
    }
}
