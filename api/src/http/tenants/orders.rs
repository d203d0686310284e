//! What came of the decisions: the tenant's orders, and how fresh they are.

use std::time::Duration;

use axum::{Json, extract::State as Extract};
use project::{
    pg::begin_as,
    queries::{self, Copied, OrderFilter, OrderPlace, Span},
};
use schemas::{
    Address, AssetId, ConditionId, FillId, IdempotencyKey, Mode, OrderId, OrderStatus, Side, TargetRowId,
    Timestamp, topics::Topic,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        State,
        shapes::{Asset, Decimal, Hex32, ModeWord, OrderWord, SideWord, Time, Wallet},
    },
    extract::{Answer, Caller, Params},
    page::{self, List},
};

/// A copy, its attempts summed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrderBody {
    /// Names the copy.
    #[schema(value_type = Hex32)]
    idempotency_key: IdempotencyKey,
    /// The target's row.
    #[schema(value_type = Uuid)]
    target: TargetRowId,
    /// The followed wallet.
    #[schema(value_type = Wallet)]
    wallet: Address,
    /// The fill, or the cause of a close.
    #[schema(value_type = String)]
    fill_id: FillId,
    /// What is traded.
    #[schema(value_type = Asset)]
    asset: AssetId,
    /// Its condition.
    #[schema(value_type = Hex32)]
    market: ConditionId,
    /// Which way.
    #[schema(value_type = SideWord)]
    side: Side,
    /// Whether real money moves.
    #[schema(value_type = ModeWord)]
    mode: Mode,
    /// The newest attempt's limit.
    limit: Decimal,
    /// What earlier attempts filled and the newest asks for.
    shares: Decimal,
    /// What that comes to, the newest at its limit.
    size_usdc: Decimal,
    /// What filled.
    filled_shares: Decimal,
    /// What that cost or brought, without fees.
    filled_usdc: Decimal,
    /// Fees paid.
    fees_usdc: Decimal,
    /// The newest attempt's id at the venue; null where it was denied.
    #[schema(value_type = Option<Hex32>)]
    order_id: Option<OrderId>,
    /// Where the newest attempt stands.
    #[schema(value_type = OrderWord)]
    status: OrderStatus,
    /// Why it was denied, rejected, cancelled or expired; `exit_floor` where a sale waits at its lowest price.
    reason: Option<String>,
    /// Where the position stands: `open`, `closing` or `closed`, and how it ended.
    position_lifecycle: Option<String>,
    /// How many attempts there are.
    attempts: i32,
    /// When the fill was seen.
    observed_at: Time,
    /// When the first attempt was committed.
    created_at: Time,
    /// When an attempt last changed.
    changed_at: Time,
    /// When the venue last confirmed the newest attempt; null where it never did.
    synced_at: Option<Time>,
    /// How long ago that was. Null where it never was, and for orders that are over: nothing about them changes.
    #[schema(minimum = 0)]
    staleness_ms: Option<u64>,
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl OrderBody {
    /// As of a moment.
    pub(super) fn of(Copied { row, lifecycle }: Copied, now: Timestamp) -> Self {
        let open = row.synced_at.filter(|_| !row.status.is_final());
        Self {
            idempotency_key: row.key,
            target: row.target_row,
            wallet: row.wallet,
            fill_id: row.fill,
            asset: row.asset,
            market: row.condition,
            side: row.side,
            mode: row.mode,
            limit: row.price.into(),
            shares: row.shares.into(),
            size_usdc: row.size.into(),
            filled_shares: row.filled_shares.into(),
            filled_usdc: row.filled_usdc.into(),
            fees_usdc: row.fees.into(),
            order_id: row.order_id,
            status: row.status,
            reason: row.reason,
            position_lifecycle: lifecycle,
            attempts: row.attempts,
            observed_at: row.observed_at.into(),
            created_at: row.created_at.into(),
            changed_at: row.changed_at.into(),
            synced_at: row.synced_at.map(Time),
            staleness_ms: open.map(|at| millis(now.since(at))),
        }
    }
}

/// A page of orders.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrderPage {
    /// The newest first.
    items: Vec<OrderBody>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}

