//! What trades say an order filled (`behaviour.md` 6, `venue.md` 3.2 and 5.6).

use std::collections::BTreeMap;

use schemas::{Price, Round, Shares, Side, Usdc};
use venue::{
    fees::{FeeTerms, taker_fee},
    wire::{ClobTrade, ClobTradeStatus, SizeUnits, UnitsError},
};

use super::Attempt;

/// The sums over the trades of one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fills {
    /// Shares of trades that did not fail.
    pub shares: Shares,
    /// What these cost or brought, without fees.
    pub usdc: Usdc,
    /// The fees where we were the taker, computed (`venue.md` 5.6).
    pub fees: Usdc,
    /// The part of `shares` whose trades are CONFIRMED.
    pub confirmed: Shares,
    /// Shares of trades that FAILED: the only reversal there is.
    pub failed: Shares,
}

impl Fills {
    /// Sums the trades in which an attempt's order had a part. A trade that the venue lists twice counts once, in its
    /// later listing. `matched` is what the venue's order row says is filled: no part is larger.
    ///
    /// # Errors
    /// A size that no unit explains: nothing can be said of this order now.
    pub fn of(attempt: &Attempt, matched: Shares, trades: &[ClobTrade]) -> Result<Self, UnitsError> {
        let Some(id) = attempt.order_id else { return Ok(Self::default()) };
        let most = matched.max(attempt.shares);
        let by_id: BTreeMap<&str, &ClobTrade> = trades.iter().map(|t| (t.id.as_str(), t)).collect();
        let mut sums = Self::default();
        for trade in by_id.values() {
            let Some((part, price)) = trade.part_of(id) else { continue };
            let shares = SizeUnits::of_part(part, most)?.read(part)?;
            if trade.status == ClobTradeStatus::Failed {
                sums.failed = sums.failed.saturating_add(shares);
                continue;
            }
            let fee = if trade.taker_order_id == id { fee(attempt, shares, price) } else { Usdc::ZERO };
            sums.shares = sums.shares.saturating_add(shares);
            sums.usdc = sums.usdc.saturating_add(value(attempt.side, price, shares));
            sums.fees = sums.fees.saturating_add(fee);
            if trade.status == ClobTradeStatus::Confirmed {
                sums.confirmed = sums.confirmed.saturating_add(shares);
            }
        }
        Ok(sums)
    }

    /// The sums, and what the venue calls matched beyond them: trades that it does not list yet, taken at the limit.
    pub fn at_least(mut self, attempt: &Attempt, matched: Shares) -> Self {
        let more = matched.minus_or_zero(self.shares.saturating_add(self.failed));
        if more.is_positive() {
            self.shares = self.shares.saturating_add(more);
            self.usdc = self.usdc.saturating_add(value(attempt.side, attempt.limit_price, more));
            // Whether we took is not known yet; the dearer answer is kept until it is.
            self.fees = self.fees.saturating_add(fee(attempt, more, attempt.limit_price));
        }
        self
    }
}

/// What shares cost, rounded up, or brought, rounded down.
fn value(side: Side, price: Price, shares: Shares) -> Usdc {
    let round = match side {
        Side::Buy => Round::Up,
        Side::Sell => Round::Down,
    };
    price.cost(shares, round).unwrap_or(Usdc::from_micro(i64::MAX))
}

fn fee(attempt: &Attempt, shares: Shares, price: Price) -> Usdc {
    let exponent = u32::try_from(attempt.fee_exponent).unwrap_or(0);
    taker_fee(FeeTerms { rate: attempt.fee_rate, exponent }, shares, price).unwrap_or(Usdc::ZERO)
}
