//! The suite that every backend passes: each function is one promise of [`crate::port`], named after it.
//!
//! A backend's tests bring a [`Harness`] and call [`conformance_suite!`](crate::conformance_suite), which
//! makes one test of each promise:
//!
//! ```text
//! // eventlog/tests/mine.rs
//! async fn harness(test: &str) -> Option<Mine> { Some(Mine::new()) } // None: skipped, loudly
//! eventlog::conformance_suite!(harness);
//! ```
//!
//! **Processes.** Promises about kill -9, a paused process and several processes start real ones: the test
//! binary starts itself again for its test `worker`, with a [`worker::Job`] in its environment. Nothing else has
//! to be built, and the children are never older than the test.
//!
//! **Time.** Nothing waits for luck: each promise waits for a condition, at most [`Harness::patience`].
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::disallowed_methods,
    reason = "tests: a promise that is not kept panics, and patience is real time"
)]

mod atomic;
mod consumer;
mod groups;
mod identity;
mod order;
mod processes;
mod reading;
pub mod worker;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use schemas::{Timestamp, topics::Topic};

pub use self::{atomic::*, consumer::Consumer, groups::*, identity::*, order::*, processes::*, reading::*};
pub use crate::fault::Lost;
use crate::port::{
    Append, Expected, Group, Header, Log, LogError, Offset, Record, Stored, TopicPartition, VenueKind,
    Written,
};

/// What a backend's tests bring to the suite.
#[async_trait]
pub trait Harness: fmt::Debug + Send + Sync {
    /// An empty place where no log is yet, as text that also a child process can open: a path, a broker's
    /// address and a prefix.
    async fn fresh(&self) -> String;

    /// A new handle on the log at that place, which is created where there is none.
    async fn open(&self, place: &str, expected: &Expected) -> Result<Arc<dyn Log>, LogError>;

    /// The session of the suite's groups: short, and long enough for a busy machine not to miss it.
    fn session(&self) -> Duration {
        Duration::from_millis(800)
    }

    /// How long to wait for what must come.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Makes the next commit of any member that joined through this handle lose its answer. `false`: this backend has no
    /// way to do so, and the promise is skipped, loudly.
    async fn lose_next_commit(&self, place: &str, log: &Arc<dyn Log>, lost: Lost) -> bool {
        let _ = (place, log, lost);
        false
    }

    /// The same for the next append through this handle.
    async fn lose_next_append(&self, place: &str, log: &Arc<dyn Log>, lost: Lost) -> bool {
        let _ = (place, log, lost);
        false
    }
}

/// The log that most promises are about: few partitions, so that a broker makes it quickly.
pub fn expected() -> Expected {
    Expected {
        venue: VenueKind::Simulator,
        wallet_partitions: 4,
        account_partitions: 2,
        market_partitions: 2,
        log_id: None,
    }
}

/// A new log, and the place it is at.
pub(crate) async fn fresh_log(h: &dyn Harness) -> (String, Arc<dyn Log>) {
    let place = h.fresh().await;
    let log = h.open(&place, &expected()).await.expect("a fresh place can be opened");
    (place, log)
}

/// A group over these topics with the harness's session.
pub(crate) fn group(h: &dyn Harness, name: &str, topics: &[Topic]) -> Group {
    Group { name: name.into(), topics: topics.to_vec(), session: h.session() }
}

