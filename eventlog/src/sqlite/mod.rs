//! The log in one file: the embedded default. One machine, many processes.
//!
//! - **In and out**: as the port says. An append or commit is done once it has survived the machine's
//!   death: write-ahead log, `synchronous=FULL`.
//! - **Remembers**: everything in the file, and in `-wal` and `-shm` beside it while it is open. Back up an open
//!   log with SQLite's `VACUUM INTO`, a closed one by copying the file.
//! - **When a process dies**: what it had not committed is not there; its partitions go to others at once, since the
//!   lock it holds in the directory `-alive` ends with it. One that hangs or is stopped loses them after
//!   its session.
//!
//! **Speed.** One thread per open log writes. Whatever is asked for while it waits for the disk goes into the next
//! transaction together, so the rate of appends does not depend on how long a sync takes, only the latency.
//! Each member reads with a connection and a thread of its own, in transactions no longer than a batch. A
//! waiting member is woken by this process's commits at once, and by those of another within a millisecond or two.
//!
//! **Safety.** Who holds a partition, and since which change of hands (its epoch), stands in the file and is checked in
//! the transaction that appends and commits: a zombie changes nothing. A commit whose outcome the
//! disk left open is settled before anything else is written, or stays [`crate::Written::Unknown`].
//!
//! Give it the system's clock: its locks and sessions are real time, whatever a virtual clock says.

mod alive;
mod apply;
mod error;
mod file;
mod known;
mod layout;
mod member;
mod membership;
mod observer;
mod request;
mod rows;
mod threads;
mod writer;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use async_trait::async_trait;
use runtime::{Chance, Clock, SystemClock};
use rusqlite::TransactionBehavior;
use schemas::Timestamp;
use tokio::sync::oneshot;

use self::{
    alive::{Alive, Lives},
    file::Place,
    known::Known,
    layout::Slot,
    member::SqliteMember,
    request::Request,
    threads::Reader,
    writer::Writer,
};
use crate::{
    fault::Faults,
    port::{
        Append, Expected, Extent, Group, Log, LogError, Manifest, Member, Offset, Stored, TopicPartition,
        Written,
    },
};

/// Threads that read ranges, besides one for each member.
const READERS: usize = 2;

/// What a log in a file takes from outside.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Random bytes, for the log's id.
    pub chance: Chance,
    /// How long a lock that another process holds is waited for, before a call ends as unreachable. A write
    /// holds it for one sync of the disk; only a process stopped in the middle of one holds it longer.
    pub patience: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { clock: SystemClock::shared(), chance: Chance::system(), patience: Duration::from_secs(10) }
    }
}

/// A log in a file. Clones are the same handle: appends through them keep their order.
#[derive(Clone)]
pub struct SqliteLog {
    shared: Arc<Shared>,
    faults: Faults,
}

/// What the handles and members of one open log share.
struct Shared {
    place: Place,
    manifest: Manifest,
    known: Arc<Known>,
    requests: mpsc::Sender<Request>,
    readers: [Reader; READERS],
    /// Which reader is next.
    turn: AtomicUsize,
    lives: Lives,
    alive: Alive,
    faults: Faults,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.known.close();
    }
}

impl fmt::Debug for SqliteLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLog")
            .field("path", &self.shared.place.path)
            .field("log_id", &self.shared.manifest.log_id)
            .finish_non_exhaustive()
    }
}

impl SqliteLog {
    /// Opens the log at `path`, and makes it where there is none; its directory must be there.
    ///
    /// # Errors
    /// [`LogError::WrongManifest`] for another log than the expected one, [`LogError::Refused`] for a file that
    /// is no log or one of another format, [`LogError::Unreachable`] where the file cannot be opened.
    pub async fn open(
        path: impl Into<PathBuf>,
        expected: Expected,
        options: SqliteOptions,
    ) -> Result<Self, LogError> {
        let path = path.into();
        let (reply, answer) = oneshot::channel();
        threads::start("open", move || {
            let _nobody = reply.send(Self::open_blocking(&path, &expected, options));
        })?;
        let ended = || LogError::Unreachable("the thread that opens the log has ended".into());
        answer.await.map_err(|_| ended())?
    }

