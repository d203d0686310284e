//! What the copies hold, and closing it by hand.

use axum::{Json, extract::State as Extract, http::StatusCode};
use project::{
    pg::begin_as,
    queries::{self, PositionFilter, PositionPlace, PositionRow},
};
use schemas::{Address, AssetId, ConditionId, IdempotencyKey, Mode, TargetRowId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        State,
        problem::Problem,
        shapes::{Asset, Decimal, Hex32, ModeWord, RequestId, Time, Wallet},
    },
    extract::{Answer, Body, Caller, Id, Params},
    page::{self, List},
};
use crate::accounts::CLOSE_REVISION;

/// What copies of one wallet bought and sold of one token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PositionBody {
    /// The row that copied last.
    #[schema(value_type = Uuid)]
    target: TargetRowId,
    /// The followed wallet.
    #[schema(value_type = Wallet)]
    wallet: Address,
    /// What is held, under its current id.
    #[schema(value_type = Asset)]
    asset: AssetId,
    /// Other ids of the same token, where its market went on under new ones: orders keep the id under which they were made.
    #[schema(value_type = Vec<Asset>)]
    other_ids: Vec<AssetId>,
    /// Its condition.
    #[schema(value_type = Hex32)]
    market: ConditionId,
    /// Whether real money moves.
    #[schema(value_type = ModeWord)]
    mode: Mode,
    /// Shares held: bought less sold.
    held_shares: Decimal,
    /// Shares bought.
    bought_shares: Decimal,
    /// What they cost, without fees.
    bought_usdc: Decimal,
    /// Shares sold.
    sold_shares: Decimal,
    /// What they brought, without fees.
    sold_usdc: Decimal,
    /// Fees paid on both.
    fees_usdc: Decimal,
    /// What one share pays, once the market has ended; null before.
    payout_per_share: Option<Decimal>,
    /// What the held shares pay at the venue, once the market has ended: to be redeemed there.
    redeemable_usdc: Decimal,
    /// When an order of it last changed.
    changed_at: Time,
}

impl From<PositionRow> for PositionBody {
    fn from(row: PositionRow) -> Self {
        let redeemable = row.pnl().redeemable;
        Self {
            held_shares: row.held().into(),
            target: row.target_row,
            wallet: row.wallet,
            asset: row.asset,
            other_ids: row.also,
            market: row.market,
            mode: row.mode,
            bought_shares: row.traded.bought.into(),
            bought_usdc: row.traded.bought_usdc.into(),
            sold_shares: row.traded.sold.into(),
            sold_usdc: row.traded.sold_usdc.into(),
            fees_usdc: row.fees.into(),
            payout_per_share: row.worth.per_share.map(Into::into),
            redeemable_usdc: redeemable.into(),
            changed_at: row.changed_at.into(),
        }
    }
}

/// A page of positions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PositionPage {
    /// By target, asset and mode.
    items: Vec<PositionBody>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}

/// Which positions. Filters apply before the limit.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PositionQuery {
    /// Of this followed wallet.
    #[param(value_type = Wallet, required = false)]
    wallet: Option<Address>,
    /// Of this token, by any of its ids.
    #[param(value_type = Asset, required = false)]
    asset: Option<AssetId>,
    /// Of this condition.
    #[param(value_type = Hex32, required = false)]
    market: Option<ConditionId>,
    /// In this mode.
    #[param(value_type = ModeWord, required = false)]
    mode: Option<Mode>,
    /// Those of which nothing is held any more, too.
    #[serde(default)]
    closed_too: bool,
    /// How many at once.
    #[param(value_type = u16, required = false, minimum = 1, maximum = 500, default = 50)]
    #[serde(skip_serializing)]
    limit: Option<u16>,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    #[serde(skip_serializing)]
    cursor: Option<String>,
}

/// What is held, as far as the orders tell.
#[utoipa::path(
    get, path = "/api/v1/poly/copy-trade/positions", tag = "copies", params(PositionQuery),
    responses((status = 200, body = PositionPage))
)]
pub(super) async fn list(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    Params(query): Params<PositionQuery>,
) -> Answer<PositionPage> {
    let limit = page::limit(query.limit)?;
    let filters = page::filters(&query);
    let list = List { tenant, name: "positions", filters: &filters };
    let after = match &query.cursor {
        None => None,
        Some(cursor) => {
            let place = list.place(cursor)?;
            let [target, asset, mode] = page::parts(&place)?;
            let (target, asset) = (page::part(target)?, page::part(asset)?);
            Some(PositionPlace { target, asset, mode: page::part(mode)? })
        }
    };
    let filter = PositionFilter {
        wallet: query.wallet,
        asset: query.asset,
        market: query.market,
        mode: query.mode,
        closed_too: query.closed_too,
    };
    let mut transaction = begin_as(state.accounts.pool(), tenant.user).await?;
    let rows =
        queries::positions(&mut transaction, tenant.account, &filter, after, page::to_read(limit)).await;
    let mut rows = rows?;
    let next_cursor = page::cut(&mut rows, limit, |last| {
        let PositionPlace { target, asset, mode } = last.place();
        list.cursor(&format!("{target} {asset} {mode}"))
    });
    Ok(Json(PositionPage { items: rows.into_iter().map(PositionBody::from).collect(), next_cursor }))
}

/// Which position is to be sold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewClose {
    /// Names the request, so that it can be repeated without selling twice.
    #[schema(value_type = RequestId)]
    request_id: String,
    /// The target whose position it is; needed where more than one holds the asset.
    #[schema(value_type = Option<Uuid>)]
    target: Option<TargetRowId>,
}

/// A request to sell a position. What comes of it stands in decisions and orders, under its key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CloseBody {
    /// Names the request.
    #[schema(value_type = RequestId)]
    request_id: String,
    /// The target whose position it is.
    #[schema(value_type = Uuid)]
    target: TargetRowId,
    /// The followed wallet.
    #[schema(value_type = Wallet)]
    wallet: Address,
    /// What is to be sold.
    #[schema(value_type = Asset)]
    asset: AssetId,
    /// The key of its decision and its orders.
    #[schema(value_type = Hex32)]
    idempotency_key: IdempotencyKey,
    /// A request never changes: always 1.
    revision: i64,
    /// When it was first asked.
    requested_at: Time,
}

/// Asks for a position to be sold, whatever the leader does. The same request id again is the same request.
#[utoipa::path(
    post, path = "/api/v1/poly/copy-trade/positions/{asset}/close", tag = "copies", request_body = NewClose,
    params(("asset" = Asset, Path, description = "What to sell.")),
    responses(
        (status = 202, description = "It is asked for.", body = CloseBody),
        (status = 404, description = "No such target of yours, or none that holds the asset.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "The request id names another close, or several targets hold the asset.",
            body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn close(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    Id(asset): Id<AssetId>,
    Body(new): Body<NewClose>,
) -> Result<(StatusCode, Json<CloseBody>), Problem> {
    let close = state.accounts.position_close(tenant, &new.request_id, new.target, &asset).await?;
    let body = CloseBody {
        request_id: close.request_id,
        target: close.target,
        wallet: close.wallet,
        asset: close.asset,
        idempotency_key: close.key,
        revision: CLOSE_REVISION,
        requested_at: close.requested_at.into(),
    };
    Ok((StatusCode::ACCEPTED, Json(body)))
}
