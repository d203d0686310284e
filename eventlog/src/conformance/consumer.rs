//! A member driven the way a stage's shell drives it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use schemas::topics::Topic;

use super::at;
use crate::port::{Append, Group, Log, LogError, Member, Offset, Polled, Stored, TopicPartition, Written};

/// How long one poll waits in the suite.
const SLICE: Duration = Duration::from_millis(20);

/// A member, what it holds, and what it read and did not commit yet. It checks that records come only of
/// partitions it was told to hold.
pub struct Consumer {
    /// The member itself.
    pub member: Box<dyn Member>,
    /// What it holds, as far as it was told.
    pub held: BTreeSet<TopicPartition>,
    /// What was read since the last commit, rewind, or loss of the partition.
    pub staged: Vec<Stored>,
    /// How often it was rewound.
    pub rewinds: usize,
    /// How often it lost something.
    pub losses: usize,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("held", &self.held)
            .field("staged", &self.staged.len())
            .field("rewinds", &self.rewinds)
            .field("losses", &self.losses)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// Joins a group.
    pub async fn join(log: &Arc<dyn Log>, group: Group) -> Self {
        let member = log.join(group).await.expect("a group can be joined");
        assert!(member.assignment().is_empty(), "a member starts with nothing");
        Self { member, held: BTreeSet::new(), staged: Vec::new(), rewinds: 0, losses: 0 }
    }

    /// One poll of at most `max` records, applied. Transient errors are waited out by whoever calls.
    pub async fn step(&mut self, max: usize) -> Result<Polled, LogError> {
        let polled = self.member.poll(max, SLICE).await?;
        match &polled {
            Polled::Assigned(new) => {
                assert!(!new.is_empty(), "an assignment of nothing");
                for p in new {
                    assert!(self.held.insert(*p), "{p} was assigned twice");
                }
            }
            Polled::Lost(gone) => {
                assert!(!gone.is_empty(), "a loss of nothing");
                self.losses += 1;
                for p in gone {
                    assert!(self.held.remove(p), "{p} was lost and not held");
                }
                self.staged.retain(|s| self.held.contains(&s.at));
            }
            Polled::Rewound => {
                self.rewinds += 1;
                self.staged.clear();
            }
            Polled::Records(records) => {
                assert!(!records.is_empty() && records.len() <= max, "{} records", records.len());
                for s in records {
                    assert!(self.held.contains(&s.at), "a record of {} which is not held", s.at);
                }
                self.staged.extend(records.iter().cloned());
            }
            Polled::Idle => {}
        }
        let told: Vec<_> = self.held.iter().copied().collect();
        let mut holds = self.member.assignment();
        holds.sort_unstable();
        assert_eq!(holds, told, "the assignment is what the polls told");
        Ok(polled)
    }

    /// Polls until the condition holds.
    pub async fn until(&mut self, what: &str, patience: Duration, condition: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !condition(self) {
            assert!(begin.elapsed() < patience, "not within {patience:?}: {what}; {self:?}");
            if let Err(e) = self.step(500).await {
                assert!(e.is_transient(), "{what}: {e}");
            }
        }
    }

    /// The offsets that commit what is staged.
    pub fn next_offsets(&self) -> BTreeMap<TopicPartition, Offset> {
        self.staged.iter().map(|s| (s.at, s.offset.next())).collect()
    }

    /// What is staged as records of `decisions`, in the same partitions.
    pub fn copies(&self) -> Vec<Append> {
        let copy = |s: &Stored| Append { to: at(Topic::Decisions, s.at.partition), record: s.record.clone() };
        self.staged.iter().map(copy).collect()
    }

    /// Copies what is staged to `decisions` and commits it. What is staged is forgotten once that is done;
    /// otherwise the next poll says so.
    pub async fn copy(&mut self) -> Written<Vec<Offset>> {
        let copies = self.copies();
        let offsets = self.next_offsets();
        let count = copies.len();
        let written = self.member.commit(copies, offsets).await;
        if let Written::Done(places) = &written {
            assert_eq!(places.len(), count, "one place for each record");
            self.staged.clear();
        }
        written
    }

    /// Polls and copies until the condition holds, `max` records at a time, whatever is lost in between.
    pub async fn copy_until<F>(&mut self, what: &str, max: usize, patience: Duration, mut condition: F)
    where
        F: AsyncFnMut() -> bool,
    {
        let begin = Instant::now();
        while !condition().await {
            assert!(begin.elapsed() < patience, "not within {patience:?}: {what}; {self:?}");
            match self.step(max).await {
                Ok(Polled::Records(_)) => {
                    let _ended_somehow = self.copy().await;
                }
                Ok(_) => {}
                Err(e) => assert!(e.is_transient(), "{what}: {e}"),
            }
        }
    }
}

/// Polls all of them in turn until the condition holds.
pub async fn until_all(
    what: &str,
    patience: Duration,
    consumers: &mut [Consumer],
    condition: impl Fn(&[Consumer]) -> bool,
) {
    let begin = Instant::now();
    while !condition(consumers) {
        assert!(begin.elapsed() < patience, "not within {patience:?}: {what}; {consumers:?}");
        for c in consumers.iter_mut() {
            if let Err(e) = c.step(500).await {
                assert!(e.is_transient(), "{what}: {e}");
            }
        }
    }
}
