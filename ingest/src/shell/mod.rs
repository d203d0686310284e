//! The loops that feed the core: one over `targets`, which says whom to follow, and one per followed wallet.

mod backfill;
mod convert;
mod markets;
mod marks;
mod pace;
mod publish;
mod recover;
mod source;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use eventlog::{Group, Log, LogError, Member, Offset, Polled, TopicPartition};
use runtime::{Board, Clock, Stop};
use schemas::{
    Address, Timestamp,
    codec::{Codec, CodecError},
    events::TargetsEvent,
    topics::{Topic, partition_of_wallet},
};
use tokio::task::{JoinHandle, JoinSet};
use venue::{VenueError, port::MarketData};

use self::{
    backfill::Gate,
    markets::Markets,
    marks::{Marks, Owned},
    pace::Pace,
    publish::Publisher,
    recover::{Recovered, Recovery},
    watch::Watch,
};
use crate::core::following::Following;

/// The name of the consumer group.
pub const GROUP: &str = "ingest";
/// Records taken at a time.
const BATCH: usize = 500;
/// How long a poll of the log waits: also how soon a change of wallets or an ended watch is noticed.
const POLL_WAIT: Duration = Duration::from_millis(200);

/// Why ingest stopped.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The log does not work.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record cannot be written: a bug.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The venue cannot be used at all.
    #[error(transparent)]
    Venue(#[from] VenueError),
    /// The task for marks ended in a way it never should: a bug.
    #[error(
        "ingest_marks_died: what marks the tokens of followers ended: {why}. Restart the stage, and report this"
    )]
    MarksDied {
        /// How it ended.
        why: String,
    },
    /// A watch ended in a way it never should: a bug.
    #[error("ingest_watch_died: the watch of {wallet} ended: {why}. Restart the stage, and report this")]
    WatchDied {
        /// Whose watch.
        wallet: Address,
        /// How it ended.
        why: String,
    },
}

/// What ingest needs from outside.
#[derive(Clone)]
pub struct Ports {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Reads and writes records.
    pub codec: Codec,
    /// The venue's public data.
    pub venue: Arc<dyn MarketData>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where live figures go.
    pub board: Board,
}

/// How ingest goes about it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often a wallet's trades are read.
    pub poll: Duration,
    /// How often a wallet's activity is read for changes without a trade; a SELL asks for it at once.
    pub activity_poll: Duration,
    /// How many trade requests a second all wallets together make at most. Two of them are kept for history.
    pub requests_per_second: u32,
    /// How long a fill waits for its market's facts (`behaviour.md` 2).
    pub market_wait: Duration,
    /// How often the books of tokens that followers hold are sampled.
    pub marks_every: Duration,
    /// A member not heard of for this long loses its partitions.
    pub session: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(250),
            activity_poll: Duration::from_secs(1),
            requests_per_second: 18,
            market_wait: Duration::from_secs(30),
            marks_every: Duration::from_secs(30),
            session: Duration::from_secs(10),
        }
    }
}

/// Runs ingest until it is asked to stop.
///
/// # Errors
/// A log that cannot be used any more. Trouble with the venue is waited out.
pub async fn run(ports: Ports, settings: Settings, stop: Stop) -> Result<(), IngestError> {
    let Some(mut member) = join(&ports, &settings, &stop).await? else { return Ok(()) };
    let publisher = Publisher::new(&ports);
    let markets = Arc::new(Markets::new(&ports, publisher.clone()));
    let told = Owned::default();
    let every = settings.marks_every;
    let marks = Marks::new(&ports, publisher.clone(), markets.clone(), told.clone(), every, stop.clone());
    let mut beside = JoinSet::new();
    beside.spawn(marks.run());
    let mut stage = Stage {
        ports,
        settings,
        publisher,
        markets,
        pace: Pace::default(),
        gate: Gate::default(),
        stop: stop.clone(),
        following: Following::default(),
        recovered: BTreeMap::new(),
        left: BTreeSet::new(),
        taking: BTreeMap::new(),
        again: BTreeMap::new(),
        owned: BTreeSet::new(),
        told,
        beside,
        counted: BTreeSet::new(),
        watches: BTreeMap::new(),
    };
    let mut outcome = Ok(());
    while !stop.is_requested() && outcome.is_ok() {
        outcome = stage.turn(member.as_mut()).await;
    }
    for (_, watch) in std::mem::take(&mut stage.watches) {
        watch.end().await;
    }
    // The session would end by itself; leaving only spares the others the wait.
    if let Err(error) = member.leave().await {
        tracing::debug!(%error, "could not leave the group");
    }
    outcome
}

/// Joins the group, however often it takes; `None` if the stage is asked to stop before.
async fn join(
    ports: &Ports,
    settings: &Settings,
    stop: &Stop,
) -> Result<Option<Box<dyn Member>>, IngestError> {
    let group = Group { name: GROUP.to_owned(), topics: vec![Topic::Targets], session: settings.session };
    while !stop.is_requested() {
        match ports.log.join(group.clone()).await {
            Ok(member) => return Ok(Some(member)),
            Err(error) => wait_out(ports, error).await?,
        }
    }
    Ok(None)
}

