//! Requests as statements, within the writer's transaction.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    error::SqlError,
    known::News,
    layout::{Slot, offset_of, pack_headers},
    membership,
    request::{Commit, Pending, Request, answer_lost},
};
use crate::{
    fault::Lost,
    port::{Append, Extent, LogError, Manifest, Offset, Written},
};

/// Every so many records of a partition the time index gets a row.
const TIME_STEP: i64 = 256;
/// More bytes than a record's key, value or headers may have: SQLite's own limit is just below 1 GB.
const LARGEST: usize = 256 << 20;

/// Why a request was not applied.
#[derive(Debug)]
pub(super) enum Failed {
    /// It alone: the log's answer to it.
    Refused(LogError),
    /// A statement failed.
    Sql(SqlError),
}

impl From<SqlError> for Failed {
    fn from(e: SqlError) -> Self {
        Self::Sql(e)
    }
}

/// A request that was not applied, unanswered.
#[derive(Debug)]
pub(super) struct Rejected {
    pub request: Request,
    pub why: Failed,
}

fn rejected(request: Request, why: impl Into<Failed>) -> Box<Rejected> {
    Box::new(Rejected { request, why: why.into() })
}

/// How far a partition reaches.
#[derive(Debug, Clone, Copy)]
struct End {
    next: i64,
    /// The latest time in it, in milliseconds.
    latest: i64,
}

/// One transaction's work so far. A clone is the state to return to when a request is taken back.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    /// Partitions that grew.
    ends: BTreeMap<Slot, End>,
    generations: BTreeMap<String, i64>,
    /// Whether anything was written at all.
    pub wrote: bool,
}

impl Work {
    /// Applies a request; the answer waits for the end of the transaction. A request that fails has
    /// answered nothing and comes back.
    pub(super) fn apply(
        &mut self,
        tx: &Connection,
        manifest: &Manifest,
        request: Request,
    ) -> Result<Pending, Box<Rejected>> {
        match request {
            Request::Append { records, lost, reply } => match self.append(tx, &records) {
                Ok(places) => Ok(Pending::Written { reply, places, lost }),
                Err(e) => Err(rejected(Request::Append { records, lost, reply }, e)),
            },
            Request::Commit { commit, lost, reply } => match self.commit(tx, &commit) {
                Ok(places) => Ok(Pending::Written { reply, places, lost }),
                Err(e) => Err(rejected(Request::Commit { commit, lost, reply }, e)),
            },
            Request::Sync { sync, reply } => match membership::sync(self, tx, manifest, &sync) {
                Ok(synced) => Ok(Pending::Synced { reply, synced }),
                Err(e) => Err(rejected(Request::Sync { sync, reply }, e)),
            },
            Request::Beat { id } => {
                self.wrote = true;
                let beaten = membership::beat(tx, id);
                beaten.map(|()| Pending::Nobody).map_err(|e| rejected(Request::Beat { id }, e))
            }
            Request::Expire { group, silent } => match membership::expire(self, tx, &group, &silent) {
                Ok(()) => Ok(Pending::Nobody),
                Err(e) => Err(rejected(Request::Expire { group, silent }, e)),
            },
            Request::Leave { group, id, reply } => match membership::remove(self, tx, &group, id) {
                Ok(()) => Ok(Pending::Left { reply }),
                Err(e) => Err(rejected(Request::Leave { group, id, reply }, e)),
            },
            Request::Extent { slot, reply } => match self.end(tx, slot) {
                Ok(end) => {
                    let extent = Extent { start: Offset::ZERO, end: Offset(end.next) };
                    Ok(Pending::Extent { reply, extent })
                }
                Err(e) => Err(rejected(Request::Extent { slot, reply }, e)),
            },
        }
    }

    fn end(&self, tx: &Connection, slot: Slot) -> Result<End, SqlError> {
        if let Some(end) = self.ends.get(&slot) {
            return Ok(*end);
        }
        let mut select = tx.prepare_cached("SELECT next, latest FROM ends WHERE partition = ?1")?;
        let end =
            select.query_row([slot.0], |r| Ok(End { next: r.get(0)?, latest: r.get(1)? })).optional()?;
        Ok(end.unwrap_or(End { next: 0, latest: i64::MIN }))
    }

