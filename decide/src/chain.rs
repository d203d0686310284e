//! The chain of cuts in a partition of `decisions`: whoever wrote, one cut follows another.
//!
//! A cut counts only if its number is the next and its previous hash is that of the cut before; its decisions are
//! the records after it whose header `cut` names it. Everything else is foreign: ignored, and counted.

use bytes::Bytes;
use eventlog::{Offset, Stored, event};
use schemas::{
    Hash32,
    codec::{Codec, CodecError, unframe},
    events::{Cut, Decision, DecisionsEvent},
};

use crate::cut::{Salt, decision_leaf, root, salt_from_hex};

/// A decision as it stands in the chain.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its place.
    pub offset: Offset,
    /// The random bytes beside it.
    pub salt: Salt,
    /// Its value, framed.
    pub value: Bytes,
    /// What it says.
    pub decision: Decision,
}

impl Recorded {
    /// Its bytes without the frame.
    pub fn datum(&self) -> &[u8] {
        unframe(&self.value).map_or(&[], |(_, datum)| datum)
    }
}

/// A cut that counts, with its decisions.
#[derive(Debug, Clone)]
pub struct Block {
    /// The cut.
    pub cut: Cut,
    /// Its hash.
    pub hash: Hash32,
    /// Its place.
    pub offset: Offset,
    /// The place after its last decision.
    pub end: Offset,
    /// Its decisions, in order.
    pub decisions: Vec<Recorded>,
}

impl Block {
    /// Whether the decisions are those that the cut names.
    pub fn is_whole(&self) -> bool {
        let leaves: Vec<Hash32> = self.decisions.iter().map(|d| decision_leaf(&d.salt, d.datum())).collect();
        root(&leaves) == self.cut.decisions_root
    }
}

/// Follows a chain, record by record.
#[derive(Debug, Clone)]
pub struct Chain {
    next: i64,
    previous: Hash32,
    open: Option<Block>,
    foreign: u64,
    foreign_cuts: u64,
    /// What was lacking to read a record: it may be the next cut.
    lacks: Option<CodecError>,
}

impl Chain {
    /// From the first cut on.
    pub const fn genesis() -> Self {
        Self::after(-1, Hash32::ZERO)
    }

    /// From the cut after the one of that number and hash.
    pub const fn after(number: i64, hash: Hash32) -> Self {
        Self { next: number + 1, previous: hash, open: None, foreign: 0, foreign_cuts: 0, lacks: None }
    }

    /// Takes the next record. Answers a cut once its last decision was taken.
    pub fn push(&mut self, codec: &Codec, stored: &Stored) -> Option<Block> {
        let offset = stored.offset;
        let value = stored.record.value.clone().unwrap_or_default();
        match codec.decode::<DecisionsEvent>(&value) {
            Ok(DecisionsEvent::Cut(cut)) => {
                let next = cut.number == self.next
                    && cut.previous == self.previous
                    && cut.partition == stored.at.partition
                    && self.open.is_none();
                if !next {
                    self.foreign_cuts += 1;
                    self.foreign += 1;
                    return None;
                }
                let hash = codec.content_hash(&value);
                (self.next, self.previous) = (cut.number + 1, hash);
                self.open = Some(Block { cut, hash, offset, end: offset.next(), decisions: Vec::new() });
            }
            Ok(DecisionsEvent::Decision(decision)) => {
                let record = &stored.record;
                let salt = record.header(eventlog::event::SALT).and_then(salt_from_hex);
                let open = self
                    .open
                    .as_mut()
                    .filter(|open| record.header(event::CUT) == Some(open.hash.to_string().as_bytes()));
                let (Some(open), Some(salt)) = (open, salt) else {
                    self.foreign += 1;
                    return None;
                };
                open.decisions.push(Recorded { offset, salt, value, decision });
                open.end = offset.next();
            }
            Err(CodecError::WrongTopic { name, .. }) if name == "Gap" => return None,
            Err(error) => {
                if error.is_of_reader() {
                    self.lacks.get_or_insert(error);
                }
                self.foreign += 1;
                return None;
            }
        }
        let whole = self
            .open
            .as_ref()
            .is_some_and(|open| open.decisions.len() >= usize::try_from(open.cut.decisions).unwrap_or(0));
        if whole { self.open.take() } else { None }
    }

    /// Whether everything could be read so far, or was nobody's to read.
    ///
    /// # Errors
    /// What this program lacked ([`CodecError::is_of_reader`]). Where the chain stands is not known, and nothing may be
    /// written behind it.
    pub fn check(&self) -> Result<(), CodecError> {
        self.lacks.clone().map_or(Ok(()), Err)
    }

    /// The number of the next cut.
    pub const fn next(&self) -> i64 {
        self.next
    }

    /// Records that belong to no cut of the chain, foreign cuts included.
    pub const fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Cuts that are not of the chain.
    pub const fn foreign_cuts(&self) -> u64 {
        self.foreign_cuts
    }

    /// A cut whose decisions have not all been seen.
    pub const fn open(&self) -> Option<&Block> {
        self.open.as_ref()
    }
}
