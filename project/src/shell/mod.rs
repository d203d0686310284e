//! The loop that feeds the core: group `project` over `decisions`, `orders`, and what `fills` tell of tokens that copies
//! hold.
//!
//! How far a partition is read stands in the database, beside the rows, and reading begins there whenever a
//! partition is assigned. The group's offsets in the log follow now and then: they tell others how far the
//! stage is, and count for nothing here.

mod letters;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use eventlog::{
    Group, Log, LogError, Member, Offset, Polled, Stored, TopicPartition, Written, position::PositionError,
};
use runtime::{Board, Clock, Stop, signals};
use schemas::{codec::Codec, topics::Topic};

use crate::{
    core::fold::{self, Batch, Dead, Progress, Read},
    store::{Store, StoreError},
};

/// The topics that the tables are built from.
pub const TOPICS: [Topic; 3] = [Topic::Decisions, Topic::Orders, Topic::Fills];

/// The stage's name: of its group, of its figures, and as the reader in dead letters.
pub const STAGE: &str = "project";

/// What the stage is given from outside, and touches nothing else.
#[derive(Debug, Clone)]
pub struct Ports {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The tables.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Reads and writes records.
    pub codec: Codec,
    /// The live figures.
    pub board: Board,
}

/// How the stage runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// A member not heard of for this long loses its partitions.
    pub session: Duration,
    /// Records in a transaction, at most.
    pub batch: usize,
    /// How long a poll waits for the first record: how soon a request to stop is seen, too.
    pub wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { session: Duration::from_secs(10), batch: 500, wait: Duration::from_millis(200) }
    }
}

/// Why the stage stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// A stored offset does not fit the log.
    #[error(transparent)]
    Position(#[from] PositionError),
    /// The log, for a reason that does not pass by itself.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database, for a reason that does not pass by itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record of a newer program, or one whose schema the registry did not tell; or one of ours that does not fit its
    /// schema: a bug.
    #[error(transparent)]
    Codec(#[from] schemas::codec::CodecError),
}

impl ProjectError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Position(e) => e.code(),
            Self::Log(e) => e.code(),
            Self::Store(e) => e.code(),
            Self::Codec(e) => e.code(),
        }
    }

    /// Whether trying again may help: nothing was lost, and what is stored tells where to go on.
    fn is_transient(&self) -> bool {
        match self {
            Self::Log(e) | Self::Position(PositionError::Log(e)) => e.is_transient(),
            Self::Store(e) => matches!(e, StoreError::Unreachable(_) | StoreError::Overtaken(_)),
            Self::Codec(e) | Self::Position(PositionError::Schema(e)) => e.is_transient(),
            Self::Position(_) => false,
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const LAG_EVERY: Duration = Duration::from_secs(1);

/// Runs the stage until it is asked to stop.
///
/// # Errors
/// What does not pass by itself: an offset that does not fit the log, a log or a database that is not ours.
pub async fn run(ports: &Ports, options: &Options, stop: &Stop) -> Result<(), ProjectError> {
    let mut pause = FIRST_PAUSE;
    while !stop.is_requested() {
        let mut stage =
            Stage { ports, options, progress: BTreeMap::new(), looked_at: None, told: BTreeMap::new() };
        match stage.serve(stop, &mut pause).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(code = error.code(), %error, "project joins again");
                ports.board.trouble(error.code());
                rest(ports, stop, &mut pause).await;
            }
            done => return done,
        }
    }
    Ok(())
}

/// Waits a little, longer each time, or until the stage is asked to stop.
async fn rest(ports: &Ports, stop: &Stop, pause: &mut Duration) {
    tokio::select! {
        biased;
        () = stop.requested() => {}
        () = ports.clock.sleep(*pause) => {}
    }
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

struct Stage<'p> {
    ports: &'p Ports,
    options: &'p Options,
    /// The partitions that are ours, and how far each is read; `None`: not at all yet.
    progress: BTreeMap<TopicPartition, Option<Progress>>,
    /// When the lag was last told.
    looked_at: Option<Duration>,
    /// The offsets that the log was last told.
    told: BTreeMap<TopicPartition, Offset>,
}

