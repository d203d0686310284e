//! The loop: polls, decides, commits; takes partitions over and gives them up.
//!
//! | what happens | what it does |
//! |---|---|
//! | partitions are assigned | reads their chains to the end ([`restore`]), then goes on behind them |
//! | partitions are lost | forgets what was staged; keeps the rest for a minute, should they come back |
//! | a commit fails or its answer is lost | drops what was staged and reads on in the chain: what is there counts |
//! | a cut stands in the chain that it did not write | drops its state and restores it |
//! | it is told to stop | leaves snapshots behind, and the group |

mod restore;
mod snapshots;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use eventlog::{Append, Group, Log, LogError, Member, Offset, Polled, Stored, TopicPartition, Written};
use runtime::{Board, Chance, Clock, Stop, board::Step, signals};
use schemas::{
    codec::Codec,
    topics::{Topic, partition_of},
};

use self::restore::Restore;
use crate::{
    DecideError,
    chain::Chain,
    core::{Core, Head, Staged, input_index},
    cut::{INPUTS, Slice, read},
    plan::{VERSIONS, Version},
};

/// The consumer group, and the stage's name in figures.
pub const GROUP: &str = "decide";

/// What the shell gets from outside.
#[derive(Debug, Clone)]
pub struct Ports {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Reads and writes records.
    pub codec: Codec,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Salts.
    pub chance: Chance,
    /// The figures.
    pub board: Board,
    /// When to stop.
    pub stop: Stop,
}

/// How the shell runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a silent member keeps its partitions.
    pub session: Duration,
    /// The most records of one poll.
    pub batch: usize,
    /// How long a poll waits for the first record.
    pub wait: Duration,
    /// Cuts after which a snapshot is worth its while.
    pub snapshot_every: u64,
    /// The least time between two snapshots of a partition.
    pub snapshot_after: Duration,
    /// Records of a chain read between two polls while restoring.
    pub restore_slice: usize,
    /// The plan versions known: [`VERSIONS`], but in tests.
    pub versions: &'static [Version],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            session: Duration::from_secs(10),
            batch: 500,
            wait: Duration::from_millis(100),
            snapshot_every: 1_000,
            snapshot_after: Duration::from_secs(60),
            restore_slice: 500,
            versions: VERSIONS,
        }
    }
}

/// How long the state of a lost partition is kept, should it come back.
const PARKED: Duration = Duration::from_secs(60);
/// How long to wait where the log does not answer.
const RETRY: Duration = Duration::from_millis(200);
/// How often the lag is told: while idle, and while busy.
const LAG_EVERY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

/// A partition that is ours.
#[derive(Debug)]
struct Part {
    phase: Phase,
    /// Cuts since the last snapshot.
    cuts: u64,
    /// When the last snapshot was written.
    saved_at: Duration,
}

#[derive(Debug)]
enum Phase {
    /// Its chain is being read; its inputs are paused.
    Restoring(Box<Restore>),
    /// It decides.
    Running(Box<Core>),
}

/// Decides until told to stop.
///
/// # Errors
/// What retrying does not mend; see [`DecideError`].
pub async fn run(ports: Ports, options: Options) -> Result<(), DecideError> {
    let mut shell = Shell {
        parts: BTreeMap::new(),
        parked: BTreeMap::new(),
        uncertain: false,
        lag_at: None,
        apart: BTreeMap::new(),
        marker: 0,
        ports,
        options,
    };
    loop {
        match shell.live().await {
            Err(DecideError::Log(e)) if e.is_transient() => {
                // The member is gone, and with it what it held.
                shell.trouble("join", &e);
                shell.lose_all();
                shell.ports.clock.sleep(RETRY).await;
            }
            ended => return ended,
        }
        if shell.ports.stop.is_requested() {
            return Ok(());
        }
    }
}

