//! What a tenant may change: itself, its wallet, what it allows, whom it follows, its switches.
//!
//! Every call is one transaction of role `app_user` on behalf of one person. It holds the account's row,
//! under which revisions are given, and writes the change and the record of it, full state and all, together:
//! the log is told by the relay, later or never, but not of anything that did not happen.

mod closes;
mod controls;
mod grants;
mod outbox;
mod targets;
mod tokens;
mod turns;
mod wallets;

pub use closes::{CLOSE_REVISION, Close};
pub use controls::Control;
pub use grants::{Grant, SCOPES, SetGrant};
pub use targets::{Added, Change, MOST_TARGETS, Positions, Target, TargetPlace};
pub use tokens::{ApiToken, TOKEN_PREFIX, Token};
pub use wallets::{ConnectWallet, Connection};

pub(crate) use controls::{Wanted, switch};
pub(crate) use outbox::{Entry, tell};
pub(crate) use turns::{AT_ONCE, PATIENCE, Turn};

use std::sync::Arc;

use project::{
    Connections, MigrateError, Role, check_version,
    pg::{Tz, begin_as, is_away},
};
use runtime::{Chance, Clock};
use schemas::{
    BillingAccountId, Timestamp, UserId,
    codec::{Codec, CodecError},
    events::Policy,
    ids::IdError,
};
use sqlx::{PgPool, Postgres, Transaction};

use crate::policy::{self, PolicyError};
use turns::Turns;

/// A person and the account at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenant {
    /// Who acts.
    pub user: UserId,
    /// Whose money it is.
    pub account: BillingAccountId,
}

/// Why a change was not made: nothing of it was, unless the answer was lost.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A name that is none.
    #[error(
        "name_invalid: `{0}` is no name: 1 to 63 of a-z, 0-9, `_`, `.`, `-`, beginning with a letter or a digit"
    )]
    NameInvalid(String),
    /// Somebody has it.
    #[error("name_taken: there is a tenant `{0}` already. Choose another name")]
    NameTaken(String),
    /// There is no such thing, or it is somebody else's: the answer is the same.
    #[error("not_found: no such {0}")]
    NotFound(&'static str),
    /// Policy settings.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The wallet is being wound down.
    #[error(
        "target_closing: this wallet is no longer followed; its positions are being closed. Add it again to change that"
    )]
    TargetClosing,
    /// As many as one account may follow.
    #[error(
        "targets_too_many: this account follows {0} wallets, and no more are followed for one. Remove one first, and wait \
         until its positions are closed, or keep them"
    )]
    TargetsTooMany(i64),
    /// It is followed in another mode.
    #[error(
        "target_mode_differs: this wallet is followed in mode `{0}` already, and positions of two modes never mix. Remove \
         it first, and add it again once its positions are closed"
    )]
    ModeDiffers(schemas::Mode),
    /// Nothing here places orders in that mode.
    #[error(
        "mode_not_served: orders of mode `{mode}` are not placed here. Follow the wallet in one of these: {served}"
    )]
    ModeNotServed {
        /// What was asked for.
        mode: schemas::Mode,
        /// What there is.
        served: String,
    },
    /// Another account trades with that wallet.
    #[error(
        "wallet_connected_elsewhere: this wallet is connected to another account. A wallet is active in one connection \
         only: take it back there first, with `polymirror wallet revoke`"
    )]
    WalletElsewhere,
    /// Nothing to sign with.
    #[error(
        "signing_key_missing: the connection has no sealed signing key. Connect the wallet with its key: `polymirror wallet \
         connect`"
    )]
    NoKey,
    /// A scope that is none.
    #[error("scope_unknown: there is no scope `{0}`. There are: poly:trade:buy, poly:trade:sell")]
    ScopeUnknown(String),
    /// A cap below zero.
    #[error("cap_invalid: `{0}` must not be below zero")]
    CapInvalid(&'static str),
    /// A switch that only the operator has.
    #[error(
        "control_for_operator_only: `{0}` stops the stages of every tenant; use `halt` to stop your own trading"
    )]
    OperatorOnly(schemas::ControlKind),
    /// Too much to say.
    #[error("reason_too_long: a reason has at most 500 characters")]
    ReasonTooLong,
    /// What cannot be kept or shown.
    #[error("reason_invalid: a reason must not hold control characters. Leave them out")]
    ReasonInvalid,
    /// Somebody changed it in between.
    #[error(
        "revision_stale: this is at revision {found}, not at {expected}: somebody changed it since you read it. Read it \
         again, and make the change on that"
    )]
    RevisionStale {
        /// What the caller knows.
        expected: i64,
        /// What stands.
        found: i64,
    },
    /// A live token has that name.
    #[error(
        "token_exists: the tenant has a token `{0}` already. Choose another name, or revoke that one first"
    )]
    TokenExists(String),
    /// A request's name that is none.
    #[error("request_id_invalid: a request id is 1 to 64 of a-z, A-Z, 0-9, `.`, `_`, `-`")]
    RequestIdInvalid,
    /// The name of another request.
    #[error(
        "request_id_reused: this request id names a close of another position. Choose a new one for each request, and \
         repeat it only to repeat the request"
    )]
    RequestIdReused,
    /// More than one target holds it.
    #[error(
        "position_ambiguous: more than one target holds this asset. Name the one whose position is to be sold"
    )]
    PositionAmbiguous,
    /// The database is away; the change was not made, or its answer was lost: look, and try again.
    #[error(
        "database_unreachable: {0}. Check that Postgres runs, see whether the change was made, and try again"
    )]
    Unreachable(sqlx::Error),
    /// The database refuses.
    #[error("database_error: {0}")]
    Sql(sqlx::Error),
    /// A row that this program would not have written.
    #[error("database_row_invalid: {0}")]
    Row(String),
    /// A record of ours does not fit its schema: a bug.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl From<sqlx::Error> for AccountError {
    fn from(error: sqlx::Error) -> Self {
        if is_away(&error) { Self::Unreachable(error) } else { Self::Sql(error) }
    }
}

