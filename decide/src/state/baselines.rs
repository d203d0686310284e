//! Where the leaders stood on a condition when a target was activated: what `position_gap` measures growth from
//! (`behaviour.md` 3).

use schemas::{ConditionId, TargetRowId, TargetStatus, Usdc, events::TargetState};

use super::{State, targets::Row};

/// Whose, on what.
pub type BaselineKey = (TargetRowId, ConditionId);

impl State {
    /// The first fill after activation: the cost just before it stays, whatever follows.
    pub(crate) fn fold_baseline(&mut self, row: TargetRowId, condition: ConditionId, cost: Usdc) {
        if !self.baselines.contains(&(row, condition)) {
            self.baselines.set((row, condition), cost);
        }
    }

    /// The leader's cost on a condition just before its first fill after activation.
    pub(crate) fn baseline(&self, row: TargetRowId, condition: ConditionId) -> Option<Usdc> {
        self.baselines.get(&(row, condition)).copied()
    }

    /// A row that is activated anew, or gone, begins without baselines.
    pub(super) fn reset_baselines(&mut self, before: Option<&Row>, now: &TargetState) {
        use schemas::Sizing::PositionGap;
        let ended = |status| matches!(status, TargetStatus::Closing | TargetStatus::Removed);
        let Some(before) = before else { return };
        // Taking the sizing, and following a wallet again while it is being wound down, count as activation.
        let taken = now.policy.sizing == PositionGap && before.policy.sizing != PositionGap;
        let again = ended(before.status) && !ended(now.status);
        if !taken && !again && now.status != TargetStatus::Removed {
            return;
        }
        let first = (now.target_row_id, ConditionId::ZERO);
        let theirs: Vec<BaselineKey> = self
            .baselines
            .from(first)
            .map(|(key, _)| *key)
            .take_while(|(row, _)| *row == now.target_row_id)
            .collect();
        for key in theirs {
            self.baselines.remove(&key);
        }
    }
}
