//! Money, shares and prices as integers of 10^-6, with checked arithmetic.
//!
//! Nothing here is a floating-point number: literals are parsed digit by digit, and each place that
//! rounds says which way (`design.md`, Numbers).

use std::{fmt, iter::Sum, str::FromStr};

use serde::{Deserialize, Serialize};

/// One whole unit (a dollar, a share, a price of 1) in the integers used here.
pub const ONE: i64 = 1_000_000;

/// Which way a result that does not fit the last place goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Towards minus infinity: for sizes, and for what we receive.
    Down,
    /// Towards plus infinity: for what we pay, and for reservations.
    Up,
    /// To the nearest, halves away from zero: for recorded figures only.
    Nearest,
}

/// `a * b / c` in 128 bits, rounded as named. `None` where `c` is zero or the result leaves 64 bits.
pub fn mul_div(a: i64, b: i64, c: i64, round: Round) -> Option<i64> {
    if c == 0 {
        return None;
    }
    let (mut num, mut den) = (i128::from(a) * i128::from(b), i128::from(c));
    if den < 0 {
        (num, den) = (-num, -den);
    }
    let q = match round {
        Round::Down => num.div_euclid(den),
        Round::Up => -((-num).div_euclid(den)),
        Round::Nearest => {
            let half = (num.abs() * 2 + den).div_euclid(den * 2);
            if num < 0 { -half } else { half }
        }
    };
    i64::try_from(q).ok()
}

/// Why a decimal literal is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{literal}` is not a decimal amount: {why}")]
pub struct AmountError {
    /// What was given.
    pub literal: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Parses a decimal literal (sign, digits, point, exponent) into 10^-6 units, rounding as named.
///
/// The digits are read as they stand, so `0.3996666666666667` keeps what the venue wrote and never
/// passes through a binary fraction (`venue.md` 1.2).
///
/// # Errors
/// Text that is not a decimal number, or one outside the 64-bit range.
pub fn parse_micro(literal: &str, round: Round) -> Result<i64, AmountError> {
    let err = |why| AmountError { literal: literal.chars().take(60).collect(), why };
    let (negative, rest) = match literal.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, literal),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().map_err(|_| err("the exponent is not a number"))?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(err("it has no digits"));
    }
    if exponent.abs() > 40 || whole.len() + fraction.len() > 80 {
        return Err(err("it has too many digits"));
    }
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(err("only digits, one point and an exponent are allowed"));
    }
    // The point stands behind this many digits once everything is counted in 10^-6.
    let point = i64::try_from(whole.len()).unwrap_or(i64::MAX) + i64::from(exponent) + 6;
    let mut value: i128 = 0;
    let (mut dropped_any, mut first_dropped) = (false, 0u8);
    let mut index = 0i64;
    for digit in whole.bytes().chain(fraction.bytes()).map(|b| b - b'0') {
        if index < point {
            value = value * 10 + i128::from(digit);
            if value > i128::from(i64::MAX) {
                return Err(err("it is too large"));
            }
        } else {
            if index == point {
                first_dropped = digit;
            }
            dropped_any |= digit != 0;
        }
        index += 1;
    }
    while index < point {
        value *= 10;
        if value > i128::from(i64::MAX) {
            return Err(err("it is too large"));
        }
        index += 1;
    }
    let away = match round {
        Round::Down => negative && dropped_any,
        Round::Up => !negative && dropped_any,
        // With the point in front of every digit, the first digit is not the first dropped place.
        Round::Nearest => point >= 0 && first_dropped >= 5,
    };
    let value = value + i128::from(away);
    i64::try_from(if negative { -value } else { value }).map_err(|_| err("it is too large"))
}

