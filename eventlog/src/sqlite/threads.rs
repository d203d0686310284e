//! The threads of one open log, so that no async thread ever waits for the disk: readers, one that watches the
//! file for what other processes wrote, one that empties the write-ahead log.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    error::{SqlError, is_busy},
    file::Place,
    known::Known,
};
use crate::port::LogError;

/// Between two looks for what other processes wrote, while a member waits.
const LOOK: Duration = Duration::from_millis(1);
/// The same, once nothing came for [`QUIET_LOOKS`].
const QUIET_LOOK: Duration = Duration::from_millis(2);
/// Looks without anything new until it counts as quiet: about a second.
const QUIET_LOOKS: u32 = 1_000;
/// Pages in the write-ahead log that are worth a checkpoint: 4 MB.
const CHECKPOINT_PAGES: u64 = 1_000;
/// Between two looks at how many there are.
const CHECKPOINT_LOOK: Duration = Duration::from_millis(50);

/// Starts a thread of this log.
pub(super) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), LogError> {
    let thread = thread::Builder::new().name(format!("log-{name}")).spawn(work);
    thread.map(drop).map_err(|e| LogError::Unreachable(format!("a thread cannot be started ({e})")))
}

/// A connection that reads, and the state of the file it last took in.
pub(super) struct Reading {
    pub connection: Connection,
    pub seen: Option<i64>,
}

type Job = Box<dyn FnOnce(&mut Option<Reading>, &Place) + Send>;

/// A thread with a connection of its own that reads on behalf of async callers, one after another.
#[derive(Debug)]
pub(super) struct Reader(mpsc::Sender<Job>);

impl Reader {
    pub(super) fn start(place: &Place) -> Result<Self, LogError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let place = place.clone();
        start("reader", move || {
            let mut reading = None;
            // Ends when the last one who could ask is gone.
            for job in queue {
                job(&mut reading, &place);
            }
        })?;
        Ok(Self(jobs))
    }

    /// Does the work within one read transaction, which sees one state of the file. The work may be begun
    /// again when a lock was in the way.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&mut Reading) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |reading, place| {
            let result = read(reading, place, &mut work);
            if result.is_err() {
                // Whatever it was, the next one begins afresh.
                *reading = None;
            }
            // Who asked may have gone.
            let _nobody = reply.send(result);
        });
        let gone = || LogError::Unreachable("the thread that reads the log has ended; open it again".into());
        self.0.send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn read<T>(
    reading: &mut Option<Reading>,
    place: &Place,
    work: &mut impl FnMut(&mut Reading) -> Result<T, SqlError>,
) -> Result<T, LogError> {
    let reading = match reading {
        Some(reading) => reading,
        none => none.insert(Reading { connection: place.reader()?, seen: None }),
    };
    place.retry(|| {
        reading.connection.execute_batch("BEGIN")?;
        let result = work(reading);
        // A read transaction has nothing to lose, whichever way it ends.
        let ended = reading.connection.execute_batch("ROLLBACK");
        let result = result?;
        ended.map(|()| result)
    })
}

/// Watches the file for as long as members wait, so that they hear within a millisecond or two of what
/// another process wrote. What this process writes it knows by itself.
pub(super) fn watch(place: Place, known: Arc<Known>) -> Result<(), LogError> {
    start("watch", move || {
        let mut reading: Option<Reading> = None;
        let mut quiet = 0_u32;
        while known.await_waiting() {
            let looked = match &mut reading {
                Some(r) => {
                    known.refresh(&r.connection, &mut r.seen).map_err(|e| (is_busy(&e), place.explain(&e)))
                }
                None => match place.reader() {
                    Ok(connection) => {
                        reading = Some(Reading { connection, seen: None });
                        continue;
                    }
                    Err(e) => Err((false, e)),
                },
            };
            let pause = match looked {
                Ok(true) => {
                    quiet = 0;
                    LOOK
                }
                Ok(false) => {
                    quiet = quiet.saturating_add(1);
                    if quiet > QUIET_LOOKS { QUIET_LOOK } else { LOOK }
                }
                Err((true, _)) => LOOK,
                Err((false, error)) => {
                    tracing::warn!(%error, "the log cannot be watched; trying again");
                    reading = None;
                    Duration::from_secs(1)
                }
            };
            if pause > QUIET_LOOK {
                known.rest(pause);
            } else {
                thread::sleep(pause);
            }
        }
    })
}

/// Moves what was written from the write-ahead log into the file, beside the writers and readers, which it
/// never stops.
pub(super) fn checkpoint(place: Place, known: Arc<Known>) -> Result<(), LogError> {
    start("checkpoint", move || {
        let mut connection = None;
        while known.rest(CHECKPOINT_LOOK) {
            if !known.take_unsaved(CHECKPOINT_PAGES) {
                continue;
            }
            let done = match &connection {
                Some(open) => pass(open).map_err(|e| place.explain(&e)),
                None => place.writer().and_then(|new| {
                    let done = pass(&new).map_err(|e| place.explain(&e));
                    connection = Some(new);
                    done
                }),
            };
            if let Err(error) = done {
                tracing::warn!(%error, "the write-ahead log of the log was not emptied; it grows meanwhile");
                connection = None;
            }
        }
    })
}

/// Two passes: the second has little to do, so that it likely ends between two commits, with nothing left, and
/// the next writer begins the write-ahead log anew.
fn pass(connection: &Connection) -> Result<(), SqlError> {
    for _ in 0..2 {
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    Ok(())
}
