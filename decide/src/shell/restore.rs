//! Taking a partition over: its chain is read to the end, and every cut of it is decided again.

use eventlog::{Offset, TopicPartition};
use schemas::topics::Topic;

use super::{Options, Ports, snapshots};
use crate::{
    DecideError,
    chain::{Block, Chain},
    core::{Core, first_difference},
    source::Source,
};

/// From where a partition's state is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// From what this process still knew of it.
    Known,
    /// From a snapshot.
    Snapshot,
    /// From the first cut.
    Genesis,
}

impl Found {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Known => "memory",
            Self::Snapshot => "snapshot",
            Self::Genesis => "genesis",
        }
    }
}

/// A partition on its way back, a slice at a time, so that the member is polled in between.
#[derive(Debug)]
pub(super) struct Restore {
    partition: i32,
    known: Option<Box<Core>>,
    /// Snapshots turned out to be of no use.
    distrust: bool,
    reading: Option<Reading>,
    redone: u64,
    found: Found,
}

#[derive(Debug)]
struct Reading {
    core: Box<Core>,
    chain: Chain,
    source: Source,
    /// Where the chain is read on.
    next: Offset,
    /// Where it ended when this began: nothing open lay before it.
    end: Offset,
    /// Cuts that were read and not yet decided again.
    blocks: std::collections::VecDeque<Block>,
}

impl Restore {
    pub fn new(partition: i32, known: Option<Box<Core>>) -> Self {
        Self { partition, known, distrust: false, reading: None, redone: 0, found: Found::Genesis }
    }

    /// How many cuts were decided again.
    pub const fn redone(&self) -> u64 {
        self.redone
    }

    pub const fn origin(&self) -> &'static str {
        self.found.as_str()
    }

    /// What is known so far, if it is of use to whoever begins again.
    pub fn into_core(self) -> Option<Box<Core>> {
        self.known.or(self.reading.map(|r| r.core))
    }

    /// A slice of the work. The core, once the chain was read to its end.
    pub async fn step(&mut self, ports: &Ports, options: &Options) -> Result<Option<Box<Core>>, DecideError> {
        let at = TopicPartition::new(Topic::Decisions, self.partition);
        let Some(reading) = &mut self.reading else {
            self.reading = Some(self.begin(ports, options, at).await?);
            self.known = None;
            return Ok(None);
        };
        while let Some(block) = reading.blocks.front() {
            reading.redo(ports, self.partition, block.clone()).await?;
            reading.blocks.pop_front();
            self.redone += 1;
        }
        if reading.next < reading.end {
            let records = ports.log.read(at, reading.next, options.restore_slice).await?;
            reading.next = records.last().map_or(reading.end, |last| last.offset.next());
            for stored in records {
                reading.blocks.extend(reading.chain.push(&ports.codec, &stored));
            }
            if let Err(lacking) = reading.chain.check() {
                self.reading = None;
                return Err(lacking.into());
            }
            return Ok(None);
        }
        if let Some(open) = reading.chain.open() {
            return Err(DecideError::ChainBroken {
                partition: self.partition,
                cut: open.cut.number,
                why: format!("{} of its {} decisions are there", open.decisions.len(), open.cut.decisions),
            });
        }
        let strange = reading.chain.foreign_cuts() > 0;
        if strange && self.redone == 0 && self.found != Found::Genesis {
            // Cuts that do not follow from where this began: perhaps it began beside the chain.
            tracing::warn!(
                event = "state_distrusted",
                partition = self.partition,
                from = self.found.as_str()
            );
            (self.distrust, self.reading) = (true, None);
            return Ok(None);
        }
        Ok(self.reading.take().map(|reading| reading.core))
    }

    async fn begin(
        &mut self,
        ports: &Ports,
        options: &Options,
        at: TopicPartition,
    ) -> Result<Reading, DecideError> {
        let end = ports.log.settled_extent(at).await?.end;
        let known = self.known.take().filter(|_| !self.distrust);
        let saved = match known {
            Some(core) => {
                self.found = Found::Known;
                Some(core)
            }
            None if self.distrust => None,
            None => {
                self.found = Found::Snapshot;
                let newest = snapshots::newest(&*ports.log, &ports.codec, self.partition, options.versions);
                newest.await?.map(Box::new)
            }
        };
        let core = if let Some(core) = saved {
            core
        } else {
            self.found = Found::Genesis;
            Box::new(Core::new(self.partition, ports.codec.clone(), options.versions)?)
        };
        let head = *core.head();
        Ok(Reading {
            chain: Chain::after(head.number, head.hash),
            source: Source::new(ports.codec.clone(), self.partition, head.inputs),
            next: head.end.min(end),
            end,
            core,
            blocks: std::collections::VecDeque::new(),
        })
    }
}

impl Reading {
    async fn redo(&mut self, ports: &Ports, partition: i32, block: Block) -> Result<(), DecideError> {
        let cut = block.cut.number;
        if !block.is_whole() {
            return Err(DecideError::ChainBroken {
                partition,
                cut,
                why: "its decisions are not those it names".into(),
            });
        }
        let batch = self
            .source
            .batch(&*ports.log, &block.cut)
            .await?
            .map_err(|why| DecideError::ChainBroken { partition, cut, why })?;
        let again = self.core.redo(&block, batch)?;
        match first_difference(&block, &again) {
            None => Ok(()),
            Some(why) => Err(DecideError::NotReproduced { partition, cut, why }),
        }
    }
}
