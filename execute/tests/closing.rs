//! What becomes of a close, from its intent to its end (behaviour.md 4): the gate's steps over a snapshot, by example.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use common::{
    Tenant, grant, price,
    scene::{Scene, cancel_of, cancelled, inserted, owed_now, secs, void_of},
    shares, usdc,
};
use execute::core::{
    Attempt,
    close::{
        End, Note,
        plan::{Bid, Market, lacks},
    },
    gate::{Step, denial},
    snapshot::Grant,
};
use schemas::{Denial, IdempotencyKey, OrderStatus, OrderType, Shares, Side};

// How much is due --------------------------------------------------------------------------------------------------

#[test]
fn an_amended_sale_is_due_by_itself_of_what_is_left() {
    // behaviour.md 4: of 200 sold 60, we hold 20: 6; amended to 100: 40/140 x 14 = 4.
    let mut scene = Scene::holding("20");
    let sale = scene.tenant.close(9, 60, 200, "0.50");
    let mut amended = scene.tenant.close(9, 40, 140, "0.50");
    amended.head.revision = 1;
    let first = inserted(scene.gate(sale)).remove(0);
    assert_eq!((first.shares, first.attempt), (shares("6"), 0));
    // While it is on its way the amendment is due, and waits.
    assert_eq!(scene.gate(amended.clone()), [Step::Owe(shares("4"))]);
    scene.becomes(&first, OrderStatus::Filled, "6");
    let second = scene.turn().remove(0);
    assert_eq!(
        (second.shares, second.attempt, second.idempotency_key),
        (shares("4"), 1, first.idempotency_key)
    );
    assert_ne!(second.natural_key, first.natural_key);
    // Neither is taken twice.
    assert!(matches!(scene.gate(amended).as_slice(), [Step::Nothing(_)]));
}

#[test]
fn a_sale_of_one_percent_does_not_close_everything() {
    let mut scene = Scene::holding("500");
    assert_eq!(inserted(scene.gate(scene.tenant.close(9, 1, 100, "0.50")))[0].shares, shares("5"));
    assert_eq!(owed_now(&scene), shares("5"));
}

#[test]
fn an_unknown_holding_of_the_leader_closes_everything() {
    let mut scene = Scene::holding("7.129");
    let sold = inserted(scene.gate(scene.tenant.close(9, 5, 0, "0.50"))).remove(0);
    assert_eq!(sold.shares, shares("7.12"));
}

#[test]
fn each_close_takes_its_part_of_what_the_others_leave() {
    let mut scene = Scene::holding("20");
    let first = inserted(scene.gate(scene.tenant.close(8, 3, 10, "0.50"))).remove(0);
    assert_eq!((first.status, first.shares, first.side), (OrderStatus::Reserved, shares("6"), Side::Sell));
    assert_eq!(scene.gate(scene.tenant.close(9, 1, 2, "0.50")), [Step::Owe(shares("7"))]);
    assert_eq!(scene.gate(scene.tenant.close(10, 1, 1, "0.50")), [Step::Owe(shares("7"))]);
    // Everything is due: nothing is left for another, which is told once the others have ended.
    let last = scene.tenant.close(11, 1, 1, "0.50");
    assert_eq!(scene.gate(last.clone()), [Step::Owe(shares("0"))]);
    assert_eq!(scene.alive().len(), 1);
    scene.becomes(&first, OrderStatus::Filled, "6");
    let rest = scene.turn().remove(0);
    assert_eq!(rest.shares, shares("14"));
    scene.becomes(&rest, OrderStatus::Filled, "14");
    let told = scene.turn();
    let told: Vec<_> = told.iter().filter(|a| a.idempotency_key == last.head.idempotency_key).collect();
    assert_eq!(told.iter().map(|a| denial(a)).collect::<Vec<_>>(), [Some(Denial::Dust)]);
    assert!(scene.turn().is_empty() && scene.close().open().next().is_none());
}

/// What is too little to be sold of a close for now: one share at half a dollar.
fn gathering() -> (Scene, IdempotencyKey) {
    let mut scene = Scene::holding("20");
    let mut close = scene.tenant.close(1, 1, 1, "0.50");
    // The policy sells everything; the leader has still some.
    close.flat = false;
    let first = inserted(scene.gate(close)).remove(0);
    scene.becomes(&first, OrderStatus::Cancelled, "19");
    scene.pass(60);
    assert!(scene.turn().is_empty(), "it gathers");
    (scene, first.idempotency_key)
}

#[test]
fn a_flat_leader_is_not_waited_for_though_all_that_is_held_is_due_already() {
    let (mut scene, key) = gathering();
    let flat = scene.tenant.close(2, 1, 1, "0.40");
    let steps = scene.gate(flat.clone());
    assert_eq!(steps[0], Step::Owe(Shares::ZERO));
    let sold = inserted(steps).remove(0);
    // At the price of the last sale.
    assert_eq!(
        (sold.idempotency_key, sold.shares, sold.limit_price, sold.is_final),
        (key, shares("1"), price("0.38"), false)
    );
    scene.becomes(&sold, OrderStatus::Cancelled, "0");
    scene.pass(30);
    let again = scene.turn().remove(0);
    assert_eq!((again.shares, again.limit_price), (shares("1"), price("0.36")));
    scene.becomes(&again, OrderStatus::Filled, "1");
    let told = scene.turn();
    assert_eq!(
        told.iter().map(|a| (a.idempotency_key, denial(a))).collect::<Vec<_>>(),
        [(flat.head.idempotency_key, Some(Denial::Dust))]
    );
    assert!(scene.turn().is_empty());
    assert_eq!((scene.close().open().count(), scene.close().next_look_at), (0, None));
}

