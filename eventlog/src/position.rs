//! Offsets kept outside the log, in Postgres or in a snapshot: each knows its log, and the record before it
//! (`design.md`, The log).
//!
//! After one of the two stores was restored from a backup, an offset may point into a log that went another way. Whoever
//! reads on from there would skip or double records without noticing; so it is checked first, and the
//! stage stops with the remedy.

use schemas::{
    Hash32, LogId,
    codec::{Codec, CodecError, raw_hash},
    keccak256,
};

use crate::port::{Log, LogError, Offset, Record, Stored, TopicPartition};

/// An offset kept outside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOffset {
    /// The log it is of.
    pub log_id: LogId,
    /// The partition.
    pub at: TopicPartition,
    /// The place to read on from.
    pub next: Offset,
    /// The hash of the last record before that place; `None` where there is none.
    pub before: Option<Hash32>,
}

/// Why a stored offset must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// It was taken from another log.
    #[error(
        "stored_offset_of_another_log: {at} was read up to {next} in log {stored}, but this is log {here}. Point to the \
         log that the database was built from, or rebuild the database from this one"
    )]
    OfAnotherLog {
        /// The partition.
        at: TopicPartition,
        /// The stored offset.
        next: Offset,
        /// The log the offset is of.
        stored: LogId,
        /// The log at hand.
        here: LogId,
    },
    /// The log ends before it.
    #[error(
        "stored_offset_ahead_of_log: {at} was read up to {next}, but the log ends at {end}. An older log was put under a \
         newer database: restore the log from a backup taken after the database's, or restore the database first, \
         from before this log's backup, and then rebuild from the log"
    )]
    AheadOfLog {
        /// The partition.
        at: TopicPartition,
        /// The stored offset.
        next: Offset,
        /// Where the log ends.
        end: Offset,
    },
    /// Another record stands before it.
    #[error(
        "stored_offset_mismatch: {at} was read up to {next}, but the record before that place is not the one that was \
         read. The log was restored and went on another way: restore the database first, to before the log's \
         backup, the log after, and then rebuild from the log"
    )]
    Mismatch {
        /// The partition.
        at: TopicPartition,
        /// The stored offset.
        next: Offset,
    },
    /// The record before it is of a schema that is not known here, and was known to whoever stored the offset.
    #[error(transparent)]
    Schema(#[from] CodecError),
    /// The log could not be asked.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl PositionError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OfAnotherLog { .. } => "stored_offset_of_another_log",
            Self::AheadOfLog { .. } => "stored_offset_ahead_of_log",
            Self::Mismatch { .. } => "stored_offset_mismatch",
            Self::Schema(e) => e.code(),
            Self::Log(e) => e.code(),
        }
    }
}

/// The hash of a record's content: its datum under its writer schema, whatever id frames it.
pub fn hash(codec: &Codec, record: &Record) -> Hash32 {
    record.value.as_ref().map_or_else(|| keccak256(&[b"tombstone"]), |value| codec.content_hash(value))
}

/// Whether a hash is that of a record, whatever schemas were known to whoever made it: to a program that is older than
/// the record's writer its bytes are all that there is.
fn is_of(codec: &Codec, record: &Record, made: Hash32) -> Result<bool, CodecError> {
    let Some(value) = &record.value else { return Ok(hash(codec, record) == made) };
    if made == raw_hash(value) {
        return Ok(true);
    }
    match codec.known_content_hash(value) {
        Ok(content) => Ok(content == made),
        // Nobody knows a schema of it.
        Err(CodecError::NotFramed(_)) => Ok(false),
        Err(unknown) => Err(unknown),
    }
}

impl StoredOffset {
    /// The place after a record, to be stored once that record was applied.
    pub fn after(codec: &Codec, log_id: LogId, applied: &Stored) -> Self {
        Self {
            log_id,
            at: applied.at,
            next: applied.offset.next(),
            before: Some(hash(codec, &applied.record)),
        }
    }

    /// A place of the log, with the hash of what stands before it now.
    pub async fn take(
        log: &dyn Log,
        codec: &Codec,
        at: TopicPartition,
        next: Offset,
    ) -> Result<Self, LogError> {
        let before = last_before(log, at, next).await?.map(|s| hash(codec, &s.record));
        Ok(Self { log_id: log.manifest().log_id, at, next, before })
    }

    /// Whether reading may go on from here.
    ///
    /// # Errors
    /// One of the three that name the remedy, or the log's own.
    pub async fn check(&self, log: &dyn Log, codec: &Codec) -> Result<(), PositionError> {
        let Self { log_id, at, next, before } = *self;
        let here = log.manifest().log_id;
        if log_id != here {
            return Err(PositionError::OfAnotherLog { at, next, stored: log_id, here });
        }
        let end = log.extent(at).await?.end;
        if next > end {
            return Err(PositionError::AheadOfLog { at, next, end });
        }
        let stands = last_before(log, at, next).await?.map(|s| s.record);
        let is_it = match (&stands, before) {
            (None, None) => true,
            (Some(record), Some(before)) => is_of(codec, record, before)?,
            _ => false,
        };
        if is_it { Ok(()) } else { Err(PositionError::Mismatch { at, next }) }
    }
}

