//! A map that can take back what was done to it since the last commit: how a batch is staged without
//! cloning the state.

use std::{
    collections::BTreeMap,
    ops::{Bound, RangeBounds},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A sorted map with a journal of what each touched entry was before.
#[derive(Debug, Clone)]
pub struct Tracked<K, V> {
    map: BTreeMap<K, V>,
    /// Oldest first.
    journal: Vec<(K, Option<V>)>,
    /// Where in the journal each further batch begins that is staged upon one that is not kept yet.
    further: Vec<usize>,
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { map: BTreeMap::new(), journal: Vec::new(), further: Vec::new() }
    }
}

/// Equal when they hold the same; what could be taken back is not compared.
impl<K: PartialEq, V: PartialEq> PartialEq for Tracked<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl<K: Ord + Clone, V: Clone> Tracked<K, V> {
    /// The entry, if there is one.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    /// Whether there is an entry.
    pub fn contains(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }

    /// Sets an entry.
    pub fn set(&mut self, key: K, value: V) {
        let before = self.map.insert(key.clone(), value);
        self.journal.push((key, before));
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (key, value) = self.map.remove_entry(key)?;
        self.journal.push((key, Some(value.clone())));
        Some(value)
    }

    /// The entries within bounds, in order.
    pub fn range(&self, bounds: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        self.map.range(bounds)
    }

    /// The entries from a key on, in order.
    pub fn from(&self, key: K) -> impl Iterator<Item = (&K, &V)> {
        self.map.range((Bound::Included(key), Bound::Unbounded))
    }

    /// Every entry, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter()
    }

    /// The first entry.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.map.first_key_value()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// What is done from here on is of another batch, upon one that is not kept yet.
    pub fn stage_another(&mut self) {
        self.further.push(self.journal.len());
    }

    /// What the oldest batch did stays.
    pub fn keep(&mut self) {
        if self.further.is_empty() {
            self.journal.clear();
            return;
        }
        let ends = self.further.remove(0);
        self.journal.drain(..ends);
        self.further.iter_mut().for_each(|begins| *begins -= ends);
    }

    /// Takes back what was done and not kept, by all batches.
    pub fn undo(&mut self) {
        while self.undo_last().is_some() {}
    }

    /// Takes back the last thing that was done and not kept: of which entry, what it was, and what it is again.
    pub fn undo_last(&mut self) -> Option<(K, Option<V>, Option<V>)> {
        self.further.clear();
        let (key, before) = self.journal.pop()?;
        let done = match before.clone() {
            Some(value) => self.map.insert(key.clone(), value),
            None => self.map.remove(&key),
        };
        Some((key, done, before))
    }
}

// As a list of pairs: keys are no strings, and JSON takes only those.
impl<K: Serialize, V: Serialize> Serialize for Tracked<K, V> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(&self.map)
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for Tracked<K, V> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(K, V)>::deserialize(d)?;
        Ok(Self { map: pairs.into_iter().collect(), ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_undone_was_never_done(
            before in proptest::collection::btree_map(0u8..20, 0u32..9, 0..20),
            steps in proptest::collection::vec((0u8..20, proptest::option::of(0u32..9)), 0..40),
        ) {
            let mut map = Tracked::default();
            for (k, v) in &before {
                map.set(*k, *v);
            }
            map.keep();
            for (k, v) in &steps {
                match v {
                    Some(v) => map.set(*k, *v),
                    None => { map.remove(k); }
                }
            }
            map.undo();
            prop_assert_eq!(map.iter().map(|(k, v)| (*k, *v)).collect::<BTreeMap<_, _>>(), before);
        }
    }

    proptest! {
        #[test]
        fn a_batch_upon_another_is_undone_alone_once_that_one_is_kept(
            batches in proptest::collection::vec(
                proptest::collection::vec((0u8..9, proptest::option::of(0u32..9)), 0..10),
                1..5,
            ),
            kept in 0usize..5,
        ) {
            let kept = kept.min(batches.len());
            let (mut map, mut expected) = (Tracked::default(), BTreeMap::new());
            for (n, steps) in batches.iter().enumerate() {
                if n > 0 {
                    map.stage_another();
                }
                for (k, v) in steps {
                    match v {
                        Some(v) => map.set(*k, *v),
                        None => { map.remove(k); }
                    }
                }
            }
            for (k, v) in batches.iter().take(kept).flatten() {
                match v {
                    Some(v) => { expected.insert(*k, *v); }
                    None => { expected.remove(k); }
                }
            }
            for _ in 0..kept {
                map.keep();
            }
            map.undo();
            prop_assert_eq!(map.iter().map(|(k, v)| (*k, *v)).collect::<BTreeMap<_, _>>(), expected);
            // And the next batch is the only one.
            map.set(100, 1);
            map.keep();
            map.undo();
            prop_assert!(map.contains(&100));
        }
    }

    #[test]
    fn what_is_kept_stays() {
        let mut map = Tracked::default();
        map.set(1, "a");
        map.keep();
        map.undo();
        assert_eq!(map.get(&1), Some(&"a"));
        let text = serde_json::to_string(&map).unwrap();
        assert_eq!(serde_json::from_str::<Tracked<i32, &str>>(&text).unwrap(), map);
    }
}
