//! The stage as a whole, over log, ledger and venue in memory, under virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod crashes;
mod lanes;
mod log;
mod orders;
mod outcomes;
mod wallets;

use std::time::Duration;

use common::{Tenant, world::World};
use schemas::{IdempotencyKey, events::PlaceIntent};

const SOON: Duration = Duration::from_secs(20);

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn key(intent: &PlaceIntent) -> IdempotencyKey {
    intent.head.idempotency_key
}

/// A world with one tenant and a running executor.
fn one() -> (World, Tenant) {
    let world = World::new();
    let tenant = world.add(1);
    (world, tenant)
}

/// A world with one tenant, whose wallet is new.
fn one_new() -> (World, Tenant) {
    let world = World::new();
    let tenant = world.add_new(1);
    (world, tenant)
}
