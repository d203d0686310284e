//! One partition's intents through the gate, in a task of its own.
//!
//! A batch may have to wait: for the approvals of wallets that are new, for a database that is slow. Nobody waits with it.
//! The group is polled on, since a member that is not heard of loses its partitions, and other partitions go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use eventlog::{
    Append, Offset, Stored, Written,
    event::record,
    letter,
    position::{self, StoredOffset},
};
use runtime::Stop;
use schemas::{
    BillingAccountId, OrderStatus, UserId,
    codec::CodecError,
    events::{DeadLetter, IntentsEvent},
    topics::Topic,
};
use tokio::sync::mpsc;

use super::{
    Stage,
    desk::{Desk, Way},
    intake::GROUP,
    provision,
};
use crate::{
    core::{Attempt, gate::head_of},
    error::ExecuteError,
    store::{Batch, Gated, Item, Source, StoreError},
};

/// Times a batch is prepared anew before the partition starts over.
const PREPARE: usize = 3;
/// Times a batch is tried again since an order that it is about was changed meanwhile.
const AGAIN: usize = 10;
/// Batches of intents that may wait for the gate before the log is read no further.
const WAITING: usize = 4;

/// What the gate wrote goes to whoever follows it up.
pub fn hand_over(desk: &Desk, gated: Vec<Gated>, way: impl Fn(&Attempt) -> Way) {
    for what in gated {
        match what {
            Gated::Inserted(attempt) => {
                let way = way(&attempt);
                desk.committed(&attempt, way);
                if attempt.status == OrderStatus::Reserved {
                    desk.send(*attempt, way);
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

/// Where a partition's intents are handed to its gate.
#[derive(Debug)]
pub struct Entrance {
    queue: mpsc::Sender<Stored>,
    gated: Arc<AtomicI64>,
    next: Offset,
    /// Set when one found no room: offsets skip, so that nobody sees by those that follow that one is missing.
    left_out: bool,
    batch: usize,
}

impl Entrance {
    /// How far the gate is: what comes before is in the ledger.
    pub fn gated(&self) -> Offset {
        Offset(self.gated.load(Ordering::Acquire))
    }

    /// Whether the log is to be read no further: there is no room for what another poll may bring. Where it already
    /// rests it does so until half of the queue is free, since to stop and go on costs what was read ahead.
    pub fn is_full(&self, rests: bool) -> bool {
        self.queue.capacity() < if rests { self.batch * WAITING / 2 } else { self.batch }
    }

    /// Whether reading has to go back, since one was not taken that had come.
    pub const fn has_left_out(&self) -> bool {
        self.left_out
    }

    /// Where reading goes on from now: after the last that was taken.
    pub const fn read_on(&mut self) -> Offset {
        self.left_out = false;
        self.next
    }

    /// Hands over what comes next. What was read before the last seek is passed over, and so is, until reading goes
    /// back, what follows one that found no room.
    pub fn take(&mut self, stored: Stored) {
        let offset = stored.offset;
        if self.left_out || offset < self.next {
            return;
        }
        match self.queue.try_send(stored) {
            Ok(()) => self.next = offset.next(),
            Err(_) => self.left_out = true,
        }
    }
}

/// The gate of one partition.
#[derive(Debug)]
pub struct Gating {
    desk: Desk,
    queue: mpsc::Receiver<Stored>,
    stored: Option<StoredOffset>,
    gated: Arc<AtomicI64>,
    /// Accounts seen in the database, and who owns them: they never go.
    accounts: BTreeMap<BillingAccountId, UserId>,
}

impl Gating {
    /// A gate that moves on from what is stored, and its entrance, where reading begins at `from`.
    pub fn new(desk: Desk, stored: Option<StoredOffset>, from: Offset) -> (Self, Entrance) {
        let batch = desk.stage.settings.batch;
        let (sender, queue) = mpsc::channel(batch * WAITING);
        let gated = Arc::new(AtomicI64::new(from.0));
        let entrance = Entrance { queue: sender, gated: gated.clone(), next: from, left_out: false, batch };
        (Self { desk, queue, stored, gated, accounts: BTreeMap::new() }, entrance)
    }

    /// Gates until asked to stop. What still waits then is read again by the next owner.
    ///
    /// # Errors
    /// The ledger's and the log's: the partition starts over, where they may pass.
    pub async fn run(mut self, stop: Stop) -> Result<(), ExecuteError> {
        let mut records = Vec::new();
        loop {
            records.clear();
            let taken = tokio::select! {
                biased;
                () = stop.requested() => 0,
                taken = self.queue.recv_many(&mut records, self.desk.stage.settings.batch) => taken,
            };
            if taken == 0 {
                return Ok(());
            }
            self.gate(&records, &stop).await?;
        }
    }

    async fn gate(&mut self, records: &[Stored], stop: &Stop) -> Result<(), ExecuteError> {
        let Some(last) = records.last() else { return Ok(()) };
        self.know_accounts(records).await;
        let stage = &self.desk.stage;
        let mut items = Vec::with_capacity(records.len());
        for stored in records {
            match self.read(stored).await {
                Ok(intent) => {
                    let value = stored.record.value.clone().unwrap_or_default();
                    items.push(Item { intent, value });
                }
                Err(Trouble::Letter { code, reason }) => bury(stage, stored, code, reason).await?,
                Err(Trouble::Store(error)) => return Err(error.into()),
                Err(Trouble::Reader(error)) => return Err(error.into()),
            }
        }
        let to = StoredOffset {
            log_id: stage.log.manifest().log_id,
            at: last.at,
            next: last.offset.next(),
            before: Some(position::hash(&stage.codec, &last.record)),
        };
        let batch = || Batch {
            partition: self.desk.lease.partition,
            epoch: self.desk.lease.epoch,
            source: Source::Log { from: self.stored.clone(), to: to.clone() },
            items: &items,
            now: stage.clock.now(),
            served: stage.venues.modes(),
        };
        let (mut prepared, mut overtaken) = (0, 0);
        let gated = loop {
            match stage.store.gate(batch(), &stage.keyring).await {
                Err(StoreError::NotLoaded) if prepared < PREPARE => {
                    prepared += 1;
                    let of: Vec<_> = items.iter().map(|i| provision::About::intent(&i.intent)).collect();
                    tokio::select! {
                        biased;
                        // The venue may take long, and nothing of the batch is committed yet.
                        () = stop.requested() => return Ok(()),
                        done = provision::prepare(stage, &of) => done?,
                    }
                }
                // What the venue said of an order was written down first, and nothing of the batch was: it is decided anew. To
                // start over would make every order that is on its way one of which nobody knows.
                Err(StoreError::Changed(_)) if overtaken < AGAIN => overtaken += 1,
                gated => break gated?,
            }
        };
        self.gated.store(to.next.0, Ordering::Release);
        self.stored = Some(to);
        // A sale may be of what gathered long before this intent: it bears the key of the oldest that is due.
        let came: BTreeSet<_> = items.iter().map(|i| head_of(&i.intent).idempotency_key).collect();
        let way = |a: &Attempt| if came.contains(&a.idempotency_key) { Way::Straight } else { Way::Waited };
        hand_over(&self.desk, gated, way);
        Ok(())
    }

    /// Reads the owners of accounts not met before. An account that cannot be read now stays unknown, and its
    /// intents are asked about again when they are gated.
    async fn know_accounts(&mut self, records: &[Stored]) {
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
        match self.desk.stage.store.accounts(&strange).await {
            Ok(found) => self.accounts.extend(found),
            Err(error) => tracing::warn!(%error, "accounts could not be read"),
        }
    }

    async fn read(&self, stored: &Stored) -> Result<IntentsEvent, Trouble> {
        let stage = &self.desk.stage;
        let value = stored.record.value.as_deref().unwrap_or_default();
        let intent = stage.codec.decode::<IntentsEvent>(value)?;
        let head = head_of(&intent);
        let account = head.billing_account_id;
        let owner = match self.accounts.get(&account) {
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
}

enum Trouble {
    Letter {
        code: &'static str,
        reason: String,
    },
    Store(StoreError),
    /// The intent may be as good as any: what it asks for must not be passed over.
    Reader(CodecError),
}

impl From<CodecError> for Trouble {
    fn from(error: CodecError) -> Self {
        if error.is_of_reader() {
            return Self::Reader(error);
        }
        Self::Letter { code: error.code(), reason: error.to_string() }
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
    let letter = letter::fit(DeadLetter {
        topic: stored.at.topic.name().to_owned(),
        partition: stored.at.partition,
        offset: stored.offset.0,
        reader: GROUP.to_owned(),
        code: code.to_owned(),
        reason,
        key: stored.record.key.clone(),
        value: stored.record.value.clone(),
        observed_at: now,
    });
    let key = String::from_utf8_lossy(letter.key.as_deref().unwrap_or_default()).into_owned();
    let (record, _) = record(&stage.codec, &key, &letter, now, None)?;
    let to = stage.log.manifest().place(Topic::DeadLetters, key.as_bytes());
    match stage.log.append(vec![Append { to, record }]).await {
        Written::Done(_) => Ok(()),
        // Once more, then: a letter that comes twice is better than one that is lost.
        Written::NotDone(error) | Written::Unknown(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use eventlog::Record;
    use schemas::Timestamp;

    use super::*;
    use crate::store::intents;

    fn stored(offset: i64) -> Stored {
        let record = Record {
            key: None,
            value: Some(Bytes::new()),
            headers: Vec::new(),
            timestamp: Timestamp::from_secs(0),
        };
        Stored { at: intents(0), offset: Offset(offset), record }
    }

    fn entrance(room: usize) -> (Entrance, mpsc::Receiver<Stored>) {
        let (queue, taken) = mpsc::channel(room);
        let gated = Arc::new(AtomicI64::new(0));
        (Entrance { queue, gated, next: Offset(0), left_out: false, batch: 1 }, taken)
    }

    fn offsets(taken: &mut mpsc::Receiver<Stored>) -> Vec<i64> {
        std::iter::from_fn(|| taken.try_recv().ok()).map(|s| s.offset.0).collect()
    }

    #[test]
    fn nothing_that_follows_an_intent_without_room_overtakes_it() {
        let (mut entrance, mut taken) = entrance(2);
        // Offsets skip: by them alone nobody sees what is missing.
        for offset in [0, 3, 4] {
            entrance.take(stored(offset));
        }
        assert!(entrance.has_left_out());
        assert_eq!(offsets(&mut taken), [0, 3]);
        entrance.take(stored(7));
        assert_eq!(offsets(&mut taken), [0; 0], "there is room now, and 4 comes first");
        assert_eq!(entrance.read_on(), Offset(4));
        // Reading went back a little further than it had to.
        for offset in [3, 4, 7] {
            entrance.take(stored(offset));
        }
        assert_eq!(offsets(&mut taken), [4, 7]);
        assert!(!entrance.has_left_out());
    }

    #[test]
    fn reading_rests_before_the_queue_is_full_and_goes_on_when_half_of_it_is_free() {
        let (mut entrance, mut taken) = entrance(WAITING);
        let mut rests = Vec::new();
        for offset in 0..4 {
            entrance.take(stored(offset));
            rests.push(entrance.is_full(false));
        }
        assert_eq!(rests, [false, false, false, true]);
        let free = |taken: &mut mpsc::Receiver<Stored>| taken.try_recv().unwrap();
        free(&mut taken);
        assert!(entrance.is_full(true));
        free(&mut taken);
        assert!(!entrance.is_full(true));
    }
}
