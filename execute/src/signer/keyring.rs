//! The keys of the connections at hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use venue::{
    order::{BuildError, OrderRequest, SignedBody, TradingWallet, build},
    signing::{ApiCreds, ExchangeTable, LocalSigner},
};
use zeroize::{Zeroize, Zeroizing};

use super::{SealError, SealingKey, Secret};
use crate::core::{
    gate::Sign,
    snapshot::{Connection, Readiness},
};

/// The open keys of one connection.
#[derive(Debug, Clone)]
pub struct Keys {
    signer: LocalSigner,
    wallet: TradingWallet,
    creds: ApiCreds,
}

impl Keys {
    /// From a connection and its open parts.
    ///
    /// # Errors
    /// A plain key whose funder is another address.
    pub fn new(connection: &Connection, signer: LocalSigner, creds: ApiCreds) -> Result<Self, BuildError> {
        let Connection { signature_type, funder, .. } = *connection;
        let wallet = TradingWallet::new(signature_type, funder, signer.address(), creds.key())?;
        Ok(Self { signer, wallet, creds })
    }

    /// The API credentials: what the venue is asked with.
    pub const fn creds(&self) -> &ApiCreds {
        &self.creds
    }
}

#[derive(Clone)]
enum Entry {
    Open(Arc<Keys>),
    /// Why the tenant's wallet cannot trade: told, and tried again when the connection changes.
    Refused(Arc<str>),
}

/// The keys of all connections at hand, and the exchanges that orders are signed for. Clones share them. Keys are
/// wiped when the last clone goes; nothing prints them.
#[derive(Clone)]
pub struct Keyring {
    sealing: SealingKey,
    table: Arc<ExchangeTable>,
    entries: Arc<Mutex<BTreeMap<Uuid, Entry>>>,
    /// Connections without approvals that were looked at: the venue is not asked for each of their intents.
    unapproved: Arc<Mutex<BTreeSet<Uuid>>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("connections", &self.lock().len()).finish_non_exhaustive()
    }
}

/// API credentials as they are sealed.
#[derive(Serialize, Deserialize)]
struct StoredCreds {
    key: String,
    secret: String,
    passphrase: String,
}

impl Drop for StoredCreds {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.passphrase.zeroize();
    }
}

impl Keyring {
    /// With no keys yet.
    pub fn new(sealing: SealingKey, table: ExchangeTable) -> Self {
        Self { sealing, table: Arc::new(table), entries: Arc::default(), unapproved: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain that API credentials are asked for.
    pub fn chain_id(&self) -> u64 {
        self.table.chain_id
    }

    /// The keys of a connection, where they are at hand.
    pub fn keys(&self, connection: Uuid) -> Option<Arc<Keys>> {
        match self.lock().get(&connection) {
            Some(Entry::Open(keys)) => Some(keys.clone()),
            _ => None,
        }
    }

    /// Whether a connection was looked at, with whatever result.
    pub fn is_known(&self, connection: Uuid) -> bool {
        self.lock().contains_key(&connection)
    }

    /// Why a connection's keys cannot be had, where they were refused.
    pub fn refusal(&self, connection: Uuid) -> Option<Arc<str>> {
        match self.lock().get(&connection) {
            Some(Entry::Refused(why)) => Some(why.clone()),
            _ => None,
        }
    }

    /// Keeps the keys of a connection.
    pub fn admit(&self, connection: Uuid, keys: Keys) {
        self.lock().insert(connection, Entry::Open(Arc::new(keys)));
    }

    /// Remembers that a connection's keys cannot be had.
    pub fn refuse(&self, connection: Uuid, why: &str) {
        self.lock().insert(connection, Entry::Refused(why.into()));
    }

    /// A connection's approvals were looked for, and are not in place.
    pub fn note_unapproved(&self, connection: Uuid) {
        self.unapproved.lock().unwrap_or_else(PoisonError::into_inner).insert(connection);
    }

    /// Forgets refusals and missing approvals, so that they are looked at again.
    pub fn forget_refusals(&self) {
        self.lock().retain(|_, entry| matches!(entry, Entry::Open(_)));
        self.unapproved.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Opens a sealed signing key.
    ///
    /// # Errors
    /// It does not open, or is no key.
    pub fn open_signer(&self, connection: Uuid, sealed: &[u8]) -> Result<LocalSigner, SealError> {
        let plain = self.sealing.open(connection, Secret::SigningKey, sealed)?;
        let bytes = Zeroizing::new(<[u8; 32]>::try_from(plain.as_slice()).map_err(|_| SealError::NotOpened)?);
        LocalSigner::from_bytes(&bytes).map_err(|_| SealError::NotOpened)
    }

    /// Opens sealed API credentials.
    ///
    /// # Errors
    /// They do not open, or are none.
    pub fn open_creds(
        &self,
        connection: Uuid,
        signer: &LocalSigner,
        sealed: &[u8],
    ) -> Result<ApiCreds, SealError> {
        let plain = self.sealing.open(connection, Secret::ApiCredentials, sealed)?;
        let stored: StoredCreds = serde_json::from_slice(&plain).map_err(|_| SealError::NotOpened)?;
        let secret = SecretString::from(stored.secret.clone());
        let passphrase = SecretString::from(stored.passphrase.clone());
        ApiCreds::new(signer.address(), stored.key.clone(), secret, passphrase)
            .map_err(|_| SealError::NotOpened)
    }

    /// Seals API credentials for their connection's row.
    ///
    /// # Errors
    /// See [`SealingKey::seal`].
    pub fn seal_creds(
        &self,
        chance: &runtime::Chance,
        connection: Uuid,
        creds: &ApiCreds,
    ) -> Result<Vec<u8>, SealError> {
        let stored = StoredCreds {
            key: creds.key().to_owned(),
            secret: creds.secret().expose_secret().to_owned(),
            passphrase: creds.passphrase().expose_secret().to_owned(),
        };
        let plain = Zeroizing::new(serde_json::to_vec(&stored).map_err(|_| SealError::NotSealed)?);
        self.sealing.seal(chance, connection, Secret::ApiCredentials, &plain)
    }
}

impl Sign for Keyring {
    fn readiness(&self, connection: &Connection) -> Readiness {
        match self.lock().get(&connection.id) {
            Some(Entry::Open(_)) => {
                let looked = self.unapproved.lock().unwrap_or_else(PoisonError::into_inner);
                let settled = connection.approved || looked.contains(&connection.id);
                if settled { Readiness::Ready } else { Readiness::NotLoaded }
            }
            Some(Entry::Refused(_)) => Readiness::Refused,
            None => Readiness::NotLoaded,
        }
    }

    fn sign(
        &self,
        connection: &Connection,
        request: &OrderRequest,
    ) -> Option<Result<SignedBody, BuildError>> {
        let keys = self.keys(connection.id)?;
        Some(build(request, &keys.wallet, &self.table, &keys.signer))
    }
}
