//! The walk over every chain of cuts.

use decide::{
    DecideError,
    chain::{Block, Chain},
    core::{Core, Staged},
    cut::{intent_leaf, root},
    plan::{VERSIONS, Version},
    source::Source,
};
use eventlog::{Log, LogError, Offset, TopicPartition};
use schemas::{
    Hash32,
    codec::{Codec, unframe},
    events::IntentsEvent,
    topics::Topic,
};

use crate::{
    diff::fields,
    report::{Difference, Report, What},
};

/// How a log is walked.
#[derive(Debug, Clone)]
pub struct Options {
    /// Records read at a time.
    pub batch: usize,
    /// So many differences are described; all are counted.
    pub describe: usize,
    /// The plan versions known.
    pub versions: &'static [Version],
}

impl Default for Options {
    fn default() -> Self {
        Self { batch: 1_000, describe: 10, versions: VERSIONS }
    }
}

/// Why a log could not be walked to its end.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A cut's plan version is not known, or a bug.
    #[error(transparent)]
    Decide(#[from] DecideError),
}

impl AuditError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Log(e) => e.code(),
            Self::Decide(e) => e.code(),
        }
    }
}

/// A sum over leaves, in whatever order they come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    halves: [u128; 2],
}

impl Sum {
    fn add(&mut self, leaf: Hash32) {
        self.count += 1;
        for (half, bytes) in self.halves.iter_mut().zip(leaf.as_bytes().chunks(16)) {
            let bytes = bytes.iter().fold(0u128, |n, b| (n << 8) | u128::from(*b));
            *half = half.wrapping_add(bytes);
        }
    }
}

/// Decides every decision of a log again. A log that is written to meanwhile is walked up to where each partition
/// ended when its turn came.
///
/// # Errors
/// A log that does not answer, or a cut of a plan version that is not known here. What does not come out as it was
/// recorded is no error but stands in the report.
pub async fn audit(log: &dyn Log, codec: &Codec, options: &Options) -> Result<Report, AuditError> {
    let mut walk =
        Walk { log, codec, options, report: Report::default(), expected: Sum::default(), last: Vec::new() };
    for partition in 0..log.manifest().partitions(Topic::Decisions) {
        walk.partition(partition).await?;
    }
    walk.intents().await?;
    Ok(walk.report)
}

struct Walk<'a> {
    log: &'a dyn Log,
    codec: &'a Codec,
    options: &'a Options,
    report: Report,
    /// Of the intents that follow from the cuts.
    expected: Sum,
    /// The last cut checked, per partition.
    last: Vec<i64>,
}

