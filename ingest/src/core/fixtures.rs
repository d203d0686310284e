//! Small records for the tests of this crate.

use schemas::{
    Address, BillingAccountId, ConditionId, Hash32, IdempotencyKey, Mode, OrderStatus, OrderType, Price,
    Shares, Side, TargetId, TargetRowId, Timestamp, Usdc, UserId,
    events::{OrderState, Origin},
};
use uuid::Uuid;

/// An open BUY of token 11 of a follower of that wallet.
pub fn order(key: u8, wallet: Address) -> OrderState {
    let at = Timestamp::from_secs(1_000_000);
    let mut bytes = [0; 32];
    bytes[31] = key;
    OrderState {
        billing_account_id: BillingAccountId::from_uuid(Uuid::from_u128(1)),
        created_by_user_id: UserId::from_uuid(Uuid::from_u128(2)),
        target_row_id: TargetRowId::from_uuid(Uuid::from_u128(3)),
        target_id: TargetId::of_wallet(wallet),
        wallet,
        idempotency_key: IdempotencyKey::from_bytes(bytes),
        fill_id: format!("manual:{key}:11").parse().unwrap(),
        attempt: 0,
        revision: 1,
        status: OrderStatus::Open,
        reason: None,
        mode: Mode::Simulated,
        side: Side::Buy,
        asset: "11".parse().unwrap(),
        condition_id: ConditionId::from_bytes([2; 32]),
        limit: Price::from_micro(500_000),
        shares: Shares::from_units(20),
        order_type: Some(OrderType::Gtd),
        expires_at: None,
        order_id: None,
        reserved: Usdc::ZERO,
        filled_shares: Shares::ZERO,
        filled_usdc: Usdc::ZERO,
        fees_usdc: Usdc::ZERO,
        origin: Origin {
            partition: 0,
            cut: 0,
            decision_hash: Hash32::ZERO,
            policy_revision: 1,
            observed_at: at,
        },
        filled_at: at,
        created_at: at,
        sent_at: None,
        answered_at: None,
        synced_at: None,
        changed_at: at,
        note: None,
    }
}
