//! Batches decided and committed: all of it or nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    future::{Future, poll_fn},
    mem::take,
    pin::pin,
    time::Duration,
};

use eventlog::{Append, LogError, Member, Offset, Polled, Stored, TopicPartition, Written};
use runtime::signals;
use schemas::{
    codec::{Codec, CodecError},
    topics::{Topic, partition_of},
};

use super::{GROUP, Phase, Shell};
use crate::{
    DecideError,
    chain::Chain,
    core::{Core, Head, Staged, input_index},
    cut::{INPUTS, Slice, read},
};

/// How long it goes on reading ahead before the loop looks after everything else again.
const AT_A_STRETCH: Duration = Duration::from_millis(500);

/// A partition's staged batch, and where its records stand among those of the commit, which takes them.
pub(super) struct Pending {
    pub partition: i32,
    pub staged: Staged,
    pub first: usize,
}

/// Records that wait to be decided, by partition.
type Waiting = BTreeMap<i32, Batch>;

impl Shell {
    /// A batch: one cut for each partition that it has records of, all in one commit; in several where so many
    /// follow the wallets that one would grow too large.
    ///
    /// While a commit is on its way the next one is decided, and where the batch was full, that of the records behind
    /// it. It is sent only after the one before is in the log, and dropped with it where that one is not.
    pub(super) async fn decide(
        &mut self,
        member: &mut dyn Member,
        records: Vec<Stored>,
    ) -> Result<(), DecideError> {
        let begun = self.ports.clock.monotonic();
        let mut more = records.len() >= self.options.batch;
        let mut waiting = Waiting::new();
        sort(records, &mut waiting);
        let mut pending = self.stage(&mut waiting)?;
        while !pending.is_empty() {
            more &= self.ports.clock.monotonic().saturating_sub(begun) < AT_A_STRETCH;
            if more && waiting.values().flatten().all(VecDeque::is_empty) {
                more = self.read_ahead(member, &mut waiting).await?;
            }
            let (records, offsets) = self.lay_out(&mut pending);
            let (written, next) = {
                let mut writing = pin!(member.commit(records, offsets));
                let mut next = None;
                let written = poll_fn(|task| {
                    // Asked for first: from then on it is on its way.
                    let written = writing.as_mut().poll(task);
                    next.get_or_insert_with(|| self.stage(&mut waiting));
                    written
                });
                (written.await, next)
            };
            self.written(member, pending, written).await?;
            if self.uncertain {
                return Ok(());
            }
            pending = next.transpose()?.unwrap_or_default();
            // A partition that restores takes those records again. The others' are not read another time.
            pending.retain(|p| self.running(p.partition).is_some());
            if pending.is_empty() {
                pending = self.stage(&mut waiting)?;
            }
        }
        Ok(())
    }

    /// Decides as much of what waits as fits into a commit.
    fn stage(&mut self, waiting: &mut Waiting) -> Result<Vec<Pending>, DecideError> {
        let (codec, chance) = (self.ports.codec.clone(), self.ports.chance.clone());
        let now = self.ports.clock.now();
        let mut room = self.options.transaction;
        let mut pending = Vec::new();
        for (partition, batch) in waiting {
            // Records of a partition that is restoring come again, once it reads on behind its chain.
            let Some(core) = self.running(*partition) else {
                *batch = Batch::default();
                continue;
            };
            let slices = slices(&codec, core, batch, &mut room)?;
            if slices.iter().all(|s| s.from == s.until) {
                continue;
            }
            let staged = core.stage(slices, now, &mut || chance.bytes())?;
            pending.push(Pending { partition: *partition, staged, first: 0 });
        }
        Ok(pending)
    }

    /// Takes what can be read behind a full batch, and whether there may be more. Whatever else a poll tells is left for
    /// the loop.
    async fn read_ahead(
        &mut self,
        member: &mut dyn Member,
        waiting: &mut Waiting,
    ) -> Result<bool, DecideError> {
        if self.told.is_some() || self.ports.stop.is_requested() || self.is_restoring() {
            return Ok(false);
        }
        match member.poll(self.options.batch, Duration::ZERO).await? {
            Polled::Records(records) => {
                let more = records.len() >= self.options.batch;
                sort(records, waiting);
                Ok(more)
            }
            Polled::Idle => Ok(false),
            told => {
                self.told = Some(told);
                Ok(false)
            }
        }
    }

    /// Appends cuts, decisions, intents and letters and moves the offsets on: all of it or nothing.
    pub(super) async fn commit(
        &mut self,
        member: &mut dyn Member,
        mut pending: Vec<Pending>,
    ) -> Result<(), DecideError> {
        let (records, offsets) = self.lay_out(&mut pending);
        let written = member.commit(records, offsets).await;
        self.written(member, pending, written).await
    }

