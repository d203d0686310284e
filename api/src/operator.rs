//! What the operator of an installation does: look tenants up, and switch for everybody. As role `owner`,
//! whose password no stage holds; it sees the directory and the switches for all, and no tenant's rows.

use std::sync::Arc;

use project::{Connections, MigrateError, Role, check_version, pg::Tz};
use runtime::{Chance, Clock};
use schemas::{BillingAccountId, ControlKind, Timestamp, UserId, codec::Codec};
use sqlx::{PgPool, Row, postgres::PgRow};

use crate::accounts::{AccountError, Control, Tenant, Wanted, switch};

macro_rules! directory {
    () => {
        "select u.id as user_id, u.handle, a.id as account_id, a.name, a.created_at
         from users u join billing_accounts a on a.owner_user_id = u.id"
    };
}

/// A tenant as the directory lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Who it is.
    pub tenant: Tenant,
    /// The person's name.
    pub handle: String,
    /// The account's name.
    pub account: String,
    /// Since when.
    pub created_at: Timestamp,
}

impl Listed {
    fn of(row: &PgRow) -> Result<Self, AccountError> {
        let Tz(created_at) = row.try_get("created_at")?;
        Ok(Self {
            tenant: Tenant {
                user: UserId::from_uuid(row.try_get("user_id")?),
                account: BillingAccountId::from_uuid(row.try_get("account_id")?),
            },
            handle: row.try_get("handle")?,
            account: row.try_get("name")?,
            created_at,
        })
    }
}

/// The operator.
#[derive(Debug, Clone)]
pub struct Operator {
    pool: PgPool,
    codec: Codec,
    clock: Arc<dyn Clock>,
    chance: Chance,
}

impl Operator {
    /// Logs in as `owner`.
    ///
    /// # Errors
    /// No connection, or a database that is not at this program's version.
    pub async fn connect(
        connections: &Connections,
        codec: Codec,
        clock: Arc<dyn Clock>,
        chance: Chance,
    ) -> Result<Self, MigrateError> {
        let pool = connections.pool(Role::Owner, 1).await?;
        check_version(&pool).await?;
        Ok(Self { pool, codec, clock, chance })
    }

    /// Logs out.
    pub async fn close(self) {
        self.pool.close().await;
    }

    /// The tenant of that name, with the account that was made with it.
    ///
    /// # Errors
    /// There is none.
    pub async fn find(&self, handle: &str) -> Result<Tenant, AccountError> {
        let row = sqlx::query(concat!(directory!(), " where u.handle = $1 and a.name = 'main'"))
            .bind(handle)
            .fetch_optional(&self.pool)
            .await?;
        Ok(Listed::of(&row.ok_or(AccountError::NotFound("tenant"))?)?.tenant)
    }

    /// Every tenant, the oldest first.
    ///
    /// # Errors
    /// The database.
    pub async fn list(&self) -> Result<Vec<Listed>, AccountError> {
        let rows =
            sqlx::query(concat!(directory!(), " order by a.created_at, a.id")).fetch_all(&self.pool).await?;
        rows.iter().map(Listed::of).collect()
    }

    /// Switches for everybody. The same again changes nothing. Once this answers, no gate is under way that
    /// did not see it.
    ///
    /// # Errors
    /// A reason of more than 500 characters.
    pub async fn control_set(
        &self,
        kind: ControlKind,
        active: bool,
        reason: &str,
    ) -> Result<Control, AccountError> {
        let mut transaction = pgpool::begin(&self.pool).await?;
        // A gate locks the switches that it reads; one that is not there yet it cannot lock. It holds the
        // table, though, until it ends.
        sqlx::query("lock table poly_controls in exclusive mode").execute(&mut *transaction).await?;
        let wanted = Wanted { account: None, kind, active, reason, at: self.clock.now(), expected: None };
        let control = switch(&mut transaction, &self.codec, &self.chance, wanted).await?;
        transaction.commit().await?;
        Ok(control)
    }
}
