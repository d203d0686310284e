//! The state file: one line of JSON for everything the venue was told, synced to disk before it is
//! answered. Prints are not in it: they follow from the seed or the tape, and from the epoch.
//!
//! A restart reads the lines back into a new world at their own times, so that every order meets the same
//! books again and comes to the same end.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use schemas::{Address, OrderId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::exchange::{Fate, WalletChange};

/// Raised whenever the same seed or tape no longer gives the same prints, or the same orders other fills.
pub const GENERATION: u32 = 3;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`GENERATION`] of whoever wrote it.
    pub generation: u32,
    /// When the first print happened.
    pub epoch: Timestamp,
    /// What the prints and fills follow from, in words.
    pub past: String,
}

/// What the venue was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first line.
    Header(Header),
    /// An API key was made.
    Key {
        /// For whom.
        address: Address,
        /// Which of its keys.
        nonce: u64,
    },
    /// An order was taken, or killed at once.
    Order {
        /// When it was taken.
        at: Timestamp,
        /// When its body had been read.
        received: Timestamp,
        /// The body, as it came.
        body: String,
        /// For how long it was held back, in milliseconds; 0: not.
        hold_millis: u32,
        /// What becomes of its trades.
        fate: Fate,
        /// When it lands, where that is later than it was posted (a fault); its posting failed then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lands: Option<Timestamp>,
    },
    /// A known order was posted again.
    Again {
        /// Which.
        id: OrderId,
    },
    /// An order was cancelled.
    Cancel {
        /// When.
        at: Timestamp,
        /// Which.
        id: OrderId,
    },
    /// A heartbeat was taken.
    Heartbeat {
        /// When.
        at: Timestamp,
        /// The API key's id.
        owner: String,
        /// The id that it brought.
        given: String,
    },
    /// A wallet was changed from outside.
    Wallet {
        /// When.
        at: Timestamp,
        /// How.
        change: WalletChange,
    },
    /// An API key was deleted.
    KeyGone {
        /// Which.
        id: String,
    },
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be opened, read or written.
    #[error(
        "state_unusable: cannot use the simulator's state file {path}: {source}: check the path and its \
         permissions"
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another simulator has it open.
    #[error(
        "state_in_use: \
         the simulator's state file {path} is in use: stop the other simulator, or give each its own file"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A line in the middle is broken.
    #[error(
        "state_broken: \
         line {line} of the simulator's state file {path} cannot be read ({reason}): restore the file from a \
         backup, or move it away to start afresh"
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// It belongs to another seed, tape or version.
    #[error(
        "state_of_another_run: \
         the simulator's state file {path} belongs to another run (it has {found}, this run has {wanted}): start \
         with the same options, or move the file away to start afresh"
    )]
    AnotherRun {
        /// The file.
        path: PathBuf,
        /// What it was written under.
        found: String,
        /// What this run is.
        wanted: String,
    },
}

impl StateError {
    /// The error's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unusable { .. } => "state_unusable",
            Self::InUse { .. } => "state_in_use",
            Self::Broken { .. } => "state_broken",
            Self::AnotherRun { .. } => "state_of_another_run",
        }
    }
}

/// A state file that was opened: its header, and what it remembers.
#[derive(Debug)]
pub struct Opened {
    /// The header: read, or just written.
    pub header: Header,
    /// What the venue was told, in order.
    pub lines: Vec<Line>,
    /// Where more is written.
    pub journal: Journal,
}

struct Pending {
    line: Vec<u8>,
    done: Option<oneshot::Sender<()>>,
}

/// The end at which lines are written. A thread syncs all that wait at once.
#[derive(Debug)]
pub struct Journal {
    /// `None` only while it is dropped.
    writes: Option<mpsc::Sender<Pending>>,
    writer: Option<thread::JoinHandle<()>>,
}

/// Resolves once the line is on disk; an error means that it may not be.
#[derive(Debug)]
pub struct Synced(Option<oneshot::Receiver<()>>);

impl Synced {
    /// Nothing to wait for.
    pub const NOW: Self = Self(None);

    /// It will never be on disk.
    pub fn never() -> Self {
        Self(Some(oneshot::channel().1))
    }

