//! Exits without the leader: by samples of the prices of what is held.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use decide::{
    fixtures::{
        Given, Scene, account, at, close_request, condition, fill, order, px, snapshot, target, token, usd,
        voided, wallet,
    },
    plan::settings::defaults,
};
use schemas::{
    Mode, OrderStatus, PositionBranch, Reason, Side, Sizing, TargetStatus,
    events::{CloseIntent, Decision, IntentsEvent, Policy, TokenMarked},
};

/// $4 a trade; out at half the cost, and at 0.97.
fn policy() -> Policy {
    Policy {
        usdc_per_trade: Some(usd("4")),
        stop_loss_fraction: Some(500_000),
        sell_winners_at: Some(px("0.97")),
        ..defaults(Sizing::Fixed)
    }
}

fn mark(bid: &str) -> TokenMarked {
    TokenMarked {
        wallet: wallet(1),
        asset: token(1, 0),
        condition_id: condition(1),
        best_bid: Some(px(bid)),
        best_ask: Some(px("0.99")),
        as_of: at(5),
    }
}

/// The leader holds 200; we hold 9.75 shares for $3.9975.
fn holding() -> (Scene, Decision) {
    let mut scene = Scene::new();
    scene.put(&target(1, 1, policy()));
    scene.put_fill(&snapshot(1, &[(1, "175", "70")]));
    scene.cut();
    let bought = buy(&mut scene, 1);
    scene.order(&order(&bought, 1, OrderStatus::Filled, ("9.75", "3.9975")));
    (scene, bought)
}

fn buy(scene: &mut Scene, n: u64) -> Decision {
    scene.see(&fill(1, n, Side::Buy, "25", "0.40", 0)).only().clone()
}

