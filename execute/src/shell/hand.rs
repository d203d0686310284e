//! What this process has in hand: attempts queued to be sent, on their way, or being looked at. Nobody else of the
//! process touches them meanwhile.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::core::AttemptKey;

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Hand(Arc<Mutex<BTreeMap<AttemptKey, bool>>>);

impl Hand {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptKey, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an attempt; whether nobody had it.
    pub fn take(&self, key: AttemptKey) -> bool {
        let mut held = self.lock();
        if held.contains_key(&key) {
            return false;
        }
        held.insert(key, false);
        true
    }

    /// Lets it go; whether its cancellation was asked for meanwhile.
    pub fn drop(&self, key: AttemptKey) -> bool {
        self.lock().remove(&key).unwrap_or(false)
    }

    /// Tells whoever has it that it shall be cancelled; whether somebody has it.
    pub fn cancel(&self, key: AttemptKey) -> bool {
        self.lock().get_mut(&key).map(|cancelled| *cancelled = true).is_some()
    }

    /// How many are in hand.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing is in hand.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether its cancellation was asked for since it was taken.
    pub fn is_cancelled(&self, key: AttemptKey) -> bool {
        self.lock().get(&key).copied().unwrap_or(false)
    }
}
