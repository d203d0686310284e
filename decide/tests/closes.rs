//! SELLs, and closes that no SELL asked for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use decide::{
    fixtures::{
        Given, Scene, account, amended, at, changed, close_request, fill, order, px, sh, snapshot, target,
        token, usd, voided,
    },
    plan::settings::defaults,
};
use proptest::prelude::*;
use schemas::{
    ChangeKind, OrderStatus, PositionBranch, Reason, Round, Shares, Side, Sizing, TargetStatus,
    events::{CloseIntent, Decision, Fill, IntentsEvent, Policy, TokenResolved},
};

fn fixed() -> Policy {
    Policy { usdc_per_trade: Some(usd("4")), ..defaults(Sizing::Fixed) }
}

/// The leader holds 200; we hold what was copied of a BUY of 25: 9.75 shares for $3.9975, less if told so.
fn holding(filled: (&str, &str)) -> (Scene, Decision) {
    let mut scene = Scene::new();
    scene.put(&target(1, 1, fixed()));
    scene.put_fill(&snapshot(1, &[(1, "175", "70")]));
    scene.cut();
    let bought = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0)).only().clone();
    scene.order(&order(&bought, 1, OrderStatus::Filled, filled));
    (scene, bought)
}

fn close(given: &Given) -> &CloseIntent {
    match given.intents.as_slice() {
        [IntentsEvent::CloseIntent(close)] => close,
        other => panic!("{other:?}"),
    }
}

fn part(given: &Given) -> (i64, i64, bool) {
    let c = close(given);
    (c.fraction_num, c.fraction_den, c.flat)
}

#[test]
fn a_sell_closes_the_leader_s_fraction() {
    let (mut scene, _) = holding(("9.75", "3.9975"));
    let given = scene.see(&fill(1, 2, Side::Sell, "60", "0.50", 5));
    assert_eq!(given.only().position_branch, PositionBranch::SellClose);
    assert_eq!(part(&given), (60_000_000, 200_000_000, false));
    assert_eq!(close(&given).sale_price, Some(px("0.5")));
    let given = scene.see(&fill(1, 3, Side::Sell, "140", "0.50", 6));
    assert_eq!(part(&given), (1, 1, true), "flat");
}

#[test]
fn an_amended_sell_is_a_sale_of_the_added_shares_under_the_same_key() {
    let (mut scene, _) = holding(("9.75", "3.9975"));
    let sell = fill(1, 2, Side::Sell, "60", "0.50", 5);
    let first = scene.see(&sell);
    let second = scene.see(&amended(&sell, "100", 1));
    assert_eq!(second.only().idempotency_key, first.only().idempotency_key);
    assert_eq!((first.only().revision, second.only().revision), (0, 1));
    assert_eq!(part(&second), (40_000_000, 140_000_000, false));
    assert_eq!(second.only().inputs.shares, sh("40"));
    assert_eq!(scene.see(&amended(&sell, "100", 2)).staged.repeats, 1);
}

/// What the gate makes due of a close: the fraction of what is held and not owed, in whole hundredths of a share.
fn due(free: Shares, close: &CloseIntent) -> Shares {
    let part = free.scale(close.fraction_num, close.fraction_den, Round::Down).unwrap();
    part.to_multiple(10_000, Round::Down).unwrap()
}

