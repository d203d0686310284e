//! What the venue looks at before it takes an order: amounts, tick, sizes, expiration (`venue.md` 5.3, 5.5).

use std::time::Duration;

use schemas::{
    OrderId, OrderType, Price, Shares, Side, Tick, Timestamp, Usdc,
    money::{ONE, Round, mul_div},
};
use venue::wire::PostOrder;

use super::{order::Target, refusal::Refusal};
use crate::market::Market;

/// A GTD must end at least this much later than now.
const SHORTEST_LIFE: Duration = Duration::from_secs(180);
/// A GTD lapses this much before its expiration.
const LAPSES_BEFORE: Duration = Duration::from_secs(60);

/// What an order says, once its amounts made sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// On the tick.
    pub limit: Price,
    /// What is to be filled.
    pub target: Target,
    /// When it lapses.
    pub lapses: Option<Timestamp>,
}

/// Whether what does not fill at once is killed.
pub const fn kills_rest(kind: OrderType) -> bool {
    matches!(kind, OrderType::Fok | OrderType::Fak)
}

/// Reads an order's terms. `strict` applies the accuracies that the error texts name on every tick
/// (`venue.md` 10).
///
/// # Errors
/// What the venue would answer.
pub fn terms(
    id: OrderId,
    post: &PostOrder,
    market: &Market,
    now: Timestamp,
    strict: bool,
) -> Result<Terms, Refusal> {
    let order = &post.order;
    let (maker, taker) = (order.maker_amount, order.taker_amount);
    if maker <= 0 || taker <= 0 {
        return Err(Refusal::Payload);
    }
    let at_once = kills_rest(post.order_type);
    let decimals = amount_decimals(market.tick);
    accuracy(order.side, at_once, maker, taker, decimals, strict)?;

    let (dollars, shares) = match order.side {
        Side::Buy => (maker, taker),
        Side::Sell => (taker, maker),
    };
    let limit = limit(id, dollars, shares, market.tick, decimals)?;
    let size = Shares::from_micro(shares);
    if !at_once && size < market.min_size {
        return Err(Refusal::Size { id, size, min: market.min_size });
    }
    let lapses = match (post.order_type, order.expiration) {
        (OrderType::Gtd, Some(end)) if end >= now.plus(SHORTEST_LIFE) => Some(end.minus(LAPSES_BEFORE)),
        (OrderType::Gtd, _) | (_, Some(_)) => return Err(Refusal::Expiration),
        (_, None) => None,
    };
    let target = match (order.side, at_once) {
        (Side::Buy, true) => Target::Dollars(Usdc::from_micro(maker)),
        _ => Target::Shares(size),
    };
    Ok(Terms { limit, target, lapses })
}

/// Two more than a price has.
fn amount_decimals(tick: Tick) -> u32 {
    match tick.micro() {
        t if t % 100_000 == 0 => 3,
        t if t % 10_000 == 0 => 4,
        t if t % 1_000 == 0 => 5,
        _ => 6,
    }
}

fn accuracy(
    side: Side,
    at_once: bool,
    maker: i64,
    taker: i64,
    decimals: u32,
    strict: bool,
) -> Result<(), Refusal> {
    let limits = match (side, at_once) {
        // Dollars to the cent buy shares of many decimals; shares of two sell for dollars of many.
        (_, true) => (2, if strict { 5 } else { decimals.max(5) }),
        (Side::Buy, false) => (if strict { 4 } else { decimals }, 2),
        (Side::Sell, false) => (2, if strict { 4 } else { decimals }),
    };
    let fits = |amount: i64, places: u32| amount % 10i64.pow(6 - places.min(6)) == 0;
    if fits(maker, limits.0) && fits(taker, limits.1) {
        return Ok(());
    }
    let market = if at_once { "market " } else { "" };
    Err(Refusal::Accuracy { market, side, maker: limits.0, taker: limits.1 })
}

/// The price that the amounts stand for: on the tick, but for what their own rounding explains.
fn limit(id: OrderId, dollars: i64, shares: i64, tick: Tick, decimals: u32) -> Result<Price, Refusal> {
    let refuse = |price| Refusal::Tick { id, price, tick };
    let price = Price::of(Usdc::from_micro(dollars), Shares::from_micro(shares), Round::Nearest)
        .ok_or(Refusal::Payload)?;
    let half = tick.micro() / 2;
    let near = tick.snap(Price::from_micro(price.micro().saturating_add(half)), Round::Down);
    let exact = mul_div(near.micro(), shares, ONE, Round::Nearest).ok_or_else(|| refuse(price))?;
    let slack = 10i64.pow(6 - decimals) + 1;
    if (exact - dollars).abs() > slack || near < tick.lowest() || near > tick.highest() {
        return Err(refuse(price));
    }
    Ok(near)
}
