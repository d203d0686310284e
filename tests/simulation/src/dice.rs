//! Seeded chance. Small, and never shared between two questions: whatever is asked has dice of its own, made from the
//! seed and from what is asked, so that leaving one thing out of a story does not change the rest of it.

/// A seeded stream of draws (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Dice {
    /// The stream of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of a question: a seed, and what is asked.
    pub fn about(seed: u64, what: &[u64]) -> Self {
        let mut dice = Self(seed ^ 0x5851_f42d_4c95_7f2d);
        for part in what {
            let drawn = dice.draw();
            dice.0 = drawn ^ part.wrapping_mul(GOLDEN);
        }
        dice.draw();
        dice
    }

    /// 64 bits.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero where there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// The same for signed numbers.
    pub fn within(&mut self, low: i64, high: i64) -> i64 {
        let span = high.saturating_sub(low).unsigned_abs() + 1;
        low.saturating_add(i64::try_from(self.below(span)).unwrap_or(0))
    }

    /// True in so many of a thousand draws.
    pub fn permille(&mut self, n: u64) -> bool {
        self.below(1_000) < n
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        &of[at]
    }
}

/// A name as a number, for [`Dice::about`].
pub fn name(text: &str) -> u64 {
    // FNV-1a.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_repeat_and_differ() {
        let draws = |mut d: Dice| (0..8).map(|_| d.below(1_000)).collect::<Vec<_>>();
        assert_eq!(draws(Dice::about(7, &[1, 2])), draws(Dice::about(7, &[1, 2])));
        assert_ne!(draws(Dice::about(7, &[1, 2])), draws(Dice::about(7, &[2, 1])));
        assert_ne!(draws(Dice::about(7, &[1, 2])), draws(Dice::about(8, &[1, 2])));
        let mut dice = Dice::new(3);
        assert!((0..1_000).map(|_| dice.between(5, 7)).all(|n| (5..=7).contains(&n)));
        let hits = (0..10_000).filter(|_| dice.permille(300)).count();
        assert!((2_700..3_300).contains(&hits), "{hits}");
    }
}