/// Whether a thing is at the revision that a change was made on; any, where none is named.
const fn is_at(found: i64, expected: Option<i64>) -> Result<(), AccountError> {
    match expected {
        Some(expected) if expected != found => Err(AccountError::RevisionStale { expected, found }),
        _ => Ok(()),
    }
}

impl From<IdError> for AccountError {
    fn from(error: IdError) -> Self {
        Self::Row(error.to_string())
    }
}

impl AccountError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NameInvalid(_) => "name_invalid",
            Self::NameTaken(_) => "name_taken",
            Self::NotFound(_) => "not_found",
            Self::Policy(e) => e.code(),
            Self::TargetClosing => "target_closing",
            Self::TargetsTooMany(_) => "targets_too_many",
            Self::ModeDiffers(_) => "target_mode_differs",
            Self::ModeNotServed { .. } => "mode_not_served",
            Self::WalletElsewhere => "wallet_connected_elsewhere",
            Self::NoKey => "signing_key_missing",
            Self::ScopeUnknown(_) => "scope_unknown",
            Self::CapInvalid(_) => "cap_invalid",
            Self::OperatorOnly(_) => "control_for_operator_only",
            Self::ReasonTooLong => "reason_too_long",
            Self::ReasonInvalid => "reason_invalid",
            Self::RevisionStale { .. } => "revision_stale",
            Self::TokenExists(_) => "token_exists",
            Self::RequestIdInvalid => "request_id_invalid",
            Self::RequestIdReused => "request_id_reused",
            Self::PositionAmbiguous => "position_ambiguous",
            Self::Unreachable(_) => "database_unreachable",
            Self::Sql(_) => "database_error",
            Self::Row(_) => "database_row_invalid",
            Self::Codec(e) => e.code(),
        }
    }
}

/// The constraint that a statement broke, if it did.
pub(crate) fn broken_constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().filter(|e| e.is_unique_violation()).and_then(|e| e.constraint())
}

/// The accounts, as their owners change them.
#[derive(Debug, Clone)]
pub struct Accounts {
    pool: PgPool,
    codec: Codec,
    clock: Arc<dyn Clock>,
    chance: Chance,
    unsupported: Unsupported,
    served: &'static [schemas::Mode],
    turns: Turns,
}

/// The connections that all requests share.
const CONNECTIONS: u32 = 4;

/// What is served where nobody says: nothing that moves real money.
const MODES: &[schemas::Mode] = &[schemas::Mode::Simulated, schemas::Mode::Paper];

