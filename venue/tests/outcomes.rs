//! What the venue's answers mean, class by class (`venue.md` 5.5, `behaviour.md` 6).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;
use schemas::{ids::OrderId, money::Shares};
use venue::{
    outcome::{
        Answer, CancelOutcome, NotCancelled, OrderLookup, RejectCause, SubmitOutcome, of_cancel, of_lookup,
        of_submit,
    },
    wire::{ClobOrderStatus, Literal, PlacedStatus, SizeUnits},
};

const ID: OrderId = OrderId::from_bytes([0x11; 32]);
const OTHER: OrderId = OrderId::from_bytes([0x22; 32]);

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, retry_after: None, body: body.as_bytes().to_vec() }
}

fn submit(status: u16, body: &str) -> SubmitOutcome {
    of_submit(&answer(status, body), ID)
}

fn error(message: &str) -> String {
    serde_json::json!({ "error": message }).to_string()
}

#[track_caller]
fn unknown(outcome: &SubmitOutcome) {
    assert!(matches!(outcome, SubmitOutcome::Unknown { .. }), "{outcome:?}");
}

#[test]
fn an_order_is_taken_when_it_has_an_id_and_no_error() {
    let body = format!(
        r#"{{"success":true,"errorMsg":"","orderID":"{ID}","status":"matched","makingAmount":"9.999999","takingAmount":"14.925372","tradeIDs":["t1","t2"]}}"#
    );
    let SubmitOutcome::Accepted(accepted) = submit(200, &body) else { panic!() };
    assert_eq!((accepted.order_id, &accepted.status), (ID, &PlacedStatus::Matched));
    assert_eq!(accepted.trade_ids, ["t1", "t2"]);
    assert_eq!(accepted.taking, Literal::new("14.925372"));

    // The oldest and the barest answers are answers too.
    let old = format!(r#"{{"orderID":"{ID}","status":"LIVE","transactionsHashes":["0x"],"tradeIDs":null}}"#);
    assert!(matches!(submit(200, &old), SubmitOutcome::Accepted(a) if a.status == PlacedStatus::Live));
    // A status that this build does not know is still an accepted order.
    let new = format!(r#"{{"success":true,"errorMsg":"","orderID":"{ID}","status":"queued"}}"#);
    assert!(
        matches!(submit(201, &new), SubmitOutcome::Accepted(a) if a.status == PlacedStatus::Other("queued".into()))
    );
}

#[test]
fn success_true_with_an_error_is_no_success() {
    let batch_like =
        r#"{"success":true,"errorMsg":"not enough balance / allowance","orderID":"","status":""}"#;
    assert_eq!(
        submit(200, batch_like),
        SubmitOutcome::Rejected {
            message: "not enough balance / allowance".to_owned(),
            cause: RejectCause::BalanceOrAllowance
        }
    );
    // An id and an error at once: nobody knows.
    unknown(&submit(
        200,
        &format!(r#"{{"success":true,"errorMsg":"not enough balance","orderID":"{ID}","status":"live"}}"#),
    ));
    // Neither of them.
    unknown(&submit(200, r#"{"success":true,"errorMsg":"","orderID":"","status":"live"}"#));
    unknown(&submit(200, "{}"));
    // Somebody else's order.
    unknown(&submit(
        200,
        &format!(r#"{{"success":true,"errorMsg":"","orderID":"{OTHER}","status":"live"}}"#),
    ));
    unknown(&submit(200, r#"{"success":true,"errorMsg":"","orderID":"17","status":"live"}"#));
}

#[test]
fn duplicated_means_landed_wherever_it_is_said() {
    let message = format!("order {ID} is invalid. Duplicated.");
    assert_eq!(submit(400, &error(&message)), SubmitOutcome::AlreadyLanded);
    let in_answer =
        |id: &str| format!(r#"{{"success":false,"errorMsg":"{message}","orderID":"{id}","status":""}}"#);
    assert_eq!(submit(200, &in_answer("")), SubmitOutcome::AlreadyLanded);
    assert_eq!(submit(200, &in_answer(&ID.to_string())), SubmitOutcome::AlreadyLanded);
}

#[test]
fn documented_refusals_are_rejections_with_a_cause() {
    let cases = [
        (400, "Invalid order payload", RejectCause::Other),
        (400, "not enough balance / allowance", RejectCause::BalanceOrAllowance),
        (
            400,
            "order 0x1 is invalid. Price (0.123) breaks minimum tick size rule: 0.01",
            RejectCause::BreaksTick,
        ),
        (400, "order 0x1 is invalid. Size (1) lower than the minimum: 5", RejectCause::BelowMinimum),
        (400, "invalid amount for a marketable BUY order ($0.7), min size: $1", RejectCause::BelowMinimum),
        (
            400,
            "invalid amounts, the buy orders maker amount supports a max accuracy of 4 decimals, taker amount a max of 2 decimals",
            RejectCause::Precision,
        ),
        (400, "invalid post-only order: order crosses book", RejectCause::WouldTake),
        (400, "invalid expiration", RejectCause::Expiration),
        (400, "order canceled in the CTF exchange contract", RejectCause::CancelledOnChain),
        (
            400,
            "order couldn't be fully filled. FOK orders are fully filled or killed.",
            RejectCause::NothingToTake,
        ),
        (
            400,
            "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found.",
            RejectCause::NothingToTake,
        ),
        (400, "the market is not yet ready to process new orders", RejectCause::Market),
        (400, "the order owner has to be the owner of the API KEY", RejectCause::Credentials),
        (400, "the order signer address has to be the address of the API KEY", RejectCause::Credentials),
        (400, "'0x1' address banned", RejectCause::Restricted),
        (400, "'0x1' address in closed only mode", RejectCause::Restricted),
        (400, "order_version_mismatch", RejectCause::VersionMismatch),
        (401, "Unauthorized/Invalid api key", RejectCause::Credentials),
        (
            403,
            "Trading restricted in your region, please refer to available regions",
            RejectCause::Restricted,
        ),
        (404, "market not found", RejectCause::Market),
    ];
    for (status, message, cause) in cases {
        assert_eq!(
            submit(status, &error(message)),
            SubmitOutcome::Rejected { message: message.to_owned(), cause },
            "{status} {message}"
        );
    }
}

#[test]
fn whatever_leaves_a_doubt_is_unknown() {
    for (status, body) in [
        (400, error("context canceled")),
        (400, error("rpc error: code = Canceled desc = context canceled")),
        (400, error("Post \"http://matcher\": context deadline exceeded")),
        (400, error("order match delayed due to market conditions")),
        (400, "<html>Bad Request</html>".to_owned()),
        (400, String::new()),
        (400, "{}".to_owned()),
        (403, "<html>Attention Required! | Cloudflare</html>".to_owned()),
        (404, "404 page not found".to_owned()),
        (408, error("slow")),
        (500, error("could not insert order")),
        (500, error("order timed out")),
        (500, error("there are no matching orders")),
        (502, "<html>Bad Gateway</html>".to_owned()),
        (504, String::new()),
        (520, String::new()),
        (302, String::new()),
        (200, "OK".to_owned()),
        (200, r#"{"orderID":"#.to_owned()),
    ] {
        unknown(&submit(status, &body));
    }
}

#[test]
fn a_busy_venue_leaves_the_order_as_it_is() {
    for status in [425, 429, 503] {
        let mut busy = answer(status, &error("come back"));
        assert_eq!(
            of_submit(&busy, ID),
            SubmitOutcome::RetryLater { status, after: None, why: "come back".to_owned() }
        );
        busy.retry_after = Some(Duration::from_secs(7));
        assert!(
            matches!(of_submit(&busy, ID), SubmitOutcome::RetryLater { after: Some(d), .. } if d.as_secs() == 7)
        );
        // Whatever stands in the body.
        assert!(matches!(of_submit(&answer(status, "<html>"), ID), SubmitOutcome::RetryLater { .. }));
    }
    let post_only = r#"{"code":"post_only_mode","retry_after_seconds":120}"#;
    assert_eq!(
        submit(503, post_only),
        SubmitOutcome::RetryLater {
            status: 503,
            after: Some(Duration::from_secs(120)),
            why: "post_only_mode".to_owned()
        }
    );
}

fn row(status: &str, original: &str, matched: &str) -> String {
    format!(
        r#"{{"id":"{ID}","status":"{status}","owner":"o","maker_address":"0x1","market":"0x2","asset_id":"77","side":"BUY",
           "original_size":{original},"size_matched":{matched},"price":"0.41","outcome":"Yes","order_type":"GTD",
           "associate_trades":null,"created_at":1790000000,"expiration":"1790000600"}}"#
    )
}

fn lookup(status: u16, body: &str) -> OrderLookup {
    of_lookup(&answer(status, body), ID)
}

#[test]
fn an_order_is_found_in_either_dialect() {
    for (word, status) in [
        ("LIVE", ClobOrderStatus::Live),
        ("ORDER_STATUS_LIVE", ClobOrderStatus::Live),
        ("live", ClobOrderStatus::Live),
        ("ORDER_STATUS_CANCELED_MARKET_RESOLVED", ClobOrderStatus::CanceledMarketResolved),
    ] {
        // 5 shares, 2.5 of them filled: as decimals, and in 10^-6.
        for (original, matched) in
            [("\"5\"", "\"2.5\""), ("5", "2.5"), ("\"5000000\"", "\"2500000\""), ("5000000", "2500000")]
        {
            let OrderLookup::Found(found) = lookup(200, &row(word, original, matched)) else {
                panic!("{word} {original}")
            };
            assert_eq!(found.status, status);
            let (size, filled) = found.sizes(Shares::from_units(5)).unwrap();
            assert_eq!((size.to_string(), filled.to_string()), ("5".to_owned(), "2.5".to_owned()));
            assert_eq!(found.expiration.unwrap().secs(), 1_790_000_600);
        }
    }
    assert!(ClobOrderStatus::read("ORDER_STATUS_CANCELED_BY_SOMETHING_NEW").is_cancelled());
    assert!(ClobOrderStatus::read("CANCELED_EXPIRED_ORDER").is_cancelled());
    assert!(!ClobOrderStatus::read("MATCHED").is_cancelled());
}

#[test]
fn only_the_venues_own_words_say_that_an_order_is_not_there() {
    assert_eq!(lookup(404, &error("order not found")), OrderLookup::NotFound);
    // A gateway's page says nothing about orders.
    assert!(matches!(lookup(404, "<html>404</html>"), OrderLookup::Unknown { .. }));
    // Nothing at all is what old answers gave for filled orders too.
    for blank in ["", "null", "{}", "\"\"", " null\n"] {
        assert_eq!(lookup(200, blank), OrderLookup::Blank, "{blank}");
    }
    assert!(matches!(
        lookup(200, &row("LIVE", "5", "0").replace("0x1111", "0x2222")),
        OrderLookup::Unknown { .. }
    ));
    assert!(matches!(lookup(401, &error("Unauthorized")), OrderLookup::Unknown { .. }));
    assert!(matches!(lookup(500, &error("not found")), OrderLookup::Unknown { .. }));
    assert!(matches!(lookup(429, ""), OrderLookup::RetryLater { .. }));
}

fn cancel(status: u16, body: &str) -> CancelOutcome {
    of_cancel(&answer(status, body), ID)
}

#[test]
fn a_cancel_that_was_not_is_told_by_its_reason() {
    assert_eq!(
        cancel(200, &format!(r#"{{"canceled":["{ID}"],"not_canceled":{{}}}}"#)),
        CancelOutcome::Cancelled
    );
    assert_eq!(
        cancel(200, &format!(r#"{{"canceled":["{ID}"],"not_canceled":null}}"#)),
        CancelOutcome::Cancelled
    );
    for (reason, cause) in [
        ("Order already matched", NotCancelled::AlreadyMatched),
        ("Order not found or already canceled", NotCancelled::NotFoundOrCancelled),
        ("order is delayed", NotCancelled::Delayed),
        ("because", NotCancelled::Other),
    ] {
        let body = format!(r#"{{"canceled":[],"not_canceled":{{"{ID}":"{reason}"}}}}"#);
        assert_eq!(
            cancel(200, &body),
            CancelOutcome::NotCancelled { cause, message: reason.to_owned() },
            "HTTP 200 is not a cancel"
        );
        // On both lists: the answer that assumes less.
        let both = format!(r#"{{"canceled":["{ID}"],"not_canceled":{{"{ID}":"{reason}"}}}}"#);
        assert!(matches!(cancel(200, &both), CancelOutcome::NotCancelled { .. }));
    }
    for (status, body) in [
        (200, r#"{"canceled":[],"not_canceled":{}}"#),
        (200, "null"),
        (502, ""),
        (400, "?"),
        (400, r#"{"error":"context canceled"}"#),
    ] {
        assert!(matches!(cancel(status, body), CancelOutcome::Unknown { .. }), "{status} {body}");
    }
    assert!(matches!(cancel(425, ""), CancelOutcome::RetryLater { after: None, .. }));
}

proptest! {
    #[test]
    fn no_answer_without_our_id_is_ever_taken_for_an_accepted_order(status in 100u16..600, body in ".{0,200}") {
        let outcome = submit(status, &body);
        prop_assert!(!matches!(outcome, SubmitOutcome::Accepted(_)));
        prop_assert!(!matches!(lookup(status, &body), OrderLookup::Found(_)));
        prop_assert!(cancel(status, &body) != CancelOutcome::Cancelled);
        if (500..600).contains(&status) && status != 503 {
            prop_assert!(matches!(outcome, SubmitOutcome::Unknown { .. }), "5xx is never final: {:?}", outcome);
        }
    }

    #[test]
    fn sizes_are_read_back_in_whichever_unit_they_were_written(cents in 1i64..100_000_000_000, part in 0u64..=100, decimal: bool) {
        let known = Shares::from_micro(cents * 10_000);
        let units = if decimal { SizeUnits::Decimal } else { SizeUnits::Base };
        prop_assert_eq!(SizeUnits::of_order(&units.write(known), known), Ok(units));
        let filled = known.scale(i64::try_from(part).unwrap(), 100, schemas::money::Round::Down).unwrap();
        prop_assert_eq!(units.read(&units.write(filled)), Ok(filled));
        // A part of at least 0.01 share of an order of at most 10,000 shares tells its unit by itself.
        if filled.micro() >= 10_000 && known.micro() <= 10_000_000_000 {
            let literal = units.write(filled);
            let read = SizeUnits::of_part(&literal, known).unwrap().read(&literal);
            prop_assert_eq!(read, Ok(filled));
        }
    }
}

#[test]
fn sizes_that_no_unit_explains_are_refused() {
    let known = Shares::from_units(5);
    for bad in ["", "x", "0", "-5", "0.001", "6000000000", "99999999999999999999"] {
        assert!(SizeUnits::of_order(&Literal::new(bad), known).is_err(), "{bad}");
    }
    assert!(SizeUnits::of_order(&Literal::new("5"), Shares::ZERO).is_err());
    // A FAK BUY of $1 at 0.04 may be shown as 1 (dollars) or 25 (shares): decimals, either way.
    assert_eq!(SizeUnits::of_order(&Literal::new("1"), Shares::from_units(25)), Ok(SizeUnits::Decimal));
}
