//! What a partition's `fills` say about its wallets: read on assignment, before anything is published.

use std::{collections::BTreeMap, time::Duration};

use eventlog::{Log, Offset, TopicPartition};
use schemas::{Address, Timestamp, codec::Codec, events::FillsEvent, topics::Topic};

use super::IngestError;
use crate::core::{
    changes::Changes,
    merge::{MEMORY, Merger},
    snapshot::Told,
};

/// Read a little further back than what is remembered, so that a watermark republished hourly is among it.
const SLACK: Duration = Duration::from_secs(2 * 3600);
/// Records a read.
const BATCH: usize = 2_000;

/// What the log knows of one wallet.
#[derive(Debug)]
pub struct Recovered {
    /// Its fills of the last days.
    pub merger: Merger,
    /// Its position changes of the last days.
    pub changes: Changes,
    /// How far its trades are known without a gap; `None`: it was never followed, or long ago.
    pub watermark: Option<Timestamp>,
    /// The snapshots of the last days.
    pub snapshots: Told,
}

impl Recovered {
    /// Nothing is known.
    pub fn new(wallet: Address) -> Self {
        Self {
            merger: Merger::new(wallet),
            changes: Changes::new(wallet),
            watermark: None,
            snapshots: Told::default(),
        }
    }
}

/// Reads the last days of a partition. Waits for what is being written: a predecessor's last records count.
///
/// # Errors
/// A log that cannot be read.
pub async fn recover(
    log: &dyn Log,
    codec: &Codec,
    partition: i32,
    now: Timestamp,
) -> Result<BTreeMap<Address, Recovered>, IngestError> {
    let at = TopicPartition::new(Topic::Fills, partition);
    let end = log.settled_extent(at).await?.end;
    let mut from = log.offset_at(at, now.minus(MEMORY + SLACK)).await?;
    let mut wallets: BTreeMap<Address, Recovered> = BTreeMap::new();
    while from < end {
        let batch = log.read(at, from, BATCH).await?;
        let Some(last) = batch.last() else { break };
        from = last.offset.next();
        for stored in &batch {
            // What cannot be read is decide's to report; it holds nothing for us.
            let Some(Ok(event)) = stored.record.value.as_deref().map(|v| codec.decode::<FillsEvent>(v))
            else {
                continue;
            };
            absorb(&mut wallets, event);
        }
    }
    for recovered in wallets.values_mut() {
        recovered.merger.forget(now);
        recovered.changes.forget(now);
    }
    tracing::debug!(partition, wallets = wallets.len(), read_to = %Offset(from.0), "fills recovered");
    Ok(wallets)
}

fn absorb(wallets: &mut BTreeMap<Address, Recovered>, event: FillsEvent) {
    let wallet = match &event {
        FillsEvent::Fill(fill) => fill.wallet,
        FillsEvent::Watermark(mark) => mark.wallet,
        FillsEvent::PositionChanged(changed) => changed.wallet,
        FillsEvent::PositionSnapshot(part) => part.wallet,
        FillsEvent::FillVoided(_) | FillsEvent::TokenMarked(_) | FillsEvent::TokenResolved(_) => return,
    };
    let known = wallets.entry(wallet).or_insert_with(|| Recovered::new(wallet));
    match event {
        FillsEvent::Fill(fill) => known.merger.restore(&fill),
        FillsEvent::Watermark(mark) => known.watermark = known.watermark.max(Some(mark.complete_until)),
        FillsEvent::PositionChanged(changed) => known.changes.restore(&changed),
        FillsEvent::PositionSnapshot(part) => known.snapshots.take(&part),
        FillsEvent::FillVoided(_) | FillsEvent::TokenMarked(_) | FillsEvent::TokenResolved(_) => {}
    }
}
