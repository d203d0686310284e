//! The one thread of an open log that writes. Whatever is asked for while it waits for the disk goes
//! into its next transaction together: one sync for all of it. Within, each request has a savepoint of its own
//! and stands or falls alone.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    apply::{Failed, Rejected, Work, lose},
    error::{FailedCommit, SqlError, is_busy, is_of_one_request, judge},
    file::Place,
    known::Known,
    request::{Fate, Pending, Request},
    threads,
};
use crate::port::{LogError, Manifest};

/// Requests in one transaction.
const MOST_REQUESTS: usize = 1_024;
/// Bytes in one transaction; one request may have more.
const MOST_BYTES: usize = 8 << 20;

pub(super) struct Writer {
    pub place: Place,
    pub manifest: Manifest,
    pub known: Arc<Known>,
    pub requests: mpsc::Receiver<Request>,
    /// This log's mark in `ends`: negative, and nobody else's.
    pub mark: i64,
    /// Which file the path named when the log was opened.
    pub identity: Option<(u64, u64)>,
}

/// The connection, and how sure we are of what it did.
struct State {
    connection: Option<Connection>,
    /// The number of the last batch begun.
    batch: i64,
    /// Whether a commit ended in an error after which its frames may stand in the write-ahead log.
    unsettled: bool,
}

/// A transaction that cannot go on, and with it all of its requests.
struct Broken {
    /// Those with an answer that waits.
    pending: Vec<Pending>,
    /// The others.
    untouched: Vec<Request>,
    error: SqlError,
}

/// How a commit ended that gave an error. One that is there after all may stand on a disk that failed to sync
/// it: done is said of nothing but what was synced.
fn fate(judged: FailedCommit, error: LogError, settle: impl FnOnce() -> Result<bool, LogError>) -> Fate {
    match judged {
        FailedCommit::NotDone => Fate::NotDone(error),
        FailedCommit::Unknown => match settle() {
            Ok(false) => Fate::NotDone(error),
            Ok(true) | Err(_) => Fate::Unknown(error),
        },
    }
}

fn statement(tx: &Connection, sql: &str) -> Result<(), SqlError> {
    tx.prepare_cached(sql)?.execute([]).map(drop)
}

impl Writer {
    /// Starts the thread. It ends when the last handle and member are gone.
    pub(super) fn start(self) -> Result<(), LogError> {
        threads::start("writer", move || self.run())
    }

    fn run(self) {
        let mut state = State { connection: None, batch: 0, unsettled: false };
        while let Ok(first) = self.requests.recv() {
            let mut bytes = first.size();
            let mut batch = vec![first];
            while batch.len() < MOST_REQUESTS && bytes < MOST_BYTES {
                let Ok(next) = self.requests.try_recv() else { break };
                bytes += next.size();
                batch.push(next);
            }
            let batch: Vec<_> = batch.into_iter().filter_map(lose).collect();
            if batch.is_empty() {
                continue;
            }
            if let Err((untouched, error)) = self.write(&mut state, batch, bytes) {
                for request in untouched {
                    request.refuse(error.clone());
                }
            }
        }
    }

    /// One transaction. What comes back was not begun.
    fn write(
        &self,
        state: &mut State,
        batch: Vec<Request>,
        bytes: usize,
    ) -> Result<(), (Vec<Request>, LogError)> {
        if let Err(error) = self.begin(state) {
            return Err((batch, error));
        }
        let Some(connection) = &state.connection else {
            return Err((batch, LogError::Unreachable("the log is not open".into())));
        };
        state.batch += 1;
        let number = state.batch;
        match self.fill(connection, batch, number) {
            Ok((pending, work)) => {
                let fate = if work.wrote { self.commit(state) } else { self.roll_back(state) };
                if matches!(fate, Fate::Done) && work.wrote {
                    let pages = 4 + u64::try_from(bytes / 4_096).unwrap_or(0);
                    self.known.wrote(pages);
                    self.known.learn(work.into_news());
                }
                for p in pending {
                    p.answer(fate.clone());
                }
                Ok(())
            }
            Err(broken) => {
                let Broken { pending, untouched, error } = *broken;
                let error = self.place.explain(&error);
                tracing::warn!(%error, "nothing of a batch was written");
                // Nothing was committed: rolled back by now, or when the connection closes.
                state.connection = None;
                for p in pending {
                    p.answer(Fate::NotDone(error.clone()));
                }
                Err((untouched, error))
            }
        }
    }

