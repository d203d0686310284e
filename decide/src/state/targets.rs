//! Who follows whom.

use std::sync::Arc;

use schemas::{Address, TargetRowId, TargetStatus, Timestamp, events::TargetState};

use super::State;

/// A target row, shared so that a decision can look at it while the state changes.
pub type Row = Arc<TargetState>;

/// The lowest row id: where a wallet's followers begin.
const FIRST: TargetRowId = TargetRowId::from_uuid(uuid::Uuid::nil());

impl State {
    /// A row's state: kept if its revision is the highest. Answers the row before where it was kept.
    pub(crate) fn fold_target(&mut self, target: TargetState) -> Option<(Option<Row>, Row)> {
        let before = self.rows.get(&target.target_row_id).cloned();
        if before.as_ref().is_some_and(|row| row.revision >= target.revision) {
            return None;
        }
        let row = Arc::new(target);
        self.rows.set(row.target_row_id, row.clone());
        let follower = (row.wallet, row.target_row_id);
        match row.status {
            TargetStatus::Removed => {
                self.followers.remove(&follower);
            }
            TargetStatus::Active | TargetStatus::Paused | TargetStatus::Closing => {
                self.followers.set(follower, ());
            }
        }
        Some((before, row))
    }

    /// The rows that are subscribed to what a wallet did at that time, in the order of their ids: active, paused
    /// or closing in the fold, and created no later (`behaviour.md` 2).
    pub(crate) fn subscribed(&self, wallet: Address, at: Timestamp) -> Vec<Row> {
        self.followers
            .from((wallet, FIRST))
            .take_while(|((w, _), ())| *w == wallet)
            .filter_map(|((_, row), ())| self.rows.get(row))
            .filter(|row| row.created_at <= at)
            .cloned()
            .collect()
    }
}