#[test]
fn a_tenant_who_asks_for_what_gathers_has_it_sold_at_what_is_bid() {
    let (mut scene, key) = gathering();
    let mut manual = scene.tenant.close(2, 1, 1, "0.40");
    manual.sale_price = None;
    assert_eq!(scene.gate(manual), [Step::Owe(Shares::ZERO)]);
    assert!(lacks(scene.close(), scene.snapshot.now).bid);
    let sold = scene.turn_with(&Market { bid: Bid::Best(price("0.60")), ..Market::default() }).remove(0);
    assert_eq!(
        (sold.idempotency_key, sold.shares, sold.limit_price, sold.is_final),
        (key, shares("1"), price("0.57"), false)
    );
}

#[test]
fn a_sale_of_which_nothing_is_due_sets_the_price_of_what_rests() {
    let mut scene = Scene::holding("20");
    let first = inserted(scene.gate(scene.tenant.close(1, 1, 1, "0.50"))).remove(0);
    scene.becomes(&first, OrderStatus::Cancelled, "0");
    scene.pass(300);
    let rests = scene.turn().remove(0);
    scene.becomes(&rests, OrderStatus::Open, "0");
    let steps = scene.gate(scene.tenant.close(2, 1, 2, "0.40"));
    assert_eq!(cancelled(&steps), [(first.idempotency_key, "repriced".to_owned())]);
    assert!(inserted(steps).is_empty());
    scene.becomes(&rests, OrderStatus::Cancelled, "0");
    let next = scene.turn().remove(0);
    assert_eq!((next.limit_price, next.shares), (price("0.38"), shares("20")));
}

#[test]
fn what_adds_nothing_ends_with_the_others_however_they_end() {
    let look = Market { balance: Some(Shares::ZERO), ..Market::default() };
    for (market, told) in [
        (look, [(OrderStatus::Cancelled, "external_close"), (OrderStatus::Denied, "dust")]),
        (
            Market { ended: true, ..Market::default() },
            [(OrderStatus::Cancelled, "market_ended"), (OrderStatus::Cancelled, "market_ended")],
        ),
    ] {
        let (mut scene, _) = gathering();
        scene.gate(scene.tenant.close(2, 1, 1, "0.40"));
        let sold = scene.alive()[0].clone();
        scene.becomes(&sold, OrderStatus::Cancelled, "0");
        let mut rows = scene.turn_with(&market);
        scene.pass(60);
        rows.extend(scene.turn_with(&market));
        let rows: Vec<_> = rows.iter().map(|a| (a.status, a.reason.as_deref().unwrap())).collect();
        assert_eq!(rows, told);
        assert_eq!((scene.close().open().count(), scene.close().next_look_at), (0, None));
    }
    // One whose sale is taken back leaves nothing behind that would wait for ever.
    let (mut scene, key) = gathering();
    let mut other = scene.tenant.close(2, 1, 2, "0.40");
    other.flat = false;
    scene.gate(other);
    let of = scene.due(key).intent.head.clone();
    let rows = inserted(scene.gate(cancel_of(&scene.tenant, &of, "void")));
    assert_eq!(
        rows.iter().map(|a| a.status).collect::<Vec<_>>(),
        [OrderStatus::Cancelled, OrderStatus::Denied]
    );
    assert_eq!(scene.close().open().count(), 0);
}

#[test]
fn a_close_of_nothing_says_so() {
    let mut scene = Scene::holding("0");
    let denied = inserted(scene.gate(scene.tenant.close(9, 1, 1, "0.50"))).remove(0);
    assert_eq!(denial(&denied), Some(Denial::SellWithoutPosition));
    // What another target opened is not this one's to close.
    let mut scene = Scene::holding("20");
    let mut other = scene.tenant.close(9, 1, 1, "0.50");
    other.head = scene.tenant.head(2, 1, 1, Side::Sell, 9);
    let denied = inserted(scene.gate(other)).remove(0);
    assert_eq!(denial(&denied), Some(Denial::SellWithoutPosition));
    for (held, told) in [("0.009", Some(Denial::Dust)), ("0.019", None)] {
        let row = inserted(Scene::holding(held).gate(Tenant::new(1).close(9, 1, 1, "0.50"))).remove(0);
        assert_eq!(denial(&row), told, "{held}");
    }
}

#[test]
fn below_one_half_the_buys_are_left_and_later_fills_are_not_trimmed() {
    let mut scene = Scene::holding("20");
    let buy = scene.buy(2, "10");
    let steps = scene.gate(scene.tenant.close(9, 49, 100, "0.50"));
    assert!(cancelled(&steps).is_empty());
    assert_eq!(inserted(steps)[0].shares, shares("9.8"));
    scene.becomes(&buy, OrderStatus::Filled, "10");
    scene.turn();
    assert_eq!(owed_now(&scene), shares("9.8"));
}

