//! API keys. All of a key follows from the seed, the address and the nonce, so that a restart knows the same.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use schemas::{Address, keccak256};
use secrecy::{ExposeSecret, SecretString};
use venue::{signing::l2_signature, wire::ApiKeyRow};

/// One key. It prints neither secret nor passphrase.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Whose.
    pub address: Address,
    /// Its id.
    pub id: String,
    secret: SecretString,
    passphrase: SecretString,
}

/// All keys that were made.
#[derive(Debug)]
pub struct Keys {
    seed: u64,
    by_id: BTreeMap<String, ApiKey>,
}

impl Keys {
    /// No keys yet.
    pub const fn new(seed: u64) -> Self {
        Self { seed, by_id: BTreeMap::new() }
    }

    fn derive(&self, address: Address, nonce: u64) -> ApiKey {
        let part = |what: &[u8]| {
            keccak256(&[what, &self.seed.to_be_bytes(), address.as_bytes(), &nonce.to_be_bytes()])
        };
        let mut id = [0; 16];
        id.copy_from_slice(&part(b"api key").as_bytes()[..16]);
        ApiKey {
            address,
            id: uuid::Builder::from_random_bytes(id).into_uuid().to_string(),
            secret: SecretString::from(URL_SAFE.encode(part(b"secret").as_bytes())),
            passphrase: SecretString::from(part(b"passphrase").to_string()[2..].to_owned()),
        }
    }

    /// Makes a key, or finds the one made before. True when it is new.
    pub fn make(&mut self, address: Address, nonce: u64) -> (ApiKeyRow, bool) {
        let key = self.derive(address, nonce);
        let row = key.row();
        let new = self.by_id.insert(key.id.clone(), key).is_none();
        (row, new)
    }

    /// The key that was made before, if any.
    pub fn known(&self, address: Address, nonce: u64) -> Option<ApiKeyRow> {
        self.by_id.get(&self.derive(address, nonce).id).map(ApiKey::row)
    }

    /// The ids of an address's keys.
    pub fn of(&self, address: Address) -> Vec<String> {
        self.by_id.values().filter(|k| k.address == address).map(|k| k.id.clone()).collect()
    }

    /// The key is no more; to make it again gives the same one.
    pub fn forget(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    /// The key whose id, secret and passphrase these are: how the user stream is entered.
    pub fn holder(&self, shown: &ApiKeyRow) -> Option<&ApiKey> {
        let same = |key: &&ApiKey| {
            let own = key.row();
            own.secret == shown.secret && own.passphrase == shown.passphrase
        };
        self.by_id.get(&shown.api_key).filter(same)
    }

    /// The key of this id.
    pub fn get(&self, id: &str) -> Option<&ApiKey> {
        self.by_id.get(id)
    }
}

impl ApiKey {
    fn row(&self) -> ApiKeyRow {
        ApiKeyRow {
            api_key: self.id.clone(),
            secret: self.secret.expose_secret().to_owned(),
            passphrase: self.passphrase.expose_secret().to_owned(),
        }
    }

    /// Whether a request was signed with this key: the passphrase, and the HMAC of exactly these bytes.
    pub fn signed(
        &self,
        passphrase: &str,
        signature: &str,
        now_secs: i64,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> bool {
        passphrase == self.passphrase.expose_secret()
            && l2_signature(&self.secret, now_secs, method, path, body)
                .is_ok_and(|expected| expected == signature)
    }
}
