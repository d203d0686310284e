//! Intents to the gate.
//!
//! The group deals out the partitions; the ledger says who really owns one, and how far it is taken. Whatever goes
//! wrong with a partition, it starts over: claimed again, resolved again, read again from the stored offset.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eventlog::{
    Append, Group, Member, Offset, Polled, Stored, TopicPartition, Written,
    event::record,
    position::{self, StoredOffset},
};
use futures_util::future::join_all;
use runtime::Stop;
use schemas::{
    BillingAccountId, OrderStatus, UserId,
    codec::CodecError,
    events::{DeadLetter, IntentsEvent},
    topics::Topic,
};
use tokio::sync::mpsc;

use super::{
    Stage, agree,
    desk::Desk,
    provision,
    worker::{Position, Ready, Worker},
};
use crate::{
    core::gate::head_of,
    error::ExecuteError,
    store::{Batch, Gated, Item, Source, StoreError, intents},
};

/// The name of the group, and of the stage in dead letters.
pub const GROUP: &str = "execute";

/// How often the group's own offsets are committed: for display alone, the ledger's count.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How long a partition that failed is left alone.
const START_OVER: Duration = Duration::from_millis(500);
/// Times a batch is prepared anew before it starts over.
const PREPARE: usize = 3;

/// What the gate wrote goes to whoever follows it up.
pub fn hand_over(desk: &Desk, gated: Vec<Gated>) {
    for what in gated {
        match what {
            Gated::Inserted(attempt) => {
                desk.committed(&attempt);
                if attempt.status == OrderStatus::Reserved {
                    desk.send(*attempt);
                }
            }
            Gated::Cancelling(attempt) => {
                tracing::info!(order = ?attempt.order_id, cause = attempt.cancel_cause.as_deref(), "to be cancelled");
                desk.hand.cancel(attempt.key());
                desk.to_look.notify_one();
                desk.to_relay.notify_one();
            }
            Gated::Deferred(wait) => {
                tracing::info!(waits_for = %wait.describe(), "an intent waits");
                desk.to_defer.notify_one();
            }
            Gated::Owed(shares) => {
                tracing::info!(%shares, "a close is due");
                desk.to_close.notify_one();
            }
            Gated::Nothing(why) => tracing::debug!(why, "an intent changes nothing"),
        }
    }
}

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
        accounts: BTreeMap::new(),
        workers: BTreeMap::new(),
        committed_at: stage.clock.monotonic(),
        dirty: BTreeSet::new(),
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
    /// Accounts seen in the database, and who owns them: they never go.
    accounts: BTreeMap<BillingAccountId, UserId>,
    committed_at: Duration,
    /// Partitions that moved since the group's offsets were committed.
    dirty: BTreeSet<i32>,
}

