//! The group that reads intents, and the partitions that it deals out.
//!
//! The ledger says who really owns a partition, and how far it is taken. Whatever goes wrong with one, it starts over:
//! claimed again, resolved again, read again from the stored offset. Nothing here waits for a ledger or a venue, so that
//! the group is polled whatever they do; [`super::gating`] does what may take long.

use std::{collections::BTreeMap, time::Duration};

use eventlog::{Group, Member, Offset, Polled, Stored, TopicPartition, Written};
use futures_util::future::join_all;
use runtime::Stop;
use schemas::topics::Topic;
use tokio::sync::mpsc;

use super::{
    Stage, agree,
    worker::{Position, Ready, Worker},
};
use crate::{error::ExecuteError, store::intents};

/// The name of the group, and of the stage in dead letters.
pub const GROUP: &str = "execute";

/// How often the group's own offsets are committed: for display alone, the ledger's count.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How long a partition that failed is left alone.
const START_OVER: Duration = Duration::from_millis(500);
/// How long a poll waits while a partition is about to be read, on, or at all.
const SHORTLY: Duration = Duration::from_millis(10);

/// Runs execute until asked to stop.
///
/// # Errors
/// What does not pass by itself: a log or a database that does not belong here, or that refuses.
pub async fn run(stage: Stage, stop: Stop) -> Result<(), ExecuteError> {
    agree::check(&stage).await?;
    let group =
        Group { name: GROUP.to_owned(), topics: vec![Topic::Intents], session: stage.settings.session };
    let member = stage.log.join(group).await?;
    let (tell, ready) = mpsc::unbounded_channel();
    let owner = stage.chance.uuid().to_string();
    let intake = Intake {
        workers: BTreeMap::new(),
        committed_at: stage.clock.monotonic(),
        member,
        tell,
        ready,
        owner,
        stage,
    };
    intake.run(stop).await
}

struct Intake {
    stage: Stage,
    owner: String,
    member: Box<dyn Member>,
    workers: BTreeMap<i32, Worker>,
    tell: mpsc::UnboundedSender<Ready>,
    ready: mpsc::UnboundedReceiver<Ready>,
    committed_at: Duration,
}

