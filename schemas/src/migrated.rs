//! Ids that are one token: the venue gives a market another version, and a wallet's holdings go on under its new ids
//! (`behaviour.md` 1, MIGRATION).
//!
//! A wallet's holding goes on when the venue moves it, so every wallet has ids of its own here. What was told first stands:
//! told again, or back, it changes nothing. All that is told of one wallet stands in one partition, so every reader learns
//! it in the same order.

use std::collections::BTreeMap;

use crate::{Address, AssetId};

/// Which ids of a wallet's tokens are one token, and which of them is the current one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated(BTreeMap<(Address, AssetId), AssetId>);

impl Migrated {
    /// A token goes on under another id. Gives the id under which it stood, and the one under which it stands now; `None`
    /// where that is no news.
    pub fn goes_on(&mut self, wallet: Address, from: &AssetId, to: &AssetId) -> Option<(AssetId, AssetId)> {
        let (from, to) = (self.current(wallet, from).clone(), self.current(wallet, to).clone());
        if from == to {
            return None;
        }
        for ((of, _), led) in &mut self.0 {
            if *of == wallet && *led == from {
                led.clone_from(&to);
            }
        }
        self.0.insert((wallet, from.clone()), to.clone());
        Some((from, to))
    }

    /// The id under which a token stands now: its own, where it never went on.
    pub fn current<'a>(&'a self, wallet: Address, asset: &'a AssetId) -> &'a AssetId {
        // Looked for only where there is anything to be found: a key to look with costs a copy.
        if self.0.is_empty() {
            return asset;
        }
        self.0.get(&(wallet, asset.clone())).unwrap_or(asset)
    }

    /// Every id of a token, in order; its own alone, where it never went on.
    pub fn ids(&self, wallet: Address, asset: &AssetId) -> Vec<AssetId> {
        let current = self.current(wallet, asset);
        let former = self.0.iter().filter(|((of, _), led)| *of == wallet && *led == current);
        let mut ids: Vec<AssetId> = former.map(|((_, id), _)| id.clone()).chain([current.clone()]).collect();
        ids.sort();
        ids
    }
}

/// From what was kept: ids, and under which each stands now.
impl FromIterator<((Address, AssetId), AssetId)> for Migrated {
    fn from_iter<I: IntoIterator<Item = ((Address, AssetId), AssetId)>>(kept: I) -> Self {
        Self(kept.into_iter().filter(|((_, id), current)| id != current).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WALLET: Address = Address::from_bytes([1; 20]);

    fn id(number: u8) -> AssetId {
        number.to_string().parse().unwrap()
    }

    fn told(links: &[(u8, u8)]) -> Migrated {
        let mut migrated = Migrated::default();
        for (from, to) in links {
            migrated.goes_on(WALLET, &id(*from), &id(*to));
        }
        migrated
    }

    fn currents(migrated: &Migrated) -> Vec<AssetId> {
        (1..=9).map(|n| migrated.current(WALLET, &id(n)).clone()).collect()
    }

    #[test]
    fn a_token_that_goes_on_twice_has_three_ids_and_the_last_is_the_current_one() {
        for links in [[(1, 2), (2, 3)], [(2, 3), (1, 2)]] {
            let migrated = told(&links);
            for n in 1..=3 {
                assert_eq!(migrated.current(WALLET, &id(n)), &id(3));
                assert_eq!(migrated.ids(WALLET, &id(n)), [id(1), id(2), id(3)]);
            }
            assert_eq!(migrated.ids(WALLET, &id(4)), [id(4)]);
        }
    }

    #[test]
    fn told_again_or_back_it_is_no_news_and_another_wallet_s_ids_stay_its_own() {
        let mut migrated = told(&[(1, 2)]);
        let before = migrated.clone();
        assert_eq!(migrated.goes_on(WALLET, &id(1), &id(2)), None);
        assert_eq!(migrated.goes_on(WALLET, &id(2), &id(1)), None);
        assert_eq!(migrated.goes_on(WALLET, &id(3), &id(3)), None);
        assert_eq!(migrated, before);
        let other = Address::from_bytes([2; 20]);
        assert_eq!(migrated.current(other, &id(1)), &id(1));
        assert_eq!(migrated.goes_on(other, &id(1), &id(2)), Some((id(1), id(2))));
    }

    proptest! {
        /// A token that nobody leads two ways, or in a circle: whatever is told first, and however often.
        #[test]
        fn what_leads_one_way_leads_there_in_any_order_and_however_often(
            (links, shuffled) in prop::collection::btree_map(1u8..9, 1u8..9, 0..8)
                .prop_map(|m| m.into_iter().map(|(from, by)| (from, (from + by).min(9))).collect::<Vec<_>>())
                .prop_flat_map(|links| {
                    let twice = [links.clone(), links.clone()].concat();
                    (Just(links), Just(twice).prop_shuffle())
                }),
        ) {
            let (once, shuffled) = (told(&links), told(&shuffled));
            prop_assert_eq!(currents(&once), currents(&shuffled));
            prop_assert_eq!(&once, &shuffled);
            // What is kept of it is all of it.
            let kept: Migrated = (1..=9).map(|n| ((WALLET, id(n)), once.current(WALLET, &id(n)).clone())).collect();
            prop_assert_eq!(kept, once);
        }
    }
}
