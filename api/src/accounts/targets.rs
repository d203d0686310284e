//! Whom a tenant follows, and how.

use std::str::FromStr;

use project::pg::{Tz, begin_as};
use schemas::{
    Address, Mode, TargetId, TargetRowId, TargetStatus, Timestamp,
    events::{Policy, TargetState},
    topics::Topic,
};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{AccountError, Accounts, Entry, Tenant, is_at, tell};
use crate::policy;

/// The most wallets that one account follows, those that are being wound down too. All wallets of an installation share
/// the venue's limits (`ingest::shell::pace`): each one more is read a little later, and so is everybody else's.
pub const MOST_TARGETS: i64 = 100;

/// A target, as its row stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its row.
    pub row: TargetRowId,
    /// The followed wallet.
    pub wallet: Address,
    /// Where it stands.
    pub status: TargetStatus,
    /// Whether closing means to sell at once.
    pub close_now: bool,
    /// Whether the removal kept what was held.
    pub keep_positions: bool,
    /// Whether real money moves.
    pub mode: Mode,
    /// The settings.
    pub policy: Policy,
    /// Grows with each change of the settings.
    pub policy_revision: i64,
    /// Grows with each change.
    pub revision: i64,
    /// Earlier fills are not followed.
    pub created_at: Timestamp,
    /// When this revision was made.
    pub changed_at: Timestamp,
}

/// What adding a target came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// It was being wound down, and is followed again.
    Again,
    /// It was followed already: nothing changed, its settings neither.
    Already,
}

/// What becomes of the positions when a target is removed (`behaviour.md` 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// The leader's exits are followed until nothing is held.
    Follow,
    /// They are sold at once.
    Close,
    /// They are kept, and nobody sells them.
    Keep,
}

impl FromStr for Positions {
    type Err = schemas::ids::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "follow" => Ok(Self::Follow),
            "close" => Ok(Self::Close),
            "keep" => Ok(Self::Keep),
            _ => Err(schemas::ids::IdError {
                given: text.chars().take(100).collect(),
                what: "one of: follow close keep",
            }),
        }
    }
}

/// What is to change of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Settings, as [`policy::apply_settings`] reads them; the others stay.
    pub settings: Vec<(String, String)>,
    /// Whether its BUYs are to be paused.
    pub paused: Option<bool>,
    /// The revision that the change is made on; any, where it is not given.
    pub expected: Option<i64>,
}

/// Where a target stands in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetPlace {
    /// When it was made.
    pub created_at: Timestamp,
    /// Its row.
    pub row: TargetRowId,
}

const COLUMNS: &str =
    "id, target_wallet, status, close_now, keep_positions, mode, policy, policy_revision, revision,
    created_at, changed_at";

impl Target {
    fn of(row: &PgRow) -> Result<Self, AccountError> {
        let Tz(created_at) = row.try_get("created_at")?;
        let Tz(changed_at) = row.try_get("changed_at")?;
        let sqlx::types::Json(policy) = row.try_get("policy")?;
        Ok(Self {
            row: TargetRowId::from_uuid(row.try_get("id")?),
            wallet: row.try_get::<&str, _>("target_wallet")?.parse()?,
            status: row.try_get::<&str, _>("status")?.parse()?,
            close_now: row.try_get("close_now")?,
            keep_positions: row.try_get("keep_positions")?,
            mode: row.try_get::<&str, _>("mode")?.parse()?,
            policy,
            policy_revision: row.try_get("policy_revision")?,
            revision: row.try_get("revision")?,
            created_at,
            changed_at,
        })
    }

    fn state(&self, tenant: Tenant) -> TargetState {
        TargetState {
            target_row_id: self.row,
            revision: self.revision,
            billing_account_id: tenant.account,
            created_by_user_id: tenant.user,
            wallet: self.wallet,
            target_id: TargetId::of_wallet(self.wallet),
            status: self.status,
            close_now: self.close_now,
            keep_positions: self.keep_positions,
            mode: self.mode,
            policy_revision: self.policy_revision,
            policy: self.policy.clone(),
            created_at: self.created_at,
            changed_at: self.changed_at,
        }
    }
}

