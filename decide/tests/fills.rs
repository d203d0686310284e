//! Fills through a cut: what is decided for whom, from which state, and how often.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use decide::{
    fixtures::{
        Given, Scene, account, amended, at, book, facts, fill, fill_of, order, px, sh, snapshot, target,
        token, usd,
    },
    plan::settings::defaults,
};
use schemas::{
    FillKind, Mode, OrderStatus, Outcome, Reason, Side, Sizing, TargetStatus,
    events::{Fill, IntentsEvent, MarketFacts, NearFill, PlaceIntent, Policy, TargetState},
};

fn fixed(usdc: &str) -> Policy {
    Policy { usdc_per_trade: Some(usd(usdc)), ..defaults(Sizing::Fixed) }
}

fn ratio(micro: i64) -> Policy {
    Policy { ratio: Some(micro), ..defaults(Sizing::Ratio) }
}

fn place(given: &Given) -> &PlaceIntent {
    match given.intents.as_slice() {
        [IntentsEvent::PlaceIntent(place)] => place,
        other => panic!("{other:?}"),
    }
}

/// The leader buys $10 at 0.40, 0.41 and 0.42 within a second; one cut each.
fn worked_example(policy: Policy, min_shares: &str) -> Vec<(Reason, Option<(String, String)>)> {
    let mut scene = Scene::following(policy);
    [("25", "0.40"), ("24.390244", "0.41"), ("23.809524", "0.42")]
        .into_iter()
        .enumerate()
        .map(|(n, (shares, price))| {
            let mut buy = fill(1, n as u64, Side::Buy, shares, price, 0);
            buy.facts = Some(MarketFacts { min_shares: sh(min_shares), ..facts(1) });
            let given = scene.see(&buy);
            let d = given.only();
            let order = d.order.as_ref();
            (d.reason, order.map(|o| (o.shares.unwrap().to_string(), o.limit.unwrap().to_string())))
        })
        .collect()
}

fn placed(shares: &str, limit: &str) -> (Reason, Option<(String, String)>) {
    (Reason::Ok, Some((shares.into(), limit.into())))
}

#[test]
fn the_worked_example_of_the_contract() {
    let skip = |reason| (reason, None);
    assert_eq!(
        worked_example(defaults(Sizing::MinBet), "5"),
        [placed("5", "0.41"), skip(Reason::VwapFloorBreach), skip(Reason::VwapFloorBreach)],
    );
    assert_eq!(worked_example(fixed("2"), "5"), [const { (Reason::BelowMarketMin, None) }; 3]);
    // What the $2 came to, had it been enough.
    assert_eq!(
        worked_example(fixed("2"), "4"),
        [placed("4.87", "0.41"), placed("4.76", "0.42"), placed("4.65", "0.43")],
    );
    // $1 is kept, $1 + $1 = $2 < $2.10 too, $1 + $2 = $3 is enough.
    assert_eq!(
        worked_example(ratio(100_000), "5"),
        [skip(Reason::BelowMarketMin), skip(Reason::BelowMarketMin), placed("6.97", "0.43")],
    );
}

#[test]
fn what_was_kept_joins_for_an_hour_and_a_sell_empties_it() {
    let buy = |n| fill(1, n, Side::Buy, "25", "0.40", 0);
    let mut scene = Scene::following(Policy { max_fill_age_s: Some(100_000), ..ratio(100_000) });
    assert_eq!(scene.see(&buy(1)).reasons(), ["below_market_min"]);
    scene.clock = at(2 + 3_600);
    let given = scene.see(&buy(2));
    assert_eq!(given.only().inputs.own.kept, usd("1"), "an hour is still within");
    scene.clock = at(3 + 3_600);
    assert_eq!(scene.see(&buy(3)).only().inputs.own.kept, usd("1"), "the first is gone, the second there");
    scene.see(&fill(1, 4, Side::Sell, "1", "0.40", 0));
    let given = scene.see(&buy(5));
    assert_eq!((given.only().inputs.own.kept, given.only().reason), (usd("0"), Reason::BelowMarketMin));
    scene.see(&buy(6));
    let given = scene.see(&buy(7));
    assert_eq!(given.only().outcome, Outcome::Placed);
    assert_eq!(scene.see(&buy(8)).only().inputs.own.kept, usd("0"), "a placed BUY empties it too");
}

