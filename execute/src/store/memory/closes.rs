//! Closes and dues in memory.

use schemas::{Timestamp, codec::Codec};

use super::State;
use crate::{
    core::{
        close::Close,
        gate::{Sign, Snapshots, Wanted},
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
