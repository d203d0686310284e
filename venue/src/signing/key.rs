//! A signing key, its signatures, and who made one.

use std::{fmt, sync::Arc};

use k256::ecdsa::{RecoveryId, Signature as Ecdsa, SigningKey, VerifyingKey};
use schemas::ids::{Address, Hash32, keccak256};
use zeroize::Zeroizing;

/// Why bytes are no key, or a signature no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a secp256k1 private key.
    #[error(
        "signing_key_invalid: the signing key is not 32 bytes between 1 and the order of secp256k1; give the \
         wallet's private key as 0x and 64 hex digits"
    )]
    InvalidKey,
    /// Not 65 bytes `r ‖ s ‖ v` with `v` 27 or 28 (or 0 or 1), or no point of the curve.
    #[error("signature_invalid: the signature is not 65 bytes of r, s and v that some key can have made")]
    InvalidSignature,
}

impl KeyError {
    /// The error's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidKey => "signing_key_invalid",
            Self::InvalidSignature => "signature_invalid",
        }
    }
}

/// 65 bytes: r, s (in its lower half), and v = 27 or 28.
pub type Signature = [u8; 65];

/// Signs with a key held in memory. The key is wiped when the last clone goes, and nothing prints it.
#[derive(Clone)]
pub struct LocalSigner {
    key: Arc<SigningKey>,
    address: Address,
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSigner").field("address", &self.address).finish_non_exhaustive()
    }
}

impl LocalSigner {
    /// From the 32 bytes of a private key; the caller's copy is wiped when it drops.
    ///
    /// # Errors
    /// Zero, or a number past the curve's order.
    pub fn from_bytes(bytes: &Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        let key = Arc::new(SigningKey::from_slice(bytes.as_slice()).map_err(|_| KeyError::InvalidKey)?);
        let address = address_of(key.verifying_key());
        Ok(Self { key, address })
    }

    /// From `0x` (optional) and 64 hex digits.
    ///
    /// # Errors
    /// Text that is no private key. The text is not repeated in the error.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let mut bytes = Zeroizing::new([0; 32]);
        const_hex::decode_to_slice(digits, bytes.as_mut_slice()).map_err(|_| KeyError::InvalidKey)?;
        Self::from_bytes(&bytes)
    }

    /// The key's own address.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Signs a digest, deterministically.
    pub fn sign(&self, digest: Hash32) -> Signature {
        let (signature, recovery) = self.key.sign_prehash_recoverable(digest.as_bytes());
        let mut out = [0; 65];
        out[..64].copy_from_slice(&signature.to_bytes());
        out[64] = 27 + recovery.to_byte();
        out
    }
}

fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_sec1_point(false);
    let hash = keccak256(&[&point.as_bytes()[1..]]);
    let mut out = [0; 20];
    out.copy_from_slice(&hash.as_bytes()[12..]);
    Address::from_bytes(out)
}

/// Who signed a digest.
///
/// # Errors
/// Bytes that no key can have made. High-s twins are refused: an order has one signature.
pub fn recover(digest: Hash32, signature: &[u8]) -> Result<Address, KeyError> {
    let invalid = |_| KeyError::InvalidSignature;
    let (rs, v) = match signature {
        [rs @ .., v] if rs.len() == 64 => (rs, *v),
        _ => return Err(KeyError::InvalidSignature),
    };
    let parity = match v {
        0 | 27 => 0,
        1 | 28 => 1,
        _ => return Err(KeyError::InvalidSignature),
    };
    let ecdsa = Ecdsa::from_slice(rs).map_err(invalid)?;
    if ecdsa.normalize_s() != ecdsa {
        return Err(KeyError::InvalidSignature);
    }
    let recovery = RecoveryId::from_byte(parity).ok_or(KeyError::InvalidSignature)?;
    VerifyingKey::recover_from_prehash(digest.as_bytes(), &ecdsa, recovery)
        .map(|key| address_of(&key))
        .map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A public development key, of the anvil test node.
    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn nothing_prints_the_key() {
        let signer = LocalSigner::from_hex(KEY).unwrap();
        let shown = format!("{signer:?} {signer:#?}");
        assert!(!shown.contains("ac0974be"), "{shown}");
        assert!(shown.contains("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"), "{shown}");
        let error = LocalSigner::from_hex("0xac0974bezz").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("ac0974be"));
    }

    #[test]
    fn keys_outside_the_curve_are_refused() {
        for bad in ["", "0x", "00", &"00".repeat(32), &"ff".repeat(32)] {
            assert_eq!(LocalSigner::from_hex(bad).unwrap_err(), KeyError::InvalidKey, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_signature_names_its_signer_and_no_other_digest(digest: [u8; 32], bit in 0usize..256) {
            let signer = LocalSigner::from_hex(KEY).unwrap();
            let signature = signer.sign(Hash32::from_bytes(digest));
            proptest::prop_assert_eq!(recover(Hash32::from_bytes(digest), &signature), Ok(signer.address()));
            let mut other = digest;
            other[bit / 8] ^= 1 << (bit % 8);
            proptest::prop_assert_ne!(recover(Hash32::from_bytes(other), &signature), Ok(signer.address()));
        }

        #[test]
        fn garbage_never_panics(digest: [u8; 32], bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _ = recover(Hash32::from_bytes(digest), &bytes);
        }
    }

    #[test]
    fn the_high_s_twin_of_a_signature_is_refused() {
        let signer = LocalSigner::from_hex(KEY).unwrap();
        let digest = Hash32::from_bytes([7; 32]);
        let good = signer.sign(digest);
        // n - s, with the other parity, recovers the same key on a lenient verifier.
        let order =
            const_hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
        let mut twin = good;
        let mut borrow = 0i16;
        for i in (0..32).rev() {
            let d = i16::from(order[i]) - i16::from(good[32 + i]) - borrow;
            borrow = i16::from(d < 0);
            twin[32 + i] = u8::try_from(d.rem_euclid(256)).unwrap();
        }
        twin[64] = if good[64] == 27 { 28 } else { 27 };
        assert_eq!(recover(digest, &good), Ok(signer.address()));
        assert_eq!(recover(digest, &twin), Err(KeyError::InvalidSignature));
    }
}
