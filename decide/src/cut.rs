//! Cuts: the common order that decide gives to three topics without one (`design.md`, Cuts).
//!
//! | hash | over |
//! |---|---|
//! | content of a record | [`Codec::content_hash`] of its value; of one that was skipped: `keccak256("raw" ‖ value)`, or of `"none"` where it has no value |
//! | `Taken::content` | `keccak256` of the contents of all records in the range, in order; of nothing: of no bytes |
//! | leaf of a decision | `keccak256(0x00 ‖ salt (16 bytes) ‖ datum)` |
//! | leaf of an intent | `keccak256(0x00 ‖ datum)` |
//! | node | `keccak256(0x01 ‖ left ‖ right)`; an odd one goes up as it is; the root of nothing is zero |
//! | a cut | the content of its own record |
//!
//! A datum is a record's value without its frame.

use bytes::Bytes;
use eventlog::{Offset, Stored, letter};
use schemas::{
    Hash32,
    codec::{Codec, CodecError},
    events::{DeadLetter, FillsEvent, OrdersEvent, Taken, TargetsEvent},
    keccak256,
    topics::Topic,
};

/// The inputs, in the order in which a cut folds them.
pub const INPUTS: [Topic; 3] = [Topic::Targets, Topic::Orders, Topic::Fills];

/// The random bytes beside a decision.
pub type Salt = [u8; 16];

/// A record of an input topic, read or found unreadable.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its place.
    pub offset: Offset,
    /// The hash of its content.
    pub content: Hash32,
    /// What it says.
    pub event: Read,
}

/// What a record says.
#[derive(Debug, Clone)]
pub enum Read {
    /// A record of `targets`.
    Targets(Box<TargetsEvent>),
    /// A record of `orders`.
    Orders(Box<OrdersEvent>),
    /// A record of `fills`.
    Fills(Box<FillsEvent>),
    /// None that can be read: goes to `dead-letters`, and is named in the cut.
    Unreadable(Unreadable),
}

/// A record that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// What kind of trouble.
    pub code: &'static str,
    /// What is wrong, for a person.
    pub reason: String,
    /// Its key, as received.
    pub key: Option<Bytes>,
    /// Its value, as received.
    pub value: Option<Bytes>,
}

impl Unreadable {
    /// The dead letter of a record.
    pub fn letter(&self, topic: Topic, partition: i32, offset: Offset, at: schemas::Timestamp) -> DeadLetter {
        letter::fit(DeadLetter {
            topic: topic.name().into(),
            partition,
            offset: offset.0,
            reader: "decide".into(),
            code: self.code.into(),
            reason: self.reason.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            observed_at: at,
        })
    }
}

fn raw_content(value: Option<&Bytes>) -> Hash32 {
    value.map_or_else(|| keccak256(&[b"none"]), |value| keccak256(&[b"raw", value]))
}

/// Reads a record of an input topic. `None`: a gap of an imported log, which stands for no record.
///
/// `skipped`: the cut that took the record could not read it, whatever this reader knows by now.
///
/// # Errors
/// What this program lacks to read it ([`CodecError::is_of_reader`]): it must not be skipped.
pub fn read(codec: &Codec, stored: &Stored, skipped: bool) -> Result<Option<Input>, CodecError> {
    let value = stored.record.value.as_ref();
    let unreadable = |code, reason| {
        Ok(Some(Input {
            offset: stored.offset,
            content: raw_content(value),
            event: Read::Unreadable(Unreadable {
                code,
                reason,
                key: stored.record.key.clone(),
                value: value.cloned(),
            }),
        }))
    };
    let Some(bytes) = value else {
        return unreadable("record_without_value", "the record has no value".into());
    };
    if skipped {
        return unreadable("record_skipped", "the cut that took it could not read it".into());
    }
    let event = match stored.at.topic {
        Topic::Targets => codec.decode(bytes).map(|e| Read::Targets(Box::new(e))),
        Topic::Orders => codec.decode(bytes).map(|e| Read::Orders(Box::new(e))),
        _ => codec.decode(bytes).map(|e| Read::Fills(Box::new(e))),
    };
    match event {
        Ok(event) => Ok(Some(Input { offset: stored.offset, content: codec.content_hash(bytes), event })),
        Err(CodecError::WrongTopic { name, .. }) if name == "Gap" => Ok(None),
        Err(e) if e.is_of_reader() => Err(e),
        Err(e) => unreadable(e.code(), e.to_string()),
    }
}

