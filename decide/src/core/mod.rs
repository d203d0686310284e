//! Inputs to cut, decisions and intents. Pure: time, salts and records come from the caller, who appends what
//! [`Core::stage`] returns and then says [`Core::keep`] or [`Core::undo`].

mod make;

use eventlog::{Header, Offset, Record, Stored, event};
use schemas::{
    BillingAccountId, Hash32, Timestamp,
    codec::{Codec, unframe},
    events::{Cut, Decision},
    topics::Topic,
};

pub use self::make::Decided;
use self::make::Maker;
use crate::{
    DecideError,
    chain::Block,
    cut::{INPUTS, Read, Salt, Slice, root, salt_to_hex},
    plan::{self, Version},
    state::State,
};

/// Where a partition's chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last cut's number; -1 before the first.
    pub number: i64,
    /// Its hash; zero before the first.
    pub hash: Hash32,
    /// Its clock.
    pub clock: Timestamp,
    /// Its place in `decisions`.
    pub offset: Offset,
    /// The place after its last record.
    pub end: Offset,
    /// Where it ended in each of [`INPUTS`].
    pub inputs: [Offset; 3],
}

impl Head {
    /// Before the first cut.
    pub const GENESIS: Self = Self {
        number: -1,
        hash: Hash32::ZERO,
        clock: Timestamp::from_micros(0),
        offset: Offset::ZERO,
        end: Offset::ZERO,
        inputs: [Offset::ZERO; 3],
    };
}

/// What a cut follows: the last one of the chain, or one that is staged and not kept yet.
#[derive(Debug, Clone, Copy)]
struct Link {
    number: i64,
    hash: Hash32,
    clock: Timestamp,
    inputs: [Offset; 3],
}

/// A batch decided, to be appended in one step.
#[derive(Debug)]
pub struct Staged {
    /// The cut.
    pub cut: Cut,
    /// Its hash.
    pub hash: Hash32,
    /// Its record.
    pub record: Record,
    /// Its decisions, in order.
    pub decisions: Vec<Decided>,
    /// Its intents, in order, by whose account.
    pub intents: Vec<(BillingAccountId, Record)>,
    /// Letters for what could not be read.
    pub letters: Vec<Record>,
    /// How often a subscribed tenant was spared a repeat of a fill.
    pub repeats: u64,
    inputs: [Offset; 3],
}

impl Staged {
    /// Where the cut ends in each of [`INPUTS`].
    pub const fn inputs(&self) -> [Offset; 3] {
        self.inputs
    }
}

/// One partition's decisions.
#[derive(Debug)]
pub struct Core {
    partition: i32,
    codec: Codec,
    /// The same, writing what the version writes.
    writer: Codec,
    versions: &'static [Version],
    version: &'static Version,
    head: Head,
    /// The cuts that are staged and not kept yet, oldest first.
    staged: Vec<Link>,
    state: State,
}

impl Core {
    /// An empty partition, under the newest version.
    ///
    /// # Errors
    /// No version at all: a bug.
    pub fn new(partition: i32, codec: Codec, versions: &'static [Version]) -> Result<Self, DecideError> {
        let newest = versions.last().map_or(0, |v| v.number);
        Self::restored(partition, codec, versions, newest, Head::GENESIS, State::default())
    }

    /// A partition as a snapshot left it.
    ///
    /// # Errors
    /// A version that is not known here.
    pub fn restored(
        partition: i32,
        codec: Codec,
        versions: &'static [Version],
        version: i32,
        head: Head,
        state: State,
    ) -> Result<Self, DecideError> {
        let version = plan::version(versions, version)
            .ok_or_else(|| unknown_version(partition, head.number, version, versions))?;
        let writer = codec.writing(version.writes)?;
        Ok(Self { partition, codec, writer, versions, version, head, staged: Vec::new(), state })
    }

    /// The partition.
    pub const fn partition(&self) -> i32 {
        self.partition
    }

    /// Where the chain stands.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The state after the last kept cut (and what is staged, while something is).
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The version of the last cut.
    pub const fn version(&self) -> i32 {
        self.version.number
    }

