//! What a tenant has at the venue, by the venue's own account: the least it can be called, so that a cap which that
//! exceeds is exceeded by any account.

use std::collections::BTreeMap;

use schemas::{OrderId, OrderType, Round, Shares, Side, Timestamp, Usdc};
use simulator::{OrderView, TradeView};

/// One order's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Shares of trades that did not fail.
    pub shares: Shares,
    /// What these cost or brought.
    pub usdc: Usdc,
    /// Their fees.
    pub fees: Usdc,
    /// What the rest may still cost at the limit; nothing where it has ended.
    pub pending: Usdc,
    /// Shares that may still fill.
    pub unfilled: Shares,
    /// Whether a trade of it failed, or will.
    pub fails: bool,
}

/// Whether an order may still fill.
pub fn is_open(order: &OrderView) -> bool {
    matches!(order.status.as_str(), "LIVE" | "UNMATCHED" | "DELAYED")
}

/// What an order wants to trade.
pub fn size(order: &OrderView) -> Shares {
    Shares::from_micro(if order.side == Side::Buy { order.taker_amount } else { order.maker_amount })
}

/// The parts of all orders.
pub fn parts(orders: &[OrderView], trades: &[TradeView]) -> BTreeMap<OrderId, Part> {
    let mut parts: BTreeMap<OrderId, Part> = BTreeMap::new();
    for trade in trades {
        let part = parts.entry(trade.order).or_default();
        if trade.status == "FAILED" || trade.status == "RETRYING" {
            part.fails = true;
        }
        if trade.status != "FAILED" {
            part.shares = part.shares.saturating_add(trade.size);
            part.usdc = part.usdc.saturating_add(trade.dollars);
            part.fees = part.fees.saturating_add(trade.fee);
        }
    }
    for order in orders {
        let part = parts.entry(order.id).or_default();
        if !is_open(order) {
            continue;
        }
        if order.side == Side::Buy && matches!(order.order_type, OrderType::Fak | OrderType::Fok) {
            part.pending = Usdc::from_micro(order.maker_amount).minus_or_zero(order.dollars);
        } else {
            part.unfilled = size(order).minus_or_zero(order.matched);
            part.pending = order.limit.cost(part.unfilled, Round::Down).unwrap_or_default();
        }
    }
    parts
}

/// The least that the shares still held can have cost: the cheapest of those bought.
pub fn least_cost(mut bought: Vec<(Shares, Usdc)>, sold: Shares) -> Usdc {
    let all: Shares = bought.iter().map(|(shares, _)| *shares).sum();
    let mut held = all.minus_or_zero(sold).micro();
    bought.retain(|(shares, _)| shares.is_positive());
    bought.sort_by_key(|(shares, usdc)| i128::from(usdc.micro()) * 1_000_000 / i128::from(shares.micro()));
    let mut cost = 0;
    for (shares, usdc) in bought {
        let take = shares.micro().min(held);
        cost += schemas::money::mul_div(usdc.micro(), take, shares.micro(), Round::Down).unwrap_or(0);
        held -= take;
    }
    Usdc::from_micro(cost)
}

/// Whether something happened within so many seconds before `now`.
pub fn within(at: Timestamp, now: Timestamp, secs: u64) -> bool {
    at > now.minus(std::time::Duration::from_secs(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_cost_at_least_the_cheapest_of_what_was_bought() {
        let bought = vec![
            (Shares::from_units(10), Usdc::from_units(5)),
            (Shares::from_units(10), Usdc::from_units(3)),
        ];
        assert_eq!(least_cost(bought.clone(), Shares::ZERO), Usdc::from_units(8));
        assert_eq!(least_cost(bought.clone(), Shares::from_units(10)), Usdc::from_units(3));
        assert_eq!(least_cost(bought.clone(), Shares::from_units(15)), "1.5".parse().unwrap());
        assert_eq!(least_cost(bought, Shares::from_units(25)), Usdc::ZERO);
    }
}
