//! What a wallet held by the records of its log: what a conversion is compared with.
//!
//! The same fold as decide's, of shares alone and of one wallet: the snapshot, and on top of it the fills and changes
//! that it does not contain.

use std::collections::BTreeMap;

use schemas::{
    Address, AssetId, ConditionId, FillKind, NaturalKey, Shares, Side, Timestamp,
    events::{Fill, FillsEvent, HeldPosition, PositionChanged, PositionSnapshot, TokenDelta},
};

use super::{
    changes::{ChangeKey, key_of},
    merge::MEMORY,
};

/// What is held of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The token's condition.
    pub condition_id: ConditionId,
    /// How much.
    pub shares: Shares,
}

#[derive(Debug, Clone)]
struct Seen {
    shares: Shares,
    filled_at: Timestamp,
}

/// One wallet's shares.
#[derive(Debug, Clone)]
pub struct Ledger {
    wallet: Address,
    parts: BTreeMap<i32, PositionSnapshot>,
    covers_until: Timestamp,
    observed_at: Timestamp,
    near: BTreeMap<NaturalKey, Shares>,
    held: BTreeMap<AssetId, Held>,
    seen: BTreeMap<NaturalKey, Seen>,
    changes: BTreeMap<ChangeKey, Timestamp>,
}

impl Ledger {
    /// Nothing is known.
    pub const fn new(wallet: Address) -> Self {
        Self {
            wallet,
            parts: BTreeMap::new(),
            covers_until: Timestamp::from_micros(0),
            observed_at: Timestamp::from_micros(0),
            near: BTreeMap::new(),
            held: BTreeMap::new(),
            seen: BTreeMap::new(),
            changes: BTreeMap::new(),
        }
    }

    /// What is held, by token.
    pub const fn held(&self) -> &BTreeMap<AssetId, Held> {
        &self.held
    }

    /// Takes the next record of the log.
    pub fn take(&mut self, event: FillsEvent) {
        match event {
            FillsEvent::Fill(fill) if fill.wallet == self.wallet => self.fill(&fill),
            FillsEvent::PositionChanged(changed) if changed.wallet == self.wallet => self.change(&changed),
            FillsEvent::PositionSnapshot(part) if part.wallet == self.wallet => self.snapshot(part),
            FillsEvent::FillVoided(voided) if voided.wallet == self.wallet => {
                let (wallet, asset) = (voided.wallet, voided.asset.clone());
                let key = NaturalKey { wallet, tx: voided.tx, asset, side: voided.side };
                if let Some(seen) = self.seen.get_mut(&key) {
                    let back = std::mem::take(&mut seen.shares);
                    let undone = if voided.side == Side::Buy { Side::Sell } else { Side::Buy };
                    self.moved(&voided.asset, voided.condition_id, undone, back);
                }
            }
            _ => {}
        }
    }

    /// Takes a fill: a record of it, or what a walk shows of it.
    pub fn fill(&mut self, fill: &Fill) {
        if matches!(fill.kind, FillKind::History | FillKind::Late) {
            return;
        }
        let key = fill.natural_key();
        let before = self.seen.get(&key).map_or(Shares::ZERO, |seen| seen.shares);
        if fill.shares <= before {
            return;
        }
        let contained = match self.near.get(&key) {
            Some(shares) => *shares,
            None if fill.filled_at <= self.covers_until => fill.shares,
            None => Shares::ZERO,
        };
        let moved = fill.shares.minus_or_zero(contained).minus_or_zero(before.minus_or_zero(contained));
        self.moved(&fill.asset, fill.condition_id, fill.side, moved);
        self.seen.insert(key, Seen { shares: fill.shares, filled_at: fill.filled_at });
        // Natural keys come again for so long, and no longer.
        let horizon = fill.filled_at.minus(MEMORY);
        if self.seen.len().is_multiple_of(1_000) {
            self.seen.retain(|_, seen| seen.filled_at >= horizon);
            self.changes.retain(|_, at| *at >= horizon);
        }
    }

    fn moved(&mut self, asset: &AssetId, condition_id: ConditionId, side: Side, shares: Shares) {
        let held = self.held.entry(asset.clone()).or_insert(Held { condition_id, shares: Shares::ZERO });
        held.shares = match side {
            Side::Buy => held.shares.saturating_add(shares),
            Side::Sell => held.shares.minus_or_zero(shares),
        };
        if !held.shares.is_positive() {
            self.held.remove(asset);
        }
    }

    fn change(&mut self, changed: &PositionChanged) {
        let fresh = self.changes.insert(key_of(changed), changed.changed_at).is_none();
        if !fresh || changed.changed_at <= self.observed_at {
            return;
        }
        for delta in &changed.deltas {
            self.delta(changed.condition_id, delta);
        }
    }

    fn delta(&mut self, condition: ConditionId, delta: &TokenDelta) {
        let gone = Shares::from_micro(delta.shares.micro().saturating_neg());
        let Some(becomes) = &delta.becomes else {
            let (side, shares) =
                if gone.is_positive() { (Side::Sell, gone) } else { (Side::Buy, delta.shares) };
            return self.moved(&delta.asset, condition, side, shares);
        };
        let current = self.held.get(&delta.asset).map_or(Shares::ZERO, |held| held.shares);
        let part = if gone.is_positive() { gone.min(current) } else { current };
        self.moved(&delta.asset, condition, Side::Sell, part);
        self.moved(becomes, condition, Side::Buy, part);
    }