fn write_micro(value: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let sign = if value < 0 { "-" } else { "" };
    let (whole, fraction) = (value.unsigned_abs() / 1_000_000, value.unsigned_abs() % 1_000_000);
    if fraction == 0 {
        return f.pad(&format!("{sign}{whole}"));
    }
    let digits = format!("{fraction:06}");
    f.pad(&format!("{sign}{whole}.{}", digits.trim_end_matches('0')))
}

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);

            /// From an integer of 10^-6.
            pub const fn from_micro(value: i64) -> Self {
                Self(value)
            }

            /// From whole units. Saturates at the ends of the range.
            pub const fn from_units(value: i64) -> Self {
                Self(value.saturating_mul(ONE))
            }

            /// The integer of 10^-6.
            pub const fn micro(self) -> i64 {
                self.0
            }

            /// The sum, or `None` past the range.
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }

            /// The difference, or `None` past the range.
            pub const fn checked_sub(self, other: Self) -> Option<Self> {
                match self.0.checked_sub(other.0) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }

            /// The sum, held at the end of the range: for totals whose bound is checked elsewhere.
            pub const fn saturating_add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// The difference, never below zero.
            pub const fn minus_or_zero(self, other: Self) -> Self {
                let v = self.0.saturating_sub(other.0);
                Self(if v < 0 { 0 } else { v })
            }

            /// `self * num / den`, rounded as named; `None` for a zero `den` or past the range.
            pub fn scale(self, num: i64, den: i64, round: Round) -> Option<Self> {
                mul_div(self.0, num, den, round).map(Self)
            }

            /// Rounded to whole multiples of `step` (of 10^-6); `None` for a step below one.
            pub fn to_multiple(self, step: i64, round: Round) -> Option<Self> {
                if step < 1 {
                    return None;
                }
                mul_div(self.0, 1, step, round)?.checked_mul(step).map(Self)
            }

            /// Parses a decimal literal, rounding what lies past 10^-6 as named.
            pub fn parse(literal: &str, round: Round) -> Result<Self, AmountError> {
                parse_micro(literal, round).map(Self)
            }

            /// Whether this is more than nothing.
            pub const fn is_positive(self) -> bool {
                self.0 > 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_micro(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = AmountError;

            /// Nearest at 10^-6.
            fn from_str(s: &str) -> Result<Self, AmountError> {
                Self::parse(s, Round::Nearest)
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                iter.fold(Self::ZERO, Self::saturating_add)
            }
        }
    };
}

amount! {
    /// US dollars of the venue's collateral, in 10^-6.
    Usdc
}
amount! {
    /// Outcome shares, in 10^-6.
    Shares
}
amount! {
    /// Dollars for one share, in 10^-6: between 0 and 1 for anything tradable.
    Price
}

impl Price {
    /// What `shares` cost at this price; `None` past the range.
    pub fn cost(self, shares: Shares, round: Round) -> Option<Usdc> {
        mul_div(self.0, shares.0, ONE, round).map(Usdc)
    }

    /// How many shares `usdc` buys at this price; `None` at price zero or past the range.
    pub fn shares_for(self, usdc: Usdc, round: Round) -> Option<Shares> {
        mul_div(usdc.0, ONE, self.0, round).map(Shares)
    }

    /// The price that `usdc` for `shares` amounts to; `None` for no shares.
    pub fn of(usdc: Usdc, shares: Shares, round: Round) -> Option<Self> {
        mul_div(usdc.0, ONE, shares.0, round).map(Self)
    }

    /// `1 - self`: the price of the other side.
    pub const fn complement(self) -> Self {
        Self(ONE - self.0)
    }
}

/// The smallest step of a market's prices, in 10^-6 dollars.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Tick(i64);

impl Tick {
    /// One cent: the commonest tick.
    pub const CENT: Self = Self(10_000);

    /// From 10^-6 dollars.
    ///
    /// # Errors
    /// Below 10^-4, above 0.5 or not dividing one: no such tick exists (`venue.md` 2).
    pub fn from_micro(value: i64) -> Result<Self, AmountError> {
        if (100..=500_000).contains(&value) && ONE % value == 0 {
            return Ok(Self(value));
        }
        Err(AmountError { literal: value.to_string(), why: "a tick divides 1 and lies in 0.0001 to 0.5" })
    }

    /// The step in 10^-6 dollars.
    pub const fn micro(self) -> i64 {
        self.0
    }

    /// The lowest price at which the venue takes an order.
    pub const fn lowest(self) -> Price {
        Price(self.0)
    }

    /// The highest price at which the venue takes an order.
    pub const fn highest(self) -> Price {
        Price(ONE - self.0)
    }

