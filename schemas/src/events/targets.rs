//! `targets`: whom each tenant follows, and how. Keyed by wallet.

use super::Policy;
use crate::{
    Address, AssetId, BillingAccountId, Mode, TargetId, TargetRowId, TargetStatus, Timestamp, UserId, record,
};

record! {
    /// A tenant's target: its full state at a revision. Readers keep the highest.
    TargetState {
        /// The row.
        target_row_id: TargetRowId,
        /// Grows by one with each change, under the row's lock.
        revision: i64,
        /// The tenant.
        billing_account_id: BillingAccountId,
        /// Who created the row.
        created_by_user_id: UserId,
        /// The followed wallet.
        wallet: Address,
        /// The wallet's id in keys.
        target_id: TargetId,
        /// Where it stands.
        status: TargetStatus,
        /// Whether closing means to sell at once, instead of following the leader's exits.
        close_now: bool,
        /// Whether closing means to keep what is held.
        keep_positions: bool,
        /// Whether real money moves.
        mode: Mode,
        /// The revision of the settings: grows only when the policy changes.
        policy_revision: i64,
        /// The settings.
        policy: Policy,
        /// When the row was created: earlier fills are not followed.
        created_at: Timestamp,
        /// When this revision was made.
        changed_at: Timestamp,
    }
}

record! {
    /// A tenant asks for a position to be sold, without the leader.
    CloseRequested {
        /// Names the request; the close's cause id is `manual:<request>:<asset>`.
        request_id: String,
        /// The target whose position it is.
        target_row_id: TargetRowId,
        /// The tenant.
        billing_account_id: BillingAccountId,
        /// The followed wallet.
        wallet: Address,
        /// What to sell.
        asset: AssetId,
        /// When it was asked.
        requested_at: Timestamp,
    }
}
