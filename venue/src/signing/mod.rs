//! Signatures of the venue (`venue.md` 4, 5.1): EIP-712 order digests and API key requests, HMAC headers.
//!
//! Everything here is a function of its arguments: salt, timestamps and nonces come from the caller, and a
//! signature is deterministic (RFC 6979), so that equal orders are equal bytes.

pub mod eip712;
pub mod exchange;
pub mod key;
pub mod l1;
pub mod l2;
pub mod order;

pub use exchange::{Exchange, ExchangeTable, Route};
pub use key::{KeyError, LocalSigner, Signature, recover};
pub use l1::{L1Headers, clob_auth_digest, l1_headers, l1_signer};
pub use l2::{ApiCreds, CredsError, L2Headers, l2_headers, l2_signature};
pub use order::{OrderFields, OrderSignError, order_digest, order_hash, sign_order, signer_of_order};