#[test]
fn one_decision_per_subscribed_tenant_in_the_order_of_their_rows() {
    let mut scene = Scene::following(defaults(Sizing::MinBet));
    scene.put(&target(2, 1, fixed("4")));
    // Follows only what comes after this fill.
    let mut later = target(3, 1, fixed("4"));
    later.created_at = at(1);
    scene.put(&later);
    let mut gone = target(4, 1, fixed("4"));
    gone.status = TargetStatus::Removed;
    scene.put(&gone);
    let mut paused = target(5, 1, fixed("4"));
    paused.status = TargetStatus::Paused;
    scene.put(&paused);
    let given = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0));
    let whose: Vec<_> = given.decisions().map(|d| d.billing_account_id).collect();
    assert_eq!(whose, [account(1), account(2), account(5)]);
    assert_eq!(given.placed(), 3);
    assert_eq!(given.intents.len(), 3);
    let keys: Vec<_> = given.decisions().map(|d| d.idempotency_key).collect();
    assert!(keys.iter().all(|k| *k == keys[0]), "the key holds no tenant");
}

#[test]
fn a_tenant_who_follows_again_while_the_old_target_closes_is_decided_for_once() {
    let mut scene = Scene::following(defaults(Sizing::MinBet));
    let mut old = target(1, 1, defaults(Sizing::MinBet));
    (old.revision, old.status) = (2, TargetStatus::Closing);
    let mut again = target(1, 1, fixed("4"));
    again.target_row_id = decide::fixtures::row(77, 1);
    again.created_at = at(0);
    for order in [[&old, &again], [&again, &old]] {
        let mut scene = Scene::following(defaults(Sizing::MinBet));
        for row in order {
            scene.put(row);
        }
        let given = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0));
        assert_eq!((given.only().target_row_id, given.only().reason), (again.target_row_id, Reason::Ok));
    }
    // What it did before that is still the old target's.
    scene.put(&old);
    scene.put(&again);
    assert_eq!(scene.see(&fill(1, 2, Side::Buy, "25", "0.40", -1)).reasons(), ["target_closing"]);
}

#[test]
fn a_fill_of_a_wallet_that_nobody_follows_is_folded_and_not_decided() {
    let mut scene = Scene::new();
    assert_eq!(scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0)).reasons(), [""; 0]);
    scene.put(&target(1, 1, defaults(Sizing::MinBet)));
    scene.put_fill(&snapshot(1, &[]));
    scene.cut();
    let given = scene.see(&fill(1, 2, Side::Buy, "25", "0.40", 0));
    assert_eq!(given.only().inputs.leader.shares_before, sh("25"));
}

#[test]
fn a_policy_edit_holds_from_its_cut_on_and_an_older_revision_does_not() {
    let mut scene = Scene::following(fixed("2"));
    assert_eq!(scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0)).reasons(), ["below_market_min"]);
    let mut newer = target(1, 1, fixed("3"));
    (newer.revision, newer.policy_revision) = (3, 2);
    let mut older = target(1, 1, fixed("1"));
    older.revision = 2;
    scene.put(&newer);
    scene.put(&older);
    let given = scene.see(&fill(1, 2, Side::Buy, "25", "0.40", 0));
    assert_eq!((given.only().reason, given.only().policy_revision), (Reason::Ok, 2));
}