impl Intake {
    async fn run(mut self, stop: Stop) -> Result<(), ExecuteError> {
        while !stop.is_requested() {
            self.take_ready();
            self.look_after_workers().await?;
            self.read_on().await?;
            // A partition that is being claimed, or whose gate was behind, shall not wait for a poll to end.
            let soon = self.workers.values().any(|w| w.ready.as_ref().is_none_or(|p| p.paused));
            let wait = if soon { SHORTLY } else { self.stage.settings.poll };
            match self.member.poll(self.stage.settings.batch, wait).await {
                Ok(polled) => self.take(polled).await?,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "intents could not be read yet");
                    self.stage.board.trouble(error.code());
                    self.stage.clock.sleep(START_OVER).await;
                }
                Err(error) => return Err(error.into()),
            }
            self.commit_now_and_then().await;
        }
        self.end().await
    }

    /// Orders on their way arrive; nothing new is taken.
    async fn end(self) -> Result<(), ExecuteError> {
        let within = self.stage.settings.drain;
        let clock = self.stage.clock.clone();
        join_all(self.workers.into_values().map(|worker| worker.drain(&*clock, within))).await;
        self.member.leave().await?;
        Ok(())
    }

    async fn take(&mut self, polled: Polled) -> Result<(), ExecuteError> {
        match polled {
            Polled::Assigned(ours) => {
                for at in ours {
                    self.start(at, Duration::ZERO).await?;
                }
            }
            Polled::Lost(gone) => {
                for at in gone {
                    tracing::info!(partition = at.partition, "execute gives up a partition");
                    // Dropped at once: nothing is sent for it any more.
                    self.workers.remove(&at.partition);
                }
            }
            Polled::Rewound => {
                for (partition, worker) in &mut self.workers {
                    let Some(position) = &mut worker.ready else { continue };
                    seek(&mut *self.member, *partition, position.entrance.read_on()).await?;
                }
            }
            Polled::Records(records) => self.take_records(records),
            Polled::Idle => {}
        }
        Ok(())
    }

    /// Claims a partition in the background. Nothing of it is read until it is ready.
    async fn start(&mut self, at: TopicPartition, delay: Duration) -> Result<(), ExecuteError> {
        self.workers.remove(&at.partition);
        if !pause(&mut *self.member, at.partition, true).await? {
            return Ok(());
        }
        let worker =
            Worker::start(self.stage.clone(), self.owner.clone(), at.partition, delay, self.tell.clone());
        self.workers.insert(at.partition, worker);
        Ok(())
    }

    fn take_ready(&mut self) {
        while let Ok(ready) = self.ready.try_recv() {
            let Ready { partition, lease, entrance } = ready;
            // An earlier claim of it may have been on its way here.
            let Some(worker) = self.workers.get_mut(&partition).filter(|_| !lease.is_lost()) else {
                continue;
            };
            worker.ready = Some(Position { lease, committed: entrance.gated(), entrance, paused: true });
        }
    }

    /// Reads what is ready and has room from where it stands, and no more of what has none.
    async fn read_on(&mut self) -> Result<(), ExecuteError> {
        let member = &mut *self.member;
        for (partition, worker) in &mut self.workers {
            let Some(position) = &mut worker.ready else { continue };
            let full = position.entrance.is_full(position.paused);
            if !full && (position.paused || position.entrance.has_left_out()) {
                seek(member, *partition, position.entrance.read_on()).await?;
            }
            if full != position.paused {
                pause(member, *partition, full).await?;
                position.paused = full;
            }
        }
        Ok(())
    }

    /// Workers do not end by themselves: one that did starts over.
    async fn look_after_workers(&mut self) -> Result<(), ExecuteError> {
        let mut again = Vec::new();
        for (partition, worker) in &mut self.workers {
            match worker.ended().await {
                None => {}
                Some(Err(error)) if error.may_pass() => {
                    tracing::warn!(partition, %error, "a partition starts over");
                    self.stage.board.trouble(error.code());
                    again.push(*partition);
                }
                Some(Err(error)) => return Err(error),
                Some(Ok(())) => again.push(*partition),
            }
        }
        for partition in again {
            self.start(intents(partition), START_OVER).await?;
        }
        Ok(())
    }

    fn take_records(&mut self, records: Vec<Stored>) {
        for stored in records {
            let worker = self.workers.get_mut(&stored.at.partition);
            if let Some(position) = worker.and_then(|w| w.ready.as_mut()) {
                position.entrance.take(stored);
            }
        }
    }

    /// Tells the group how far intents are taken, and the board how far they are not.
    async fn commit_now_and_then(&mut self) {
        let now = self.stage.clock.monotonic();
        if now.saturating_sub(self.committed_at) < COMMIT_EVERY {
            return;
        }
        self.committed_at = now;
        let (mut lag, mut offsets) = (0u64, BTreeMap::new());
        for (partition, worker) in &self.workers {
            let Some(position) = &worker.ready else { continue };
            let gated = position.entrance.gated();
            if let Ok(extent) = self.stage.log.extent(intents(*partition)).await {
                lag += u64::try_from(extent.end.0.saturating_sub(gated.0)).unwrap_or(0);
            }
            if gated != position.committed {
                offsets.insert(intents(*partition), gated);
            }
        }
        self.stage.board.lag(GROUP, lag);
        if offsets.is_empty() {
            return;
        }
        match self.member.commit(Vec::new(), offsets.clone()).await {
            Written::Done(_) => {
                for (at, offset) in offsets {
                    if let Some(position) = self.workers.get_mut(&at.partition).and_then(|w| w.ready.as_mut())
                    {
                        position.committed = offset;
                    }
                }
            }
            // The next poll says that reading went back, and it is put where the ledger stands.
            Written::NotDone(error) | Written::Unknown(error) => {
                tracing::debug!(%error, "the group's offsets were not committed");
            }
        }
    }
}

async fn seek(member: &mut dyn Member, partition: i32, to: Offset) -> Result<(), ExecuteError> {
    match member.seek(intents(partition), to).await {
        Err(error) if !error.is_transient() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether it is ours to be paused; where it is not, the next poll says so.
async fn pause(member: &mut dyn Member, partition: i32, paused: bool) -> Result<bool, ExecuteError> {
    match member.pause(intents(partition), paused).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_transient() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