/// The last record below `next`. Gaps may stand between the two, so it looks back further and further.
async fn last_before(log: &dyn Log, at: TopicPartition, next: Offset) -> Result<Option<Stored>, LogError> {
    let start = log.extent(at).await?.start;
    let mut back = 2_i64;
    let mut upper = next;
    while upper > start {
        let lower = Offset((next.0.saturating_sub(back)).max(start.0));
        let limit = usize::try_from(upper.0 - lower.0).unwrap_or(READ).min(READ);
        let mut from = lower;
        let mut last = None;
        loop {
            let batch = log.read(at, from, limit).await?;
            let ends = batch.last().is_none_or(|s| s.offset.next() >= upper);
            if let Some(s) = batch.iter().rev().find(|s| s.offset < upper) {
                last = Some(s.clone());
                from = s.offset.next();
            }
            if ends {
                break;
            }
        }
        if last.is_some() {
            return Ok(last);
        }
        upper = lower;
        back = back.saturating_mul(4);
    }
    Ok(None)
}

/// Records read at once while looking back: a marker or two is what usually stands in between.
const READ: usize = 64;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use bytes::Bytes;
    use runtime::{Chance, VirtualClock};
    use schemas::{Timestamp, codec::SchemaId, topics::Topic};

    use super::*;
    use crate::{
        memory::{MemoryLog, MemoryOptions},
        port::{Append, Expected, Group, VenueKind, Written},
    };

    /// Records at 0, 2, 4, … with a marker behind each: the record before a place is found across the gaps.
    #[tokio::test]
    async fn a_gap_before_a_stored_offset_is_looked_across() {
        let expected = Expected {
            venue: VenueKind::Simulator,
            wallet_partitions: 1,
            account_partitions: 1,
            market_partitions: 1,
            log_id: None,
        };
        let clock = Arc::new(VirtualClock::at(Timestamp::from_secs(1)));
        let options = MemoryOptions { markers: true };
        let log = MemoryLog::create(&expected, options, clock, &Chance::seeded(1)).unwrap();
        let group = Group { name: "g".into(), topics: vec![Topic::Fills], session: Duration::from_secs(1) };
        let mut member = log.join(group).await.unwrap();
        member.poll(1, Duration::ZERO).await.unwrap();
        let at = TopicPartition::new(Topic::Decisions, 0);
        for n in 0..5_u8 {
            let value = Some(Bytes::from(vec![n]));
            let record = Record { key: None, value, headers: Vec::new(), timestamp: Timestamp::from_secs(1) };
            let commit = member.commit(vec![Append { to: at, record }], BTreeMap::new());
            assert!(matches!(commit.await, Written::Done(_)));
        }
        let codec = Codec::bundled().unwrap();
        let content = |n: u8| codec.content_hash(&[n]);
        for (next, before) in
            [(0, None), (1, Some(0)), (2, Some(0)), (3, Some(1)), (9, Some(4)), (10, Some(4))]
        {
            let stored = StoredOffset::take(&log, &codec, at, Offset(next)).await.unwrap();
            assert_eq!(stored.before, before.map(content), "{next}");
            stored.check(&log, &codec).await.unwrap();
        }
        let taken = StoredOffset::take(&log, &codec, at, Offset(10)).await.unwrap();
        for before in [Some(content(3)), None] {
            let wrong = StoredOffset { before, ..taken.clone() };
            assert!(matches!(wrong.check(&log, &codec).await, Err(PositionError::Mismatch { .. })));
        }
    }

    /// Stages are upgraded one after another: a record may be read by a program that does not know its schema yet, or not
    /// any more.
    #[tokio::test]
    async fn what_schemas_a_reader_knew_does_not_make_its_offset_another() {
        let expected = Expected {
            venue: VenueKind::Simulator,
            wallet_partitions: 1,
            account_partitions: 1,
            market_partitions: 1,
            log_id: None,
        };
        let clock = Arc::new(VirtualClock::at(Timestamp::from_secs(1)));
        let log = MemoryLog::create(&expected, MemoryOptions::default(), clock, &Chance::seeded(1)).unwrap();
        let (old, new) = (Codec::bundled().unwrap(), Codec::bundled().unwrap());
        let schema = r#"{"type":"record","name":"polymirror.Later","fields":[{"name":"n","type":"long"}]}"#;
        new.learn(SchemaId(4_000), schema).unwrap();
        let at = TopicPartition::new(Topic::Fills, 0);
        for n in [2, 4] {
            let value = Some(Bytes::from(vec![0, 0, 0, 0x0f, 0xa0, n]));
            let record = Record { key: None, value, headers: Vec::new(), timestamp: Timestamp::from_secs(1) };
            assert!(matches!(log.append(vec![Append { to: at, record }]).await, Written::Done(_)));
        }
        let before_the_upgrade = StoredOffset::take(&log, &old, at, Offset(2)).await.unwrap();
        let after_it = StoredOffset::take(&log, &new, at, Offset(2)).await.unwrap();
        assert_ne!(before_the_upgrade, after_it);
        before_the_upgrade.check(&log, &old).await.unwrap();
        before_the_upgrade.check(&log, &new).await.unwrap();
        after_it.check(&log, &new).await.unwrap();
        // Put back, the older program cannot tell; the log is not to blame for it.
        let error = after_it.check(&log, &old).await.unwrap_err();
        assert!(matches!(error, PositionError::Schema(_)), "{error}");
        // Of another record it is neither way.
        for codec in [&old, &new] {
            let other = StoredOffset::take(&log, codec, at, Offset(1)).await.unwrap();
            let wrong = StoredOffset { next: Offset(2), ..other };
            let error = wrong.check(&log, &new).await.unwrap_err();
            assert!(matches!(error, PositionError::Mismatch { .. }), "{error}");
        }
    }
}
