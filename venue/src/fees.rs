//! What a taker pays: shares x rate x (p (1 - p))^exponent dollars (`venue.md` 5.6).

use schemas::{
    events::MarketFacts,
    money::{ONE, Price, Round, Shares, Tick, Usdc, mul_div},
    words::Side,
};

/// A fee has five decimals: its step, in 10^-6.
pub const FEE_STEP: i64 = 10;

/// The fee terms of a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeeTerms {
    /// The rate in 10^-6: 0.07 is 70,000. Zero: no fee.
    pub rate: i64,
    /// The exponent; 1 in all published tables.
    pub exponent: u32,
}

impl FeeTerms {
    /// No fee.
    pub const FREE: Self = Self { rate: 0, exponent: 1 };

    /// The terms that a market's facts name. A negative exponent is no exponent of the venue: it counts as
    /// zero, which is the dearest.
    pub fn of(facts: &MarketFacts) -> Self {
        Self { rate: facts.fee_rate, exponent: u32::try_from(facts.fee_exponent).unwrap_or(0) }
    }

    /// `rate x (p (1 - p))^exponent` for so many shares, rounded up at each step.
    fn upper(self, shares: Shares, price: Price) -> Option<Usdc> {
        let price = price.micro().clamp(0, ONE);
        let mut fee = mul_div(shares.micro(), self.rate.max(0), ONE, Round::Up)?;
        for _ in 0..self.exponent {
            fee = mul_div(fee, price, ONE, Round::Up)?;
            fee = mul_div(fee, ONE - price, ONE, Round::Up)?;
        }
        Usdc::from_micro(fee).to_multiple(FEE_STEP, Round::Up)
    }
}

/// The fee of a taker fill: rounded down to five decimals, and at least 0.00001 where there is a fee at all.
/// `None` past the range. At an average price of several fills it is an estimate; sum the fills instead.
pub fn taker_fee(terms: FeeTerms, shares: Shares, price: Price) -> Option<Usdc> {
    let p = i128::from(price.micro().clamp(0, ONE));
    let one = i128::from(ONE);
    if terms.rate <= 0 || !shares.is_positive() || p == 0 || p == one {
        return Some(Usdc::ZERO);
    }
    // (p (1 - p))^e in 10^-12; exact for the published exponent of 1.
    let mut factor = one * one;
    for _ in 0..terms.exponent {
        factor = factor * p * (one - p) / (one * one);
    }
    let amount = i128::from(shares.micro()).checked_mul(i128::from(terms.rate))?;
    let micro = amount.checked_mul(factor)? / (one * one * one);
    let floored = i64::try_from(micro).ok()? / FEE_STEP * FEE_STEP;
    Some(Usdc::from_micro(floored.max(FEE_STEP)))
}

/// The most that a resting or taking order of so many shares can pay in fees, rounded up: `p (1 - p)` at the
/// price nearest to one half that the limit allows. For reservations. `None` past the range.
pub fn worst_fee(terms: FeeTerms, side: Side, limit: Price, shares: Shares) -> Option<Usdc> {
    let half = Price::from_micro(ONE / 2);
    let worst = match side {
        Side::Buy => limit.min(half),
        Side::Sell => limit.max(half),
    };
    terms.upper(shares, worst)
}