impl Intake {
    async fn run(mut self, stop: Stop) -> Result<(), ExecuteError> {
        while !stop.is_requested() {
            self.take_ready().await?;
            self.look_after_workers().await?;
            let starting = self.workers.values().any(|w| w.ready.is_none());
            // A partition that is being claimed tells when it is ready: it shall not wait for a poll to end.
            let wait = if starting { Duration::from_millis(10) } else { self.stage.settings.poll };
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
                    self.dirty.remove(&at.partition);
                }
            }
            Polled::Rewound => {
                let places: Vec<_> =
                    self.workers.iter().filter_map(|(p, w)| Some((*p, w.ready.as_ref()?.next))).collect();
                for (partition, next) in places {
                    self.seek(partition, next).await?;
                }
            }
            Polled::Records(records) => self.take_records(records).await?,
            Polled::Idle => {}
        }
        Ok(())
    }

    /// Claims a partition in the background. Nothing of it is read until it is ready.
    async fn start(&mut self, at: TopicPartition, delay: Duration) -> Result<(), ExecuteError> {
        self.workers.remove(&at.partition);
        match self.member.pause(at, true).await {
            Ok(()) => {}
            // It went before it came: the next poll says so.
            Err(error) if error.is_transient() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let worker =
            Worker::start(self.stage.clone(), self.owner.clone(), at.partition, delay, self.tell.clone());
        self.workers.insert(at.partition, worker);
        Ok(())
    }

    async fn seek(&mut self, partition: i32, to: Offset) -> Result<(), ExecuteError> {
        match self.member.seek(intents(partition), to).await {
            Err(error) if !error.is_transient() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn take_ready(&mut self) -> Result<(), ExecuteError> {
        while let Ok(ready) = self.ready.try_recv() {
            let Ready { partition, desk, from, stored } = ready;
            // An earlier claim of it may have been on its way here.
            let Some(worker) = self.workers.get_mut(&partition).filter(|_| !desk.lease.is_lost()) else {
                continue;
            };
            worker.ready = Some(Position { desk, stored, next: from });
            self.seek(partition, from).await?;
            match self.member.pause(intents(partition), false).await {
                Err(error) if !error.is_transient() => return Err(error.into()),
                _ => {}
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
                Some(Err(ExecuteError::Store(error))) if error.may_pass() => {
                    tracing::warn!(partition, %error, "a partition starts over");
                    self.stage.board.trouble(error.code());
                    again.push(*partition);
                }
                Some(Err(ExecuteError::Log(error))) if error.is_transient() => {
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

    async fn take_records(&mut self, records: Vec<Stored>) -> Result<(), ExecuteError> {
        let mut by_partition: BTreeMap<i32, Vec<Stored>> = BTreeMap::new();
        for stored in records {
            by_partition.entry(stored.at.partition).or_default().push(stored);
        }
        self.know_accounts(by_partition.values().flatten()).await;
        let (stage, accounts) = (&self.stage, &self.accounts);
        let gating = self.workers.iter_mut().filter_map(|(partition, worker)| {
            let position = worker.ready.as_mut()?;
            // Read before the last seek, perhaps: only what comes next is taken.
            let mut records = by_partition.remove(partition)?;
            records.retain(|r| r.offset >= position.next);
            Some(async move { (*partition, gate(stage, accounts, position, &records).await) })
        });
        let mut again = Vec::new();
        for (partition, done) in join_all(gating).await {
            match done {
                Ok(()) => {
                    self.dirty.insert(partition);
                }
                Err(ExecuteError::Store(error)) if error.may_pass() => {
                    tracing::warn!(partition, %error, "intents could not be gated; the partition starts over");
                    self.stage.board.trouble(error.code());
                    again.push(partition);
                }
                Err(ExecuteError::Log(error)) if error.is_transient() => {
                    tracing::warn!(partition, %error, "a dead letter could not be written; the partition starts over");
                    again.push(partition);
                }
                Err(error) => return Err(error),
            }
        }
        for partition in again {
            self.start(intents(partition), START_OVER).await?;
        }
        Ok(())
    }

    /// Reads the owners of accounts not met before. An account that cannot be read now stays unknown, and its
    /// intents are asked about again when they are gated.
    async fn know_accounts<'r>(&mut self, records: impl Iterator<Item = &'r Stored>) {
        let mut strange = BTreeSet::new();
        for stored in records {
            let key = stored.record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok());
            let account = key.and_then(|k| k.parse::<BillingAccountId>().ok());
            strange.extend(account.filter(|a| !self.accounts.contains_key(a)));
        }
        if strange.is_empty() {
            return;
        }
        let strange: Vec<_> = strange.into_iter().collect();
        match self.stage.store.accounts(&strange).await {
            Ok(found) => self.accounts.extend(found),
            Err(error) => tracing::warn!(%error, "accounts could not be read"),
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
            if let Ok(extent) = self.stage.log.extent(intents(*partition)).await {
                lag += u64::try_from(extent.end.0.saturating_sub(position.next.0)).unwrap_or(0);
            }
            if self.dirty.contains(partition) {
                offsets.insert(intents(*partition), position.next);
            }
        }
        self.stage.board.lag(GROUP, lag);
        if offsets.is_empty() {
            return;
        }
        match self.member.commit(Vec::new(), offsets).await {
            Written::Done(_) => self.dirty.clear(),
            // The next poll says that reading went back, and it is put where the ledger stands.
            Written::NotDone(error) | Written::Unknown(error) => {
                tracing::debug!(%error, "the group's offsets were not committed");
            }
        }
    }
}

/// One partition's records through the gate.
async fn gate(
    stage: &Stage,
    accounts: &BTreeMap<BillingAccountId, UserId>,
    position: &mut Position,
    records: &[Stored],
) -> Result<(), ExecuteError> {
    let Some(last) = records.last() else { return Ok(()) };
    let mut items = Vec::with_capacity(records.len());
    for stored in records {
        match read(stage, accounts, stored).await {
            Ok(intent) => {
                let value = stored.record.value.clone().unwrap_or_default();
                items.push(Item { intent, value });
            }
            Err(Trouble::Letter { code, reason }) => bury(stage, stored, code, reason).await?,
            Err(Trouble::Store(error)) => return Err(error.into()),
        }
    }
    let to = StoredOffset {
        log_id: stage.log.manifest().log_id,
        at: last.at,
        next: last.offset.next(),
        before: Some(position::hash(&stage.codec, &last.record)),
    };
    let lease = position.desk.lease.clone();
    let batch = || Batch {
        partition: lease.partition,
        epoch: lease.epoch,
        source: Source::Log { from: position.stored.clone(), to: to.clone() },
        items: &items,
        now: stage.clock.now(),
        served: stage.venues.modes(),
    };
    let mut prepared = 0;
    let gated = loop {
        match stage.store.gate(batch(), &stage.keyring).await {
            Err(StoreError::NotLoaded) if prepared < PREPARE => {
                prepared += 1;
                let of: Vec<_> = items.iter().map(|i| provision::About::intent(&i.intent)).collect();
                provision::prepare(stage, &of).await?;
            }
            gated => break gated?,
        }
    };
    position.next = to.next;
    position.stored = Some(to);
    hand_over(&position.desk, gated);
    Ok(())
}

enum Trouble {
    Letter { code: &'static str, reason: String },
    Store(StoreError),
}

impl From<CodecError> for Trouble {
    fn from(error: CodecError) -> Self {
        Self::Letter { code: error.code(), reason: error.to_string() }
    }
}

async fn read(
    stage: &Stage,
    accounts: &BTreeMap<BillingAccountId, UserId>,
    stored: &Stored,
) -> Result<IntentsEvent, Trouble> {
    let value = stored.record.value.as_deref().unwrap_or_default();
    let intent = stage.codec.decode::<IntentsEvent>(value)?;
    let head = head_of(&intent);
    let account = head.billing_account_id;
    let owner = match accounts.get(&account) {
        Some(owner) => Some(*owner),
        // Its record's key was another, or the account is new.
        None => stage.store.accounts(&[account]).await.map_err(Trouble::Store)?.get(&account).copied(),
    };
    // The database takes no such text, and none of ours has it.
    let cause = match &intent {
        IntentsEvent::CancelIntent(cancel) => cancel.cause.as_str(),
        _ => "",
    };
    if head.fill_id.as_str().chars().chain(cause.chars()).any(char::is_control) {
        return Err(Trouble::Letter {
            code: "intent_not_storable",
            reason: "intent_not_storable: its fill id or cause holds control characters".to_owned(),
        });
    }
    // Nobody's money: there is no row in which the tenant could see it.
    match owner {
        None => Err(Trouble::Letter {
            code: "account_unknown",
            reason: format!("account_unknown: there is no billing account {account}"),
        }),
        Some(owner) if owner != head.created_by_user_id => Err(Trouble::Letter {
            code: "account_of_another",
            reason: format!(
                "account_of_another: user {} does not own account {account}",
                head.created_by_user_id
            ),
        }),
        Some(_) => Ok(intent),
    }
}

/// A record that cannot be read goes to `dead-letters`, and is skipped.
async fn bury(
    stage: &Stage,
    stored: &Stored,
    code: &'static str,
    reason: String,
) -> Result<(), ExecuteError> {
    tracing::error!(at = %stored.at, offset = %stored.offset, code, %reason, "an intent cannot be read");
    stage.board.trouble(code);
    let now = stage.clock.now();
    let letter = DeadLetter {
        topic: stored.at.topic.name().to_owned(),
        partition: stored.at.partition,
        offset: stored.offset.0,
        reader: GROUP.to_owned(),
        code: code.to_owned(),
        reason,
        key: stored.record.key.clone(),
        value: stored.record.value.clone(),
        observed_at: now,
    };
    let key = String::from_utf8_lossy(stored.record.key.as_deref().unwrap_or_default()).into_owned();
    let (record, _) = record(&stage.codec, &key, &letter, now, None)?;
    let to = stage.log.manifest().place(Topic::DeadLetters, key.as_bytes());
    match stage.log.append(vec![Append { to, record }]).await {
        Written::Done(_) => Ok(()),
        // Once more, then: a letter that comes twice is better than one that is lost.
        Written::NotDone(error) | Written::Unknown(error) => Err(error.into()),
    }
}
