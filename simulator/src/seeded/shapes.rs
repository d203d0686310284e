//! How leaders trade: the distributions measured on recorded data (`venue.md` 11), as quantiles.

use crate::dice::{Dice, PARTS, Quantiles};

/// Dollars of a trade of a followed leader, in 10^-6: a body like a lognormal one (p50 22.5, p90 583) and a
/// Pareto tail (p99 11,700, largest 284,000).
const DOLLARS: Quantiles = Quantiles(&[
    (0, 500_000),
    (5_000, 1_000_000),
    (10_000, 2_200_000),
    (20_000, 5_000_000),
    (30_000, 9_000_000),
    (40_000, 14_500_000),
    (50_000, 22_500_000),
    (60_000, 41_000_000),
    (70_000, 86_000_000),
    (80_000, 210_000_000),
    (90_000, 583_000_000),
    (95_000, 1_900_000_000),
    (98_000, 6_300_000_000),
    (99_000, 11_700_000_000),
    (99_900, 58_000_000_000),
    (PARTS, 284_000_000_000),
]);

/// The round amounts that people type, and how often in a thousand.
const ROUND_DOLLARS: [(u32, i64); 4] =
    [(30, 1_000_000), (40, 5_000_000), (40, 10_000_000), (30, 100_000_000)];

/// Between two trades of leaders, in milliseconds: p50 6 s, p90 126 s. Scaled to the rate asked for.
const GAP: Quantiles = Quantiles(&[
    (0, 0),
    (15_000, 400),
    (30_000, 2_000),
    (50_000, 6_000),
    (65_000, 17_000),
    (80_000, 52_000),
    (90_000, 126_000),
    (95_000, 260_000),
    (99_000, 800_000),
    (PARTS, 1_500_000),
]);

/// Where a market stands when it opens, in 10^-6: median 0.56, one in eleven at 0.95 or above.
const PRICE: Quantiles = Quantiles(&[
    (0, 20_000),
    (10_000, 110_000),
    (25_000, 310_000),
    (50_000, 560_000),
    (75_000, 760_000),
    (91_000, 950_000),
    (PARTS, 985_000),
]);

/// The part of a holding that a SELL takes, in thousandths.
const SOLD: Quantiles = Quantiles(&[(0, 20), (20_000, 200), (45_000, 500), (70_000, 950), (PARTS, 1_000)]);

/// The longest burst: that many trades of one wallet in one second.
pub const LONGEST_BURST: i64 = 23;

/// The dollars of one BUY, in 10^-6, and whether they are a round amount.
pub fn dollars(dice: &mut Dice) -> (i64, bool) {
    let mut draw = dice.below(1_000);
    for (permille, amount) in ROUND_DOLLARS {
        match draw.checked_sub(u64::from(permille)) {
            Some(rest) => draw = rest,
            None => return (amount, true),
        }
    }
    (DOLLARS.draw(dice), false)
}

/// The gap before a trade, in milliseconds of a market that trades at its own pace.
pub fn gap_millis(dice: &mut Dice) -> i64 {
    GAP.draw(dice)
}

/// The price of a market that opens, in 10^-6.
pub fn opening_price(dice: &mut Dice) -> i64 {
    PRICE.draw(dice)
}

/// The part of its holding that a wallet sells, in thousandths: a quarter of all sales are whole.
pub fn sold_permille(dice: &mut Dice) -> i64 {
    if dice.chance(250) { 1_000 } else { SOLD.draw(dice) }
}

/// How often each of `n` leaders trades: the first in `top` of a thousand, the others in falling parts of
/// the rest; all alike at zero.
pub fn leader_weights(n: usize, top: u32) -> Vec<u32> {
    const WHOLE: u32 = 1_000_000;
    let n32 = u32::try_from(n).unwrap_or(u32::MAX).max(1);
    if top == 0 || n < 2 {
        return vec![WHOLE / n32; n];
    }
    let rest = WHOLE / 1_000 * (1_000 - top.min(999));
    let sum: u64 = (2..=n32).map(|rank| u64::from(WHOLE / rank)).sum();
    let part = |rank: u32| u64::from(rest) * u64::from(WHOLE / rank) / sum.max(1);
    let mut weights = vec![WHOLE / 1_000 * top.min(999)];
    weights.extend((2..=n32).map(|rank| u32::try_from(part(rank)).unwrap_or(1).max(1)));
    weights
}

/// How often each of a wallet's markets is traded, the favourite first.
pub fn market_weights(n: usize) -> Vec<u32> {
    (1..=u32::try_from(n).unwrap_or(u32::MAX)).map(|rank| (1_000_000 / rank).max(1)).collect()
}
