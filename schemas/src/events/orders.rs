//! `orders`: every step of an order's life. Keyed by the followed wallet, written by execute alone.

use super::Origin;
use crate::{
    Address, AssetId, BillingAccountId, ConditionId, FillId, IdempotencyKey, Mode, OrderId, OrderStatus,
    OrderType, Price, Shares, Side, TargetId, TargetRowId, Timestamp, Usdc, UserId, record,
};

record! {
    /// An attempt: its full state at a revision. Readers keep the highest.
    OrderState {
        /// The tenant.
        billing_account_id: BillingAccountId,
        /// Who created the target.
        created_by_user_id: UserId,
        /// The target's row.
        target_row_id: TargetRowId,
        /// The target's id in keys.
        target_id: TargetId,
        /// The followed wallet.
        wallet: Address,
        /// The copy's frozen key.
        idempotency_key: IdempotencyKey,
        /// The fill, or the cause of a close.
        fill_id: FillId,
        /// 0 for a BUY; the attempts of a close count up.
        attempt: i32,
        /// Grows by one with each step, under the row's lock.
        revision: i64,
        /// Where it stands.
        status: OrderStatus,
        /// Why it was denied, rejected, cancelled or expired; the venue's own text where it gave one.
        reason: Option<String>,
        /// Whether real money moves.
        mode: Mode,
        /// Which way it goes.
        side: Side,
        /// What is traded.
        asset: AssetId,
        /// Its condition.
        condition_id: ConditionId,
        /// The limit; zero where the gate denied it before one was set.
        limit: Price,
        /// The shares asked for.
        shares: Shares,
        /// How long it lives at the venue; absent where it was denied.
        order_type: Option<OrderType>,
        /// When it lapses by itself; absent for orders that do not rest.
        expires_at: Option<Timestamp>,
        /// The venue's id of it, known before it is sent; absent where it was denied.
        order_id: Option<OrderId>,
        /// The budget held for it: its cost at the limit with the worst fee. Zero for SELLs.
        reserved: Usdc,
        /// What filled.
        filled_shares: Shares,
        /// What these shares cost, or brought, without fees.
        filled_usdc: Usdc,
        /// Fees paid.
        fees_usdc: Usdc,
        /// The decision it comes from.
        origin: Origin,
        /// When the leader traded.
        filled_at: Timestamp,
        /// When the row was committed.
        created_at: Timestamp,
        /// When it was first handed to the venue.
        sent_at: Option<Timestamp>,
        /// When the venue's answer to that was read.
        answered_at: Option<Timestamp>,
        /// When its state was last confirmed by the venue.
        synced_at: Option<Timestamp>,
        /// When this revision was made.
        changed_at: Timestamp,
        /// A close's: `exit_floor` where its price has widened as far as it may and it waits there for a buyer;
        /// `sold_by:<key>` where the attempts of the close with that key sold what was due by this one.
        note: Option<String>,
    }
}
