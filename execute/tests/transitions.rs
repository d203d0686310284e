//! The order state machine: behaviour.md 6, by example and by property.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::{START, Tenant, inserted, keyring, shares, usdc};
use execute::core::{
    Attempt, Event,
    diagnosis::{Ailment, Holding, Wallet, diagnose, pause_reason, was_refused},
    fills::Fills,
    follow::{Class, cannot_land, class, may_send, next_look, next_look_while_heard},
    transition,
    transition::{Seen, landed_late},
};
use proptest::prelude::*;
use schemas::{OrderStatus, OrderType, Shares, Side, Timestamp, Usdc};
use venue::{
    outcome::{Accepted, RejectCause, SubmitOutcome},
    wire::{ClobOrderStatus, ClobTrade, Literal, PlacedStatus},
};

fn limit_buy() -> Attempt {
    let tenant = Tenant::new(1);
    inserted(&mut tenant.snapshot(), tenant.buy(1, "10", "0.50"), &keyring(&[(1, &tenant)]))
}

fn fak_buy() -> Attempt {
    let tenant = Tenant::new(1);
    inserted(&mut tenant.snapshot(), tenant.buy_now(1, "5", "0.50"), &keyring(&[(1, &tenant)]))
}

fn later(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

fn answered(outcome: SubmitOutcome) -> Event {
    Event::Answered { sent_at: later(1), outcome }
}

fn accepted(status: PlacedStatus) -> Event {
    let empty = Literal::default;
    let order_id = limit_buy().order_id.unwrap();
    answered(SubmitOutcome::Accepted(Accepted {
        order_id,
        status,
        making: empty(),
        taking: empty(),
        trade_ids: vec![],
    }))
}

fn unknown() -> Event {
    answered(SubmitOutcome::Unknown { why: "no answer in time".into() })
}

fn rejected(message: &str) -> Event {
    answered(SubmitOutcome::Rejected { message: message.into(), cause: RejectCause::of(message) })
}

fn retry_later(status: u16, after: Option<u64>) -> Event {
    answered(SubmitOutcome::RetryLater { status, after: after.map(Duration::from_secs), why: "busy".into() })
}

fn seen(status: ClobOrderStatus, matched: &str, fills: Fills) -> Event {
    Event::Seen(Seen { status, matched: shares(matched), fills })
}

/// Trades of so many shares at 0.40, of which so many are confirmed.
fn trades(sum: &str, confirmed: &str) -> Fills {
    let shares_ = shares(sum);
    let cost = common::price("0.40").cost(shares_, schemas::Round::Up).unwrap();
    Fills { shares: shares_, usdc: cost, confirmed: shares(confirmed), ..Fills::default() }
}

fn after(attempt: &Attempt, event: &Event) -> Attempt {
    transition(attempt, event, later(2)).unwrap_or_else(|| attempt.clone())
}

fn status(attempt: &Attempt, event: &Event) -> OrderStatus {
    after(attempt, event).status
}

#[test]
fn answers_to_a_first_post_map_as_the_contract_says() {
    let new = limit_buy();
    for (event, expected) in [
        (accepted(PlacedStatus::Live), OrderStatus::Open),
        (accepted(PlacedStatus::Unmatched), OrderStatus::Open),
        (accepted(PlacedStatus::Delayed), OrderStatus::Submitted),
        (accepted(PlacedStatus::Matched), OrderStatus::Matched),
        (rejected("not enough balance / allowance"), OrderStatus::Rejected),
        (answered(SubmitOutcome::AlreadyLanded), OrderStatus::Submitted),
        (retry_later(425, None), OrderStatus::Submitted),
        (retry_later(429, None), OrderStatus::Submitted),
        (retry_later(503, Some(2)), OrderStatus::Submitted),
        // Nothing says that this one had no effect.
        (retry_later(503, None), OrderStatus::Unknown),
        (unknown(), OrderStatus::Unknown),
    ] {
        let next = after(&new, &event);
        assert_eq!(next.status, expected, "{event:?}");
        assert_eq!((next.revision, next.sent_at), (2, Some(later(1))));
        assert_eq!(next.counted(), if expected == OrderStatus::Rejected { Usdc::ZERO } else { usdc("5") });
    }
    let none = rejected("no orders found to match with FAK order. FAK orders are partially filled or killed");
    assert_eq!(status(&fak_buy(), &none), OrderStatus::Cancelled);
    let refused = after(&new, &rejected("not enough balance / allowance"));
    assert_eq!(refused.reason.as_deref(), Some("not enough balance / allowance"));
}

#[test]
fn a_refusal_of_a_repost_proves_nothing() {
    let doubted = after(&limit_buy(), &unknown());
    for event in
        [rejected("invalid expiration"), retry_later(429, Some(1)), retry_later(503, None), unknown()]
    {
        let next = after(&doubted, &event);
        assert_eq!((next.status, next.counted()), (OrderStatus::Unknown, usdc("5")), "{event:?}");
    }
    assert_eq!(status(&doubted, &answered(SubmitOutcome::AlreadyLanded)), OrderStatus::Submitted);
    assert_eq!(status(&doubted, &accepted(PlacedStatus::Live)), OrderStatus::Open);
    // Neither time nor a cancel makes it "not sent".
    assert_eq!(status(&doubted, &Event::NeverSent), OrderStatus::Unknown);
    assert_eq!(status(&doubted, &Event::CancelledUnsent), OrderStatus::Unknown);
    assert_eq!(status(&doubted, &Event::DidNotLand), OrderStatus::Rejected);
}

#[test]
fn what_was_never_sent_expires_or_is_cancelled() {
    let new = limit_buy();
    assert_eq!(status(&new, &Event::NeverSent), OrderStatus::Expired);
    assert_eq!(status(&after(&new, &retry_later(425, None)), &Event::NeverSent), OrderStatus::Expired);
    let asked = after(&new, &Event::CancelAsked { cause: "void".into() });
    let gone = after(&asked, &Event::CancelledUnsent);
    assert_eq!(
        (gone.status, gone.reason.as_deref(), gone.counted()),
        (OrderStatus::Cancelled, Some("void"), Usdc::ZERO)
    );
    // What the venue holds back was sent.
    let delayed = after(&new, &accepted(PlacedStatus::Delayed));
    assert_eq!(status(&delayed, &Event::NeverSent), OrderStatus::Submitted);
    assert_eq!(status(&delayed, &Event::CancelledUnsent), OrderStatus::Submitted);
    // So may what another owner left.
    let left = after(&new, &Event::Recovered);
    assert_eq!((left.status, left.last_send_at), (OrderStatus::Unknown, Some(later(2))));
    assert_eq!(status(&left, &Event::NeverSent), OrderStatus::Unknown);
}

#[test]
fn looks_map_as_the_contract_says() {
    let open = after(&limit_buy(), &accepted(PlacedStatus::Live));
    let none = Fills::default;
    for (event, expected, filled) in [
        (seen(ClobOrderStatus::Live, "0", none()), OrderStatus::Open, "0"),
        (seen(ClobOrderStatus::Live, "4", trades("4", "0")), OrderStatus::PartiallyFilled, "4"),
        (seen(ClobOrderStatus::Delayed, "0", none()), OrderStatus::Submitted, "0"),
        (seen(ClobOrderStatus::Matched, "10", trades("10", "6")), OrderStatus::Matched, "10"),
        (seen(ClobOrderStatus::Matched, "10", trades("10", "10")), OrderStatus::Filled, "10"),
        // Matched, and no trade listed yet: taken at the limit, and not settled.
        (seen(ClobOrderStatus::Matched, "10", none()), OrderStatus::Matched, "10"),
        (seen(ClobOrderStatus::Matched, "0", none()), OrderStatus::Matched, "0"),
        (seen(ClobOrderStatus::Canceled, "4", trades("4", "4")), OrderStatus::Cancelled, "4"),
        (seen(ClobOrderStatus::CanceledNotEnoughBalance, "0", none()), OrderStatus::Cancelled, "0"),
        (seen(ClobOrderStatus::Other("CANCELED_BY_COMET".into()), "0", none()), OrderStatus::Cancelled, "0"),
        (seen(ClobOrderStatus::CanceledExpiredOrder, "4", trades("4", "4")), OrderStatus::Expired, "4"),
        (seen(ClobOrderStatus::Invalid, "0", none()), OrderStatus::Rejected, "0"),
        (seen(ClobOrderStatus::Other("SOMETHING_NEW".into()), "0", none()), OrderStatus::Open, "0"),
    ] {
        let next = after(&open, &event);
        assert_eq!((next.status, next.filled_shares), (expected, shares(filled)), "{event:?}");
    }
    let cause = |event| after(&open, &event).reason;
    assert_eq!(
        cause(seen(ClobOrderStatus::CanceledMarketResolved, "0", none())).as_deref(),
        Some("canceled_market_resolved")
    );
    // A trade that is not listed is taken at the limit, until it is.
    assert_eq!(after(&open, &seen(ClobOrderStatus::Live, "4", none())).filled_usdc, usdc("2"));
    assert_eq!(after(&open, &seen(ClobOrderStatus::Live, "4", trades("4", "0"))).filled_usdc, usdc("1.6"));
}

#[test]
fn an_order_that_lapsed_by_itself_expired_and_one_we_cancelled_did_not() {
    let open = after(&limit_buy(), &accepted(PlacedStatus::Live));
    let canceled = seen(ClobOrderStatus::Canceled, "0", Fills::default());
    let lapsed = transition(&open, &canceled, later(700)).unwrap();
    assert_eq!(lapsed.status, OrderStatus::Expired);
    let asked = after(&open, &Event::CancelAsked { cause: "void".into() });
    let ours = transition(&asked, &canceled, later(700)).unwrap();
    assert_eq!((ours.status, ours.reason.as_deref()), (OrderStatus::Cancelled, Some("void")));
    assert_eq!(transition(&open, &canceled, later(3)).unwrap().status, OrderStatus::Cancelled);
}

#[test]
fn a_trade_that_failed_is_subtracted() {
    let open = after(&limit_buy(), &accepted(PlacedStatus::Live));
    let matched = after(&open, &seen(ClobOrderStatus::Matched, "10", trades("10", "0")));
    let part = Fills { failed: shares("4"), ..trades("6", "6") };
    let next = after(&matched, &seen(ClobOrderStatus::Matched, "10", part));
    assert_eq!((next.status, next.filled_shares), (OrderStatus::Cancelled, shares("6")));
    assert_eq!((next.reason.as_deref(), next.counted()), (Some("trade_failed"), usdc("2.4")));
    // Also after the end: the cancelled rest was known, its trades were not settled.
    let ended = after(&open, &seen(ClobOrderStatus::Canceled, "4", trades("4", "0")));
    assert!(ended.is_final && next_look(&ended, later(3)).is_some());
    let all = Fills { failed: shares("4"), ..Fills::default() };
    let next = after(&ended, &seen(ClobOrderStatus::Canceled, "4", all));
    assert_eq!(
        (next.status, next.filled_shares, next.revision),
        (OrderStatus::Cancelled, Shares::ZERO, ended.revision + 1)
    );
    assert_eq!(next_look(&next, later(3)), None);
}

#[test]
fn the_rest_of_a_fak_is_killed_and_more_than_planned_is_full() {
    let sent = after(&fak_buy(), &accepted(PlacedStatus::Matched));
    for status in [ClobOrderStatus::Matched, ClobOrderStatus::Canceled] {
        let part = after(&sent, &seen(status, "4", trades("4", "4")));
        assert_eq!((part.status, part.reason.as_deref()), (OrderStatus::Cancelled, Some("rest_killed")));
        assert_eq!(part.counted(), usdc("1.6"));
    }
    // $5 at 0.40 instead of 0.50: 12.5 shares instead of 10.
    let more = after(&sent, &seen(ClobOrderStatus::Matched, "12.5", trades("12.5", "12.5")));
    assert_eq!(
        (more.status, more.filled_shares, more.counted()),
        (OrderStatus::Filled, shares("12.5"), usdc("5"))
    );
}

#[test]
fn what_becomes_of_an_ended_order_s_trades_is_no_late_landing() {
    let open = after(&limit_buy(), &accepted(PlacedStatus::Live));
    assert!(!landed_late(&limit_buy(), &open));
    let ended = after(&open, &seen(ClobOrderStatus::Canceled, "4", trades("4", "0")));
    let confirmed = after(&ended, &seen(ClobOrderStatus::Canceled, "4", trades("4", "4")));
    let expired = after(&open, &seen(ClobOrderStatus::CanceledExpiredOrder, "4", trades("4", "0")));
    let settled = after(&expired, &seen(ClobOrderStatus::CanceledExpiredOrder, "4", trades("4", "4")));
    assert!(!landed_late(&ended, &confirmed) && !landed_late(&expired, &settled));
}

#[test]
fn a_list_that_has_an_order_confirms_it_and_moves_nothing() {
    let open = after(&limit_buy(), &accepted(PlacedStatus::Live));
    let rests = |matched: &str| Event::Rests { matched: shares(matched) };
    assert_eq!(transition(&open, &rests("0"), later(20)), None, "told often enough");
    let told = transition(&open, &rests("0"), later(40)).unwrap();
    assert_eq!(
        told,
        Attempt { synced_at: Some(later(40)), changed_at: later(40), revision: 3, ..open.clone() }
    );
    assert_eq!(transition(&open, &rests("1"), later(40)), None, "what differs is not confirmed");
    let part = after(&open, &seen(ClobOrderStatus::Live, "4", trades("4", "4")));
    assert!(transition(&part, &rests("4"), later(40)).is_some());
    for other in [
        limit_buy(),
        after(&limit_buy(), &unknown()),
        after(&open, &seen(ClobOrderStatus::Canceled, "0", Fills::default())),
    ] {
        assert_eq!(transition(&other, &rests("0"), later(40)), None);
    }
}

#[test]
fn orders_that_rest_are_looked_at_seldom_while_the_venue_tells_and_all_others_as_ever() {
    let open = after(&limit_buy(), &accepted(PlacedStatus::Live));
    let wait = |next: Option<Timestamp>| next.unwrap().since(later(2));
    assert_eq!(wait(next_look_while_heard(&open, later(2))), Duration::from_secs(300));
    assert!(wait(next_look(&open, later(2))) <= Duration::from_secs(20));
    // What filled of it can still fail.
    let part = after(&open, &seen(ClobOrderStatus::Live, "4", trades("4", "0")));
    assert!(wait(next_look_while_heard(&part, later(2))) <= Duration::from_secs(60));
    let asked = after(&open, &Event::CancelAsked { cause: "void".into() });
    let matched = after(&open, &seen(ClobOrderStatus::Matched, "10", trades("10", "0")));
    for (other, urgent) in [
        (&limit_buy(), true),
        (&after(&limit_buy(), &unknown()), true),
        (&asked, true),
        (&matched, true),
        (&after(&open, &seen(ClobOrderStatus::Canceled, "4", trades("4", "0"))), true),
        (&after(&limit_buy(), &Event::NeverSent), false),
    ] {
        assert_eq!(next_look_while_heard(other, later(3)), next_look(other, later(3)), "{other:#?}");
        assert_eq!(class(other) == Class::Urgent, urgent, "{other:#?}");
    }
    assert!(class(&open) == Class::Resting && class(&part) == Class::Resting);
}

#[test]
fn a_refusal_is_told_with_what_the_wallet_has() {
    let open = after(&limit_buy(), &accepted(PlacedStatus::Live));
    let refused = after(&limit_buy(), &rejected("not enough balance / allowance"));
    let bare = after(&limit_buy(), &rejected(""));
    let lost = after(&after(&limit_buy(), &unknown()), &Event::DidNotLand);
    assert!(was_refused(&refused) && was_refused(&bare) && !was_refused(&lost) && !was_refused(&open));
    let has = |balance, allowance| Wallet {
        usdc: Holding { balance: Some(balance), allowance: Some(allowance) },
        shares: Holding { balance: Some(0), allowance: Some(i64::MAX) },
    };
    // The order needs $5.
    for (attempt, wallet, ailment) in [
        (&refused, has(4_999_999, i64::MAX), Ailment::Balance),
        (&refused, has(9_000_000, 1), Ailment::Allowance),
        // Both are there: the venue counts what other orders hold.
        (&refused, has(9_000_000, i64::MAX), Ailment::Balance),
        (&bare, has(4_999_999, i64::MAX), Ailment::Balance),
        (&bare, has(5_000_000, 0), Ailment::Allowance),
        (&bare, has(5_000_000, 5_000_000), Ailment::Other),
        (&bare, Wallet::default(), Ailment::Other),
    ] {
        assert_eq!(diagnose(attempt, wallet).ailment, ailment, "{wallet:?}");
    }
    let found = diagnose(&refused, has(3_200_000, i64::MAX));
    assert_eq!(
        found.detail,
        "the order needs 5 USDC; the wallet holds 3.2 USDC of which any amount may be taken, and 0 shares of which any \
         amount may be taken"
    );
    let told = after(&refused, &Event::Diagnosed { detail: found.detail.clone() });
    assert_eq!(told.reason.unwrap(), format!("not enough balance / allowance; {}", found.detail));
    assert_eq!(
        (told.status, told.revision, told.is_final),
        (OrderStatus::Rejected, refused.revision + 1, true)
    );
    assert_eq!(transition(&open, &Event::Diagnosed { detail: "x".into() }, later(3)), None);
    let reason = pause_reason(&found);
    assert!(
        reason.starts_with("5 orders in a row were rejected: not enough balance; the order needs 5 USDC")
    );
    assert!(reason.chars().count() <= 500);
}

#[test]
fn a_late_landing_lives_takes_budget_and_goes() {
    for ended in [
        after(&after(&limit_buy(), &unknown()), &Event::DidNotLand),
        after(&limit_buy(), &rejected("invalid expiration")),
        after(&limit_buy(), &Event::NeverSent),
    ] {
        assert!(ended.is_final && ended.counted() == Usdc::ZERO);
        assert!(next_look(&ended, later(3)).is_some(), "it is watched");
        let landed = after(&ended, &seen(ClobOrderStatus::Live, "0", Fills::default()));
        assert_eq!((landed.status, landed.is_final, landed.counted()), (OrderStatus::Open, false, usdc("5")));
        assert_eq!(landed.cancel_cause.as_deref(), Some("late_landing"));
        // Landed and gone again, with something filled: that much was bought.
        let gone = after(&ended, &seen(ClobOrderStatus::Canceled, "4", trades("4", "4")));
        assert_eq!((gone.status, gone.counted()), (OrderStatus::Cancelled, usdc("1.6")));
        let dead = after(&ended, &seen(ClobOrderStatus::Canceled, "0", Fills::default()));
        assert_eq!((dead.status, dead.revision), (ended.status, ended.revision), "nothing new");
        let answer = after(&ended, &accepted(PlacedStatus::Live));
        assert!(!answer.is_final && answer.cancel_asked_at.is_some());
        // "Duplicated." says that it is there, as much as an answer that takes it.
        let twice = after(&ended, &answered(SubmitOutcome::AlreadyLanded));
        assert_eq!((twice.status, twice.counted()), (OrderStatus::Submitted, usdc("5")));
        assert!(twice.cancel_asked_at.is_some());
        // Each of them is an alarm, the one that is already filled too; what changes nothing is none.
        let full = after(&ended, &seen(ClobOrderStatus::Matched, "10", trades("10", "10")));
        assert_eq!((full.status, full.counted()), (OrderStatus::Filled, usdc("4")));
        for late in [&landed, &gone, &answer, &twice, &full] {
            assert!(landed_late(&ended, late), "{late:#?}");
        }
        assert!(!landed_late(&ended, &dead));
    }
    let watched_for = |ended: &Attempt, secs| next_look(ended, later(secs)).is_some();
    let ended = after(&limit_buy(), &Event::NeverSent);
    assert!(watched_for(&ended, 29 * 60) && !watched_for(&ended, 31 * 60));
}

#[test]
fn a_buy_is_sent_only_young_and_with_life_left() {
    let limit = limit_buy();
    assert!(may_send(&limit, later(120)));
    assert!(!may_send(&limit, later(121)), "older than max_fill_age");
    // GTD for 601 s: at 411 s 190 are left.
    let patient = Attempt { send_until: later(9_000), ..limit.clone() };
    assert!(may_send(&patient, later(411)) && !may_send(&patient, later(412)));
    assert!(may_send(&after(&limit, &unknown()), later(100)), "the same bytes may go again");
    assert!(!may_send(&after(&limit, &Event::CancelAsked { cause: "void".into() }), later(1)));
    assert!(!may_send(&after(&limit, &accepted(PlacedStatus::Delayed)), later(1)), "it is there");
    assert!(!may_send(&after(&limit, &accepted(PlacedStatus::Live)), later(1)));
    let sell = Attempt { side: Side::Sell, send_until: execute::core::attempt::NEVER_TOO_OLD, ..fak_buy() };
    assert!(may_send(&sell, later(900_000)), "a SELL is never too old");
}

#[test]
fn a_sell_that_nobody_knows_of_is_not_posted_again_for_ever() {
    let sell = Attempt { side: Side::Sell, send_until: execute::core::attempt::NEVER_TOO_OLD, ..fak_buy() };
    // Sent at 1 s, and refused whenever it is posted again: that proves nothing, and must come to an end.
    let doubted = after(&sell, &unknown());
    assert!(may_send(&doubted, later(121)) && !may_send(&doubted, later(122)));
    let mut posted = doubted;
    for secs in [30, 90, 120] {
        let again = Event::Answered {
            sent_at: later(secs),
            outcome: SubmitOutcome::Rejected { message: "closed".into(), cause: RejectCause::Other },
        };
        posted = transition(&posted, &again, later(secs)).unwrap();
        assert_eq!(posted.status, OrderStatus::Unknown);
    }
    assert!(!cannot_land(&posted, later(120 + 15 * 60)), "fifteen minutes after the last send");
    assert!(cannot_land(&posted, later(121 + 15 * 60)));
    // Answers that say that it had no effect put it off, however long.
    let put_off = after(&sell, &retry_later(503, Some(60)));
    assert!(may_send(&put_off, later(9_000)));
}

#[test]
fn it_did_not_land_only_when_it_no_longer_can() {
    let limit = after(&limit_buy(), &unknown());
    // It lapses at 601 s; the venue is told 661 s.
    assert!(
        !cannot_land(&limit, later(661))
            && !cannot_land(&limit, later(690))
            && cannot_land(&limit, later(692))
    );
    let fak = after(&fak_buy(), &unknown());
    assert_eq!(fak.order_type, Some(OrderType::Fak));
    assert!(
        !cannot_land(&fak, later(15 * 60)) && cannot_land(&fak, later(15 * 60 + 2)),
        "15 minutes after the last send"
    );
    // Taken over later, it may have been sent until then.
    let left = transition(&fak, &Event::Recovered, later(600)).unwrap();
    assert!(!cannot_land(&left, later(600 + 15 * 60)) && cannot_land(&left, later(601 + 15 * 60)));
}

#[test]
fn a_sell_that_nobody_knows_of_is_posted_again_for_a_while_and_comes_to_an_end() {
    let sell = Attempt { side: Side::Sell, send_until: execute::core::attempt::NEVER_TOO_OLD, ..fak_buy() };
    // The first post is lost at 900 s; the venue refuses each after it, which proves nothing.
    let lost = SubmitOutcome::Unknown { why: "no answer".into() };
    let doubted =
        transition(&sell, &Event::Answered { sent_at: later(900), outcome: lost }, later(905)).unwrap();
    assert!(may_send(&doubted, later(1_020)) && !may_send(&doubted, later(1_021)));
    let refused = rejected("not enough balance / allowance");
    let Event::Answered { outcome, .. } = refused else { unreachable!() };
    let again = Event::Answered { sent_at: later(1_020), outcome };
    let doubted = transition(&doubted, &again, later(1_021)).unwrap();
    assert_eq!(doubted.status, OrderStatus::Unknown);
    assert!(!cannot_land(&doubted, later(1_020 + 900)) && cannot_land(&doubted, later(1_021 + 900)));
    let ended = transition(&doubted, &Event::DidNotLand, later(1_921)).unwrap();
    assert_eq!(ended.status, OrderStatus::Rejected, "the close may go to its next attempt");
    // One that was never sent may go whenever its owner comes back.
    let left = transition(&sell, &Event::Recovered, later(90_000)).unwrap();
    assert!(may_send(&left, later(90_001)));
}

#[test]
fn sums_over_trades_are_in_either_unit_and_count_a_trade_once() {
    let mut attempt = limit_buy();
    attempt.fee_rate = 70_000;
    let trade = |id: &str, size: &str, status: &str, taker: bool| -> ClobTrade {
        let order = attempt.order_id.unwrap();
        let other = format!("0x{}", "ee".repeat(32));
        let (takes, maker) = if taker { (order.to_string(), other) } else { (other, order.to_string()) };
        let makers = serde_json::json!([{ "order_id": maker, "matched_amount": size, "price": "0.4" }]);
        serde_json::from_value(serde_json::json!({
            "id": id, "taker_order_id": takes, "asset_id": attempt.asset, "side": "BUY", "size": size, "price": "0.4",
            "status": status, "maker_orders": makers,
        }))
        .unwrap()
    };
    let ten = shares("10");
    for sizes in [["2.5", "5"], ["2500000", "5000000"]] {
        let list = [
            trade("a", sizes[0], "MATCHED", true),
            trade("b", sizes[1], "TRADE_STATUS_CONFIRMED", false),
            trade("a", sizes[0], "MINED", true),
            trade("c", sizes[0], "FAILED", false),
        ];
        let sums = Fills::of(&attempt, ten, &list).unwrap();
        assert_eq!((sums.shares, sums.confirmed, sums.failed), (shares("7.5"), shares("5"), shares("2.5")));
        assert_eq!(sums.usdc, usdc("3"));
        // A taker pays 2.5 x 0.07 x 0.4 x 0.6; a maker nothing.
        assert_eq!(sums.fees, usdc("0.042"));
    }
    let strange = [trade("a", "x", "MATCHED", true)];
    assert!(Fills::of(&attempt, ten, &strange).is_err());
}

fn any_event() -> impl Strategy<Value = Event> {
    let fills = (0u32..13, 0u32..13, 0u32..4).prop_map(|(sum, confirmed, failed)| Fills {
        failed: Shares::from_units(failed.into()),
        ..trades(&sum.to_string(), &confirmed.min(sum).to_string())
    });
    let word = prop::sample::select(vec![
        ClobOrderStatus::Live,
        ClobOrderStatus::Matched,
        ClobOrderStatus::Delayed,
        ClobOrderStatus::Unmatched,
        ClobOrderStatus::Invalid,
        ClobOrderStatus::Canceled,
        ClobOrderStatus::CanceledExpiredOrder,
        ClobOrderStatus::CanceledMarketResolved,
        ClobOrderStatus::Other("NEW_WORD".into()),
    ]);
    prop_oneof![
        (word, 0u32..13, fills).prop_map(|(w, matched, f)| seen(w, &matched.to_string(), f)),
        prop::sample::select(vec![
            accepted(PlacedStatus::Live),
            accepted(PlacedStatus::Matched),
            accepted(PlacedStatus::Delayed),
            answered(SubmitOutcome::AlreadyLanded),
            rejected("invalid expiration"),
            rejected("no orders found to match with FAK order."),
            retry_later(425, None),
            retry_later(503, None),
            unknown(),
            Event::Recovered,
            Event::NeverSent,
            Event::CancelledUnsent,
            Event::DidNotLand,
            Event::CancelAsked { cause: "void".into() },
            Event::Rests { matched: shares("0") },
            Event::Rests { matched: shares("4") },
            Event::Diagnosed { detail: "what was found".into() },
        ]),
    ]
}

proptest! {
    /// Whatever happens in whatever order: one revision for each change, never back in time, what is unchangeable is
    /// unchanged, and a final state is left by a landing alone.
    #[test]
    fn any_history_keeps_the_machine_s_promises(
        fak: bool,
        events in proptest::collection::vec((any_event(), 0u64..2_000), 1..40),
    ) {
        let mut attempt = if fak { fak_buy() } else { limit_buy() };
        for (event, at) in events {
            let now = later(at);
            let Some(next) = transition(&attempt, &event, now) else { continue };
            prop_assert_eq!(next.revision, attempt.revision + 1);
            prop_assert!(next.changed_at >= attempt.changed_at);
            prop_assert_eq!(next.is_final, next.status.is_final());
            prop_assert_eq!((&next.body, next.order_id, next.reserved), (&attempt.body, attempt.order_id, attempt.reserved));
            prop_assert_eq!((next.limit_price, next.shares, next.created_at), (attempt.limit_price, attempt.shares, attempt.created_at));
            prop_assert!(next.confirmed_shares <= next.filled_shares);
            prop_assert!(next.last_send_at >= attempt.last_send_at && next.sent_at >= attempt.sent_at);
            prop_assert!(next.is_final || next_look(&next, now).is_some(), "no row is left out while it is not final");
            prop_assert!(next.is_settled() || next_look(&next, now).is_some(), "nor one whose trades can fail");
            if attempt.is_final && !next.is_final {
                let landed = matches!(
                    event,
                    Event::Seen(_)
                        | Event::Answered { outcome: SubmitOutcome::Accepted(_) | SubmitOutcome::AlreadyLanded, .. }
                );
                prop_assert!(landed_late(&attempt, &next), "it is an alarm");
                prop_assert!(landed && attempt.status != OrderStatus::Filled, "{:?}: {:?} -> {:?}", event, attempt.status, next.status);
            }
            if attempt.is_final && next.is_final && attempt.status != next.status {
                let landed = matches!(attempt.status, OrderStatus::Rejected | OrderStatus::Expired);
                prop_assert!(landed && next.filled_shares.is_positive(), "{:?} -> {:?}", attempt.status, next.status);
            }
            // An unknown reservation is kept until something proves how it ended.
            if attempt.status == OrderStatus::Unknown && next.counted() < attempt.counted() {
                prop_assert!(matches!(event, Event::Seen(_) | Event::DidNotLand), "{event:?}");
            }
            attempt = next;
        }
    }

    #[test]
    fn the_same_event_twice_is_once(event in any_event(), before in any_event(), fak: bool) {
        let start = after(&if fak { fak_buy() } else { limit_buy() }, &before);
        let once = after(&start, &event);
        let twice = transition(&once, &event, later(2));
        prop_assert!(twice.is_none(), "{event:?} after {before:?}: {twice:?}");
    }
}
