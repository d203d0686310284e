//! Who of a group gets which partitions: the range assignor, as pure arithmetic.

use std::collections::BTreeMap;

use schemas::topics::Topic;

use crate::port::TopicPartition;

/// A member's place in its group: members are dealt to in the order of these.
pub type MemberId = i64;

/// Deals out the partitions of each topic over those who asked for it: in order, as evenly as it goes, the
/// first ones getting one more. Topics of one partition count that the same members asked for are dealt out the
/// same way, so their numbers stay together.
pub fn assign(
    members: &BTreeMap<MemberId, Vec<Topic>>,
    partitions: impl Fn(Topic) -> i32,
) -> BTreeMap<MemberId, Vec<TopicPartition>> {
    let mut dealt: BTreeMap<MemberId, Vec<TopicPartition>> =
        members.keys().map(|id| (*id, Vec::new())).collect();
    for topic in Topic::ALL {
        let who: Vec<MemberId> =
            members.iter().filter(|(_, topics)| topics.contains(&topic)).map(|(id, _)| *id).collect();
        let Ok(members) = i32::try_from(who.len()) else { continue };
        if members == 0 {
            continue;
        }
        let (each, more) = (partitions(topic) / members, partitions(topic) % members);
        let mut first = 0;
        for (nth, id) in (0..).zip(who) {
            let count = each + i32::from(nth < more);
            let range = (first..first + count).map(|p| TopicPartition::new(topic, p));
            dealt.entry(id).or_default().extend(range);
            first += count;
        }
    }
    dealt
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(of: &[TopicPartition], topic: Topic) -> Vec<i32> {
        of.iter().filter(|p| p.topic == topic).map(|p| p.partition).collect()
    }

    /// Seven partitions over three members: 3, 2, 2.
    #[test]
    fn seven_partitions_over_three_members() {
        let members = BTreeMap::from([
            (4, vec![Topic::Fills]),
            (9, vec![Topic::Fills]),
            (11, vec![Topic::Fills, Topic::Intents]),
        ]);
        let dealt = assign(&members, |t| if t == Topic::Fills { 7 } else { 2 });
        assert_eq!(numbers(&dealt[&4], Topic::Fills), [0, 1, 2]);
        assert_eq!(numbers(&dealt[&9], Topic::Fills), [3, 4]);
        assert_eq!(numbers(&dealt[&11], Topic::Fills), [5, 6]);
        assert_eq!(numbers(&dealt[&11], Topic::Intents), [0, 1]);
    }

    proptest! {
        #[test]
        fn every_partition_has_one_owner_and_numbers_stay_together(
            ids in proptest::collection::btree_set(0_i64..100, 1..9),
            wallets in 1..40_i32,
            others in 1..10_i32,
        ) {
            let topics = [Topic::Fills, Topic::Targets, Topic::Intents];
            let members = ids.iter().map(|id| (*id, topics.to_vec())).collect();
            let count = |t: Topic| if t.by_wallet() { wallets } else { others };
            let dealt = assign(&members, count);
            for topic in topics {
                let all: Vec<_> = dealt.values().flat_map(|of| numbers(of, topic)).collect();
                prop_assert_eq!(all.len(), usize::try_from(count(topic)).unwrap());
                prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
                let shares: Vec<_> = dealt.values().map(|of| numbers(of, topic).len()).collect();
                prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
            }
            for of in dealt.values() {
                prop_assert_eq!(numbers(of, Topic::Fills), numbers(of, Topic::Targets));
            }
        }
    }
}