    /// The nearest price on this tick in the direction named.
    pub fn snap(self, price: Price, round: Round) -> Price {
        Price(mul_div(price.0, 1, self.0, round).map_or(price.0, |ticks| ticks.saturating_mul(self.0)))
    }

    /// The price held between the lowest and the highest.
    pub fn clamp(self, price: Price) -> Price {
        price.max(self.lowest()).min(self.highest())
    }
}

impl TryFrom<i64> for Tick {
    type Error = AmountError;
    fn try_from(value: i64) -> Result<Self, AmountError> {
        Self::from_micro(value)
    }
}

impl From<Tick> for i64 {
    fn from(tick: Tick) -> Self {
        tick.0
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_micro(self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(s: &str) -> i64 {
        parse_micro(s, Round::Nearest).unwrap()
    }

    #[test]
    fn literals_are_read_digit_by_digit() {
        assert_eq!(p("0.3996666666666667"), 399_667);
        assert_eq!(p("5"), 5_000_000);
        assert_eq!(p("-0.25"), -250_000);
        assert_eq!(p("1e-05"), 10);
        assert_eq!(p("1.5E3"), 1_500_000_000);
        assert_eq!(p("4e-7"), 0);
        assert_eq!(p("5e-7"), 1);
        assert_eq!(p("5e-8"), 0);
        assert_eq!(p(".5"), 500_000);
        assert_eq!(parse_micro("0.0000009", Round::Down), Ok(0));
        assert_eq!(parse_micro("0.0000001", Round::Up), Ok(1));
        assert_eq!(parse_micro("-0.0000001", Round::Down), Ok(-1));
    }

    #[test]
    fn text_that_is_no_number_is_refused() {
        for bad in ["", ".", "-", "1.2.3", "0x10", "NaN", "1e", "1e999", "99999999999999999999", "+1", "１"]
        {
            assert!(parse_micro(bad, Round::Nearest).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_print_as_they_are_read() {
        for s in ["0", "1", "-1.5", "0.000001", "123456.789"] {
            assert_eq!(Usdc::from_str(s).unwrap().to_string(), s);
        }
    }

    #[test]
    fn rounding_goes_the_way_it_is_named() {
        assert_eq!(mul_div(7, 1, 2, Round::Down), Some(3));
        assert_eq!(mul_div(7, 1, 2, Round::Up), Some(4));
        assert_eq!(mul_div(7, 1, 2, Round::Nearest), Some(4));
        assert_eq!(mul_div(-7, 1, 2, Round::Down), Some(-4));
        assert_eq!(mul_div(-7, 1, 2, Round::Up), Some(-3));
        assert_eq!(mul_div(-7, 1, 2, Round::Nearest), Some(-4));
        assert_eq!(mul_div(1, 1, 0, Round::Down), None);
        assert_eq!(mul_div(i64::MAX, i64::MAX, 1, Round::Down), None);
    }

    #[test]
    fn ticks_snap_and_clamp() {
        let cent = Tick::CENT;
        assert_eq!(cent.snap(Price::from_micro(401_000), Round::Up), Price::from_micro(410_000));
        assert_eq!(cent.snap(Price::from_micro(401_000), Round::Down), Price::from_micro(400_000));
        assert_eq!(cent.clamp(Price::from_micro(1_200_000)), Price::from_micro(990_000));
        assert!(Tick::from_micro(7).is_err());
        assert!(Tick::from_micro(2_500).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn display_and_parse_are_inverse(v in -1_000_000_000_000_000i64..1_000_000_000_000_000) {
            let amount = Usdc::from_micro(v);
            proptest::prop_assert_eq!(amount.to_string().parse::<Usdc>().unwrap(), amount);
        }

        #[test]
        fn dollars_for_shares_never_cost_more_than_given(usdc in 1i64..1_000_000_000_000, price in 1i64..1_000_000) {
            let (usdc, price) = (Usdc::from_micro(usdc), Price::from_micro(price));
            let shares = price.shares_for(usdc, Round::Down).unwrap();
            proptest::prop_assert!(price.cost(shares, Round::Up).unwrap() <= usdc);
        }
    }
}