    /// What a commit writes: it takes the records out of what is pending.
    fn lay_out(&self, pending: &mut [Pending]) -> (Vec<Append>, BTreeMap<TopicPartition, Offset>) {
        let manifest = self.ports.log.manifest();
        let mut records = Vec::new();
        let mut offsets = BTreeMap::new();
        for p in &mut *pending {
            p.first = records.len();
            let to = TopicPartition::new(Topic::Decisions, p.partition);
            records.push(Append { to, record: take(&mut p.staged.record) });
            for decided in &mut p.staged.decisions {
                records.push(Append { to, record: take(&mut decided.record) });
            }
            // All three, so that whoever lost the partition can not commit, whatever the batch was made of.
            for (topic, end) in INPUTS.into_iter().zip(p.staged.inputs()) {
                offsets.insert(TopicPartition::new(topic, p.partition), end);
            }
        }
        for p in pending {
            let accounts = manifest.partitions(Topic::Intents);
            for (account, record) in p.staged.intents.drain(..) {
                let partition = partition_of(account.to_string().as_bytes(), accounts);
                records.push(Append { to: TopicPartition::new(Topic::Intents, partition), record });
            }
            for record in p.staged.letters.drain(..) {
                let key = record.key.clone().unwrap_or_default();
                records.push(Append { to: manifest.place(Topic::DeadLetters, &key), record });
                metrics::counter!(signals::DEAD_LETTER, "stage" => GROUP).increment(1);
                self.ports.board.trouble("dead_letter");
            }
        }
        (records, offsets)
    }

    /// How a commit ended.
    async fn written(
        &mut self,
        member: &mut dyn Member,
        pending: Vec<Pending>,
        written: Written<Vec<Offset>>,
    ) -> Result<(), DecideError> {
        match written {
            Written::Done(places) => {
                for p in pending {
                    self.committed(member, &p, &places).await?;
                }
            }
            Written::NotDone(e) | Written::Unknown(e) => {
                // What was decided upon it, of whichever partition, is not sent either.
                for part in self.parts.values_mut() {
                    if let Phase::Running(core) = &mut part.phase {
                        core.undo();
                    }
                }
                self.uncertain = true;
                let e = DecideError::from(e);
                self.trouble("commit", &e);
                if !e.is_transient() {
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// A partition's cut is in the log.
    async fn committed(
        &mut self,
        member: &mut dyn Member,
        p: &Pending,
        places: &[Offset],
    ) -> Result<(), DecideError> {
        let last = p.first + p.staged.decisions.len();
        let (Some(offset), Some(end)) = (places.get(p.first).copied(), places.get(last).map(|o| o.next()))
        else {
            return Err(LogError::Refused("a commit did not say where its records stand".into()).into());
        };
        let Some(core) = self.running(p.partition) else { return Ok(()) };
        let head = *core.head();
        // Whatever lies between our cuts but a marker may be a cut that somebody else wrote first.
        if self.somebody_else_wrote(p.partition, &head, offset).await? {
            metrics::counter!(signals::FOREIGN_CUT).increment(1);
            self.ports.board.trouble("foreign_cut");
            tracing::error!(
                event = "foreign_cut",
                stage = GROUP,
                partition = p.partition,
                cut = p.staged.cut.number,
                "somebody else wrote this cut first; restoring",
            );
            self.parts.remove(&p.partition);
            return self.take_over(member, p.partition, None).await;
        }
        // Kept only now: where it could not be said what lies there, the chain is read again from before this cut.
        if let Some(part) = self.parts.get_mut(&p.partition) {
            part.cuts += 1;
            if let Phase::Running(core) = &mut part.phase {
                core.keep(&p.staged, offset, end)?;
            }
        }
        self.tell(&p.staged);
        Ok(())
    }

    /// Whether a cut that counts stands between our last one and this place. Nothing does, unless places lie
    /// between them that are no marker.
    async fn somebody_else_wrote(
        &mut self,
        partition: i32,
        head: &Head,
        ours: Offset,
    ) -> Result<bool, DecideError> {
        let apart = ours.0 - head.end.0;
        if apart <= self.marker {
            return Ok(false);
        }
        let at = TopicPartition::new(Topic::Decisions, partition);
        let mut chain = Chain::after(head.number, head.hash);
        let (mut from, mut between) = (head.end, 0);
        while from < ours {
            let records = self.ports.log.read(at, from, 500).await?;
            let Some(last) = records.last().map(|r| r.offset) else { break };
            for stored in records.iter().filter(|r| r.offset < ours) {
                between += 1;
                chain.push(&self.ports.codec, stored);
                chain.check()?;
                if chain.next() > head.number + 1 {
                    return Ok(true);
                }
            }
            from = last.next();
        }
        if between == 0 && apart == 1 {
            self.marker = 1;
        }
        Ok(false)
    }
}

/// The records of one partition's inputs that wait to be decided.
type Batch = [VecDeque<Stored>; 3];

/// Puts records with those that wait, by partition and input.
fn sort(records: Vec<Stored>, waiting: &mut Waiting) {
    for stored in records {
        if let Some(i) = input_index(stored.at.topic) {
            waiting.entry(stored.at.partition).or_default()[i].push_back(stored);
        }
    }
}

/// As much of a batch as fits into a transaction, as what a cut takes, from where the chain stands.
fn slices(codec: &Codec, core: &Core, batch: &mut Batch, room: &mut usize) -> Result<[Slice; 3], CodecError> {
    let mut slices = core.nothing();
    for (slice, records) in slices.iter_mut().zip(batch) {
        while *room > 0 {
            let Some(stored) = records.pop_front() else { break };
            if stored.offset < slice.from {
                continue;
            }
            // What a record may ask for: a decision and an intent for every follower.
            *room = room.saturating_sub(core.weight(&stored));
            slice.until = stored.offset.next();
            slice.inputs.extend(read(codec, &stored, false)?);
        }
    }
    Ok(slices)
}
