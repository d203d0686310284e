//! The tenant's decisions, the newest first.

use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, FillId, IdempotencyKey, Mode, Outcome, PositionBranch,
    Reason, TargetRowId, Timestamp,
    events::{Inputs, Order},
};
use sqlx::{PgConnection, Row, postgres::PgRow, types::Json};

use super::{QueryError, Span, Where};
use crate::pg::Tz;

/// Which decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecisionFilter {
    /// Of this target.
    pub target: Option<TargetRowId>,
    /// Of this followed wallet.
    pub wallet: Option<Address>,
    /// About this asset.
    pub asset: Option<AssetId>,
    /// About this condition.
    pub market: Option<ConditionId>,
    /// That came to this.
    pub outcome: Option<Outcome>,
    /// For this reason.
    pub reason: Option<Reason>,
    /// In this mode.
    pub mode: Option<Mode>,
    /// Made in this time.
    pub decided: Span,
}

/// Where a decision stands in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionPlace {
    /// The cut's clock.
    pub decided_at: Timestamp,
    /// The copy.
    pub key: IdempotencyKey,
    /// Its revision.
    pub revision: i32,
}

/// A row of `poly_copy_trade_decisions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// The copy.
    pub key: IdempotencyKey,
    /// 0, or above for an amended SELL.
    pub revision: i32,
    /// The target's row.
    pub target: TargetRowId,
    /// The followed wallet.
    pub wallet: Address,
    /// The fill, or the cause of a close.
    pub fill: FillId,
    /// What was traded.
    pub asset: AssetId,
    /// Its condition.
    pub market: ConditionId,
    /// Whether real money moves.
    pub mode: Mode,
    /// What it came to.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// What it does to our position.
    pub branch: PositionBranch,
    /// The order decided, where one was.
    pub order: Option<Order>,
    /// What it was made from; read only where it is asked for.
    pub inputs: Option<Inputs>,
    /// Why it could not be made.
    pub error: Option<String>,
    /// The version of plan and folds.
    pub plan_version: i32,
    /// The revision of the policy.
    pub policy_revision: i64,
    /// The partition it was made in.
    pub partition: i32,
    /// The cut it was made in.
    pub cut: i64,
    /// The cut's clock.
    pub decided_at: Timestamp,
}

impl DecisionRow {
    /// Where it stands in the list.
    pub const fn place(&self) -> DecisionPlace {
        DecisionPlace { decided_at: self.decided_at, key: self.key, revision: self.revision }
    }

    fn of(row: &PgRow) -> Result<Self, QueryError> {
        let text = |column| row.try_get::<&str, _>(column);
        let Tz(decided_at) = row.try_get("decided_at")?;
        Ok(Self {
            key: text("idempotency_key")?.parse()?,
            revision: row.try_get("revision")?,
            target: TargetRowId::from_uuid(row.try_get("target_row_id")?),
            wallet: text("target_wallet")?.parse()?,
            fill: text("fill_id")?.parse()?,
            asset: text("asset")?.parse()?,
            market: text("market_id")?.parse()?,
            mode: text("mode")?.parse()?,
            outcome: text("outcome")?.parse()?,
            reason: text("reason")?.parse()?,
            branch: text("position_branch")?.parse()?,
            order: row.try_get::<Option<Json<Order>>, _>("intent")?.map(|Json(order)| order),
            inputs: row.try_get::<Option<Json<Inputs>>, _>("inputs")?.map(|Json(inputs)| inputs),
            error: row.try_get("error")?,
            plan_version: row.try_get("plan_version")?,
            policy_revision: row.try_get("policy_revision")?,
            partition: row.try_get("partition")?,
            cut: row.try_get("cut")?,
            decided_at,
        })
    }
}

macro_rules! select {
    ($inputs:literal) => {
        concat!(
            "select idempotency_key, revision, target_row_id, target_wallet, fill_id, asset, market_id, mode, outcome,
                 reason, position_branch, intent, ",
            $inputs,
            " as inputs, error, plan_version, policy_revision, partition, cut, decided_at
             from poly_copy_trade_decisions"
        )
    };
}

/// Up to `limit` decisions of the account that pass the filter, the newest first; those after a place, where one is
/// given. Their inputs are not read.
///
/// # Errors
/// The database.
pub async fn decisions(
    connection: &mut PgConnection,
    account: BillingAccountId,
    filter: &DecisionFilter,
    after: Option<DecisionPlace>,
    limit: i64,
) -> Result<Vec<DecisionRow>, QueryError> {
    let mut query = Where::of(select!("null::jsonb"), account);
    query.and("target_row_id = ", filter.target.map(|row| row.as_uuid()));
    query.and("target_wallet = ", filter.wallet.map(|wallet| wallet.to_string()));
    query.and("asset = ", filter.asset.as_ref().map(ToString::to_string));
    query.and("market_id = ", filter.market.map(|market| market.to_string()));
    query.and("outcome = ", filter.outcome.map(Outcome::as_str));
    query.and("reason = ", filter.reason.map(Reason::as_str));
    query.and("mode = ", filter.mode.map(Mode::as_str));
    query.within("decided_at", filter.decided);
    if let Some(place) = after {
        query.0.push(" and (decided_at, idempotency_key, revision) < (");
        let mut values = query.0.separated(", ");
        values.push_bind(Tz(place.decided_at)).push_bind(place.key.to_string()).push_bind(place.revision);
        query.0.push(")");
    }
    query.0.push(" order by decided_at desc, idempotency_key desc, revision desc limit ").push_bind(limit);
    query.0.build().fetch_all(connection).await?.iter().map(DecisionRow::of).collect()
}

/// Every decision about one copy, with its inputs, the first revision first.
///
/// # Errors
/// The database.
pub async fn decisions_of(
    connection: &mut PgConnection,
    account: BillingAccountId,
    key: IdempotencyKey,
) -> Result<Vec<DecisionRow>, QueryError> {
    let mut query = Where::of(select!("inputs"), account);
    query.and("idempotency_key = ", Some(key.to_string()));
    query.0.push(" order by revision");
    query.0.build().fetch_all(connection).await?.iter().map(DecisionRow::of).collect()
}