impl Walk<'_> {
    async fn partition(&mut self, partition: i32) -> Result<(), AuditError> {
        let at = TopicPartition::new(Topic::Decisions, partition);
        let extent = self.log.settled_extent(at).await?;
        let mut core = Core::new(partition, self.codec.clone(), self.options.versions)?;
        let mut source = Source::new(self.codec.clone(), partition, core.head().inputs);
        let mut chain = Chain::genesis();
        let mut from = extent.start;
        let mut lost = false;
        while from < extent.end {
            let records = self.log.read(at, from, self.options.batch).await?;
            let Some(last) = records.last().map(|r| r.offset) else { break };
            from = last.next();
            for stored in records.iter().filter(|r| r.offset < extent.end) {
                let block = chain.push(self.codec, stored);
                chain.check().map_err(DecideError::from)?;
                let Some(block) = block else { continue };
                if lost {
                    self.report.unchecked += 1;
                } else if let Err(why) = self.block(&mut core, &mut source, &block).await? {
                    self.differs(partition, block.cut.number, block.offset, None, What::Inputs(why));
                    self.report.unchecked += 1;
                    lost = true;
                }
            }
        }
        if let Some(open) = chain.open() {
            let why = format!("{} of its {} decisions are there", open.decisions.len(), open.cut.decisions);
            self.differs(partition, open.cut.number, open.offset, None, What::Chain(why));
        }
        self.report.partitions += 1;
        self.report.foreign_cuts += chain.foreign_cuts();
        self.report.foreign_records += chain.foreign();
        self.last.push(core.head().number);
        Ok(())
    }

    /// A cut of the chain. The inner error: its inputs do not follow from the log.
    async fn block(
        &mut self,
        core: &mut Core,
        source: &mut Source,
        block: &Block,
    ) -> Result<Result<(), String>, AuditError> {
        let batch = match source.batch(self.log, &block.cut).await? {
            Ok(batch) => batch,
            Err(why) => return Ok(Err(why)),
        };
        let again = core.redo(block, batch)?;
        self.report.cuts += 1;
        self.report.repeats += again.repeats;
        let skipped: usize = block.cut.taken.iter().map(|t| t.skipped.len()).sum();
        self.report.skipped += u64::try_from(skipped).unwrap_or(0);
        if !block.is_whole() {
            let why = "the decisions behind it are not those that it names".into();
            let (partition, cut) = (block.cut.partition, block.cut.number);
            self.differs(partition, cut, block.offset, None, What::Chain(why));
        }
        self.compare(block, &again);
        for (_, record) in &again.intents {
            let value = record.value.clone().unwrap_or_default();
            self.expected.add(leaf_of(&value));
        }
        Ok(Ok(()))
    }

    fn compare(&mut self, block: &Block, again: &Staged) {
        let (partition, cut) = (block.cut.partition, block.cut.number);
        self.report.decisions += u64::try_from(block.decisions.len()).unwrap_or(0);
        for (recorded, decided) in block.decisions.iter().zip(&again.decisions) {
            if recorded.datum() == decided.datum() {
                self.report.identical += 1;
                continue;
            }
            let found = fields(&recorded.decision, decided.decision());
            let key = Some(recorded.decision.idempotency_key);
            self.differs(partition, cut, recorded.offset, key, What::Decision(found));
        }
        if block.decisions.len() != again.decisions.len() {
            let what = What::Count { recorded: block.decisions.len(), replayed: again.decisions.len() };
            self.differs(partition, cut, block.offset, None, what);
        }
        if block.hash != again.hash {
            // What the decisions differ in makes their root differ: said once is enough.
            let mut found = fields(&block.cut, &again.cut);
            let leaves: Vec<Hash32> = again.decisions.iter().map(|d| d.leaf).collect();
            if root(&leaves) != block.cut.decisions_root && self.report.different > 0 {
                found.retain(|f| !f.path.ends_with("_root"));
            }
            if !found.is_empty() {
                self.differs(partition, cut, block.offset, None, What::Cut(found));
            } else if self.report.different == 0 {
                let why = "its bytes differ, and none of its fields".into();
                self.differs(partition, cut, block.offset, None, What::Chain(why));
            }
        }
    }

    fn differs(
        &mut self,
        partition: i32,
        cut: i64,
        offset: Offset,
        key: Option<schemas::IdempotencyKey>,
        what: What,
    ) {
        self.report.different += 1;
        if self.report.differences.len() < self.options.describe {
            let offset = offset.0;
            self.report.differences.push(Difference { partition, cut, offset, key, what });
        }
    }

    /// What stands in `intents` of the cuts that were walked.
    async fn intents(&mut self) -> Result<(), AuditError> {
        let mut found = Sum::default();
        for partition in 0..self.log.manifest().partitions(Topic::Intents) {
            let at = TopicPartition::new(Topic::Intents, partition);
            let extent = self.log.settled_extent(at).await?;
            let mut from = extent.start;
            while from < extent.end {
                let records = self.log.read(at, from, self.options.batch).await?;
                let Some(last) = records.last().map(|r| r.offset) else { break };
                from = last.next();
                for stored in records {
                    let value = stored.record.value.unwrap_or_default();
                    let Ok(intent) = self.codec.decode::<IntentsEvent>(&value) else { continue };
                    let origin = match &intent {
                        IntentsEvent::PlaceIntent(i) => &i.head.origin,
                        IntentsEvent::CloseIntent(i) => &i.head.origin,
                        IntentsEvent::CancelIntent(i) => &i.head.origin,
                        IntentsEvent::MigrateIntent(i) => &i.head.origin,
                    };
                    let last = usize::try_from(origin.partition).ok().and_then(|p| self.last.get(p));
                    if last.is_some_and(|last| origin.cut <= *last) {
                        found.add(leaf_of(&value));
                    }
                }
            }
        }
        self.report.intents.expected = self.expected.count;
        self.report.intents.found = found.count;
        self.report.intents.same = self.expected == found;
        Ok(())
    }
}

fn leaf_of(value: &[u8]) -> Hash32 {
    intent_leaf(unframe(value).map_or(&[], |(_, datum)| datum))
}