struct Shell {
    ports: Ports,
    options: Options,
    parts: BTreeMap<i32, Part>,
    parked: BTreeMap<i32, (Box<Core>, Duration)>,
    /// A commit did not end as it should: the chains have to be looked at before anything is decided.
    uncertain: bool,
    lag_at: Option<Duration>,
    /// Partition numbers of which not all inputs are ours, and since when.
    apart: BTreeMap<i32, (Duration, Vec<Topic>)>,
    /// Places without a record that the log leaves behind each commit: Kafka's transaction marker. Learnt from
    /// the first one seen.
    marker: i64,
}

/// A partition's staged batch, and where its records stand among those of the commit.
struct Pending {
    partition: i32,
    staged: Staged,
    first: usize,
}

impl Shell {
    /// One membership, until told to stop or until the member is of no use any more.
    async fn live(&mut self) -> Result<(), DecideError> {
        let group = Group { name: GROUP.into(), topics: INPUTS.to_vec(), session: self.options.session };
        let mut member = self.ports.log.join(group).await?;
        while !self.ports.stop.is_requested() {
            let restoring = self.parts.values().any(|p| matches!(p.phase, Phase::Restoring(_)));
            let wait = if restoring { Duration::ZERO } else { self.options.wait };
            let polled = member.poll(self.options.batch, wait).await?;
            let idle = matches!(polled, Polled::Idle);
            match polled {
                Polled::Assigned(_) => self.assigned(&mut *member).await?,
                Polled::Lost(lost) => self.lost(&lost),
                Polled::Rewound => self.uncertain = true,
                Polled::Records(records) => {
                    if !self.uncertain {
                        self.decide(&mut *member, records).await?;
                    }
                }
                Polled::Idle => {}
            }
            if std::mem::take(&mut self.uncertain) {
                self.look_again(&mut *member).await?;
            }
            if restoring || !idle {
                self.restore_some(&mut *member).await?;
            }
            self.check_together()?;
            self.look_after(idle && !restoring).await;
        }
        self.save_all().await;
        if let Err(e) = member.leave().await {
            self.trouble("leave", &e);
        }
        Ok(())
    }

    fn trouble(&self, what: &str, e: &LogError) {
        self.ports.board.trouble(&format!("decide_{what}"));
        tracing::warn!(event = signals::TICK_ERROR, stage = GROUP, what, code = e.code(), error = %e);
    }

    /// Takes over what is ours now and was not before.
    async fn assigned(&mut self, member: &mut dyn Member) -> Result<(), DecideError> {
        let mut owned: BTreeMap<i32, Vec<Topic>> = BTreeMap::new();
        for at in member.assignment() {
            owned.entry(at.partition).or_default().push(at.topic);
        }
        let now = self.ports.clock.monotonic();
        self.apart.retain(|partition, _| owned.contains_key(partition));
        owned.retain(|partition, topics| {
            let together = INPUTS.iter().all(|t| topics.contains(t));
            if together {
                self.apart.remove(partition);
            } else {
                self.apart.entry(*partition).or_insert((now, topics.clone()));
            }
            together
        });
        for partition in owned.into_keys() {
            if self.parts.contains_key(&partition) {
                continue;
            }
            let parked = self.parked.remove(&partition).map(|(core, _)| core);
            self.take_over(member, partition, parked).await?;
            tracing::info!(event = "partition_taken", stage = GROUP, partition);
        }
        Ok(())
    }

    /// A backend may hand over the topics of a partition number one after another; that some never come means that
    /// the topics do not have one partition count.
    fn check_together(&self) -> Result<(), DecideError> {
        let now = self.ports.clock.monotonic();
        let patience = self.options.session.saturating_mul(3);
        match self.apart.iter().find(|(_, (since, _))| now.saturating_sub(*since) > patience) {
            None => Ok(()),
            Some((partition, (_, topics))) => {
                let owned = topics.iter().map(|t| t.name()).collect::<Vec<_>>().join(", ");
                Err(DecideError::NotTogether { partition: *partition, owned })
            }
        }
    }

