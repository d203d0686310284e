//! The outbox into `orders`, and what execute switched into `controls`. A row is published once it is in the log for certain; what may be there is published again,
//! and readers keep the highest revision (`design.md`, Outbox).

use std::collections::BTreeMap;

use eventlog::{
    Append, TopicPartition, Written,
    event::{record, trace_of},
    position::{self, StoredOffset},
};
use runtime::Stop;
use schemas::{
    events::{ControlsEvent, OrdersEvent},
    topics::Topic,
};

use super::desk::Desk;
use crate::{
    error::ExecuteError,
    store::{OutboxRow, StoreError},
};

/// Rows published at once.
const AT_ONCE: usize = 256;

/// Publishes until asked to stop.
pub async fn run(desk: Desk, stop: Stop) {
    let (mut told_at, every) = (desk.stage.clock.monotonic(), desk.stage.settings.housekeeping);
    let mut ends = BTreeMap::new();
    loop {
        if let Err(error) = drain(&desk, &mut ends).await {
            tracing::warn!(%error, "order events could not be published yet");
            desk.stage.board.trouble(error.code());
        }
        let now = desk.stage.clock.monotonic();
        if now.saturating_sub(told_at) >= every {
            told_at = now;
            keep_agreed(&desk, &mut ends).await;
        }
        tokio::select! {
            biased;
            () = stop.requested() => {
                keep_agreed(&desk, &mut ends).await;
                return;
            }
            () = desk.to_relay.notified() => {}
            () = desk.stage.clock.sleep(desk.stage.settings.relay) => {}
        }
    }
}

/// What is in the log up to there was published from the ledger, so the two agree.
async fn keep_agreed(desk: &Desk, ends: &mut BTreeMap<TopicPartition, StoredOffset>) {
    for (_, end) in std::mem::take(ends) {
        if let Err(error) = desk.stage.store.keep_agreed(&end).await {
            tracing::debug!(%error, "how far log and ledger agree could not be noted");
        }
    }
}

/// Publishes everything that is there.
///
/// # Errors
/// The log's and the store's: what was not published yet is still there.
pub async fn drain(
    desk: &Desk,
    ends: &mut BTreeMap<TopicPartition, StoredOffset>,
) -> Result<(), ExecuteError> {
    let stage = &desk.stage;
    drain_controls(desk).await?;
    loop {
        let rows = stage.store.outbox_next(desk.lease.partition, AT_ONCE).await?;
        if rows.is_empty() {
            return Ok(());
        }
        // What came meanwhile has rung for itself.
        let last = rows.len() < AT_ONCE;
        let records = rows.iter().map(|row| append(desk, row)).collect::<Result<Vec<_>, _>>()?;
        let places: Vec<_> =
            records.iter().map(|r| (r.to, position::hash(&stage.codec, &r.record))).collect();
        match stage.log.append(records).await {
            Written::Done(offsets) => {
                let published: Vec<_> = rows.iter().map(|row| (row.key, row.revision)).collect();
                stage.store.outbox_published(&published).await?;
                for ((at, hash), offset) in places.into_iter().zip(offsets) {
                    let log_id = stage.log.manifest().log_id;
                    ends.insert(at, StoredOffset { log_id, at, next: offset.next(), before: Some(hash) });
                }
                if last {
                    return Ok(());
                }
            }
            // It may be there: again, and readers drop what they know.
            Written::NotDone(error) | Written::Unknown(error) => return Err(error.into()),
        }
    }
}

/// Publishes the switches that execute turned.
async fn drain_controls(desk: &Desk) -> Result<(), ExecuteError> {
    let stage = &desk.stage;
    loop {
        let rows = stage.store.controls_next(desk.lease.partition, AT_ONCE).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            let ControlsEvent::ControlState(state) = stage.codec.decode::<ControlsEvent>(&row.value)? else {
                return Err(StoreError::Unreadable("a switch's record is none".to_owned()).into());
            };
            let key = row.account.to_string();
            let (record, _) = record(&stage.codec, &key, &state, state.changed_at, None)?;
            records.push(Append { to: stage.log.manifest().place(Topic::Controls, key.as_bytes()), record });
        }
        match stage.log.append(records).await {
            Written::Done(_) => {
                let published: Vec<_> = rows.iter().map(|row| (row.account, row.revision)).collect();
                stage.store.controls_published(&published).await?;
            }
            // It may be there: again, and readers keep the highest revision.
            Written::NotDone(error) | Written::Unknown(error) => return Err(error.into()),
        }
    }
}

fn append(desk: &Desk, row: &OutboxRow) -> Result<Append, ExecuteError> {
    let stage = &desk.stage;
    let OrdersEvent::OrderState(state) = stage.codec.decode::<OrdersEvent>(&row.value)?;
    let trace = Some(trace_of(state.idempotency_key));
    let (record, _) = record(&stage.codec, &row.wallet, &state, state.changed_at, trace)?;
    Ok(Append { to: stage.log.manifest().place(Topic::Orders, row.wallet.as_bytes()), record })
}
