//! Whether an open log's process lives: it holds a lock on a file of its own, which the system lets go of
//! when the process ends, however it ends. So the partitions of a process killed with -9 need not wait
//! for its session.
//!
//! A process that is stopped or hangs keeps its lock: that is what sessions are for. Where such a file is
//! missing nothing is concluded.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use runtime::Chance;

use crate::port::LogError;

/// The files beside a log.
#[derive(Debug, Clone)]
pub(super) struct Lives(PathBuf);

/// One open log, alive until this is dropped.
#[derive(Debug)]
pub(super) struct Alive {
    /// The number that names it.
    pub handle: i64,
    _locked: File,
}

impl Lives {
    pub(super) fn beside(log: &Path) -> Self {
        let mut name = log.as_os_str().to_owned();
        name.push("-alive");
        Self(name.into())
    }

    fn file(&self, handle: i64) -> PathBuf {
        self.0.join(format!("{handle:016x}"))
    }

    /// Begins to live.
    pub(super) fn begin(&self, chance: &Chance) -> Result<Alive, LogError> {
        let failed =
            |e: io::Error| LogError::Unreachable(format!("{} cannot be written ({e})", self.0.display()));
        match DirBuilder::new().mode(0o700).create(&self.0) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
        loop {
            let handle = i64::from_be_bytes(chance.bytes()) & (i64::MAX >> 1);
            let path = self.file(handle);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let file = match file {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(failed)?,
            };
            file.lock().map_err(failed)?;
            // Somebody may have swept it away before it was locked.
            let made = file.metadata().map_err(failed)?;
            if handle > 0 && fs::metadata(&path).is_ok_and(|m| (m.dev(), m.ino()) == (made.dev(), made.ino()))
            {
                return Ok(Alive { handle, _locked: file });
            }
        }
    }

    /// Whether its process has certainly ended.
    pub(super) fn is_dead(&self, handle: i64) -> bool {
        File::open(self.file(handle)).is_ok_and(|file| is_free(&file))
    }

    /// The dead ones.
    pub(super) fn dead(&self) -> Vec<i64> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let handle = |name: &str| i64::from_str_radix(name, 16).ok();
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut dead: Vec<_> = names.filter_map(|n| handle(&n)).filter(|h| self.is_dead(*h)).collect();
        dead.sort_unstable();
        dead
    }

    /// Removes the trace of a dead one.
    pub(super) fn bury(&self, handle: i64) {
        // Somebody else may have been faster.
        let _already = fs::remove_file(self.file(handle));
    }
}

fn is_free(file: &File) -> bool {
    match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lives_is_not_dead_and_who_has_gone_is() {
        let dir = tempfile::tempdir().unwrap();
        let lives = Lives::beside(&dir.path().join("log"));
        let chance = Chance::seeded(1);
        let one = lives.begin(&chance).unwrap();
        let two = lives.begin(&chance).unwrap();
        assert!(!lives.is_dead(one.handle) && !lives.is_dead(two.handle));
        let handle = one.handle;
        drop(one);
        assert!(lives.is_dead(handle) && !lives.is_dead(two.handle));
        assert_eq!(lives.dead(), [handle]);
        lives.bury(handle);
        assert!(!lives.is_dead(handle), "of a missing file nothing is concluded");
        assert!(lives.dead().is_empty());
    }
}
