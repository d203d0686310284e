//! What a replay found.

use std::fmt;

use schemas::IdempotencyKey;

use crate::diff::FieldDiff;

/// Something that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The partition of `decisions`.
    pub partition: i32,
    /// The cut.
    pub cut: i64,
    /// Its place in `decisions`, or that of the decision.
    pub offset: i64,
    /// The decision's key, where it is about one.
    pub key: Option<IdempotencyKey>,
    /// What it is.
    pub what: What,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The cut's inputs do not follow from the log; nothing after it in this partition can be checked.
    Inputs(String),
    /// The decisions behind the cut are not those that it names, or not all of them are there.
    Chain(String),
    /// A decision.
    Decision(Vec<FieldDiff>),
    /// Another number of decisions.
    Count {
        /// So many are recorded.
        recorded: usize,
        /// So many were made.
        replayed: usize,
    },
    /// The cut's own fields: its inputs' hashes, clock, roots.
    Cut(Vec<FieldDiff>),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "decisions-{} cut {} offset {}", self.partition, self.cut, self.offset)?;
        if let Some(key) = self.key {
            write!(f, " key {key}")?;
        }
        let list = |f: &mut fmt::Formatter<'_>, fields: &[FieldDiff]| {
            fields.iter().try_for_each(|field| write!(f, "\n    {field}"))
        };
        match &self.what {
            What::Inputs(why) => write!(f, ": its inputs do not follow from the log: {why}"),
            What::Chain(why) => write!(f, ": {why}"),
            What::Count { recorded, replayed } => {
                write!(f, ": {recorded} decisions are recorded, {replayed} were made")
            }
            What::Decision(fields) => {
                write!(f, ": the decision differs")?;
                list(f, fields)
            }
            What::Cut(fields) => {
                write!(f, ": the cut differs")?;
                list(f, fields)
            }
        }
    }
}

/// The intents that the cuts name against those that stand in `intents`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Intents {
    /// So many follow from the cuts.
    pub expected: u64,
    /// So many stand in the log, of the cuts that were walked.
    pub found: u64,
    /// Whether they are the same, content and all.
    pub same: bool,
}

/// What a replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Partitions walked.
    pub partitions: i32,
    /// Cuts of the chains.
    pub cuts: u64,
    /// Decisions recorded in them.
    pub decisions: u64,
    /// Decisions that came out the same, byte for byte.
    pub identical: u64,
    /// Repeats of fills, per tenant that was spared one.
    pub repeats: u64,
    /// Records of inputs that the cuts skipped as unreadable.
    pub skipped: u64,
    /// Cuts that are of no chain: ignored by every reader.
    pub foreign_cuts: u64,
    /// Records that belong to no cut of a chain, foreign cuts included.
    pub foreign_records: u64,
    /// Cuts that could not be checked, because one before them does not follow from the log.
    pub unchecked: u64,
    /// The intents.
    pub intents: Intents,
    /// How many differences there are.
    pub different: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
}

impl Report {
    /// Whether everything came out as it was recorded. A command that replays exits with success only then.
    pub fn is_identical(&self) -> bool {
        // Whoever wrote a foreign cut wrote intents too: more of them than the chain names are no difference.
        let intents =
            self.intents.same || (self.foreign_cuts > 0 && self.intents.found > self.intents.expected);
        self.different == 0 && self.unchecked == 0 && self.identical == self.decisions && intents
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} decisions identical, in {} cuts of {} partitions",
            self.identical, self.decisions, self.cuts, self.partitions
        )?;
        writeln!(
            f,
            "{} intents follow from them, {} stand in the log{}",
            self.intents.expected,
            self.intents.found,
            if self.intents.same { "" } else { "; they are not the same" }
        )?;
        writeln!(f, "{} repeats, {} unreadable records skipped", self.repeats, self.skipped)?;
        if self.foreign_records > 0 {
            writeln!(
                f,
                "{} records of no chain ignored, {} cuts among them",
                self.foreign_records, self.foreign_cuts
            )?;
        }
        if self.unchecked > 0 {
            writeln!(f, "{} cuts could not be checked", self.unchecked)?;
        }
        if self.different > 0 {
            writeln!(f, "{} differences, the first:", self.different)?;
            for difference in &self.differences {
                writeln!(f, "  {difference}")?;
            }
        }
        f.write_str(if self.is_identical() { "identical" } else { "NOT identical" })
    }
}
