//! Faults that tests ask for. Nothing here happens by itself, and without a request it costs one look.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// When an answer gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Before the call took effect.
    Before,
    /// After it took effect.
    After,
}

/// The faults that wait to happen on one log handle. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Planned>);

#[derive(Debug, Default)]
struct Planned {
    commit: AtomicU8,
    append: AtomicU8,
}

impl Faults {
    /// The next commit of a member loses its answer: it ends in [`crate::Written::Unknown`].
    pub fn lose_next_commit(&self, lost: Lost) {
        self.0.commit.store(code(Some(lost)), Ordering::SeqCst);
    }

    /// The next append loses its answer.
    pub fn lose_next_append(&self, lost: Lost) {
        self.0.append.store(code(Some(lost)), Ordering::SeqCst);
    }

    pub(crate) fn take_commit(&self) -> Option<Lost> {
        take(&self.0.commit)
    }

    pub(crate) fn take_append(&self) -> Option<Lost> {
        take(&self.0.append)
    }
}

const fn code(lost: Option<Lost>) -> u8 {
    match lost {
        None => 0,
        Some(Lost::Before) => 1,
        Some(Lost::After) => 2,
    }
}

fn take(planned: &AtomicU8) -> Option<Lost> {
    if planned.load(Ordering::Relaxed) == 0 {
        return None;
    }
    match planned.swap(0, Ordering::SeqCst) {
        1 => Some(Lost::Before),
        2 => Some(Lost::After),
        _ => None,
    }
}