/// What of a policy nothing here could carry out, if anything: better told at once than skipped for ever.
pub type Unsupported = fn(&Policy) -> Option<String>;

impl Accounts {
    /// Logs in as `app_user`.
    ///
    /// # Errors
    /// No connection, or a database that is not at this program's version.
    pub async fn connect(
        connections: &Connections,
        codec: Codec,
        clock: Arc<dyn Clock>,
        chance: Chance,
    ) -> Result<Self, MigrateError> {
        let pool = connections.pool(Role::AppUser, CONNECTIONS).await?;
        check_version(&pool).await?;
        let turns = Turns::default();
        Ok(Self { pool, codec, clock, chance, unsupported: |_| None, served: MODES, turns })
    }

    /// Refuses policies of which something could not be carried out.
    #[must_use]
    pub fn refusing(self, unsupported: Unsupported) -> Self {
        Self { unsupported, ..self }
    }

    /// The modes in which wallets can be followed here, the usual one first.
    #[must_use]
    pub fn serving(self, served: &'static [schemas::Mode]) -> Self {
        Self { served, ..self }
    }

    /// The mode in which a wallet is followed where none is named.
    pub fn usual_mode(&self) -> schemas::Mode {
        self.served.first().copied().unwrap_or(schemas::Mode::Simulated)
    }

    /// A policy that holds, and that can be carried out.
    fn check(&self, settings: &Policy) -> Result<(), AccountError> {
        policy::check(settings)?;
        (self.unsupported)(settings).map_or(Ok(()), |why| Err(PolicyError::Unsupported(why).into()))
    }

    /// The connections of `app_user`.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Makes a person with one account, `main`.
    ///
    /// # Errors
    /// A name that is none, or is taken.
    pub async fn create_tenant(&self, handle: &str) -> Result<Tenant, AccountError> {
        let (transaction, tenant) = self.begin_tenant(handle).await?;
        transaction.commit().await?;
        Ok(tenant)
    }

    /// Makes a person with one account and a wallet to trade from: both, or neither.
    ///
    /// # Errors
    /// A name that is none, or is taken; a wallet that is active in another account's connection.
    pub async fn create_tenant_with(
        &self,
        handle: &str,
        wallet: ConnectWallet,
    ) -> Result<Tenant, AccountError> {
        let (mut transaction, tenant) = self.begin_tenant(handle).await?;
        self.connect_in(&mut transaction, tenant, wallet).await?;
        transaction.commit().await?;
        Ok(tenant)
    }

    async fn begin_tenant(
        &self,
        handle: &str,
    ) -> Result<(Transaction<'static, Postgres>, Tenant), AccountError> {
        if !is_name(handle) {
            return Err(AccountError::NameInvalid(handle.chars().take(100).collect()));
        }
        let tenant = Tenant {
            user: UserId::from_uuid(self.chance.uuid()),
            account: BillingAccountId::from_uuid(self.chance.uuid()),
        };
        let now = Tz(self.clock.now());
        let mut transaction = begin_as(&self.pool, tenant.user).await?;
        sqlx::query("insert into users (id, handle, created_at) values ($1, $2, $3)")
            .bind(tenant.user.as_uuid())
            .bind(handle)
            .bind(now)
            .execute(&mut *transaction)
            .await
            .map_err(|error| match broken_constraint(&error) {
                Some("users_handle_key") => AccountError::NameTaken(handle.to_owned()),
                _ => error.into(),
            })?;
        sqlx::query(
            "insert into billing_accounts (id, owner_user_id, name, created_at) values ($1, $2, 'main', $3)",
        )
        .bind(tenant.account.as_uuid())
        .bind(tenant.user.as_uuid())
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        Ok((transaction, tenant))
    }

    /// A transaction of this person that holds the account's row: nobody else changes anything of the
    /// account, and the gate's transactions on it wait. Somebody else's account is not found.
    async fn hold(&self, tenant: Tenant) -> Result<Transaction<'static, Postgres>, AccountError> {
        let mut transaction = begin_as(&self.pool, tenant.user).await?;
        sqlx::query_scalar::<_, bool>("select true from billing_accounts where id = $1 for no key update")
            .bind(tenant.account.as_uuid())
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(AccountError::NotFound("account"))?;
        Ok(transaction)
    }
}

fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}
