//! Who follows whom.

use std::sync::Arc;

use schemas::{Address, BillingAccountId, TargetRowId, TargetStatus, Timestamp, events::TargetState};

use super::State;

/// A target row, shared so that a decision can look at it while the state changes.
pub type Row = Arc<TargetState>;

/// Who follows a wallet: by account, so that the rows of one stand beside each other.
pub type Follower = (Address, BillingAccountId, TargetRowId);

/// Where a wallet's followers begin.
const fn first(wallet: Address) -> Follower {
    let nil = uuid::Uuid::nil();
    (wallet, BillingAccountId::from_uuid(nil), TargetRowId::from_uuid(nil))
}

impl State {
    /// A row's state: kept if its revision is the highest. Answers the row before where it was kept.
    pub(crate) fn fold_target(&mut self, target: TargetState) -> Option<(Option<Row>, Row)> {
        let before = self.rows.get(&target.target_row_id).cloned();
        if before.as_ref().is_some_and(|row| row.revision >= target.revision) {
            return None;
        }
        self.reset_baselines(before.as_ref(), &target);
        let row = Arc::new(target);
        self.rows.set(row.target_row_id, row.clone());
        let follower = (row.wallet, row.billing_account_id, row.target_row_id);
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

    /// How many rows follow a wallet.
    pub(crate) fn count_followers(&self, wallet: Address) -> usize {
        self.followers.from(first(wallet)).take_while(|((w, ..), ())| *w == wallet).count()
    }

    /// The rows that are subscribed to what a wallet did at that time: active, paused or closing in the fold, and
    /// created no later (`behaviour.md` 2). One for each tenant, in the order of their ids: of two rows the one
    /// that is followed speaks, since following a wallet again ends the closing (`behaviour.md` 4).
    pub(crate) fn subscribed(&self, wallet: Address, at: Timestamp) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        let theirs = self.followers.from(first(wallet)).take_while(|((w, ..), ())| *w == wallet);
        for ((.., id), ()) in theirs {
            let Some(row) = self.rows.get(id).filter(|row| row.created_at <= at) else { continue };
            let speaks = |row: &Row| (row.status != TargetStatus::Closing, row.created_at);
            match rows.last_mut() {
                Some(last) if last.billing_account_id == row.billing_account_id => {
                    if speaks(row) > speaks(last) {
                        *last = row.clone();
                    }
                }
                _ => rows.push(row.clone()),
            }
        }
        rows
    }
}