#[test]
fn already_placed_a_repeat_is_counted_and_not_recorded() {
    let mut scene = Scene::following(defaults(Sizing::MinBet));
    scene.put(&target(2, 1, fixed("4")));
    let buy = fill(1, 1, Side::Buy, "25", "0.40", 0);
    assert_eq!(scene.see(&buy).placed(), 2);
    let given = scene.see(&buy);
    assert_eq!((given.staged.decisions.len(), given.staged.repeats), (0, 2));
    // Under another name and from another source: the natural key says it is the same.
    let mut renamed = buy.clone();
    renamed.fill_id = renamed.fill_id.as_str().replace("data-api", "clob-ws").parse().unwrap();
    assert_eq!(scene.see(&renamed).staged.repeats, 2);
    // An amended BUY moves the leader's position and is never decided again.
    let given = scene.see(&amended(&buy, "40", 1));
    assert_eq!((given.staged.decisions.len(), given.staged.repeats), (0, 2));
    let given = scene.see(&fill(1, 2, Side::Buy, "10", "0.40", 0));
    assert_eq!(given.decisions().next().unwrap().inputs.leader.shares_before, sh("40"));
    // Totals that are not above the known ones are ignored, whatever their revision.
    scene.see(&amended(&buy, "39", 2));
    let given = scene.see(&fill(1, 3, Side::Buy, "10", "0.40", 0));
    assert_eq!(given.decisions().next().unwrap().inputs.leader.shares_before, sh("50"));
}

#[test]
fn a_repeat_is_known_for_a_week_of_the_cuts_clock_even_after_a_long_outage() {
    let mut scene = Scene::following(defaults(Sizing::MinBet));
    // The stage was down for nine days: the fill is older than what would be remembered by its own time.
    scene.clock = at(9 * 86_400);
    let buy = fill(1, 1, Side::Buy, "25", "0.40", 0);
    assert_eq!(scene.see(&buy).reasons(), ["stale_fill"]);
    scene.clock = at(15 * 86_400);
    assert_eq!(scene.see(&buy).staged.repeats, 1);
    scene.clock = at(17 * 86_400);
    scene.cut();
    assert_eq!(scene.core.state().sizes()[3], ("seen", 0));
}

#[test]
fn history_and_late_fills_are_never_decided_and_move_no_position() {
    let mut scene = Scene::following(defaults(Sizing::MinBet));
    for (n, kind) in [(1, FillKind::History), (2, FillKind::Late)] {
        let mut f = fill(1, n, Side::Buy, "25", "0.40", 0);
        f.kind = kind;
        let given = scene.see(&f);
        assert_eq!((given.staged.decisions.len(), given.staged.repeats), (0, 0));
    }
    let given = scene.see(&fill(1, 3, Side::Buy, "25", "0.40", 0));
    assert_eq!(given.only().inputs.leader.shares_before, sh("0"));
}

#[test]
fn a_burst_in_one_cut_sees_its_own_first_orders() {
    let mut scene = Scene::following(Policy { max_usdc_per_token: Some(usd("7")), ..fixed("4") });
    for n in 1..=5 {
        scene.put_fill(&fill(1, n, Side::Buy, "25", "0.40", 0));
    }
    let given = scene.cut();
    // $3.9975 + $2.9971 of $7; then no room.
    let sizes: Vec<_> = given.decisions().map(|d| d.order.as_ref().map(|o| o.shares.unwrap())).collect();
    assert_eq!(sizes, [Some(sh("9.75")), Some(sh("7.32")), None, None, None]);
    assert_eq!(given.reasons()[2..], ["position_cap_reached"; 3]);
    let resting: Vec<_> = given.decisions().map(|d| d.inputs.own.resting).collect();
    assert_eq!(resting, [0, 1, 2, 2, 2]);
}