#[test]
fn the_worked_example_of_an_amended_sell() {
    // Of 200 the leader sold 60, we hold 20: 6. Amended to 100: 40 of 140 of the 14 that are left: 4.
    let (mut scene, _) = holding(("20", "8"));
    let sell = fill(1, 2, Side::Sell, "60", "0.50", 5);
    let first = due(sh("20"), close(&scene.see(&sell)));
    assert_eq!(first, sh("6"));
    let second = scene.see(&amended(&sell, "100", 1));
    assert_eq!(due(sh("14"), close(&second)), sh("4"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_closes_of_a_position_never_come_to_more_than_all_of_it_and_follow_the_leader(
        steps in proptest::collection::vec((0u8..3, 1i64..90), 1..12),
    ) {
        // The leader holds 200, we 20.
        let (mut scene, _) = holding(("20", "8"));
        let (mut leader, held, mut owed) = (200_000_000i64, sh("20"), Shares::ZERO);
        let mut last: Option<Fill> = None;
        for (n, (kind, percent)) in (10..).zip(steps) {
            if leader == 0 {
                break;
            }
            let sold = (leader * percent / 80).min(leader);
            let text = Shares::from_micro(sold).to_string();
            let given = match (kind, last.clone()) {
                (0, Some(before)) => {
                    let total = before.shares.saturating_add(Shares::from_micro(sold)).to_string();
                    let more = amended(&before, &total, before.revision + 1);
                    last = Some(more.clone());
                    scene.see(&more)
                }
                (1, _) => {
                    let gone = format!("-{text}");
                    scene.see(&changed(1, n, ChangeKind::Merge, 1, &[(0, &gone, "0")], 5))
                }
                _ => {
                    let sell = fill(1, n, Side::Sell, &text, "0.50", 5);
                    last = Some(sell.clone());
                    scene.see(&sell)
                }
            };
            leader -= sold;
            let close = close(&given);
            prop_assert!(close.fraction_num >= 0 && close.fraction_num <= close.fraction_den);
            prop_assert_eq!(close.flat, leader == 0);
            let free = held.minus_or_zero(owed);
            owed = owed.saturating_add(due(free, close));
            prop_assert!(owed <= held);
            // What is left is the leader's part of 20, but for the hundredth that each close rounds away.
            let wanted = Shares::from_micro(leader / 10);
            let left = held.minus_or_zero(owed);
            prop_assert!(left >= wanted && left.minus_or_zero(wanted) <= sh("0.12"), "{left} {wanted}");
        }
    }
}

#[test]
fn a_sell_that_the_snapshot_contains_is_measured_against_what_was_there_before_it() {
    let mut scene = Scene::new();
    scene.put(&target(1, 1, fixed()));
    scene.put_fill(&snapshot(1, &[(1, "140", "56")]));
    scene.cut();
    let bought = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0)).only().clone();
    scene.order(&order(&bought, 1, OrderStatus::Filled, ("9.75", "3.9975")));
    let mut young = fill(1, 2, Side::Sell, "35", "0.50", -3_601);
    young.filled_at = at(-3_600);
    // 165 now, with the sale contained: 200 before it.
    assert_eq!(part(&scene.see(&young)), (35_000_000, 200_000_000, false));
}

#[test]
fn what_was_sold_is_not_held_and_gives_its_room_back() {
    let (mut scene, _) = holding(("9.75", "3.9975"));
    let sold = scene.see(&fill(1, 2, Side::Sell, "200", "0.50", 5)).only().clone();
    scene.order(&order(&sold, 1, OrderStatus::PartiallyFilled, ("6.5", "3.25")));
    let own = scene.see(&fill(1, 3, Side::Buy, "25", "0.40", 6)).only().inputs.own.clone();
    // A third is left, at a third of the cost.
    assert_eq!((own.held, own.exposure, own.closed), (sh("3.25"), usd("1.3325"), false));
}

#[test]
fn sell_without_position_and_sell_closed_position() {
    let mut scene = Scene::following(fixed());
    assert_eq!(scene.see(&fill(1, 1, Side::Sell, "5", "0.5", 0)).reasons(), ["sell_without_position"]);
    let (mut scene, _) = holding(("9.75", "3.9975"));
    let sold = scene.see(&fill(1, 2, Side::Sell, "200", "0.50", 5)).only().clone();
    scene.order(&order(&sold, 1, OrderStatus::Filled, ("9.75", "4.87")));
    let given = scene.see(&fill(1, 3, Side::Sell, "1", "0.50", 6));
    assert_eq!(given.reasons(), ["sell_closed_position"]);
    assert!(given.intents.is_empty());
}

