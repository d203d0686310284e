//! Exits without the leader.

use schemas::{Price, Shares, Sizing, events::Policy};

use super::nobody;
use crate::{
    fixtures::{px, sh, usd},
    plan::{Exit, settings::defaults, v1::exit::due},
};

/// What a policy says to 10 shares that cost $4, at a best bid.
fn at(change: impl Fn(&mut Policy), bid: &str) -> Option<Exit> {
    let mut policy = defaults(Sizing::MinBet);
    change(&mut policy);
    let mut own = nobody();
    (own.held, own.held_cost) = (sh("10"), Some(usd("4")));
    due(&policy, &own, px(bid))
}

#[test]
fn take_profit_sells_at_a_gain_on_the_cost() {
    let quarter = |p: &mut Policy| p.take_profit_fraction = Some(250_000);
    assert_eq!(at(quarter, "0.499999"), None);
    assert_eq!(at(quarter, "0.5"), Some(Exit::TakeProfit));
    assert_eq!(at(|p| p.take_profit_fraction = Some(0), "0.9"), None, "no gain is no setting");
}

#[test]
fn stop_loss_sells_at_a_loss_on_the_cost() {
    let quarter = |p: &mut Policy| p.stop_loss_fraction = Some(250_000);
    assert_eq!(at(quarter, "0.300001"), None);
    assert_eq!(at(quarter, "0.3"), Some(Exit::StopLoss));
    assert_eq!(at(|p| p.stop_loss_fraction = Some(0), "0.1"), None);
    assert_eq!(at(|p| p.stop_loss_fraction = Some(1_000_000), "0.01"), None, "a bid is no total loss");
}

#[test]
fn sell_winners_at_sells_once_the_best_bid_reaches_it() {
    let winner = |p: &mut Policy| p.sell_winners_at = Some(px("0.97"));
    assert_eq!(at(winner, "0.969999"), None);
    assert_eq!(at(winner, "0.97"), Some(Exit::SellWinners));
    assert_eq!(at(|p| p.sell_winners_at = Some(Price::ZERO), "0.5"), None);
}

#[test]
fn the_first_rule_gives_the_name_and_without_any_nothing_is_sold() {
    let all = |p: &mut Policy| {
        p.take_profit_fraction = Some(500_000);
        p.stop_loss_fraction = Some(500_000);
        p.sell_winners_at = Some(px("0.5"));
    };
    assert_eq!(at(all, "0.6"), Some(Exit::TakeProfit));
    assert_eq!(at(all, "0.55"), Some(Exit::SellWinners));
    assert_eq!(at(all, "0.2"), Some(Exit::StopLoss));
    assert_eq!(at(|_| {}, "0.99"), None);
    let names = [Exit::TakeProfit, Exit::StopLoss, Exit::SellWinners].map(Exit::as_str);
    assert_eq!(names, ["take_profit", "stop_loss", "sell_winners_at"]);
}

#[test]
fn nothing_is_sold_where_nothing_is_held_bid_or_known() {
    let policy = Policy { stop_loss_fraction: Some(1), ..defaults(Sizing::MinBet) };
    let mut own = nobody();
    (own.pending, own.held_cost) = (sh("10"), Some(usd("0")));
    assert_eq!(due(&policy, &own, px("0.1")), None, "only on its way");
    (own.held, own.held_cost) = (sh("10"), Some(usd("4")));
    assert_eq!(due(&policy, &own, Price::ZERO), None, "nobody bids");
    assert_eq!(due(&policy, &own, px("0.1")), Some(Exit::StopLoss));
    own.held_cost = None;
    assert_eq!(due(&policy, &own, px("0.1")), None);
    own.held = Shares::from_micro(-1);
    assert_eq!(due(&policy, &own, px("0.1")), None);
}
