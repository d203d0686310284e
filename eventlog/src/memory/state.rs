//! What is in the log, and who holds what. Pure: time comes in as a parameter.

use std::{collections::BTreeMap, time::Duration};

use schemas::{Timestamp, topics::Topic};

use crate::{
    group::{MemberId, assign},
    port::{Append, Group, LogError, Manifest, Offset, Stored, TopicPartition},
};

/// All of it.
#[derive(Debug, Default)]
pub(super) struct State {
    partitions: BTreeMap<TopicPartition, Partition>,
    groups: BTreeMap<String, GroupState>,
}

#[derive(Debug, Default)]
struct Partition {
    records: Vec<Stored>,
    end: i64,
}

impl State {
    /// Appends; with `marked`, offsets skip one behind each partition's records.
    pub(super) fn append(&mut self, records: Vec<Append>, marked: bool) -> Vec<Offset> {
        let mut places = Vec::with_capacity(records.len());
        let mut touched = Vec::new();
        for Append { to, mut record } in records {
            // No backend keeps more.
            record.timestamp = Timestamp::from_millis(record.timestamp.millis());
            let partition = self.partitions.entry(to).or_default();
            if to.topic.is_compacted() && record.key.is_some() {
                partition.records.retain(|s| s.record.key != record.key);
            }
            let offset = Offset(partition.end);
            partition.records.push(Stored { at: to, offset, record });
            partition.end += 1;
            places.push(offset);
            touched.push(to);
        }
        if marked {
            touched.sort_unstable();
            touched.dedup();
            for to in touched {
                self.partitions.entry(to).or_default().end += 1;
            }
        }
        places
    }

    pub(super) fn end(&self, at: TopicPartition) -> Offset {
        Offset(self.partitions.get(&at).map_or(0, |p| p.end))
    }

    pub(super) fn read(
        &self,
        at: TopicPartition,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<Stored>, LogError> {
        let end = self.end(at);
        if from < Offset::ZERO || from > end {
            return Err(LogError::OutOfRange(format!(
                "{at} reaches from 0 to {end}, and {from} was asked for"
            )));
        }
        Ok(self.from(at, from).iter().take(limit).cloned().collect())
    }

    /// The records from there on.
    pub(super) fn from(&self, at: TopicPartition, from: Offset) -> &[Stored] {
        let Some(partition) = self.partitions.get(&at) else { return &[] };
        let first = partition.records.partition_point(|s| s.offset < from);
        &partition.records[first..]
    }

    pub(super) fn offset_at(&self, at: TopicPartition, time: Timestamp) -> Offset {
        let found = self.from(at, Offset::ZERO).iter().find(|s| s.record.timestamp >= time);
        found.map_or_else(|| self.end(at), |s| s.offset)
    }

    pub(super) fn group(&mut self, name: &str) -> &mut GroupState {
        self.groups.entry(name.to_owned()).or_default()
    }

    pub(super) fn contents(&self) -> BTreeMap<TopicPartition, Vec<Stored>> {
        self.partitions.iter().map(|(at, p)| (*at, p.records.clone())).collect()
    }
}

/// The members of a group, what each holds, and how far all have come.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    members: BTreeMap<MemberId, Joined>,
    claims: BTreeMap<TopicPartition, Claim>,
    offsets: BTreeMap<TopicPartition, Offset>,
    last_id: MemberId,
}

#[derive(Debug)]
struct Joined {
    topics: Vec<Topic>,
    session: Duration,
    /// When it was last heard of.
    heard: Duration,
    /// Whether it is in a poll right now: then it is alive, however far the clock jumps.
    polling: bool,
}

#[derive(Debug, Default)]
struct Claim {
    owner: Option<MemberId>,
    /// Grows whenever the partition changes hands.
    epoch: u64,
}

impl GroupState {
    pub(super) fn committed(&self, at: TopicPartition) -> Option<Offset> {
        self.offsets.get(&at).copied()
    }

    /// Adds a member.
    pub(super) fn join(&mut self, group: &Group, now: Duration) -> MemberId {
        self.last_id += 1;
        let joined =
            Joined { topics: group.topics.clone(), session: group.session, heard: now, polling: true };
        self.members.insert(self.last_id, joined);
        self.last_id
    }

    /// Notes that a member is there. `false`: it is not a member any more.
    pub(super) fn hear(&mut self, id: MemberId, now: Duration, polling: bool) -> bool {
        self.members.get_mut(&id).is_some_and(|m| {
            m.heard = now;
            m.polling = polling;
            true
        })
    }

    /// Removes a member, and lets go of what it holds.
    pub(super) fn remove(&mut self, id: MemberId) {
        self.members.remove(&id);
        for claim in self.claims.values_mut().filter(|c| c.owner == Some(id)) {
            claim.owner = None;
        }
    }

    /// Removes the members whose session is over. Whether there were any.
    pub(super) fn expire(&mut self, now: Duration) -> bool {
        let over = |m: &Joined| !m.polling && now.saturating_sub(m.heard) > m.session;
        let gone: Vec<_> = self.members.iter().filter(|(_, m)| over(m)).map(|(id, _)| *id).collect();
        for id in &gone {
            self.remove(*id);
        }
        !gone.is_empty()
    }

    /// When the next session would be over, seen from now on.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        let silent = self.members.values().filter(|m| !m.polling);
        silent.map(|m| m.heard.saturating_add(m.session).saturating_add(Duration::from_millis(1))).min()
    }

    /// What should be a member's.
    pub(super) fn share(&self, id: MemberId, manifest: &Manifest) -> Vec<TopicPartition> {
        let members = self.members.iter().map(|(id, m)| (*id, m.topics.clone())).collect();
        assign(&members, |t| manifest.partitions(t)).remove(&id).unwrap_or_default()
    }

    /// Whether a partition still is a member's, as it was when it took it.
    pub(super) fn holds(&self, id: MemberId, at: TopicPartition, epoch: u64) -> bool {
        self.claims.get(&at).is_some_and(|c| c.owner == Some(id) && c.epoch == epoch)
    }

    /// Takes a partition that nobody holds: its epoch.
    pub(super) fn take(&mut self, id: MemberId, at: TopicPartition) -> Option<u64> {
        let claim = self.claims.entry(at).or_default();
        if claim.owner.is_some() {
            return None;
        }
        claim.owner = Some(id);
        claim.epoch += 1;
        Some(claim.epoch)
    }

    /// Lets go of a partition.
    pub(super) fn release(&mut self, id: MemberId, at: TopicPartition) {
        if let Some(claim) = self.claims.get_mut(&at).filter(|c| c.owner == Some(id)) {
            claim.owner = None;
        }
    }

    pub(super) fn release_all(&mut self) {
        for claim in self.claims.values_mut() {
            claim.owner = None;
        }
    }

    pub(super) fn evict_owner(&mut self, of: TopicPartition) -> bool {
        let owner = self.claims.get(&of).and_then(|c| c.owner);
        if let Some(id) = owner {
            self.remove(id);
        }
        owner.is_some()
    }

    pub(super) fn is_member(&self, id: MemberId) -> bool {
        self.members.contains_key(&id)
    }

    pub(super) fn move_on(&mut self, offsets: BTreeMap<TopicPartition, Offset>) {
        self.offsets.extend(offsets);
    }
}
