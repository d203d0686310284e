//! A member of a group on the log in memory.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Shared, answer_lost, state::State};
use crate::{
    fault::Lost,
    group::MemberId,
    port::{Append, Group, LogError, Member, Offset, Polled, Stored, TopicPartition, Written},
};

/// A partition that is this member's.
#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: u64,
    next: Offset,
    paused: bool,
}

pub(super) struct MemoryMember {
    shared: Arc<Shared>,
    group: Group,
    /// Given with the first poll, and anew after each eviction.
    id: Option<MemberId>,
    held: BTreeMap<TopicPartition, Held>,
    /// A commit was not done: back to the committed offsets.
    rewind: bool,
    /// Where the next poll begins to look for records, so that no partition starves the others.
    turn: usize,
}

impl fmt::Debug for MemoryMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMember")
            .field("group", &self.group.name)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// While this lives the member is in a poll. A poll that is cancelled ends like one that returned.
struct InPoll {
    shared: Arc<Shared>,
    group: String,
    id: Option<MemberId>,
}

impl Drop for InPoll {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let now = self.shared.clock.monotonic();
            self.shared.lock().group(&self.group).hear(id, now, false);
        }
    }
}

impl MemoryMember {
    pub(super) fn new(shared: Arc<Shared>, group: Group) -> Self {
        Self { shared, group, id: None, held: BTreeMap::new(), rewind: false, turn: 0 }
    }

    fn committed(&self, state: &mut State, at: TopicPartition) -> Offset {
        state.group(&self.group.name).committed(at).unwrap_or(Offset::ZERO)
    }

    /// What there is to say now, most urgent first: what was lost, that it was rewound, what is new, records.
    fn step(&mut self, max: usize) -> Option<Polled> {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        let now = shared.clock.monotonic();
        let group = state.group(&self.group.name);
        let mut changed = group.expire(now);
        let id = self.id.filter(|id| group.hear(*id, now, true)).unwrap_or_else(|| {
            changed = true;
            group.join(&self.group, now)
        });
        self.id = Some(id);

        let share = group.share(id, &shared.manifest);
        let keeps = |at: &TopicPartition, held: &Held| share.contains(at) && group.holds(id, *at, held.epoch);
        let lost: Vec<_> = self.held.iter().filter(|(at, h)| !keeps(at, h)).map(|(at, _)| *at).collect();
        for at in &lost {
            self.held.remove(at);
            group.release(id, *at);
        }
        if changed || !lost.is_empty() {
            shared.notify();
        }
        if !lost.is_empty() {
            self.rewind &= !self.held.is_empty();
            return Some(Polled::Lost(lost));
        }
        if std::mem::take(&mut self.rewind) {
            for at in self.assignment() {
                let next = self.committed(&mut state, at);
                if let Some(held) = self.held.get_mut(&at) {
                    held.next = next;
                }
            }
            return Some(Polled::Rewound);
        }
        let mut new = Vec::new();
        for at in share {
            if self.held.contains_key(&at) {
                continue;
            }
            if let Some(epoch) = state.group(&self.group.name).take(id, at) {
                let next = self.committed(&mut state, at);
                self.held.insert(at, Held { epoch, next, paused: false });
                new.push(at);
            }
        }
        if !new.is_empty() {
            return Some(Polled::Assigned(new));
        }
        let records = self.take_records(&state, max);
        (!records.is_empty()).then_some(Polled::Records(records))
    }

    fn take_records(&mut self, state: &State, max: usize) -> Vec<Stored> {
        let mut records = Vec::new();
        let count = self.held.len();
        if count == 0 {
            return records;
        }
        self.turn = (self.turn + 1) % count;
        let order: Vec<_> = self.held.keys().copied().collect();
        for at in order[self.turn..].iter().chain(&order[..self.turn]) {
            let Some(held) = self.held.get_mut(at).filter(|h| !h.paused) else { continue };
            let room = max - records.len();
            let batch = state.from(*at, held.next);
            records.extend(batch.iter().take(room).cloned());
            match records.last() {
                Some(last) if last.at == *at => held.next = last.offset.next(),
                _ => {}
            }
        }
        records
    }

    fn mine(&mut self, at: TopicPartition) -> Result<&mut Held, LogError> {
        let group = &self.group.name;
        self.held
            .get_mut(&at)
            .ok_or_else(|| LogError::Fenced(format!("{at} is not this member's in {group}")))
    }
}

#[async_trait]
impl Member for MemoryMember {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, LogError> {
        let (shared, clock) = (self.shared.clone(), self.shared.clock.clone());
        let until = clock.monotonic().saturating_add(wait);
        let mut in_poll = InPoll { shared: self.shared.clone(), group: self.group.name.clone(), id: self.id };
        tokio::task::yield_now().await;
        loop {
            // Registered before the look, so that a change in between is not missed.
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let polled = self.step(max);
            in_poll.id = self.id;
            if let Some(polled) = polled {
                return Ok(polled);
            }
            let now = clock.monotonic();
            if now >= until {
                return Ok(Polled::Idle);
            }
            let expiry = self.shared.lock().group(&self.group.name).next_expiry();
            let wake = expiry.map_or(until, |e| e.min(until));
            tokio::select! {
                biased;
                () = changed => {}
                () = clock.sleep(wake.saturating_sub(now)) => {}
            }
        }
    }

    async fn commit(
        &mut self,
        records: Vec<Append>,
        offsets: BTreeMap<TopicPartition, Offset>,
    ) -> Written<Vec<Offset>> {
        tokio::task::yield_now().await;
        if self.rewind {
            return Written::NotDone(LogError::not_polled());
        }
        let shared = self.shared.clone();
        let refused = records.iter().find_map(|r| shared.manifest.require(r.to).err());
        let lost = shared.faults.take_commit();
        let mut state = shared.lock();
        let group = state.group(&self.group.name);
        let holds = |at: &TopicPartition| {
            self.id.zip(self.held.get(at)).is_some_and(|(id, held)| group.holds(id, *at, held.epoch))
        };
        let foreign = offsets.keys().find(|at| !holds(at));
        let name = &self.group.name;
        let error = match (refused, foreign) {
            (Some(refused), _) => Some(refused),
            (None, Some(at)) => Some(LogError::Fenced(format!("{at} is not this member's in {name}"))),
            (None, None) if !self.id.is_some_and(|id| group.is_member(id)) => {
                Some(LogError::Fenced(format!("the session in {name} is over")))
            }
            (None, None) => None,
        };
        if let Some(error) = error {
            self.rewind = true;
            return Written::NotDone(error);
        }
        if lost == Some(Lost::Before) {
            self.rewind = true;
            return Written::Unknown(answer_lost());
        }
        if let Some(id) = self.id {
            group.hear(id, shared.clock.monotonic(), false);
        }
        group.move_on(offsets);
        let places = state.append(records, shared.options.markers);
        drop(state);
        shared.notify();
        if lost.is_some() {
            self.rewind = true;
            return Written::Unknown(answer_lost());
        }
        Written::Done(places)
    }

    async fn seek(&mut self, at: TopicPartition, to: Offset) -> Result<(), LogError> {
        self.mine(at)?.next = to;
        Ok(())
    }

    async fn pause(&mut self, at: TopicPartition, paused: bool) -> Result<(), LogError> {
        self.mine(at)?.paused = paused;
        Ok(())
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.held.keys().copied().collect()
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        if let Some(id) = self.id {
            self.shared.lock().group(&self.group.name).remove(id);
            self.shared.notify();
        }
        Ok(())
    }
}
