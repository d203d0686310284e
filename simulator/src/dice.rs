//! Seeded chance in integers: the same draws for the same seed on every machine.
//!
//! Distributions are tables of quantiles with straight lines between them, so that no logarithm of a
//! floating-point unit decides what a leader trades.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// The parts into which a quantile table divides the unit.
pub const PARTS: u64 = 100_000;

/// One draw below `bound` that follows from these bytes alone, in whatever order draws are made.
pub fn draw_of(parts: &[&[u8]], bound: u32) -> u32 {
    let mut wide = [0; 8];
    wide.copy_from_slice(&schemas::keccak256(parts).as_bytes()[..8]);
    let scaled = (u128::from(u64::from_be_bytes(wide)) * u128::from(bound)) >> 64;
    u32::try_from(scaled).unwrap_or(0)
}

/// A seeded stream of draws.
#[derive(Debug, Clone)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of this seed.
    pub fn seeded(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// A number below `bound`; zero where there is none. Its bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(u64::try_from(len).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included; `low` where the range is empty.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high.saturating_sub(low).saturating_add(1)).unwrap_or(0);
        low.saturating_add(i64::try_from(self.below(span)).unwrap_or(0))
    }

    /// True in `permille` of a thousand draws.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.below(1_000) < u64::from(permille)
    }

    /// An index, each as likely as its weight; zero where all weights are.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut left = self.below(weights.iter().map(|w| u64::from(*w)).sum());
        for (i, weight) in weights.iter().enumerate() {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return i,
            }
        }
        0
    }

    /// 32 random bytes.
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        self.0.fill_bytes(&mut out);
        out
    }
}

/// A distribution as its quantiles: (part of [`PARTS`], value), both ascending, from 0 to [`PARTS`].
#[derive(Debug, Clone, Copy)]
pub struct Quantiles(pub &'static [(u64, i64)]);

impl Quantiles {
    /// One draw.
    pub fn draw(self, dice: &mut Dice) -> i64 {
        self.at(dice.below(PARTS))
    }

    /// The value below which `part` of [`PARTS`] draws lie.
    pub fn at(self, part: u64) -> i64 {
        let mut before = (0, self.0.first().map_or(0, |k| k.1));
        for &(q, value) in self.0 {
            if part < q {
                let (span, into) = (i128::from(q - before.0), i128::from(part - before.0));
                let rise = i128::from(value - before.1) * into / span;
                return before.1 + i64::try_from(rise).unwrap_or(0);
            }
            before = (q, value);
        }
        before.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_from_their_seed() {
        let run = |seed| {
            let mut dice = Dice::seeded([seed; 32]);
            (0..100).map(|_| dice.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn quantiles_lie_on_the_lines_between_their_knots() {
        let q = Quantiles(&[(0, 10), (50_000, 20), (PARTS, 1_020)]);
        assert_eq!(
            (q.at(0), q.at(25_000), q.at(50_000), q.at(75_000), q.at(PARTS)),
            (10, 15, 20, 520, 1_020)
        );
    }

    #[test]
    fn weights_decide_how_often() {
        let mut dice = Dice::seeded([3; 32]);
        let mut seen = [0; 3];
        for _ in 0..10_000 {
            seen[dice.weighted(&[7, 0, 3])] += 1;
        }
        assert_eq!(seen[1], 0);
        assert!((6_700..7_300).contains(&seen[0]), "{seen:?}");
    }
}
