//! A member of a group on the log in a file.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use runtime::Clock;
use tokio::sync::{oneshot, watch};

use super::{
    Shared,
    layout::Slot,
    observer::{self, Observer},
    request::{Claim, Commit, Person, Reply, Request, Sync, Synced},
    rows,
    threads::Reader,
};
use crate::{
    group::MemberId,
    port::{Append, Group, LogError, Member, Offset, Polled, Stored, TopicPartition, Written},
};

/// A partition that is this member's.
#[derive(Debug, Clone, Copy)]
struct Held {
    claim: Claim,
    next: Offset,
    paused: bool,
}

/// A question to the writer.
struct Comparing {
    answer: oneshot::Receiver<Result<Synced, LogError>>,
    /// Whether the member had to be rewound when it was asked.
    rewind: bool,
}

/// What a look at the file brought.
enum Fetched {
    /// The group changed since this member last compared.
    GroupChanged,
    Records(Vec<Stored>),
}

pub(super) struct SqliteMember {
    shared: Arc<Shared>,
    reader: Reader,
    changed: watch::Receiver<()>,
    person: Arc<Person>,
    session: Duration,
    observer: Observer,
    /// Given with the first poll, and anew once its session had ended.
    id: Option<MemberId>,
    /// The group's generation this member knows.
    generation: i64,
    held: BTreeMap<TopicPartition, Held>,
    /// What it holds and what it should hold may differ.
    compare: bool,
    /// The writer was asked about that, and has not answered yet.
    comparing: Option<Comparing>,
    /// A commit was not done: back to the committed offsets.
    rewind: bool,
    /// When it last said that it lives.
    beaten: Option<Duration>,
    /// Where the next look for records begins, so that no partition starves the others.
    turn: usize,
}