    fn append(&mut self, tx: &Connection, records: &[Append]) -> Result<Vec<Offset>, Failed> {
        let mut places = Vec::with_capacity(records.len());
        let mut insert = tx.prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for Append { to, record } in records {
            let slot = Slot::of(*to);
            let mut end = self.end(tx, slot)?;
            let offset = Offset(end.next);
            let row = slot.row(offset);
            let headers = pack_headers(&record.headers);
            let too_large = |part: Option<&[u8]>| part.is_some_and(|p| p.len() > LARGEST);
            if [&record.key, &record.value, &headers].into_iter().any(|p| too_large(p.as_deref())) {
                return Err(Failed::Refused(LogError::Refused(format!(
                    "a record for {to} is larger than 256 MiB"
                ))));
            }
            if offset_of(row) != offset {
                return Err(Failed::Refused(LogError::Refused(format!("{to} is full"))));
            }
            if to.topic.is_compacted()
                && let Some(key) = &record.key
            {
                let mut forget =
                    tx.prepare_cached("DELETE FROM records WHERE place >= ?1 AND place < ?2 AND key = ?3")?;
                forget.execute(params![slot.row(Offset::ZERO), row, &key[..]])?;
            }
            if end.next > 0 && end.next % TIME_STEP == 0 {
                let mut step = tx.prepare_cached("INSERT INTO times VALUES (?1, ?2, ?3)")?;
                step.execute(params![slot.0, end.latest, row])?;
            }
            let time = record.timestamp.millis();
            insert.execute(params![
                row,
                time,
                record.key.as_deref(),
                record.value.as_deref(),
                headers.as_deref()
            ])?;
            end = End { next: end.next + 1, latest: end.latest.max(time) };
            self.ends.insert(slot, end);
            self.wrote = true;
            places.push(offset);
        }
        Ok(places)
    }

    /// The claims are checked in the same transaction that appends: whoever lost one since changes nothing.
    fn commit(&mut self, tx: &Connection, commit: &Commit) -> Result<Vec<Offset>, Failed> {
        let Commit { group, id, records, offsets } = commit;
        let fenced = |what: String| Failed::Refused(LogError::Fenced(format!("{what} in {group}")));
        if offsets.is_empty() && !membership::exists(tx, *id)? {
            return Err(fenced("the session is over".into()));
        }
        let mut move_on = tx.prepare_cached(
            "UPDATE claims SET next = ?1 WHERE name = ?2 AND partition = ?3 AND owner = ?4 AND epoch = ?5",
        )?;
        for (claim, next) in offsets {
            if move_on.execute(params![next.0, group, claim.slot.0, id, claim.epoch])? != 1 {
                let which = claim.slot.partition().map_or_else(String::new, |p| p.to_string());
                return Err(fenced(format!("{which} is not this member's")));
            }
            self.wrote = true;
        }
        self.append(tx, records)
    }

    /// Something about a group changed that its members must hear of.
    pub(super) fn next_generation(&mut self, tx: &Connection, group: &str) -> Result<i64, SqlError> {
        let mut bump = tx.prepare_cached(
            "INSERT INTO generations VALUES (?1, 1)
             ON CONFLICT (name) DO UPDATE SET generation = generation + 1 RETURNING generation",
        )?;
        let generation = bump.query_row([group], |r| r.get(0))?;
        self.generations.insert(group.to_owned(), generation);
        self.wrote = true;
        Ok(generation)
    }

    /// Writes down how far the partitions reach now.
    pub(super) fn finish(&self, tx: &Connection) -> Result<(), SqlError> {
        let mut upsert = tx.prepare_cached(
            "INSERT INTO ends VALUES (?1, ?2, ?3)
             ON CONFLICT (partition) DO UPDATE SET next = excluded.next, latest = excluded.latest",
        )?;
        for (slot, end) in &self.ends {
            upsert.execute(params![slot.0, end.next, end.latest])?;
        }
        Ok(())
    }

    /// What others should know once it is committed.
    pub(super) fn into_news(self) -> News {
        News {
            ends: self.ends.into_iter().map(|(slot, end)| (slot, end.next)).collect(),
            generations: self.generations.into_iter().collect(),
        }
    }
}

/// Takes out of a batch what a test wants lost before it takes effect.
pub(super) fn lose(request: Request) -> Option<Request> {
    match request {
        Request::Append { lost: Some(Lost::Before), reply, .. }
        | Request::Commit { lost: Some(Lost::Before), reply, .. } => {
            let _nobody = reply.send(Written::Unknown(answer_lost()));
            None
        }
        other => Some(other),
    }
}