/// What a cut takes of one input topic.
#[derive(Debug, Clone)]
pub struct Slice {
    /// The first offset of the range: where the cut before ended.
    pub from: Offset,
    /// The offset after the range.
    pub until: Offset,
    /// Its records, in order.
    pub inputs: Vec<Input>,
}

impl Slice {
    /// Nothing, at a place.
    pub const fn nothing(at: Offset) -> Self {
        Self { from: at, until: at, inputs: Vec::new() }
    }

    /// How the cut names it.
    pub fn taken(&self, topic: Topic) -> Taken {
        let contents: Vec<&[u8]> = self.inputs.iter().map(|i| &i.content.as_bytes()[..]).collect();
        Taken {
            topic: topic.name().into(),
            from: self.from.0,
            until: self.until.0,
            skipped: self
                .inputs
                .iter()
                .filter(|i| matches!(i.event, Read::Unreadable(_)))
                .map(|i| i.offset.0)
                .collect(),
            content: keccak256(&contents),
        }
    }
}

/// The leaf of a decision.
pub fn decision_leaf(salt: &Salt, datum: &[u8]) -> Hash32 {
    keccak256(&[&[0], salt, datum])
}

/// The leaf of an intent.
pub fn intent_leaf(datum: &[u8]) -> Hash32 {
    keccak256(&[&[0], datum])
}

/// The Merkle root over leaves.
pub fn root(leaves: &[Hash32]) -> Hash32 {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => keccak256(&[&[1], left.as_bytes(), right.as_bytes()]),
                rest => rest.first().copied().unwrap_or(Hash32::ZERO),
            })
            .collect();
    }
    level.first().copied().unwrap_or(Hash32::ZERO)
}

/// The salt in a header's text: 32 hex digits.
pub fn salt_from_hex(text: &[u8]) -> Option<Salt> {
    let mut salt = Salt::default();
    const_hex::decode_to_slice(text, &mut salt).ok()?;
    Some(salt)
}

/// A salt as the header's text.
pub fn salt_to_hex(salt: &Salt) -> String {
    const_hex::encode(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(n: u8) -> Hash32 {
        Hash32::from_bytes([n; 32])
    }

    fn node(a: Hash32, b: Hash32) -> Hash32 {
        keccak256(&[&[1], a.as_bytes(), b.as_bytes()])
    }

    #[test]
    fn the_root_is_that_of_the_page_s_head() {
        assert_eq!(root(&[]), Hash32::ZERO);
        assert_eq!(root(&[leaf(1)]), leaf(1));
        assert_eq!(root(&[leaf(1), leaf(2)]), node(leaf(1), leaf(2)));
        assert_eq!(root(&[leaf(1), leaf(2), leaf(3)]), node(node(leaf(1), leaf(2)), leaf(3)));
        assert_ne!(root(&[leaf(2), leaf(1)]), root(&[leaf(1), leaf(2)]));
    }

    #[test]
    fn a_leaf_can_not_be_taken_for_a_node_and_its_salt_counts() {
        assert_ne!(intent_leaf(&[5; 64]), keccak256(&[&[1], &[5; 64]]));
        assert_ne!(decision_leaf(&[1; 16], b"datum"), decision_leaf(&[2; 16], b"datum"));
    }

    #[test]
    fn salts_are_read_as_they_are_written() {
        let salt = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
        assert_eq!(salt_to_hex(&salt), "000102030405060708090a0b0c0d0eff");
        assert_eq!(salt_from_hex(salt_to_hex(&salt).as_bytes()), Some(salt));
        for bad in ["", "00", "zz0102030405060708090a0b0c0d0eff", "+10102030405060708090a0b0c0d0eff"] {
            assert_eq!(salt_from_hex(bad.as_bytes()), None, "{bad}");
        }
    }
}