#[test]
fn from_one_half_the_buys_are_cancelled_and_their_part_is_due_when_they_are_final() {
    let mut scene = Scene::holding("16");
    let (one, two) = (scene.buy(2, "10"), scene.buy(3, "10"));
    let one = scene.becomes(&one, OrderStatus::PartiallyFilled, "4");
    // 20 are held: half of them go at once.
    let steps = scene.gate(scene.tenant.close(9, 1, 2, "0.50"));
    let closed = |a: &Attempt| (a.idempotency_key, "closed".to_owned());
    let mut expected = [closed(&one), closed(&two)];
    expected.sort();
    let mut asked = cancelled(&steps);
    asked.sort();
    assert_eq!(asked, expected);
    let sold = inserted(steps).remove(0);
    assert_eq!(sold.shares, shares("10"));
    let key = sold.idempotency_key;
    // One filled 3 more before the cancel came: "already matched" is a fill. Nothing is due of it yet.
    let one = scene.becomes(&one, OrderStatus::PartiallyFilled, "7");
    scene.turn();
    assert_eq!(scene.due(key).shares, shares("10"));
    scene.becomes(&one, OrderStatus::Cancelled, "7");
    scene.turn();
    assert_eq!(scene.due(key).shares, shares("11.5"));
    scene.becomes(&two, OrderStatus::Cancelled, "0");
    scene.becomes(&sold, OrderStatus::Filled, "10");
    let rest = scene.turn();
    // What is due is worth less than a dollar: 1.5 x 0.50. It gathers.
    assert!(rest.is_empty());
    assert_eq!((owed_now(&scene), scene.due(key).awaits.len()), (shares("1.5"), 0));
}

#[test]
fn a_close_of_what_is_still_on_its_way_waits_for_it() {
    let mut scene = Scene::holding("0");
    let buy = scene.buy(2, "10");
    let steps = scene.gate(scene.tenant.close(9, 1, 1, "0.50"));
    assert_eq!(cancelled(&steps).len(), 1);
    assert!(inserted(steps).is_empty(), "nothing is held, and what will be is not known");
    assert!(scene.turn().is_empty());
    scene.becomes(&buy, OrderStatus::Filled, "10");
    assert_eq!(scene.turn().remove(0).shares, shares("10"));
}

#[test]
fn two_closes_that_wait_for_one_buy_share_it() {
    let mut scene = Scene::holding("0");
    let buy = scene.buy(2, "10");
    let (half, all) = (scene.tenant.close(9, 1, 2, "0.50"), scene.tenant.close(10, 1, 1, "0.50"));
    scene.gate(half.clone());
    let buy = scene.becomes(&buy, OrderStatus::PartiallyFilled, "4");
    // Four are held, of which the first will get two.
    assert_eq!(inserted(scene.gate(all.clone())).remove(0).shares, shares("2"));
    scene.becomes(&buy, OrderStatus::Cancelled, "10");
    scene.turn();
    assert_eq!(scene.due(half.head.idempotency_key).shares, shares("5"));
    assert_eq!(scene.due(all.head.idempotency_key).shares, shares("5"));
}

#[test]
fn a_void_close_sells_what_that_one_order_filled() {
    let mut scene = Scene::holding("30");
    let buy = scene.buy(2, "10");
    let head = scene.tenant.buy(2, "10", "0.40").head;
    scene.becomes(&buy, OrderStatus::Filled, "8");
    let sold = inserted(scene.gate(void_of(&scene.tenant, &head))).remove(0);
    assert_eq!(sold.shares, shares("8"), "of the 38 that are held");
}

#[test]
fn a_void_close_waits_for_its_order_to_be_final_and_then_sells_all_of_it() {
    let mut scene = Scene::holding("30");
    let buy = scene.buy(2, "10");
    let buy = scene.becomes(&buy, OrderStatus::PartiallyFilled, "3");
    let head = scene.tenant.buy(2, "10", "0.40").head;
    let void = void_of(&scene.tenant, &head);
    // The intent says that a part of zero is to be closed: what filled by then is not what counts.
    let steps = scene.gate(void.clone());
    assert_eq!(cancelled(&steps), [(head.idempotency_key, "closed".to_owned())]);
    assert!(inserted(steps).is_empty());
    scene.becomes(&buy, OrderStatus::Cancelled, "7");
    let sold = scene.turn().remove(0);
    assert_eq!((sold.shares, sold.idempotency_key), (shares("7"), void.head.idempotency_key));
    // One whose order filled nothing has nothing to sell.
    let mut scene = Scene::holding("30");
    let buy = scene.buy(2, "10");
    scene.becomes(&buy, OrderStatus::Cancelled, "0");
    let told = inserted(scene.gate(void_of(&scene.tenant, &head))).remove(0);
    assert_eq!(denial(&told), Some(Denial::SellWithoutPosition));
}

#[test]
fn a_voided_buy_that_waits_for_the_one_it_replaces_is_not_placed() {
    let mut scene = Scene::holding("0");
    let old = scene.buy(2, "10");
    let mut new = scene.tenant.buy(3, "10", "0.45");
    new.replaces = Some(old.idempotency_key);
    assert!(scene.gate(new.clone()).iter().any(|s| matches!(s, Step::Defer(_))));
    let told = inserted(scene.gate(void_of(&scene.tenant, &new.head))).remove(0);
    assert_eq!(denial(&told), Some(Denial::SellWithoutPosition));
    scene.becomes(&old, OrderStatus::Cancelled, "0");
    let denied = inserted(scene.gate(new)).remove(0);
    assert_eq!((denied.side, denial(&denied)), (Side::Buy, Some(Denial::Superseded)));
}