    /// Starts reading a partition's chain: from what is known of it, else from a snapshot, else from its start.
    async fn take_over(
        &mut self,
        member: &mut dyn Member,
        partition: i32,
        known: Option<Box<Core>>,
    ) -> Result<(), DecideError> {
        pause(member, partition, true).await?;
        let restore = Restore::new(partition, known);
        let saved_at = self.ports.clock.monotonic();
        let part = Part { phase: Phase::Restoring(Box::new(restore)), cuts: 0, saved_at };
        self.parts.insert(partition, part);
        Ok(())
    }

    fn lost(&mut self, lost: &[TopicPartition]) {
        let now = self.ports.clock.monotonic();
        for at in lost {
            let Some(part) = self.parts.remove(&at.partition) else { continue };
            tracing::info!(event = "partition_lost", stage = GROUP, partition = at.partition);
            let core = match part.phase {
                Phase::Running(core) => Some(core),
                Phase::Restoring(restore) => restore.into_core(),
            };
            if let Some(core) = core {
                self.parked.insert(at.partition, (core, now));
            }
        }
    }

    fn lose_all(&mut self) {
        let all: Vec<TopicPartition> =
            self.parts.keys().map(|p| TopicPartition::new(Topic::Fills, *p)).collect();
        self.lost(&all);
        self.uncertain = false;
    }

    /// Every partition looks at its chain before it goes on: from where it stands.
    async fn look_again(&mut self, member: &mut dyn Member) -> Result<(), DecideError> {
        let running: Vec<i32> = self
            .parts
            .iter()
            .filter(|(_, part)| matches!(part.phase, Phase::Running(_)))
            .map(|(partition, _)| *partition)
            .collect();
        for partition in running {
            if let Some(Part { phase: Phase::Running(core), .. }) = self.parts.remove(&partition) {
                self.take_over(member, partition, Some(core)).await?;
            }
        }
        Ok(())
    }

    /// A slice of the work of restoring; a partition whose chain is read to its end runs.
    async fn restore_some(&mut self, member: &mut dyn Member) -> Result<(), DecideError> {
        let Some((&partition, _)) =
            self.parts.iter().find(|(_, part)| matches!(part.phase, Phase::Restoring(_)))
        else {
            return Ok(());
        };
        let Some(Part { phase: Phase::Restoring(mut restore), cuts, saved_at }) =
            self.parts.remove(&partition)
        else {
            return Ok(());
        };
        let done = match restore.step(&self.ports, &self.options).await {
            Ok(done) => done,
            Err(DecideError::Log(e)) if e.is_transient() => {
                self.trouble("restore", &e);
                self.ports.clock.sleep(RETRY).await;
                None
            }
            Err(e) => return Err(e),
        };
        let Some(core) = done else {
            self.parts.insert(partition, Part { phase: Phase::Restoring(restore), cuts, saved_at });
            return Ok(());
        };
        match self.resume(member, &core).await {
            Ok(()) => {}
            // It is being taken away: the next poll says so.
            Err(LogError::Fenced(why)) => {
                self.trouble("resume", &LogError::Fenced(why));
            }
            Err(e) => return Err(e.into()),
        }
        tracing::info!(
            event = "partition_restored",
            stage = GROUP,
            partition,
            cut = core.head().number,
            again = restore.redone(),
            from = restore.origin(),
        );
        let upgrade = core.upgrade();
        let cuts = restore.redone();
        self.parts.insert(partition, Part { phase: Phase::Running(core), cuts, saved_at });
        if let Some(version) = upgrade {
            self.upgrade(member, partition, version).await?;
        }
        Ok(())
    }

    /// Reads on behind the chain. The chain wins over the group's offsets; they differ only where somebody moved
    /// them, or imported a log.
    async fn resume(&self, member: &mut dyn Member, core: &Core) -> Result<(), LogError> {
        let at = INPUTS.map(|topic| TopicPartition::new(topic, core.partition()));
        let committed = self.ports.log.committed(GROUP, &at).await?;
        for (at, end) in at.iter().zip(core.head().inputs) {
            let differs = committed.get(at).is_some_and(|c| *c != end);
            if differs || (!committed.contains_key(at) && end > Offset::ZERO) {
                tracing::error!(
                    event = "offsets_disagree", stage = GROUP, at = %at,
                    chain = end.0, group = committed.get(at).map(|o| o.0),
                    "the chain counts",
                );
            }
            member.seek(*at, end).await?;
            member.pause(*at, false).await?;
        }
        Ok(())
    }

