//! Groups in the file: who is in one, who holds what.
//!
//! A partition changes hands in two steps, each in one transaction: whoever holds it lets go, at a poll or
//! because its session ended; then whoever should have it takes it, under a new epoch. Each change that
//! others wait for raises the group's generation.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};
use schemas::topics::Topic;

use super::{
    apply::Work,
    error::SqlError,
    layout::Slot,
    request::{Claim, Sync, Synced},
};
use crate::{
    group::{MemberId, assign},
    port::{Manifest, Offset},
};

/// A row of `claims`.
struct Held {
    owner: Option<MemberId>,
    epoch: i64,
    next: Option<i64>,
}

/// Compares what a member holds with what it should hold, and changes what can be changed.
pub(super) fn sync(
    work: &mut Work,
    tx: &Connection,
    manifest: &Manifest,
    sync: &Sync,
) -> Result<Synced, SqlError> {
    let Sync { person, id, held } = sync;
    let group = person.group.as_str();
    let known = match id {
        Some(id) if exists(tx, *id)? => Some(*id),
        _ => None,
    };
    let mut changed = known.is_none();
    let id = if let Some(id) = known {
        beat(tx, id)?;
        id
    } else {
        let topics: Vec<_> = person.topics.iter().map(|t| t.name()).collect();
        let mut join = tx.prepare_cached(
            "INSERT INTO members (name, handle, topics, session_ms, beat) VALUES (?1, ?2, ?3, ?4, 0)",
        )?;
        join.insert(params![group, person.handle, topics.join(","), person.session_ms])?
    };
    work.wrote = true;

    let members = members(tx, group)?;
    let share = assign(&members, |t| manifest.partitions(t)).remove(&id).unwrap_or_default();
    let share: BTreeSet<Slot> = share.into_iter().map(Slot::of).collect();
    let claims = claims(tx, group)?;
    let is_still = |c: &Claim| claims.get(&c.slot).is_some_and(|h| h.owner == Some(id) && h.epoch == c.epoch);

    let (kept, lost): (Vec<Claim>, Vec<Claim>) =
        held.iter().copied().partition(|c| share.contains(&c.slot) && is_still(c));
    let mut release = tx.prepare_cached(
        "UPDATE claims SET owner = NULL WHERE name = ?1 AND partition = ?2 AND owner = ?3 AND epoch = ?4",
    )?;
    for claim in &lost {
        changed |= release.execute(params![group, claim.slot.0, id, claim.epoch])? > 0;
    }

    let mut new = Vec::new();
    if lost.is_empty() {
        let mut take = tx.prepare_cached(
            "INSERT INTO claims VALUES (?1, ?2, ?3, ?4, NULL)
             ON CONFLICT (name, partition) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch",
        )?;
        let has: BTreeSet<Slot> = kept.iter().map(|c| c.slot).collect();
        for slot in share.difference(&has) {
            let before = claims.get(slot);
            // Its own, but not known to it: the answer that gave it was never heard.
            let free = before.and_then(|h| h.owner).is_none_or(|o| o == id || !members.contains_key(&o));
            if free {
                let claim = Claim { slot: *slot, epoch: before.map_or(1, |h| h.epoch + 1) };
                take.execute(params![group, slot.0, id, claim.epoch])?;
                new.push(claim);
            }
        }
    }
    let committed =
        kept.iter().chain(&new).filter_map(|c| Some((c.slot, Offset(claims.get(&c.slot)?.next?))));
    let committed = committed.collect();
    let generation = if changed { work.next_generation(tx, group)? } else { generation(tx, group)? };
    Ok(Synced { id, generation, lost: lost.into_iter().map(|c| c.slot).collect(), new, committed })
}

fn members(tx: &Connection, group: &str) -> Result<BTreeMap<MemberId, Vec<Topic>>, SqlError> {
    let mut select = tx.prepare_cached("SELECT id, topics FROM members WHERE name = ?1")?;
    let rows = select.query_map([group], |r| Ok((r.get(0)?, r.get::<_, String>(1)?)))?;
    let topics = |names: &str| names.split(',').filter_map(Topic::from_name).collect();
    rows.map(|row| row.map(|(id, names)| (id, topics(&names)))).collect()
}

fn claims(tx: &Connection, group: &str) -> Result<BTreeMap<Slot, Held>, SqlError> {
    let mut select = tx.prepare_cached("SELECT partition, owner, epoch, next FROM claims WHERE name = ?1")?;
    let rows = select.query_map([group], |r| {
        Ok((Slot(r.get(0)?), Held { owner: r.get(1)?, epoch: r.get(2)?, next: r.get(3)? }))
    })?;
    rows.collect()
}

/// The group's generation; zero where nobody ever joined.
pub(super) fn generation(connection: &Connection, group: &str) -> Result<i64, SqlError> {
    let mut select = connection.prepare_cached("SELECT generation FROM generations WHERE name = ?1")?;
    Ok(select.query_row([group], |r| r.get(0)).optional()?.unwrap_or_default())
}

/// Whether it is a member.
pub(super) fn exists(tx: &Connection, id: MemberId) -> Result<bool, SqlError> {
    tx.prepare_cached("SELECT 1 FROM members WHERE id = ?1")?.exists([id])
}

/// It is alive.
pub(super) fn beat(tx: &Connection, id: MemberId) -> Result<(), SqlError> {
    tx.prepare_cached("UPDATE members SET beat = beat + 1 WHERE id = ?1")?.execute([id]).map(drop)
}

/// Removes those that did not beat since, and lets go of what they held.
pub(super) fn expire(
    work: &mut Work,
    tx: &Connection,
    group: &str,
    silent: &[(MemberId, i64)],
) -> Result<(), SqlError> {
    for (id, beat) in silent {
        let mut still = tx.prepare_cached("SELECT 1 FROM members WHERE id = ?1 AND beat = ?2")?;
        if still.exists(params![id, beat])? {
            remove(work, tx, group, *id)?;
        }
    }
    Ok(())
}

/// Removes a member, and lets go of what it holds.
pub(super) fn remove(work: &mut Work, tx: &Connection, group: &str, id: MemberId) -> Result<(), SqlError> {
    if tx.prepare_cached("DELETE FROM members WHERE id = ?1")?.execute([id])? == 0 {
        return Ok(());
    }
    tx.prepare_cached("UPDATE claims SET owner = NULL WHERE name = ?1 AND owner = ?2")?
        .execute(params![group, id])?;
    work.next_generation(tx, group).map(drop)
}
