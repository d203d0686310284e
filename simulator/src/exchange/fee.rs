//! The taker's fee, in each rounding that the recorded facts allow (`venue.md` 5.6 and 10).

use schemas::{Price, Shares, Usdc, money::ONE};
use serde::{Deserialize, Serialize};
use venue::fees::{FEE_STEP, FeeTerms, taker_fee};

/// How a fee comes to its five decimals. In each of them a fee that is not zero is at least 0.00001.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeeRounding {
    /// Downwards, as recorded fills look.
    #[default]
    Down,
    /// To the nearest, halves upwards.
    Nearest,
    /// Upwards.
    Up,
}

/// The fee of a taker fill. Exact for the published exponent of 1.
pub fn fee_of(rounding: FeeRounding, terms: FeeTerms, shares: Shares, price: Price) -> Option<Usdc> {
    let floored = taker_fee(terms, shares, price)?;
    if floored == Usdc::ZERO || rounding == FeeRounding::Down {
        return Some(floored);
    }
    let (one, p) = (i128::from(ONE), i128::from(price.micro()));
    let exact = i128::from(shares.micro()) * i128::from(terms.rate) * p * (one - p);
    let step = i128::from(FEE_STEP) * one * one * one;
    let extra = if rounding == FeeRounding::Up { step - 1 } else { step / 2 };
    let steps = i64::try_from((exact + extra) / step).ok()?;
    Some(Usdc::from_micro(steps.max(1) * FEE_STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fee_between_two_steps_goes_where_it_is_told() {
        // 1.01 x 0.07 x 0.33 x 0.67 = 0.0156317...
        let terms = FeeTerms { rate: 70_000, exponent: 1 };
        let fee = |rounding, shares: &str, price: &str| {
            fee_of(rounding, terms, shares.parse().unwrap(), price.parse().unwrap()).unwrap().to_string()
        };
        assert_eq!(fee(FeeRounding::Down, "1.01", "0.33"), "0.01563");
        assert_eq!(fee(FeeRounding::Nearest, "1.01", "0.33"), "0.01563");
        assert_eq!(fee(FeeRounding::Up, "1.01", "0.33"), "0.01564");
        // 1.02 x 0.07 x 0.33 x 0.67 = 0.0157865...
        assert_eq!(fee(FeeRounding::Down, "1.02", "0.33"), "0.01578");
        assert_eq!(fee(FeeRounding::Nearest, "1.02", "0.33"), "0.01579");
        // 25 x 0.07 x 0.64 x 0.36 = 0.4032 in all of them.
        for rounding in [FeeRounding::Down, FeeRounding::Nearest, FeeRounding::Up] {
            assert_eq!(fee(rounding, "25", "0.64"), "0.4032");
            assert_eq!(fee(rounding, "0.01", "0.001"), "0.00001");
        }
    }
}
