//! Secrets at rest: sealed with the installation's key (XChaCha20-Poly1305), each bound to its row and to what it is,
//! so that a sealed value moved to another row or column does not open.

use std::{
    fmt,
    fs::OpenOptions,
    io::{ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use runtime::Chance;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The layout of sealed bytes: this byte, a nonce of 24 bytes, the ciphertext with its tag.
const VERSION: u8 = 1;
const NONCE: usize = 24;

/// What is sealed: part of what it is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// The 32 bytes of a signing key.
    SigningKey,
    /// The API credentials of a signing key, as JSON.
    ApiCredentials,
}

impl Secret {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::SigningKey => b"polymirror/signing-key/1",
            Self::ApiCredentials => b"polymirror/api-credentials/1",
        }
    }
}

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The text is no key.
    #[error(
        "sealing_key_invalid: the installation's key is not 64 hex digits. Give the key that this installation was \
         set up with; without it the stored wallet keys cannot be opened, and each has to be given again: \
         `polymirror wallet connect`"
    )]
    InvalidKey,
    /// Others may read the key's file.
    #[error(
        "sealing_key_open_to_others: {path} has mode {mode:o}. It opens every wallet's key in the database: `chmod 600` \
         it, and move the wallets' money to new keys if others were on this machine"
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key's file cannot be read or written.
    #[error(
        "sealing_key_unreadable: {path}: {why}. Put the installation's key there, readable for this user alone"
    )]
    File {
        /// Where.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// The bytes were sealed with another key, for another row, or are damaged.
    #[error(
        "secret_not_opened: a stored secret does not open. It was sealed with another installation's key, or it was \
         changed: give the right key, or connect the wallet again with `polymirror wallet connect`"
    )]
    NotOpened,
    /// The plaintext cannot be sealed.
    #[error("secret_not_sealed: the secret could not be sealed")]
    NotSealed,
}

impl SealError {
    /// The error's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidKey => "sealing_key_invalid",
            Self::OpenToOthers { .. } => "sealing_key_open_to_others",
            Self::File { .. } => "sealing_key_unreadable",
            Self::NotOpened => "secret_not_opened",
            Self::NotSealed => "secret_not_sealed",
        }
    }
}

/// The installation's key. Wiped when dropped; nothing prints it.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

impl SealingKey {
    /// From 64 hex digits, with or without `0x`, as a file or an environment variable holds them.
    ///
    /// # Errors
    /// [`SealError::InvalidKey`]; the text is not repeated.
    pub fn from_hex(text: &str) -> Result<Self, SealError> {
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let mut key = Zeroizing::new([0; 32]);
        const_hex::decode_to_slice(digits, key.as_mut_slice()).map_err(|_| SealError::InvalidKey)?;
        Ok(Self(key))
    }

    /// A new key.
    pub fn generate(chance: &Chance) -> Self {
        Self(Zeroizing::new(chance.bytes()))
    }