impl Accounts {
    /// Follows a wallet. One that is followed already stays as it is; one that is being wound down is taken
    /// up again with these settings.
    ///
    /// # Errors
    /// Settings that are none, a mode that is not served, or another one than it is followed in; more wallets than
    /// [`MOST_TARGETS`].
    pub async fn target_add(
        &self,
        tenant: Tenant,
        wallet: Address,
        mode: Mode,
        settings: Policy,
    ) -> Result<(Target, Added), AccountError> {
        self.check(&settings)?;
        if !self.served.contains(&mode) {
            let served = self.served.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(", ");
            return Err(AccountError::ModeNotServed { mode, served });
        }
        let mut transaction = self.hold(tenant).await?;
        let now = self.clock.now();
        let settings = Policy { set_at: now, ..settings };
        let found =
            find(&mut transaction, tenant, "target_wallet = $2 and status <> 'removed'", wallet.to_string());
        let (target, added) = match found.await? {
            Some(there) if there.mode != mode => return Err(AccountError::ModeDiffers(there.mode)),
            Some(there) if there.status != TargetStatus::Closing => return Ok((there, Added::Already)),
            Some(there) => {
                let target = Target {
                    status: TargetStatus::Active,
                    close_now: false,
                    keep_positions: false,
                    policy: settings,
                    policy_revision: there.policy_revision + 1,
                    ..there
                };
                (self.change(&mut transaction, tenant, target, now).await?, Added::Again)
            }
            None => {
                // Under the account's row: nobody adds another one meanwhile.
                let there = count(&mut transaction, tenant).await?;
                if there >= MOST_TARGETS {
                    return Err(AccountError::TargetsTooMany(there));
                }
                let target = Target {
                    row: TargetRowId::from_uuid(self.chance.uuid()),
                    wallet,
                    status: TargetStatus::Active,
                    close_now: false,
                    keep_positions: false,
                    mode,
                    policy: settings,
                    policy_revision: 1,
                    revision: 1,
                    created_at: now,
                    changed_at: now,
                };
                self.insert(&mut transaction, tenant, &target).await?;
                (target, Added::New)
            }
        };
        transaction.commit().await?;
        Ok((target, added))
    }

    /// Changes settings of a target: pairs as [`policy::apply`] reads them.
    ///
    /// # Errors
    /// No such target, settings that are none, or a target that is being wound down.
    pub async fn target_set<S: AsRef<str> + Sync>(
        &self,
        tenant: Tenant,
        row: TargetRowId,
        pairs: &[S],
    ) -> Result<Target, AccountError> {
        self.edit(tenant, row, None, |there| {
            Ok(Target { policy: policy::apply(&there.policy, pairs)?, ..there.clone() })
        })
        .await
    }

    /// Pauses a target's BUYs, or lets them go on. Its exits go on either way.
    ///
    /// # Errors
    /// No such target, or one that is being wound down.
    pub async fn target_pause(
        &self,
        tenant: Tenant,
        row: TargetRowId,
        paused: bool,
    ) -> Result<Target, AccountError> {
        let change = Change { paused: Some(paused), ..Change::default() };
        self.target_change(tenant, row, &change).await
    }

    /// Changes settings, and pauses or not, in one revision. What changes nothing makes none.
    ///
    /// # Errors
    /// No such target, settings that are none, a target that is being wound down, or one that is at another
    /// revision than expected.
    pub async fn target_change(
        &self,
        tenant: Tenant,
        row: TargetRowId,
        change: &Change,
    ) -> Result<Target, AccountError> {
        self.edit(tenant, row, change.expected, |there| {
            let status = match change.paused {
                None => there.status,
                Some(true) => TargetStatus::Paused,
                Some(false) => TargetStatus::Active,
            };
            let policy = policy::apply_settings(&there.policy, &change.settings)?;
            Ok(Target { status, policy, ..there.clone() })
        })
        .await
    }

