//! The loop: polls, decides, commits; takes partitions over and gives them up.
//!
//! | what happens | what it does |
//! |---|---|
//! | partitions are assigned | reads their chains to the end ([`restore`]), then goes on behind them |
//! | partitions are lost | forgets what was staged; keeps the rest for a minute, should they come back |
//! | a batch is full, and more may be behind it | decides the next one while the commit is on its way |
//! | a commit fails or its answer is lost | drops what was staged and reads on in the chain: what is there counts |
//! | a cut stands in the chain that it did not write | drops its state and restores it |
//! | it is told to stop | leaves snapshots behind, and the group |

mod commit;
mod figures;
mod restore;
mod snapshots;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use eventlog::{Group, Log, LogError, Member, Offset, Polled, TopicPartition};
use runtime::{Board, Chance, Clock, Stop, signals};
use schemas::{codec::Codec, topics::Topic};

use self::{commit::Pending, restore::Restore};
use crate::{
    DecideError,
    core::Core,
    cut::INPUTS,
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
    /// About how many records one commit may write: what asks for more is decided in several.
    pub transaction: usize,
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
            transaction: 5_000,
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
/// How often repeats are told.
const REPEATS_EVERY: Duration = Duration::from_secs(60);
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
        told: None,
        lag_at: None,
        apart: BTreeMap::new(),
        marker: 0,
        repeats: 0,
        repeats_at: Duration::ZERO,
        ports,
        options,
    };
    loop {
        match shell.live().await {
            Err(e) if e.is_transient() => {
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
    /// What a poll said while a batch was being decided, and is not acted upon yet.
    told: Option<Polled>,
    lag_at: Option<Duration>,
    /// Partition numbers of which not all inputs are ours, and since when.
    apart: BTreeMap<i32, (Duration, Vec<Topic>)>,
    /// Places without a record that the log leaves behind each commit: Kafka's transaction marker. Learnt from
    /// the first one seen.
    marker: i64,
    /// Repeats of fills since the last line about them, and when that was.
    repeats: u64,
    repeats_at: Duration,
}

impl Shell {
    /// One membership, until told to stop or until the member is of no use any more.
    async fn live(&mut self) -> Result<(), DecideError> {
        let group = Group { name: GROUP.into(), topics: INPUTS.to_vec(), session: self.options.session };
        let mut member = self.ports.log.join(group).await?;
        self.told = None;
        while !self.ports.stop.is_requested() {
            let restoring = self.is_restoring();
            let wait = if restoring { Duration::ZERO } else { self.options.wait };
            let polled = match self.told.take() {
                Some(told) => told,
                None => member.poll(self.options.batch, wait).await?,
            };
            let idle = matches!(polled, Polled::Idle);
            match polled {
                Polled::Records(records) if !self.uncertain => self.decide(&mut *member, records).await?,
                Polled::Records(_) | Polled::Idle => {}
                Polled::Assigned(_) => self.assigned(&mut *member).await?,
                // Only from here on is it certain how the commit before it ended.
                Polled::Rewound => self.look_again(&mut *member).await?,
                Polled::Lost(lost) => {
                    self.lost(&lost);
                    if self.uncertain {
                        self.look_again(&mut *member).await?;
                    }
                }
            }
            if restoring || !idle {
                self.restore_some(&mut *member).await?;
            }
            self.check_together()?;
            self.look_after(idle && !restoring).await;
        }
        self.save_all().await;
        if let Err(e) = member.leave().await {
            self.trouble("leave", &e.into());
        }
        Ok(())
    }

    fn is_restoring(&self) -> bool {
        self.parts.values().any(|p| matches!(p.phase, Phase::Restoring(_)))
    }

    fn trouble(&self, what: &str, e: &DecideError) {
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
            if let Some(mut core) = core {
                // A batch whose commit was interrupted: the chain will tell what became of it.
                core.undo();
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
        self.uncertain = false;
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
            Err(e) if e.is_transient() => {
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
                self.trouble("resume", &LogError::Fenced(why).into());
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
