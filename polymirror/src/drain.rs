//! Draining: stage by stage, in the order in which a trade passes them, so that what was seen is finished.

use std::{collections::BTreeMap, time::Duration};

use eventlog::{Log, LogError, Offset, TopicPartition};
use runtime::{Clock, Stop};
use schemas::topics::Topic;

/// The longest a stage is given to finish what lies before it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A stage's group and what it reads.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// The consumer group.
    pub group: &'static str,
    /// Its topics.
    pub topics: &'static [Topic],
}

/// Records that lie before a reader, over all partitions.
///
/// # Errors
/// A log that does not answer.
pub async fn behind(log: &dyn Log, reader: Reader) -> Result<u64, LogError> {
    let manifest = log.manifest();
    let partitions: Vec<TopicPartition> = reader
        .topics
        .iter()
        .flat_map(|t| (0..manifest.partitions(*t)).map(|p| TopicPartition::new(*t, p)))
        .collect();
    let committed: BTreeMap<TopicPartition, Offset> = log.committed(reader.group, &partitions).await?;
    let mut records = 0;
    for at in partitions {
        let extent = log.extent(at).await?;
        let next = committed.get(&at).copied().unwrap_or(extent.start);
        // Behind the last record there may be a transaction's marker, which no reader ever consumes.
        if next < extent.end && !log.read(at, next, 1).await?.is_empty() {
            records += u64::try_from(extent.end.0 - next.0).unwrap_or(0);
        }
    }
    Ok(records)
}

/// Waits until a reader has taken everything that lay before it when this was called, then asks it to stop. Gives up
/// waiting after a while: what is left is there at the next start.
pub async fn then_stop(log: &dyn Log, clock: &dyn Clock, reader: Reader, stop: &Stop) {
    let begun = clock.monotonic();
    while clock.monotonic().saturating_sub(begun) < PATIENCE {
        match behind(log, reader).await {
            Ok(0) => break,
            Ok(left) => tracing::debug!(stage = reader.group, left, "draining"),
            Err(error) => {
                tracing::warn!(%error, stage = reader.group, "the log does not answer while draining");
                break;
            }
        }
        clock.sleep(PAUSE).await;
    }
    stop.request();
}