impl fmt::Debug for SqliteMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteMember")
            .field("group", &self.person.group)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl SqliteMember {
    pub(super) fn new(shared: Arc<Shared>, group: Group) -> Result<Self, LogError> {
        let person = Person {
            group: group.name,
            topics: group.topics,
            session_ms: i64::try_from(group.session.as_millis()).unwrap_or(i64::MAX),
            handle: shared.alive.handle,
        };
        Ok(Self {
            reader: Reader::start(&shared.place)?,
            changed: shared.known.subscribe(),
            shared,
            person: Arc::new(person),
            session: group.session,
            observer: Observer::default(),
            id: None,
            generation: 0,
            held: BTreeMap::new(),
            compare: true,
            comparing: None,
            rewind: false,
            beaten: None,
            turn: 0,
        })
    }

    fn clock(&self) -> &dyn Clock {
        &*self.shared.place.clock
    }

    /// How often it says that it lives, and looks whether the others do.
    fn pulse(&self) -> Duration {
        self.session / 4
    }

    /// Says that it lives, if it did not lately. Nobody waits for the answer: a member that was taken for
    /// dead hears of it through the group's generation.
    fn beat(&mut self) -> Result<(), LogError> {
        let now = self.clock().monotonic();
        let Some(id) = self.id else { return Ok(()) };
        if self.beaten.is_none_or(|at| now.saturating_sub(at) >= self.pulse()) {
            self.shared.send(Request::Beat { id })?;
            self.beaten = Some(now);
        }
        Ok(())
    }

    /// Looks whether the others of the group live, if it did not lately, and has the dead removed.
    async fn observe(&mut self) -> Result<(), LogError> {
        let now = self.clock().monotonic();
        if !self.observer.is_due(now, self.pulse()) {
            return Ok(());
        }
        let (group, lives) = (self.person.group.clone(), self.shared.lives.clone());
        let seen = self.reader.run(move |r| observer::look(&r.connection, &group, &lives)).await?;
        let silent = self.observer.take_in(now, self.pulse(), self.id, &seen);
        if !silent.is_empty() {
            tracing::info!(group = self.person.group, ?silent, "members whose session is over");
            self.shared.send(Request::Expire { group: self.person.group.clone(), silent })?;
        }
        Ok(())
    }

    /// Compares what it holds with what it should hold: what there is to say about that. Where a poll was
    /// cancelled the answer still comes, and the next poll takes it.
    async fn compare(&mut self) -> Result<Option<Polled>, LogError> {
        let comparing = match &mut self.comparing {
            Some(comparing) => comparing,
            none => {
                let held = self.held.values().map(|h| h.claim).collect();
                let sync = Sync { person: self.person.clone(), id: self.id, held };
                let (reply, answer) = oneshot::channel();
                self.shared.send(Request::Sync { sync, reply })?;
                none.insert(Comparing { answer, rewind: self.rewind })
            }
        };
        let synced = (&mut comparing.answer).await;
        // Offsets from before a commit of which nobody knows how it ended say nothing about it.
        let rewinds = comparing.rewind;
        self.comparing = None;
        let synced = synced.map_err(|_| Shared::writer_gone())??;

        if self.id != Some(synced.id) {
            self.id = Some(synced.id);
            self.beaten = Some(self.clock().monotonic());
        }
        self.generation = synced.generation;
        if !synced.lost.is_empty() {
            // Nothing new was taken: that is for the next poll, after this has been heard.
            let lost: Vec<_> = synced.lost.iter().filter_map(|s| s.partition()).collect();
            for at in &lost {
                self.held.remove(at);
            }
            self.rewind &= !self.held.is_empty();
            return Ok(Some(Polled::Lost(lost)));
        }
        let committed = |slot: Slot| synced.committed.get(&slot).copied().unwrap_or(Offset::ZERO);
        if self.rewind && !self.held.is_empty() {
            // One thing at a time: what is new it takes with the next poll.
            if !rewinds {
                return Ok(None);
            }
            for held in self.held.values_mut() {
                held.next = committed(held.claim.slot);
            }
            self.rewind = false;
            self.compare = true;
            return Ok(Some(Polled::Rewound));
        }
        self.rewind = false;
        self.compare = false;
        let mut new = Vec::new();
        for claim in synced.new {
            let Some(at) = claim.slot.partition() else { continue };
            self.held.insert(at, Held { claim, next: committed(claim.slot), paused: false });
            new.push(at);
        }
        Ok((!new.is_empty()).then_some(Polled::Assigned(new)))
    }

    /// Reads what there is.
    async fn fetch(&mut self, max: usize) -> Result<Fetched, LogError> {
        let mut places: Vec<_> = self.reading().collect();
        if !places.is_empty() {
            self.turn = (self.turn + 1) % places.len();
            places.rotate_left(self.turn);
        }
        let known = self.shared.known.clone();
        let (group, generation) = (self.person.group.clone(), self.generation);
        let fetched = self.reader.run(move |r| {
            known.refresh(&r.connection, &mut r.seen)?;
            if known.generation(&group) > generation {
                return Ok(Fetched::GroupChanged);
            }
            let mut records = Vec::new();
            let mut room = rows::MOST_BYTES;
            for (slot, next) in known.reaching_past(&places) {
                if records.len() >= max || room == 0 {
                    break;
                }
                let Some(at) = slot.partition() else { continue };
                let limit = max - records.len();
                rows::read_from(&r.connection, at, Offset(next), limit, &mut room, &mut records)?;
            }
            Ok(Fetched::Records(records))
        });
        let fetched = fetched.await?;
        if let Fetched::Records(records) = &fetched {
            for s in records {
                if let Some(held) = self.held.get_mut(&s.at) {
                    held.next = s.offset.next();
                }
            }
        }
        Ok(fetched)
    }

    /// What is read, and from where.
    fn reading(&self) -> impl Iterator<Item = (Slot, i64)> {
        self.held.values().filter(|h| !h.paused).map(|h| (h.claim.slot, h.next.0))
    }

    /// Returns once there may be something for this member, or something to do, or that time has come.
    async fn wait(&mut self, until: Duration) {
        let shared = self.shared.clone();
        let _watched = shared.known.wait();
        let pulse = self.pulse();
        let beat = self.beaten.map_or(until, |at| at.saturating_add(pulse));
        let wake = until.min(beat).min(self.observer.next_due(pulse));
        loop {
            self.changed.mark_unchanged();
            let news = shared.known.generation(&self.person.group) > self.generation
                || shared.known.has_past(self.reading());
            let now = self.clock().monotonic();
            if news || now >= wake {
                return;
            }
            let sleep = shared.place.clock.sleep(wake.saturating_sub(now));
            tokio::select! {
                biased;
                _ = self.changed.changed() => {}
                () = sleep => {}
            }
        }
    }

    fn mine(&mut self, at: TopicPartition) -> Result<&mut Held, LogError> {
        let group = &self.person.group;
        self.held
            .get_mut(&at)
            .ok_or_else(|| LogError::Fenced(format!("{at} is not this member's in {group}")))
    }

    /// The commit as a request, if nothing speaks against it already here.
    fn prepare(
        &self,
        records: Vec<Append>,
        offsets: BTreeMap<TopicPartition, Offset>,
    ) -> Result<Commit, LogError> {
        let group = self.person.group.clone();
        for r in &records {
            self.shared.manifest.require(r.to)?;
        }
        let id =
            self.id.ok_or_else(|| LogError::Fenced(format!("nothing is this member's yet in {group}")))?;
        let claimed = offsets.into_iter().map(|(at, next)| match self.held.get(&at) {
            Some(held) => Ok((held.claim, next)),
            None => Err(LogError::Fenced(format!("{at} is not this member's in {group}"))),
        });
        let offsets = claimed.collect::<Result<_, _>>()?;
        Ok(Commit { group, id, records, offsets })
    }
}