    /// Makes of a target that is followed what `wanted` says, in one revision.
    async fn edit(
        &self,
        tenant: Tenant,
        row: TargetRowId,
        expected: Option<i64>,
        wanted: impl FnOnce(&Target) -> Result<Target, AccountError> + Send,
    ) -> Result<Target, AccountError> {
        let mut transaction = self.hold(tenant).await?;
        let there = followed(&mut transaction, tenant, row).await?;
        is_at(there.revision, expected)?;
        let mut target = wanted(&there)?;
        if target == there {
            return Ok(there);
        }
        let now = self.clock.now();
        if target.policy != there.policy {
            self.check(&target.policy)?;
            target.policy.set_at = now;
            target.policy_revision += 1;
        }
        let target = self.change(&mut transaction, tenant, target, now).await?;
        transaction.commit().await?;
        Ok(target)
    }

    /// Stops following a wallet. What is being wound down can still be told to close at once or to be kept;
    /// what is gone stays gone.
    ///
    /// # Errors
    /// No such target, or one at another revision than expected.
    pub async fn target_remove(
        &self,
        tenant: Tenant,
        row: TargetRowId,
        positions: Positions,
        expected: Option<i64>,
    ) -> Result<Target, AccountError> {
        let mut transaction = self.hold(tenant).await?;
        let there = one(&mut transaction, tenant, row).await?;
        is_at(there.revision, expected)?;
        let status = match positions {
            Positions::Keep => TargetStatus::Removed,
            Positions::Follow | Positions::Close => TargetStatus::Closing,
        };
        let target = Target {
            status,
            close_now: positions == Positions::Close,
            keep_positions: positions == Positions::Keep,
            ..there.clone()
        };
        if there.status == TargetStatus::Removed || target == there {
            return Ok(there);
        }
        let target = self.change(&mut transaction, tenant, target, self.clock.now()).await?;
        transaction.commit().await?;
        Ok(target)
    }

