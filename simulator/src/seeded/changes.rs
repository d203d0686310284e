//! What leaders do without a trade: collateral becomes both outcomes of a market, and both become collateral again.

use schemas::{Shares, Timestamp, TxHash, Usdc, money::ONE};
use venue::wire::ActivityKind;

use super::{Leaders, SMALLEST};
use crate::print::{Activity, What};

/// The smallest and the largest split, in whole dollars.
const SPLIT: (i64, i64) = (5, 200);
/// Of what can be merged, all of it goes so often, in thousandths; else a half.
const ALL: u32 = 600;

impl Leaders {
    /// Now and then the wallet that just traded splits or merges, in the same second and after its trade.
    pub(super) fn maybe_change(&mut self, wallet: usize, at: Timestamp) {
        let permille = self.plan.change_permille;
        // Not a single draw where it is off: such a seed is what it was.
        if permille == 0 || !self.dice.chance(permille) {
            return;
        }
        let place = self.dice.index(self.slots.len());
        let mergeable = (0..self.slots.len()).map(|n| (place + n) % self.slots.len()).find_map(|place| {
            let slot = &self.slots[place];
            let least = slot.tokens.iter().map(|t| self.holdings[wallet].get(t).copied().unwrap_or(0)).min();
            least.filter(|n| *n >= 2 * SMALLEST).map(|n| (place, n))
        });
        match mergeable {
            Some((place, most)) if self.dice.chance(500) => {
                let whole = self.dice.chance(ALL);
                let size = if whole { most } else { most / 2 / SMALLEST * SMALLEST };
                self.change(wallet, place, ActivityKind::Merge, size, at);
            }
            _ => {
                let size = self.dice.between(SPLIT.0, SPLIT.1) * ONE;
                self.change(wallet, place, ActivityKind::Split, size, at);
            }
        }
    }

    fn change(&mut self, wallet: usize, place: usize, kind: ActivityKind, size: i64, at: Timestamp) {
        let (market, tokens) = (self.slots[place].market, self.slots[place].tokens);
        let moved = if kind == ActivityKind::Split { size } else { -size };
        for token in tokens {
            let held = self.holdings[wallet].entry(token).or_default();
            *held += moved;
            if *held <= 0 {
                self.holdings[wallet].remove(&token);
            }
        }
        let activity = Activity {
            second: at.secs(),
            wallet: self.wallets[wallet],
            kind,
            market: Some(market),
            size: Shares::from_micro(size),
            usdc: Usdc::from_micro(size),
            tx: TxHash::from_bytes(self.dice.bytes32()),
        };
        self.push(at, What::Activity(activity));
    }
}
