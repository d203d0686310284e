//! Rows as the projector writes them.

use std::sync::atomic::{AtomicI32, Ordering};

use eventlog::{Offset, TopicPartition};
use project::{
    core::{
        fold::{Batch, Progress},
        token::Tokens,
    },
    store::{PgStore, Store},
};
use schemas::{
    LogId,
    events::{Decision, OrderState},
    topics::Topic,
};
use uuid::Uuid;

use super::Setup;

#[path = "../../../project/tests/common/mod.rs"]
mod samples;

pub use samples::{asset, at, decision, later, marked, migrated, order, resolved, sale, wallet as leader};

/// The tenant as the samples name it.
pub const fn of(tenant: api::Tenant) -> samples::Tenant {
    samples::Tenant { user: tenant.user, account: tenant.account }
}

/// Puts orders and decisions into the tables.
pub async fn projected(setup: &Setup, orders: Vec<OrderState>, decisions: Vec<Decision>) {
    told(setup, orders, decisions, Tokens::default()).await;
}

/// The same, with what is told of tokens.
pub async fn told(setup: &Setup, orders: Vec<OrderState>, decisions: Vec<Decision>, tokens: Tokens) {
    // Each batch comes from a partition of its own: none is in another's way.
    static NEXT: AtomicI32 = AtomicI32::new(0);
    let store = PgStore::connect(&setup.connections).await.unwrap();
    let to = Progress { next: Offset(1), ..Progress::start(LogId::from_uuid(Uuid::from_u128(9))) };
    let mut batch = Batch { decisions, tokens, ..Batch::default() };
    let partition = NEXT.fetch_add(1, Ordering::Relaxed);
    batch.advances.insert(TopicPartition::new(Topic::Orders, partition), (None, to));
    for order in orders {
        batch.orders.entry((order.billing_account_id, order.idempotency_key)).or_default().take(order);
    }
    store.apply(&batch).await.unwrap();
}
