//! A token that goes on under another id: what its followers have of it goes along (behaviour.md 1, MIGRATION).
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use decide::{
    fixtures::{
        Given, Scene, account, amended, at, close_request, fill, migrated, order, px, sh, snapshot, target,
        token, usd, voided,
    },
    plan::settings::defaults,
};
use schemas::{
    AssetId, OrderStatus, Reason, Side, Sizing,
    events::{CloseIntent, Decision, Fill, IntentsEvent, Policy, PositionChanged, TokenMarked},
};

fn fixed() -> Policy {
    Policy { usdc_per_trade: Some(usd("4")), ..defaults(Sizing::Fixed) }
}

/// Market 1's first token, as it is called from the migration on.
fn new() -> AssetId {
    token(201, 0)
}

/// So many shares of the leader's go on under the new id; all of them for "0".
fn migration(tx: u64, shares: &str) -> PositionChanged {
    migrated(1, tx, 1, (token(1, 0), new()), shares, 10)
}

fn under_new(fill: Fill) -> Fill {
    Fill { asset: new(), ..fill }
}

/// The leader holds 200; we hold 9.75 of what was copied of its BUY of 25. Another account follows and holds nothing.
fn holding(policy: Policy) -> (Scene, Decision) {
    let mut scene = Scene::new();
    scene.put(&target(1, 1, policy));
    scene.put_fill(&snapshot(1, &[(1, "175", "70")]));
    scene.cut();
    let bought = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0)).only().clone();
    scene.put(&target(2, 1, fixed()));
    scene.cut();
    (scene, bought)
}

fn filled(scene: &mut Scene, bought: &Decision, revision: i64) {
    scene.order(&order(bought, revision, OrderStatus::Filled, ("9.75", "3.9")));
}

fn closes(given: &Given) -> Vec<&CloseIntent> {
    given
        .intents
        .iter()
        .filter_map(|intent| match intent {
            IntentsEvent::CloseIntent(close) => Some(close),
            _ => None,
        })
        .collect()
}

fn part(given: &Given) -> (i64, i64, bool) {
    let [close] = closes(given)[..] else { panic!("{:?}", given.intents) };
    (close.fraction_num, close.fraction_den, close.flat)
}

#[test]
fn those_who_hold_it_are_told_once_and_a_sale_under_the_new_id_closes() {
    let (mut scene, bought) = holding(fixed());
    filled(&mut scene, &bought, 1);
    let given = scene.see(&migration(2, "0"));
    let [IntentsEvent::MigrateIntent(told)] = given.intents.as_slice() else { panic!("{:?}", given.intents) };
    assert_eq!((&told.head.asset, &told.becomes), (&token(1, 0), &new()));
    assert_eq!(told.head.billing_account_id, account(1));
    let decision = given.only();
    assert_eq!((decision.reason, decision.inputs.own.held), (Reason::Ok, sh("9.75")));
    assert!(decision.fill_id.as_str().contains(":MIGRATION:"));
    assert_eq!(decision.order.as_ref().unwrap().becomes, Some(new()));
    // The same again, and back: nothing.
    assert!(scene.see(&migration(2, "0")).staged.decisions.is_empty());
    assert!(scene.see(&migration(3, "0")).staged.decisions.is_empty());
    assert!(scene.see(&migrated(1, 4, 1, (new(), token(1, 0)), "0", 12)).staged.decisions.is_empty());
    // 60 of 200: the leader's shares went along, and so did ours.
    let sale = under_new(fill(1, 5, Side::Sell, "60", "0.50", 20));
    let given = scene.see(&sale);
    assert_eq!(part(&given), (60_000_000, 200_000_000, false));
    assert_eq!(closes(&given)[0].head.asset, new());
    assert_eq!(given.decisions().next().unwrap().inputs.own.held, sh("9.75"));
}

#[test]
fn what_an_order_fills_after_it_counts_under_the_new_id() {
    // Whatever is told first: the order's steps, or the migration.
    let mut seen = Vec::new();
    for steps_before in 0..=2 {
        let (mut scene, bought) = holding(fixed());
        let part = order(&bought, 1, OrderStatus::PartiallyFilled, ("4", "1.6"));
        let whole = order(&bought, 2, OrderStatus::Filled, ("9.75", "3.9"));
        let steps = [part, whole];
        for step in &steps[..steps_before] {
            scene.order(step);
        }
        let given = scene.see(&migration(2, "0"));
        assert_eq!(given.intents.len(), 1, "what is only on its way is told too");
        for step in &steps[steps_before..] {
            scene.order(step);
        }
        let given = scene.see(&under_new(fill(1, 5, Side::Sell, "50", "0.50", 20)));
        let own = given.decisions().next().unwrap().inputs.own.clone();
        assert_eq!((own.held, own.pending, own.held_cost), (sh("9.75"), sh("0"), Some(usd("3.9"))));
        seen.push((own, part_of(&given)));
    }
    assert!(seen.windows(2).all(|w| w[0] == w[1]), "{seen:#?}");
}

fn part_of(given: &Given) -> (i64, i64, bool) {
    part(given)
}

