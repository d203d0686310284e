//! Switches: a pause stops BUYs, a halt stops everything. One account's by its tenant, everybody's by the
//! operator.

use project::pg::{Tz, begin_as};
use runtime::Chance;
use schemas::{BillingAccountId, ControlKind, Timestamp, codec::Codec, events::ControlState, topics::Topic};
use sqlx::{PgConnection, Row};

use super::{AccountError, Accounts, Entry, Tenant, is_at, tell};

/// A switch and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The tenant; `None` for everybody.
    pub account: Option<BillingAccountId>,
    /// What is switched.
    pub kind: ControlKind,
    /// Whether it is in force.
    pub active: bool,
    /// Why it was changed.
    pub reason: String,
    /// Grows with each change.
    pub revision: i64,
    /// When it was changed.
    pub changed_at: Timestamp,
}

impl Accounts {
    /// Switches the tenant's own pause or halt. The same again changes nothing.
    ///
    /// # Errors
    /// `stop` is the operator's; a reason of more than 500 characters, or with control characters; another revision
    /// than expected, which is 0 before the first change.
    pub async fn control_set(
        &self,
        tenant: Tenant,
        kind: ControlKind,
        active: bool,
        reason: &str,
        expected: Option<i64>,
    ) -> Result<Control, AccountError> {
        if kind == ControlKind::Stop {
            return Err(AccountError::OperatorOnly(kind));
        }
        let mut transaction = self.hold(tenant).await?;
        let at = self.clock.now();
        let wanted = Wanted { account: Some(tenant.account), kind, active, reason, at, expected };
        let control = switch(&mut transaction, &self.codec, &self.chance, wanted).await?;
        transaction.commit().await?;
        Ok(control)
    }

    /// How the tenant's own switch stands; nothing, where it was never switched.
    ///
    /// # Errors
    /// The database.
    pub async fn control(&self, tenant: Tenant, kind: ControlKind) -> Result<Option<Control>, AccountError> {
        let mut transaction = begin_as(&self.pool, tenant.user).await?;
        let row = sqlx::query(
            "select active, reason, revision, changed_at from poly_controls
             where billing_account_id = $1 and kind = $2",
        )
        .bind(tenant.account.as_uuid())
        .bind(kind.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let Tz(changed_at) = row.try_get("changed_at")?;
        Ok(Some(Control {
            account: Some(tenant.account),
            kind,
            active: row.try_get("active")?,
            reason: row.try_get("reason")?,
            revision: row.try_get("revision")?,
            changed_at,
        }))
    }
}

/// How a switch is to stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'w> {
    /// The tenant; `None` for everybody.
    pub account: Option<BillingAccountId>,
    /// What is switched.
    pub kind: ControlKind,
    /// Whether it shall be in force.
    pub active: bool,
    /// Why.
    pub reason: &'w str,
    /// When.
    pub at: Timestamp,
    /// The revision that the change is made on; any, where it is not given.
    pub expected: Option<i64>,
}

/// Switches, under the switch's own row: whoever else switches it waits. Its revision is compared there too, since
/// execute pauses a tenant without holding the account's row.
pub(crate) async fn switch(
    connection: &mut PgConnection,
    codec: &Codec,
    chance: &Chance,
    wanted: Wanted<'_>,
) -> Result<Control, AccountError> {
    if wanted.reason.chars().count() > 500 {
        return Err(AccountError::ReasonTooLong);
    }
    if wanted.reason.chars().any(char::is_control) {
        return Err(AccountError::ReasonInvalid);
    }
    let account = wanted.account.map(|account| account.as_uuid());
    let row = sqlx::query(
        "insert into poly_controls as c (id, billing_account_id, kind, active, reason, revision, changed_at)
         select $1, $2, $3, $4, $5, 1, $6
         where coalesce($7, 0) = 0 or exists (select from poly_controls
             where billing_account_id is not distinct from $2 and kind = $3)
         on conflict (billing_account_id, kind) do update
         set active = excluded.active, reason = excluded.reason, revision = c.revision + 1,
             changed_at = excluded.changed_at
         where (c.active, c.reason) is distinct from (excluded.active, excluded.reason)
             and c.revision = coalesce($7, c.revision)
         returning revision",
    )
    .bind(chance.uuid())
    .bind(account)
    .bind(wanted.kind.as_str())
    .bind(wanted.active)
    .bind(wanted.reason)
    .bind(Tz(wanted.at))
    .bind(wanted.expected)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        // It stands as wanted, or at another revision.
        let row = sqlx::query(
            "select revision, changed_at from poly_controls
             where billing_account_id is not distinct from $1 and kind = $2",
        )
        .bind(account)
        .bind(wanted.kind.as_str())
        .fetch_optional(connection)
        .await?;
        is_at(row.as_ref().map_or(Ok(0), |row| row.try_get("revision"))?, wanted.expected)?;
        let row = row.ok_or(sqlx::Error::RowNotFound)?;
        let Tz(changed_at) = row.try_get("changed_at")?;
        return Ok(control(&wanted, row.try_get("revision")?, changed_at));
    };
    let control = control(&wanted, row.try_get("revision")?, wanted.at);
    let state = ControlState {
        billing_account_id: control.account,
        kind: control.kind,
        active: control.active,
        reason: control.reason.clone(),
        revision: control.revision,
        changed_at: control.changed_at,
    };
    let entry = Entry {
        id: chance.uuid(),
        account: control.account,
        topic: Topic::Controls,
        key: control.account.map_or_else(|| "*".to_owned(), |account| account.to_string()),
        subject: control.kind.as_str(),
        revision: control.revision,
        at: control.changed_at,
    };
    tell(connection, codec, entry, &state).await?;
    Ok(control)
}

fn control(wanted: &Wanted<'_>, revision: i64, changed_at: Timestamp) -> Control {
    Control {
        account: wanted.account,
        kind: wanted.kind,
        active: wanted.active,
        reason: wanted.reason.to_owned(),
        revision,
        changed_at,
    }
}
