//! What was decided about the fills of followed wallets, and why.

use axum::{Json, extract::State as Extract};
use project::{
    pg::begin_as,
    queries::{self, DecisionFilter, DecisionPlace, DecisionRow, Span},
};
use schemas::{
    Address, AssetId, ConditionId, FillId, IdempotencyKey, Mode, Outcome, Placement, PositionBranch, Reason,
    Side, TargetRowId, TargetStatus,
    events::{Inputs, LeaderView, Order, OwnView},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        State,
        problem::Problem,
        shapes::{
            Asset, BranchWord, Decimal, Hex32, ModeWord, OutcomeWord, PlacementWord, ReasonWord, SideWord,
            StatusWord, Time, Wallet,
        },
    },
    extract::{Answer, Caller, Id, Params},
    orders::OrderBody,
    page::{self, List},
    targets::Settings,
};
use crate::AccountError;

/// A decision: one for each fill of a followed wallet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecisionBody {
    /// Names the copy.
    #[schema(value_type = Hex32)]
    idempotency_key: IdempotencyKey,
    /// 0, or above for an amended SELL.
    revision: i32,
    /// The target's row.
    #[schema(value_type = Uuid)]
    target: TargetRowId,
    /// The followed wallet.
    #[schema(value_type = Wallet)]
    wallet: Address,
    /// The fill, or the cause of a close.
    #[schema(value_type = String)]
    fill_id: FillId,
    /// What was traded.
    #[schema(value_type = Asset)]
    asset: AssetId,
    /// Its condition.
    #[schema(value_type = Hex32)]
    market: ConditionId,
    /// Whether real money moves.
    #[schema(value_type = ModeWord)]
    mode: Mode,
    /// What it came to.
    #[schema(value_type = OutcomeWord)]
    outcome: Outcome,
    /// Why it came to that.
    #[schema(value_type = ReasonWord)]
    reason: Reason,
    /// What it does to our position.
    #[schema(value_type = BranchWord)]
    position_branch: PositionBranch,
    /// The order decided; null where none was.
    intent: Option<IntentBody>,
    /// Why no decision could be made; null where one was.
    error: Option<String>,
    /// The version of the plan that decided.
    plan_version: i32,
    /// The revision of the policy in force.
    policy_revision: i64,
    /// When it was decided: the clock of its cut.
    decided_at: Time,
}

/// What an order is to be.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IntentBody {
    /// The limit of a BUY; null for a close, which is priced when it is placed.
    limit: Option<Decimal>,
    /// The shares of a BUY.
    shares: Option<Decimal>,
    /// A market BUY's dollars.
    amount: Option<Decimal>,
    /// The part of what is held that a close sells: this many ...
    fraction_num: Option<i64>,
    /// ... of this many.
    fraction_den: Option<i64>,
    /// Of a close: whether the leader holds nothing of it any more.
    flat: Option<bool>,
    /// How a BUY is placed.
    #[schema(value_type = Option<PlacementWord>)]
    placement: Option<Placement>,
    /// The resting copy that it replaces.
    #[schema(value_type = Option<Hex32>)]
    replaces: Option<IdempotencyKey>,
}

impl From<Order> for IntentBody {
    fn from(order: Order) -> Self {
        Self {
            limit: order.limit.map(Decimal::from),
            shares: order.shares.map(Decimal::from),
            amount: order.amount.map(Decimal::from),
            fraction_num: order.fraction_num,
            fraction_den: order.fraction_den,
            flat: order.flat,
            placement: order.placement,
            replaces: order.replaces,
        }
    }
}

impl From<DecisionRow> for DecisionBody {
    fn from(row: DecisionRow) -> Self {
        Self {
            idempotency_key: row.key,
            revision: row.revision,
            target: row.target,
            wallet: row.wallet,
            fill_id: row.fill,
            asset: row.asset,
            market: row.market,
            mode: row.mode,
            outcome: row.outcome,
            reason: row.reason,
            position_branch: row.branch,
            intent: row.order.map(IntentBody::from),
            error: row.error,
            plan_version: row.plan_version,
            policy_revision: row.policy_revision,
            decided_at: row.decided_at.into(),
        }
    }
}

/// A page of decisions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecisionPage {
    /// The newest first.
    items: Vec<DecisionBody>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}

