//! The closes that were asked for of a position since it was last flat. What is due of them, and what became of
//! that, the gate knows; decide remembers enough not to ask twice, and to take dues back.

use schemas::{IdempotencyKey, Timestamp};
use serde::{Deserialize, Serialize};

use super::{State, own::OwnKey};

/// The closes of a position.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// Their keys, oldest first.
    pub keys: Vec<IdempotencyKey>,
    /// The first of them by which everything goes, what is still on its way included; none once more was bought.
    pub everything: Option<IdempotencyKey>,
}

impl State {
    /// A close was decided: of everything, or of a part.
    pub(crate) fn fold_close(&mut self, own: OwnKey, key: IdempotencyKey, everything: bool) {
        let mut closing = self.closing.get(&own).cloned().unwrap_or_default();
        if !closing.keys.contains(&key) {
            closing.keys.push(key);
        }
        if everything && closing.everything.is_none() {
            closing.everything = Some(key);
        }
        self.closing.set(own, closing);
    }

    /// Whether all of a position is due already: another close of it would sell nothing.
    pub(crate) fn is_all_due(&self, own: &OwnKey) -> bool {
        self.closing.get(own).is_some_and(|c| c.everything.is_some())
    }

    /// The closes of a position, oldest first.
    pub(crate) fn closes_of(&self, own: &OwnKey) -> &[IdempotencyKey] {
        self.closing.get(own).map_or(&[], |c| &c.keys)
    }

    /// More was bought than the closes so far are about.
    pub(super) fn fold_bought_more(&mut self, own: &OwnKey) {
        if let Some(closing) = self.closing.get(own).cloned().filter(|c| c.everything.is_some()) {
            self.closing.set(own.clone(), Closing { everything: None, ..closing });
        }
    }

    /// What is due of a close and not sent is dropped.
    pub(crate) fn drop_close(&mut self, own: &OwnKey, key: IdempotencyKey) {
        let Some(mut closing) = self.closing.get(own).cloned() else { return };
        closing.keys.retain(|k| *k != key);
        closing.everything = closing.everything.filter(|k| *k != key);
        self.closing.set(own.clone(), closing);
    }

    /// All of them are dropped, or done.
    pub(crate) fn forget_closes(&mut self, own: &OwnKey) {
        self.closing.remove(own);
    }

    /// Nothing is held and nothing on its way, either way: whatever was to be closed is.
    pub(super) fn settle(&mut self, own: &OwnKey, clock: Timestamp) {
        let held = self.positions.get(own).is_some_and(|p| p.held.is_positive());
        if !held && self.open_of(own, clock).next().is_none() {
            self.forget_closes(own);
        }
    }
}