#[test]
fn what_was_written_before_causes_were_told_apart_by_target_is_not_taken_again() {
    let mut scene = Scene::holding("30");
    let head = scene.tenant.buy(2, "10", "0.40").head;
    let void = void_of(&scene.tenant, &head);
    let former = format!("{}#0", void.head.fill_id);
    // It was denied: there was no such order. By then there is one, and it has filled.
    let denied = inserted(scene.gate(void.clone())).remove(0);
    assert_eq!(denial(&denied), Some(Denial::SellWithoutPosition));
    assert_ne!(denied.natural_key, former);
    scene.snapshot.named.get_mut(&denied.key()).unwrap().natural_key.clone_from(&former);
    let buy = scene.buy(2, "10");
    scene.becomes(&buy, OrderStatus::Filled, "10");
    assert!(matches!(scene.gate(void.clone()).as_slice(), [Step::Nothing(_)]));
    // Another target's row of that name is not this one's.
    let mut other = scene.snapshot.named.remove(&denied.key()).unwrap();
    other.target_id = scene.tenant.head(2, 1, 1, Side::Sell, 9).target_id;
    other.idempotency_key = IdempotencyKey::of(other.target_id, &void.head.fill_id);
    scene.snapshot.named.insert(other.key(), other);
    assert_eq!(inserted(scene.gate(void.clone())).remove(0).shares, shares("10"));
    // It is due, under its former name.
    scene.snapshot.named.retain(|_, a| a.side == Side::Buy);
    scene.snapshot.known_dues.iter_mut().for_each(|(_, natural)| natural.clone_from(&former));
    assert!(matches!(scene.gate(void).as_slice(), [Step::Nothing(_)]));
}

#[test]
fn a_close_that_names_another_condition_is_about_its_position() {
    let mut scene = Scene::holding("20");
    let mut close = scene.tenant.close(9, 1, 1, "0.50");
    close.head.condition_id = common::condition(2);
    close.facts = Some(common::facts(2));
    assert_eq!(scene.gate(close), [Step::Owe(shares("20"))], "facts of another market say nothing of it");
    assert_eq!(scene.close().condition_id, common::condition(1));
    assert!(lacks(scene.close(), scene.snapshot.now).facts);
    let read = Market { facts: Some(common::facts(1)), ..Market::default() };
    let sold = scene.turn_with(&read).remove(0);
    assert_eq!((sold.shares, sold.condition_id), (shares("20"), common::condition(1)));
}

#[test]
fn what_was_read_for_a_close_under_another_condition_does_not_end_it() {
    let mut scene = Scene::holding("20");
    assert_eq!(scene.gate(scene.tenant.close(9, 1, 20, "0.50")), [Step::Owe(shares("1"))]);
    let position = scene.position();
    scene.snapshot.closes.get_mut(&position).unwrap().condition_id = common::condition(2);
    // The other market has ended: this one has not.
    let other = Market { ended: true, facts: Some(common::facts(2)), ..Market::default() };
    assert!(scene.turn_with(&other).is_empty());
    assert_eq!((scene.close().condition_id, owed_now(&scene)), (common::condition(1), shares("1")));
}

// When, and at which price -----------------------------------------------------------------------------------------

#[test]
fn dues_gather_until_they_are_worth_a_dollar_and_are_sold_together() {
    let mut scene = Scene::holding("10");
    // Nine hundredths of ten at 0.50 are 45 cents, and so is the next.
    let (one, two, three) = (
        scene.tenant.close(1, 9, 100, "0.50"),
        scene.tenant.close(2, 9, 91, "0.50"),
        scene.tenant.close(3, 9, 82, "0.50"),
    );
    assert_eq!(scene.gate(one.clone()), [Step::Owe(shares("0.9"))]);
    assert_eq!(scene.gate(two.clone()), [Step::Owe(shares("0.9"))]);
    let sold = inserted(scene.gate(three.clone())).remove(0);
    assert_eq!((sold.shares, sold.idempotency_key), (shares("2.7"), one.head.idempotency_key));
    // Its fills are theirs, oldest first; the two that never had an attempt are told by rows of their own.
    scene.becomes(&sold, OrderStatus::Filled, "2.7");
    let told = scene.turn();
    let expected: Vec<_> = [&two, &three]
        .iter()
        .map(|i| {
            let by = Note::SoldBy(one.head.idempotency_key);
            (i.head.idempotency_key, OrderStatus::Filled, Shares::ZERO, shares("0.9"), Some(by))
        })
        .collect();
    let rows: Vec<_> =
        told.iter().map(|a| (a.idempotency_key, a.status, a.filled_shares, a.shares, a.note)).collect();
    assert_eq!(rows, expected);
    assert_eq!(owed_now(&scene), Shares::ZERO);
}

#[test]
fn a_flat_leader_is_not_waited_for() {
    let mut scene = Scene::holding("1");
    let mut close = scene.tenant.close(1, 1, 2, "0.50");
    close.flat = true;
    assert_eq!(inserted(scene.gate(close)).remove(0).shares, shares("0.5"));
    // What the policy says is asked instead of a dollar.
    let mut scene = Scene::holding("10");
    let mut close = scene.tenant.close(1, 1, 10, "0.50");
    close.min_close_usdc = Some(usdc("0.50"));
    assert_eq!(inserted(scene.gate(close)).remove(0).shares, shares("1"));
}

#[test]
fn no_remainder_is_sold_for_being_small() {
    let mut scene = Scene::holding("10");
    let sold = inserted(scene.gate(scene.tenant.close(1, 99, 100, "0.50"))).remove(0);
    assert_eq!(sold.shares, shares("9.9"));
}