    /// Waits.
    ///
    /// # Errors
    /// The disk refused; nobody knows what it holds.
    pub async fn wait(self) -> Result<(), JournalFailed> {
        match self.0 {
            None => Ok(()),
            Some(done) => done.await.map_err(|_| JournalFailed),
        }
    }
}

/// The state file could not be written: what was to be remembered may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("state_unwritable: the simulator's state file cannot be written; check its disk, then start again")]
pub struct JournalFailed;

impl Journal {
    /// Opens a state file, or makes it. `wanted` is the header of a new one; an old one must have the same
    /// generation and past. A last line that a crash cut off is dropped: it was never answered.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(path: &Path, wanted: Header) -> Result<Opened, StateError> {
        let unusable = |source| StateError::Unusable { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unusable)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            tracing::warn!(path = %path.display(), "the last line of the state file was cut off by a crash and is dropped");
            bytes.truncate(whole);
            file.set_len(whole as u64).map_err(unusable)?;
        }
        file.seek(SeekFrom::End(0)).map_err(unusable)?;

        let mut lines = Vec::new();
        for (n, text) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            let line = serde_json::from_slice::<Line>(text).map_err(|e| StateError::Broken {
                path: path.to_owned(),
                line: n + 1,
                reason: e.to_string(),
            })?;
            lines.push(line);
        }
        let header = if lines.is_empty() {
            let first = encode(&Line::Header(wanted.clone())).map_err(|e| unusable(e.into()))?;
            file.write_all(&first).and_then(|()| file.sync_all()).map_err(unusable)?;
            // The directory must remember the new file too.
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                File::open(parent).and_then(|dir| dir.sync_all()).map_err(unusable)?;
            }
            wanted
        } else {
            let Line::Header(header) = lines.remove(0) else {
                let reason = "it is no header".to_owned();
                return Err(StateError::Broken { path: path.to_owned(), line: 1, reason });
            };
            header
        };
        Ok(Opened { header, lines, journal: Self::start(file) })
    }

    fn start(mut file: File) -> Self {
        let (writes, waiting) = mpsc::channel::<Pending>();
        let writer = thread::spawn(move || {
            while let Ok(first) = waiting.recv() {
                let mut batch = vec![first];
                batch.extend(waiting.try_iter());
                let bytes: Vec<u8> = batch.iter().flat_map(|w| &w.line).copied().collect();
                let written = match bytes.as_slice() {
                    [] => Ok(()),
                    some => file.write_all(some).and_then(|()| file.sync_data()),
                };
                if let Err(error) = written {
                    tracing::error!(%error, "the simulator's state file cannot be written; it takes no more orders");
                    // Dropping the senders answers everybody that waits, and whoever comes later.
                    return;
                }
                for done in batch.into_iter().filter_map(|w| w.done) {
                    // Whoever waited may have hung up.
                    let _ = done.send(());
                }
            }
        });
        Self { writes: Some(writes), writer: Some(writer) }
    }

    fn send(&self, line: Vec<u8>) -> Synced {
        let (done, synced) = oneshot::channel();
        if let Some(writes) = &self.writes {
            // A writer that is gone drops `done`, and the wait fails: nothing is lost silently.
            drop(writes.send(Pending { line, done: Some(done) }));
        }
        Synced(Some(synced))
    }

    /// Writes a line; the order of calls is the order of lines.
    pub fn write(&self, line: &Line) -> Synced {
        match encode(line) {
            Ok(line) => self.send(line),
            Err(error) => {
                tracing::error!(%error, "a line of the state file cannot be written");
                Synced::never()
            }
        }
    }

    /// Resolves once everything written so far is on disk.
    pub fn barrier(&self) -> Synced {
        self.send(Vec::new())
    }
}

impl Drop for Journal {
    /// Writes what is left, and lets go of the file.
    fn drop(&mut self) {
        drop(self.writes.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer of the state file died");
        }
    }
}

fn encode(line: &Line) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Checks that a state file belongs to this run.
///
/// # Errors
/// It does not.
pub fn same_run(path: &Path, found: &Header, wanted: &Header) -> Result<(), StateError> {
    if (found.generation, &found.past) == (wanted.generation, &wanted.past) {
        return Ok(());
    }
    let words = |h: &Header| format!("generation {}, {}", h.generation, h.past);
    Err(StateError::AnotherRun { path: path.to_owned(), found: words(found), wanted: words(wanted) })
}
