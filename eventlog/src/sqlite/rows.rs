//! Rows back to records.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};
use schemas::Timestamp;

use super::{
    error::SqlError,
    layout::{Slot, offset_of, unpack_headers},
};
use crate::port::{Offset, Record, Stored, TopicPartition};

/// More bytes than one read brings, unless a single record has more.
pub(super) const MOST_BYTES: usize = 8 << 20;

/// Reads records of a partition from a place on, until there are `limit`, or `room` bytes are used up.
pub(super) fn read_from(
    connection: &Connection,
    at: TopicPartition,
    from: Offset,
    limit: usize,
    room: &mut usize,
    into: &mut Vec<Stored>,
) -> Result<(), SqlError> {
    let slot = Slot::of(at);
    let mut select = connection.prepare_cached(
        "SELECT place, time, key, value, headers FROM records WHERE place >= ?1 AND place < ?2 LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query(params![slot.row(from), slot.rows_end(), limit])?;
    while *room > 0
        && let Some(row) = rows.next()?
    {
        let record = record(row)?;
        let size =
            40 + record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len);
        *room = room.saturating_sub(size);
        into.push(Stored { at, offset: offset_of(row.get(0)?), record });
    }
    Ok(())
}

fn record(row: &Row<'_>) -> Result<Record, SqlError> {
    let part = |column| -> Result<Option<Bytes>, SqlError> {
        let blob = row.get_ref(column)?.as_blob_or_null();
        let blob = blob.map_err(|_| SqlError::InvalidColumnType(column, "records".into(), Type::Blob))?;
        Ok(blob.map(Bytes::copy_from_slice))
    };
    let headers = match row.get_ref(4)?.as_blob_or_null() {
        Ok(None) => Some(Vec::new()),
        Ok(Some(packed)) => unpack_headers(packed),
        Err(_) => None,
    };
    let headers = headers.ok_or_else(|| SqlError::InvalidColumnType(4, "headers".into(), Type::Blob))?;
    Ok(Record { key: part(2)?, value: part(3)?, headers, timestamp: Timestamp::from_millis(row.get(1)?) })
}

/// The next offset of a partition.
pub(super) fn end(connection: &Connection, slot: Slot) -> Result<Offset, SqlError> {
    let mut select = connection.prepare_cached("SELECT next FROM ends WHERE partition = ?1")?;
    Ok(Offset(select.query_row([slot.0], |r| r.get(0)).optional()?.unwrap_or_default()))
}

/// The first place whose record is not older than `time` (milliseconds), or the end.
pub(super) fn offset_at(connection: &Connection, slot: Slot, time: i64) -> Result<Offset, SqlError> {
    // All before the last step whose latest time is older are older too, so the search begins there.
    let mut step = connection.prepare_cached(
        "SELECT place FROM times WHERE partition = ?1 AND latest < ?2 ORDER BY latest DESC, place DESC LIMIT 1",
    )?;
    let begin: Option<i64> = step.query_row([slot.0, time], |r| r.get(0)).optional()?;
    let begin = begin.unwrap_or_else(|| slot.row(Offset::ZERO));
    let mut first = connection.prepare_cached(
        "SELECT place FROM records WHERE place >= ?1 AND place < ?2 AND time >= ?3 ORDER BY place LIMIT 1",
    )?;
    let found: Option<i64> = first.query_row([begin, slot.rows_end(), time], |r| r.get(0)).optional()?;
    found.map_or_else(|| end(connection, slot), |row| Ok(offset_of(row)))
}