#[async_trait]
impl Member for SqliteMember {
    /// Cancelling it loses nothing: what it would have said is said by the next one.
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, LogError> {
        let until = self.clock().monotonic().saturating_add(wait);
        loop {
            self.beat()?;
            self.observe().await?;
            while self.compare || self.rewind {
                if let Some(polled) = self.compare().await? {
                    return Ok(polled);
                }
            }
            match self.fetch(max).await? {
                Fetched::GroupChanged => {
                    self.compare = true;
                    continue;
                }
                Fetched::Records(records) if !records.is_empty() => return Ok(Polled::Records(records)),
                Fetched::Records(_) => {}
            }
            if self.clock().monotonic() >= until {
                return Ok(Polled::Idle);
            }
            self.wait(until).await;
        }
    }

    async fn commit(
        &mut self,
        records: Vec<Append>,
        offsets: BTreeMap<TopicPartition, Offset>,
    ) -> Written<Vec<Offset>> {
        // From here until it is known to be done, also when nobody waits for the answer.
        if std::mem::replace(&mut self.rewind, true) {
            return Written::NotDone(LogError::not_polled());
        }
        let lost = self.shared.faults.take_commit();
        let commit = match self.prepare(records, offsets) {
            Ok(commit) => commit,
            Err(e) => return Written::NotDone(e),
        };
        let written = self.shared.write(|reply| Request::Commit { commit, lost, reply }).await;
        self.rewind = !matches!(written, Written::Done(_));
        written
    }

    async fn seek(&mut self, at: TopicPartition, to: Offset) -> Result<(), LogError> {
        self.mine(at)?.next = to;
        Ok(())
    }

    async fn pause(&mut self, at: TopicPartition, paused: bool) -> Result<(), LogError> {
        self.mine(at)?.paused = paused;
        Ok(())
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.held.keys().copied().collect()
    }

    async fn leave(mut self: Box<Self>) -> Result<(), LogError> {
        if self.comparing.is_some() {
            // It may be about to join.
            self.compare().await?;
        }
        let Some(id) = self.id else { return Ok(()) };
        let group = self.person.group.clone();
        self.shared.ask(|reply| Request::Leave { group, id, reply }).await?
    }
}

impl Shared {
    fn send(&self, request: Request) -> Result<(), LogError> {
        self.requests.send(request).map_err(|_| Self::writer_gone())
    }

    /// Has the writer append something.
    pub(super) async fn write(
        &self,
        request: impl FnOnce(Reply<Written<Vec<Offset>>>) -> Request,
    ) -> Written<Vec<Offset>> {
        let (reply, answer) = oneshot::channel();
        if let Err(e) = self.send(request(reply)) {
            return Written::NotDone(e);
        }
        answer.await.unwrap_or_else(|_| Written::Unknown(Self::writer_gone()))
    }

    /// Asks the writer.
    pub(super) async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        self.send(request(reply))?;
        answer.await.map_err(|_| Self::writer_gone())
    }

    fn writer_gone() -> LogError {
        LogError::Unreachable("the thread that writes the log has ended; open it again".into())
    }
}
