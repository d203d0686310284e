//! The log: transactions that abort or whose end nobody learns, appends that may be there or not, batches of any size.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use eventlog::{
    Append, Extent, Group, Log, LogError, Manifest, Member, Offset, Polled, Stored, TopicPartition, Written,
    fault::Lost, memory::MemoryLog,
};
use schemas::Timestamp;

use super::{Place, at_once};
use crate::fate::{self, Call};

/// What one round trip takes, in microseconds.
const TAKES: u64 = 1_500;

/// Who holds what, as far as each place knows.
pub type Held = Arc<Mutex<BTreeMap<(&'static str, String), Vec<TopicPartition>>>>;

/// A handle on the log, as one place has it.
#[derive(Debug, Clone)]
pub struct SimLog {
    log: MemoryLog,
    place: Place,
    held: Held,
}

fn unreachable() -> LogError {
    LogError::Unreachable("the log does not answer".into())
}

impl SimLog {
    /// A handle for a place.
    pub const fn new(log: MemoryLog, place: Place, held: Held) -> Self {
        Self { log, place, held }
    }

    async fn ask(&self, site: &'static str) -> Result<Call, LogError> {
        let call = self.place.call(site);
        call.way("there", TAKES).await;
        if call.meets(fate::LOG_UNREACHABLE) { Err(unreachable()) } else { Ok(call) }
    }
}

#[async_trait]
impl Log for SimLog {
    fn manifest(&self) -> &Manifest {
        self.log.manifest()
    }

    async fn append(&self, records: Vec<Append>) -> Written<Vec<Offset>> {
        let call = self.place.call("append");
        call.way("there", TAKES).await;
        let fault = call.first_of(&[fate::APPEND_FAILED, fate::APPEND_LOST, fate::APPEND_UNHEARD]);
        match fault {
            Some(fate::APPEND_FAILED) => return Written::NotDone(unreachable()),
            Some(fate::APPEND_LOST) => {
                call.way("back", TAKES).await;
                return Written::Unknown(unreachable());
            }
            _ => {}
        }
        let n = records.len();
        let to = records.first().map(|r| r.to);
        let written = at_once(self.log.append(records));
        call.tell(|| format!("{n} records to {}", to.map_or_else(String::new, |to| to.to_string())));
        call.way("back", TAKES).await;
        if fault.is_some() { Written::Unknown(unreachable()) } else { written }
    }

    async fn join(&self, group: Group) -> Result<Box<dyn Member>, LogError> {
        self.ask("join").await?;
        let name = group.name.clone();
        let member = at_once(self.log.join(group))?;
        Ok(Box::new(SimMember { log: self.clone(), member, name }))
    }

    async fn read(&self, at: TopicPartition, from: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        let call = self.ask("read").await?;
        // Fewer than asked for does not mean the end.
        let most = usize::try_from(call.dice("size").between(1, 40)).unwrap_or(1);
        at_once(self.log.read(at, from, limit.min(most)))
    }

    async fn extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.ask("extent").await?;
        at_once(self.log.extent(at))
    }

    async fn settled_extent(&self, at: TopicPartition) -> Result<Extent, LogError> {
        self.ask("settled_extent").await?;
        at_once(self.log.settled_extent(at))
    }

    async fn offset_at(&self, at: TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        self.ask("offset_at").await?;
        at_once(self.log.offset_at(at, time))
    }

    async fn committed(
        &self,
        group: &str,
        of: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        self.ask("committed").await?;
        at_once(self.log.committed(group, of))
    }
}

struct SimMember {
    log: SimLog,
    member: Box<dyn Member>,
    name: String,
}

impl SimMember {
    fn note(&self) {
        let mut held = self.log.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert((self.log.place.name, self.name.clone()), self.member.assignment());
    }
}

#[async_trait]
impl Member for SimMember {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, LogError> {
        let call = self.log.place.call("poll");
        call.way("there", TAKES).await;
        if call.meets(fate::LOG_UNREACHABLE) {
            return Err(unreachable());
        }
        // Batches of any size, so that topics come in any order.
        let most = usize::try_from(call.dice("size").between(1, 12)).unwrap_or(1);
        let polled = self.member.poll(max.min(most), wait).await;
        self.note();
        if let Ok(Polled::Assigned(of) | Polled::Lost(of)) = &polled {
            let what = if matches!(polled, Ok(Polled::Assigned(_))) { "is given" } else { "loses" };
            let of: Vec<_> = of.iter().map(ToString::to_string).collect();
            call.tell(|| format!("{} {what} {}", self.name, of.join(" ")));
        }
        polled
    }

    async fn commit(
        &mut self,
        records: Vec<Append>,
        offsets: BTreeMap<TopicPartition, Offset>,
    ) -> Written<Vec<Offset>> {
        let call = self.log.place.call("commit");
        call.way("there", TAKES).await;
        let fault = call.first_of(&[fate::COMMIT_ABORTED, fate::COMMIT_LOST, fate::COMMIT_UNHEARD]);
        match fault {
            Some(fate::COMMIT_UNHEARD) => self.log.log.faults().lose_next_commit(Lost::After),
            Some(_) => self.log.log.faults().lose_next_commit(Lost::Before),
            None => {}
        }
        let n = records.len();
        let written = at_once(self.member.commit(records, offsets));
        call.tell(|| {
            format!(
                "{n} records: {}",
                match &written {
                    Written::Done(_) => "done".to_owned(),
                    Written::NotDone(e) => format!("not done: {e}"),
                    Written::Unknown(e) => format!("unknown: {e}"),
                }
            )
        });
        call.way("back", TAKES).await;
        match (fault, written) {
            (Some(fate::COMMIT_ABORTED), Written::Unknown(error)) => Written::NotDone(error),
            (_, written) => written,
        }
    }

    async fn seek(&mut self, at: TopicPartition, to: Offset) -> Result<(), LogError> {
        self.member.seek(at, to).await
    }

    async fn pause(&mut self, at: TopicPartition, paused: bool) -> Result<(), LogError> {
        self.member.pause(at, paused).await
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.member.assignment()
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        let call = self.log.place.call("leave");
        call.way("there", TAKES).await;
        let Self { log, member, name } = *self;
        log.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&(log.place.name, name));
        at_once(member.leave())
    }
}
