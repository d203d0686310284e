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
    recover::{Recovered, recover},
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
    let group = Group { name: GROUP.to_owned(), topics: vec![Topic::Targets], session: settings.session };
    let mut member = ports.log.join(group).await?;
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

struct Stage {
    ports: Ports,
    settings: Settings,
    publisher: Publisher,
    markets: Arc<Markets>,
    pace: Pace,
    gate: Gate,
    stop: Stop,
    following: Following,
    recovered: BTreeMap<Address, Recovered>,
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
        match member.poll(BATCH, POLL_WAIT).await {
            Ok(Polled::Assigned(partitions)) => {
                for at in partitions {
                    self.take_over(at, member).await?;
                }
            }
            Ok(Polled::Lost(partitions)) => self.give_up(&partitions).await,
            Ok(Polled::Records(records)) => self.absorb(&records),
            Ok(Polled::Rewound | Polled::Idle) => {}
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, code = error.code(), "the log did not answer");
                self.ports.clock.sleep(POLL_WAIT).await;
            }
            Err(error) => return Err(error.into()),
        }
        // Watches end by themselves when the stage stops: none of them is to begin anew.
        if self.stop.is_requested() {
            return Ok(());
        }
        self.reap().await?;
        self.align().await
    }

    /// Reads what the log knows of a partition's wallets before anything is published for them.
    async fn take_over(&mut self, at: TopicPartition, member: &mut dyn Member) -> Result<(), IngestError> {
        let log = self.ports.log.clone();
        tracing::info!(event = runtime::signals::SINGLETON_CLAIM, stage = GROUP, partition = at.partition);
        let recovered = recover(&*log, &self.ports.codec, at.partition, self.ports.clock.now()).await?;
        if self.counted.insert(at.partition) {
            let known = recovered.values().map(|r| r.merger.len()).sum::<usize>();
            self.ports.board.earlier_fills(u64::try_from(known).unwrap_or(u64::MAX));
        }
        self.recovered.extend(recovered);
        // All of `targets`, from its start: full states, and few of them.
        let end = log.settled_extent(at).await?.end;
        let mut from = Offset::ZERO;
        while from < end {
            let batch = log.read(at, from, BATCH).await?;
            let Some(last) = batch.last() else { break };
            from = last.offset.next();
            self.absorb(&batch);
        }
        member.seek(at, from.max(end)).await?;
        self.owned.insert(at.partition);
        self.told.set(&self.owned);
        Ok(())
    }

    async fn give_up(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.owned.remove(&at.partition);
        }
        self.told.set(&self.owned);
        let count = self.ports.log.manifest().partitions(Topic::Targets);
        let owned = self.owned.clone();
        let ours = |wallet: Address| owned.contains(&partition_of_wallet(wallet, count));
        self.following.retain(ours);
        self.recovered.retain(|wallet, _| ours(*wallet));
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
    async fn align(&mut self) -> Result<(), IngestError> {
        let wanted = self.following.wanted();
        let gone: Vec<Address> = self.watches.keys().copied().filter(|w| !wanted.contains_key(w)).collect();
        for wallet in gone {
            if let Some(watch) = self.watches.remove(&wallet) {
                tracing::info!(%wallet, "no longer followed");
                watch.end().await;
            }
        }
        for (wallet, follow_from) in wanted {
            // Many wallets take a while.
            if self.stop.is_requested() {
                break;
            }
            if !self.watches.contains_key(&wallet) {
                let watch = self.start(wallet, follow_from).await?;
                self.watches.insert(wallet, watch);
            }
        }
        self.pace.set(&self.settings, self.watches.len());
        Ok(())
    }

    async fn start(&mut self, wallet: Address, follow_from: Timestamp) -> Result<Running, IngestError> {
        let now = self.ports.clock.now();
        // A wallet that is followed again begins where the log ends, not where an earlier watch began.
        let recovered = if let Some(recovered) = self.recovered.remove(&wallet) {
            Some(recovered)
        } else {
            let partition = partition_of_wallet(wallet, self.ports.log.manifest().partitions(Topic::Fills));
            recover(&*self.ports.log, &self.ports.codec, partition, now).await?.remove(&wallet)
        };
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
        Ok(Running { task: tokio::spawn(watch.run(self.stop.clone())) })
    }
}
