//! One story with every kind of outcome in it, told with a crash or a lost answer at each of its steps.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use crate::{
    common::{
        Tenant, usdc,
        venue::{Ask, Post},
        world::World,
    },
    key, secs,
};
use execute::{core::Attempt, store::memory::Fate};
use schemas::{OrderStatus, Shares, Usdc, events::PlaceIntent};

/// What a story is, and when it is over.
struct Story {
    tenant: Tenant,
    intents: Vec<PlaceIntent>,
}

async fn tell(world: &World) -> Story {
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
    Story { tenant, intents }
}

impl Story {
    /// Every intent has come to something that does not change by itself, and all of it is told.
    fn is_over(&self, world: &World) -> bool {
        let bought = |a: &Attempt| a.status == OrderStatus::Matched && a.filled_shares.is_positive();
        let quiet = |a: &Attempt| a.is_final || a.status == OrderStatus::Open || bought(a);
        let known = self.intents.iter().all(|i| world.attempt(key(i)).is_some_and(|a| quiet(&a)));
        known && world.store.waiting() == (0, 0)
    }

    fn check(&self, world: &World) {
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

/// Crashes a process at its n-th call of ledger or venue; whether it came to that.
async fn crash_at(n: u32, after: bool) -> bool {
    let world = World::new();
    let story = tell(&world).await;
    let (count, dead) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let dies = move |at: u32, count: &AtomicU32, dead: &AtomicBool| -> bool {
        if dead.load(Ordering::SeqCst) || count.fetch_add(1, Ordering::SeqCst) + 1 != at {
            return dead.load(Ordering::SeqCst);
        }
        dead.store(true, Ordering::SeqCst);
        true
    };
    let victim = world.start_with(|store, venue| {
        let (c, d) = (count.clone(), dead.clone());
        store.on_call(Some(Arc::new(move |_| {
            let was_dead = d.load(Ordering::SeqCst);
            match (dies(n, &c, &d), after && !was_dead) {
                (false, _) => Fate::Fine,
                (true, true) => Fate::DiesAfter,
                (true, false) => Fate::DiesBefore,
            }
        })));
        let (c, d) = (count.clone(), dead.clone());
        venue.on_ask(move |_, _| if dies(n, &c, &d) { Ask::Die } else { Ask::Answer });
    });
    world
        .until("it dies, or is done", secs(30), || dead.load(Ordering::SeqCst) || story.is_over(&world))
        .await;
    let died = dead.load(Ordering::SeqCst);
    victim.kill().await;
    let heir = world.start();
    world.until("the story ends", secs(900), || story.is_over(&world)).await;
    heir.stop(&world).await;
    story.check(&world);
    died
}

async fn crash_everywhere(after: bool) {
    let mut points = 0;
    while crash_at(points + 1, after).await {
        points += 1;
    }
    assert!(points > 40, "{points} points");
}

// Invariants 1, 3 and 4 over a crash at each step: never two bodies of one attempt, never a post before its commit,
// never an order that the ledger does not know, and the budget is what the venue has in the end.

#[tokio::test]
async fn a_crash_before_any_call_doubles_and_loses_nothing() {
    crash_everywhere(false).await;
}

#[tokio::test]
async fn a_crash_after_any_call_doubles_and_loses_nothing() {
    crash_everywhere(true).await;
}

/// The process lives on, and the answer of its n-th call of the ledger is lost.
async fn lose_everywhere(fate: Fate) {
    for n in 1..=120 {
        let world = World::new();
        let story = tell(&world).await;
        let count = Arc::new(AtomicU32::new(0));
        let executor = {
            let count = count.clone();
            world.start_with(move |store, _| {
                store.on_call(Some(Arc::new(move |name| {
                    // What is asked for once at the start fails the start: that is said, and not survived.
                    let asked =
                        if name.starts_with("agreed") { 0 } else { count.fetch_add(1, Ordering::SeqCst) + 1 };
                    if asked == n { fate } else { Fate::Fine }
                })));
            })
        };
        world.until("the story ends", secs(900), || story.is_over(&world)).await;
        let reached = count.load(Ordering::SeqCst) >= n;
        executor.stop(&world).await;
        story.check(&world);
        if !reached {
            return;
        }
    }
}

#[tokio::test]
async fn a_call_of_the_ledger_that_gets_lost_doubles_and_loses_nothing() {
    lose_everywhere(Fate::LostBefore).await;
}

#[tokio::test]
async fn an_answer_of_the_ledger_that_gets_lost_doubles_and_loses_nothing() {
    lose_everywhere(Fate::LostAfter).await;
}