#[test]
fn a_part_that_stays_behind_is_of_the_same_position() {
    let (mut scene, bought) = holding(fixed());
    filled(&mut scene, &bought, 1);
    scene.see(&migration(2, "150"));
    // 25 of the 50 that stayed are a part of 200, and close that much of what we hold under the new id.
    let given = scene.see(&fill(1, 5, Side::Sell, "25", "0.50", 20));
    assert_eq!(part(&given), (25_000_000, 200_000_000, false));
    let given = scene.see(&under_new(fill(1, 6, Side::Sell, "150", "0.50", 21)));
    assert_eq!(part(&given), (150_000_000, 175_000_000, false));
    let given = scene.see(&fill(1, 7, Side::Sell, "25", "0.50", 22));
    assert_eq!(part(&given), (1, 1, true));
}

#[test]
fn the_sample_knows_one_token() {
    let policy = Policy {
        vwap_tolerance: Some(schemas::Price::from_micro(-1)),
        ..defaults(Sizing::TargetPercentileScaled)
    };
    let (mut scene, _) = holding(policy);
    scene.see(&migration(2, "0"));
    let leader = |given: &Given| {
        let leader = &given.decisions().next().unwrap().inputs.leader;
        (leader.spent.unwrap().to_string(), leader.sample.unwrap())
    };
    // $10 before, $4 now: of one token.
    let given = scene.see(&under_new(fill(1, 3, Side::Buy, "10", "0.40", 20)));
    assert_eq!(leader(&given), ("14".to_owned(), 1));
    // More rows of the first, and it never having happened, find it under its new name.
    let first = fill(1, 1, Side::Buy, "25", "0.40", 0);
    scene.see(&amended(&first, "50", 1));
    let given = scene.see(&under_new(fill(1, 4, Side::Buy, "10", "0.40", 21)));
    assert_eq!(leader(&given), ("28".to_owned(), 1));
    scene.see(&voided(&amended(&first, "50", 1)));
    let given = scene.see(&under_new(fill(1, 5, Side::Buy, "10", "0.40", 22)));
    assert_eq!(leader(&given), ("12".to_owned(), 1));
}

#[test]
fn what_waits_below_the_floor_joins_what_comes_under_the_new_id() {
    let policy = Policy { ratio: Some(100_000), ..defaults(Sizing::Ratio) };
    let mut scene = Scene::following(policy);
    assert_eq!(scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0)).reasons(), ["below_market_min"]);
    assert!(scene.see(&migration(2, "0")).intents.is_empty(), "nobody holds any");
    let given = scene.see(&under_new(fill(1, 3, Side::Buy, "25", "0.40", 2)));
    assert_eq!(given.only().inputs.own.kept, usd("1"));
}

#[test]
fn what_is_all_due_is_not_asked_for_again() {
    let exit = Policy { take_profit_fraction: Some(100_000), ..fixed() };
    let (mut scene, bought) = holding(exit);
    filled(&mut scene, &bought, 1);
    let mark = |asset: AssetId| TokenMarked {
        wallet: decide::fixtures::wallet(1),
        asset,
        condition_id: decide::fixtures::condition(1),
        best_bid: Some(px("0.90")),
        best_ask: None,
        as_of: at(11),
    };
    assert_eq!(closes(&scene.see(&mark(token(1, 0)))).len(), 1);
    scene.see(&migration(2, "0"));
    for asset in [token(1, 0), new()] {
        assert!(scene.see(&mark(asset)).intents.is_empty());
    }
    // A close that a tenant asks for is of what is held, under whichever id it is asked for.
    for (id, asset) in [("one", token(1, 0)), ("two", new())] {
        scene.put_request(&close_request(1, 1, asset, id));
        let given = scene.cut();
        assert_eq!((part(&given), given.only().inputs.own.held), ((1, 1, true), sh("9.75")));
    }
}

#[test]
fn what_is_bought_under_a_former_id_is_told_with_it() {
    let (mut scene, _) = holding(fixed());
    scene.see(&migration(2, "0"));
    // A fill of before that comes late in the log: for the second account the first of this token.
    let given = scene.see(&fill(1, 3, Side::Buy, "30", "0.40", 3));
    let second: Vec<_> = given
        .intents
        .iter()
        .filter_map(|intent| match intent {
            IntentsEvent::MigrateIntent(told) if told.head.billing_account_id == account(2) => {
                Some(("migrates", &told.head.asset))
            }
            IntentsEvent::PlaceIntent(place) if place.head.billing_account_id == account(2) => {
                Some(("buys", &place.head.asset))
            }
            _ => None,
        })
        .collect();
    assert_eq!(second, [("migrates", &token(1, 0)), ("buys", &token(1, 0))]);
    let bought = given.decisions().find(|d| d.billing_account_id == account(2)).unwrap().clone();
    scene.order(&order(&bought, 1, OrderStatus::Filled, ("10", "4")));
    let given = scene.see(&under_new(fill(1, 5, Side::Sell, "23", "0.50", 20)));
    let theirs = given.decisions().find(|d| d.billing_account_id == account(2)).unwrap();
    assert_eq!(theirs.inputs.own.held, sh("10"));
}