pub(crate) const fn at(topic: Topic, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// Record number `n`: the key says where it stands, the value which it is.
pub(crate) fn numbered(to: TopicPartition, n: usize) -> Append {
    Append {
        to,
        record: Record {
            key: Some(Bytes::from(format!("key {}", to.partition))),
            value: Some(Bytes::from(format!("record {n}"))),
            headers: vec![Header { name: "n".into(), value: Some(Bytes::from(n.to_string())) }],
            timestamp: Timestamp::from_millis(1_700_000_000_000 + i64::try_from(n).unwrap_or(0)),
        },
    }
}

/// Which record [`numbered`] made this.
pub(crate) fn number_of(record: &Record) -> usize {
    let text = record.header("n").map(String::from_utf8_lossy).expect("a numbered record");
    text.parse().expect("a number")
}

pub(crate) fn numbers(records: &[Stored]) -> Vec<usize> {
    records.iter().map(|s| number_of(&s.record)).collect()
}

/// The result of a call that must have been done.
#[track_caller]
pub(crate) fn done<T: fmt::Debug>(written: Written<T>) -> T {
    match written {
        Written::Done(t) => t,
        other => panic!("expected to be done: {other:?}"),
    }
}

/// Appends records `from..to` to a partition in batches.
pub(crate) async fn append_numbered(log: &dyn Log, to: TopicPartition, range: std::ops::Range<usize>) {
    let records: Vec<_> = range.map(|n| numbered(to, n)).collect();
    for batch in records.chunks(100) {
        let offsets = done(log.append(batch.to_vec()).await);
        assert_eq!(offsets.len(), batch.len());
    }
}

/// All that can be read of a partition now.
pub(crate) async fn read_all(log: &dyn Log, of: TopicPartition) -> Vec<Stored> {
    let extent = log.settled_extent(of).await.expect("an extent");
    let mut from = extent.start;
    let mut all: Vec<Stored> = Vec::new();
    while from < extent.end {
        let batch = log.read(of, from, 1_000).await.expect("a range");
        // Below the end there may be nothing but gaps.
        let Some(last) = batch.last() else { break };
        from = last.offset.next();
        all.extend(batch);
    }
    assert!(all.windows(2).all(|w| w[0].offset < w[1].offset), "offsets grow");
    assert!(all.iter().all(|s| s.at == of && s.offset >= Offset::ZERO));
    all
}

/// One test of each promise, over the harness that `$harness("name of the test").await` brings; `None` skips.
///
/// `conformance_suite!(harness)` stands at the top of a test file, where the children find it.
/// `conformance_suite!(harness, in one process)` leaves out what takes several.
#[macro_export]
macro_rules! conformance_suite {
    ($harness:path) => {
        $crate::conformance_suite!($harness, in one process);
        $crate::conformance_suite!(@tests $harness:
            killed_workers_lose_and_double_nothing,
            a_paused_process_is_fenced,
            several_processes_read_the_same,
            a_killed_appender_leaves_a_prefix,
        );

        /// What the suite's child processes run; by itself it proves that they answer.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn worker() {
            let name = concat!(module_path!(), "::worker");
            let Some(h) = $harness(name).await else { return };
            $crate::conformance::worker::run_or_prove(&h).await;
        }
    };
    ($harness:path, in one process) => {
        $crate::conformance_suite!(@tests $harness:
            keys_keep_their_order,
            partitions_are_those_that_java_chooses,
            what_is_written_is_what_is_read,
            an_append_to_no_partition_is_refused,
            appends_of_several_tasks_do_not_mix,
            an_append_whose_answer_was_lost_is_there_or_not,
            a_range_is_read_while_it_grows,
            offsets_are_found_by_time,
            a_place_outside_the_log_is_refused,
            a_waiting_reader_is_woken_and_an_idle_one_returns,
            a_reopened_log_is_the_same,
            a_commit_appends_and_moves_on_in_one_step,
            a_refused_commit_leaves_nothing,
            a_commit_lost_before_it_took_effect_is_repeated,
            a_commit_lost_after_it_took_effect_is_not_repeated,
            commits_are_seen_whole,
            a_compacted_topic_keeps_the_last_of_each_key,
            partition_numbers_stay_together,
            leaving_hands_over_at_once,
            a_dead_member_s_partitions_go_to_the_others,
            a_member_that_is_polled_keeps_its_partitions,
            a_hanging_member_is_fenced,
            a_commit_for_a_foreign_partition_is_refused,
            a_member_seeks_and_pauses,
            groups_do_not_disturb_each_other,
            a_wrong_log_is_refused,
            an_expected_log_that_is_not_there_is_not_made,
            racing_creators_make_one_log,
            stored_offsets_are_checked,
        );
    };
    (@tests $harness:path: $($promise:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let Some(h) = $harness(stringify!($promise)).await else { return };
            $crate::conformance::$promise(&h).await;
        }
    )*};
}