    /// The version to which the state must be brought before anything is decided, if it is not the newest.
    pub fn upgrade(&self) -> Option<&'static Version> {
        self.versions.iter().find(|v| v.number > self.version.number && self.head.number >= 0)
    }

    /// About how many records a record of an input may ask for: a decision and an intent for each follower of the
    /// wallet that it is keyed by.
    pub fn weight(&self, stored: &Stored) -> usize {
        let wallet = stored.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()?.parse().ok());
        1 + 2 * wallet.map_or(0, |wallet| self.state.count_followers(wallet))
    }

    /// Nothing new, from where each input stands: what is staged was taken.
    pub fn nothing(&self) -> [Slice; 3] {
        self.last().inputs.map(Slice::nothing)
    }

    /// What the next cut follows.
    fn last(&self) -> Link {
        let Head { number, hash, clock, inputs, .. } = self.head;
        self.staged.last().copied().unwrap_or(Link { number, hash, clock, inputs })
    }

    /// Decides a batch: one slice for each of [`INPUTS`]. The clock never goes below the last cut's. What it did
    /// to the state stays until [`Core::keep`] or [`Core::undo`], one of which must follow. Another batch may be staged
    /// upon it before, while it is on its way: that one may be committed only once this one is kept.
    ///
    /// # Errors
    /// A record of our own that cannot be written: a bug. The state is as it was when a batch was last kept.
    pub fn stage(
        &mut self,
        batch: [Slice; 3],
        clock: Timestamp,
        salts: &mut dyn FnMut() -> Salt,
    ) -> Result<Staged, DecideError> {
        if !self.staged.is_empty() {
            self.state.stage_another();
        }
        let staged = self.try_stage(self.version, batch, clock, salts);
        match &staged {
            Ok(Staged { cut, hash, inputs, .. }) => {
                self.staged.push(Link { number: cut.number, hash: *hash, clock: cut.clock, inputs: *inputs });
            }
            Err(_) => self.undo(),
        }
        staged
    }

    /// The cut without inputs that begins a newer version: its only effect is [`Version::migrate`].
    ///
    /// # Errors
    /// As [`Core::stage`].
    pub fn stage_upgrade(&mut self, to: &'static Version, clock: Timestamp) -> Result<Staged, DecideError> {
        // What a migration does to the state cannot be taken back entry by entry: it is done when the cut is kept.
        self.try_stage(to, self.nothing(), clock, &mut || Salt::default())
    }

    fn try_stage(
        &mut self,
        version: &'static Version,
        batch: [Slice; 3],
        clock: Timestamp,
        salts: &mut dyn FnMut() -> Salt,
    ) -> Result<Staged, DecideError> {
        let writer = if version.number == self.version.number {
            self.writer.clone()
        } else {
            self.codec.writing(version.writes)?
        };
        let last = self.last();
        let clock = clock.max(last.clock);
        let number = last.number + 1;
        let mut letters = Vec::new();
        let taken = INPUTS.iter().zip(&batch).map(|(topic, slice)| slice.taken(*topic)).collect();
        let inputs = [batch[0].until, batch[1].until, batch[2].until];

        let mut maker = Maker {
            state: &mut self.state,
            version,
            codec: &writer,
            partition: self.partition,
            cut: number,
            clock,
            salts,
            decisions: Vec::new(),
            intents: Vec::new(),
            leaves: Vec::new(),
            repeats: 0,
        };
        if version.number == self.version.number {
            maker.state.forget(clock);
        }
        for (topic, slice) in INPUTS.iter().zip(batch) {
            for input in slice.inputs {
                match input.event {
                    Read::Targets(event) => maker.on_targets(input.offset, *event)?,
                    Read::Orders(event) => maker.on_orders(*event),
                    Read::Fills(event) => maker.on_fills(input.offset, *event)?,
                    Read::Unreadable(unreadable) => {
                        let letter = unreadable.letter(*topic, self.partition, input.offset, clock);
                        let key = format!("{}-{}", topic.name(), self.partition);
                        letters.push(event::record(maker.codec, &key, &letter, clock, None)?.0);
                    }
                }
            }
        }
        let Maker { mut decisions, intents, leaves, repeats, .. } = maker;

        let decision_leaves: Vec<Hash32> = decisions.iter().map(|d| d.leaf).collect();
        let cut = Cut {
            partition: self.partition,
            number,
            previous: last.hash,
            taken,
            clock,
            plan_version: version.number,
            decisions: i32::try_from(decisions.len()).unwrap_or(i32::MAX),
            decisions_root: root(&decision_leaves),
            intents: i32::try_from(intents.len()).unwrap_or(i32::MAX),
            intents_root: root(&leaves),
        };
        let (record, hash) = event::record(&writer, &self.partition.to_string(), &cut, clock, None)?;
        let name = hash.to_string();
        for decided in &mut decisions {
            let headers = &mut decided.record.headers;
            headers.push(text(event::SALT, salt_to_hex(&decided.salt)));
            headers.push(text(event::CUT, name.clone()));
        }
        Ok(Staged { cut, hash, record, decisions, intents, letters, repeats, inputs })
    }

    /// The batch was committed, the oldest of those that are staged: its cut stands at `offset` of `decisions`, its last record before `end`.
    ///
    /// # Errors
    /// A version that is not known here: never, for a cut staged here.
    pub fn keep(&mut self, staged: &Staged, offset: Offset, end: Offset) -> Result<(), DecideError> {
        let to = staged.cut.plan_version;
        if to != self.version.number {
            let version = plan::version(self.versions, to)
                .ok_or_else(|| unknown_version(self.partition, staged.cut.number, to, self.versions))?;
            (version.migrate)(&mut self.state);
            self.become_version(version)?;
        }
        self.state.keep();
        self.staged.retain(|link| link.number > staged.cut.number);
        self.head = Head {
            number: staged.cut.number,
            hash: staged.hash,
            clock: staged.cut.clock,
            offset,
            end,
            inputs: staged.inputs,
        };
        Ok(())
    }

    fn become_version(&mut self, version: &'static Version) -> Result<(), DecideError> {
        self.writer = self.codec.writing(version.writes)?;
        self.version = version;
        Ok(())
    }

    /// What is staged was not committed: everything is as it was when a batch was last kept.
    pub fn undo(&mut self) {
        self.state.undo();
        self.staged.clear();
    }

    /// Decides a recorded cut again, from the same inputs, and moves on behind it, whatever it gave: the chain
    /// wins. Answers what was decided now, for comparison.
    ///
    /// # Errors
    /// A version that is not known here, or one that goes back.
    pub fn redo(&mut self, block: &Block, batch: [Slice; 3]) -> Result<Staged, DecideError> {
        let cut = &block.cut;
        let unknown = || unknown_version(self.partition, cut.number, cut.plan_version, self.versions);
        let version = plan::version(self.versions, cut.plan_version).ok_or_else(unknown)?;
        // The first cut may be of any version; later ones never go back.
        if self.head.number < 0 {
            self.become_version(version)?;
        }
        if version.number < self.version.number {
            return Err(DecideError::ChainBroken {
                partition: self.partition,
                cut: cut.number,
                why: format!(
                    "its plan version is {}, and a cut before it had {}",
                    version.number, self.version.number
                ),
            });
        }
        let mut salts = block.decisions.iter().map(|d| d.salt);
        let staged = self.try_stage(version, batch, cut.clock, &mut || salts.next().unwrap_or_default());
        let mut staged = match staged {
            Ok(staged) => staged,
            Err(e) => {
                self.state.undo();
                return Err(e);
            }
        };
        let hash = std::mem::replace(&mut staged.hash, block.hash);
        self.keep(&staged, block.offset, block.end)?;
        staged.hash = hash;
        Ok(staged)
    }
}

