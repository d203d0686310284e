//! `controls`: pauses, grants and connections. Keyed by billing account, `*` for all. No secrets.

use crate::{Address, BillingAccountId, ControlKind, SignatureType, Timestamp, Usdc, record};

record! {
    /// A switch and its state. Readers keep the highest revision per (account, kind).
    ControlState {
        /// The tenant; absent for everybody.
        billing_account_id: Option<BillingAccountId>,
        /// What is switched.
        kind: ControlKind,
        /// Whether it is in force.
        active: bool,
        /// Why it was changed.
        reason: String,
        /// Grows by one with each change.
        revision: i64,
        /// When it was changed.
        changed_at: Timestamp,
    }
}

record! {
    /// What a tenant allows the mirror to do: full state at a revision.
    GrantState {
        /// The tenant.
        billing_account_id: BillingAccountId,
        /// Grows by one with each change.
        revision: i64,
        /// What is allowed: `poly:trade:buy`, `poly:trade:sell`.
        scopes: Vec<String>,
        /// The most one order may cost. The smaller of this and the constant in the code is enforced.
        per_order_usdc_cap: Usdc,
        /// The most that 24 hours may cost.
        daily_usdc_cap: Usdc,
        /// The most orders in an hour.
        hourly_fills_cap: i64,
        /// The most that one condition may hold over all targets; absent: no such cap.
        per_market_usdc_cap: Option<Usdc>,
        /// When it ends by itself.
        expires_at: Option<Timestamp>,
        /// When it was taken back.
        revoked_at: Option<Timestamp>,
        /// When it was changed.
        changed_at: Timestamp,
    }
}

record! {
    /// A tenant's wallet: full state at a revision, without its secrets.
    ConnectionState {
        /// The tenant.
        billing_account_id: BillingAccountId,
        /// Grows by one with each change.
        revision: i64,
        /// The key's address: it signs.
        address: Address,
        /// How it signs.
        signature_type: SignatureType,
        /// The address that holds the money.
        funder: Address,
        /// When the approvals for buying and selling were last found in place.
        approved_at: Option<Timestamp>,
        /// When it was taken back.
        revoked_at: Option<Timestamp>,
        /// When it was changed.
        changed_at: Timestamp,
    }
}
