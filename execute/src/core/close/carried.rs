//! A position whose token goes on under another id (`behaviour.md` 1, MIGRATION).
//!
//! decide tells it of a leader's wallet by a `MigrateIntent`. In the gate's transaction everything that stands under the
//! former id comes to stand under the new one: what is held and what it cost, what is due and what was sold of that, and
//! under which id the steps of orders, those of before and those that are still on their way, count
//! ([`Attempt::held_as`](crate::core::Attempt)). The close of the former id remains as a signpost
//! ([`Close::becomes`]): an intent that names it later is about the new one. So it does not matter which is taken first, or
//! how often: a migration that is known, and one that leads back, changes nothing.
//!
//! The venue moves each wallet by itself, ours perhaps at another time than the leader's. Therefore the position keeps its
//! other ids ([`Close::also`]), and its close sells under the id that its market trades, so much as the wallet holds under
//! that id; the rest waits. Shares are missing only where all ids together show too few.

use schemas::{AssetId, BillingAccountId, ConditionId, Mode, TargetId, Timestamp};

use super::{Close, CloseName};

/// A token of a position goes on under another id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The tenant.
    pub billing_account_id: BillingAccountId,
    /// Whether real money moves.
    pub mode: Mode,
    /// The target's id in keys.
    pub target_id: TargetId,
    /// The id that it had.
    pub from: AssetId,
    /// The id that it has from now on.
    pub to: AssetId,
    /// The token's condition.
    pub condition_id: ConditionId,
    /// The partition of `intents` that it came by.
    pub partition: i32,
}

impl Migration {
    /// The position under the former id.
    pub fn before(&self) -> CloseName {
        self.name(&self.from)
    }

    /// The position under the new id.
    pub fn after(&self) -> CloseName {
        self.name(&self.to)
    }

    fn name(&self, asset: &AssetId) -> CloseName {
        CloseName {
            billing_account_id: self.billing_account_id,
            mode: self.mode,
            target_id: self.target_id,
            asset: asset.clone(),
        }
    }
}

/// What a migration makes of two closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The signpost.
    pub old: Close,
    /// The close that goes on, with what was due of both.
    pub new: Close,
    /// How far the places of the old one's dues move on.
    pub places: i64,
}

/// Joins the close of the former id to that of the new one. What is known of market and wallet is known of the former id:
/// it is read again, and the ladder begins anew.
pub fn carry(old: Option<Close>, new: Option<Close>, migration: &Migration, now: Timestamp) -> Carried {
    let Migration { condition_id, partition, .. } = *migration;
    let mut old = old.unwrap_or_else(|| Close::new(migration.before(), condition_id, partition, now));
    let new = new.unwrap_or_else(|| Close::new(migration.after(), condition_id, partition, now));
    let places = new.counted;
    let counted = new.counted.saturating_add(old.counted);
    let looks = old.next_look_at.is_some() || new.next_look_at.is_some() || old.counted > 0;
    let mut dues = new.dues;
    for mut due in std::mem::take(&mut old.dues) {
        due.asset = migration.to.clone();
        due.place = due.place.saturating_add(places);
        dues.push(due);
    }
    let mut also = new.also;
    for id in std::iter::once(&migration.from).chain(&old.also) {
        if *id != migration.to && !also.contains(id) {
            also.push(id.clone());
        }
    }
    let joined = Close {
        counted,
        // An attempt of either may be alive: what it may sell for is not taken back before it has ended.
        offered: counted,
        took_buys_at: new.took_buys_at.max(old.took_buys_at),
        doubts: true,
        next_look_at: looks.then_some(now),
        changed_at: now.max(new.changed_at).max(old.changed_at),
        becomes: None,
        also,
        dues,
        ..Close::new(new.name, condition_id, partition, now)
    };
    old.rest();
    old.becomes = Some(migration.to.clone());
    old.also = Vec::new();
    old.changed_at = joined.changed_at;
    Carried { old, new: joined, places }
}