/// Which decisions. Filters apply before the limit.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DecisionQuery {
    /// Of this target's row.
    #[param(value_type = Uuid, required = false)]
    target: Option<TargetRowId>,
    /// Of this followed wallet.
    #[param(value_type = Wallet, required = false)]
    wallet: Option<Address>,
    /// About this asset.
    #[param(value_type = Asset, required = false)]
    asset: Option<AssetId>,
    /// About this condition.
    #[param(value_type = Hex32, required = false)]
    market: Option<ConditionId>,
    /// That came to this.
    #[param(value_type = OutcomeWord, required = false)]
    outcome: Option<Outcome>,
    /// For this reason.
    #[param(value_type = ReasonWord, required = false)]
    reason: Option<Reason>,
    /// In this mode.
    #[param(value_type = ModeWord, required = false)]
    mode: Option<Mode>,
    /// Decided then or later.
    #[param(value_type = Time, required = false)]
    since: Option<Time>,
    /// Decided before.
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

/// Decisions, the newest first.
#[utoipa::path(
    get, path = "/api/v1/poly/copy-trade/decisions", tag = "copies", params(DecisionQuery),
    responses((status = 200, body = DecisionPage))
)]
pub(super) async fn list(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    Params(query): Params<DecisionQuery>,
) -> Answer<DecisionPage> {
    let limit = page::limit(query.limit)?;
    let filters = page::filters(&query);
    let list = List { tenant, name: "decisions", filters: &filters };
    let after = match &query.cursor {
        None => None,
        Some(cursor) => {
            let place = list.place(cursor)?;
            let [at, key, revision] = page::parts(&place)?;
            let (decided_at, key) = (page::time(at)?, page::part(key)?);
            Some(DecisionPlace { decided_at, key, revision: page::part(revision)? })
        }
    };
    let filter = DecisionFilter {
        target: query.target,
        wallet: query.wallet,
        asset: query.asset,
        market: query.market,
        outcome: query.outcome,
        reason: query.reason,
        mode: query.mode,
        decided: Span { since: query.since.map(|t| t.0), until: query.until.map(|t| t.0) },
    };
    let mut transaction = begin_as(state.accounts.pool(), tenant.user).await?;
    let rows =
        queries::decisions(&mut transaction, tenant.account, &filter, after, page::to_read(limit)).await;
    let mut rows = rows?;
    let next_cursor = page::cut(&mut rows, limit, |last| {
        let DecisionPlace { decided_at, key, revision } = last.place();
        list.cursor(&format!("{} {key} {revision}", decided_at.micros()))
    });
    Ok(Json(DecisionPage { items: rows.into_iter().map(DecisionBody::from).collect(), next_cursor }))
}

/// All that is known of one copy.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explained {
    /// What was decided, the first revision first, and from what.
    decisions: Vec<ExplainedDecision>,
    /// What came of it; null where nothing was attempted.
    order: Option<OrderBody>,
}

/// A decision with all that it was made from.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExplainedDecision {
    /// What was decided.
    decision: DecisionBody,
    /// What it was decided from: the plan reads this and the clock, and nothing else.
    inputs: InputsBody,
    /// The partition it was made in.
    partition: i32,
    /// The cut it was made in: `polymirror replay` decides it again.
    cut: i64,
}

/// What a decision was made from.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InputsBody {
    /// Where the target stood.
    #[schema(value_type = StatusWord)]
    status: TargetStatus,
    /// The leader's side.
    #[schema(value_type = SideWord)]
    side: Side,
    /// The leader's shares.
    shares: Decimal,
    /// The leader's dollars for them.
    notional: Decimal,
    /// The leader's price.
    price: Decimal,
    /// When the leader traded.
    filled_at: Time,
    /// The market's tick.
    tick: Option<Decimal>,
    /// The market's smallest resting order.
    min_shares: Option<Decimal>,
    /// The taker fee rate.
    fee_rate: Option<Decimal>,
    /// The market's category.
    category: Option<String>,
    /// The market's slug.
    slug: Option<String>,
    /// Whether the market took orders.
    accepting_orders: Option<bool>,
    /// When the market ends.
    end_at: Option<Time>,
    /// The best bid of the recorded book.
    best_bid: Option<Decimal>,
    /// The best ask of the recorded book.
    best_ask: Option<Decimal>,
    /// What a market order could have had within the limit.
    depth_in_limit: Option<Decimal>,
    /// Our own side.
    own: OwnBody,
    /// The leader's side.
    leader: LeaderBody,
    /// The settings in force.
    settings: Settings,
}