#[test]
fn an_exit_widens_every_thirty_seconds_until_it_rests_at_its_floor() {
    let mut scene = Scene::holding("20");
    let mut attempt = inserted(scene.gate(scene.tenant.close(1, 1, 1, "0.50"))).remove(0);
    let mut limits = vec![attempt.limit_price.to_string()];
    while attempt.order_type == Some(OrderType::Fak) {
        assert_eq!(attempt.note, None);
        scene.becomes(&attempt, OrderStatus::Cancelled, "0");
        assert!(scene.turn().is_empty(), "not before its time");
        let at = scene.close().next_look_at.unwrap();
        assert_eq!(at, scene.snapshot.now.plus(secs(30)));
        scene.pass(30);
        attempt = scene.turn().remove(0);
        limits.push(attempt.limit_price.to_string());
    }
    assert_eq!(limits, ["0.47", "0.45", "0.42", "0.4", "0.37", "0.35"]);
    assert_eq!((attempt.order_type, attempt.note), (Some(OrderType::Gtd), Some(Note::ExitFloor)));
    assert_eq!(attempt.expires_at.unwrap().secs(), scene.snapshot.now.secs() + 3_601);
    assert_eq!(attempt.attempt, 5);
    // It rests until it lapses, and then again.
    scene.becomes(&attempt, OrderStatus::Open, "0");
    scene.pass(3_602);
    assert!(scene.turn().is_empty(), "it is not final yet");
    scene.becomes(&attempt, OrderStatus::Expired, "0");
    let again = scene.turn().remove(0);
    assert_eq!(
        (again.attempt, again.limit_price, again.order_type),
        (6, price("0.35"), Some(OrderType::Gtd))
    );
}

#[test]
fn an_exit_too_small_to_rest_is_tried_again_once_somebody_bids_its_floor() {
    let mut scene = Scene::holding("4");
    let attempt = inserted(scene.gate(scene.tenant.close(1, 1, 1, "0.50"))).remove(0);
    scene.becomes(&attempt, OrderStatus::Cancelled, "0");
    // That it has come to its floor is told once, whatever is bid.
    scene.pass(300);
    let nobody = Market { bid: Bid::Nobody, ..Market::default() };
    let told = scene.turn_with(&nobody).remove(0);
    assert_eq!(
        (told.order_type, told.limit_price, told.note),
        (Some(OrderType::Fak), price("0.35"), Some(Note::ExitFloor))
    );
    scene.becomes(&told, OrderStatus::Cancelled, "0");
    scene.pass(30);
    assert!(lacks(scene.close(), scene.snapshot.now).bid);
    for bid in [Bid::Nobody, Bid::Best(price("0.34"))] {
        assert!(scene.turn_with(&Market { bid, ..Market::default() }).is_empty());
        assert_eq!(scene.close().next_look_at, Some(scene.snapshot.now.plus(secs(30))));
    }
    let bids = Market { bid: Bid::Best(price("0.35")), ..Market::default() };
    let again = scene.turn_with(&bids).remove(0);
    assert_eq!((again.order_type, again.limit_price), (Some(OrderType::Fak), price("0.35")));
    assert_eq!(again.note, Some(Note::ExitFloor));
    // At other terms it has another floor, of which is told too.
    scene.becomes(&again, OrderStatus::Cancelled, "0");
    scene.pass(30);
    let first = inserted(scene.gate(scene.tenant.close(2, 1, 1, "0.40"))).remove(0);
    assert_eq!((first.limit_price, first.note), (price("0.38"), None));
    scene.becomes(&first, OrderStatus::Cancelled, "0");
    scene.pass(300);
    let told = scene.turn_with(&nobody).remove(0);
    assert_eq!((told.limit_price, told.note), (price("0.28"), Some(Note::ExitFloor)));
}

#[test]
fn a_new_due_brings_its_own_price_and_what_rests_is_cancelled_for_it() {
    let mut scene = Scene::holding("20");
    let first = inserted(scene.gate(scene.tenant.close(1, 1, 2, "0.50"))).remove(0);
    scene.becomes(&first, OrderStatus::Cancelled, "0");
    scene.pass(300);
    let rests = scene.turn().remove(0);
    assert_eq!(rests.order_type, Some(OrderType::Gtd));
    scene.becomes(&rests, OrderStatus::Open, "0");
    let steps = scene.gate(scene.tenant.close(2, 1, 1, "0.60"));
    assert_eq!(cancelled(&steps), [(first.idempotency_key, "repriced".to_owned())]);
    assert!(inserted(steps).is_empty(), "not before it is final");
    assert!(scene.turn().is_empty());
    // Three filled before the cancel came: the oldest due has them.
    scene.becomes(&rests, OrderStatus::Cancelled, "3");
    let next = scene.turn().remove(0);
    assert_eq!(
        (next.limit_price, next.shares, next.order_type),
        (price("0.57"), shares("17"), Some(OrderType::Fak))
    );
    assert_eq!((next.idempotency_key, next.attempt), (first.idempotency_key, 2));
    assert_eq!(scene.due(first.idempotency_key).filled(), shares("3"));
}

#[test]
fn a_close_without_a_price_begins_at_the_best_bid_of_its_first_attempt() {
    let mut scene = Scene::holding("20");
    let mut close = scene.tenant.close(1, 1, 1, "0.50");
    close.sale_price = None;
    assert_eq!(scene.gate(close), [Step::Owe(shares("20"))]);
    assert!(lacks(scene.close(), scene.snapshot.now).bid);
    for bid in [Bid::Unread, Bid::Nobody] {
        assert!(scene.turn_with(&Market { bid, ..Market::default() }).is_empty());
        assert!(scene.close().next_look_at.is_some());
    }
    scene.pass(100);
    let first = scene.turn_with(&Market { bid: Bid::Best(price("0.60")), ..Market::default() }).remove(0);
    assert_eq!(first.limit_price, price("0.57"), "the steps begin with the first attempt");
    scene.becomes(&first, OrderStatus::Cancelled, "0");
    scene.pass(30);
    // Another bid later changes nothing: 0.60 less two steps of 0.03.
    let second = scene.turn_with(&Market { bid: Bid::Best(price("0.10")), ..Market::default() }).remove(0);
    assert_eq!(second.limit_price, price("0.54"));
}

