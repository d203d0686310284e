//! What this process has in hand: attempts queued to be sent, on their way, or being looked at. Nobody else of the
//! process touches them meanwhile.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::core::AttemptKey;

/// What came up while an attempt was in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meanwhile {
    /// Its cancellation was asked for.
    pub cancelled: bool,
    /// Something happened to it at the venue: what was read of it before may be old.
    pub news: bool,
}

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Hand(Arc<Mutex<BTreeMap<AttemptKey, Meanwhile>>>);

impl Hand {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptKey, Meanwhile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an attempt; whether nobody had it.
    pub fn take(&self, key: AttemptKey) -> bool {
        let mut held = self.lock();
        if held.contains_key(&key) {
            return false;
        }
        held.insert(key, Meanwhile::default());
        true
    }

    /// Lets it go; what came up meanwhile. Whoever lets go sees to that: see `Desk::let_go`.
    pub fn drop(&self, key: AttemptKey) -> Meanwhile {
        self.lock().remove(&key).unwrap_or_default()
    }

    /// Tells whoever has it that it shall be cancelled; whether somebody has it.
    pub fn cancel(&self, key: AttemptKey) -> bool {
        self.lock().get_mut(&key).map(|meanwhile| meanwhile.cancelled = true).is_some()
    }

    /// Tells whoever has it that something happened to it; whether somebody has it.
    pub fn news(&self, key: AttemptKey) -> bool {
        self.lock().get_mut(&key).map(|meanwhile| meanwhile.news = true).is_some()
    }

    /// The same for everything that is in hand.
    pub fn news_of_all(&self) {
        for meanwhile in self.lock().values_mut() {
            meanwhile.news = true;
        }
    }

    /// How many are in hand.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing is in hand.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether somebody has it.
    pub fn has(&self, key: AttemptKey) -> bool {
        self.lock().contains_key(&key)
    }

    /// Whether its cancellation was asked for since it was taken.
    pub fn is_cancelled(&self, key: AttemptKey) -> bool {
        self.lock().get(&key).is_some_and(|meanwhile| meanwhile.cancelled)
    }
}
