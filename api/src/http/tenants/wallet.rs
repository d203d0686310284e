//! What the tenant allows, and its pause.

use axum::{
    Json,
    extract::State as Extract,
    response::{IntoResponse, Response},
};
use schemas::ControlKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::{
        State,
        problem::Problem,
        shapes::{Decimal, Dollars, Time},
    },
    extract::{Body, Caller, IfMatch, MatchHeader, etag},
};
use crate::{
    AccountError,
    accounts::{Control, Grant, SetGrant},
};

/// What there is to allow.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub(super) enum Scope {
    /// BUYs.
    #[serde(rename = "poly:trade:buy")]
    Buy,
    /// SELLs.
    #[serde(rename = "poly:trade:sell")]
    Sell,
}

/// What the mirror may do. The smaller of these caps and the constants in the program is in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GrantBody {
    /// What it may trade.
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<String>,
    /// The most one order may cost.
    per_order_usdc_cap: Decimal,
    /// The most that 24 hours may cost.
    daily_usdc_cap: Decimal,
    /// The most orders in an hour.
    hourly_fills_cap: i64,
    /// The most on one condition over all targets; null: no such cap.
    per_market_usdc_cap: Option<Decimal>,
    /// When it ends by itself.
    expires_at: Option<Time>,
    /// When it was taken back.
    revoked_at: Option<Time>,
    /// Grows with each change.
    revision: i64,
    /// When it was changed.
    changed_at: Time,
}

impl From<Grant> for GrantBody {
    fn from(grant: Grant) -> Self {
        Self {
            scopes: grant.terms.scopes,
            per_order_usdc_cap: grant.terms.per_order_usdc_cap.into(),
            daily_usdc_cap: grant.terms.daily_usdc_cap.into(),
            hourly_fills_cap: grant.terms.hourly_fills_cap,
            per_market_usdc_cap: grant.terms.per_market_usdc_cap.map(Decimal::from),
            expires_at: grant.terms.expires_at.map(Time),
            revoked_at: grant.revoked_at.map(Time),
            revision: grant.revision,
            changed_at: grant.changed_at.into(),
        }
    }
}

/// What is to be allowed, in place of what was.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGrant {
    /// What the mirror may trade; nothing, where it is empty.
    scopes: Vec<Scope>,
    /// The most one order may cost.
    per_order_usdc_cap: Dollars,
    /// The most that 24 hours may cost.
    daily_usdc_cap: Dollars,
    /// The most orders in an hour.
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    hourly_fills_cap: i32,
    /// The most on one condition over all targets.
    per_market_usdc_cap: Option<Dollars>,
    /// When it ends by itself.
    expires_at: Option<Time>,
}

impl From<NewGrant> for SetGrant {
    fn from(new: NewGrant) -> Self {
        let word = |scope: &Scope| match scope {
            Scope::Buy => "poly:trade:buy".to_owned(),
            Scope::Sell => "poly:trade:sell".to_owned(),
        };
        Self {
            scopes: new.scopes.iter().map(word).collect(),
            per_order_usdc_cap: new.per_order_usdc_cap.0,
            daily_usdc_cap: new.daily_usdc_cap.0,
            hourly_fills_cap: i64::from(new.hourly_fills_cap),
            per_market_usdc_cap: new.per_market_usdc_cap.map(|Dollars(cap)| cap),
            expires_at: new.expires_at.map(|Time(at)| at),
        }
    }
}

/// What is allowed now.
#[utoipa::path(
    get, path = "/api/v1/poly/wallet/grants", tag = "wallet",
    responses(
        (status = 200, body = GrantBody, headers(("ETag" = String, description = "The revision."))),
        (status = 404, description = "Nothing is allowed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn grant(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
) -> Result<Response, Problem> {
    let grant = state.accounts.grant(tenant).await?.ok_or(AccountError::NotFound("grant"))?;
    Ok((etag(grant.revision), Json(GrantBody::from(grant))).into_response())
}

/// Allows this, in place of what was allowed. Before the first change the revision is 0; once it was taken back, it is
/// that of the taking back.
#[utoipa::path(
    put, path = "/api/v1/poly/wallet/grants", tag = "wallet", request_body = NewGrant, params(MatchHeader),
    responses(
        (status = 200, body = GrantBody, headers(("ETag" = String, description = "The revision."))),
        (status = 409, description = "It is at another revision.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn set_grant(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    IfMatch(expected): IfMatch,
    Body(new): Body<NewGrant>,
) -> Result<Response, Problem> {
    let grant = state.accounts.grant_set(tenant, new.into(), expected).await?;
    Ok((etag(grant.revision), Json(GrantBody::from(grant))).into_response())
}

/// Takes back what was allowed: BUYs and SELLs.
#[utoipa::path(
    delete, path = "/api/v1/poly/wallet/grants", tag = "wallet", params(MatchHeader),
    responses(
        (status = 200, body = GrantBody, headers(("ETag" = String, description = "The revision."))),
        (status = 404, description = "Nothing is allowed.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is at another revision.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke_grant(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    let grant = state.accounts.grant_revoke(tenant, expected).await?;
    Ok((etag(grant.revision), Json(GrantBody::from(grant))).into_response())
}

/// Whether BUYs are to be paused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPause {
    /// Whether they are paused.
    paused: bool,
    /// Why, for whoever reads it later.
    #[serde(default)]
    #[schema(max_length = 500, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    reason: String,
}

/// The tenant's pause.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct PauseBody {
    /// Whether BUYs are paused. Exits go on either way.
    paused: bool,
    /// Why.
    reason: String,
    /// Grows with each change; 0 before the first.
    revision: i64,
    /// When it was changed; null before that.
    changed_at: Option<Time>,
}

impl From<Control> for PauseBody {
    fn from(control: Control) -> Self {
        Self {
            paused: control.active,
            reason: control.reason,
            revision: control.revision,
            changed_at: Some(control.changed_at.into()),
        }
    }
}

/// Whether the BUYs of all the tenant's targets are paused, and why: the mirror pauses them by itself, too.
#[utoipa::path(
    get, path = "/api/v1/poly/copy-trade/pause", tag = "wallet",
    responses((status = 200, body = PauseBody, headers(("ETag" = String, description = "The revision."))))
)]
pub(super) async fn paused(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
) -> Result<Response, Problem> {
    let control = state.accounts.control(tenant, ControlKind::Pause).await?;
    let body = control.map_or_else(PauseBody::default, PauseBody::from);
    Ok((etag(body.revision), Json(body)).into_response())
}

/// Pauses the BUYs of all the tenant's targets, or lets them go on.
#[utoipa::path(
    put, path = "/api/v1/poly/copy-trade/pause", tag = "wallet", request_body = NewPause, params(MatchHeader),
    responses(
        (status = 200, body = PauseBody, headers(("ETag" = String, description = "The revision."))),
        (status = 409, description = "It is at another revision.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn pause(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    IfMatch(expected): IfMatch,
    Body(new): Body<NewPause>,
) -> Result<Response, Problem> {
    let (kind, accounts) = (ControlKind::Pause, &state.accounts);
    let control = accounts.control_set(tenant, kind, new.paused, &new.reason, expected).await?;
    Ok((etag(control.revision), Json(PauseBody::from(control))).into_response())
}