    /// Has the write lock, on a file that is still the one that was opened, with nothing unsettled.
    fn begin(&self, state: &mut State) -> Result<(), LogError> {
        if self.place.identity() != self.identity {
            return Err(LogError::Refused(format!(
                "{} was moved or deleted while it was open; stop everything that uses it, put it back, and start again",
                self.place.path.display()
            )));
        }
        if state.unsettled {
            self.settle(state)?;
        }
        let connection = match &state.connection {
            Some(connection) => connection,
            None => state.connection.insert(self.place.writer()?),
        };
        let begun = self.place.retry(|| connection.execute_batch("BEGIN IMMEDIATE"));
        if begun.as_ref().is_err_and(|e| !e.is_transient()) {
            state.connection = None;
        }
        begun
    }

    /// Applies the requests.
    fn fill(
        &self,
        tx: &Connection,
        batch: Vec<Request>,
        number: i64,
    ) -> Result<(Vec<Pending>, Work), Box<Broken>> {
        let mut work = Work::default();
        let mut pending = Vec::with_capacity(batch.len());
        let mut left = batch.into_iter();
        let broken = |pending, untouched, error| Box::new(Broken { pending, untouched, error });
        while let Some(request) = left.next() {
            if let Err(e) = statement(tx, "SAVEPOINT one") {
                return Err(broken(pending, std::iter::once(request).chain(left).collect(), e));
            }
            let before = work.clone();
            match work.apply(tx, &self.manifest, request) {
                Ok(answer) => {
                    pending.push(answer);
                    if let Err(e) = statement(tx, "RELEASE one") {
                        return Err(broken(pending, left.collect(), e));
                    }
                }
                Err(rejected) => {
                    let Rejected { request, why } = *rejected;
                    let refused = match why {
                        Failed::Refused(error) => error,
                        Failed::Sql(e) if is_of_one_request(&e) => self.place.explain(&e),
                        Failed::Sql(e) => {
                            return Err(broken(pending, std::iter::once(request).chain(left).collect(), e));
                        }
                    };
                    work = before;
                    if let Err(e) =
                        statement(tx, "ROLLBACK TO one").and_then(|()| statement(tx, "RELEASE one"))
                    {
                        return Err(broken(pending, std::iter::once(request).chain(left).collect(), e));
                    }
                    request.refuse(refused);
                }
            }
        }
        if work.wrote
            && let Err(e) = work.finish(tx).and_then(|()| self.set_mark(tx, number))
        {
            return Err(broken(pending, Vec::new(), e));
        }
        Ok((pending, work))
    }

    fn set_mark(&self, tx: &Connection, number: i64) -> Result<(), SqlError> {
        let mut set = tx.prepare_cached(
            "INSERT INTO ends VALUES (?1, ?2, 0) ON CONFLICT (partition) DO UPDATE SET next = excluded.next",
        )?;
        set.execute(params![self.mark, number]).map(drop)
    }

    /// Ends a transaction in which nothing was written.
    fn roll_back(&self, state: &mut State) -> Fate {
        let Some(connection) = &state.connection else { return Fate::Done };
        match connection.execute_batch("ROLLBACK") {
            Ok(()) => {}
            // Nothing was written; the next batch begins with another connection.
            Err(error) => {
                tracing::debug!(error = %self.place.explain(&error), "a transaction did not end");
                state.connection = None;
            }
        }
        Fate::Done
    }

    fn commit(&self, state: &mut State) -> Fate {
        let Some(connection) = &state.connection else {
            return Fate::NotDone(LogError::Unreachable("the log is not open".into()));
        };
        let until = self.place.clock.monotonic().saturating_add(self.place.patience);
        let error = loop {
            match connection.execute_batch("COMMIT") {
                Ok(()) => return Fate::Done,
                Err(e) if is_busy(&e) && self.place.clock.monotonic() < until => {
                    thread::sleep(Duration::from_micros(100));
                }
                Err(e) => break e,
            }
        };
        let explained = self.place.explain(&error);
        tracing::error!(error = %explained, "a commit failed");
        let settle = || {
            state.unsettled = true;
            self.settle(state)
        };
        let fate = fate(judge(&error), explained, settle);
        if !state.unsettled && matches!(fate, Fate::NotDone(_)) {
            state.connection = None;
        }
        fate
    }

