//! A tenant's wallet: who signs, who holds the money. Keys come here sealed and are never read back.

use project::pg::Tz;
use schemas::{Address, SignatureType, Timestamp, events::ConnectionState, topics::Topic};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{AccountError, Accounts, Entry, Tenant, broken_constraint, tell};

/// A wallet to be connected.
#[derive(Clone)]
pub struct ConnectWallet {
    /// The row's id, chosen by whoever sealed the key: the seal is bound to it.
    pub id: Uuid,
    /// The key's address: it signs.
    pub address: Address,
    /// How it signs.
    pub signature_type: SignatureType,
    /// The address that holds the money; the key's own for `eoa`.
    pub funder: Address,
    /// The signing key, sealed for that row.
    pub signing_key_sealed: Vec<u8>,
    /// When the approvals for buying and selling were found in place, if they were.
    pub approved_at: Option<Timestamp>,
}

impl std::fmt::Debug for ConnectWallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectWallet").field("funder", &self.funder).finish_non_exhaustive()
    }
}

/// A connection, without its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Its row.
    pub id: Uuid,
    /// The key's address.
    pub address: Address,
    /// How it signs.
    pub signature_type: SignatureType,
    /// The address that holds the money.
    pub funder: Address,
    /// When the approvals were last found in place.
    pub approved_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// Grows with each change, over all the account's connections.
    pub revision: i64,
    /// When it was changed.
    pub changed_at: Timestamp,
}

impl Connection {
    fn state(&self, tenant: Tenant) -> ConnectionState {
        ConnectionState {
            billing_account_id: tenant.account,
            revision: self.revision,
            address: self.address,
            signature_type: self.signature_type,
            funder: self.funder,
            approved_at: self.approved_at,
            revoked_at: self.revoked_at,
            changed_at: self.changed_at,
        }
    }
}

impl Accounts {
    /// Connects a wallet, in place of the one that was. The same call again changes nothing. The same wallet under
    /// another row takes the former's place, with the key that was sealed now: whether the stored one still opens, nobody
    /// here can see.
    ///
    /// # Errors
    /// The wallet is active in another account's connection.
    pub async fn wallet_connect(
        &self,
        tenant: Tenant,
        wallet: ConnectWallet,
    ) -> Result<Connection, AccountError> {
        let mut transaction = self.hold(tenant).await?;
        let connection = self.connect_in(&mut transaction, tenant, wallet).await?;
        transaction.commit().await?;
        Ok(connection)
    }

    /// Connects a wallet in a transaction that holds the account, or makes it.
    pub(super) async fn connect_in(
        &self,
        transaction: &mut PgConnection,
        tenant: Tenant,
        wallet: ConnectWallet,
    ) -> Result<Connection, AccountError> {
        if wallet.signing_key_sealed.is_empty() {
            return Err(AccountError::NoKey);
        }
        let now = self.clock.now();
        let mut approved_at = wallet.approved_at;
        if let Some(there) = active(transaction, tenant).await? {
            if there.id == wallet.id {
                return Ok(there);
            }
            let same = (there.address, there.signature_type, there.funder)
                == (wallet.address, wallet.signature_type, wallet.funder);
            if same {
                // Approvals are the wallet's, whoever sealed its key.
                approved_at = approved_at.or(there.approved_at);
            }
            // The next revision tells of the new one; this row only makes room for it.
            sqlx::query("update poly_wallet_connections set revoked_at = $2, changed_at = $2 where id = $1")
                .bind(there.id)
                .bind(Tz(now))
                .execute(&mut *transaction)
                .await?;
        }
        let connection = Connection {
            id: wallet.id,
            address: wallet.address,
            signature_type: wallet.signature_type,
            funder: wallet.funder,
            approved_at,
            revoked_at: None,
            revision: next_revision(transaction, tenant).await?,
            changed_at: now,
        };
        sqlx::query(
            "insert into poly_wallet_connections (id, billing_account_id, address, signature_type, funder,
                 signing_key_sealed, approved_at, revision, created_at, changed_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        )
        .bind(connection.id)
        .bind(tenant.account.as_uuid())
        .bind(connection.address.to_string())
        .bind(connection.signature_type.as_str())
        .bind(connection.funder.to_string())
        .bind(wallet.signing_key_sealed)
        .bind(connection.approved_at.map(Tz))
        .bind(connection.revision)
        .bind(Tz(now))
        .execute(&mut *transaction)
        .await
        .map_err(|error| match broken_constraint(&error) {
            Some("poly_wallet_connections_wallet") => AccountError::WalletElsewhere,
            _ => error.into(),
        })?;
        self.tell_connection(transaction, tenant, &connection).await?;
        Ok(connection)
    }

