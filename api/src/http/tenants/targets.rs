//! Whom the tenant follows.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemas::{Address, Mode, Sizing, TargetId, TargetRowId, TargetStatus};
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{AdditionalProperties, Schema, SchemaType, Type},
    },
};

use super::{
    super::{
        State,
        problem::Problem,
        shapes::{ModeWord, StatusWord, Time, Wallet},
    },
    extract::{Answer, Body, Caller, Id, IfMatch, MatchHeader, Params, etag},
    page::{self, List},
};
use crate::{
    accounts::{Added, Change, Positions, Target, TargetPlace},
    policy::{self, SETTINGS},
};

/// A wallet that is followed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TargetBody {
    /// The row: what the routes of one target take.
    #[schema(value_type = Uuid)]
    id: TargetRowId,
    /// The followed wallet.
    #[schema(value_type = Wallet)]
    wallet: Address,
    /// The wallet's id in keys: the same for every tenant.
    #[schema(value_type = Uuid)]
    target_id: TargetId,
    /// Where it stands.
    #[schema(value_type = StatusWord)]
    status: TargetStatus,
    /// Whether closing means to sell at once.
    close_now: bool,
    /// Whether the removal kept what was held.
    keep_positions: bool,
    /// Whether real money moves.
    #[schema(value_type = ModeWord)]
    mode: Mode,
    /// The settings that differ from the defaults.
    settings: Settings,
    /// Grows with each change of the settings.
    policy_revision: i64,
    /// Grows with each change; the `ETag`.
    revision: i64,
    /// Earlier fills are not followed.
    created_at: Time,
    /// When this revision was made.
    changed_at: Time,
}

impl From<&Target> for TargetBody {
    fn from(target: &Target) -> Self {
        Self {
            id: target.row,
            wallet: target.wallet,
            target_id: TargetId::of_wallet(target.wallet),
            status: target.status,
            close_now: target.close_now,
            keep_positions: target.keep_positions,
            mode: target.mode,
            settings: Settings::of(&target.policy),
            policy_revision: target.policy_revision,
            revision: target.revision,
            created_at: target.created_at.into(),
            changed_at: target.changed_at.into(),
        }
    }
}

/// Settings by name, as text: what `polymirror target add --set` takes. As they were given, so that one that is
/// given twice is seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings(Vec<(String, Option<String>)>);

impl Settings {
    /// What the policy sets.
    pub(super) fn of(policy: &schemas::events::Policy) -> Self {
        Self(policy::pairs(policy).into_iter().map(|(name, value)| (name.to_owned(), Some(value))).collect())
    }

    /// As a policy takes them: `null` takes a setting back.
    fn pairs(self) -> Vec<(String, String)> {
        let value = |value: Option<String>| value.unwrap_or_else(|| "default".to_owned());
        self.0.into_iter().map(|(name, given)| (name, value(given))).collect()
    }
}

impl Serialize for Settings {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.iter().map(|(name, value)| (name, value)).collect::<BTreeMap<_, _>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> de::Visitor<'de> for Each {
            type Value = Settings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of settings, each a string or null")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
                let mut all = Vec::new();
                while let Some(pair) = map.next_entry::<String, Option<String>>()? {
                    all.push(pair);
                }
                Ok(Settings(all))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

impl PartialSchema for Settings {
    fn schema() -> RefOr<Schema> {
        let value = |setting: &policy::Setting| {
            // The one setting that has no default to go back to.
            let null = (setting.name != "sizing").then_some(Type::Null);
            ObjectBuilder::new()
                .schema_type([Type::String].into_iter().chain(null).collect::<SchemaType>())
                .description(Some(setting.help))
                .build()
        };
        let mut object = ObjectBuilder::new()
            .description(Some(
                "Settings of the policy, by name: strings, money as decimals, parts as `0.2` or `20%`, times as `600s`, \
                 `10m`, `2h`. `null` takes one back to its default.",
            ))
            .additional_properties(Some(AdditionalProperties::FreeForm(false)));
        for setting in SETTINGS {
            object = object.property(setting.name, value(setting));
        }
        object.build().into()
    }
}

impl ToSchema for Settings {
    fn name() -> Cow<'static, str> {
        "Settings".into()
    }
}

/// A page of targets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TargetPage {
    /// The oldest first.
    items: Vec<TargetBody>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}

/// Which targets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TargetQuery {
    /// Only those that stand there; without it, all that are not removed.
    #[param(value_type = StatusWord, required = false)]
    status: Option<TargetStatus>,
    /// How many at once.
    #[param(value_type = u16, required = false, minimum = 1, maximum = 500, default = 50)]
    limit: Option<u16>,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// The wallets that are followed, the oldest first.
#[utoipa::path(
    get, path = "/api/v1/poly/copy-trade/targets", tag = "targets", params(TargetQuery),
    responses((status = 200, body = TargetPage))
)]
pub(super) async fn list(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    Params(query): Params<TargetQuery>,
) -> Answer<TargetPage> {
    let limit = page::limit(query.limit)?;
    let filters = page::filters(&query.status);
    let list = List { tenant, name: "targets", filters: &filters };
    let after = match query.cursor {
        None => None,
        Some(cursor) => {
            let place = list.place(&cursor)?;
            let [at, row] = page::parts(&place)?;
            Some(TargetPlace { created_at: page::time(at)?, row: page::part(row)? })
        }
    };
    let rows = state.accounts.target_page(tenant, query.status, after, page::to_read(limit)).await;
    let mut rows = rows?;
    let next_cursor = page::cut(&mut rows, limit, |last| {
        list.cursor(&format!("{} {}", last.created_at.micros(), last.row))
    });
    Ok(Json(TargetPage { items: rows.iter().map(TargetBody::from).collect(), next_cursor }))
}

