//! Whether log and ledger belong together (`design.md`, The log): a revision in `orders` above its row's means that an
//! older database was put under a newer log. Only what was written since the last look is read.

use std::collections::BTreeMap;

use eventlog::{
    Offset, TopicPartition,
    position::{self, StoredOffset},
};
use schemas::{events::OrdersEvent, topics::Topic};

use super::Stage;
use crate::{core::AttemptKey, error::ExecuteError};

/// Records read at once.
const AT_ONCE: usize = 1_000;

/// Reads `orders` from where it was last known to agree.
///
/// # Errors
/// [`ExecuteError::DatabaseOlderThanLog`]; a log that is another, or older than the database; and the log's and
/// the store's own.
pub async fn check(stage: &Stage) -> Result<(), ExecuteError> {
    let log = &*stage.log;
    let agreed = stage.store.agreed_offsets().await?;
    for partition in 0..log.manifest().partitions(Topic::Orders) {
        let at = TopicPartition::new(Topic::Orders, partition);
        let extent = log.settled_extent(at).await?;
        let mut from = match agreed.get(&partition) {
            Some(stored) => {
                stored.check(log, &stage.codec).await?;
                stored.next.max(extent.start)
            }
            None => extent.start,
        };
        while from < extent.end {
            let records = log.read(at, from, AT_ONCE).await?;
            let Some(last) = records.last() else { break };
            let mut highest: BTreeMap<AttemptKey, i64> = BTreeMap::new();
            for stored in &records {
                let Some(value) = &stored.record.value else { continue };
                // What cannot be read is no revision; whoever folds it sends it to dead-letters.
                let state = match stage.codec.decode::<OrdersEvent>(value) {
                    Ok(OrdersEvent::OrderState(state)) => state,
                    Err(error) if error.is_of_reader() => return Err(error.into()),
                    Err(_) => continue,
                };
                let key = AttemptKey {
                    billing_account_id: state.billing_account_id,
                    idempotency_key: state.idempotency_key,
                    attempt: state.attempt,
                };
                let known = highest.entry(key).or_default();
                *known = state.revision.max(*known);
            }
            let keys: Vec<_> = highest.keys().copied().collect();
            let rows = stage.store.revisions(&keys).await?;
            for (key, in_log) in highest {
                let in_database = rows.get(&key).copied().unwrap_or(0);
                if in_log > in_database {
                    return Err(ExecuteError::DatabaseOlderThanLog { key, in_log, in_database });
                }
            }
            from = last.offset.next();
            let next = StoredOffset {
                log_id: log.manifest().log_id,
                at,
                next: from,
                before: Some(position::hash(&stage.codec, &last.record)),
            };
            stage.store.keep_agreed(&next).await?;
        }
    }
    Ok(())
}

/// Where the reading of a partition of `intents` begins: where the ledger stands, if that is a place of this log.
///
/// # Errors
/// A stored offset that must not be used, or the log's own.
pub async fn begin(
    stage: &Stage,
    partition: i32,
    stored: Option<&StoredOffset>,
) -> Result<Offset, ExecuteError> {
    match stored {
        Some(stored) => {
            stored.check(&*stage.log, &stage.codec).await?;
            Ok(stored.next)
        }
        None => Ok(stage.log.extent(crate::store::intents(partition)).await?.start),
    }
}