/// The most that a market BUY of so many dollars can pay in fees, rounded up. It buys more shares at a better
/// price: at price `p` the fee is dollars x rate x p^(e-1) (1 - p)^e, the larger the lower the price where the
/// exponent is 1. `None` past the range.
pub fn worst_fee_of_market_buy(terms: FeeTerms, usdc: Usdc, tick: Tick) -> Option<Usdc> {
    let on_rate = mul_div(usdc.micro(), terms.rate.max(0), ONE, Round::Up)?;
    let lowest = tick.lowest().micro();
    let fee = match terms.exponent {
        0 => mul_div(on_rate, ONE, lowest, Round::Up)?,
        1 => mul_div(on_rate, ONE - lowest, ONE, Round::Up)?,
        // p^(e-1) (1 - p)^e <= p (1 - p) <= 1/4.
        _ => mul_div(on_rate, 1, 4, Round::Up)?,
    };
    Usdc::from_micro(fee).to_multiple(FEE_STEP, Round::Up)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(s: &str) -> Price {
        s.parse().unwrap()
    }

    const CRYPTO: FeeTerms = FeeTerms { rate: 70_000, exponent: 1 };

    #[test]
    fn the_fee_recorded_on_chain_is_the_fee_computed() {
        // 25 shares at 0.64 on a crypto market: 0.4032 (venue.md 5.6).
        assert_eq!(taker_fee(CRYPTO, Shares::from_units(25), price("0.64")).unwrap().to_string(), "0.4032");
    }

    #[test]
    fn a_fee_is_floored_to_five_decimals_and_never_less_than_one_of_them() {
        // 1.01 x 0.07 x 0.33 x 0.67 = 0.015632...
        let fee = taker_fee(CRYPTO, "1.01".parse().unwrap(), price("0.33")).unwrap();
        assert_eq!(fee.to_string(), "0.01563");
        assert_eq!(
            taker_fee(CRYPTO, "0.01".parse().unwrap(), price("0.001")).unwrap().to_string(),
            "0.00001"
        );
        assert_eq!(taker_fee(FeeTerms::FREE, Shares::from_units(5), price("0.5")), Some(Usdc::ZERO));
    }

    #[test]
    fn the_reservation_covers_the_dearest_price_the_limit_allows() {
        // A BUY of 100 at most 0.90 may fill at 0.50: 100 x 0.05 x 0.25 = 1.25, not 100 x 0.05 x 0.09.
        let terms = FeeTerms { rate: 50_000, exponent: 1 };
        assert_eq!(
            worst_fee(terms, Side::Buy, price("0.9"), Shares::from_units(100)).unwrap().to_string(),
            "1.25"
        );
        assert_eq!(
            worst_fee(terms, Side::Sell, price("0.1"), Shares::from_units(100)).unwrap().to_string(),
            "1.25"
        );
        assert_eq!(
            worst_fee(terms, Side::Buy, price("0.1"), Shares::from_units(100)).unwrap().to_string(),
            "0.45"
        );
        // $10 at a tick of 0.01 may buy 1,000 shares at 0.01: 10 x 0.05 x 0.99.
        assert_eq!(
            worst_fee_of_market_buy(terms, Usdc::from_units(10), Tick::CENT).unwrap().to_string(),
            "0.495"
        );
    }

    proptest! {
        #[test]
        fn no_fill_within_the_limit_costs_more_than_was_reserved(
            rate in 0i64..200_000,
            exponent in 0u32..4,
            shares in 10_000i64..1_000_000_000_000,
            limit in 1i64..999,
            fill in 1i64..999,
        ) {
            let terms = FeeTerms { rate, exponent };
            let (limit, fill) = (Price::from_micro(limit * 1_000), Price::from_micro(fill * 1_000));
            let shares = Shares::from_micro(shares);
            let side = if fill <= limit { Side::Buy } else { Side::Sell };
            let paid = taker_fee(terms, shares, fill).unwrap();
            prop_assert!(paid <= worst_fee(terms, side, limit, shares).unwrap());
        }

        #[test]
        fn no_market_buy_costs_more_than_was_reserved(
            rate in 1i64..200_000,
            exponent in 0u32..4,
            cents in 100i64..100_000_000,
            fill in 1i64..100,
        ) {
            let terms = FeeTerms { rate, exponent };
            let (usdc, fill) = (Usdc::from_micro(cents * 10_000), Price::from_micro(fill * 10_000));
            prop_assume!(fill.micro() < ONE);
            let shares = fill.shares_for(usdc, Round::Down).unwrap();
            let paid = taker_fee(terms, shares, fill).unwrap();
            prop_assert!(paid <= worst_fee_of_market_buy(terms, usdc, Tick::CENT).unwrap());
        }
    }
}
