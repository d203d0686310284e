//! L1: a key proves that it controls its address, to get API credentials (`venue.md` 4).

use schemas::{
    ids::{Address, Hash32},
    time::Timestamp,
};

use super::{
    eip712,
    key::{KeyError, LocalSigner, recover},
};
use crate::wire::{Checksummed, HexBytes};

/// What the key attests.
const MESSAGE: &str = "This message attests that I control the given wallet";

/// The headers of an L1 request, by name.
pub type L1Headers = [(&'static str, String); 4];

/// The digest that an L1 request signs.
pub fn clob_auth_digest(address: Address, now: Timestamp, nonce: u64, chain_id: u64) -> Hash32 {
    let domain = eip712::domain_separator("ClobAuthDomain", "1", chain_id, None);
    let hash = eip712::struct_hash(
        "ClobAuth(address address,string timestamp,uint256 nonce,string message)",
        &[
            eip712::address(address),
            eip712::text(&now.secs().to_string()),
            eip712::uint(nonce),
            eip712::text(MESSAGE),
        ],
    );
    eip712::digest(domain, hash)
}

/// The headers of an L1 request. The venue knows one set of credentials per nonce.
pub fn l1_headers(key: &LocalSigner, now: Timestamp, nonce: u64, chain_id: u64) -> L1Headers {
    let signature = key.sign(clob_auth_digest(key.address(), now, nonce, chain_id));
    [
        ("POLY_ADDRESS", Checksummed(key.address()).to_string()),
        ("POLY_SIGNATURE", HexBytes(signature.to_vec()).to_string()),
        ("POLY_TIMESTAMP", now.secs().to_string()),
        ("POLY_NONCE", nonce.to_string()),
    ]
}

/// Who signed an L1 request: to be compared with the address that it names.
///
/// # Errors
/// A signature that cannot be read.
pub fn l1_signer(
    address: Address,
    now: Timestamp,
    nonce: u64,
    chain_id: u64,
    signature: &[u8],
) -> Result<Address, KeyError> {
    recover(clob_auth_digest(address, now, nonce, chain_id), signature)
}
