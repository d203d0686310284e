//! Records that keep the log itself working: state snapshots, dead letters, gaps.

use bytes::Bytes;

use crate::{Hash32, LogId, Timestamp, record};

record! {
    /// A snapshot of decide's state for one partition, in parts. May be lost at the cost of time only.
    StateSnapshot {
        /// The partition.
        partition: i32,
        /// The log it belongs to.
        log_id: LogId,
        /// The last cut folded into it.
        cut: i64,
        /// That cut's hash.
        cut_hash: Hash32,
        /// The offset in `decisions` after the last record of that cut.
        decisions_offset: i64,
        /// The version whose folds made it.
        plan_version: i32,
        /// This part's number, from 0.
        part: i32,
        /// How many parts there are.
        parts: i32,
        /// The state, as that version writes it.
        state: Bytes,
    }
}

record! {
    /// A record that a reader could not read. It stopped nothing and is not lost.
    DeadLetter {
        /// Where it stands: the topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// The stage that could not read it.
        reader: String,
        /// What kind of trouble: a code of `docs/errors/`.
        code: String,
        /// What was wrong, for a person.
        reason: String,
        /// Its key, as received.
        key: Option<Bytes>,
        /// Its value, as received.
        value: Option<Bytes>,
        /// When it was met.
        observed_at: Timestamp,
    }
}

record! {
    /// Stands where the original of an imported log had no record, so that offsets are the same.
    Gap {
        /// How many offsets it stands for.
        count: i64,
    }
}