    /// Finds out whether the last batch is in the file, and makes it so that this cannot change any more: by
    /// a commit of its own, which stands either behind those frames or in their place. Until that succeeds
    /// nothing else is written through this log.
    fn settle(&self, state: &mut State) -> Result<bool, LogError> {
        state.connection = None;
        let number = state.batch;
        state.batch += 1;
        let connection = self.place.writer()?;
        self.place.retry(|| connection.execute_batch("BEGIN IMMEDIATE"))?;
        let settled = self
            .read_mark(&connection)
            .and_then(|mark| self.set_mark(&connection, state.batch).map(|()| mark))
            .and_then(|mark| connection.execute_batch("COMMIT").map(|()| mark == Some(number)));
        let there = settled.map_err(|e| self.place.explain(&e))?;
        tracing::info!(there, "it is settled whether the last commit took effect");
        state.connection = Some(connection);
        state.unsettled = false;
        Ok(there)
    }

    fn read_mark(&self, tx: &Connection) -> Result<Option<i64>, SqlError> {
        let mut get = tx.prepare_cached("SELECT next FROM ends WHERE partition = ?1")?;
        get.query_row([self.mark], |r| r.get(0)).optional()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use runtime::{Chance, SystemClock};
    use schemas::{Timestamp, topics::Topic};
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        port::{Append, Expected, Record, TopicPartition, VenueKind},
        sqlite::{layout::Slot, rows},
    };

    fn unreachable() -> LogError {
        LogError::Unreachable("the disk failed".into())
    }

    #[test]
    fn a_failed_commit_is_never_done_and_not_done_only_when_that_is_certain() {
        let of =
            |judged, settled: Option<bool>| fate(judged, unreachable(), || settled.ok_or_else(unreachable));
        assert!(matches!(of(FailedCommit::NotDone, None), Fate::NotDone(_)));
        assert!(matches!(of(FailedCommit::Unknown, None), Fate::Unknown(_)));
        assert!(matches!(of(FailedCommit::Unknown, Some(true)), Fate::Unknown(_)));
        assert!(matches!(of(FailedCommit::Unknown, Some(false)), Fate::NotDone(_)));
    }

    fn append() -> Request {
        let record = Record {
            key: None,
            value: Some(Bytes::from_static(b"value")),
            headers: Vec::new(),
            timestamp: Timestamp::from_millis(1),
        };
        let (reply, _nobody) = oneshot::channel();
        let to = TopicPartition::new(Topic::Fills, 0);
        Request::Append { records: vec![Append { to, record }], lost: None, reply }
    }

    /// A batch whose COMMIT was cut off before it, or whose answer was cut off behind it.
    #[test]
    fn settling_finds_out_whether_the_last_batch_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            path: dir.path().join("log").into(),
            clock: SystemClock::shared(),
            patience: Duration::from_secs(5),
        };
        let expected = Expected {
            venue: VenueKind::Simulator,
            wallet_partitions: 1,
            account_partitions: 1,
            market_partitions: 1,
            log_id: None,
        };
        let manifest = place.open(&expected, &Chance::seeded(1)).unwrap();
        let (_requests, queue) = mpsc::channel();
        let identity = place.identity();
        let known = Arc::new(Known::new());
        let writer = Writer { place, manifest, known, requests: queue, mark: -7, identity };
        let mut state = State { connection: None, batch: 0, unsettled: false };
        let mut there = 0;
        for commits in [true, false, true, true, false, false] {
            writer.begin(&mut state).unwrap();
            state.batch += 1;
            let connection = state.connection.as_ref().unwrap();
            let Ok((_, work)) = writer.fill(connection, vec![append()], state.batch) else {
                panic!("not filled")
            };
            assert!(work.wrote);
            if commits {
                connection.execute_batch("COMMIT").unwrap();
                there += 1;
            }
            state.unsettled = true;
            assert_eq!(writer.settle(&mut state).unwrap(), commits);
            assert!(!state.unsettled);
            let end =
                rows::end(state.connection.as_ref().unwrap(), Slot::of(TopicPartition::new(Topic::Fills, 0)));
            assert_eq!(end.unwrap().0, there);
        }
    }
}