#[test]
fn missing_market_facts_delay_a_sell_and_never_skip_it() {
    let mut scene = Scene::holding("20");
    let mut close = scene.tenant.close(1, 1, 1, "0.50");
    close.facts = None;
    assert_eq!(scene.gate(close), [Step::Owe(shares("20"))]);
    scene.pass(90_000);
    assert!(lacks(scene.close(), scene.snapshot.now).facts);
    assert!(scene.turn().is_empty());
    let read = Market { facts: Some(common::facts(1)), ..Market::default() };
    assert_eq!(scene.turn_with(&read).remove(0).shares, shares("20"));
}

// Attempts, one after another --------------------------------------------------------------------------------------

#[test]
fn the_next_attempt_exists_only_when_the_last_is_final_and_asks_for_what_is_left() {
    let mut scene = Scene::holding("20");
    let first = inserted(scene.gate(scene.tenant.close(1, 1, 1, "0.50"))).remove(0);
    for status in
        [OrderStatus::Submitted, OrderStatus::Unknown, OrderStatus::PartiallyFilled, OrderStatus::Matched]
    {
        scene.becomes(&first, status, "5");
        scene.pass(60);
        assert!(scene.turn().is_empty(), "{status}");
    }
    scene.becomes(&first, OrderStatus::Cancelled, "8");
    let second = scene.turn().remove(0);
    assert_eq!((second.attempt, second.shares), (1, shares("12")));
    scene.becomes(&second, OrderStatus::Filled, "12");
    assert!(scene.turn().is_empty());
    assert_eq!(scene.close().dues[0].ended, Some(End::Filled));
}

#[test]
fn a_trade_that_fails_goes_back_to_the_due_it_came_from_and_is_sold_again() {
    let mut scene = Scene::holding("20");
    let (one, two) = (scene.tenant.close(1, 1, 2, "0.50"), scene.tenant.close(2, 1, 1, "0.50"));
    let first = inserted(scene.gate(one.clone())).remove(0);
    scene.becomes(&first, OrderStatus::Filled, "10");
    scene.turn();
    let second = inserted(scene.gate(two.clone())).remove(0);
    scene.becomes(&second, OrderStatus::Filled, "10");
    scene.turn();
    assert!(scene.close().open().next().is_none());
    // Days later the venue says that four of the first were never sold.
    scene.pass(10_000);
    scene.becomes(&first, OrderStatus::Filled, "6");
    assert_eq!(scene.due(one.head.idempotency_key).remaining(), shares("4"));
    assert_eq!(scene.due(two.head.idempotency_key).remaining(), Shares::ZERO);
    let again = scene.turn().remove(0);
    assert_eq!((again.shares, again.attempt, again.limit_price), (shares("4"), 1, price("0.47")));
    assert_eq!(again.idempotency_key, one.head.idempotency_key);
}

#[test]
fn a_denied_close_is_told_once_for_each_reason_and_asked_again_every_thirty_seconds() {
    let mut scene = Scene::holding("20");
    scene.snapshot.switches.tenant_halt = true;
    let denied = inserted(scene.gate(scene.tenant.close(1, 1, 1, "0.50"))).remove(0);
    assert_eq!((denial(&denied), denied.attempt), (Some(Denial::Halted), 0));
    for _ in 0..3 {
        assert_eq!(scene.close().next_look_at, Some(scene.snapshot.now.plus(secs(30))));
        scene.pass(30);
        assert!(scene.turn().is_empty(), "it was told");
    }
    scene.snapshot.switches.tenant_halt = false;
    scene.snapshot.grant = Some(Grant { revoked: true, ..grant() });
    scene.pass(30);
    let revoked = scene.turn().remove(0);
    assert_eq!((denial(&revoked), revoked.attempt), (Some(Denial::GrantRevoked), 1));
    scene.snapshot.grant = Some(grant());
    scene.pass(30);
    let sold = scene.turn().remove(0);
    // It begins at the top: it could not go before.
    assert_eq!((sold.attempt, sold.limit_price, sold.shares), (2, price("0.47"), shares("20")));
}

#[test]
fn a_refused_close_is_looked_into_and_tried_less_and_less_often() {
    let mut scene = Scene::holding("20");
    let mut attempt = inserted(scene.gate(scene.tenant.close(1, 1, 1, "0.50"))).remove(0);
    let mut waits = Vec::new();
    for _ in 0..8 {
        scene.becomes(&attempt, OrderStatus::Rejected, "0");
        let lack = lacks(scene.close(), scene.snapshot.now);
        assert!(lack.balance && lack.facts);
        let begin = scene.snapshot.now;
        while scene.turn().is_empty() {
            scene.snapshot.now = scene.close().next_look_at.unwrap();
        }
        waits.push(scene.snapshot.now.since(begin).as_secs());
        attempt = scene.alive()[0].clone();
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 960, 960, 960]);
}