    /// Begins a newer plan version: a cut without inputs.
    async fn upgrade(
        &mut self,
        member: &mut dyn Member,
        partition: i32,
        version: &'static Version,
    ) -> Result<(), DecideError> {
        let now = self.ports.clock.now();
        let mut next = Some(version);
        while let Some(version) = next {
            let Some(core) = self.running(partition) else { return Ok(()) };
            let staged = core.stage_upgrade(version, now)?;
            let pending = vec![Pending { partition, staged, first: 0 }];
            self.commit(member, pending).await?;
            let uncertain = self.uncertain;
            next = self.running(partition).filter(|_| !uncertain).and_then(|core| core.upgrade());
        }
        Ok(())
    }

    fn running(&mut self, partition: i32) -> Option<&mut Core> {
        match self.parts.get_mut(&partition) {
            Some(Part { phase: Phase::Running(core), .. }) => Some(core),
            _ => None,
        }
    }

    /// A batch: one cut for each partition that it has records of, all in one commit.
    async fn decide(&mut self, member: &mut dyn Member, records: Vec<Stored>) -> Result<(), DecideError> {
        let mut batches: BTreeMap<i32, [Vec<Stored>; 3]> = BTreeMap::new();
        for stored in records {
            if let Some(i) = input_index(stored.at.topic) {
                batches.entry(stored.at.partition).or_default()[i].push(stored);
            }
        }
        let now = self.ports.clock.now();
        let (codec, chance) = (self.ports.codec.clone(), self.ports.chance.clone());
        let mut pending = Vec::new();
        for (partition, batch) in batches {
            // Records of a partition that is restoring come again, once it reads on behind its chain.
            let Some(core) = self.running(partition) else { continue };
            let slices = slices(&codec, core.head().inputs, &batch);
            if slices.iter().all(|s| s.from == s.until) {
                continue;
            }
            let staged = core.stage(slices, now, &mut || chance.bytes())?;
            pending.push(Pending { partition, staged, first: 0 });
        }
        if pending.is_empty() {
            return Ok(());
        }
        self.commit(member, pending).await
    }

