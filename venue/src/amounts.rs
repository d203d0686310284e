//! What an order gives and wants, in the venue's roundings (`venue.md` 5.3).
//!
//! Sizes have two decimals, prices the decimals of the tick, amounts two more than prices. All of it is integer
//! arithmetic; the direction of each rounding is the official clients'.

use schemas::{
    money::{ONE, Price, Round, Shares, Tick, Usdc, mul_div},
    words::Side,
};

/// A hundredth of a share or of a dollar, in 10^-6: the step of every size.
pub const SIZE_STEP: i64 = 10_000;

/// The two amounts of an order, in 10^-6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    /// What the maker gives at most: dollars for a BUY, shares for a SELL.
    pub maker: i64,
    /// What the maker wants at least.
    pub taker: i64,
}

/// Why a size and a price make no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountsError {
    /// The tick has more decimals than the venue's amounts.
    #[error("tick_unsupported: the venue has no rounding for a tick of {0}; the market's data are wrong")]
    TickUnsupported(Tick),
    /// The price rounds to nothing, or to one and more.
    #[error("price_out_of_range: a price of {price} is outside {lowest} to {highest} on this market's tick")]
    PriceOutOfRange {
        /// The price.
        price: Price,
        /// The lowest price.
        lowest: Price,
        /// The highest price.
        highest: Price,
    },
    /// Nothing is left after rounding, or it is too much to count.
    #[error("size_out_of_range: the size rounds to nothing, or is too large to be counted")]
    SizeOutOfRange,
}

impl AmountsError {
    /// The error's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TickUnsupported(_) => "tick_unsupported",
            Self::PriceOutOfRange { .. } => "price_out_of_range",
            Self::SizeOutOfRange => "size_out_of_range",
        }
    }
}

/// The decimals of a tick: 2 for 0.01, 4 for 0.0025.
fn decimals(tick: Tick) -> Result<u32, AmountsError> {
    let (mut rest, mut places) = (tick.micro(), 6);
    while rest % 10 == 0 && places > 0 {
        (rest, places) = (rest / 10, places - 1);
    }
    // Amounts have two places more, and at most six.
    if places <= 4 { Ok(places) } else { Err(AmountsError::TickUnsupported(tick)) }
}

/// 10^-6 units of one in the last of so many decimals.
const fn unit(places: u32) -> i64 {
    10i64.pow(6 - places)
}

/// To the nearest multiple, halves to the even one: how the official clients round a limit price.
fn half_even(value: i64, step: i64) -> i64 {
    let (quotient, rest) = (value.div_euclid(step), value.rem_euclid(step));
    let up = rest * 2 > step || (rest * 2 == step && quotient % 2 != 0);
    (quotient + i64::from(up)) * step
}

fn in_range(price: i64, given: Price, tick: Tick) -> Result<Price, AmountsError> {
    if price <= 0 || price > ONE {
        return Err(AmountsError::PriceOutOfRange {
            price: given,
            lowest: tick.lowest(),
            highest: tick.highest(),
        });
    }
    Ok(Price::from_micro(price))
}

fn whole_size(value: i64) -> Result<i64, AmountsError> {
    let size = value.div_euclid(SIZE_STEP) * SIZE_STEP;
    if size > 0 { Ok(size) } else { Err(AmountsError::SizeOutOfRange) }
}

fn dollars(shares: i64, price: Price) -> Result<i64, AmountsError> {
    // Two decimals times at most four: nothing is lost below 10^-6.
    mul_div(shares, price.micro(), ONE, Round::Down).filter(|d| *d > 0).ok_or(AmountsError::SizeOutOfRange)
}

/// The amounts of an order that may rest: so many shares at a limit. The size rounds down to 0.01 share, the
/// price to the nearest of the tick's decimals.
///
/// # Errors
/// A price out of range, or a size of nothing.
pub fn limit(side: Side, price: Price, shares: Shares, tick: Tick) -> Result<Amounts, AmountsError> {
    let rounded = in_range(half_even(price.micro(), unit(decimals(tick)?)), price, tick)?;
    let shares = whole_size(shares.micro())?;
    let usdc = dollars(shares, rounded)?;
    Ok(match side {
        Side::Buy => Amounts { maker: usdc, taker: shares },
        Side::Sell => Amounts { maker: shares, taker: usdc },
    })
}

/// The amounts of a market BUY: so many dollars (rounded down to cents) at no more than a limit (rounded down
/// to the tick's decimals). The venue gives more shares than wanted when the price is better.
///
/// # Errors
/// A price out of range, or a size of nothing.
pub fn market_buy(limit: Price, usdc: Usdc, tick: Tick) -> Result<Amounts, AmountsError> {
    let places = decimals(tick)?;
    let step = unit(places);
    let price = in_range(limit.micro().div_euclid(step) * step, limit, tick)?;
    let maker = whole_size(usdc.micro())?;
    // The official clients first round up four decimals further down, to undo binary fractions. With integers
    // that never shows: a price has at most four digits, so no quotient comes that close to the next step.
    let amount_step = unit(places + 2);
    let exact = i128::from(maker) * i128::from(ONE) / i128::from(price.micro());
    let taker = i64::try_from(exact)
        .map(|taker| taker / amount_step * amount_step)
        .ok()
        .filter(|t| *t > 0)
        .ok_or(AmountsError::SizeOutOfRange)?;
    Ok(Amounts { maker, taker })
}

/// The amounts of a market SELL: so many shares (rounded down to 0.01) at no less than a limit. The limit is
/// rounded down to the tick's decimals, so give it on the tick.
///
/// # Errors
/// A price out of range, or a size of nothing.
pub fn market_sell(limit: Price, shares: Shares, tick: Tick) -> Result<Amounts, AmountsError> {
    let step = unit(decimals(tick)?);
    let price = in_range(limit.micro().div_euclid(step) * step, limit, tick)?;
    let maker = whole_size(shares.micro())?;
    Ok(Amounts { maker, taker: dollars(maker, price)? })
}
