//! Exits without the leader: what is bid now against what our shares cost (`behaviour.md` 4). Fees do not count.

use schemas::{
    Price,
    events::{OwnView, Policy},
    money::ONE,
};

use crate::plan::Exit;

/// The first rule by which what is held is to be sold at such a best bid, all of it; none where nothing is held, or
/// where what it cost is not known.
pub fn due(policy: &Policy, own: &OwnView, best_bid: Price) -> Option<Exit> {
    if !own.held.is_positive() || !best_bid.is_positive() {
        return None;
    }
    // In 10^-18 dollars, exactly: what the shares would bring, and such a part of what they cost.
    let worth = i128::from(best_bid.micro()) * i128::from(own.held.micro()) * i128::from(ONE);
    let cost = own.held_cost.map(|cost| i128::from(cost.micro()) * i128::from(ONE));
    let part = |part: i64| cost.and_then(|cost| cost.checked_mul(i128::from(part)));
    let gains = |gain: i64| part(ONE.saturating_add(gain)).is_some_and(|asked| worth >= asked);
    let loses = |loss: i64| part(ONE.saturating_sub(loss)).is_some_and(|left| worth <= left);
    if policy.take_profit_fraction.is_some_and(|gain| gain > 0 && gains(gain)) {
        return Some(Exit::TakeProfit);
    }
    if policy.stop_loss_fraction.is_some_and(|loss| loss > 0 && loses(loss)) {
        return Some(Exit::StopLoss);
    }
    policy
        .sell_winners_at
        .is_some_and(|price| price.is_positive() && best_bid >= price)
        .then_some(Exit::SellWinners)
}
