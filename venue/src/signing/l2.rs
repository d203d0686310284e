//! L2: API credentials sign each private request with an HMAC (`venue.md` 4).

use std::fmt;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit, Mac};
use schemas::{ids::Address, time::Timestamp};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::wire::{ApiKeyRow, Checksummed};

const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

/// Why credentials cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredsError {
    /// The secret is not base64.
    #[error(
        "api_secret_invalid: the API secret is not base64; derive the credentials again from the signing key"
    )]
    SecretNotBase64,
    /// The key's id or the passphrase cannot stand in an HTTP header.
    #[error(
        "api_creds_invalid: the API key's id or passphrase holds characters that no header can carry; derive \
         the credentials again from the signing key"
    )]
    NotPrintable,
}

impl CredsError {
    /// The error's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SecretNotBase64 => "api_secret_invalid",
            Self::NotPrintable => "api_creds_invalid",
        }
    }
}

/// The API credentials of one signing key. Secret and passphrase are wiped on drop, and nothing prints them.
#[derive(Clone)]
pub struct ApiCreds {
    address: Address,
    key: String,
    secret: SecretString,
    passphrase: SecretString,
}

impl fmt::Debug for ApiCreds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiCreds")
            .field("address", &self.address)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl ApiCreds {
    /// Credentials that can sign: `address` is the signing key's own, not the funder's; `key` is the id of
    /// the API key, and the `owner` of posted orders; `secret` is base64 in either alphabet.
    ///
    /// # Errors
    /// Parts that no request could be signed with.
    pub fn new(
        address: Address,
        key: impl Into<String>,
        secret: SecretString,
        passphrase: SecretString,
    ) -> Result<Self, CredsError> {
        let key = key.into();
        let printable = |text: &str| text.bytes().all(|b| (0x20..0x7f).contains(&b));
        if !printable(&key) || !printable(passphrase.expose_secret()) {
            return Err(CredsError::NotPrintable);
        }
        hmac_key(&secret)?;
        Ok(Self { address, key, secret, passphrase })
    }

    /// From the venue's answer.
    ///
    /// # Errors
    /// Parts that no request could be signed with.
    pub fn from_row(address: Address, mut row: ApiKeyRow) -> Result<Self, CredsError> {
        // Moved out, not copied: the row wipes what is left in it.
        let [key, secret, passphrase] =
            [&mut row.api_key, &mut row.secret, &mut row.passphrase].map(std::mem::take);
        Self::new(address, key, SecretString::from(secret), SecretString::from(passphrase))
    }

    /// As a client says over a WebSocket who it is: in the clear, and wiped when dropped.
    pub fn to_row(&self) -> ApiKeyRow {
        ApiKeyRow {
            api_key: self.key.clone(),
            secret: self.secret.expose_secret().to_owned(),
            passphrase: self.passphrase.expose_secret().to_owned(),
        }
    }

    /// The signing key's own address.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// The id of the API key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The HMAC secret, to be stored encrypted.
    pub const fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// The passphrase, to be stored encrypted.
    pub const fn passphrase(&self) -> &SecretString {
        &self.passphrase
    }
}

fn hmac_key(secret: &SecretString) -> Result<Zeroizing<Vec<u8>>, CredsError> {
    let url_safe = Zeroizing::new(secret.expose_secret().trim().replace('+', "-").replace('/', "_"));
    URL_SAFE.decode(url_safe.as_bytes()).map(Zeroizing::new).map_err(|_| CredsError::SecretNotBase64)
}

/// The headers of an L2 request, by name.
pub type L2Headers = [(&'static str, SecretString); 5];

/// The HMAC of a request, base64 in the URL alphabet with padding. `path` holds neither host nor query;
/// `body` is the exact bytes sent, empty when there are none.
///
/// # Errors
/// A secret that is not base64.
pub fn l2_signature(
    secret: &SecretString,
    now_secs: i64,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<String, CredsError> {
    let key = hmac_key(secret)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| CredsError::SecretNotBase64)?;
    mac.update(now_secs.to_string().as_bytes());
    mac.update(method.as_bytes());
    mac.update(path.as_bytes());
    mac.update(body);
    Ok(URL_SAFE.encode(mac.finalize().into_bytes()))
}

/// The headers of an L2 request.
///
/// # Errors
/// Credentials that cannot be used.
pub fn l2_headers(
    creds: &ApiCreds,
    now: Timestamp,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<L2Headers, CredsError> {
    let signature = l2_signature(&creds.secret, now.secs(), method, path, body)?;
    Ok([
        ("POLY_ADDRESS", SecretString::from(Checksummed(creds.address).to_string())),
        ("POLY_API_KEY", SecretString::from(creds.key.clone())),
        ("POLY_PASSPHRASE", creds.passphrase.clone()),
        ("POLY_TIMESTAMP", SecretString::from(now.secs().to_string())),
        ("POLY_SIGNATURE", SecretString::from(signature)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_secret_or_passphrase() {
        let row = ApiKeyRow { api_key: "id".into(), secret: "c2VjcmV0".into(), passphrase: "phrase".into() };
        let shown = format!("{row:?}");
        let creds = ApiCreds::from_row(Address::ZERO, row).unwrap();
        let shown =
            format!("{shown} {creds:?} {:?}", l2_headers(&creds, Timestamp::from_secs(1), "GET", "/", b""));
        assert!(!shown.contains("c2VjcmV0") && !shown.contains("phrase\""), "{shown}");
    }

    #[test]
    fn both_alphabets_of_a_secret_are_one_key() {
        let sign = |secret: &str| {
            l2_signature(&SecretString::from(secret), 1_780_000_000, "GET", "/data/orders", b"")
        };
        assert_eq!(sign("-_-_-_8=").unwrap(), sign("+/+/+/8=").unwrap());
        assert_eq!(sign("-_-_-_8").unwrap(), sign("+/+/+/8=").unwrap());
        assert_eq!(sign("not base64!").unwrap_err().code(), "api_secret_invalid");
    }

    #[test]
    fn credentials_that_cannot_sign_are_refused_at_once() {
        let creds = |key: &str, secret: &str, phrase: &str| {
            ApiCreds::new(Address::ZERO, key, SecretString::from(secret), SecretString::from(phrase))
                .map(|_| ())
                .map_err(|e| e.code())
        };
        assert_eq!(creds("id", "c2VjcmV0", "phrase"), Ok(()));
        assert_eq!(creds("id", "not base64!", "phrase"), Err("api_secret_invalid"));
        assert_eq!(creds("id", "c2VjcmV0", "phra\nse"), Err("api_creds_invalid"));
    }
}