    fn snapshot(&mut self, part: PositionSnapshot) {
        if part.observed_at <= self.observed_at {
            return;
        }
        let (read_at, parts) = (part.observed_at, part.parts);
        self.parts.retain(|_, p| p.observed_at == read_at && p.parts == parts);
        self.parts.insert(part.part, part);
        if self.parts.len() < usize::try_from(parts).unwrap_or(0) {
            return;
        }
        self.observed_at = read_at;
        self.near.clear();
        self.held.clear();
        for part in std::mem::take(&mut self.parts).into_values() {
            self.covers_until = part.covers_until;
            for near in part.near {
                let key = NaturalKey { wallet: self.wallet, tx: near.tx, asset: near.asset, side: near.side };
                self.near.insert(key, near.shares);
            }
            for HeldPosition { asset, condition_id, shares, .. } in part.positions {
                self.held.insert(asset, Held { condition_id, shares });
            }
        }
        // Ingest publishes a snapshot before the fills that it does not contain.
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use schemas::{ChangeKind, events::NearFill};

    use super::*;
    use crate::core::{
        changes::{Changes, tests::change_row},
        merge::{Merger, tests::row},
    };

    const WALLET: Address = Address::from_bytes([1; 20]);

    fn fill(tx: u8, side: Side, shares: i64, at: i64) -> Fill {
        let row = crate::core::merge::Row { side, ..row(tx, shares, 400_000, at) };
        Merger::new(WALLET).absorb(&[row], Timestamp::from_secs(at)).remove(0)
    }

    fn snapshot(shares: i64, covers_until: i64, near: &[&Fill]) -> FillsEvent {
        FillsEvent::PositionSnapshot(PositionSnapshot {
            wallet: WALLET,
            covers_until: Timestamp::from_secs(covers_until),
            near: near
                .iter()
                .map(|f| NearFill { tx: f.tx, asset: f.asset.clone(), side: f.side, shares: f.shares })
                .collect(),
            positions: vec![HeldPosition {
                asset: "11".parse().unwrap(),
                condition_id: ConditionId::from_bytes([2; 32]),
                opposite: None,
                shares: Shares::from_units(shares),
                cost: schemas::Usdc::ZERO,
            }],
            part: 0,
            parts: 1,
            observed_at: Timestamp::from_secs(covers_until + 60),
        })
    }

    fn merge(shares: i64, at: i64) -> PositionChanged {
        let row = change_row(9, ChangeKind::Merge, 2, shares, at);
        let mut change = Changes::new(WALLET).absorb(&[row], Timestamp::from_secs(at)).changes.remove(0);
        let token =
            |id: &str| schemas::events::MarketToken { asset: id.parse().unwrap(), outcome: String::new() };
        change.changed.deltas = change.deltas(&[token("11"), token("22")]);
        change.changed
    }

    fn shares(ledger: &Ledger) -> i64 {
        ledger.held().get(&"11".parse().unwrap()).map_or(0, |held| held.shares.micro() / 1_000_000)
    }

    #[test]
    fn a_ledger_is_the_snapshot_and_what_it_does_not_contain() {
        let mut ledger = Ledger::new(WALLET);
        let near = fill(1, Side::Buy, 10, 950);
        ledger.take(snapshot(100, 900, &[&near]));
        for (event, expected) in [
            (FillsEvent::Fill(near.clone()), 100),
            (FillsEvent::Fill(fill(2, Side::Buy, 7, 890)), 100),
            (FillsEvent::Fill(fill(3, Side::Buy, 5, 970)), 105),
            (FillsEvent::Fill(fill(3, Side::Buy, 5, 970)), 105),
            (
                FillsEvent::Fill(Fill {
                    revision: 1,
                    shares: Shares::from_units(8),
                    ..fill(3, Side::Buy, 5, 970)
                }),
                108,
            ),
            (FillsEvent::Fill(Fill { shares: Shares::from_units(12), ..near }), 110),
            (FillsEvent::PositionChanged(merge(30, 955)), 110),
            (FillsEvent::Fill(Fill { kind: FillKind::History, ..fill(4, Side::Buy, 7, 980) }), 110),
            (FillsEvent::Fill(fill(5, Side::Sell, 60, 980)), 50),
        ] {
            ledger.take(event.clone());
            assert_eq!(shares(&ledger), expected, "{event:?}");
        }
        let mut later = ledger.clone();
        later.take(FillsEvent::PositionChanged(PositionChanged {
            tx: schemas::TxHash::ZERO,
            ..merge(30, 990)
        }));
        assert_eq!(shares(&later), 20);
        ledger.take(FillsEvent::PositionChanged(PositionChanged {
            tx: schemas::TxHash::ZERO,
            kind: ChangeKind::Migration,
            deltas: vec![TokenDelta {
                asset: "11".parse().unwrap(),
                shares: Shares::ZERO,
                cost: schemas::Usdc::ZERO,
                becomes: Some("101".parse().unwrap()),
            }],
            ..merge(30, 990)
        }));
        assert_eq!(shares(&ledger), 0);
        assert_eq!(ledger.held()[&"101".parse().unwrap()].shares, Shares::from_units(50));
    }
}
