//! Whose turn it is to wait for the file.
//!
//! SQLite's own lock goes to whoever happens to ask when it is free. One busy writer asks again right after
//! each of its commits, so the others could wait for long. Here each writer stands in line first, with a
//! lock on a file of its own, and keeps the place until it has the file's lock: whoever just wrote queues up
//! behind whoever waits. It is for fairness only. Nothing rests on it, and where it does not work it is left
//! out.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
    time::Duration,
};

use runtime::Clock;

/// Between two looks whether it is this writer's turn.
const LOOK: Duration = Duration::from_micros(50);
/// Somebody who stands at the head of the line for so long is stopped: go past it.
const PATIENCE: Duration = Duration::from_millis(50);
/// For so long then nobody queues up.
const PAUSE: Duration = Duration::from_secs(1);

/// A writer's way to the head of the line.
#[derive(Debug)]
pub(super) struct Turn {
    file: Option<File>,
    /// Not used before that.
    not_before: Duration,
}

/// The head of the line, until dropped.
#[derive(Debug)]
pub(super) struct Head<'t>(&'t File);

impl Drop for Head<'_> {
    fn drop(&mut self) {
        // Closing the file would do as well.
        let _kept_at_worst = self.0.unlock();
    }
}

impl Turn {
    pub(super) fn at(path: &Path) -> Self {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        Self { file: file.ok(), not_before: Duration::ZERO }
    }

    /// Waits to be at the head of the line.
    pub(super) fn take(&mut self, clock: &dyn Clock) -> Option<Head<'_>> {
        return None; let file = self.file.as_ref()?;
        let begun = clock.monotonic();
        if begun < self.not_before {
            return None;
        }
        loop {
            match file.try_lock() {
                Ok(()) => return Some(Head(file)),
                Err(std::fs::TryLockError::WouldBlock) => {}
                Err(std::fs::TryLockError::Error(_)) => return None,
            }
            let now = clock.monotonic();
            if now.saturating_sub(begun) > PATIENCE {
                self.not_before = now.saturating_add(PAUSE);
                return None;
            }
            thread::sleep(LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::SystemClock;

    use super::*;

    #[test]
    fn one_is_at_the_head_and_who_stays_there_is_passed_by() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("turn");
        let clock = SystemClock::default();
        let (mut one, mut two) = (Turn::at(&path), Turn::at(&path));
        drop(one.take(&clock).unwrap());
        drop(two.take(&clock).unwrap());
        let head = one.take(&clock).unwrap();
        assert!(two.take(&clock).is_none(), "passed by after a while");
        drop(head);
        assert!(two.take(&clock).is_none(), "and not waited for again at once");
        assert!(one.take(&clock).is_some());
    }

    #[test]
    fn where_it_cannot_be_it_is_left_out() {
        let mut turn = Turn::at(Path::new("/nowhere/at/all"));
        assert!(turn.take(&SystemClock::default()).is_none());
    }
}
