//! Tokens that go on under another id: the venue gives a market another version, and moves holdings to its new ids
//! (`behaviour.md` 1, MIGRATION).
//!
//! From the migration of a leader's holding on, the ids of a token are one token here: what our copies hold, have on
//! their way, wait for and owe, and what the leader spent in a month, stands under the newest. What is told later under a
//! former id (an order that was sent before, an amendment, a close that is asked for) is folded under the newest too, so
//! that nothing depends on which came first. The leader's holdings stay under the id that they have at the venue, for a
//! part of one may stay behind; where a part of a sale is reckoned they count together.

use std::collections::BTreeSet;

use schemas::{Address, AssetId, BillingAccountId, Mode, TargetStatus, Timestamp};

use super::{
    Expiring, State,
    closing::Closing,
    leader::Holding,
    own::{OrderKey, OwnKey, Position},
    targets::Row,
};

impl State {
    /// The id under which a token of a wallet stands now.
    pub(crate) fn current<'a>(&'a self, wallet: Address, asset: &'a AssetId) -> &'a AssetId {
        // Looked for only where there is anything to be found: a key to look with costs a copy.
        if self.migrated.is_empty() {
            return asset;
        }
        self.migrated.get(&(wallet, asset.clone())).unwrap_or(asset)
    }

    /// What the leader holds of a token under its other ids.
    pub(crate) fn held_besides(&self, wallet: Address, asset: &AssetId) -> Holding {
        if self.migrated.is_empty() {
            return Holding::default();
        }
        let current = self.current(wallet, asset);
        let former = self.migrated.iter().filter(|((w, _), to)| *w == wallet && *to == current);
        let ids = former.map(|((_, id), _)| id).chain([current]).filter(|id| *id != asset);
        ids.map(|id| self.holding(wallet, id)).fold(Holding::default(), Holding::and)
    }

    /// Whose copies of a wallet hold a token, or have it on their way, or ever did: a row of each. What was sold of it can
    /// still come back, where a trade fails.
    pub(crate) fn holders(&self, wallet: Address, asset: &AssetId) -> Vec<Row> {
        let mine = |own: &OwnKey| own.wallet == wallet && own.asset == *asset;
        let positions = self.positions.iter().map(|(own, _)| own);
        let open = self.open.iter().map(|(key, _)| &key.own);
        let whose: BTreeSet<(BillingAccountId, Mode)> =
            positions.chain(open).filter(|own| mine(own)).map(|own| (own.account, own.mode)).collect();
        let row_of = |(account, mode): (BillingAccountId, Mode)| {
            let rows = self.rows.iter().map(|(_, row)| row);
            rows.filter(|r| r.wallet == wallet && r.billing_account_id == account && r.mode == mode)
                .max_by_key(|r| (r.status != TargetStatus::Removed, r.created_at, r.target_row_id))
                .cloned()
        };
        whose.into_iter().filter_map(row_of).collect()
    }

    /// A token of a wallet goes on under another id. Whether that is news: told again, or back, it changes nothing.
    pub(crate) fn fold_carried(
        &mut self,
        wallet: Address,
        from: &AssetId,
        to: &AssetId,
        clock: Timestamp,
    ) -> bool {
        let (from, to) = (self.current(wallet, from).clone(), self.current(wallet, to).clone());
        if from == to {
            return false;
        }
        self.carry_closes(wallet, &from, &to, clock);
        self.carry_positions(wallet, &from, &to);
        self.carry_orders(wallet, &from, &to);
        self.carry_kept(wallet, &from, &to);
        self.sample.carry(wallet, &from, &to);
        self.carry_expiries(wallet, &from, &to);
        let led: Vec<(Address, AssetId)> = self
            .migrated
            .iter()
            .filter(|((w, _), led)| *w == wallet && **led == from)
            .map(|(key, _)| key.clone())
            .collect();
        for key in led {
            self.migrated.set(key, to.clone());
        }
        self.migrated.set((wallet, from), to);
        true
    }

    fn carry_positions(&mut self, wallet: Address, from: &AssetId, to: &AssetId) {
        for (own, moved) in taken(wallet, from, self.positions.iter(), |own: &OwnKey| own) {
            self.positions.remove(&own);
            let there = OwnKey { asset: to.clone(), ..own };
            let sum = match self.positions.get(&there) {
                None => moved,
                Some(p) => Position {
                    condition: p.condition,
                    held: p.held.saturating_add(moved.held),
                    cost: p.cost.saturating_add(moved.cost),
                    opened: p.opened || moved.opened,
                },
            };
            self.positions.set(there, sum);
        }
    }