impl Stage<'_> {
    async fn serve(&mut self, stop: &Stop, pause: &mut Duration) -> Result<(), ProjectError> {
        let group = Group { name: STAGE.to_owned(), topics: TOPICS.to_vec(), session: self.options.session };
        let mut member = self.ports.log.join(group).await?;
        while !stop.is_requested() {
            let polled = member.poll(self.options.batch, self.options.wait).await?;
            let done = match polled {
                Polled::Assigned(partitions) => self.settle(&mut *member, partitions).await,
                Polled::Lost(partitions) => {
                    self.progress.retain(|at, _| !partitions.contains(at));
                    Ok(())
                }
                Polled::Rewound => {
                    let held = member.assignment();
                    self.settle(&mut *member, held).await
                }
                Polled::Records(records) => self.take(&mut *member, &records).await,
                Polled::Idle => Ok(()),
            };
            match done {
                Ok(()) => *pause = FIRST_PAUSE,
                Err(error) if error.is_transient() => {
                    tracing::warn!(code = error.code(), %error, "project reads again from what is stored");
                    self.ports.board.trouble(error.code());
                    self.recover(&mut *member, stop, pause).await?;
                }
                Err(error) => return Err(error),
            }
            self.tell_lag(&mut *member).await;
        }
        member.leave().await?;
        Ok(())
    }

    /// Goes back to what is stored, as often as it takes. The session ends meanwhile if it takes long: then
    /// somebody else goes on, and the next poll says so.
    async fn recover(
        &mut self,
        member: &mut dyn Member,
        stop: &Stop,
        pause: &mut Duration,
    ) -> Result<(), ProjectError> {
        while !stop.is_requested() {
            rest(self.ports, stop, pause).await;
            let held = member.assignment();
            match self.settle(member, held).await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(code = error.code(), %error, "project waits");
                }
                done => return done,
            }
        }
        Ok(())
    }

    /// Reads how far these partitions are, checks that against the log, and goes there.
    async fn settle(
        &mut self,
        member: &mut dyn Member,
        partitions: Vec<TopicPartition>,
    ) -> Result<(), ProjectError> {
        let wanted: BTreeSet<TopicPartition> = partitions.into_iter().collect();
        let mut stored = self.ports.store.progress(&wanted).await?;
        for at in wanted {
            let progress = stored.remove(&at);
            if let Some(progress) = &progress {
                progress.stored(at).check(&*self.ports.log, &self.ports.codec).await?;
            }
            member.seek(at, progress.as_ref().map_or(Offset::ZERO, |progress| progress.next)).await?;
            self.progress.insert(at, progress);
        }
        Ok(())
    }

    async fn take(&mut self, member: &mut dyn Member, records: &[Stored]) -> Result<(), ProjectError> {
        match self.apply(records).await {
            Err(ProjectError::Store(StoreError::Unacceptable(why))) => {
                tracing::warn!(records = records.len(), why, "a batch cannot be stored: taken one by one");
                for record in records {
                    self.take_alone(record).await?;
                }
                Ok(())
            }
            Err(ProjectError::Store(error @ StoreError::Overtaken(_))) => {
                // Nothing is wrong: two of us were alive for a moment, or a rebuild was put in place.
                tracing::info!(code = error.code(), %error, "project reads on from where the other one is");
                let held = member.assignment();
                self.settle(member, held).await
            }
            done => done,
        }
    }

    async fn take_alone(&mut self, record: &Stored) -> Result<(), ProjectError> {
        match self.apply(std::slice::from_ref(record)).await {
            Err(ProjectError::Store(StoreError::Unacceptable(why))) => {
                let read = fold::read(&self.ports.codec, record)?;
                self.write(vec![Read { refused: Some(why), ..read }]).await
            }
            done => done,
        }
    }

    async fn apply(&mut self, records: &[Stored]) -> Result<(), ProjectError> {
        let reads = records.iter().map(|stored| fold::read(&self.ports.codec, stored));
        self.write(reads.collect::<Result<_, _>>()?).await
    }

    async fn write(&mut self, reads: Vec<Read<'_>>) -> Result<(), ProjectError> {
        let owners = self.ports.store.owners(&fold::accounts(&reads)).await?;
        let known = self.progress.iter().filter_map(|(at, p)| Some((*at, p.clone()?))).collect();
        let (batch, dead) = fold::fold(self.ports.log.manifest().log_id, &known, reads, &owners);
        // Before the offsets pass them: a crash in between writes them twice, never not at all.
        for Dead { stored, trouble } in dead {
            letters::send(self.ports, stored, &trouble).await?;
        }
        self.ports.store.apply(&batch).await?;
        self.passed(batch);
        Ok(())
    }

    /// The batch is in the database.
    fn passed(&mut self, batch: Batch) {
        for (at, (from, to)) in batch.advances {
            let ignored = to.ignored - from.map_or(0, |from| from.ignored);
            if ignored > 0 {
                tracing::warn!(partition = %at, ignored, "records outside the accepted chain of cuts");
                metrics::counter!(signals::FOREIGN_CUT).increment(ignored.unsigned_abs());
                self.ports.board.trouble("foreign_cut");
            }
            self.progress.insert(at, Some(to));
        }
    }

    /// Tells how far behind the stage is: on the board, and as the group's offsets in the log, for whoever
    /// asks the log. Those in the database count.
    async fn tell_lag(&mut self, member: &mut dyn Member) {
        let now = self.ports.clock.monotonic();
        if self.looked_at.is_some_and(|then| now.saturating_sub(then) < LAG_EVERY) {
            return;
        }
        self.looked_at = Some(now);
        let (mut lag, mut moved) = (0_u64, BTreeMap::new());
        for (at, progress) in &self.progress {
            // A log that does not answer now will say so to the next poll.
            let Ok(extent) = self.ports.log.extent(*at).await else { return };
            let next = progress.as_ref().map_or(Offset::ZERO, |progress| progress.next);
            lag += u64::try_from(extent.end.0.saturating_sub(next.0)).unwrap_or(0);
            if next > Offset::ZERO && self.told.get(at) != Some(&next) {
                moved.insert(*at, next);
            }
        }
        self.ports.board.lag(STAGE, lag);
        if moved.is_empty() {
            return;
        }
        match member.commit(Vec::new(), moved.clone()).await {
            Written::Done(_) => self.told.extend(moved),
            Written::NotDone(error) | Written::Unknown(error) => {
                tracing::debug!(%error, "the group's offsets were not committed");
            }
        }
    }
}
