//! The digest of an order, which is also its id, and the four ways of signing it.

use schemas::{
    ids::{Address, AssetId, Hash32, OrderId},
    time::Timestamp,
    words::{Side, SignatureType},
};

use super::{
    eip712::{self, Word},
    exchange::{ExchangeTable, Route},
    key::{KeyError, LocalSigner, recover},
};
use crate::wire::{SignedOrder, order::signature_type};

/// The signed fields of an order. Expiration, order type and owner are not among them: the same id can be
/// posted with others, so the whole body is kept, not only its id (`venue.md` 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderFields {
    /// Makes equal orders different; below 2^53.
    pub salt: u64,
    /// Whose money: the wallet, proxy or safe.
    pub maker: Address,
    /// Who signs: the key's address, or the deposit wallet itself.
    pub signer: Address,
    /// What is traded.
    pub token: AssetId,
    /// What the maker gives at most, in 10^-6.
    pub maker_amount: i64,
    /// What the maker wants at least, in 10^-6.
    pub taker_amount: i64,
    /// Which way.
    pub side: Side,
    /// How the signature is checked.
    pub signature_type: SignatureType,
    /// When it was made; milliseconds count.
    pub timestamp: Timestamp,
    /// Reserved by the venue.
    pub metadata: Hash32,
    /// The code of a registered builder.
    pub builder: Hash32,
}

/// Why an order cannot be signed, or its signature not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderSignError {
    /// A token id of more than 256 bits.
    #[error(
        "token_id_too_large: token {0} does not fit 256 bits, so no order can name it; the market's data are wrong"
    )]
    TokenTooLarge(AssetId),
    /// Negative, or a time before 1970.
    #[error("order_field_negative: `{0}` of an order is negative")]
    Negative(&'static str),
    /// The key is not the one that the order's signature type asks for.
    #[error(
        "signer_mismatch: the key of {key} cannot sign for {signer} with signature type {kind}; check the \
         connection's signature type and funder address"
    )]
    SignerMismatch {
        /// The key's address.
        key: Address,
        /// Whom the order names.
        signer: Address,
        /// The order's signature type.
        kind: SignatureType,
    },
    /// The signature cannot be read.
    #[error(transparent)]
    Signature(#[from] KeyError),
    /// An ERC-7739 signature whose parts are not this order's.
    #[error(
        "signature_not_of_order: the wallet signature does not carry this order's domain, contents and type"
    )]
    NotOfOrder,
}

impl OrderSignError {
    /// The error's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TokenTooLarge(_) => "token_id_too_large",
            Self::Negative(_) => "order_field_negative",
            Self::SignerMismatch { .. } => "signer_mismatch",
            Self::Signature(e) => e.code(),
            Self::NotOfOrder => "signature_not_of_order",
        }
    }
}

/// The EIP-712 type of an order.
pub const ORDER_TYPE: &str = "Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,\
uint256 takerAmount,uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,bytes32 builder)";

/// ERC-7739's wrapper around an order, for a deposit wallet's signature.
const TYPED_DATA_SIGN: &str = "TypedDataSign(Order contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)";

impl From<&SignedOrder> for OrderFields {
    fn from(order: &SignedOrder) -> Self {
        Self {
            salt: order.salt,
            maker: order.maker.0,
            signer: order.signer.0,
            token: order.token_id.clone(),
            maker_amount: order.maker_amount,
            taker_amount: order.taker_amount,
            side: order.side,
            signature_type: order.signature_type,
            timestamp: order.timestamp,
            metadata: order.metadata,
            builder: order.builder,
        }
    }
}

fn unsigned(value: i64, what: &'static str) -> Result<Word, OrderSignError> {
    u64::try_from(value).map(eip712::uint).map_err(|_| OrderSignError::Negative(what))
}

/// The struct hash of an order, without a domain.
///
/// # Errors
/// Fields that an order cannot hold.
pub fn order_hash(order: &OrderFields) -> Result<Hash32, OrderSignError> {
    let token =
        eip712::decimal(&order.token).ok_or_else(|| OrderSignError::TokenTooLarge(order.token.clone()))?;
    Ok(eip712::struct_hash(
        ORDER_TYPE,
        &[
            eip712::uint(order.salt),
            eip712::address(order.maker),
            eip712::address(order.signer),
            token,
            unsigned(order.maker_amount, "makerAmount")?,
            unsigned(order.taker_amount, "takerAmount")?,
            eip712::uint(match order.side {
                Side::Buy => 0,
                Side::Sell => 1,
            }),
            eip712::uint(u64::from(signature_type::number(order.signature_type))),
            unsigned(order.timestamp.millis(), "timestamp")?,
            *order.metadata.as_bytes(),
            *order.builder.as_bytes(),
        ],
    ))
}

