//! The contract of a log (`design.md`, The log). Whatever a backend does inside, a caller sees this.

use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use schemas::{LogId, Timestamp, topics::Topic};
use serde::{Deserialize, Serialize};

/// The place of a record in its partition: grows, and may skip (transaction markers, gaps).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// The start of a partition nothing was deleted from.
    pub const ZERO: Self = Self(0);

    /// The place after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of a topic.
    pub const fn new(topic: Topic, partition: i32) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A header of a record. Names may repeat, values may be absent; both are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<Bytes>,
}

/// A record, wherever it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// What it is about; bare UTF-8 in our topics.
    pub key: Option<Bytes>,
    /// The framed datum; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// In the order given.
    pub headers: Vec<Header>,
    /// When it was made. Backends keep whole milliseconds, rounded down.
    pub timestamp: Timestamp,
}

impl Record {
    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|h| h.name == name).and_then(|h| h.value.as_deref())
    }
}

/// A record to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub to: TopicPartition,
    /// What.
    pub record: Record,
}

/// A record as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its partition.
    pub at: TopicPartition,
    /// Its place in it.
    pub offset: Offset,
    /// The record.
    pub record: Record,
}

/// How a call that changes the log ended. There is no fourth way: a lost answer is [`Written::Unknown`].
#[derive(Debug)]
#[must_use]
pub enum Written<T> {
    /// It is in the log, for good, and visible.
    Done(T),
    /// It is not in the log, and never will be.
    NotDone(LogError),
    /// It may be in the log or not; reading tells.
    Unknown(LogError),
}

/// What a log is, fixed when it is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The log's id; offsets mean nothing without it.
    pub log_id: LogId,
    /// Whether its orders went to the simulator or to the real venue: the two never mix.
    pub venue: VenueKind,
    /// Partitions of the topics keyed by wallet.
    pub wallet_partitions: i32,
    /// Partitions of the topics keyed by billing account.
    pub account_partitions: i32,
    /// Partitions of `markets`.
    pub market_partitions: i32,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Manifest {
    /// How many partitions a topic has.
    pub fn partitions(&self, topic: Topic) -> i32 {
        match topic {
            t if t.by_wallet() => self.wallet_partitions,
            Topic::Intents | Topic::Controls => self.account_partitions,
            Topic::Markets => self.market_partitions,
            _ => 1,
        }
    }

    /// Where a record with that key belongs. `decisions` are placed by the caller instead: they stand in
    /// the partition of the fill's wallet, whatever their key.
    pub fn place(&self, topic: Topic, key: &[u8]) -> TopicPartition {
        TopicPartition::new(topic, schemas::topics::partition_of(key, self.partitions(topic)))
    }
}

/// Which venue a log belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VenueKind {
    /// The simulator.
    Simulator,
    /// Polymarket, paper or live.
    Real,
}

/// What the log to be opened should be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// A log of another venue is refused.
    pub venue: VenueKind,
    /// Used when the log is created; a log that exists keeps its own.
    pub wallet_partitions: i32,
    /// Used when the log is created.
    pub account_partitions: i32,
    /// Used when the log is created.
    pub market_partitions: i32,
    /// If given, a log of another id is refused, and where there is no log none is created: a wrong path
    /// must not become an empty log that looks right.
    pub log_id: Option<LogId>,
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It cannot be reached now; the same call may succeed later.
    #[error("log_unreachable: {0}. Check that the broker or the log file is there and try again")]
    Unreachable(String),
    /// Another member or writer has taken over; what this one held is gone.
    #[error("log_fenced: {0}. Another member owns these partitions now; rejoin")]
    Fenced(String),
    /// It is another log than the one expected, or made for another venue.
    #[error("log_wrong_manifest: {0}. Point to the right log, or to an empty one")]
    WrongManifest(String),
    /// The place asked for is not, or no longer, in the log.
    #[error("log_offset_out_of_range: {0}")]
    OutOfRange(String),
    /// The log did not take the call for a reason that will not pass by itself.
    #[error("log_refused: {0}")]
    Refused(String),
    /// What is stored is not what was written.
    #[error("log_corrupt: {0}. Stop, keep the file, and restore from a backup")]
    Corrupt(String),
}

impl LogError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "log_unreachable",
            Self::Fenced(_) => "log_fenced",
            Self::WrongManifest(_) => "log_wrong_manifest",
            Self::OutOfRange(_) => "log_offset_out_of_range",
            Self::Refused(_) => "log_refused",
            Self::Corrupt(_) => "log_corrupt",
        }
    }

    /// A commit behind one that was not done, without a poll in between.
    pub(crate) fn not_polled() -> Self {
        Self::Fenced("the last commit was not done, and the member was not polled since".into())
    }

    /// Whether the same call may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Fenced(_))
    }
}

