//! A conversion on its way into the log: the event's positions are read again, between two walks that agree, and
//! compared with what the log says was held.

use std::collections::BTreeSet;

use eventlog::{Offset, TopicPartition};
use schemas::{
    ConditionId, Timestamp,
    events::{FillsEvent, HeldPosition, PositionChanged},
    topics::{Topic, partition_of_wallet},
};

use super::{IngestError, Ports, markets::Markets, source};
use crate::core::{
    changes::Change,
    convert::converted,
    ledger::Ledger,
    merge::{Merger, Row},
};

/// Records a read.
const BATCH: usize = 2_000;
/// After so many reads between which the wallet traded, the last one has to do.
const READS: usize = 20;

/// The record of a conversion. Everything before it must be in the log already.
///
/// # Errors
/// A venue that does not answer, or a log that cannot be read.
pub async fn convert(
    ports: &Ports,
    markets: &Markets,
    change: Change,
) -> Result<PositionChanged, IngestError> {
    let mut changed = change.changed;
    let start = changed.changed_at.minus(super::watch::OVERLAP);
    let (positions, rows) = read_positions(ports, &changed, start).await?;
    let mut ledger = read_ledger(ports, &changed).await?;
    // Trades that came after it are not in the log yet, but in the positions.
    for fill in Merger::new(changed.wallet).absorb(&rows, changed.observed_at) {
        ledger.fill(&fill);
    }
    // Only of what differs has it to be known which event it belongs to.
    let differs = converted(ledger.held(), &positions, |_| true);
    let mut conditions: BTreeSet<ConditionId> = [changed.condition_id].into();
    for delta in &differs {
        let held = ledger.held().get(&delta.asset).map(|held| held.condition_id);
        let position = positions.iter().find(|p| p.asset == delta.asset).map(|p| p.condition_id);
        conditions.extend(held.or(position));
    }
    let listings = markets.listings(&conditions).await?;
    let event_of = |condition: ConditionId| listings.get(&condition).and_then(|l| l.event.as_deref());
    let event = event_of(changed.condition_id);
    // Without a known event only its own condition is looked at.
    let of_event = |c: ConditionId| c == changed.condition_id || (event.is_some() && event_of(c) == event);
    changed.deltas = converted(ledger.held(), &positions, of_event);
    Ok(changed)
}

async fn read_positions(
    ports: &Ports,
    changed: &PositionChanged,
    start: Timestamp,
) -> Result<(Vec<HeldPosition>, Vec<Row>), IngestError> {
    let (venue, clock, board) = (&*ports.venue, &*ports.clock, &ports.board);
    let mut before = source::walk(venue, clock, board, changed.wallet, start, None).await?.rows;
    for _ in 1..READS {
        let positions = source::positions(venue, clock, board, changed.wallet).await?;
        let after = source::walk(venue, clock, board, changed.wallet, start, None).await?.rows;
        if before == after {
            return Ok((positions, after));
        }
        before = after;
    }
    board.trouble("conversion_not_settled");
    tracing::warn!(wallet = %changed.wallet, tx = %changed.tx, "a conversion was read while its wallet traded");
    Ok((source::positions(venue, clock, board, changed.wallet).await?, before))
}

/// The wallet's shares by all of its records: conversions are rare, and the log is the only place that knows.
async fn read_ledger(ports: &Ports, changed: &PositionChanged) -> Result<Ledger, IngestError> {
    let partition = partition_of_wallet(changed.wallet, ports.log.manifest().partitions(Topic::Fills));
    let at = TopicPartition::new(Topic::Fills, partition);
    let key = changed.wallet.to_string();
    let extent = ports.log.settled_extent(at).await?;
    let mut ledger = Ledger::new(changed.wallet);
    let mut from = extent.start.max(Offset::ZERO);
    while from < extent.end {
        let batch = ports.log.read(at, from, BATCH).await?;
        let Some(last) = batch.last() else { break };
        from = last.offset.next();
        for stored in batch.iter().filter(|s| s.record.key.as_deref() == Some(key.as_bytes())) {
            if let Some(Ok(event)) =
                stored.record.value.as_deref().map(|v| ports.codec.decode::<FillsEvent>(v))
            {
                ledger.take(event);
            }
        }
    }
    Ok(ledger)
}