#[test]
fn a_placed_intent_counts_at_full_size_until_orders_show_it_final() {
    let mut scene = Scene::following(fixed("4"));
    let first = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0));
    let d = first.only().clone();
    let exposure = |scene: &mut Scene, n| {
        let given = scene.see(&fill(1, n, Side::Buy, "0.01", "0.40", 0));
        let own = given.only().inputs.own.clone();
        (own.exposure.to_string(), own.held.to_string(), own.pending.to_string(), own.resting)
    };
    let mut small = target(1, 1, fixed("0.01"));
    small.revision = 2;
    scene.put(&small);
    let full = "3.9975".to_string();
    assert_eq!(exposure(&mut scene, 2), (full.clone(), "0".into(), "9.75".into(), 1));
    scene.order(&order(&d, 1, OrderStatus::Open, ("0", "0")));
    assert_eq!(exposure(&mut scene, 3), (full.clone(), "0".into(), "9.75".into(), 1));
    // Part of it filled below the limit: what filled is counted once, the rest still in full.
    scene.order(&order(&d, 2, OrderStatus::PartiallyFilled, ("4", "1.60")));
    assert_eq!(exposure(&mut scene, 4), (full.clone(), "4".into(), "5.75".into(), 1));
    // Unknown is not final.
    scene.order(&order(&d, 3, OrderStatus::Unknown, ("4", "1.60")));
    assert_eq!(exposure(&mut scene, 5), (full, "4".into(), "5.75".into(), 1));
    // An older revision changes nothing.
    scene.order(&order(&d, 2, OrderStatus::Cancelled, ("0", "0")));
    assert_eq!(exposure(&mut scene, 6).1, "4");
    // The cancelled remainder gives its room back.
    scene.order(&order(&d, 4, OrderStatus::Cancelled, ("4", "1.60")));
    assert_eq!(exposure(&mut scene, 7), ("1.6".into(), "4".into(), "0".into(), 0));
    // A final order is remembered: the same step again is no second fill.
    scene.order(&order(&d, 4, OrderStatus::Cancelled, ("4", "1.60")));
    assert_eq!(exposure(&mut scene, 8).1, "4");
    // One of its trades failed after all.
    scene.order(&order(&d, 5, OrderStatus::Cancelled, ("1", "0.40")));
    assert_eq!(exposure(&mut scene, 9), ("0.4".into(), "1".into(), "0".into(), 0));
}

#[test]
fn the_clock_of_a_cut_never_runs_backwards() {
    let mut scene = Scene::following(fixed("4"));
    scene.clock = at(100);
    assert_eq!(scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 30)).only().decided_at, at(100));
    // The machine's clock was set back, or the next owner's lags behind.
    scene.clock = at(40);
    assert_eq!(scene.see(&fill(1, 2, Side::Buy, "25", "0.40", 30)).only().decided_at, at(100));
    scene.clock = at(101);
    assert_eq!(scene.see(&fill(1, 3, Side::Buy, "25", "0.40", 30)).only().decided_at, at(101));
}

#[test]
fn an_intent_that_no_order_speaks_of_counts_until_its_time_is_past() {
    let mut scene = Scene::following(Policy { max_fill_age_s: Some(60), ..fixed("4") });
    scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0));
    let resting = |scene: &mut Scene, n, secs| {
        scene.clock = at(secs);
        scene.see(&fill(1, n, Side::Buy, "25", "0.40", secs - 120)).only().inputs.own.resting
    };
    // Fill time + 60 s + 5 min = 360 s.
    assert_eq!(resting(&mut scene, 2, 359), 1);
    assert_eq!(resting(&mut scene, 3, 360), 0);
}

#[test]
fn a_limit_far_from_the_oldest_resting_one_s_replaces_it_once() {
    let policy = Policy { max_open_orders: Some(1), vwap_tolerance: None, ..fixed("4") };
    let mut scene = Scene::following(policy);
    let first = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0));
    assert_eq!(scene.see(&fill(1, 2, Side::Buy, "25", "0.42", 0)).reasons(), ["already_resting"]);
    let second = scene.see(&fill(1, 3, Side::Buy, "25", "0.43", 0));
    assert_eq!(place(&second).replaces, Some(first.only().idempotency_key));
    // The replaced one has left; its successor is the oldest now.
    let third = scene.see(&fill(1, 4, Side::Buy, "25", "0.50", 0));
    assert_eq!(third.only().inputs.own.resting, 1);
    assert_eq!(place(&third).replaces, Some(second.only().idempotency_key));
    // The gate denied the last: the one it was to replace rests again.
    scene.order(&order(third.only(), 1, OrderStatus::Denied, ("0", "0")));
    let given = scene.see(&fill(1, 5, Side::Buy, "25", "0.43", 0));
    assert_eq!(given.reasons(), ["already_resting"]);
    assert_eq!(given.only().inputs.own.oldest, Some(second.only().idempotency_key));
}

