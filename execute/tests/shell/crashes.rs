//! One story with every kind of outcome in it, told with a crash or a lost answer at each of its steps.

use std::time::Duration;

use crate::{
    common::{
        Tenant,
        crash::{Story, crash_everywhere, lose_everywhere},
        usdc,
        venue::Post,
        world::World,
    },
    key, secs,
};
use execute::{core::Attempt, store::memory::Fate};
use schemas::{OrderStatus, Shares, Usdc, events::PlaceIntent};

/// Each kind of outcome that a BUY can have.
struct Everything {
    tenant: Tenant,
    intents: Vec<PlaceIntent>,
}

impl Story for Everything {
    const PATIENCE: Duration = secs(900);
    const UNTOUCHED: Duration = secs(30);

    async fn tell(world: &World) -> Self {
        let tenant = world.add(1);
        // One order whose answer gets lost, one that is lost itself, one that takes, one that is denied, one replaced.
        world.venue.script([Post::Land, Post::LandUnheard, Post::LostUnheard]);
        let mut intents = vec![
            tenant.buy(1, "10", "0.40"),
            tenant.buy(2, "10", "0.41"),
            tenant.buy(3, "10", "0.42"),
            tenant.buy_now(4, "5", "0.50"),
            tenant.buy(5, "2000", "0.50"),
        ];
        intents.push(PlaceIntent { replaces: Some(key(&intents[0])), ..tenant.buy(6, "10", "0.45") });
        for intent in &intents {
            world.publish(intent.clone()).await;
        }
        Self { tenant, intents }
    }

    /// Every intent has come to something that does not change by itself, and all of it is told.
    fn is_over(&self, world: &World) -> bool {
        let bought = |a: &Attempt| a.status == OrderStatus::Matched && a.filled_shares.is_positive();
        let quiet = |a: &Attempt| a.is_final || a.status == OrderStatus::Open || bought(a);
        let known = self.intents.iter().all(|i| world.attempt(key(i)).is_some_and(|a| quiet(&a)));
        known && world.store.waiting() == (0, 0)
    }

    fn judge(&self, world: &World) {
        world.check();
        let cost = world.store.attempts().iter().map(Attempt::counted).sum::<Usdc>();
        assert!(cost <= usdc("22"), "{cost}");
        let status = |i: usize| world.status(key(&self.intents[i])).unwrap();
        assert_eq!(status(4), OrderStatus::Denied);
        let bought = world.venue.orders().values().flat_map(|o| &o.trades).map(|t| t.shares).sum::<Shares>();
        let head = &self.intents[0].head;
        let position = world.store.position(self.tenant.account, head.mode, head.target_id, &head.asset);
        assert_eq!(position.map_or(Shares::ZERO, |p| p.held), bought);
        let at_venue = world.venue.orders();
        for attempt in world.store.attempts() {
            // It was given up only where it is not there; where it is, the ledger says so.
            let there = attempt.order_id.is_some_and(|id| at_venue.contains_key(&id));
            let given_up =
                matches!(attempt.status, OrderStatus::Rejected | OrderStatus::Expired | OrderStatus::Denied);
            assert!(!(there && given_up), "{attempt:#?}");
        }
    }
}

// Invariants 1, 3 and 4 over a crash at each step: never two bodies of one attempt, never a post before its commit,
// never an order that the ledger does not know, and the budget is what the venue has in the end.

#[tokio::test]
async fn a_crash_before_any_call_doubles_and_loses_nothing() {
    crash_everywhere::<Everything>(false).await;
}

#[tokio::test]
async fn a_crash_after_any_call_doubles_and_loses_nothing() {
    crash_everywhere::<Everything>(true).await;
}

#[tokio::test]
async fn a_call_of_the_ledger_that_gets_lost_doubles_and_loses_nothing() {
    lose_everywhere::<Everything>(Fate::LostBefore).await;
}

#[tokio::test]
async fn an_answer_of_the_ledger_that_gets_lost_doubles_and_loses_nothing() {
    lose_everywhere::<Everything>(Fate::LostAfter).await;
}