/// The digest of an order on a route: what a plain key signs, and the order's id at the venue.
///
/// # Errors
/// Fields that an order cannot hold.
pub fn order_digest(
    table: &ExchangeTable,
    route: Route,
    order: &OrderFields,
) -> Result<OrderId, OrderSignError> {
    let digest = eip712::digest(table.domain_separator(route), order_hash(order)?);
    Ok(OrderId::from_bytes(*digest.as_bytes()))
}

/// What the key behind a deposit wallet signs.
fn wallet_digest(table: &ExchangeTable, domain: Hash32, contents: Hash32, wallet: Address) -> Hash32 {
    let type_string = format!("{TYPED_DATA_SIGN}{ORDER_TYPE}");
    let hash = eip712::struct_hash(
        &type_string,
        &[
            *contents.as_bytes(),
            eip712::text("DepositWallet"),
            eip712::text("1"),
            eip712::uint(table.chain_id),
            eip712::address(wallet),
            [0; 32],
        ],
    );
    eip712::digest(domain, hash)
}

/// Everything behind the inner signature of a deposit wallet's signature.
fn wallet_suffix(domain: Hash32, contents: Hash32) -> Vec<u8> {
    let mut out = Vec::with_capacity(252);
    out.extend_from_slice(domain.as_bytes());
    out.extend_from_slice(contents.as_bytes());
    out.extend_from_slice(ORDER_TYPE.as_bytes());
    // The type string is a constant of 186 bytes.
    out.extend_from_slice(&u16::try_from(ORDER_TYPE.len()).unwrap_or(u16::MAX).to_be_bytes());
    out
}

/// Signs an order: its id, and its signature of 65 bytes, or 317 for a deposit wallet (`venue.md` 4).
///
/// # Errors
/// Fields that an order cannot hold, or a key that is not the order's.
pub fn sign_order(
    table: &ExchangeTable,
    route: Route,
    order: &OrderFields,
    key: &LocalSigner,
) -> Result<(OrderId, Vec<u8>), OrderSignError> {
    let mismatch = || OrderSignError::SignerMismatch {
        key: key.address(),
        signer: order.signer,
        kind: order.signature_type,
    };
    let (domain, contents) = (table.domain_separator(route), order_hash(order)?);
    let digest = eip712::digest(domain, contents);
    let id = OrderId::from_bytes(*digest.as_bytes());
    let own = key.address() == order.signer;
    match order.signature_type {
        SignatureType::Eoa if own && order.maker == order.signer => Ok((id, key.sign(digest).to_vec())),
        SignatureType::Proxy | SignatureType::Safe if own => Ok((id, key.sign(digest).to_vec())),
        // The wallet names itself; whether the key may sign for it, only the wallet's contract knows.
        SignatureType::Poly1271 if order.maker == order.signer => {
            let mut out = key.sign(wallet_digest(table, domain, contents, order.signer)).to_vec();
            out.extend_from_slice(&wallet_suffix(domain, contents));
            Ok((id, out))
        }
        _ => Err(mismatch()),
    }
}

/// Whose key signed an order: for a deposit wallet the key behind it. Whether that key may act for the
/// order's maker is for the caller to say.
///
/// # Errors
/// A signature that cannot be read, or not of this order.
pub fn signer_of_order(
    table: &ExchangeTable,
    route: Route,
    order: &OrderFields,
    signature: &[u8],
) -> Result<Address, OrderSignError> {
    let (domain, contents) = (table.domain_separator(route), order_hash(order)?);
    match order.signature_type {
        SignatureType::Poly1271 => {
            let (inner, suffix) = signature.split_at_checked(65).ok_or(KeyError::InvalidSignature)?;
            if suffix != wallet_suffix(domain, contents) {
                return Err(OrderSignError::NotOfOrder);
            }
            Ok(recover(wallet_digest(table, domain, contents, order.signer), inner)?)
        }
        _ => Ok(recover(eip712::digest(domain, contents), signature)?),
    }
}