/// What a recorded cut and its decisions have that deciding it again did not give: the first difference.
pub fn first_difference(block: &Block, again: &Staged) -> Option<String> {
    if block.hash == again.hash {
        // Everything is in the cut's hash: its decisions and intents by their roots.
        return None;
    }
    for (recorded, decided) in block.decisions.iter().zip(&again.decisions) {
        if recorded.datum() != decided.datum() {
            return Some(format!("the decision at offset {} differs", recorded.offset));
        }
    }
    if block.decisions.len() != again.decisions.len() {
        return Some(format!(
            "{} decisions are recorded, {} were made",
            block.decisions.len(),
            again.decisions.len()
        ));
    }
    Some("the cut's own fields differ: inputs, clock, or intents".into())
}

/// The bytes of a record without their frame.
pub(crate) fn datum_of(record: &Record) -> &[u8] {
    record.value.as_ref().and_then(|v| unframe(v).ok()).map_or(&[], |(_, datum)| datum)
}

fn text(name: &str, value: String) -> Header {
    Header { name: name.into(), value: Some(value.into()) }
}

fn unknown_version(partition: i32, cut: i64, version: i32, versions: &[Version]) -> DecideError {
    let newest = versions.last().map_or(0, |v| v.number);
    DecideError::PlanVersionUnknown { partition, cut, version, newest }
}

/// The index of an input topic among [`INPUTS`].
pub fn input_index(topic: Topic) -> Option<usize> {
    INPUTS.iter().position(|t| *t == topic)
}

/// A decision's record beside what it says.
impl Decided {
    /// Its bytes without the frame.
    pub fn datum(&self) -> &[u8] {
        datum_of(&self.record)
    }

    /// What it says.
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }
}