#[test]
fn a_market_that_takes_no_orders_is_waited_for_without_attempts() {
    let mut scene = Scene::holding("20");
    let mut closed = common::facts(1);
    closed.accepting_orders = false;
    let mut close = scene.tenant.close(1, 1, 1, "0.50");
    close.facts = Some(closed.clone());
    assert_eq!(scene.gate(close), [Step::Owe(shares("20"))]);
    for _ in 0..5 {
        scene.pass(30);
        assert!(scene.turn_with(&Market { facts: Some(closed.clone()), ..Market::default() }).is_empty());
        let lack = lacks(scene.close(), scene.snapshot.now);
        assert!(lack.facts && lack.balance);
    }
    let open = Market { facts: Some(common::facts(1)), ..Market::default() };
    scene.pass(30);
    assert_eq!(scene.turn_with(&open).remove(0).shares, shares("20"));
}

// How it ends ------------------------------------------------------------------------------------------------------

#[test]
fn what_is_too_little_to_be_sold_is_dust_and_told() {
    let mut scene = Scene::holding("10");
    let sale = scene.tenant.close(1, 1, 1, "0.50");
    let first = inserted(scene.gate(sale)).remove(0);
    // 0.004 are missing: that is full. What was bought meanwhile is not this one's.
    scene.becomes(&first, OrderStatus::Cancelled, "9.996");
    assert!(scene.turn().is_empty());
    assert_eq!(scene.close().dues[0].ended, Some(End::Filled));
    let mut dust = scene.tenant.close(2, 1, 1, "0.50");
    dust.flat = true;
    let told = inserted(scene.gate(dust)).remove(0);
    assert_eq!((denial(&told), told.shares), (Some(Denial::Dust), shares("0.004")));
}

#[test]
fn a_resolved_market_ends_what_is_due_in_it() {
    let mut scene = Scene::holding("20");
    let first = inserted(scene.gate(scene.tenant.close(1, 1, 2, "0.50"))).remove(0);
    scene.gate(scene.tenant.close(2, 1, 1, "0.50"));
    let ended = Market { ended: true, ..Market::default() };
    assert!(scene.turn_with(&ended).is_empty(), "what an attempt sold is not known yet");
    scene.becomes(&first, OrderStatus::Cancelled, "4");
    let told: Vec<_> = scene
        .turn_with(&ended)
        .into_iter()
        .map(|a| (a.attempt, a.status, a.reason.unwrap(), a.shares))
        .collect();
    let end =
        |attempt, left: &str| (attempt, OrderStatus::Cancelled, "market_ended".to_owned(), shares(left));
    assert_eq!(told, [end(1, "6"), end(0, "10")]);
    assert!(scene.turn().is_empty());
    assert_eq!(scene.close().next_look_at, None);
}

#[test]
fn a_close_that_lasts_asks_whether_its_market_has_ended_whatever_it_waits_for() {
    let ended = Market { ended: true, ..Market::default() };
    let end = |row: &Attempt| (row.status, row.reason.clone().unwrap());
    let over = || (OrderStatus::Cancelled, "market_ended".to_owned());
    // Half a dollar gathers: nothing but the outcome will ever say that there is no more to come.
    let mut scene = Scene::holding("20");
    assert_eq!(scene.gate(scene.tenant.close(1, 1, 20, "0.50")), [Step::Owe(shares("1"))]);
    assert_eq!(scene.close().next_look_at, Some(scene.snapshot.now.plus(secs(60))));
    assert!(!lacks(scene.close(), scene.snapshot.now).ended, "it has only come");
    scene.pass(86_400);
    let lack = lacks(scene.close(), scene.snapshot.now);
    assert!(lack.ended && !lack.facts && !lack.bid && !lack.balance);
    assert!(scene.turn().is_empty());
    assert_eq!(scene.close().next_look_at, Some(scene.snapshot.now.plus(secs(3_600))));
    assert_eq!(scene.turn_with(&ended).iter().map(end).collect::<Vec<_>>(), [over()]);
    assert_eq!(scene.close().next_look_at, None);
    // Nobody bids: the venue refuses nothing, for it is asked nothing.
    let mut scene = Scene::holding("4");
    let tried = inserted(scene.gate(scene.tenant.close(1, 1, 1, "0.50"))).remove(0);
    scene.becomes(&tried, OrderStatus::Cancelled, "0");
    scene.pass(300);
    assert!(lacks(scene.close(), scene.snapshot.now).ended);
    let told = scene.turn_with(&Market { bid: Bid::Nobody, ..ended.clone() });
    assert_eq!(told.iter().map(end).collect::<Vec<_>>(), [over()]);
    // What rests there is taken off first: what it sold is known only then.
    let mut scene = Scene::holding("20");
    let tried = inserted(scene.gate(scene.tenant.close(1, 1, 1, "0.50"))).remove(0);
    scene.becomes(&tried, OrderStatus::Cancelled, "0");
    scene.pass(300);
    let rests = scene.turn().remove(0);
    assert_eq!(rests.order_type, Some(OrderType::Gtd));
    assert_eq!(scene.close().next_look_at, Some(scene.snapshot.now.plus(secs(300))));
    scene.becomes(&rests, OrderStatus::Open, "0");
    scene.pass(300);
    assert!(lacks(scene.close(), scene.snapshot.now).ended);
    assert!(scene.turn().is_empty());
    assert_eq!(scene.close().next_look_at, Some(scene.snapshot.now.plus(secs(300))));
    assert!(scene.turn_with(&ended).is_empty());
    let cancelling = scene.now_is(&rests);
    assert_eq!(cancelling.cancel_cause.as_deref(), Some("market_ended"));
    scene.becomes(&cancelling, OrderStatus::Cancelled, "3");
    let told = scene.turn_with(&ended).remove(0);
    assert_eq!((end(&told), told.shares), (over(), shares("17")));
}

