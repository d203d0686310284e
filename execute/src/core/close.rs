//! What a close sells, and at which price (`behaviour.md` 4).

use schemas::{Price, Round, Shares, Tick, money::mul_div};

/// The step of sizes, and the least that is sold: 0.01 share.
pub const LEAST_SHARES: Shares = Shares::from_micro(venue::amounts::SIZE_STEP);

/// `exit_slippage`: at least so many ticks below the sale price.
const EXIT_TICKS: i64 = 2;
/// `exit_slippage`: at least such a part of the sale price, in 10^-6, where the policy says nothing: 5 %.
const EXIT_FRACTION: i64 = 50_000;

/// The part to be sold of what is `free`, rounded down to 0.01 share. The fraction is clamped between nothing and
/// all; it is all where the leader's shares before are unknown or none.
pub fn due(free: Shares, num: i64, den: i64) -> Shares {
    let part = if den <= 0 || num >= den { Some(free) } else { free.scale(num.max(0), den, Round::Down) };
    part.and_then(|p| p.to_multiple(LEAST_SHARES.micro(), Round::Down))
        .unwrap_or(Shares::ZERO)
        .max(Shares::ZERO)
}

/// The lowest price at which a close sells at first: the leader's sale price less `exit_slippage`, rounded down to
/// the tick, inside the tradable band.
pub fn exit_limit(sale: Price, tick: Tick, slippage_fraction: Option<i64>) -> Price {
    let fraction = slippage_fraction.unwrap_or(EXIT_FRACTION).max(0);
    let part = mul_div(sale.micro(), fraction, schemas::money::ONE, Round::Up).unwrap_or(i64::MAX);
    let slippage = part.max(tick.micro().saturating_mul(EXIT_TICKS));
    tick.clamp(tick.snap(Price::from_micro(sale.micro().saturating_sub(slippage)), Round::Down))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(s: &str) -> Shares {
        s.parse().unwrap()
    }

    fn price(s: &str) -> Price {
        s.parse().unwrap()
    }

    #[test]
    fn an_amended_sale_is_sized_against_what_is_left() {
        // behaviour.md 4: of 200 sold 60, we hold 20: 6; amended to 100: 40/140 x 14 = 4.
        assert_eq!(due(shares("20"), 60, 200), shares("6"));
        assert_eq!(due(shares("14"), 40, 140), shares("4"));
    }

    #[test]
    fn a_sale_of_one_percent_does_not_close_everything() {
        assert_eq!(due(shares("50"), 1, 100), shares("0.5"));
        assert_eq!(due(shares("0.5"), 1, 100), Shares::ZERO);
    }

    #[test]
    fn an_unknown_holding_of_the_leader_closes_everything() {
        assert_eq!(due(shares("7.129"), 5, 0), shares("7.12"));
        assert_eq!(due(shares("7"), 9, 5), shares("7"));
        assert_eq!(due(shares("7"), -1, 5), Shares::ZERO);
    }

    #[test]
    fn the_exit_lies_below_the_sale_by_the_greater_of_two_ticks_and_five_percent() {
        assert_eq!(exit_limit(price("0.50"), Tick::CENT, None), price("0.47"));
        assert_eq!(exit_limit(price("0.20"), Tick::CENT, None), price("0.18"));
        assert_eq!(exit_limit(price("0.50"), Tick::CENT, Some(100_000)), price("0.45"));
        assert_eq!(exit_limit(price("0.02"), Tick::CENT, None), price("0.01"));
        assert_eq!(exit_limit(price("0.455"), Tick::from_micro(1_000).unwrap(), None), price("0.432"));
    }

    proptest! {
        #[test]
        fn a_close_never_sells_more_than_is_free(free in 0i64..1_000_000_000_000, num: i64, den: i64) {
            let due = due(Shares::from_micro(free), num, den);
            prop_assert!(due.micro() >= 0 && due.micro() <= free && due.micro() % 10_000 == 0);
        }

        #[test]
        fn an_exit_is_a_tradable_price(sale in 0i64..1_100_000, ticks in prop::sample::select(vec![100i64, 1_000, 2_500, 5_000, 10_000, 100_000]), fraction in proptest::option::of(0i64..2_000_000)) {
            let tick = Tick::from_micro(ticks).unwrap();
            let limit = exit_limit(Price::from_micro(sale), tick, fraction);
            prop_assert!(limit >= tick.lowest() && limit <= tick.highest() && limit.micro() % ticks == 0);
        }
    }
}
