//! The topics of the log: what each is keyed by, and which partition a key belongs to.

use crate::ids::Address;

/// A topic of the log (`design.md`, The log).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Fills, position snapshots and changes, watermarks. Keyed by wallet.
    Fills,
    /// Full states of targets, and close requests. Keyed by wallet.
    Targets,
    /// Full states of orders. Keyed by wallet.
    Orders,
    /// Cuts and decisions. Keyed by idempotency key, in the partition of the fill's wallet.
    Decisions,
    /// Place, close, cancel. Keyed by billing account.
    Intents,
    /// Pauses, grants, connections. Keyed by billing account, `*` for all.
    Controls,
    /// Market facts, marks, resolutions. Keyed by condition.
    Markets,
    /// Snapshots of decide's state: compacted. Keyed by partition.
    DecideState,
    /// What could not be read.
    DeadLetters,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 9] = [
        Self::Fills,
        Self::Targets,
        Self::Orders,
        Self::Decisions,
        Self::Intents,
        Self::Controls,
        Self::Markets,
        Self::DecideState,
        Self::DeadLetters,
    ];

    /// Its name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fills => "fills",
            Self::Targets => "targets",
            Self::Orders => "orders",
            Self::Decisions => "decisions",
            Self::Intents => "intents",
            Self::Controls => "controls",
            Self::Markets => "markets",
            Self::DecideState => "decide-state",
            Self::DeadLetters => "dead-letters",
        }
    }

    /// The topic of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Whether its partition is that of a wallet: these four, and `decide-state` beside them, share one
    /// partition count, so that decide owns one number over all of them.
    pub const fn by_wallet(self) -> bool {
        matches!(self, Self::Fills | Self::Targets | Self::Orders | Self::Decisions | Self::DecideState)
    }

    /// Whether only the latest record of a key has to be kept.
    pub const fn is_compacted(self) -> bool {
        matches!(self, Self::DecideState)
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Java's murmur2, as Kafka's own default partitioner hashes keys. librdkafka's default differs, so the
/// partition is always computed here and set explicitly.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // The length of a key is far below 2^32; Java's int wraps where ours would.
    #[expect(clippy::cast_possible_truncation, reason = "Java's int length")]
    let mut h: u32 = 0x9747_b28c ^ (data.len() as u32);
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate().rev() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of a key among `count`: what Kafka's Java client would choose.
pub fn partition_of(key: &[u8], count: i32) -> i32 {
    let positive = i32::try_from(murmur2(key) & 0x7fff_ffff).unwrap_or(0);
    positive % count.max(1)
}

/// The partition of a wallet in each topic that is partitioned by wallet.
pub fn partition_of_wallet(wallet: Address, count: i32) -> i32 {
    partition_of(wallet.to_string().as_bytes(), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of Kafka's own unit tests of its hash.
    #[test]
    fn murmur2_is_java_s() {
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn topics_are_found_by_name() {
        for topic in Topic::ALL {
            assert_eq!(Topic::from_name(topic.name()), Some(topic));
        }
        assert_eq!(Topic::from_name("fill"), None);
    }

    proptest::proptest! {
        #[test]
        fn every_key_has_a_partition(key: Vec<u8>, count in 1i32..500) {
            proptest::prop_assert!((0..count).contains(&partition_of(&key, count)));
        }
    }
}
