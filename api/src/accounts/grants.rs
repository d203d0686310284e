//! What a tenant allows the mirror to do. The smaller of its caps and the constants in the gate is in force.

use project::pg::Tz;
use schemas::{Timestamp, Usdc, events::GrantState, topics::Topic};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{AccountError, Accounts, Entry, Tenant, is_at, tell};

/// What there is to allow.
pub const SCOPES: [&str; 2] = ["poly:trade:buy", "poly:trade:sell"];

/// What is to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetGrant {
    /// Of [`SCOPES`].
    pub scopes: Vec<String>,
    /// The most one order may cost.
    pub per_order_usdc_cap: Usdc,
    /// The most that 24 hours may cost.
    pub daily_usdc_cap: Usdc,
    /// The most orders in an hour.
    pub hourly_fills_cap: i64,
    /// The most on one condition over all targets; `None`: no such cap.
    pub per_market_usdc_cap: Option<Usdc>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// What is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its row.
    pub id: Uuid,
    /// The words of it.
    pub terms: SetGrant,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// Grows with each change, over all the account's grants.
    pub revision: i64,
    /// When it was changed.
    pub changed_at: Timestamp,
}

impl SetGrant {
    fn check(&mut self) -> Result<(), AccountError> {
        if let Some(unknown) = self.scopes.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
            return Err(AccountError::ScopeUnknown(unknown.chars().take(100).collect()));
        }
        self.scopes.sort_unstable();
        self.scopes.dedup();
        for (name, cap) in [
            ("per_order_usdc_cap", Some(self.per_order_usdc_cap)),
            ("daily_usdc_cap", Some(self.daily_usdc_cap)),
            ("per_market_usdc_cap", self.per_market_usdc_cap),
        ] {
            if cap.is_some_and(|cap| cap < Usdc::ZERO) {
                return Err(AccountError::CapInvalid(name));
            }
        }
        if self.hourly_fills_cap < 0 {
            return Err(AccountError::CapInvalid("hourly_fills_cap"));
        }
        Ok(())
    }
}

impl Grant {
    fn state(&self, tenant: Tenant) -> GrantState {
        GrantState {
            billing_account_id: tenant.account,
            revision: self.revision,
            scopes: self.terms.scopes.clone(),
            per_order_usdc_cap: self.terms.per_order_usdc_cap,
            daily_usdc_cap: self.terms.daily_usdc_cap,
            hourly_fills_cap: self.terms.hourly_fills_cap,
            per_market_usdc_cap: self.terms.per_market_usdc_cap,
            expires_at: self.terms.expires_at,
            revoked_at: self.revoked_at,
            changed_at: self.changed_at,
        }
    }
}

impl Accounts {
    /// Allows this, in place of what was allowed. The same again changes nothing.
    ///
    /// # Errors
    /// A scope that is none, a cap below zero, or another revision than expected: that of the last change, which
    /// may have taken the grant back, and 0 before the first.
    pub async fn grant_set(
        &self,
        tenant: Tenant,
        terms: SetGrant,
        expected: Option<i64>,
    ) -> Result<Grant, AccountError> {
        self.grant_change(tenant, expected, |_| terms).await
    }

    /// Allows what is made of what is allowed, if anything is; nobody changes it in between.
    ///
    /// # Errors
    /// A scope that is none, or a cap below zero.
    pub async fn grant_amend(
        &self,
        tenant: Tenant,
        amended: impl FnOnce(Option<&SetGrant>) -> SetGrant + Send,
    ) -> Result<Grant, AccountError> {
        self.grant_change(tenant, None, amended).await
    }

