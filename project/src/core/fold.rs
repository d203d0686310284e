//! A batch of records into the changes it makes.

use std::collections::{BTreeMap, BTreeSet};

use eventlog::{
    Offset, Stored, TopicPartition,
    event::{CE_TYPE, CUT},
    position,
};
use schemas::{
    BillingAccountId, Hash32, LogId, UserId,
    avro::Event as _,
    codec::{Codec, CodecError},
    events::{
        Cut, Decision, DecisionsEvent, FillsEvent, Gap, OrderState, OrdersEvent, PositionChanged,
        TokenMarked, TokenResolved,
    },
    topics::Topic,
};

use super::{
    chain::{Head, take_cut, take_decision},
    ledger::Attempts,
    token::Tokens,
};

/// How far a partition has been read, and what is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The log it is of.
    pub log_id: LogId,
    /// The place to read on from.
    pub next: Offset,
    /// The hash of the record before it.
    pub before: Option<Hash32>,
    /// `decisions`: the last accepted cut.
    pub head: Option<Head>,
    /// Records outside the accepted chain.
    pub ignored: i64,
    /// Records that went to `dead-letters`.
    pub dead: i64,
}

impl Progress {
    /// Nothing read yet.
    pub const fn start(log_id: LogId) -> Self {
        Self { log_id, next: Offset::ZERO, before: None, head: None, ignored: 0, dead: 0 }
    }

    /// The place, as the log checks it.
    pub const fn stored(&self, at: TopicPartition) -> position::StoredOffset {
        position::StoredOffset { log_id: self.log_id, at, next: self.next, before: self.before }
    }
}

/// A record as project reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A cut.
    Cut(Box<Cut>),
    /// A decision.
    Decision(Box<Decision>),
    /// An order.
    Order(Box<OrderState>),
    /// What others pay for a token.
    Marked(Box<TokenMarked>),
    /// What a token pays.
    Resolved(Box<TokenResolved>),
    /// Tokens of a wallet go on under other ids.
    Migrated(Box<PositionChanged>),
    /// Nothing that the tables are built from.
    Other,
    /// Where an imported log has no record.
    Gap,
}

impl Event {
    /// Whose it is: the tenant, and who is said to own the account.
    pub fn owner(&self) -> Option<(BillingAccountId, UserId)> {
        match self {
            Self::Cut(_)
            | Self::Marked(_)
            | Self::Resolved(_)
            | Self::Migrated(_)
            | Self::Other
            | Self::Gap => None,
            Self::Decision(d) => Some((d.billing_account_id, d.created_by_user_id)),
            Self::Order(o) => Some((o.billing_account_id, o.created_by_user_id)),
        }
    }
}

/// Why a record cannot be taken: it goes to `dead-letters`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// No such account.
    #[error("account_unknown: billing account {0} is not in the database")]
    UnknownAccount(BillingAccountId),
    /// The account is somebody else's.
    #[error("account_of_another_user: billing account {account} does not belong to user {user}")]
    ForeignAccount {
        /// The account.
        account: BillingAccountId,
        /// Who is said to own it.
        user: UserId,
    },
    /// The database refuses its rows.
    #[error("record_not_storable: {0}")]
    NotStorable(String),
}

impl Trouble {
    /// The trouble's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Codec(e) => e.code(),
            Self::UnknownAccount(_) => "account_unknown",
            Self::ForeignAccount { .. } => "account_of_another_user",
            Self::NotStorable(_) => "record_not_storable",
        }
    }
}

/// A record, read.
#[derive(Debug, Clone)]
pub struct Read<'r> {
    /// As it stands in the log.
    pub stored: &'r Stored,
    /// The hash of its content.
    pub hash: Hash32,
    /// What it says, or why it cannot be read.
    pub event: Result<Event, Trouble>,
    /// The database refused its rows, and said this: it keeps its place in the chain, and has no rows.
    pub refused: Option<String>,
}

/// The types of `fills` that the tables are built from. The others, by far the most, are passed over by their header.
const OF_FILLS: [&str; 3] = [TokenMarked::NAME, TokenResolved::NAME, PositionChanged::NAME];

fn is_passed_over(stored: &Stored) -> bool {
    let kind = stored.record.header(CE_TYPE).and_then(|value| std::str::from_utf8(value).ok());
    let name = kind.and_then(|kind| kind.strip_prefix("polymirror."));
    stored.at.topic == Topic::Fills && name.is_some_and(|name| !OF_FILLS.contains(&name))
}

