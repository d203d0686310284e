//! The ledger: one row per attempted copy, its attempts summed (`behaviour.md` 7).

use std::collections::BTreeMap;

use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, FillId, IdempotencyKey, Migrated, Mode, OrderId,
    OrderStatus, Price, Round, Shares, Side, TargetId, TargetRowId, Timestamp, Usdc, UserId,
    events::OrderState,
};

use super::lifecycle::Part;

/// A copy: the tenant and the frozen key.
pub type CopyKey = (BillingAccountId, IdempotencyKey);

/// The attempts of one copy: the highest revision of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts(BTreeMap<i32, OrderState>);

impl Attempts {
    /// Takes a state; whether it is news. An older or equal revision is not.
    pub fn take(&mut self, state: OrderState) -> bool {
        let is_news = self.0.get(&state.attempt).is_none_or(|known| known.revision < state.revision);
        if is_news {
            self.0.insert(state.attempt, state);
        }
        is_news
    }

    /// The states, by attempt.
    pub fn states(&self) -> impl Iterator<Item = &OrderState> {
        self.0.values()
    }

    /// The state of one attempt.
    pub fn get(&self, attempt: i32) -> Option<&OrderState> {
        self.0.get(&attempt)
    }

    /// The copy's row; `None` before its first attempt.
    pub fn row(&self) -> Option<LedgerRow> {
        let (_, first) = self.0.first_key_value()?;
        let (_, newest) = self.0.last_key_value()?;
        // What is told of a close's end was never sent: the order is the one before.
        let went = self.0.values().rev().find(|a| a.order_id.is_some()).unwrap_or(newest);
        let earlier = || self.0.values().filter(|a| a.attempt != newest.attempt);
        let sum_shares = |of: fn(&OrderState) -> Shares| self.0.values().map(of).sum::<Shares>();
        let sum_usdc = |of: fn(&OrderState) -> Usdc| self.0.values().map(of).sum::<Usdc>();
        let asked = went.limit.cost(newest.shares, Round::Nearest).unwrap_or_default();
        Some(LedgerRow {
            account: first.billing_account_id,
            user: first.created_by_user_id,
            target: first.target_id,
            target_row: first.target_row_id,
            wallet: first.wallet,
            key: first.idempotency_key,
            fill: first.fill_id.clone(),
            condition: first.condition_id,
            asset: first.asset.clone(),
            side: first.side,
            mode: first.mode,
            price: went.limit,
            shares: earlier().map(|a| a.filled_shares).sum::<Shares>().saturating_add(newest.shares),
            size: earlier().map(|a| a.filled_usdc).sum::<Usdc>().saturating_add(asked),
            filled_shares: sum_shares(|a| a.filled_shares),
            filled_usdc: sum_usdc(|a| a.filled_usdc),
            fees: sum_usdc(|a| a.fees_usdc),
            order_id: went.order_id,
            status: newest.status,
            // What is told of a close that waits at its floor stands where its end will stand.
            reason: newest.reason.clone().or_else(|| newest.note.clone()),
            attempts: i32::try_from(self.0.len()).unwrap_or(i32::MAX),
            observed_at: first.origin.observed_at,
            created_at: self.0.values().map(|a| a.created_at).min().unwrap_or(first.created_at),
            synced_at: went.synced_at,
            changed_at: self.0.values().map(|a| a.changed_at).max().unwrap_or(newest.changed_at),
        })
    }
}

/// A row of `poly_copy_trade_fills`, without where its position stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// The tenant.
    pub account: BillingAccountId,
    /// Who created the target.
    pub user: UserId,
    /// The target's id in keys.
    pub target: TargetId,
    /// The target's row.
    pub target_row: TargetRowId,
    /// The followed wallet.
    pub wallet: Address,
    /// The copy's frozen key.
    pub key: IdempotencyKey,
    /// The fill, or the cause of a close.
    pub fill: FillId,
    /// The condition.
    pub condition: ConditionId,
    /// What is traded.
    pub asset: AssetId,
    /// Which way.
    pub side: Side,
    /// Whether real money moves.
    pub mode: Mode,
    /// The limit of the newest attempt that went to the venue, or of the newest.
    pub price: Price,
    /// What earlier attempts filled and the newest asks for.
    pub shares: Shares,
    /// What that comes to, the newest at its limit: to the nearest.
    pub size: Usdc,
    /// What filled, over all attempts.
    pub filled_shares: Shares,
    /// What that cost or brought.
    pub filled_usdc: Usdc,
    /// Fees paid, over all attempts.
    pub fees: Usdc,
    /// The venue's id of the newest attempt that went there.
    pub order_id: Option<OrderId>,
    /// The newest attempt's status.
    pub status: OrderStatus,
    /// The newest attempt's reason; what is told of a close that is alive: `exit_floor`.
    pub reason: Option<String>,
    /// How many attempts there are.
    pub attempts: i32,
    /// When ingest saw the fill.
    pub observed_at: Timestamp,
    /// When the first attempt was committed.
    pub created_at: Timestamp,
    /// When the venue last confirmed that one.
    pub synced_at: Option<Timestamp>,
    /// When an attempt last changed.
    pub changed_at: Timestamp,
}

/// A position: what one target opened for one tenant on one token, under the token's current id. Paper and live never mix
/// (`behaviour.md` 2).
pub type PositionKey = (BillingAccountId, TargetId, AssetId, Mode);

impl LedgerRow {
    /// The position that the row opens or closes: of the token, under whichever of its ids the order was made.
    pub fn position(&self, migrated: &Migrated) -> PositionKey {
        let asset = migrated.current(self.wallet, &self.asset).clone();
        (self.account, self.target, asset, self.mode)
    }

    /// What of it matters to its position.
    pub const fn part(&self) -> Part {
        Part {
            key: self.key,
            side: self.side,
            filled: self.filled_shares,
            is_final: self.status.is_final(),
            created_at: self.created_at,
        }
    }

    /// The copy.
    pub const fn copy(&self) -> CopyKey {
        (self.account, self.key)
    }
}