/// A wallet to follow.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTarget {
    /// The wallet. Its case does not matter.
    #[schema(value_type = Wallet)]
    wallet: Address,
    /// How it is mirrored; what is not set has its default, and the sizing is `min_bet`.
    #[serde(default)]
    settings: Settings,
    /// Whether its copies are real: `paper` fills them against the recorded book, and nothing leaves. What the
    /// installation is for, where it is not given.
    #[schema(value_type = Option<ModeWord>)]
    mode: Option<Mode>,
}

/// Follows a wallet. One that is followed already stays as it is, its settings too; one that is being wound down is
/// taken up again with these settings.
#[utoipa::path(
    post, path = "/api/v1/poly/copy-trade/targets", tag = "targets", request_body = NewTarget,
    responses(
        (status = 201, description = "It is followed from now on.", body = TargetBody,
            headers(("ETag" = String, description = "The revision."), ("Location" = String, description = "Its address."))),
        (status = 200, description = "It was followed already, or is again.", body = TargetBody,
            headers(("ETag" = String, description = "The revision."))),
        (status = 409, description = "It is followed in another mode, or that mode is not served here, or 100 wallets are followed already.",
            body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    Body(new): Body<NewTarget>,
) -> Result<Response, Problem> {
    let settings = policy::apply_settings(&policy::with_sizing(Sizing::MinBet), &new.settings.pairs());
    let policy = settings.map_err(crate::AccountError::from)?;
    let mode = new.mode.unwrap_or_else(|| state.accounts.usual_mode());
    let (target, added) = state.accounts.target_add(tenant, new.wallet, mode, policy).await?;
    let body = (etag(target.revision), Json(TargetBody::from(&target)));
    let location = format!("/api/v1/poly/copy-trade/targets/{}", target.row);
    Ok(match added {
        Added::New => (StatusCode::CREATED, [(header::LOCATION, location)], body).into_response(),
        Added::Again | Added::Already => body.into_response(),
    })
}

/// What is to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetChange {
    /// Settings that change; the others stay.
    #[serde(default)]
    settings: Settings,
    /// Whether its BUYs are paused. Its exits go on either way.
    paused: Option<bool>,
    /// The revision that the change is made on: refused where it is another. As `If-Match` does.
    revision: Option<i64>,
}

/// Changes settings of a target, pauses its BUYs or lets them go on. In force from the next fill on.
#[utoipa::path(
    patch, path = "/api/v1/poly/copy-trade/targets/{id}", tag = "targets", request_body = TargetChange,
    params(
        ("id" = Uuid, Path, description = "The target's row."),
        MatchHeader,
    ),
    responses(
        (status = 200, body = TargetBody, headers(("ETag" = String, description = "The revision."))),
        (status = 404, description = "No such target of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is at another revision, or is being wound down.", body = Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn change(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    Id(row): Id<TargetRowId>,
    IfMatch(matches): IfMatch,
    Body(change): Body<TargetChange>,
) -> Result<Response, Problem> {
    let expected = one_revision(matches, change.revision)?;
    let change = Change { settings: change.settings.pairs(), paused: change.paused, expected };
    let target = state.accounts.target_change(tenant, row, &change).await?;
    Ok((etag(target.revision), Json(TargetBody::from(&target))).into_response())
}

/// The revision of header and body, which must not name two.
fn one_revision(header: Option<i64>, body: Option<i64>) -> Result<Option<i64>, Problem> {
    match (header, body) {
        (Some(expected), Some(found)) if expected != found => {
            Err(crate::AccountError::RevisionStale { expected, found }.into())
        }
        _ => Ok(header.or(body)),
    }
}

/// What becomes of what is held.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Held {
    /// The leader's exits are followed until nothing is held.
    #[default]
    Follow,
    /// It is sold at once.
    Close,
    /// It is kept, and nobody sells it.
    Keep,
}

/// How a target is removed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveQuery {
    /// What becomes of what is held: without it, the leader's exits are followed.
    #[serde(default)]
    #[param(inline, required = false)]
    positions: Held,
}

/// Stops following a wallet. One that is being wound down can still be told to close or to keep what is held; one
/// that is gone stays gone.
#[utoipa::path(
    delete, path = "/api/v1/poly/copy-trade/targets/{id}", tag = "targets",
    params(
        ("id" = Uuid, Path, description = "The target's row."), RemoveQuery,
        MatchHeader,
    ),
    responses(
        (status = 200, body = TargetBody, headers(("ETag" = String, description = "The revision."))),
        (status = 404, description = "No such target of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is at another revision.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    Id(row): Id<TargetRowId>,
    Params(query): Params<RemoveQuery>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    let positions = match query.positions {
        Held::Follow => Positions::Follow,
        Held::Close => Positions::Close,
        Held::Keep => Positions::Keep,
    };
    let target = state.accounts.target_remove(tenant, row, positions, expected).await?;
    Ok((etag(target.revision), Json(TargetBody::from(&target))).into_response())
}