    /// Appends cuts, decisions, intents and letters and moves the offsets on: all of it or nothing.
    async fn commit(
        &mut self,
        member: &mut dyn Member,
        mut pending: Vec<Pending>,
    ) -> Result<(), DecideError> {
        let manifest = self.ports.log.manifest().clone();
        let mut records = Vec::new();
        let mut offsets = BTreeMap::new();
        for p in &mut pending {
            p.first = records.len();
            let to = TopicPartition::new(Topic::Decisions, p.partition);
            records.push(Append { to, record: p.staged.record.clone() });
            for decided in &p.staged.decisions {
                records.push(Append { to, record: decided.record.clone() });
            }
            // All three, so that whoever lost the partition can not commit, whatever the batch was made of.
            for (topic, end) in INPUTS.into_iter().zip(p.staged.inputs()) {
                offsets.insert(TopicPartition::new(topic, p.partition), end);
            }
        }
        for p in &mut pending {
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
        match member.commit(records, offsets).await {
            Written::Done(places) => {
                for p in pending {
                    self.committed(member, &p, &places).await?;
                }
            }
            Written::NotDone(e) | Written::Unknown(e) => {
                for p in &pending {
                    if let Some(core) = self.running(p.partition) {
                        core.undo();
                    }
                }
                self.uncertain = true;
                self.trouble("commit", &e);
                if !e.is_transient() {
                    return Err(e.into());
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
        core.keep(&p.staged, offset, end)?;
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
        if let Some(part) = self.parts.get_mut(&p.partition) {
            part.cuts += 1;
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

    /// The figures and the log lines of what was decided.
    fn tell(&self, staged: &Staged) {
        let now = self.ports.clock.now();
        let board = &self.ports.board;
        for decided in &staged.decisions {
            let d = &decided.decision;
            board.decision(d.outcome, d.reason);
            board.reached(Step::Decided, now.since(decided.observed_at));
            tracing::debug!(
                event = signals::DECISION, outcome = d.outcome.as_str(), reason = d.reason.as_str(),
                key = %d.idempotency_key, tenant = %d.billing_account_id, partition = d.partition, cut = d.cut,
            );
        }
        for _ in 0..staged.repeats {
            board.decision(schemas::Outcome::Skipped, schemas::Reason::AlreadyPlaced);
        }
    }

    /// Snapshots, lag, and what has been parked for too long.
    async fn look_after(&mut self, idle: bool) {
        let now = self.ports.clock.monotonic();
        self.parked.retain(|_, (_, since)| now.saturating_sub(*since) < PARKED);
        let (every, after) = (self.options.snapshot_every, self.options.snapshot_after);
        let due = self.parts.iter().find(|(_, part)| {
            // Rather in a quiet moment, but not for ever.
            let enough = part.cuts >= if idle { every } else { every.saturating_mul(4) };
            enough && now.saturating_sub(part.saved_at) >= after
        });
        if let Some((&partition, _)) = due {
            self.save(partition).await;
        }
        let lag_every = if idle { LAG_EVERY.0 } else { LAG_EVERY.1 };
        if self.lag_at.is_none_or(|at| now.saturating_sub(at) >= lag_every) {
            self.lag_at = Some(now);
            self.tell_lag().await;
        }
    }

    async fn tell_lag(&self) {
        let mut lag = 0u64;
        for (partition, part) in &self.parts {
            let Phase::Running(core) = &part.phase else { continue };
            for (topic, at) in INPUTS.into_iter().zip(core.head().inputs) {
                match self.ports.log.extent(TopicPartition::new(topic, *partition)).await {
                    Ok(extent) => lag += u64::try_from(extent.end.0 - at.0).unwrap_or(0),
                    Err(_) => return,
                }
            }
        }
        self.ports.board.lag(GROUP, lag);
    }

    async fn save(&mut self, partition: i32) {
        let now = self.ports.clock.monotonic();
        let at = self.ports.clock.now();
        let Some(part) = self.parts.get_mut(&partition) else { return };
        let Phase::Running(core) = &part.phase else { return };
        (part.cuts, part.saved_at) = (0, now);
        if let Err(e) = snapshots::save(&*self.ports.log, &self.ports.codec, core, at).await {
            // It costs time at the next start, and nothing else.
            self.ports.board.trouble("decide_snapshot");
            tracing::warn!(event = "snapshot_not_written", stage = GROUP, partition, error = %e);
        }
    }

    async fn save_all(&mut self) {
        let worth: Vec<i32> = self.parts.iter().filter(|(_, part)| part.cuts > 0).map(|(p, _)| *p).collect();
        for partition in worth {
            self.save(partition).await;
        }
    }
}

/// Stops or resumes reading of a partition number.
async fn pause(member: &mut dyn Member, partition: i32, paused: bool) -> Result<(), DecideError> {
    for topic in INPUTS {
        match member.pause(TopicPartition::new(topic, partition), paused).await {
            // It is being taken away: the next poll says so.
            Ok(()) | Err(LogError::Fenced(_)) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// The records of a batch as what a cut takes, from where the chain stands.
fn slices(codec: &Codec, from: [Offset; 3], batch: &[Vec<Stored>; 3]) -> [Slice; 3] {
    let mut slices = from.map(Slice::nothing);
    for (slice, records) in slices.iter_mut().zip(batch) {
        for stored in records.iter().filter(|r| r.offset >= slice.from) {
            slice.until = stored.offset.next();
            slice.inputs.extend(read(codec, stored, false));
        }
    }
    slices
}