/// What was known of our own side.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OwnBody {
    /// Shares of the token held.
    held: Decimal,
    /// Shares of BUYs on their way, resting or unknown.
    pending: Decimal,
    /// Open cost of the token, pending BUYs included.
    exposure: Decimal,
    /// Shares of the opposite token held.
    opposite_held: Decimal,
    /// Open cost of the opposite token, pending BUYs included.
    opposite_exposure: Decimal,
    /// BUYs that rest or are on their way on the token.
    resting: i32,
    /// Dollars kept from desires that were below the floor.
    kept: Decimal,
}

/// What was known of the leader's side.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LeaderBody {
    /// Whether the wallet's snapshot had been read.
    known: bool,
    /// Shares of the token before this fill.
    shares_before: Decimal,
    /// Shares of the token with this fill.
    shares_after: Decimal,
    /// Cost of the token, a BUY included.
    token_cost: Decimal,
    /// Cost of the opposite token.
    opposite_cost: Decimal,
    /// The average price of the token without this fill.
    average: Option<Decimal>,
    /// The cost on the condition before the first fill after activation.
    baseline: Option<Decimal>,
    /// The percentile of the gate, where the sizing asks for one.
    percentile: Option<Decimal>,
}

impl From<OwnView> for OwnBody {
    fn from(own: OwnView) -> Self {
        Self {
            held: own.held.into(),
            pending: own.pending.into(),
            exposure: own.exposure.into(),
            opposite_held: own.opposite_held.into(),
            opposite_exposure: own.opposite_exposure.into(),
            resting: own.resting,
            kept: own.kept.into(),
        }
    }
}

impl From<LeaderView> for LeaderBody {
    fn from(leader: LeaderView) -> Self {
        Self {
            known: leader.known,
            shares_before: leader.shares_before.into(),
            shares_after: leader.shares_after.into(),
            token_cost: leader.token_cost.into(),
            opposite_cost: leader.opposite_cost.into(),
            average: leader.average.map(Decimal::from),
            baseline: leader.baseline.map(Decimal::from),
            percentile: leader.percentile.map(Decimal::from),
        }
    }
}

impl From<Inputs> for InputsBody {
    fn from(inputs: Inputs) -> Self {
        Self {
            status: inputs.status,
            side: inputs.side,
            shares: inputs.shares.into(),
            notional: inputs.notional.into(),
            price: inputs.price.into(),
            filled_at: inputs.filled_at.into(),
            tick: inputs.tick.map(Decimal::from),
            min_shares: inputs.min_shares.map(Decimal::from),
            fee_rate: inputs.fee_rate.map(Decimal::micro),
            category: inputs.category,
            slug: inputs.slug,
            accepting_orders: inputs.accepting_orders,
            end_at: inputs.end_at.map(Time),
            best_bid: inputs.best_bid.map(Decimal::from),
            best_ask: inputs.best_ask.map(Decimal::from),
            depth_in_limit: inputs.depth_in_limit.map(Decimal::from),
            own: inputs.own.into(),
            leader: inputs.leader.into(),
            settings: Settings::of(&inputs.policy),
        }
    }
}

/// What was decided about one copy, from what, and what came of it.
#[utoipa::path(
    get, path = "/api/v1/poly/copy-trade/explain/{key}", tag = "copies",
    params(("key" = Hex32, Path, description = "Names the copy: its `idempotency_key`.")),
    responses(
        (status = 200, body = Explained),
        (status = 404, description = "Nothing of yours has this key.", body = Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn explain(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    Id(key): Id<IdempotencyKey>,
) -> Answer<Explained> {
    let mut transaction = begin_as(state.accounts.pool(), tenant.user).await?;
    let rows = queries::decisions_of(&mut transaction, tenant.account, key).await?;
    let order = queries::order_of(&mut transaction, tenant.account, key).await?;
    let explained = |mut row: DecisionRow| {
        let inputs = row.inputs.take()?;
        let (partition, cut) = (row.partition, row.cut);
        Some(ExplainedDecision { decision: row.into(), inputs: inputs.into(), partition, cut })
    };
    let decisions: Vec<ExplainedDecision> = rows.into_iter().filter_map(explained).collect();
    if decisions.is_empty() && order.is_none() {
        return Err(AccountError::NotFound("copy").into());
    }
    let now = state.accounts.now();
    Ok(Json(Explained { decisions, order: order.map(|order| OrderBody::of(order, now)) }))
}
