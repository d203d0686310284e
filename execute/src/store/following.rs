//! The part of the ledger that following orders needs.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use schemas::{BillingAccountId, Mode, OrderId, Timestamp};
use uuid::Uuid;

use super::StoreError;
use crate::core::{Attempt, AttemptKey, diagnosis::Diagnosis};

/// A pause that may come of rejections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause<'p> {
    /// The tenant.
    pub account: BillingAccountId,
    /// The mode whose orders are counted.
    pub mode: Mode,
    /// The partition whose owner tells the log.
    pub partition: i32,
    /// Names the switch's row, where it is new.
    pub id: Uuid,
    /// What is told.
    pub reason: &'p str,
    /// When.
    pub at: Timestamp,
}

/// A switch to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlRow {
    /// The tenant.
    pub account: BillingAccountId,
    /// Its revision.
    pub revision: i64,
    /// The framed record.
    pub value: Bytes,
}

/// What is followed, by connection and by the venue's id.
#[async_trait]
pub trait Following {
    /// The connections whose orders a partition still looks at, and in which mode these are.
    async fn followed(&self, partition: i32) -> Result<BTreeSet<(Uuid, Mode)>, StoreError>;

    /// Everything of a connection that a partition still looks at is to be looked at by `now`.
    async fn make_due(&self, partition: i32, connection: Uuid, now: Timestamp) -> Result<(), StoreError>;

    /// The attempts of a partition with these ids at the venue; others are missing.
    async fn by_order_id(&self, partition: i32, ids: &[OrderId]) -> Result<Vec<AttemptKey>, StoreError>;

    /// The attempts of a connection that rest at the venue, by name; those that are being cancelled are not among them.
    async fn resting(&self, partition: i32, connection: Uuid) -> Result<Vec<Attempt>, StoreError>;

    /// What was found of a refused attempt, once it was looked into.
    async fn diagnosis(&self, key: AttemptKey) -> Result<Option<Diagnosis>, StoreError>;

    /// Writes what was found, and the attempt's next revision with it, in one transaction, provided that the attempt still
    /// stands at `before`. [`StoreError::Changed`] where it does not.
    async fn diagnose(
        &self,
        before: &Attempt,
        after: &Attempt,
        found: &Diagnosis,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Pauses a tenant's BUYs where the last [`IN_A_ROW`] answers that the BUYs of its account in this mode got since the
    /// pause was last switched were refusals for what ails its wallet; and tells the outbox. Whether it did.
    ///
    /// [`IN_A_ROW`]: crate::core::diagnosis::IN_A_ROW
    async fn pause_after_rejections(&self, pause: &Pause<'_>) -> Result<bool, StoreError>;

    /// Unpublished switches of a partition's tenants.
    async fn controls_next(&self, partition: i32, limit: usize) -> Result<Vec<ControlRow>, StoreError>;

    /// These are in the log.
    async fn controls_published(&self, rows: &[(BillingAccountId, i64)]) -> Result<(), StoreError>;

    /// The orders of a partition were gone over at that time.
    async fn ticked(&self, partition: i32, at: Timestamp) -> Result<(), StoreError>;
}