    fn open_blocking(path: &Path, expected: &Expected, options: SqliteOptions) -> Result<Self, LogError> {
        let SqliteOptions { clock, chance, patience } = options;
        let place = Place { path: path.into(), clock, patience };
        let manifest = place.open(expected, &chance)?;
        let identity = place.identity();
        let lives = Lives::beside(path);
        let alive = lives.begin(&chance)?;
        sweep(&place, &lives)?;

        let known = Arc::new(Known::new());
        let (requests, queue) = mpsc::channel();
        let writer = Writer {
            place: place.clone(),
            manifest: manifest.clone(),
            known: known.clone(),
            requests: queue,
            mark: -alive.handle,
            identity,
        };
        writer.start()?;
        let readers = [Reader::start(&place)?, Reader::start(&place)?];
        let faults = Faults::default();
        let shared = Arc::new(Shared {
            place,
            manifest,
            known,
            requests,
            readers,
            turn: AtomicUsize::new(0),
            lives,
            alive,
            faults: faults.clone(),
        });
        // Each of them ends when `shared` goes.
        threads::watch(shared.place.clone(), shared.known.clone())?;
        threads::checkpoint(shared.place.clone(), shared.known.clone())?;
        Ok(Self { shared, faults })
    }

    /// The faults that wait to happen to this handle and its members.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    fn reader(&self) -> &Reader {
        &self.shared.readers[self.shared.turn.fetch_add(1, Ordering::Relaxed) % READERS]
    }

    fn slot(&self, at: TopicPartition) -> Result<Slot, LogError> {
        self.shared.manifest.require(at)?;
        Ok(Slot::of(at))
    }
}

/// Removes the marks of processes that have ended.
fn sweep(place: &Place, lives: &Lives) -> Result<(), LogError> {
    let dead = lives.dead();
    if dead.is_empty() {
        return Ok(());
    }
    let mut connection = place.writer()?;
    place.retry(|| {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for handle in &dead {
            tx.execute("DELETE FROM ends WHERE partition = ?1", [-handle])?;
        }
        tx.commit()
    })?;
    for handle in dead {
        lives.bury(handle);
    }
    Ok(())
}

#[async_trait]
impl Log for SqliteLog {
    fn manifest(&self) -> &Manifest {
        &self.shared.manifest
    }

    async fn append(&self, records: Vec<Append>) -> Written<Vec<Offset>> {
        if let Some(refused) = records.iter().find_map(|r| self.shared.manifest.require(r.to).err()) {
            return Written::NotDone(refused);
        }
        if records.is_empty() {
            return Written::Done(Vec::new());
        }
        let lost = self.faults.take_append();
        self.shared.write(|reply| Request::Append { records, lost, reply }).await
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        Ok(Box::new(SqliteMember::new(self.shared.clone(), group)?))
    }

    async fn read(&self, at: TopicPartition, from: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        let slot = self.slot(at)?;
        let read = self.reader().run(move |r| {
            let end = rows::end(&r.connection, slot)?;
            let mut records = Vec::new();
            if from >= Offset::ZERO && from < end {
                let mut room = rows::MOST_BYTES;
                rows::read_from(&r.connection, at, from, limit, &mut room, &mut records)?;
            }
            Ok((end, records))
        });
        let (end, records) = read.await?;
        if from < Offset::ZERO || from > end {
            return Err(LogError::OutOfRange(format!(
                "{at} reaches from 0 to {end}, and {from} was asked for"
            )));
        }
        Ok(records)
    }

    async fn extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        let slot = self.slot(at)?;
        let end = self.reader().run(move |r| rows::end(&r.connection, slot)).await?;
        Ok(Extent { start: Offset::ZERO, end })
    }

    /// Read under the write lock: whatever transaction was open has ended.
    async fn settled_extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        let slot = self.slot(at)?;
        self.shared.ask(|reply| Request::Extent { slot, reply }).await?
    }

    async fn offset_at(&self, at: TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        let slot = self.slot(at)?;
        // Records keep whole milliseconds, rounded down: one of the same millisecond may be older than `time`.
        let millis = time.plus(Duration::from_micros(999)).millis();
        self.reader().run(move |r| rows::offset_at(&r.connection, slot, millis)).await
    }

    async fn committed(
        &self,
        group: &str,
        of: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        let (group, of) = (group.to_owned(), of.to_vec());
        let committed = self.reader().run(move |r| {
            let mut select = r.connection.prepare_cached(
                "SELECT next FROM claims WHERE name = ?1 AND partition = ?2 AND next IS NOT NULL",
            )?;
            let mut offsets = BTreeMap::new();
            for at in &of {
                let mut rows = select.query(rusqlite::params![group, Slot::of(*at).0])?;
                if let Some(row) = rows.next()? {
                    offsets.insert(*at, Offset(row.get(0)?));
                }
            }
            Ok(offsets)
        });
        committed.await
    }
}