#[test]
fn a_sell_is_followed_while_our_buy_is_only_on_its_way() {
    let mut scene = Scene::following(fixed());
    let bought = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0)).only().clone();
    let given = scene.see(&fill(1, 2, Side::Sell, "25", "0.50", 1));
    assert_eq!((given.only().reason, part(&given)), (Reason::Ok, (1, 1, true)));
    // It never got anywhere: then there is nothing to sell.
    scene.order(&order(&bought, 1, OrderStatus::Denied, ("0", "0")));
    let given = scene.see(&fill(1, 3, Side::Sell, "25", "0.50", 1));
    assert_eq!(given.reasons(), ["sell_without_position"]);
}

#[test]
fn a_sell_without_facts_of_a_closing_target_long_ago_is_followed() {
    let (mut scene, _) = holding(("9.75", "3.9975"));
    let mut closing = target(1, 1, fixed());
    (closing.revision, closing.status) = (2, TargetStatus::Closing);
    scene.put(&closing);
    scene.clock = at(86_400);
    let mut sell = fill(1, 2, Side::Sell, "60", "0.50", 5);
    sell.facts = None;
    let given = scene.see(&sell);
    assert_eq!(part(&given), (60_000_000, 200_000_000, false));
    assert_eq!(close(&given).facts, None);
    assert_eq!(scene.see(&fill(1, 3, Side::Buy, "25", "0.40", 86_399)).reasons(), ["target_closing"]);
}

#[test]
fn what_another_target_or_tenant_opened_is_not_closed() {
    let (mut scene, _) = holding(("9.75", "3.9975"));
    scene.put(&target(2, 1, fixed()));
    scene.put(&target(1, 2, fixed()));
    scene.put_fill(&snapshot(2, &[(1, "100", "40")]));
    let mut sell = fill(2, 2, Side::Sell, "60", "0.50", 5);
    sell.wallet = decide::fixtures::wallet(2);
    let given = scene.see(&sell);
    assert_eq!(
        (given.only().billing_account_id, given.only().reason),
        (account(1), Reason::SellWithoutPosition)
    );
    let given = scene.see(&fill(1, 3, Side::Sell, "60", "0.50", 5));
    let mine: Vec<_> = given.decisions().map(|d| (d.billing_account_id, d.reason)).collect();
    assert_eq!(mine, [(account(1), Reason::Ok), (account(2), Reason::SellWithoutPosition)]);
}

#[test]
fn a_merge_counts_as_a_sale_of_each_priced_from_the_book() {
    let (mut scene, bought) = holding(("9.75", "3.9975"));
    let merge = changed(1, 9, ChangeKind::Merge, 1, &[(0, "-50", "0"), (1, "-50", "0")], 5);
    let given = scene.see(&merge);
    assert_eq!(given.reasons(), ["ok", "sell_without_position"]);
    assert_eq!(part(&given), (50_000_000, 200_000_000, false));
    assert_eq!(close(&given).sale_price, Some(px("0.4")));
    let d = given.decisions().next().unwrap();
    let asset = token(1, 0);
    let cause = format!("data-api:{}:{asset}:MERGE:{}", decide::fixtures::tx(9), at(5).secs());
    assert_eq!(d.fill_id.as_str(), cause);
    assert_ne!(d.idempotency_key, bought.idempotency_key);
    assert!(scene.see(&merge).reasons().is_empty(), "once");
    let given = scene.see(&fill(1, 4, Side::Sell, "75", "0.50", 6));
    assert_eq!(part(&given), (75_000_000, 150_000_000, false), "150 were left");
}

#[test]
fn a_split_gives_both_and_a_redemption_is_no_sale() {
    let (mut scene, _) = holding(("9.75", "3.9975"));
    let split = changed(1, 9, ChangeKind::Split, 1, &[(0, "100", "50"), (1, "100", "50")], 5);
    assert!(scene.see(&split).reasons().is_empty());
    let given = scene.see(&fill(1, 2, Side::Buy, "25", "0.40", 6));
    let leader = &given.only().inputs.leader;
    assert_eq!((leader.shares_before, leader.opposite_cost), (sh("300"), usd("50")));
    let redeem = changed(1, 10, ChangeKind::Redeem, 1, &[(0, "-325", "0"), (1, "-100", "0")], 7);
    assert!(scene.see(&redeem).reasons().is_empty());
    let given = scene.see(&fill(1, 3, Side::Sell, "5", "0.40", 8));
    assert_eq!(part(&given), (1, 1, true), "nothing is known of what it still sells");
}