fn close(given: &Given) -> &CloseIntent {
    match given.intents.as_slice() {
        [IntentsEvent::CloseIntent(close)] => close,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mark_at_which_the_policy_wants_out_sells_everything() {
    let (mut scene, _) = holding();
    assert!(scene.see(&mark("0.206")).reasons().is_empty(), "$2.0085 of $3.9975: not half lost");
    let given = scene.see(&mark("0.205"));
    let d = given.only();
    assert_eq!((d.reason, d.position_branch), (Reason::Ok, PositionBranch::SellClose));
    // The offset is the mark's in `fills`: a snapshot, a BUY and a mark came before it.
    assert_eq!(d.fill_id.as_str(), format!("exit:stop_loss:{}:3", token(1, 0)));
    assert_eq!((d.source_offset, d.inputs.filled_at), (3, at(5)));
    let c = close(&given);
    assert_eq!((c.fraction_num, c.fraction_den, c.flat), (1, 1, true));
    assert_eq!((c.sale_price, c.facts.clone()), (None, None), "the gate takes the best bid");
    // What it was decided from stands on it.
    assert_eq!((d.inputs.best_bid, d.inputs.best_ask), (Some(px("0.205")), Some(px("0.99"))));
    let own = &d.inputs.own;
    assert_eq!((own.held_cost, own.exposure), (Some(usd("3.9975")), usd("3.9975")));
    let again = (decide::plan::VERSIONS[0].exit)(&d.inputs.policy, own, d.inputs.best_bid.unwrap());
    assert_eq!(again.map(decide::plan::Exit::as_str), Some("stop_loss"));
}

#[test]
fn each_rule_names_its_close() {
    for (bid, rule) in [("0.97", "sell_winners_at"), ("0.10", "stop_loss")] {
        let (mut scene, _) = holding();
        let given = scene.see(&mark(bid));
        assert_eq!(given.only().fill_id.as_str(), format!("exit:{rule}:{}:2", token(1, 0)));
    }
    let (mut scene, _) = holding();
    let mut row = target(1, 1, Policy { take_profit_fraction: Some(1_000_000), ..policy() });
    row.revision = 2;
    scene.put(&row);
    let given = scene.see(&mark("0.82"));
    assert_eq!(given.only().fill_id.as_str(), format!("exit:take_profit:{}:2", token(1, 0)));
}

#[test]
fn marks_that_come_again_close_nothing_twice() {
    let (mut scene, _) = holding();
    let exit = scene.see(&mark("0.10")).only().clone();
    for bid in ["0.10", "0.05", "0.98"] {
        assert!(scene.see(&mark(bid)).reasons().is_empty(), "{bid}");
    }
    // Nor while the close is under way, or where a part of it was sold and the rest is tried again.
    scene.order(&order(&exit, 1, OrderStatus::Open, ("0", "0")));
    assert!(scene.see(&mark("0.05")).reasons().is_empty());
    scene.order(&order(&exit, 2, OrderStatus::Cancelled, ("4", "0.4")));
    assert!(scene.see(&mark("0.05")).reasons().is_empty());
    // Once it is gone there is nothing to sell.
    let mut second = order(&exit, 1, OrderStatus::Filled, ("5.75", "0.5"));
    second.attempt = 1;
    scene.order(&second);
    assert!(scene.see(&mark("0.05")).reasons().is_empty());
    assert_eq!(scene.core.state().sizes()[8], ("closing", 0));
    // What is bought after that is a position that can be left again.
    let more = buy(&mut scene, 9);
    scene.order(&order(&more, 1, OrderStatus::Filled, ("9.75", "3.9975")));
    assert_eq!(scene.see(&mark("0.10")).reasons(), ["ok"]);
}

#[test]
fn two_marks_in_one_cut_ask_once() {
    let (mut scene, _) = holding();
    scene.put_fill(&mark("0.10"));
    scene.put_fill(&mark("0.10"));
    assert_eq!(scene.cut().reasons(), ["ok"]);
}

#[test]
fn more_bought_while_the_close_is_under_way_can_be_left_too() {
    let (mut scene, _) = holding();
    let exit = scene.see(&mark("0.10")).only().clone();
    let more = buy(&mut scene, 2);
    // 0.005 share of the first could not be sold; 9.75 came.
    scene.order(&order(&exit, 1, OrderStatus::Filled, ("9.745", "0.9")));
    scene.order(&order(&more, 1, OrderStatus::Filled, ("9.75", "3.9975")));
    assert_eq!(scene.see(&mark("0.10")).reasons(), ["ok"]);
    assert!(scene.see(&mark("0.10")).reasons().is_empty());
}

#[test]
fn what_another_close_sells_entirely_is_not_sold_again() {
    // The leader's last SELL; a manual close.
    let (mut scene, _) = holding();
    scene.see(&fill(1, 2, Side::Sell, "200", "0.10", 5));
    assert!(scene.see(&mark("0.10")).reasons().is_empty());
    let (mut scene, _) = holding();
    scene.put_request(&close_request(1, 1, token(1, 0), "r1"));
    scene.cut();
    assert!(scene.see(&mark("0.10")).reasons().is_empty());
    // A part that is due leaves a rest to get out of, and so does a void close.
    let (mut scene, _) = holding();
    scene.see(&fill(1, 2, Side::Sell, "100", "0.10", 5));
    assert_eq!(scene.see(&mark("0.10")).reasons(), ["ok"]);
    let (mut scene, _) = holding();
    let more = fill(1, 3, Side::Buy, "25", "0.40", 0);
    scene.see(&more);
    scene.see(&voided(&fill(1, 1, Side::Buy, "25", "0.40", 0)));
    assert_eq!(scene.see(&mark("0.10")).reasons(), ["ok"]);
}

#[test]
fn a_sell_that_was_voided_stops_nothing() {
    let (mut scene, _) = holding();
    let sell = fill(1, 2, Side::Sell, "200", "0.10", 5);
    scene.see(&sell);
    scene.see(&voided(&sell));
    assert_eq!(scene.see(&mark("0.10")).reasons(), ["ok"]);
}

#[test]
fn nothing_is_sold_without_bids_holdings_or_a_rule() {
    let (mut scene, _) = holding();
    assert!(scene.see(&TokenMarked { best_bid: None, ..mark("0.10") }).reasons().is_empty());
    assert!(scene.see(&TokenMarked { asset: token(1, 1), ..mark("0.10") }).reasons().is_empty());
    assert!(scene.see(&TokenMarked { wallet: wallet(2), ..mark("0.10") }).reasons().is_empty());
    // Only on its way: there is no price to lose by.
    let mut scene = Scene::following(policy());
    buy(&mut scene, 1);
    assert!(scene.see(&mark("0.10")).reasons().is_empty());
    // Two who hold the same: each by its own policy.
    let (mut scene, _) = holding();
    let silent = Policy { usdc_per_trade: Some(usd("4")), ..defaults(Sizing::Fixed) };
    scene.put(&target(2, 1, silent));
    let given = scene.see(&fill(1, 7, Side::Buy, "25", "0.40", 0));
    let theirs = given.decisions().find(|d| d.billing_account_id == account(2)).unwrap().clone();
    scene.order(&order(&theirs, 1, OrderStatus::Filled, ("9.75", "3.9975")));
    assert_eq!(scene.see(&mark("0.10")).only().billing_account_id, account(1));
}

#[test]
fn a_target_that_is_wound_down_or_paused_is_still_left_and_one_whose_positions_are_kept_is_not() {
    for (status, decided) in
        [(TargetStatus::Paused, 1), (TargetStatus::Closing, 1), (TargetStatus::Removed, 0)]
    {
        let (mut scene, _) = holding();
        let mut row = target(1, 1, policy());
        (row.revision, row.status, row.keep_positions) = (2, status, status == TargetStatus::Removed);
        scene.put(&row);
        scene.cut();
        assert_eq!(scene.see(&mark("0.10")).reasons().len(), decided, "{status}");
    }
    // Paper and live never mix.
    let (mut scene, _) = holding();
    let mut row = target(1, 1, policy());
    (row.revision, row.mode) = (2, Mode::Paper);
    scene.put(&row);
    scene.cut();
    assert!(scene.see(&mark("0.10")).reasons().is_empty());
}