    /// The tenant's targets, the oldest first, those that are gone too.
    ///
    /// # Errors
    /// The database.
    pub async fn target_list(&self, tenant: Tenant) -> Result<Vec<Target>, AccountError> {
        let mut transaction = begin_as(&self.pool, tenant.user).await?;
        let sql = format!(
            "select {COLUMNS} from poly_copy_trade_targets where billing_account_id = $1 order by created_at, id"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(tenant.account.as_uuid())
            .fetch_all(&mut *transaction)
            .await?;
        rows.iter().map(Target::of).collect()
    }

    /// A page of the tenant's targets, the oldest first: those of that status, or all that are not gone; after a
    /// place, where one is given.
    ///
    /// # Errors
    /// The database.
    pub async fn target_page(
        &self,
        tenant: Tenant,
        status: Option<TargetStatus>,
        after: Option<TargetPlace>,
        limit: i64,
    ) -> Result<Vec<Target>, AccountError> {
        let mut transaction = begin_as(&self.pool, tenant.user).await?;
        let sql = format!(
            "select {COLUMNS} from poly_copy_trade_targets where billing_account_id = $1
                 and (status = $2 or ($2 is null and status <> 'removed'))
                 and ($3::timestamptz is null or (created_at, id) > ($3, $4))
             order by created_at, id limit $5"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(tenant.account.as_uuid())
            .bind(status.map(TargetStatus::as_str))
            .bind(after.map(|place| Tz(place.created_at)))
            .bind(after.map(|place| place.row.as_uuid()))
            .bind(limit)
            .fetch_all(&mut *transaction)
            .await?;
        rows.iter().map(Target::of).collect()
    }

    /// The target of a wallet that is followed, or being wound down.
    ///
    /// # Errors
    /// No such target.
    pub async fn target_of(&self, tenant: Tenant, wallet: Address) -> Result<Target, AccountError> {
        let mut transaction = begin_as(&self.pool, tenant.user).await?;
        find(&mut transaction, tenant, "target_wallet = $2 and status <> 'removed'", wallet.to_string())
            .await?
            .ok_or(AccountError::NotFound("target"))
    }

    async fn insert(
        &self,
        connection: &mut PgConnection,
        tenant: Tenant,
        target: &Target,
    ) -> Result<(), AccountError> {
        sqlx::query(
            "insert into poly_copy_trade_targets (id, billing_account_id, created_by_user_id, target_wallet, status,
                 mode, policy, policy_revision, revision, created_at, changed_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
        )
        .bind(target.row.as_uuid())
        .bind(tenant.account.as_uuid())
        .bind(tenant.user.as_uuid())
        .bind(target.wallet.to_string())
        .bind(target.status.as_str())
        .bind(target.mode.as_str())
        .bind(sqlx::types::Json(&target.policy))
        .bind(target.policy_revision)
        .bind(target.revision)
        .bind(Tz(target.created_at))
        .execute(&mut *connection)
        .await?;
        self.tell_target(connection, tenant, target).await
    }

    /// Writes the target's next revision.
    async fn change(
        &self,
        connection: &mut PgConnection,
        tenant: Tenant,
        target: Target,
        now: Timestamp,
    ) -> Result<Target, AccountError> {
        let target = Target { revision: target.revision + 1, changed_at: now, ..target };
        let is_disabled = matches!(target.status, TargetStatus::Closing | TargetStatus::Removed);
        sqlx::query(
            "update poly_copy_trade_targets set status = $2, close_now = $3, keep_positions = $4, policy = $5,
                 policy_revision = $6, revision = $7, changed_at = $8,
                 disabled_at = case when $9 then coalesce(disabled_at, $8) end
             where id = $1",
        )
        .bind(target.row.as_uuid())
        .bind(target.status.as_str())
        .bind(target.close_now)
        .bind(target.keep_positions)
        .bind(sqlx::types::Json(&target.policy))
        .bind(target.policy_revision)
        .bind(target.revision)
        .bind(Tz(now))
        .bind(is_disabled)
        .execute(&mut *connection)
        .await?;
        self.tell_target(connection, tenant, &target).await?;
        Ok(target)
    }

    async fn tell_target(
        &self,
        connection: &mut PgConnection,
        tenant: Tenant,
        target: &Target,
    ) -> Result<(), AccountError> {
        let entry = Entry {
            id: self.chance.uuid(),
            account: Some(tenant.account),
            topic: Topic::Targets,
            key: target.wallet.to_string(),
            subject: &target.row.to_string(),
            revision: target.revision,
            at: target.changed_at,
        };
        tell(connection, &self.codec, entry, &target.state(tenant)).await
    }
}

/// How many wallets ingest reads for the account.
async fn count(connection: &mut PgConnection, tenant: Tenant) -> Result<i64, AccountError> {
    let sql =
        "select count(*) from poly_copy_trade_targets where billing_account_id = $1 and status <> 'removed'";
    Ok(sqlx::query_scalar(sql).bind(tenant.account.as_uuid()).fetch_one(connection).await?)
}

/// The one target of the tenant that the filter finds by its `$2`.
async fn find(
    connection: &mut PgConnection,
    tenant: Tenant,
    filter: &'static str,
    by: String,
) -> Result<Option<Target>, AccountError> {
    let sql =
        format!("select {COLUMNS} from poly_copy_trade_targets where billing_account_id = $1 and {filter}");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(tenant.account.as_uuid())
        .bind(by)
        .fetch_optional(connection)
        .await?
        .as_ref()
        .map(Target::of)
        .transpose()
}

pub(super) async fn one(
    connection: &mut PgConnection,
    tenant: Tenant,
    row: TargetRowId,
) -> Result<Target, AccountError> {
    find(connection, tenant, "id = $2::text::uuid", row.to_string())
        .await?
        .ok_or(AccountError::NotFound("target"))
}

/// A target that is neither gone nor going.
async fn followed(
    connection: &mut PgConnection,
    tenant: Tenant,
    row: TargetRowId,
) -> Result<Target, AccountError> {
    match one(connection, tenant, row).await? {
        there if there.status == TargetStatus::Removed => Err(AccountError::NotFound("target")),
        there if there.status == TargetStatus::Closing => Err(AccountError::TargetClosing),
        there => Ok(there),
    }
}
