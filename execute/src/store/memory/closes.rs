//! Closes and dues in memory.

use schemas::{AssetId, Timestamp, codec::Codec};

use super::State;
use crate::{
    core::{
        close::{
            Close, CloseName,
            carried::{Carried, Migration, carry},
        },
        gate::{Sign, Snapshots, Wanted},
        position::Position,
    },
    store::{Gated, StoreError, Turns, answers, turn_all},
};

/// A close with what is due and not ended.
pub(super) fn open_only(close: &Close) -> Close {
    Close { dues: close.open().cloned().collect(), ..close.clone() }
}

impl State {
    pub(super) fn turn(
        &mut self,
        codec: &Codec,
        batch: &Turns<'_>,
        keys: &dyn Sign,
        now: Timestamp,
    ) -> Result<Vec<Gated>, StoreError> {
        self.held(batch.partition, batch.epoch, now)?;
        let wanted = Wanted::by_closes(batch.closes.iter().map(|(name, condition, _)| (name, *condition)));
        let mut snapshots = self.read(wanted, batch.served, batch.now)?;
        let steps = turn_all(&mut snapshots, batch, keys).map_err(|_| StoreError::NotLoaded)?;
        self.write_closes(&snapshots)?;
        let written = self.write(codec, &steps)?;
        Ok(answers(steps, |key| written.contains(key)))
    }

    /// The name that a position has now.
    pub(super) fn current(&self, name: &CloseName) -> CloseName {
        match self.closes.get(name).and_then(|close| close.becomes.clone()) {
            Some(asset) => CloseName { asset, ..name.clone() },
            None => name.clone(),
        }
    }

    /// Everything of a position goes on under another id.
    pub(super) fn carry(&mut self, migration: &Migration, now: Timestamp) {
        let (from, to) = (self.current(&migration.before()).asset, self.current(&migration.after()).asset);
        if from == to {
            return;
        }
        let migration = Migration { from, to, ..migration.clone() };
        let Migration { billing_account_id: account, mode, target_id: target, ref from, ref to, .. } =
            migration;
        let (old, new) = (self.closes.remove(&migration.before()), self.closes.remove(&migration.after()));
        let Carried { old, new, .. } = carry(old, new, &migration, now);
        let ours = |name: &CloseName| {
            (name.billing_account_id, name.mode, name.target_id) == (account, mode, target)
        };
        for close in self.closes.values_mut().filter(|c| ours(&c.name) && c.becomes.as_ref() == Some(from)) {
            close.becomes = Some(to.clone());
        }
        for close in [old, new] {
            self.closes.insert(close.name.clone(), close);
        }
        let key = |asset: &AssetId| (account, mode, target, asset.clone());
        if let Some(moved) = self.positions.remove(&key(from)) {
            let there = self.positions.entry(key(to)).or_insert(Position::none(moved.condition_id));
            *there = there.and(moved);
        }
        for order in self.orders.values_mut().filter(|o| {
            (o.billing_account_id, o.mode, o.target_id) == (account, mode, target) && o.held_as == *from
        }) {
            order.held_as = to.clone();
        }
    }

    pub(super) fn write_closes(&mut self, snapshots: &Snapshots) -> Result<(), StoreError> {
        for close in snapshots.values().flat_map(|s| s.closes.values()) {
            self.write_close(close)?;
        }
        Ok(())
    }

    /// Writes a close with the dues that it has at hand; the others stay as they are.
    pub(super) fn write_close(&mut self, close: &Close) -> Result<(), StoreError> {
        let mut dues = self.closes.get(&close.name).map_or(Vec::new(), |c| c.dues.clone());
        for due in &close.dues {
            if let Some(known) = dues.iter_mut().find(|d| d.key() == due.key()) {
                *known = due.clone();
                continue;
            }
            let taken = self.closes.values().flat_map(|c| &c.dues).any(|d| {
                d.billing_account_id == due.billing_account_id
                    && (d.key() == due.key() || d.natural_key == due.natural_key)
            });
            if taken {
                return Err(StoreError::Changed(due.attempt_key()));
            }
            dues.push(due.clone());
        }
        dues.sort_by_key(|d| d.place);
        self.closes.insert(close.name.clone(), Close { dues, ..close.clone() });
        Ok(())
    }
}