#[test]
fn what_a_market_trades_under_ids_that_nobody_told_waits_and_is_not_missed() {
    let mut scene = Scene::holding("20");
    let first = inserted(scene.gate(scene.tenant.close(1, 1, 1, "0.50"))).remove(0);
    scene.becomes(&first, OrderStatus::Rejected, "0");
    let mut facts = common::facts(1);
    facts.tokens[0].asset = common::asset(7, 1);
    let gone = Market { facts: Some(facts), balance: Some(Shares::ZERO), ..Market::default() };
    for _ in 0..5 {
        scene.pass(45);
        assert!(scene.turn_with(&gone).is_empty(), "neither sold under an id of before, nor given up");
        let lack = lacks(scene.close(), scene.snapshot.now);
        assert!(lack.facts && lack.ended && lack.balance && scene.close().next_look_at.is_some());
    }
    assert_eq!(scene.close().dues[0].ended, None);
    // Under its old id it is sold again.
    let back = Market { facts: Some(common::facts(1)), balance: Some(shares("20")), ..Market::default() };
    scene.pass(45);
    assert_eq!(scene.turn_with(&back)[0].shares, shares("20"));
}

#[test]
fn shares_that_are_missing_in_two_looks_a_minute_apart_were_closed_elsewhere() {
    let mut scene = Scene::holding("20");
    let (one, two) = (scene.tenant.close(1, 1, 2, "0.50"), scene.tenant.close(2, 1, 1, "0.50"));
    let first = inserted(scene.gate(one.clone())).remove(0);
    scene.gate(two.clone());
    scene.becomes(&first, OrderStatus::Rejected, "0");
    let eight = Market { balance: Some(shares("8")), ..Market::default() };
    // One look is no proof; no more than was seen is offered meanwhile.
    let offered = scene.turn_with(&eight).remove(0);
    assert_eq!((offered.status, offered.shares), (OrderStatus::Reserved, shares("8")));
    scene.becomes(&offered, OrderStatus::Cancelled, "0");
    scene.pass(59);
    assert!(lacks(scene.close(), scene.snapshot.now).balance);
    assert!(scene.turn_with(&eight).is_empty());
    scene.pass(1);
    let told = scene.turn_with(&eight).remove(0);
    let (key, reason) = (two.head.idempotency_key, Some("external_close"));
    assert_eq!(
        (told.idempotency_key, told.status, told.reason.as_deref()),
        (key, OrderStatus::Cancelled, reason)
    );
    // Of the twelve that left, the younger due has ten, and the older two.
    assert_eq!(scene.due(one.head.idempotency_key).remaining(), shares("8"));
}

#[test]
fn shares_that_came_back_or_are_not_confirmed_yet_are_not_missing() {
    let mut scene = Scene::holding("20");
    let first = inserted(scene.gate(scene.tenant.close(1, 1, 1, "0.50"))).remove(0);
    scene.becomes(&first, OrderStatus::Rejected, "0");
    scene.turn_with(&Market { balance: Some(shares("8")), ..Market::default() });
    scene.pass(40);
    scene.turn_with(&Market { balance: Some(shares("20")), ..Market::default() });
    scene.pass(40);
    // Short again: the first look counts from now.
    let short = Market { balance: Some(shares("8")), ..Market::default() };
    let attempt = scene.turn_with(&short);
    assert!(attempt.iter().all(|a| a.status == OrderStatus::Reserved));
    // Twelve of them were bought by trades that the wallet need not show yet.
    let mut scene = Scene::holding("20");
    let position = scene.position();
    scene.snapshot.unconfirmed.insert(position, shares("12"));
    let first = inserted(scene.gate(scene.tenant.close(1, 1, 1, "0.50"))).remove(0);
    for _ in 0..5 {
        scene.becomes(&first, OrderStatus::Rejected, "0");
        scene.pass(60);
        for told in scene.turn_with(&short) {
            assert_eq!((told.status, told.shares), (OrderStatus::Reserved, shares("20")));
            scene.becomes(&told, OrderStatus::Rejected, "0");
        }
    }
    assert_eq!(owed_now(&scene), shares("20"));
}

#[test]
fn a_voided_sell_drops_what_is_not_sold_and_leaves_what_was() {
    let mut scene = Scene::holding("20");
    let (one, two) = (scene.tenant.close(1, 1, 2, "0.50"), scene.tenant.close(2, 1, 1, "0.50"));
    let first = inserted(scene.gate(one.clone())).remove(0);
    scene.gate(two.clone());
    // The second came after the attempt was made: it goes at once.
    let told = inserted(scene.gate(cancel_of(&scene.tenant, &two.head, "void"))).remove(0);
    assert_eq!(
        (told.status, told.reason.as_deref(), told.shares),
        (OrderStatus::Cancelled, Some("void"), shares("10"))
    );
    // The first is on its way: what of it sells stays sold, the rest is dropped when that is known.
    let steps = scene.gate(cancel_of(&scene.tenant, &one.head, "removed"));
    assert_eq!(cancelled(&steps), [(one.head.idempotency_key, "dropped".to_owned())]);
    scene.becomes(&first, OrderStatus::Cancelled, "4");
    let told = scene.turn().remove(0);
    assert_eq!((told.attempt, told.reason.as_deref(), told.shares), (1, Some("removed"), shares("6")));
    assert!(scene.turn().is_empty());
    assert_eq!(owed_now(&scene), Shares::ZERO);
    assert!(matches!(scene.gate(cancel_of(&scene.tenant, &one.head, "void")).as_slice(), [Step::Nothing(_)]));
}