/// Which orders. Filters apply before the limit.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OrderQuery {
    /// Of this target's row.
    #[param(value_type = Uuid, required = false)]
    target: Option<TargetRowId>,
    /// Of this followed wallet.
    #[param(value_type = Wallet, required = false)]
    wallet: Option<Address>,
    /// Of this asset.
    #[param(value_type = Asset, required = false)]
    asset: Option<AssetId>,
    /// Of this condition.
    #[param(value_type = Hex32, required = false)]
    market: Option<ConditionId>,
    /// This way.
    #[param(value_type = SideWord, required = false)]
    side: Option<Side>,
    /// Whose newest attempt stands there.
    #[param(value_type = OrderWord, required = false)]
    status: Option<OrderStatus>,
    /// In this mode.
    #[param(value_type = ModeWord, required = false)]
    mode: Option<Mode>,
    /// Whether the newest attempt is over.
    #[param(value_type = bool, required = false)]
    is_final: Option<bool>,
    /// Committed then or later.
    #[param(value_type = Time, required = false)]
    since: Option<Time>,
    /// Committed before.
    #[param(value_type = Time, required = false)]
    until: Option<Time>,
    /// How many at once.
    #[param(value_type = u16, required = false, minimum = 1, maximum = 500, default = 50)]
    #[serde(skip_serializing)]
    limit: Option<u16>,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    #[serde(skip_serializing)]
    cursor: Option<String>,
}

/// Orders, one for each copy that was attempted, the newest first.
#[utoipa::path(
    get, path = "/api/v1/poly/copy-trade/orders", tag = "copies", params(OrderQuery),
    responses((status = 200, body = OrderPage))
)]
pub(super) async fn list(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    Params(query): Params<OrderQuery>,
) -> Answer<OrderPage> {
    let limit = page::limit(query.limit)?;
    let filters = page::filters(&query);
    let list = List { tenant, name: "orders", filters: &filters };
    let after = match &query.cursor {
        None => None,
        Some(cursor) => {
            let place = list.place(cursor)?;
            let [at, key] = page::parts(&place)?;
            Some(OrderPlace { created_at: page::time(at)?, key: page::part(key)? })
        }
    };
    let filter = OrderFilter {
        target: query.target,
        wallet: query.wallet,
        asset: query.asset,
        market: query.market,
        side: query.side,
        status: query.status,
        mode: query.mode,
        is_final: query.is_final,
        created: Span { since: query.since.map(|t| t.0), until: query.until.map(|t| t.0) },
    };
    let mut transaction = begin_as(state.accounts.pool(), tenant.user).await?;
    let mut rows =
        queries::orders(&mut transaction, tenant.account, &filter, after, page::to_read(limit)).await?;
    let next_cursor = page::cut(&mut rows, limit, |last| {
        let OrderPlace { created_at, key } = last.place();
        list.cursor(&format!("{} {key}", created_at.micros()))
    });
    let now = state.accounts.now();
    Ok(Json(OrderPage { items: rows.into_iter().map(|row| OrderBody::of(row, now)).collect(), next_cursor }))
}

/// How fresh the tenant's orders are. Orders that are over need no freshness and do not count.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SyncHealthBody {
    /// How long ago the venue confirmed the order that it confirmed longest ago; null where none was ever.
    #[schema(minimum = 0)]
    oldest_synced_row_age_ms: Option<u64>,
    /// Orders last confirmed more than a minute ago.
    #[schema(minimum = 0)]
    rows_stale_over_60s: u64,
    /// Orders never confirmed.
    #[schema(minimum = 0)]
    rows_never_synced: u64,
    /// When the reconciler last went over the tenant's orders, to about ten seconds; null where it never did.
    reconciler_last_tick_at: Option<Time>,
}

/// How fresh the tenant's orders are.
#[utoipa::path(
    get, path = "/api/v1/poly/sync-health", tag = "copies",
    responses((status = 200, body = SyncHealthBody))
)]
pub(super) async fn sync_health(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
) -> Answer<SyncHealthBody> {
    let mut transaction = begin_as(state.accounts.pool(), tenant.user).await?;
    let health = queries::sync_health(&mut transaction, state.accounts.now()).await?;
    // The owner of the account's partition of `intents` follows its orders.
    let account = tenant.account.to_string();
    let partition = state.log.manifest().place(Topic::Intents, account.as_bytes()).partition;
    let tick = queries::reconciler_tick(&mut transaction, partition).await?;
    Ok(Json(SyncHealthBody {
        oldest_synced_row_age_ms: health.oldest_synced_row_age.map(millis),
        rows_stale_over_60s: health.rows_stale_over_60s,
        rows_never_synced: health.rows_never_synced,
        reconciler_last_tick_at: tick.map(Time),
    }))
}
