//! The price of an exit: it begins a little below the sale price, and widens by the same step every 30 seconds.

use std::time::Duration;

use schemas::{Price, Round, Tick, Timestamp, money::mul_div};

use super::STEP;

/// `exit_slippage`: at least so many ticks below the sale price.
const EXIT_TICKS: i64 = 2;
/// `exit_slippage`: at least such a part of the sale price, in 10^-6, where the policy says nothing: 5 %.
const EXIT_FRACTION: i64 = 50_000;
/// `exit_floor`, where the policy says nothing: 70 % of the sale price, in 10^-6.
const FLOOR_FRACTION: i64 = 700_000;

/// What an exit's prices follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// The sale price.
    pub sale: Price,
    /// The market's tick.
    pub tick: Tick,
    /// `exit_slippage`, as a part of the sale price in 10^-6.
    pub slippage: Option<i64>,
    /// `exit_floor`, as a part of the sale price in 10^-6.
    pub floor: Option<i64>,
}

/// A price of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// The lowest price at which is sold.
    pub limit: Price,
    /// Whether it does not go lower than this.
    pub is_lowest: bool,
}

impl Ladder {
    /// How far one step goes: the greater of two ticks and `exit_slippage`.
    fn step(&self) -> i64 {
        let fraction = self.slippage.unwrap_or(EXIT_FRACTION).max(0);
        let part = mul_div(self.sale.micro(), fraction, schemas::money::ONE, Round::Up).unwrap_or(i64::MAX);
        part.max(self.tick.micro().saturating_mul(EXIT_TICKS))
    }

    /// So many steps below the sale price, on the tick, inside the tradable band.
    fn at(&self, steps: i64) -> Price {
        let below = self.sale.micro().saturating_sub(self.step().saturating_mul(steps));
        self.tick.clamp(self.tick.snap(Price::from_micro(below), Round::Down))
    }

    /// Where it ends: `exit_floor`, and never above the first exit, which `exit_slippage` alone sets.
    fn lowest(&self) -> Price {
        let fraction = self.floor.unwrap_or(FLOOR_FRACTION).max(0);
        let floor = mul_div(self.sale.micro(), fraction, schemas::money::ONE, Round::Up).unwrap_or(i64::MAX);
        self.tick.clamp(self.tick.snap(Price::from_micro(floor), Round::Up)).min(self.at(1))
    }

    /// The limit so long after the first attempt.
    pub fn after(&self, waited: Duration) -> Rung {
        let steps = i64::try_from(waited.as_secs() / STEP.as_secs()).unwrap_or(i64::MAX);
        let lowest = self.lowest();
        let limit = self.at(steps.saturating_add(1)).max(lowest);
        Rung { limit, is_lowest: limit == lowest }
    }
}

/// When the step after the one at `now` begins, counted from the first attempt.
pub fn next_step(from: Timestamp, now: Timestamp) -> Timestamp {
    let steps = u32::try_from(now.since(from).as_secs() / STEP.as_secs()).unwrap_or(u32::MAX);
    from.plus(STEP.saturating_mul(steps.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(s: &str) -> Price {
        s.parse().unwrap()
    }

    fn ladder(sale: &str) -> Ladder {
        Ladder { sale: price(sale), tick: Tick::CENT, slippage: None, floor: None }
    }

    fn limits(ladder: Ladder) -> Vec<String> {
        let mut limits = Vec::new();
        for step in 0..40 {
            let rung = ladder.after(STEP * step);
            limits.push(rung.limit.to_string());
            if rung.is_lowest {
                break;
            }
        }
        limits
    }

    #[test]
    fn the_exit_lies_below_the_sale_by_the_greater_of_two_ticks_and_five_percent() {
        let first = |l: Ladder| l.after(Duration::ZERO).limit;
        assert_eq!(first(ladder("0.50")), price("0.47"));
        assert_eq!(first(ladder("0.20")), price("0.18"));
        assert_eq!(first(Ladder { slippage: Some(100_000), ..ladder("0.50") }), price("0.45"));
        assert_eq!(first(ladder("0.02")), price("0.01"));
        let fine = Tick::from_micro(1_000).unwrap();
        assert_eq!(first(Ladder { tick: fine, ..ladder("0.455") }), price("0.432"));
    }

    #[test]
    fn it_widens_by_the_same_step_down_to_seventy_percent() {
        assert_eq!(limits(ladder("0.80")), ["0.76", "0.72", "0.68", "0.64", "0.6", "0.56"]);
        // 0.025 a step, on the tick; the floor is 0.35.
        assert_eq!(limits(ladder("0.50")), ["0.47", "0.45", "0.42", "0.4", "0.37", "0.35"]);
        assert_eq!(limits(Ladder { floor: Some(900_000), ..ladder("0.50") }), ["0.47", "0.45"]);
        let second = ladder("0.80").after(Duration::from_millis(29_999)).limit;
        assert_eq!(second, price("0.76"), "a step lasts 30 seconds");
    }

    #[test]
    fn a_floor_above_the_first_exit_does_not_lift_it() {
        // Two ticks of 0.02 are all of it: the first exit is the lowest price that there is.
        assert_eq!(limits(ladder("0.02")), ["0.01"]);
        assert_eq!(limits(Ladder { floor: Some(1_000_000), ..ladder("0.50") }), ["0.47"]);
    }

    #[test]
    fn steps_are_counted_from_the_first_attempt() {
        let (from, s) = (Timestamp::from_secs(1_000), Duration::from_secs);
        assert_eq!(next_step(from, from), from.plus(s(30)));
        assert_eq!(next_step(from, from.plus(s(29))), from.plus(s(30)));
        assert_eq!(next_step(from, from.plus(s(30))), from.plus(s(60)));
        assert_eq!(next_step(from, from.plus(s(100))), from.plus(s(120)));
    }

    proptest! {
        #[test]
        fn an_exit_is_a_tradable_price_and_never_rises(
            sale in 0i64..1_100_000,
            ticks in prop::sample::select(vec![100i64, 1_000, 2_500, 5_000, 10_000, 100_000]),
            slippage in proptest::option::of(0i64..2_000_000),
            floor in proptest::option::of(0i64..2_000_000),
            secs in 0u64..10_000,
        ) {
            let tick = Tick::from_micro(ticks).unwrap();
            let ladder = Ladder { sale: Price::from_micro(sale), tick, slippage, floor };
            let now = ladder.after(Duration::from_secs(secs));
            let later = ladder.after(Duration::from_secs(secs + 30));
            prop_assert!(now.limit >= tick.lowest() && now.limit <= tick.highest() && now.limit.micro() % ticks == 0);
            prop_assert!(later.limit <= now.limit && (!now.is_lowest || later.limit == now.limit));
        }

        #[test]
        fn every_ladder_ends(sale in 10_000i64..1_000_000, fraction in proptest::option::of(0i64..1_000_000)) {
            let ladder = Ladder { sale: Price::from_micro(sale), tick: Tick::CENT, slippage: fraction, floor: None };
            prop_assert!(ladder.after(STEP * 60).is_lowest);
        }
    }
}