/// Rests after trouble with the log that may pass.
///
/// # Errors
/// Any other trouble.
async fn wait_out(ports: &Ports, error: LogError) -> Result<(), IngestError> {
    if !error.is_transient() {
        return Err(error.into());
    }
    tracing::warn!(%error, code = error.code(), "the log did not answer");
    ports.board.trouble(error.code());
    ports.clock.sleep(POLL_WAIT).await;
    Ok(())
}

/// A watch that runs.
struct Running {
    task: JoinHandle<Result<(), IngestError>>,
}

impl Running {
    /// Ends it at its next step. A record on its way may still arrive, and does no harm: it is one fill.
    async fn end(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

/// A stage that is dropped leaves no watch behind.
impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A partition that is ours, and not served yet.
struct Taking {
    fills: Recovery,
    /// What of `targets` is still to be read; `None`: nobody asked yet how far it goes.
    targets: Option<Range<Offset>>,
}

struct Stage {
    ports: Ports,
    settings: Settings,
    publisher: Publisher,
    markets: Arc<Markets>,
    pace: Pace,
    gate: Gate,
    stop: Stop,
    following: Following,
    /// What the log knew of wallets that were not watched since.
    recovered: BTreeMap<Address, Recovered>,
    /// Wallets whose watch has ended: what it published is not among what was recovered.
    left: BTreeSet<Address>,
    /// Partitions that are being taken over.
    taking: BTreeMap<i32, Taking>,
    /// Partitions that are read again, for wallets of theirs that are followed again.
    again: BTreeMap<i32, Recovery>,
    /// Partitions that are served.
    owned: BTreeSet<i32>,
    /// The same, as the task for marks is told.
    told: Owned,
    /// That task. It ends with the stage.
    beside: JoinSet<Result<(), IngestError>>,
    /// Partitions whose earlier fills are told: one that comes back holds our own too.
    counted: BTreeSet<i32>,
    watches: BTreeMap<Address, Running>,
}

impl Stage {
    async fn turn(&mut self, member: &mut dyn Member) -> Result<(), IngestError> {
        let reading = !self.taking.is_empty() || !self.again.is_empty();
        match member.poll(BATCH, if reading { Duration::ZERO } else { POLL_WAIT }).await {
            Ok(Polled::Assigned(partitions)) => self.take_over(&partitions),
            Ok(Polled::Lost(partitions)) => self.give_up(&partitions).await,
            Ok(Polled::Records(records)) => self.absorb(&records),
            Ok(Polled::Rewound | Polled::Idle) => {}
            Err(error) => wait_out(&self.ports, error).await?,
        }
        // Watches end by themselves when the stage stops: none of them is to begin anew.
        if self.stop.is_requested() {
            return Ok(());
        }
        self.reap().await?;
        if let Err(error) = self.read_some(member).await {
            // Also where a partition is being taken away: the next poll says so.
            wait_out(&self.ports, error).await?;
        }
        self.align().await;
        Ok(())
    }

    /// Begins to read what the log knows of these partitions' wallets: before that nothing is published for them.
    fn take_over(&mut self, partitions: &[TopicPartition]) {
        for TopicPartition { partition, .. } in partitions {
            tracing::info!(event = runtime::signals::SINGLETON_CLAIM, stage = GROUP, partition);
            let taking = Taking { fills: Recovery::new(*partition, None), targets: None };
            self.taking.insert(*partition, taking);
        }
    }

    /// A slice of what is to be read: the group is polled before the next one.
    async fn read_some(&mut self, member: &mut dyn Member) -> Result<(), LogError> {
        if let Some((&partition, _)) = self.taking.first_key_value() {
            if self.read_taken(partition, member).await?
                && let Some(taking) = self.taking.remove(&partition)
            {
                self.serve(partition, taking.fills);
            }
        } else if let Some(mut entry) = self.again.first_entry() {
            let now = self.ports.clock.now();
            if entry.get_mut().step(&*self.ports.log, &self.ports.codec, now).await? {
                let (recovered, read) = entry.remove().finish(now);
                self.left.retain(|wallet| !read.contains(wallet));
                self.recovered.extend(recovered);
            }
        } else {
            return Ok(());
        }
        // Whoever watches meanwhile gets a turn.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// A slice of a partition that is being taken over. Answers whether all of it is read.
    async fn read_taken(&mut self, partition: i32, member: &mut dyn Member) -> Result<bool, LogError> {
        let log = self.ports.log.clone();
        let Some(taking) = self.taking.get_mut(&partition) else { return Ok(false) };
        if !taking.fills.step(&*log, &self.ports.codec, self.ports.clock.now()).await? {
            return Ok(false);
        }
        // All of `targets`, from its start: full states, and few of them.
        let at = TopicPartition::new(Topic::Targets, partition);
        let left = match &mut taking.targets {
            Some(left) => left,
            None => taking.targets.insert(Offset::ZERO..log.settled_extent(at).await?.end),
        };
        if !left.is_empty() {
            let batch = log.read(at, left.start, BATCH).await?;
            left.start = batch.last().map_or(left.end, |last| last.offset.next());
            self.absorb(&batch);
            return Ok(false);
        }
        // What was polled meanwhile may come again: it is absorbed all the same.
        member.seek(at, left.start).await?;
        Ok(true)
    }

    /// What is known of a partition is complete: its wallets can be watched.
    fn serve(&mut self, partition: i32, fills: Recovery) {
        let (recovered, _) = fills.finish(self.ports.clock.now());
        if self.counted.insert(partition) {
            let known = recovered.values().map(|r| r.merger.len()).sum::<usize>();
            self.ports.board.earlier_fills(u64::try_from(known).unwrap_or(u64::MAX));
        }
        self.recovered.extend(recovered);
        self.owned.insert(partition);
        self.told.set(&self.owned);
    }

    async fn give_up(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.owned.remove(&at.partition);
            self.taking.remove(&at.partition);
            self.again.remove(&at.partition);
        }
        self.told.set(&self.owned);
        let count = self.ports.log.manifest().partitions(Topic::Targets);
        let given: BTreeSet<i32> = partitions.iter().map(|at| at.partition).collect();
        let ours = |wallet: Address| !given.contains(&partition_of_wallet(wallet, count));
        self.following.retain(ours);
        self.recovered.retain(|wallet, _| ours(*wallet));
        self.left.retain(|wallet| ours(*wallet));
        let lost: Vec<Address> = self.watches.keys().copied().filter(|w| !ours(*w)).collect();
        for wallet in lost {
            if let Some(watch) = self.watches.remove(&wallet) {
                watch.end().await;
            }
        }
    }

    fn absorb(&mut self, records: &[eventlog::Stored]) {
        for stored in records {
            match stored.record.value.as_deref().map(|v| self.ports.codec.decode::<TargetsEvent>(v)) {
                Some(Ok(TargetsEvent::TargetState(state))) => self.following.absorb(state),
                // A close request is decide's; what cannot be read is decide's to report.
                Some(Ok(TargetsEvent::CloseRequested(_)) | Err(_)) | None => {}
            }
        }
    }

    /// Ends the stage when a watch ended by itself, or the task for marks: they only do so when the log is gone.
    async fn reap(&mut self) -> Result<(), IngestError> {
        match self.beside.try_join_next() {
            None => {}
            Some(Ok(outcome)) => outcome?,
            Some(Err(died)) => return Err(IngestError::MarksDied { why: died.to_string() }),
        }
        let ended: Vec<Address> =
            self.watches.iter().filter(|(_, w)| w.task.is_finished()).map(|(wallet, _)| *wallet).collect();
        for wallet in ended {
            if let Some(mut watch) = self.watches.remove(&wallet) {
                match (&mut watch.task).await {
                    Ok(outcome) => outcome?,
                    Err(died) => return Err(IngestError::WatchDied { wallet, why: died.to_string() }),
                }
            }
        }
        Ok(())
    }

    /// Starts a watch for each wallet somebody follows, and ends those nobody does.
    async fn align(&mut self) {
        let wanted = self.following.wanted();
        let gone: Vec<Address> = self.watches.keys().copied().filter(|w| !wanted.contains_key(w)).collect();
        for wallet in gone {
            if let Some(watch) = self.watches.remove(&wallet) {
                tracing::info!(%wallet, "no longer followed");
                watch.end().await;
                self.left.insert(wallet);
            }
        }
        let count = self.ports.log.manifest().partitions(Topic::Targets);
        let mut again: BTreeMap<i32, BTreeSet<Address>> = BTreeMap::new();
        for (wallet, follow_from) in wanted {
            // Many wallets take a while.
            if self.stop.is_requested() {
                break;
            }
            let partition = partition_of_wallet(wallet, count);
            if self.watches.contains_key(&wallet) || !self.owned.contains(&partition) {
                continue;
            }
            if self.left.contains(&wallet) {
                again.entry(partition).or_default().insert(wallet);
            } else {
                let watch = self.start(wallet, follow_from);
                self.watches.insert(wallet, watch);
            }
        }
        // One reading for all of a partition. Who comes while it goes on waits for the next: the watch may have ended
        // after this one began.
        for (partition, wallets) in again {
            self.again.entry(partition).or_insert_with(|| Recovery::new(partition, Some(wallets)));
        }
        self.pace.set(&self.settings, self.watches.len());
    }

    /// A wallet that is followed again begins where the log ends, not where an earlier watch began; one that was not
    /// watched since its partition was taken over, with what the log knew then: nobody else wrote of it.
    fn start(&mut self, wallet: Address, follow_from: Timestamp) -> Running {
        let recovered = self.recovered.remove(&wallet);
        tracing::info!(%wallet, known = recovered.as_ref().map_or(0, |r| r.merger.len()), "following");
        let watch = Watch::new(
            wallet,
            follow_from,
            recovered,
            &self.ports,
            self.publisher.clone(),
            self.markets.clone(),
            (self.pace.clone(), self.gate.clone()),
            self.settings.market_wait,
        );
        Running { task: tokio::spawn(watch.run(self.stop.clone())) }
    }
}
