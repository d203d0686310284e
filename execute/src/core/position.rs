//! What a target's copies hold of a token, and what the held shares cost on average.

use schemas::{ConditionId, Round, Shares, Side, Usdc, money::mul_div};
use serde::{Deserialize, Serialize};

use super::Attempt;

/// A position of (tenant, target, token, mode): what one target opened another never closes (`behaviour.md` 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The token's condition.
    pub condition_id: ConditionId,
    /// Shares bought less shares sold.
    pub held: Shares,
    /// What the held shares cost, at average cost, without fees.
    pub cost: Usdc,
}

/// What a step of an attempt changed in its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The side of the attempt.
    pub side: Side,
    /// Shares filled since; below zero where a trade failed.
    pub shares: i64,
    /// Dollars paid or received for them.
    pub usdc: i64,
}

impl Moved {
    /// What lies between two states of one attempt; `None` where nothing filled or failed.
    pub fn between(before: &Attempt, after: &Attempt) -> Option<Self> {
        let moved = Self {
            side: after.side,
            shares: after.filled_shares.micro().saturating_sub(before.filled_shares.micro()),
            usdc: after.filled_usdc.micro().saturating_sub(before.filled_usdc.micro()),
        };
        (moved.shares != 0 || moved.usdc != 0).then_some(moved)
    }
}

impl Position {
    /// Nothing of a token.
    pub const fn none(condition_id: ConditionId) -> Self {
        Self { condition_id, held: Shares::ZERO, cost: Usdc::ZERO }
    }

    /// Both, under the one's id.
    pub const fn and(self, other: Self) -> Self {
        Self {
            held: self.held.saturating_add(other.held),
            cost: self.cost.saturating_add(other.cost),
            ..self
        }
    }

    /// The position after a step. Sold shares leave at average cost, so that selling gives room back; what is left
    /// keeps the fraction of a cent. Shares of a sale that failed come back at the average cost of the rest, or, where
    /// nothing is left, at what they had brought.
    pub fn after(self, moved: Moved) -> Self {
        let Moved { side, shares, usdc } = moved;
        let (held, cost) = (self.held.micro(), self.cost.micro());
        let (held, cost) = match side {
            Side::Buy => (held.saturating_add(shares), cost.saturating_add(usdc)),
            Side::Sell if shares >= 0 => {
                let gone = if held > 0 {
                    mul_div(cost, shares.min(held), held, Round::Down).unwrap_or(cost)
                } else {
                    0
                };
                (held.saturating_sub(shares), cost.saturating_sub(gone))
            }
            Side::Sell => {
                let back = shares.saturating_neg();
                let value =
                    if held > 0 { mul_div(cost, back, held, Round::Up) } else { Some(usdc.saturating_neg()) };
                (held.saturating_add(back), cost.saturating_add(value.unwrap_or(0)))
            }
        };
        let cost = if held <= 0 { 0 } else { cost.max(0) };
        Self { held: Shares::from_micro(held), cost: Usdc::from_micro(cost), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(side: Side, shares: i64, usdc: i64) -> Moved {
        Moved { side, shares: shares * 1_000_000, usdc: usdc * 1_000_000 }
    }

    #[test]
    fn sold_shares_leave_at_average_cost() {
        let p = Position::none(ConditionId::ZERO)
            .after(step(Side::Buy, 100, 20))
            .after(step(Side::Buy, 100, 60))
            .after(step(Side::Sell, 50, 45));
        assert_eq!((p.held, p.cost), (Shares::from_units(150), Usdc::from_units(60)));
        let p = p.after(step(Side::Sell, 150, 1));
        assert_eq!((p.held, p.cost), (Shares::ZERO, Usdc::ZERO));
        // What is bought after that has its own price, not the old average.
        let p = p.after(step(Side::Buy, 10, 8));
        assert_eq!(p.cost, Usdc::from_units(8));
    }

    #[test]
    fn a_sale_that_failed_comes_back_at_average_cost() {
        let p =
            Position::none(ConditionId::ZERO).after(step(Side::Buy, 100, 40)).after(step(Side::Sell, 50, 30));
        let p = p.after(step(Side::Sell, -50, -30));
        assert_eq!((p.held, p.cost), (Shares::from_units(100), Usdc::from_units(40)));
    }

    proptest::proptest! {
        #[test]
        fn cost_is_never_negative_and_nothing_held_costs_nothing(
            steps in proptest::collection::vec((proptest::bool::ANY, 1i64..1_000_000_000, 1i64..1_000_000_000), 0..30),
        ) {
            let mut p = Position::none(ConditionId::ZERO);
            for (buy, shares, usdc) in steps {
                let side = if buy { Side::Buy } else { Side::Sell };
                let shares = if buy { shares } else { shares.min(p.held.micro()) };
                p = p.after(Moved { side, shares, usdc: usdc.min(shares) });
                proptest::prop_assert!(p.cost.micro() >= 0 && p.held.micro() >= 0);
                proptest::prop_assert!(p.held.micro() > 0 || p.cost.micro() == 0);
            }
        }
    }
}