#[test]
fn the_leader_s_average_and_cost_are_those_of_its_fills_on_the_snapshot() {
    let mut scene = Scene::new();
    scene.put(&target(1, 1, defaults(Sizing::MinBet)));
    scene.put_fill(&snapshot(1, &[(1, "100", "30")]));
    scene.cut();
    let given = scene.see(&fill(1, 1, Side::Buy, "100", "0.40", 0));
    let leader = &given.only().inputs.leader;
    assert_eq!(leader.average, Some(px("0.3")), "without this fill");
    assert_eq!((leader.shares_before, leader.shares_after), (sh("100"), sh("200")));
    assert_eq!(leader.token_cost, usd("70"), "with it");
    // Half of it is sold: half of the cost goes, at the average of 0.35.
    scene.see(&fill(1, 2, Side::Sell, "100", "0.50", 0));
    let given = scene.see(&fill(1, 3, Side::Buy, "100", "0.35", 0));
    let leader = &given.only().inputs.leader;
    assert_eq!((leader.average, leader.token_cost), (Some(px("0.35")), usd("70")));
    // The opposite token counts for rule 9.
    let no = fill_of(1, 4, 1, 1, Side::Buy, sh("25"), px("0.40"), 0);
    let given = scene.see(&no);
    assert_eq!(given.reasons(), ["target_dominant_other_side"]);
    assert_eq!(given.only().inputs.leader.opposite_cost, usd("70"));
}

/// The leader's shares, seen by the next fill.
fn shares_now(scene: &mut Scene, n: u64) -> String {
    let given = scene.see(&fill(1, n, Side::Buy, "1", "0.40", 1));
    given.only().inputs.leader.shares_before.to_string()
}

#[test]
fn fills_that_the_snapshot_contains_move_nothing_whatever_their_order_in_the_log() {
    let contained = fill(1, 1, Side::Buy, "25", "0.40", -4_000);
    let near = fill(1, 2, Side::Buy, "30", "0.40", -10);
    let beyond = fill(1, 3, Side::Buy, "7", "0.40", -9);
    let mut read = snapshot(1, &[(1, "100", "40")]);
    read.near = vec![NearFill { tx: near.tx, asset: near.asset.clone(), side: Side::Buy, shares: sh("20") }];
    // 100 are held; of the near fill 20 are in there, so 10 more; and 7.
    for order in [[0, 1, 2, 3], [1, 2, 3, 0], [1, 0, 3, 2], [3, 2, 0, 1]] {
        let mut scene = Scene::new();
        let mut young = target(1, 1, fixed("4"));
        young.created_at = at(0);
        scene.put(&young);
        for step in order {
            match step {
                0 => scene.see(&read),
                1 => scene.see(&contained),
                2 => scene.see(&near),
                _ => scene.see(&beyond),
            };
        }
        assert_eq!(shares_now(&mut scene, 9), "117", "{order:?}");
        // An amendment beyond what the snapshot contains of it moves.
        scene.see(&amended(&near, "32", 1));
        assert_eq!(shares_now(&mut scene, 10), "120", "{order:?}");
        // One that the snapshot contains entirely does not.
        scene.see(&amended(&contained, "99", 1));
        assert_eq!(shares_now(&mut scene, 11), "121", "{order:?}");
    }
}