    async fn grant_change(
        &self,
        tenant: Tenant,
        expected: Option<i64>,
        wanted: impl FnOnce(Option<&SetGrant>) -> SetGrant + Send,
    ) -> Result<Grant, AccountError> {
        let mut transaction = self.hold(tenant).await?;
        let last = last_revision(&mut transaction, tenant).await?;
        is_at(last, expected)?;
        let there = current(&mut transaction, tenant).await?;
        let mut terms = wanted(there.as_ref().map(|there| &there.terms));
        terms.check()?;
        if let Some(there) = there.as_ref().filter(|there| there.terms == terms) {
            return Ok(there.clone());
        }
        let grant = Grant {
            id: there.as_ref().map_or_else(|| self.chance.uuid(), |there| there.id),
            terms,
            revoked_at: None,
            revision: last + 1,
            changed_at: self.clock.now(),
        };
        sqlx::query(
            "insert into poly_wallet_grants as g (id, billing_account_id, scopes, per_order_usdc_cap, daily_usdc_cap,
                 hourly_fills_cap, per_market_usdc_cap, expires_at, revision, created_at, changed_at)
             values ($1, $2, $3, $4 * 0.000001, $5 * 0.000001, $6, $7 * 0.000001, $8, $9, $10, $10)
             on conflict (id) do update set scopes = excluded.scopes, per_order_usdc_cap = excluded.per_order_usdc_cap,
                 daily_usdc_cap = excluded.daily_usdc_cap, hourly_fills_cap = excluded.hourly_fills_cap,
                 per_market_usdc_cap = excluded.per_market_usdc_cap, expires_at = excluded.expires_at,
                 revision = excluded.revision, changed_at = excluded.changed_at",
        )
        .bind(grant.id)
        .bind(tenant.account.as_uuid())
        .bind(&grant.terms.scopes)
        .bind(grant.terms.per_order_usdc_cap.micro())
        .bind(grant.terms.daily_usdc_cap.micro())
        .bind(grant.terms.hourly_fills_cap)
        .bind(grant.terms.per_market_usdc_cap.map(Usdc::micro))
        .bind(grant.terms.expires_at.map(Tz))
        .bind(grant.revision)
        .bind(Tz(grant.changed_at))
        .execute(&mut *transaction)
        .await?;
        self.tell_grant(&mut transaction, tenant, &grant).await?;
        transaction.commit().await?;
        Ok(grant)
    }

    /// Takes back what was allowed, exits too.
    ///
    /// # Errors
    /// Nothing is allowed, or it is at another revision than expected.
    pub async fn grant_revoke(&self, tenant: Tenant, expected: Option<i64>) -> Result<Grant, AccountError> {
        let mut transaction = self.hold(tenant).await?;
        let there = current(&mut transaction, tenant).await?.ok_or(AccountError::NotFound("grant"))?;
        is_at(there.revision, expected)?;
        let now = self.clock.now();
        let revision = last_revision(&mut transaction, tenant).await? + 1;
        let grant = Grant { revoked_at: Some(now), revision, changed_at: now, ..there };
        sqlx::query(
            "update poly_wallet_grants set revoked_at = $2, changed_at = $2, revision = $3 where id = $1",
        )
        .bind(grant.id)
        .bind(Tz(now))
        .bind(revision)
        .execute(&mut *transaction)
        .await?;
        self.tell_grant(&mut transaction, tenant, &grant).await?;
        transaction.commit().await?;
        Ok(grant)
    }

    /// What is allowed.
    ///
    /// # Errors
    /// The database.
    pub async fn grant(&self, tenant: Tenant) -> Result<Option<Grant>, AccountError> {
        let mut transaction = project::pg::begin_as(&self.pool, tenant.user).await?;
        current(&mut transaction, tenant).await
    }

    /// Whether anything was ever allowed, be it taken back by now.
    ///
    /// # Errors
    /// The database.
    pub async fn was_granted(&self, tenant: Tenant) -> Result<bool, AccountError> {
        let mut transaction = project::pg::begin_as(&self.pool, tenant.user).await?;
        let sql = "select exists (select from poly_wallet_grants where billing_account_id = $1)";
        let found = sqlx::query_scalar(sql).bind(tenant.account.as_uuid());
        Ok(found.fetch_one(&mut *transaction).await?)
    }

    async fn tell_grant(
        &self,
        connection: &mut PgConnection,
        tenant: Tenant,
        grant: &Grant,
    ) -> Result<(), AccountError> {
        let entry = Entry {
            id: self.chance.uuid(),
            account: Some(tenant.account),
            topic: Topic::Controls,
            key: tenant.account.to_string(),
            subject: "grant",
            revision: grant.revision,
            at: grant.changed_at,
        };
        tell(connection, &self.codec, entry, &grant.state(tenant)).await
    }
}

async fn current(connection: &mut PgConnection, tenant: Tenant) -> Result<Option<Grant>, AccountError> {
    let row = sqlx::query(
        "select id, scopes, (per_order_usdc_cap * 1000000)::bigint as per_order,
             (daily_usdc_cap * 1000000)::bigint as daily, hourly_fills_cap,
             (per_market_usdc_cap * 1000000)::bigint as per_market, expires_at, revision, changed_at
         from poly_wallet_grants where billing_account_id = $1 and revoked_at is null",
    )
    .bind(tenant.account.as_uuid())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let Tz(changed_at) = row.try_get("changed_at")?;
    Ok(Some(Grant {
        id: row.try_get("id")?,
        terms: SetGrant {
            scopes: row.try_get("scopes")?,
            per_order_usdc_cap: Usdc::from_micro(row.try_get("per_order")?),
            daily_usdc_cap: Usdc::from_micro(row.try_get("daily")?),
            hourly_fills_cap: row.try_get("hourly_fills_cap")?,
            per_market_usdc_cap: row.try_get::<Option<i64>, _>("per_market")?.map(Usdc::from_micro),
            expires_at: row.try_get::<Option<Tz>, _>("expires_at")?.map(|Tz(at)| at),
        },
        revoked_at: None,
        revision: row.try_get("revision")?,
        changed_at,
    }))
}

/// The revision of the last change, over all the account's grants.
async fn last_revision(connection: &mut PgConnection, tenant: Tenant) -> Result<i64, AccountError> {
    let sql = "select coalesce(max(revision), 0) from poly_wallet_grants where billing_account_id = $1";
    Ok(sqlx::query_scalar(sql).bind(tenant.account.as_uuid()).fetch_one(connection).await?)
}