    fn carry_orders(&mut self, wallet: Address, from: &AssetId, to: &AssetId) {
        for (key, open) in taken(wallet, from, self.open.iter(), |key: &OrderKey| &key.own) {
            self.open.remove(&key);
            self.open.set(carried(&key, to), open);
        }
        for (key, done) in taken(wallet, from, self.done.iter(), |key: &OrderKey| &key.own) {
            self.done.remove(&key);
            self.done.set(carried(&key, to), done);
        }
    }

    fn carry_kept(&mut self, wallet: Address, from: &AssetId, to: &AssetId) {
        for (own, mut moved) in taken(wallet, from, self.kept.iter(), |own: &OwnKey| own) {
            self.kept.remove(&own);
            let there = OwnKey { asset: to.clone(), ..own };
            moved.extend(self.kept.get(&there).into_iter().flatten().copied());
            moved.sort();
            self.kept.set(there, moved);
        }
    }

    /// What is due stays due: of the position that the two come to. All of it is due where all of both was.
    fn carry_closes(&mut self, wallet: Address, from: &AssetId, to: &AssetId, clock: Timestamp) {
        let of = |own: &&OwnKey| own.wallet == wallet && (own.asset == *from || own.asset == *to);
        let owners: BTreeSet<OwnKey> = self
            .closing
            .iter()
            .map(|(own, _)| own)
            .filter(of)
            .map(|own| OwnKey { asset: from.clone(), ..own.clone() })
            .collect();
        for own in owners {
            let there = OwnKey { asset: to.clone(), ..own.clone() };
            let idle = |own: &OwnKey| {
                let held = self.positions.get(own).is_some_and(|p| p.held.is_positive());
                !held && self.open_of(own, clock).next().is_none()
            };
            let all_due = [&own, &there].iter().all(|own| self.is_all_due(own) || idle(own));
            let Some(moved) = self.closing.remove(&own) else {
                // Nothing was due of what joins it: not everything is due any more.
                if let Some(closing) = self.closing.get(&there).cloned().filter(|_| !all_due) {
                    self.closing.set(there, Closing { everything: None, ..closing });
                }
                continue;
            };
            let known = self.closing.get(&there).cloned().unwrap_or_default();
            let mut keys = moved.keys;
            keys.extend(known.keys.iter().filter(|k| !keys.contains(k)).copied().collect::<Vec<_>>());
            let everything = moved.everything.or(known.everything).filter(|_| all_due);
            self.closing.set(there, Closing { keys, everything });
        }
    }

    /// What can be forgotten at a time is forgotten under its new name.
    fn carry_expiries(&mut self, wallet: Address, from: &AssetId, to: &AssetId) {
        let of = |key: &OrderKey| key.own.wallet == wallet && key.own.asset == *from;
        let renamed: Vec<_> = self
            .expiries
            .iter()
            .filter_map(|(at, what)| {
                let what = match what {
                    Expiring::Bought((w, asset, tx)) if *w == wallet && asset == from => {
                        Expiring::Bought((*w, to.clone(), *tx))
                    }
                    Expiring::Done(key) if of(key) => Expiring::Done(carried(key, to)),
                    Expiring::Silent(key) if of(key) => Expiring::Silent(carried(key, to)),
                    _ => return None,
                };
                Some((*at, what))
            })
            .collect();
        for (at, what) in renamed {
            self.expiries.set(at, what);
        }
    }
}

fn carried(key: &OrderKey, to: &AssetId) -> OrderKey {
    OrderKey { own: OwnKey { asset: to.clone(), ..key.own.clone() }, ..key.clone() }
}

/// The entries of a token.
fn taken<'s, K: Clone + 's, V: Clone + 's>(
    wallet: Address,
    asset: &AssetId,
    all: impl Iterator<Item = (&'s K, &'s V)>,
    own: impl Fn(&K) -> &OwnKey,
) -> Vec<(K, V)> {
    all.filter(|(key, _)| own(key).wallet == wallet && own(key).asset == *asset)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