/// The readable part of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first place that still holds records.
    pub start: Offset,
    /// The place after the last committed record: nothing open lies before it.
    pub end: Offset,
}

/// A group of members that share the partitions of some topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name: offsets are kept under it.
    pub name: String,
    /// Partition numbers are dealt out together over all of these (range assignor): who owns p of one
    /// owns p of each that has the same count.
    pub topics: Vec<Topic>,
    /// A member not heard of for this long loses its partitions.
    pub session: Duration,
}

/// What a poll brings. Assignment and loss come before any record they concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// These are ours now, beside those we have. Reading starts at their committed offsets, or where the member
    /// seeks to before the next poll; at the partition's start where nothing was committed. None is paused.
    Assigned(Vec<TopicPartition>),
    /// These are not ours any more: forget what was staged for them. Committing for them is refused.
    Lost(Vec<TopicPartition>),
    /// Reading went back to the committed offsets of every partition held, because a commit did not end
    /// in [`Written::Done`]: forget what was staged. Seeks since are forgotten too; what is paused stays so.
    /// Whatever the commit left open has ended by now: these offsets do not move by themselves.
    Rewound,
    /// Records of partitions that are ours, in order per partition, committed ones only; never empty.
    Records(Vec<Stored>),
    /// Nothing for as long as was waited.
    Idle,
}

/// The log.
#[async_trait]
pub trait Log: fmt::Debug + Send + Sync {
    /// What this log is.
    fn manifest(&self) -> &Manifest;

    /// Appends without consuming anything; the offsets come in the order of the records. Records of one
    /// partition stay in the order given, and come after all that this log handle appended to it before
    /// (in the order in which the calls were first polled). Not atomic across records: on
    /// [`Written::Unknown`] any prefix per partition may be there. For hops that are idempotent by key.
    async fn append(&self, records: Vec<Append>) -> Written<Vec<Offset>>;

    /// Joins a group. The member starts with nothing assigned, and is heard of from its first poll on.
    /// Dropping it is dying: only [`Member::leave`] tells the others.
    async fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError>;

    /// Up to `limit` committed records from `from` on; empty only at the end. Gaps are skipped, so a
    /// returned record may stand later than `from`, and fewer than `limit` does not mean the end.
    /// [`LogError::OutOfRange`] where `from` lies before the start or past the end.
    async fn read(&self, at: TopicPartition, from: Offset, limit: usize) -> Result<Vec<Stored>, LogError>;

    /// What can be read of a partition now.
    async fn extent(&self, at: TopicPartition) -> Result<Extent, LogError>;

    /// Like [`Log::extent`], but waits until no transaction that was open when it was called still is.
    async fn settled_extent(&self, at: TopicPartition) -> Result<Extent, LogError>;

    /// The first place whose record is not older than `time`; the end where there is none.
    async fn offset_at(&self, at: TopicPartition, time: Timestamp) -> Result<Offset, LogError>;

    /// The offsets a group has committed, whoever did.
    async fn committed(
        &self,
        group: &str,
        of: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, LogError>;
}

/// A member of a group. One task drives it; it keeps its session alive by itself for as long as it is
/// polled at least once per session time, so that a shell that hangs loses its partitions.
///
/// A partition goes over to another member either because its session ended, or because the group changed:
/// then it goes at the next poll, which says [`Polled::Lost`], and not before. A backend may also take all
/// partitions away and give most of them back.
#[async_trait]
pub trait Member: Send {
    /// Up to `max` records, waiting at most `wait` for the first.
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, LogError>;

    /// Appends the records and commits the offsets (the next to be read) in one atomic step: all of it or
    /// nothing, and nothing once any partition named in `offsets` is no longer this member's. On anything
    /// but [`Written::Done`] the next poll answers [`Polled::Rewound`] (or `Lost`), and until then every
    /// further commit is [`LogError::Fenced`]: what the first one did is not known, so nothing may follow it.
    ///
    /// Only what is named in `offsets` fences: whoever appends without having read anything new names the
    /// offset it already committed. While the group changes a commit may be [`LogError::Fenced`] even for
    /// partitions that stay.
    async fn commit(
        &mut self,
        records: Vec<Append>,
        offsets: BTreeMap<TopicPartition, Offset>,
    ) -> Written<Vec<Offset>>;

    /// Reads on from there. Only for partitions that are this member's, else [`LogError::Fenced`].
    async fn seek(&mut self, at: TopicPartition, to: Offset) -> Result<(), LogError>;

    /// Stops or resumes reading of a partition, without giving it up. Only for partitions that are this
    /// member's, else [`LogError::Fenced`].
    async fn pause(&mut self, at: TopicPartition, paused: bool) -> Result<(), LogError>;

    /// What is this member's now.
    fn assignment(&self) -> Vec<TopicPartition>;

    /// Leaves, so that the others need not wait for the session to end.
    async fn leave(self: Box<Self>) -> Result<(), LogError>;
}
