//! What the paper venue asks of a ledger, over both: the one in memory and the real one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use common::{
    START, Tenant, asset, keyring,
    ledger::{Held, Ledger},
    price, shares, usdc,
};
use execute::core::{Attempt, Event, fills::Fills, transition, transition::Seen};
use schemas::{
    Mode, Shares,
    events::{BookLevel, BookSnapshot, PlaceIntent},
};
use venue::wire::ClobOrderStatus;

#[tokio::test]
async fn orders_on_paper_are_found_by_id_and_wallet_with_their_books_in_memory() {
    orders_on_paper_are_found_by_id_and_wallet_with_their_books(Ledger::memory().await).await;
}

#[tokio::test]
async fn orders_on_paper_are_found_by_id_and_wallet_with_their_books_in_postgres() {
    orders_on_paper_are_found_by_id_and_wallet_with_their_books(Ledger::postgres().await).await;
}

/// A BUY of leader 2, who is followed on paper.
fn on_paper(tenant: &Tenant, market: u32, fill: u32) -> PlaceIntent {
    let asks = vec![BookLevel { price: price("0.40"), shares: shares("100") }];
    let book = BookSnapshot { asset: asset(market, 1), as_of: START, bids: Vec::new(), asks };
    let mut buy = PlaceIntent { book: Some(book), ..tenant.buy_of(2, market, 1, fill, "10", "0.50") };
    buy.head.mode = Mode::Paper;
    buy
}

/// All of it filled at 0.40, for a fee of five cents.
fn filled(attempt: &Attempt) -> Attempt {
    let fills = Fills {
        shares: shares("10"),
        usdc: usdc("4"),
        fees: usdc("0.05"),
        confirmed: shares("10"),
        failed: Shares::ZERO,
    };
    let seen = Seen { status: ClobOrderStatus::Matched, matched: shares("10"), fills };
    transition(attempt, &Event::Seen(seen), START).unwrap()
}

async fn orders_on_paper_are_found_by_id_and_wallet_with_their_books(ledger: Ledger) {
    let (one, two) = (Tenant::new(1), Tenant::new(2));
    let keyring = keyring(&[(1, &one), (2, &two)]);
    for (n, tenant) in [(1, &one), (2, &two)] {
        ledger.add(n, tenant).await;
        ledger.follow_on_paper(tenant, 2).await;
    }
    let (paper, mut held) = (ledger.paper(), Held::claim(&ledger, 0, "a").await);
    let first = held.place(on_paper(&one, 1, 1), &keyring).await;
    let second = held.place(on_paper(&one, 2, 2), &keyring).await;
    let money = held.place(one.buy(3, "10", "0.50"), &keyring).await;
    let other = held.place(on_paper(&two, 1, 1), &keyring).await;
    assert!(money.book.is_none() && first.book.is_some());

    // By its id, as it was committed, book and all; an order for money is none of these.
    assert_eq!(paper.paper_attempt(first.order_id.unwrap()).await.unwrap(), Some(first.clone()));
    assert_eq!(paper.paper_attempt(money.order_id.unwrap()).await.unwrap(), None);
    // By wallet.
    let of = async |tenant: &Tenant, asset, since| {
        paper.paper_attempts(tenant.connection.address, asset, since).await.unwrap()
    };
    let mut both = [first.clone(), second.clone()];
    both.sort_by_key(|a| a.idempotency_key);
    assert_eq!(of(&one, None, None).await, both);
    let token = asset(2, 1);
    assert_eq!(of(&one, Some(&token), Some(START)).await, [second]);
    assert_eq!(of(&two, None, None).await, std::slice::from_ref(&other));
    let later = START.plus(std::time::Duration::from_secs(1));
    assert_eq!(of(&one, None, Some(later)).await, []);

    // What was spent and bought: each wallet's own, of paper alone.
    for attempt in [&first, &money, &other] {
        held.store.record(attempt, &filled(attempt)).await.unwrap();
    }
    let wallet = one.connection.address;
    assert_eq!(paper.paper_cash(wallet).await.unwrap(), usdc("-4.05"));
    assert_eq!(paper.paper_shares(wallet, &asset(1, 1)).await.unwrap(), shares("10"));
    assert_eq!(paper.paper_shares(wallet, &asset(2, 1)).await.unwrap(), Shares::ZERO);
}
