//! What a partition's `fills` say about its wallets: read on assignment, before anything is published. A slice at a time,
//! so that the group is polled in between: a member that is not heard of loses its partitions, and would begin anew
//! for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use eventlog::{Log, LogError, Offset, Stored, TopicPartition};
use schemas::{Address, Timestamp, codec::Codec, events::FillsEvent, topics::Topic};

use crate::core::{
    changes::Changes,
    merge::{MEMORY, Merger},
    snapshot::Told,
};

/// Read a little further back than what is remembered, so that a watermark republished hourly is among it.
const SLACK: Duration = Duration::from_secs(2 * 3600);
/// Records a slice.
const SLICE: usize = 1_000;

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

/// The last days of a partition on their way.
#[derive(Debug)]
pub struct Recovery {
    at: TopicPartition,
    /// Whose records count; `None`: everybody's.
    only: Option<BTreeSet<Address>>,
    /// What is still to be read; `None`: nobody asked yet how far it goes.
    left: Option<Range<Offset>>,
    wallets: BTreeMap<Address, Recovered>,
}

impl Recovery {
    /// Nothing is read. Of all wallets of the partition, or of these.
    pub const fn new(partition: i32, only: Option<BTreeSet<Address>>) -> Self {
        let at = TopicPartition::new(Topic::Fills, partition);
        Self { at, only, left: None, wallets: BTreeMap::new() }
    }

    /// Reads a slice. Answers whether everything is read: up to where the partition ended when the first slice was
    /// asked for. Waits for what was being written then: a predecessor's last records count. After an error the same
    /// slice can be read again.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub async fn step(&mut self, log: &dyn Log, codec: &Codec, now: Timestamp) -> Result<bool, LogError> {
        let left = if let Some(left) = &mut self.left {
            left
        } else {
            let end = log.settled_extent(self.at).await?.end;
            let from = log.offset_at(self.at, now.minus(MEMORY + SLACK)).await?;
            self.left.insert(from..end)
        };
        if left.is_empty() {
            return Ok(true);
        }
        let batch = log.read(self.at, left.start, SLICE).await?;
        left.start = batch.last().map_or(left.end, |last| last.offset.next());
        let done = left.is_empty();
        for stored in batch.iter().filter(|stored| counts(self.only.as_ref(), stored)) {
            // What cannot be read is decide's to report; it holds nothing for us.
            if let Some(Ok(event)) = stored.record.value.as_deref().map(|v| codec.decode::<FillsEvent>(v)) {
                absorb(&mut self.wallets, event);
            }
        }
        Ok(done)
    }

    /// What was read, of every wallet of which there is something; and of whom it was read, if not of all.
    pub fn finish(mut self, now: Timestamp) -> (BTreeMap<Address, Recovered>, BTreeSet<Address>) {
        for recovered in self.wallets.values_mut() {
            recovered.merger.forget(now);
            recovered.changes.forget(now);
        }
        tracing::debug!(at = %self.at, wallets = self.wallets.len(), "fills recovered");
        (self.wallets, self.only.unwrap_or_default())
    }
}

/// Whether the record is one of theirs. By its key, so that the others, by far the most, need not be decoded.
fn counts(only: Option<&BTreeSet<Address>>, stored: &Stored) -> bool {
    only.is_none_or(|only| {
        let key = stored.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        key.and_then(|key| key.parse::<Address>().ok()).is_some_and(|wallet| only.contains(&wallet))
    })
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
