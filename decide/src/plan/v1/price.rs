//! Limits and fees.

use schemas::{
    Price, Round, Tick,
    events::Policy,
    money::{ONE, mul_div},
};

use crate::plan::settings::Settings;

/// The limit of a BUY: the leader's price rounded up to the tick, plus the slippage in whole ticks (at least
/// one), at most `1 - tick` (`behaviour.md` 2).
pub fn buy_limit(leader: Price, tick: Tick, policy: &Policy) -> Price {
    limit(leader, tick, &Settings::of(policy))
}

/// See [`buy_limit`].
pub(super) fn limit(leader: Price, tick: Tick, s: &Settings) -> Price {
    let by_fraction = mul_div(leader.micro(), s.slippage_fraction, ONE, Round::Down)
        .map_or(0, |slippage| slippage.div_euclid(tick.micro()));
    let ticks = s.slippage_ticks.max(by_fraction).max(1);
    let start = tick.snap(leader, Round::Up);
    tick.clamp(start.saturating_add(Price::from_micro(ticks.saturating_mul(tick.micro()))))
}

/// Whether the taker fee at a price is more than that part (10^-6) of the notional:
/// rate x (p (1 - p))^exponent / p (`venue.md` 5.6). Exact but for exponents above one, where each further
/// factor is rounded up to 10^-12. `None` for figures out of range.
pub(super) fn fee_above(price: Price, rate: i64, exponent: i32, part: i64) -> Option<bool> {
    const SCALE: i128 = 1_000_000_000_000;
    let p = i128::from(price.micro());
    let one = i128::from(ONE);
    // In 10^-12: the fee of one share.
    let mut fee = i128::from(rate.max(0)) * one;
    for _ in 0..u32::try_from(exponent).unwrap_or(0).min(64) {
        let product = fee.checked_mul(p)?.checked_mul(one - p)?;
        fee = -((-product).div_euclid(SCALE));
    }
    // fee / p > part, without dividing: 10^-12 on both sides.
    Some(fee > i128::from(part).checked_mul(p)?)
}

#[cfg(test)]
mod tests {
    use schemas::Sizing;

    use super::*;
    use crate::plan::settings::defaults;

    fn p(s: &str) -> Price {
        s.parse().unwrap()
    }

    #[test]
    fn a_buy_s_limit_is_the_leader_s_price_and_a_little_more() {
        let policy = defaults(Sizing::MinBet);
        let cent = Tick::CENT;
        for (leader, limit) in [
            // 2 % of these is below a tick: one tick.
            ("0.40", "0.41"),
            ("0.41", "0.42"),
            ("0.42", "0.43"),
            // An average off the tick is rounded up first.
            ("0.413333", "0.43"),
            // 2 % of 0.99 is one tick, and the top is 0.99.
            ("0.99", "0.99"),
            ("0.01", "0.02"),
        ] {
            assert_eq!(buy_limit(p(leader), cent, &policy), p(limit), "{leader}");
        }
        let fine = Tick::from_micro(1_000).unwrap();
        // 2 % of 0.5 are ten ticks; of 0.599 eleven, rounded down.
        assert_eq!(buy_limit(p("0.5"), fine, &policy), p("0.51"));
        assert_eq!(buy_limit(p("0.599"), fine, &policy), p("0.61"));
        let mut tight = policy;
        tight.max_slippage_ticks = Some(1);
        assert_eq!(buy_limit(p("0.5"), fine, &tight), p("0.501"));
        tight.max_slippage_ticks = Some(0);
        assert_eq!(buy_limit(p("0.5"), fine, &tight), p("0.501"), "at least one tick");
    }

    #[test]
    fn the_fee_s_part_of_the_notional_is_exact() {
        // rate (1 - p): 0.07 x 0.72 = 0.0504 > 0.05; 0.07 x 0.71 = 0.0497.
        assert_eq!(fee_above(p("0.28"), 70_000, 1, 50_000), Some(true));
        assert_eq!(fee_above(p("0.29"), 70_000, 1, 50_000), Some(false));
        // Exactly at the bound is not above: 0.1 x 0.5 = 0.05.
        assert_eq!(fee_above(p("0.5"), 100_000, 1, 50_000), Some(false));
        // Exponent 2: 0.07 x 0.28 x 0.72^2 = 0.01016.
        assert_eq!(fee_above(p("0.28"), 70_000, 2, 10_000), Some(true));
        assert_eq!(fee_above(p("0.28"), 70_000, 2, 10_200), Some(false));
        assert_eq!(fee_above(p("0.5"), 0, 1, 0), Some(false));
    }
}
