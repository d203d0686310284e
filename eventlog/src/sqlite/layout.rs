//! How records lie in the file. Frozen: another layout is another format version.

use bytes::{BufMut, Bytes, BytesMut};
use schemas::topics::Topic;

use crate::port::{Header, Offset, TopicPartition};

/// Bits of a place that hold the offset: a million million records per partition.
const OFFSET_BITS: u32 = 40;
/// Bits above them that hold the partition; the topic's number stands above these.
const PARTITION_BITS: u32 = 16;

/// A topic's number in the file. Frozen.
const fn number(topic: Topic) -> i64 {
    match topic {
        Topic::Fills => 1,
        Topic::Targets => 2,
        Topic::Orders => 3,
        Topic::Decisions => 4,
        Topic::Intents => 5,
        Topic::Controls => 6,
        Topic::Markets => 7,
        Topic::DecideState => 8,
        Topic::DeadLetters => 9,
    }
}

/// A partition's number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(pub i64);

impl Slot {
    pub(super) fn of(at: TopicPartition) -> Self {
        Self((number(at.topic) << PARTITION_BITS) | i64::from(at.partition))
    }

    /// The partition; `None` where the number is none of ours.
    pub(super) fn partition(self) -> Option<TopicPartition> {
        let topic = Topic::ALL.into_iter().find(|t| number(*t) == self.0 >> PARTITION_BITS)?;
        let partition = i32::try_from(self.0 & ((1 << PARTITION_BITS) - 1)).ok()?;
        Some(TopicPartition::new(topic, partition))
    }

    /// The row of a record: rows of a partition lie together, in order. Offsets outside of what a
    /// partition can hold are clamped to its ends.
    pub(super) fn row(self, offset: Offset) -> i64 {
        (self.0 << OFFSET_BITS) | offset.0.clamp(0, (1 << OFFSET_BITS) - 1)
    }

    /// The row after the partition's last possible one.
    pub(super) const fn rows_end(self) -> i64 {
        (self.0 + 1) << OFFSET_BITS
    }
}

/// The offset of a row.
pub(super) const fn offset_of(row: i64) -> Offset {
    Offset(row & ((1 << OFFSET_BITS) - 1))
}

/// Headers as one value; `None` where there are none. Each: length of the name, the name, length of the
/// value plus one (zero: no value), the value. Lengths are little-endian `u32`.
pub(super) fn pack_headers(headers: &[Header]) -> Option<Bytes> {
    if headers.is_empty() {
        return None;
    }
    let size = |h: &Header| 8 + h.name.len() + h.value.as_ref().map_or(0, Bytes::len);
    let mut out = BytesMut::with_capacity(headers.iter().map(size).sum());
    // A record is far smaller than 4 GiB: the writer refuses others.
    let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    for Header { name, value } in headers {
        out.put_u32_le(length(name.len()));
        out.put_slice(name.as_bytes());
        out.put_u32_le(value.as_ref().map_or(0, |v| length(v.len() + 1)));
        out.put_slice(value.as_deref().unwrap_or_default());
    }
    Some(out.freeze())
}

/// The headers of such a value; `None` where it is none.
pub(super) fn unpack_headers(mut packed: &[u8]) -> Option<Vec<Header>> {
    let mut headers = Vec::with_capacity(4);
    while !packed.is_empty() {
        let length = take_length(&mut packed)?;
        let name = std::str::from_utf8(take(&mut packed, length)?).ok()?.to_owned();
        let value = match take_length(&mut packed)? {
            0 => None,
            more => Some(Bytes::copy_from_slice(take(&mut packed, more - 1)?)),
        };
        headers.push(Header { name, value });
    }
    Some(headers)
}

fn take<'p>(packed: &mut &'p [u8], length: usize) -> Option<&'p [u8]> {
    let (taken, rest) = packed.split_at_checked(length)?;
    *packed = rest;
    Some(taken)
}

fn take_length(packed: &mut &[u8]) -> Option<usize> {
    let (length, rest) = packed.split_first_chunk::<4>()?;
    *packed = rest;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The third record of `fills`-2.
    #[test]
    fn a_row_is_topic_partition_and_offset() {
        let slot = Slot::of(TopicPartition::new(Topic::Fills, 2));
        assert_eq!(slot.row(Offset(3)), (1 << 56) + (2 << 40) + 3);
        assert_eq!(slot.rows_end(), (1 << 56) + (3 << 40));
    }

    #[test]
    fn every_topic_has_a_number_of_its_own() {
        for topic in Topic::ALL {
            let at = TopicPartition::new(topic, 32_767);
            assert_eq!(Slot::of(at).partition(), Some(at));
        }
        assert_eq!(Slot(0).partition(), None);
    }

    #[test]
    fn headers_cut_short_are_no_headers() {
        let headers = [Header { name: "a".into(), value: Some(Bytes::from_static(b"12")) }];
        let packed = pack_headers(&headers).unwrap();
        assert_eq!(unpack_headers(&packed), Some(headers.to_vec()));
        for length in 1..packed.len() {
            assert_eq!(unpack_headers(&packed[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn rows_keep_the_order_of_offsets(partition in 0..32_767_i32, a in 0..1_i64 << 40, b in 0..1_i64 << 40) {
            let slot = Slot::of(TopicPartition::new(Topic::DeadLetters, partition));
            prop_assert_eq!(slot.row(Offset(a)).cmp(&slot.row(Offset(b))), a.cmp(&b));
            prop_assert_eq!(offset_of(slot.row(Offset(a))), Offset(a));
            prop_assert!(slot.row(Offset(a)) < slot.rows_end());
        }

        #[test]
        fn headers_come_back(pairs: Vec<(String, Option<Vec<u8>>)>) {
            let headers: Vec<_> =
                pairs.into_iter().map(|(name, value)| Header { name, value: value.map(Bytes::from) }).collect();
            let packed = pack_headers(&headers).unwrap_or_default();
            prop_assert_eq!(unpack_headers(&packed), Some(headers));
        }
    }
}