#[test]
fn a_voided_buy_is_cancelled_and_what_it_filled_is_closed() {
    let mut scene = Scene::following(fixed());
    let buy = fill(1, 1, Side::Buy, "25", "0.40", 0);
    let first = scene.see(&buy).only().clone();
    let other = scene.see(&fill(1, 2, Side::Buy, "25", "0.40", 0)).only().clone();
    scene.order(&order(&first, 1, OrderStatus::PartiallyFilled, ("4", "1.64")));
    scene.order(&order(&other, 1, OrderStatus::Filled, ("9.75", "3.9975")));
    let given = scene.see(&voided(&buy));
    let [IntentsEvent::CancelIntent(cancel), IntentsEvent::CloseIntent(close)] = given.intents.as_slice()
    else {
        panic!("{:?}", given.intents)
    };
    assert_eq!((cancel.cancels, cancel.cause.as_str()), (first.idempotency_key, "void"));
    // 4 of the 13.75 held are what that one filled.
    assert_eq!((close.fraction_num, close.fraction_den), (4_000_000, 13_750_000));
    assert_eq!(given.only().fill_id.as_str(), format!("void:{}", buy.fill_id));
    assert!(scene.see(&voided(&buy)).reasons().is_empty(), "once");
    assert_eq!(scene.see(&buy).staged.repeats, 1, "it does not come back under the same key");
    let given = scene.see(&fill(1, 3, Side::Buy, "25", "0.40", 0));
    assert_eq!(given.only().inputs.leader.shares_before, sh("25"));
}

#[test]
fn a_voided_buy_that_is_only_open_is_cancelled_and_what_it_may_still_fill_is_to_be_closed() {
    let mut scene = Scene::following(fixed());
    let buy = fill(1, 1, Side::Buy, "25", "0.40", 0);
    let other = scene.see(&fill(1, 2, Side::Buy, "25", "0.40", 0)).only().clone();
    let first = scene.see(&buy).only().clone();
    scene.order(&order(&other, 1, OrderStatus::Filled, ("9.75", "3.9975")));
    scene.order(&order(&first, 1, OrderStatus::Open, ("0", "0")));
    let given = scene.see(&voided(&buy));
    let [IntentsEvent::CancelIntent(cancel), IntentsEvent::CloseIntent(close)] = given.intents.as_slice()
    else {
        panic!("{:?}", given.intents)
    };
    assert_eq!(cancel.cancels, first.idempotency_key);
    // Nothing of what the other one filled.
    assert_eq!((close.fraction_num, close.fraction_den), (0, 9_750_000));
    // Where nothing at all is held the close is no more than that.
    let mut scene = Scene::following(fixed());
    scene.see(&buy);
    let given = scene.see(&voided(&buy));
    let IntentsEvent::CloseIntent(close) = &given.intents[1] else { panic!("{:?}", given.intents) };
    assert_eq!((close.fraction_num, close.fraction_den), (0, 1));
    // And where the order came to nothing there is nothing to do.
    let mut scene = Scene::following(fixed());
    let first = scene.see(&buy).only().clone();
    scene.order(&order(&first, 1, OrderStatus::Cancelled, ("0", "0")));
    assert!(scene.see(&voided(&buy)).reasons().is_empty());
}

#[test]
fn a_voided_sell_gives_the_shares_back_and_drops_what_is_due() {
    let (mut scene, _) = holding(("9.75", "3.9975"));
    let sell = fill(1, 2, Side::Sell, "60", "0.50", 5);
    let sold = scene.see(&sell).only().clone();
    let given = scene.see(&voided(&sell));
    let [IntentsEvent::CancelIntent(cancel)] = given.intents.as_slice() else {
        panic!("{:?}", given.intents)
    };
    assert_eq!(cancel.cancels, sold.idempotency_key);
    let given = scene.see(&fill(1, 3, Side::Buy, "25", "0.40", 6));
    let leader = &given.only().inputs.leader;
    assert_eq!((leader.shares_before, leader.average), (sh("200"), Some(px("0.4"))));
}

