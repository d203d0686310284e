//! The tenant's copies, each with its attempts summed, the newest first.

use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, IdempotencyKey, Mode, OrderStatus, Price, Shares, Side,
    TargetId, TargetRowId, Timestamp, Usdc, UserId,
};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{QueryError, Span, Where};
use crate::{core::ledger::LedgerRow, pg::Tz};

/// Which copies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Of this target.
    pub target: Option<TargetRowId>,
    /// Of this followed wallet.
    pub wallet: Option<Address>,
    /// Of this asset.
    pub asset: Option<AssetId>,
    /// Of this condition.
    pub market: Option<ConditionId>,
    /// This way.
    pub side: Option<Side>,
    /// Whose newest attempt stands there.
    pub status: Option<OrderStatus>,
    /// In this mode.
    pub mode: Option<Mode>,
    /// Whether the newest attempt is final.
    pub is_final: Option<bool>,
    /// Whose first attempt was committed in this time.
    pub created: Span,
}

/// Where a copy stands in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderPlace {
    /// When its first attempt was committed.
    pub created_at: Timestamp,
    /// The copy.
    pub key: IdempotencyKey,
}

/// A row of `poly_copy_trade_fills`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The row.
    pub row: LedgerRow,
    /// Where its position stands, in the word of the table.
    pub lifecycle: Option<String>,
}

impl Copied {
    /// Where it stands in the list.
    pub const fn place(&self) -> OrderPlace {
        OrderPlace { created_at: self.row.created_at, key: self.row.key }
    }

    fn of(row: &PgRow) -> Result<Self, QueryError> {
        let text = |column| row.try_get::<&str, _>(column);
        let time = |column| row.try_get::<Tz, _>(column).map(|Tz(at)| at);
        let micro = |column| row.try_get::<i64, _>(column);
        Ok(Self {
            row: LedgerRow {
                account: BillingAccountId::from_uuid(row.try_get("billing_account_id")?),
                user: UserId::from_uuid(row.try_get("created_by_user_id")?),
                target: TargetId::from_uuid(row.try_get("target_id")?),
                target_row: TargetRowId::from_uuid(row.try_get("target_row_id")?),
                wallet: text("target_wallet")?.parse()?,
                key: text("idempotency_key")?.parse()?,
                fill: text("fill_id")?.parse()?,
                condition: text("market_id")?.parse()?,
                asset: text("asset")?.parse()?,
                side: text("side")?.parse()?,
                mode: text("mode")?.parse()?,
                price: Price::from_micro(micro("price")?),
                shares: Shares::from_micro(micro("shares")?),
                size: Usdc::from_micro(micro("size_usdc")?),
                filled_shares: Shares::from_micro(micro("filled_shares")?),
                filled_usdc: Usdc::from_micro(micro("filled_usdc")?),
                fees: Usdc::from_micro(micro("fees_usdc")?),
                order_id: row.try_get::<Option<&str>, _>("order_id")?.map(str::parse).transpose()?,
                status: text("status")?.parse()?,
                reason: row.try_get("reason")?,
                attempts: row.try_get("attempts")?,
                observed_at: time("observed_at")?,
                created_at: time("created_at")?,
                synced_at: row.try_get::<Option<Tz>, _>("synced_at")?.map(|Tz(at)| at),
                changed_at: time("changed_at")?,
            },
            lifecycle: row.try_get("position_lifecycle")?,
        })
    }
}

const SELECT: &str =
    "select billing_account_id, created_by_user_id, target_id, target_row_id, target_wallet, idempotency_key, fill_id,
         market_id, asset, side, mode, (price * 1000000)::bigint as price, (shares * 1000000)::bigint as shares,
         (size_usdc * 1000000)::bigint as size_usdc, (filled_shares * 1000000)::bigint as filled_shares,
         (filled_usdc * 1000000)::bigint as filled_usdc, (fees_usdc * 1000000)::bigint as fees_usdc, order_id, status,
         reason, position_lifecycle, attempts, observed_at, created_at, synced_at, changed_at
     from poly_copy_trade_fills";

/// Up to `limit` copies of the account that pass the filter, the newest first; those after a place, where one is
/// given.
///
/// # Errors
/// The database.
pub async fn orders(
    connection: &mut PgConnection,
    account: BillingAccountId,
    filter: &OrderFilter,
    after: Option<OrderPlace>,
    limit: i64,
) -> Result<Vec<Copied>, QueryError> {
    let mut query = Where::of(SELECT, account);
    query.and("target_row_id = ", filter.target.map(|row| row.as_uuid()));
    query.and("target_wallet = ", filter.wallet.map(|wallet| wallet.to_string()));
    query.and("asset = ", filter.asset.as_ref().map(ToString::to_string));
    query.and("market_id = ", filter.market.map(|market| market.to_string()));
    query.and("side = ", filter.side.map(Side::as_str));
    query.and("status = ", filter.status.map(OrderStatus::as_str));
    query.and("mode = ", filter.mode.map(Mode::as_str));
    query.and("is_final = ", filter.is_final);
    query.within("created_at", filter.created);
    if let Some(place) = after {
        query.0.push(" and (created_at, idempotency_key) < (");
        query.0.separated(", ").push_bind(Tz(place.created_at)).push_bind(place.key.to_string());
        query.0.push(")");
    }
    query.0.push(" order by created_at desc, idempotency_key desc limit ").push_bind(limit);
    query.0.build().fetch_all(connection).await?.iter().map(Copied::of).collect()
}

/// The copy of that key, if it was attempted.
///
/// # Errors
/// The database.
pub async fn order_of(
    connection: &mut PgConnection,
    account: BillingAccountId,
    key: IdempotencyKey,
) -> Result<Option<Copied>, QueryError> {
    let mut query = Where::of(SELECT, account);
    query.and("idempotency_key = ", Some(key.to_string()));
    query.0.build().fetch_optional(connection).await?.as_ref().map(Copied::of).transpose()
}
