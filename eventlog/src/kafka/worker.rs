//! The thread behind a member: its consumer, its transactional producer, and what it holds.
//!
//! librdkafka's calls block, and it tells of a changed group only while the consumer is polled. So all of it
//! happens here, one command at a time: what was told and what was read keep their order by themselves.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use tokio::sync::oneshot;

use super::{
    Shared,
    config::TRANSACTION_TIMEOUT,
    error::{code, log_error},
    held::{Held, Place, committed},
    rebalance::{Change, Rebalances, agree},
    record::{check, stored},
    transaction::{Ended, Transactional},
};
use crate::port::{Append, Group, LogError, Offset, Polled, Stored, TopicPartition, Written};

/// How long a poll waits before it looks whether somebody else wants the thread.
const SLICE: Duration = Duration::from_millis(20);
/// How long one question for committed offsets waits. Longer, and it waits for an open transaction.
const LOOKUP: Duration = Duration::from_millis(500);

/// What a member asks of its thread.
pub(super) enum Command {
    Poll {
        max: usize,
        wait: Duration,
        answer: oneshot::Sender<Result<Polled, LogError>>,
    },
    Commit {
        records: Vec<Append>,
        offsets: BTreeMap<TopicPartition, Offset>,
        answer: oneshot::Sender<Written<Vec<Offset>>>,
    },
    Seek {
        at: TopicPartition,
        to: Offset,
        answer: oneshot::Sender<Result<(), LogError>>,
    },
    Pause {
        at: TopicPartition,
        paused: bool,
        answer: oneshot::Sender<Result<(), LogError>>,
    },
    Leave {
        answer: oneshot::Sender<()>,
    },
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    group: Group,
    consumer: BaseConsumer<Rebalances>,
    /// Set while somebody waits for a poll to end.
    hurry: Arc<AtomicBool>,
    held: Option<Held>,
    producer: Option<Transactional>,
    /// A transaction of this member may still be open: its id has to be taken over before the committed
    /// offsets mean anything.
    in_doubt: bool,
    /// A commit did not end in `Done`, and the shell has to be told.
    rewind: bool,
    /// What went wrong behind records that were handed out first.
    trouble: Option<LogError>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        group: Group,
        consumer: BaseConsumer<Rebalances>,
        hurry: Arc<AtomicBool>,
    ) -> Self {
        Self {
            shared,
            group,
            consumer,
            hurry,
            held: None,
            producer: None,
            in_doubt: false,
            rewind: false,
            trouble: None,
        }
    }

    /// Until the member leaves or is dropped. Dropping the consumer leaves the group.
    pub(super) fn run(mut self, commands: &mpsc::Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            // An answer that nobody waits for any more is of a member that was dropped.
            match command {
                Command::Poll { max, wait, answer } => drop(answer.send(self.poll(max.max(1), wait))),
                Command::Commit { records, offsets, answer } => {
                    drop(answer.send(self.commit(&records, &offsets)));
                    // Others wait for what it left open; nobody waits for this.
                    if self.in_doubt
                        && let Err(error) = self.resolve()
                    {
                        tracing::warn!(%error, group = %self.group.name, "a transaction is still in doubt");
                    }
                }
                Command::Seek { at, to, answer } => drop(answer.send(self.seek(at, to))),
                Command::Pause { at, paused, answer } => drop(answer.send(self.pause(at, paused))),
                Command::Leave { answer } => {
                    drop(self);
                    let _nobody_waits = answer.send(());
                    return;
                }
            }
        }
    }

    fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, LogError> {
        let deadline = self.shared.clock.monotonic() + wait;
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        if self.rewind {
            self.resolve()?;
            self.forget_places();
            self.rewind = false;
            return Ok(Polled::Rewound);
        }
        if let Some(told) = self.place(deadline)? {
            return Ok(told);
        }
        let mut batch: Vec<Stored> = Vec::new();
        loop {
            let left = deadline.saturating_sub(self.shared.clock.monotonic());
            let slice = if batch.is_empty() { left.min(SLICE) } else { Duration::ZERO };
            let next = self.next(slice);
            // First, since what was read and not handed out is then of partitions that are gone.
            if let Some(told) = self.changed()? {
                return Ok(told);
            }
            match next {
                Ok(Some(record)) => batch.push(record),
                Ok(None) if !batch.is_empty() => break,
                Ok(None) if left.is_zero() || self.hurry.load(Ordering::SeqCst) => return Ok(Polled::Idle),
                Ok(None) => {}
                Err(error) => {
                    // The client gives up a partition it cannot read. The next poll begins anew where this one
                    // ended, and so says it again, or goes on.
                    self.unplace();
                    if batch.is_empty() {
                        return Err(error);
                    }
                    self.trouble = Some(error);
                    break;
                }
            }
            if batch.len() >= max {
                break;
            }
        }
        if let Some(held) = &mut self.held {
            for s in &batch {
                held.places.insert(s.at, Place::At(s.offset.next()));
            }
        }
        Ok(Polled::Records(batch))
    }

    /// The next record, at most `wait` from now.
    fn next(&self, wait: Duration) -> Result<Option<Stored>, LogError> {
        match self.consumer.poll(wait) {
            Some(Ok(message)) => Ok(stored(&self.shared.config, &message)),
            Some(Err(error)) if is_passing(&error) => {
                tracing::warn!(%error, group = %self.group.name, "polling");
                Ok(None)
            }
            Some(Err(error)) => Err(log_error("polling", &error)),
            None => Ok(None),
        }
    }

    /// Takes a change of the group into account, and what the shell has to be told of it.
    fn changed(&mut self) -> Result<Option<Polled>, LogError> {
        match self.consumer.context().take() {
            None => Ok(None),
            Some(Change::Revoked) => {
                self.producer = None;
                self.in_doubt = false;
                let Some(held) = self.held.take() else { return Ok(None) };
                self.rewind = false;
                Ok(Some(Polled::Lost(held.places.into_keys().collect())))
            }
            Some(Change::Wrong(error)) => Err(error),
            Some(Change::Assigned(dealt, generation)) => {
                if !agree(&dealt, &self.group.topics, |t| self.shared.manifest.partitions(t)) {
                    return Err(LogError::Refused(format!(
                        "group {} was dealt partition numbers that differ between its topics: {dealt:?}. All its \
                         members must be of this program",
                        self.group.name
                    )));
                }
                if dealt.is_empty() {
                    return Ok(None);
                }
                self.held = Some(Held::new(&dealt, generation));
                self.end_what_predecessors_left(&dealt);
                Ok(Some(Polled::Assigned(dealt)))
            }
        }
    }

    /// Ends transactions that a dead predecessor left open, which else hold up every reader until the
    /// broker gives them up. A group that never committed through the log is spared the producer.
    fn end_what_predecessors_left(&mut self, dealt: &[TopicPartition]) {
        let committed = self.committed(dealt);
        if committed.as_ref().is_ok_and(BTreeMap::is_empty) {
            return;
        }
        if let Err(error) = self.resolve_as_new() {
            tracing::warn!(%error, group = %self.group.name, "the producer is not ready yet");
        }
        if committed.is_ok() {
            return;
        }
        // Offsets are pending: whoever holds them was first in one of these partitions, and is no more.
        let deadline = self.shared.clock.monotonic() + self.group.session / 2;
        let first = dealt.first().map(|p| p.topic);
        for p in dealt.iter().skip(1).filter(|p| Some(p.topic) == first) {
            if self.shared.clock.monotonic() > deadline {
                break;
            }
            let id = self.shared.config.transactional_id(&self.group.name, *p);
            let taken = Transactional::take_over(&self.shared.config, &self.shared.clock, &id, self.limit());
            if let Err(error) = taken {
                tracing::warn!(%error, %id, "what a predecessor left open");
            }
        }
    }

    /// Makes sure that no transaction of this member is open.
    fn resolve(&mut self) -> Result<(), LogError> {
        if self.in_doubt { self.resolve_as_new() } else { Ok(()) }
    }

    fn resolve_as_new(&mut self) -> Result<(), LogError> {
        self.producer = None;
        if let Some((first, _)) = self.held.as_ref().and_then(|h| h.places.first_key_value()) {
            let id = self.shared.config.transactional_id(&self.group.name, *first);
            let (config, clock) = (&self.shared.config, &self.shared.clock);
            self.producer = Some(Transactional::take_over(config, clock, &id, self.limit())?);
        }
        self.in_doubt = false;
        Ok(())
    }

    /// How long a call to the broker may take: a member that waits for much longer than its session has lost
    /// its partitions anyway.
    fn limit(&self) -> Duration {
        self.group.session.clamp(TRANSACTION_TIMEOUT / 2, TRANSACTION_TIMEOUT)
    }

    /// Reading stops, and goes on at the committed offsets.
    fn forget_places(&mut self) {
        self.unplace();
        if let Some(held) = &mut self.held {
            held.places.values_mut().for_each(|place| *place = Place::Committed);
        }
    }

    /// Reading stops until [`Self::place`] says from where.
    fn unplace(&mut self) {
        let Some(held) = &mut self.held else { return };
        if held.placed {
            held.placed = false;
            if let Err(error) = self.consumer.assign(&TopicPartitionList::new()) {
                tracing::warn!(%error, group = %self.group.name, "stopping to read");
            }
        }
    }

    /// Lets the consumer read from where it should. Asks for committed offsets where none was sought, until
    /// they are there; meanwhile the shell may be told something.
    fn place(&mut self, deadline: Duration) -> Result<Option<Polled>, LogError> {
        loop {
            let Some(held) = &mut self.held else { return Ok(None) };
            if held.placed {
                return Ok(None);
            }
            let open = held.open();
            if open.is_empty() {
                let list = held.list(&self.shared.config)?;
                self.consumer.assign(&list).map_err(|e| log_error("reading", &e))?;
                held.placed = true;
                return Ok(None);
            }
            match self.committed(&open) {
                Ok(committed) => {
                    let Some(held) = &mut self.held else { return Ok(None) };
                    for p in open {
                        held.places.insert(p, committed.get(&p).map_or(Place::Start, |o| Place::At(*o)));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, group = %self.group.name, "no committed offsets yet");
                    // Keeps the session, and hears of changes.
                    self.next(Duration::ZERO)?;
                    if let Some(told) = self.changed()? {
                        return Ok(Some(told));
                    }
                    if self.shared.clock.monotonic() >= deadline || self.hurry.load(Ordering::SeqCst) {
                        return Ok(Some(Polled::Idle));
                    }
                }
            }
        }
    }

    /// The offsets this group has committed, once no transaction that would change them is open.
    fn committed(&self, of: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        committed(&self.shared.config, &self.consumer, of, LOOKUP)
    }

    fn commit(
        &mut self,
        records: &[Append],
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Written<Vec<Offset>> {
        let written = self.try_commit(records, offsets);
        if !matches!(written, Written::Done(_)) {
            self.rewind = true;
        }
        written
    }

    fn try_commit(
        &mut self,
        records: &[Append],
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Written<Vec<Offset>> {
        if self.rewind {
            let why = "the last commit was not done, and the member was not polled since";
            return Written::NotDone(LogError::Fenced(why.into()));
        }
        let holds = |p: &TopicPartition| self.held.as_ref().is_some_and(|h| h.places.contains_key(p));
        if let Some(foreign) = offsets.keys().find(|p| !holds(p)) {
            return Written::NotDone(LogError::Fenced(format!("{foreign} is not this member's")));
        }
        if let Err(error) = check(&self.shared.manifest, records) {
            return Written::NotDone(error);
        }
        if records.is_empty() && offsets.is_empty() {
            return Written::Done(Vec::new());
        }
        if self.producer.is_none()
            && let Err(error) = self.resolve_as_new()
        {
            return Written::NotDone(error);
        }
        let (Some(held), Some(producer)) = (&self.held, &self.producer) else {
            return Written::NotDone(LogError::Fenced("this member holds nothing".into()));
        };
        // The group is checked together with the offsets. Where there are none, that of a place which nobody
        // reads is committed, so that a member of an old generation can append nothing either.
        let mut to_commit = TopicPartitionList::new();
        let mut added = Ok(());
        for (p, next) in offsets {
            let topic = self.shared.config.topic(p.topic);
            let at = KafkaOffset::Offset(next.0);
            added = added.and(to_commit.add_partition_offset(&topic, p.partition, at));
        }
        if offsets.is_empty() {
            let topic = self.shared.config.manifest_topic();
            added = to_commit.add_partition_offset(&topic, 0, KafkaOffset::Offset(0));
        }
        if let Err(error) = added {
            return Written::NotDone(log_error("committing", &error));
        }
        // Also without records this is a transaction: a plain commit is checked against the generation of the
        // moment, and an empty group accepts it from anybody.
        match producer.commit(records, &to_commit, &held.generation) {
            Ended::Done(places) => {
                self.shared.note_visible(records, &places);
                Written::Done(places)
            }
            Ended::Aborted(error) => Written::NotDone(error),
            Ended::Fenced(error) => {
                self.producer = None;
                Written::NotDone(error)
            }
            Ended::Open(error) => {
                self.in_doubt = true;
                Written::NotDone(error)
            }
            Ended::Unknown(error) => {
                self.in_doubt = true;
                Written::Unknown(error)
            }
        }
    }

    fn seek(&mut self, at: TopicPartition, to: Offset) -> Result<(), LogError> {
        self.place_of(at)?;
        self.unplace();
        if let Some(held) = &mut self.held {
            held.places.insert(at, Place::At(to));
        }
        Ok(())
    }

    fn pause(&mut self, at: TopicPartition, paused: bool) -> Result<(), LogError> {
        self.place_of(at)?;
        let Some(held) = &mut self.held else { return Ok(()) };
        let changed = if paused { held.paused.insert(at) } else { held.paused.remove(&at) };
        if changed {
            self.unplace();
        }
        Ok(())
    }

    fn place_of(&self, at: TopicPartition) -> Result<Place, LogError> {
        let place = self.held.as_ref().and_then(|h| h.places.get(&at).copied());
        place.ok_or_else(|| LogError::Fenced(format!("{at} is not this member's")))
    }
}

/// Troubles that the client gets over by itself.
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        code(error),
        Some(
            Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::PollExceeded
                | Code::UnknownMemberId
                | Code::IllegalGeneration
                | Code::RebalanceInProgress
                | Code::NotCoordinator
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
        )
    )
}
