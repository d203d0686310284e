//! Bearer tokens: who a request speaks for. A token is shown once, when it is made; only its hash is kept.

use std::fmt;

use project::pg::{Tz, begin_as};
use runtime::Chance;
use schemas::{BillingAccountId, Timestamp, UserId};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use super::{AccountError, Accounts, Tenant, broken_constraint, is_name};

/// What every token begins with: whoever finds one knows what it opens, and scanners for secrets find it.
pub const TOKEN_PREFIX: &str = "polymirror_";

/// The random part, in bytes.
const RANDOM: usize = 32;

/// A token. Cannot be printed; what it says is shown by [`ApiToken::expose`] alone.
#[derive(Clone)]
pub struct ApiToken(SecretString);

impl ApiToken {
    /// A new one: 256 random bits.
    fn new(chance: &Chance) -> Self {
        let random = zeroize::Zeroizing::new(chance.bytes::<RANDOM>());
        let digits = zeroize::Zeroizing::new(const_hex::encode(random.as_slice()));
        Self(SecretString::from(format!("{TOKEN_PREFIX}{}", digits.as_str())))
    }

    /// Reads a token as it was shown; `None` where the text cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(TOKEN_PREFIX)?;
        let is_hex = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (digits.len() == 2 * RANDOM && is_hex).then(|| Self(SecretString::from(text)))
    }

    /// The token itself, for whom it was made for.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is kept of it. Looking up a hash takes as long for a near miss as for a far one: what an attacker could
    /// learn from the time is about the hash, whose preimage it is no closer to.
    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.expose().as_bytes()).into()
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken")
    }
}

/// A token as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its row.
    pub id: Uuid,
    /// Its name, of which an account has one that is not revoked.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

impl Token {
    fn of(row: &PgRow) -> Result<Self, AccountError> {
        let time = |column| row.try_get::<Option<Tz>, _>(column).map(|at| at.map(|Tz(at)| at));
        let Tz(created_at) = row.try_get("created_at")?;
        Ok(Self {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            created_at,
            expires_at: time("expires_at")?,
            revoked_at: time("revoked_at")?,
        })
    }
}

impl Accounts {
    /// Makes a token that speaks for the tenant.
    ///
    /// # Errors
    /// A name that is none, or that another token of the account has.
    pub async fn token_create(
        &self,
        tenant: Tenant,
        name: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(Token, ApiToken), AccountError> {
        if !is_name(name) {
            return Err(AccountError::NameInvalid(name.chars().take(100).collect()));
        }
        let secret = ApiToken::new(&self.chance);
        let token = Token {
            id: self.chance.uuid(),
            name: name.to_owned(),
            created_at: self.clock.now(),
            expires_at,
            revoked_at: None,
        };
        let mut transaction = self.hold(tenant).await?;
        sqlx::query(
            "insert into api_tokens (id, billing_account_id, name, token_hash, created_at, expires_at)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(token.id)
        .bind(tenant.account.as_uuid())
        .bind(&token.name)
        .bind(secret.hash())
        .bind(Tz(token.created_at))
        .bind(token.expires_at.map(Tz))
        .execute(&mut *transaction)
        .await
        .map_err(|error| match broken_constraint(&error) {
            Some("api_tokens_name") => AccountError::TokenExists(token.name.clone()),
            _ => error.into(),
        })?;
        transaction.commit().await?;
        Ok((token, secret))
    }

    /// The tenant's tokens, the oldest first, those that are taken back too.
    ///
    /// # Errors
    /// The database.
    pub async fn token_list(&self, tenant: Tenant) -> Result<Vec<Token>, AccountError> {
        let mut transaction = begin_as(&self.pool, tenant.user).await?;
        let rows = sqlx::query(
            "select id, name, created_at, expires_at, revoked_at from api_tokens where billing_account_id = $1
             order by created_at, id",
        )
        .bind(tenant.account.as_uuid())
        .fetch_all(&mut *transaction)
        .await?;
        rows.iter().map(Token::of).collect()
    }

    /// Takes a token back, from the next request on.
    ///
    /// # Errors
    /// The account has no such token, or it was taken back before.
    pub async fn token_revoke(&self, tenant: Tenant, name: &str) -> Result<Token, AccountError> {
        let mut transaction = self.hold(tenant).await?;
        let row = sqlx::query(
            "update api_tokens set revoked_at = $3
             where billing_account_id = $1 and name = $2 and revoked_at is null
             returning id, name, created_at, expires_at, revoked_at",
        )
        .bind(tenant.account.as_uuid())
        .bind(name)
        .bind(Tz(self.clock.now()))
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(AccountError::NotFound("token"))?;
        let token = Token::of(&row)?;
        transaction.commit().await?;
        Ok(token)
    }

    /// Who a token speaks for; nobody, where it is unknown, taken back or expired.
    ///
    /// # Errors
    /// The database.
    pub async fn token_owner(&self, token: &ApiToken) -> Result<Option<Tenant>, AccountError> {
        let row = sqlx::query("select user_id, account_id from api_token_owner($1, $2)")
            .bind(token.hash())
            .bind(Tz(self.clock.now()))
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Tenant {
            user: UserId::from_uuid(row.try_get("user_id")?),
            account: BillingAccountId::from_uuid(row.try_get("account_id")?),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_is_not_printed() {
        let token = ApiToken::new(&Chance::seeded(1));
        assert_eq!(ApiToken::parse(token.expose()).unwrap().hash(), token.hash());
        assert_eq!(token.expose().len(), TOKEN_PREFIX.len() + 64);
        assert!(!format!("{token:?}").contains(&token.expose()[TOKEN_PREFIX.len()..]));
        assert_ne!(ApiToken::new(&Chance::system()).hash(), token.hash());
        for other in
            ["", "polymirror_", &token.expose()[1..], &token.expose().to_uppercase(), "polymirror_\0"]
        {
            assert!(ApiToken::parse(other).is_none(), "{other}");
        }
    }
}