#[test]
fn removing_a_target_cancels_its_buys_and_sells_at_once_where_that_was_asked_for() {
    for close_now in [false, true] {
        let (mut scene, _) = holding(("9.75", "3.9975"));
        let open = scene.see(&fill(1, 2, Side::Buy, "25", "0.40", 0)).only().clone();
        let mut closing = target(1, 1, fixed());
        (closing.revision, closing.status, closing.close_now) = (7, TargetStatus::Closing, close_now);
        scene.put(&closing);
        let given = scene.cut();
        let IntentsEvent::CancelIntent(cancel) = &given.intents[0] else { panic!("{:?}", given.intents) };
        assert_eq!((cancel.cancels, cancel.cause.as_str()), (open.idempotency_key, "removed"));
        assert_eq!(given.intents.len(), if close_now { 2 } else { 1 });
        let row = decide::fixtures::row(1, 1);
        assert_eq!(given.only().fill_id.as_str(), format!("removed:{row}:7:{}", token(1, 0)));
        closing.revision = 8;
        scene.put(&closing);
        assert!(scene.cut().reasons().is_empty(), "once");
    }
}

#[test]
fn removing_a_target_and_keeping_its_positions_drops_the_closes_that_are_due() {
    // At once, or after it was wound down for a while.
    for wound_down in [false, true] {
        let (mut scene, _) = holding(("9.75", "3.9975"));
        let sells = [2, 3].map(|n| scene.see(&fill(1, n, Side::Sell, "60", "0.50", 5)).only().clone());
        let mut row = target(1, 1, fixed());
        row.revision = 2;
        if wound_down {
            row.status = TargetStatus::Closing;
            scene.put(&row);
            scene.cut();
        }
        (row.revision, row.status, row.keep_positions) = (3, TargetStatus::Removed, true);
        scene.put(&row);
        let given = scene.cut();
        let dropped: Vec<_> = given
            .intents
            .iter()
            .map(|i| match i {
                IntentsEvent::CancelIntent(cancel) => (cancel.cancels, cancel.cause.as_str()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(dropped, sells.map(|d| (d.idempotency_key, "removed")), "{wound_down}");
        row.revision = 4;
        scene.put(&row);
        assert!(scene.cut().reasons().is_empty(), "once");
        assert!(scene.see(&fill(1, 4, Side::Sell, "80", "0.50", 6)).reasons().is_empty(), "and kept");
    }
}

#[test]
fn a_manual_close_sells_everything_once() {
    let (mut scene, _) = holding(("9.75", "3.9975"));
    let request = close_request(1, 1, token(1, 0), "r1");
    scene.put_request(&request);
    let given = scene.cut();
    assert_eq!(part(&given), (1, 1, true));
    assert_eq!(given.only().fill_id.as_str(), format!("manual:r1:{}", token(1, 0)));
    assert_eq!(close(&given).sale_price, None);
    scene.put_request(&request);
    assert!(scene.cut().reasons().is_empty());
    scene.put_request(&close_request(1, 1, token(2, 0), "r2"));
    assert_eq!(scene.cut().reasons(), ["sell_without_position"]);
    // Somebody else's request for this row is nobody's.
    let mut foreign = close_request(1, 1, token(1, 0), "r3");
    foreign.billing_account_id = account(2);
    scene.put_request(&foreign);
    assert!(scene.cut().reasons().is_empty());
}

#[test]
fn a_resolved_market_is_held_no_more() {
    let (mut scene, _) = holding(("9.75", "3.9975"));
    scene.see(&TokenResolved {
        wallet: decide::fixtures::wallet(1),
        condition_id: decide::fixtures::condition(1),
        payouts: Vec::new(),
        resolved_at: at(9),
    });
    let given = scene.see(&fill(1, 2, Side::Sell, "60", "0.50", 10));
    assert_eq!(given.reasons(), ["sell_closed_position"]);
    assert_eq!(given.only().inputs.own.exposure, usd("0"));
}