/// Reads a record of one of [`TOPICS`](crate::shell::TOPICS).
///
/// # Errors
/// What this program lacks to read it ([`CodecError::is_of_reader`]): it must not be passed over.
pub fn read<'r>(codec: &Codec, stored: &'r Stored) -> Result<Read<'r>, CodecError> {
    let value = stored.record.value.as_deref().unwrap_or_default();
    let event = match stored.at.topic {
        Topic::Decisions => codec.decode::<DecisionsEvent>(value).map(|event| match event {
            DecisionsEvent::Cut(cut) => Event::Cut(Box::new(cut)),
            DecisionsEvent::Decision(decision) => Event::Decision(Box::new(decision)),
        }),
        Topic::Fills if is_passed_over(stored) => Ok(Event::Other),
        Topic::Fills => codec.decode::<FillsEvent>(value).map(|event| match event {
            FillsEvent::TokenMarked(marked) => Event::Marked(Box::new(marked)),
            FillsEvent::TokenResolved(resolved) => Event::Resolved(Box::new(resolved)),
            FillsEvent::PositionChanged(changed) if changed.deltas.iter().any(|d| d.becomes.is_some()) => {
                Event::Migrated(Box::new(changed))
            }
            _ => Event::Other,
        }),
        _ => codec.decode::<OrdersEvent>(value).map(|OrdersEvent::OrderState(o)| Event::Order(Box::new(o))),
    };
    let event = match event {
        Err(CodecError::WrongTopic { name, .. }) if name == Gap::NAME => Ok(Event::Gap),
        Err(error) if error.is_of_reader() => return Err(error),
        event => event,
    };
    Ok(Read {
        stored,
        hash: position::hash(codec, &stored.record),
        event: event.map_err(Trouble::from),
        refused: None,
    })
}

/// The accounts that records speak of.
pub fn accounts(reads: &[Read<'_>]) -> BTreeSet<BillingAccountId> {
    reads.iter().filter_map(|read| Some(read.event.as_ref().ok()?.owner()?.0)).collect()
}

/// What a batch changes: rows, and how far each of its partitions is read afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// From where to where each partition advances; `None`: it was never read before.
    pub advances: BTreeMap<TopicPartition, (Option<Progress>, Progress)>,
    /// The highest revision of each attempt that came.
    pub orders: BTreeMap<super::ledger::CopyKey, Attempts>,
    /// Accepted decisions, in order.
    pub decisions: Vec<Decision>,
    /// What is told of tokens.
    pub tokens: Tokens,
}

/// A record that goes to `dead-letters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead<'r> {
    /// As it stands in the log.
    pub stored: &'r Stored,
    /// Why.
    pub trouble: Trouble,
}

/// Folds records onto the progress of their partitions, given who owns the accounts that they name. Records
/// before a partition's place are passed over: they were folded already.
pub fn fold<'r>(
    log_id: LogId,
    progress: &BTreeMap<TopicPartition, Progress>,
    reads: Vec<Read<'r>>,
    owners: &BTreeMap<BillingAccountId, UserId>,
) -> (Batch, Vec<Dead<'r>>) {
    let mut batch = Batch::default();
    let mut dead = Vec::new();
    for Read { stored, hash, event, refused } in reads {
        let from = progress.get(&stored.at);
        let (_, now) = batch
            .advances
            .entry(stored.at)
            .or_insert_with(|| (from.cloned(), from.cloned().unwrap_or(Progress::start(log_id))));
        if stored.offset < now.next {
            continue;
        }
        now.next = stored.offset.next();
        now.before = Some(hash);
        let partition = stored.at.partition;
        // A cut is judged before anything can go wrong with it; a decision takes its place in the cut
        // even where it then goes to dead-letters.
        let counts = match &event {
            Ok(Event::Cut(cut)) => take_cut(&mut now.head, partition, cut, hash),
            Ok(Event::Decision(_)) => take_decision(&mut now.head, stored.record.header(CUT)),
            Ok(
                Event::Order(_)
                | Event::Marked(_)
                | Event::Resolved(_)
                | Event::Migrated(_)
                | Event::Other
                | Event::Gap,
            )
            | Err(_) => true,
        };
        if !counts {
            now.ignored += 1;
            continue;
        }
        let event = event.and_then(|event| owned(event, owners));
        match refused.map_or(event, |why| Err(Trouble::NotStorable(why))) {
            Ok(Event::Cut(_) | Event::Other | Event::Gap) => {}
            Ok(Event::Marked(marked)) => batch.tokens.mark(*marked),
            Ok(Event::Resolved(resolved)) => batch.tokens.resolve(*resolved),
            Ok(Event::Migrated(changed)) => batch.tokens.change(&changed),
            Ok(Event::Decision(decision)) => batch.decisions.push(*decision),
            Ok(Event::Order(order)) => {
                let copy = (order.billing_account_id, order.idempotency_key);
                batch.orders.entry(copy).or_default().take(*order);
            }
            Err(trouble) => {
                now.dead += 1;
                dead.push(Dead { stored, trouble });
            }
        }
    }
    (batch, dead)
}

fn owned(event: Event, owners: &BTreeMap<BillingAccountId, UserId>) -> Result<Event, Trouble> {
    match event.owner() {
        None => Ok(event),
        Some((account, user)) => match owners.get(&account) {
            None => Err(Trouble::UnknownAccount(account)),
            Some(owner) if *owner != user => Err(Trouble::ForeignAccount { account, user }),
            Some(_) => Ok(event),
        },
    }
}