    /// From a file that its owner alone may read.
    ///
    /// # Errors
    /// [`SealError::File`], [`SealError::OpenToOthers`], [`SealError::InvalidKey`].
    pub fn from_file(path: &Path) -> Result<Self, SealError> {
        let failed = |e: std::io::Error| SealError::File { path: path.to_owned(), why: e.to_string() };
        let mode = std::fs::metadata(path).map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SealError::OpenToOthers { path: path.to_owned(), mode });
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Self::from_hex(&Zeroizing::new(text))
    }

    /// From a file, which is made with a new key, readable for its owner alone, where there is none.
    ///
    /// # Errors
    /// As [`Self::from_file`].
    pub fn from_file_or_new(path: &Path, chance: &Chance) -> Result<Self, SealError> {
        let failed = |e: std::io::Error| SealError::File { path: path.to_owned(), why: e.to_string() };
        // Written under another name first: a key that is there is whole, and of two who make one, one wins.
        let unfinished = path.with_extension(format!("{}.new", chance.uuid().simple()));
        if path.exists() {
            return Self::from_file(path);
        }
        let key = Self::generate(chance);
        let digits = Zeroizing::new(const_hex::encode(key.0.as_slice()) + "\n");
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(failed)?;
        let written = file.write_all(digits.as_bytes()).and_then(|()| file.sync_all());
        let linked = written.and_then(|()| std::fs::hard_link(&unfinished, path));
        std::fs::remove_file(&unfinished).map_err(failed)?;
        match linked {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(failed(e)),
            _ => Self::from_file(path),
        }
    }

    fn bound_to(row: Uuid, what: Secret) -> Vec<u8> {
        [what.label(), row.as_bytes()].concat()
    }

    /// Seals a secret for a row.
    ///
    /// # Errors
    /// [`SealError::NotSealed`]: more than a cipher takes, which no secret here is.
    pub fn seal(&self, chance: &Chance, row: Uuid, what: Secret, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce: [u8; NONCE] = chance.bytes();
        let cipher = XChaCha20Poly1305::new(self.0.as_slice().try_into().map_err(|_| SealError::NotSealed)?);
        let payload = Payload { msg: plain, aad: &Self::bound_to(row, what) };
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::NotSealed)?;
        let mut out = Vec::with_capacity(1 + NONCE + sealed.len());
        out.push(VERSION);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Opens what was sealed for a row. The plaintext is wiped when dropped.
    ///
    /// # Errors
    /// [`SealError::NotOpened`].
    pub fn open(&self, row: Uuid, what: Secret, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError::NotOpened)?;
        let (nonce, cipher_text) = rest.split_at_checked(NONCE).ok_or(SealError::NotOpened)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| SealError::NotOpened)?;
        if *version != VERSION {
            return Err(SealError::NotOpened);
        }
        let cipher = XChaCha20Poly1305::new(self.0.as_slice().try_into().map_err(|_| SealError::NotOpened)?);
        let payload = Payload { msg: cipher_text, aad: &Self::bound_to(row, what) };
        cipher.decrypt(&XNonce::from(nonce), payload).map(Zeroizing::new).map_err(|_| SealError::NotOpened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_for_its_row_and_purpose_alone() {
        let chance = Chance::seeded(1);
        let key = SealingKey::generate(&chance);
        let (row, other) = (chance.uuid(), chance.uuid());
        let sealed = key.seal(&chance, row, Secret::SigningKey, b"secret").unwrap();
        assert_eq!(key.open(row, Secret::SigningKey, &sealed).unwrap().as_slice(), b"secret");
        assert!(key.open(other, Secret::SigningKey, &sealed).is_err());
        assert!(key.open(row, Secret::ApiCredentials, &sealed).is_err());
        assert!(SealingKey::generate(&chance).open(row, Secret::SigningKey, &sealed).is_err());
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_ne!(
            sealed,
            key.seal(&chance, row, Secret::SigningKey, b"secret").unwrap(),
            "a nonce of its own"
        );
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(key.open(row, Secret::SigningKey, &damaged).is_err(), "byte {at}");
            assert!(key.open(row, Secret::SigningKey, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_key_file_is_made_once_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealing.key");
        let chance = Chance::seeded(2);
        let first = SealingKey::from_file_or_new(&path, &chance).unwrap();
        let again = SealingKey::from_file_or_new(&path, &chance).unwrap();
        assert_eq!(*first.0, *again.0);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(format!("{first:?}"), "SealingKey");
        std::fs::write(&path, "12").unwrap();
        assert_eq!(SealingKey::from_file(&path).unwrap_err().code(), "sealing_key_invalid");
        assert_eq!(
            SealingKey::from_file(&dir.path().join("none")).unwrap_err().code(),
            "sealing_key_unreadable"
        );
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealing.key");
        let chance = Chance::seeded(3);
        SealingKey::from_file_or_new(&path, &chance).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = SealingKey::from_file_or_new(&path, &chance).unwrap_err();
            assert_eq!(error.code(), "sealing_key_open_to_others");
            assert!(error.to_string().contains(&format!("mode {mode:o}")), "{error}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        SealingKey::from_file_or_new(&path, &chance).unwrap();
    }
}