    /// Takes the wallet back: nothing is signed with it any more, exits neither.
    ///
    /// # Errors
    /// None is connected.
    pub async fn wallet_revoke(&self, tenant: Tenant) -> Result<Connection, AccountError> {
        let mut transaction = self.hold(tenant).await?;
        let now = self.clock.now();
        let there = active(&mut transaction, tenant).await?.ok_or(AccountError::NotFound("connection"))?;
        let revision = next_revision(&mut transaction, tenant).await?;
        let connection = Connection { revoked_at: Some(now), revision, changed_at: now, ..there };
        sqlx::query(
            "update poly_wallet_connections set revoked_at = $2, changed_at = $2, revision = $3 where id = $1",
        )
        .bind(connection.id)
        .bind(Tz(now))
        .bind(revision)
        .execute(&mut *transaction)
        .await?;
        self.tell_connection(&mut transaction, tenant, &connection).await?;
        transaction.commit().await?;
        Ok(connection)
    }

    /// The wallet that is connected.
    ///
    /// # Errors
    /// The database.
    pub async fn wallet(&self, tenant: Tenant) -> Result<Option<Connection>, AccountError> {
        let mut transaction = project::pg::begin_as(&self.pool, tenant.user).await?;
        active(&mut transaction, tenant).await
    }

    async fn tell_connection(
        &self,
        connection: &mut PgConnection,
        tenant: Tenant,
        state: &Connection,
    ) -> Result<(), AccountError> {
        let entry = Entry {
            id: self.chance.uuid(),
            account: Some(tenant.account),
            topic: Topic::Controls,
            key: tenant.account.to_string(),
            subject: "connection",
            revision: state.revision,
            at: state.changed_at,
        };
        tell(connection, &self.codec, entry, &state.state(tenant)).await
    }
}

async fn active(connection: &mut PgConnection, tenant: Tenant) -> Result<Option<Connection>, AccountError> {
    let row = sqlx::query(
        "select id, address, signature_type, funder, approved_at, revision, changed_at from poly_wallet_connections
         where billing_account_id = $1 and revoked_at is null",
    )
    .bind(tenant.account.as_uuid())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let Tz(changed_at) = row.try_get("changed_at")?;
    Ok(Some(Connection {
        id: row.try_get("id")?,
        address: row.try_get::<&str, _>("address")?.parse()?,
        signature_type: row.try_get::<&str, _>("signature_type")?.parse()?,
        funder: row.try_get::<&str, _>("funder")?.parse()?,
        approved_at: row.try_get::<Option<Tz>, _>("approved_at")?.map(|Tz(at)| at),
        revoked_at: None,
        revision: row.try_get("revision")?,
        changed_at,
    }))
}

async fn next_revision(connection: &mut PgConnection, tenant: Tenant) -> Result<i64, AccountError> {
    let sql =
        "select coalesce(max(revision), 0) + 1 from poly_wallet_connections where billing_account_id = $1";
    Ok(sqlx::query_scalar(sql).bind(tenant.account.as_uuid()).fetch_one(connection).await?)
}
