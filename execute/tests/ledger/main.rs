//! What every ledger promises, over both: the one in memory and the real one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod budget;
#[path = "../common/mod.rs"]
mod common;
mod gate;
mod steps;

use common::{Tenant, shares};
use execute::{
    core::{Attempt, Event, fills::Fills, transition, transition::Seen},
    store::Gated,
};
use schemas::{Side, Timestamp, events::IntentsEvent};
use venue::{
    outcome::{Accepted, SubmitOutcome},
    wire::{ClobOrderStatus, PlacedStatus},
};

fn attempts(gated: &[Gated]) -> Vec<Attempt> {
    gated
        .iter()
        .filter_map(|g| match g {
            Gated::Inserted(attempt) => Some((**attempt).clone()),
            _ => None,
        })
        .collect()
}

/// The one SELL that was committed.
fn only_sell(gated: &[Gated]) -> Attempt {
    let sells: Vec<Attempt> = attempts(gated).into_iter().filter(|a| a.side == Side::Sell).collect();
    let [sell] = sells.as_slice() else { panic!("not one SELL: {gated:?}") };
    sell.clone()
}

fn buys(tenant: &Tenant, fills: std::ops::Range<u32>, size: &str, limit: &str) -> Vec<IntentsEvent> {
    fills.map(|fill| tenant.buy(fill, size, limit).into()).collect()
}

/// The next state of an attempt, and what makes it.
fn step(attempt: &Attempt, event: &Event, now: Timestamp) -> Attempt {
    transition(attempt, event, now).unwrap()
}

fn accepted(attempt: &Attempt, status: PlacedStatus) -> Event {
    Event::Answered {
        sent_at: attempt.created_at,
        outcome: SubmitOutcome::Accepted(Accepted {
            order_id: attempt.order_id.unwrap(),
            status,
            making: venue::wire::Literal::default(),
            taking: venue::wire::Literal::default(),
            trade_ids: Vec::new(),
        }),
    }
}

/// The venue says that so much of it filled.
fn filled(attempt: &Attempt, status: ClobOrderStatus, size: &str, confirmed: bool) -> Event {
    let size = shares(size);
    let usdc = attempt.limit_price.cost(size, schemas::Round::Down).unwrap();
    let confirmed = if confirmed { size } else { schemas::Shares::ZERO };
    let fills = Fills { shares: size, usdc, confirmed, ..Fills::default() };
    Event::Seen(Seen { status, matched: size, fills })
}