#[test]
fn a_snapshot_in_parts_holds_once_it_is_whole() {
    let mut scene = Scene::new();
    scene.put(&target(1, 1, fixed("4")));
    let mut parts = [snapshot(1, &[(1, "100", "40")]), snapshot(1, &[(2, "50", "20")])];
    for (n, part) in (0..).zip(&mut parts) {
        (part.part, part.parts) = (n, 2);
    }
    scene.see(&parts[1]);
    let given = scene.see(&fill(1, 1, Side::Buy, "1", "0.40", 0));
    assert_eq!(given.reasons(), ["before_baseline_snapshot"]);
    scene.see(&parts[0]);
    // 100, and the fill that came before the snapshot in the log and after it in time.
    assert_eq!(shares_now(&mut scene, 2), "101");
}

#[test]
fn a_fill_without_facts_or_with_a_closed_market_is_skipped_with_its_reason() {
    let mut scene = Scene::following(defaults(Sizing::MinBet));
    let mut bare = fill(1, 1, Side::Buy, "25", "0.40", 0);
    bare.facts = None;
    assert_eq!(scene.see(&bare).reasons(), ["market_unknown"]);
    let mut closed = fill(1, 2, Side::Buy, "25", "0.40", 0);
    closed.facts = Some(MarketFacts { accepting_orders: false, ..facts(1) });
    assert_eq!(scene.see(&closed).reasons(), ["market_closed"]);
}

#[test]
fn an_intent_says_what_the_gate_needs() {
    let mut scene = Scene::following(fixed("4"));
    let given = scene.see(&fill(1, 1, Side::Buy, "25", "0.40", 0));
    let (d, p) = (given.only(), place(&given));
    assert_eq!((p.limit, p.shares, p.amount), (px("0.41"), sh("9.75"), None));
    assert_eq!((p.order_ttl_s, p.send_until), (600, at(120)));
    assert_eq!((p.head.idempotency_key, p.head.asset.clone()), (d.idempotency_key, token(1, 0)));
    assert_eq!(p.head.tx, Some(decide::fixtures::tx(1)));
    assert_eq!((p.head.origin.partition, p.head.origin.cut), (0, given.staged.cut.number));
    assert_eq!(p.head.origin.decision_hash, given.staged.decisions[0].leaf);
    assert_eq!(p.head.origin.observed_at, at(1));
    assert_eq!(p.max_usdc_per_token, usd("25"));
}

#[test]
fn the_plan_read_from_a_decision_s_own_inputs_says_the_same() {
    let mut scene = Scene::following(fixed("4"));
    scene.put(&target(2, 1, ratio(100_000)));
    scene.put(&target(3, 1, defaults(Sizing::MinBet)));
    scene.put(&target(4, 1, defaults(Sizing::Auto)));
    for (n, price) in (0..20).zip(["0.40", "0.42", "0.02"].into_iter().cycle()) {
        let side = if n % 5 == 4 { Side::Sell } else { Side::Buy };
        scene.put_fill(&fill(1, n, side, "25", price, 0));
    }
    let given = scene.cut();
    assert_eq!(given.staged.decisions.len(), 80);
    for d in given.decisions() {
        let again = decide::plan::v1::plan(d.condition_id, &d.inputs, d.decided_at);
        assert_eq!((again.outcome, again.reason, &again.order), (d.outcome, d.reason, &d.order));
    }
}

#[test]
fn a_paper_order_carries_the_recorded_book_and_a_real_one_none() {
    for (mode, carried) in [(Mode::Paper, true), (Mode::Simulated, false), (Mode::Live, false)] {
        let mut scene = Scene::new();
        scene.put(&TargetState { mode, ..target(1, 1, fixed("4")) });
        scene.put_fill(&snapshot(1, &[]));
        scene.cut();
        let recorded = book(token(1, 0), "0.38", "0.40");
        let given =
            scene.see(&Fill { book: Some(recorded.clone()), ..fill(1, 1, Side::Buy, "25", "0.40", 0) });
        assert_eq!(place(&given).book, carried.then_some(recorded), "{mode}");
    }
}
