//! An order, from what is wanted to the exact bytes that are posted.
//!
//! The same request, wallet and key give the same bytes and the same id, whenever and wherever it is built:
//! a retry can only create the same order (`behaviour.md` 6.2).

use schemas::{
    ids::{Address, AssetId, BillingAccountId, Hash32, IdempotencyKey, OrderId, keccak256},
    money::{Price, Shares, Tick, Usdc},
    time::Timestamp,
    words::{OrderType, Side, SignatureType},
};

use crate::{
    amounts::{self, Amounts, AmountsError},
    signing::{ExchangeTable, LocalSigner, OrderFields, OrderSignError, Route, order_digest, sign_order},
    wire::{Checksummed, HexBytes, PostOrder, SignedOrder},
};

/// Salts are JSON numbers, so they stay below 2^53 (`venue.md` 5.2).
pub const SALT_LIMIT: u64 = 1 << 53;

/// The salt of an attempt: a hash of who, which copy, which attempt; in 1 to 2^53 - 1. Frozen: an order that
/// was stored under it must be built again under it.
pub fn derive_salt(billing_account: BillingAccountId, key: IdempotencyKey, attempt: i32) -> u64 {
    let account = billing_account.as_uuid();
    let mut round = 0u32;
    loop {
        let hash = keccak256(&[
            b"polymirror/order-salt/1",
            account.as_bytes(),
            key.as_bytes(),
            &attempt.to_be_bytes(),
            &round.to_be_bytes(),
        ]);
        let mut head = [0; 8];
        head.copy_from_slice(&hash.as_bytes()[..8]);
        let salt = u64::from_be_bytes(head) % SALT_LIMIT;
        if salt != 0 {
            return salt;
        }
        round += 1;
    }
}

/// Whose money an order moves, and how it is signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradingWallet {
    maker: Address,
    signer: Address,
    signature_type: SignatureType,
    api_key: String,
}

impl TradingWallet {
    /// The wallet of a connection: `funder` holds the money, `key_address` is the signing key's own address,
    /// `api_key` the id of its API credentials.
    ///
    /// # Errors
    /// A plain key whose funder is another address.
    pub fn new(
        signature_type: SignatureType,
        funder: Address,
        key_address: Address,
        api_key: impl Into<String>,
    ) -> Result<Self, BuildError> {
        let signer = match signature_type {
            SignatureType::Eoa if funder != key_address => {
                return Err(BuildError::FunderMismatch { funder, key_address });
            }
            // The deposit wallet names itself as signer.
            SignatureType::Poly1271 => funder,
            SignatureType::Eoa | SignatureType::Proxy | SignatureType::Safe => key_address,
        };
        Ok(Self { maker: funder, signer, signature_type, api_key: api_key.into() })
    }

    /// Who holds the money.
    pub const fn maker(&self) -> Address {
        self.maker
    }

    /// How it signs.
    pub const fn signature_type(&self) -> SignatureType {
        self.signature_type
    }
}

/// What an order is to do. A market BUY is counted in dollars, everything else in shares (`venue.md` 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terms {
    /// Rests at the limit until it expires, or until cancelled.
    Limit {
        /// Which way.
        side: Side,
        /// On the tick.
        price: Price,
        /// Rounded down to 0.01.
        shares: Shares,
        /// Whole seconds; `None` rests until cancelled. The venue ends it one minute before.
        expires: Option<Timestamp>,
        /// Refuse rather than take.
        post_only: bool,
    },
    /// Spends up to so many dollars now, at no more than the limit.
    MarketBuy {
        /// On the tick.
        limit: Price,
        /// Rounded down to cents.
        usdc: Usdc,
        /// Nothing rather than part of it (FOK instead of FAK).
        all_or_nothing: bool,
    },
    /// Sells up to so many shares now, at no less than the limit.
    MarketSell {
        /// On the tick.
        limit: Price,
        /// Rounded down to 0.01.
        shares: Shares,
        /// Nothing rather than part of it (FOK instead of FAK).
        all_or_nothing: bool,
    },
}

impl Terms {
    /// Which way it goes.
    pub const fn side(&self) -> Side {
        match self {
            Self::Limit { side, .. } => *side,
            Self::MarketBuy { .. } => Side::Buy,
            Self::MarketSell { .. } => Side::Sell,
        }
    }

    /// The worst price it takes.
    pub const fn limit(&self) -> Price {
        match self {
            Self::Limit { price, .. } => *price,
            Self::MarketBuy { limit, .. } | Self::MarketSell { limit, .. } => *limit,
        }
    }

    /// The venue's word for how long it lives.
    pub const fn order_type(&self) -> OrderType {
        match self {
            Self::Limit { expires: None, .. } => OrderType::Gtc,
            Self::Limit { expires: Some(_), .. } => OrderType::Gtd,
            Self::MarketBuy { all_or_nothing, .. } | Self::MarketSell { all_or_nothing, .. } => {
                if *all_or_nothing {
                    OrderType::Fok
                } else {
                    OrderType::Fak
                }
            }
        }
    }

    /// The amounts, in the venue's roundings.
    ///
    /// # Errors
    /// A price that is not on the tick or out of its range, or a size of nothing.
    pub fn amounts(&self, tick: Tick) -> Result<Amounts, BuildError> {
        let price = self.limit();
        if price < tick.lowest() || price > tick.highest() || price.micro() % tick.micro() != 0 {
            return Err(BuildError::PriceOffTick { price, tick });
        }
        Ok(match *self {
            Self::Limit { side, price, shares, .. } => amounts::limit(side, price, shares, tick)?,
            Self::MarketBuy { limit, usdc, .. } => amounts::market_buy(limit, usdc, tick)?,
            Self::MarketSell { limit, shares, .. } => amounts::market_sell(limit, shares, tick)?,
        })
    }
}

/// Everything that an order's bytes follow from, but the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRequest {
    /// Where it goes.
    pub route: Route,
    /// What is traded.
    pub asset: AssetId,
    /// The market's tick.
    pub tick: Tick,
    /// What it is to do.
    pub terms: Terms,
    /// See [`derive_salt`].
    pub salt: u64,
    /// When it is made: deterministic like the salt, and whole milliseconds count.
    pub timestamp: Timestamp,
}

/// An order ready to be stored, and after that to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBody {
    /// Its id at the venue, known before it is sent.
    pub id: OrderId,
    /// The bytes of the body of `POST /order`: these and no others are sent, now and in every retry.
    pub body: Vec<u8>,
    /// What it gives and wants.
    pub amounts: Amounts,
}

/// Why an order cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The price is not on the tick, or outside its range. It is not rounded here: that would move somebody's
    /// limit.
    #[error(
        "price_off_tick: {price} is not a price on a tick of {tick}; read the market's tick again and snap the limit to it"
    )]
    PriceOffTick {
        /// The price.
        price: Price,
        /// The tick.
        tick: Tick,
    },
    /// The salt is zero or not below 2^53.
    #[error("salt_out_of_range: the salt {0} is not in 1 to 2^53 - 1")]
    SaltOutOfRange(u64),
    /// An expiration that is no whole second after 1970.
    #[error("expiration_invalid: {0} is not a whole second after 1970")]
    ExpirationInvalid(Timestamp),
    /// A plain key trades for its own address only.
    #[error(
        "funder_mismatch: with signature type eoa the funder {funder} must be the key's own address \
         {key_address}; give the connection's real signature type"
    )]
    FunderMismatch {
        /// Who holds the money.
        funder: Address,
        /// The key's address.
        key_address: Address,
    },
    /// The size or price cannot be expressed.
    #[error(transparent)]
    Amounts(#[from] AmountsError),
    /// The order cannot be signed.
    #[error(transparent)]
    Sign(#[from] OrderSignError),
    /// The body cannot be written.
    #[error("order_unwritable: the order's body cannot be written: {0}")]
    Unwritable(String),
}

impl BuildError {
    /// The error's code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PriceOffTick { .. } => "price_off_tick",
            Self::SaltOutOfRange(_) => "salt_out_of_range",
            Self::ExpirationInvalid(_) => "expiration_invalid",
            Self::FunderMismatch { .. } => "funder_mismatch",
            Self::Amounts(e) => e.code(),
            Self::Sign(e) => e.code(),
            Self::Unwritable(_) => "order_unwritable",
        }
    }
}

fn fields(request: &OrderRequest, wallet: &TradingWallet) -> Result<(OrderFields, Amounts), BuildError> {
    if request.salt == 0 || request.salt >= SALT_LIMIT {
        return Err(BuildError::SaltOutOfRange(request.salt));
    }
    if let Terms::Limit { expires: Some(at), .. } = request.terms
        && (at.secs() <= 0 || at != Timestamp::from_secs(at.secs()))
    {
        return Err(BuildError::ExpirationInvalid(at));
    }
    let amounts = request.terms.amounts(request.tick)?;
    let fields = OrderFields {
        salt: request.salt,
        maker: wallet.maker,
        signer: wallet.signer,
        token: request.asset.clone(),
        maker_amount: amounts.maker,
        taker_amount: amounts.taker,
        side: request.terms.side(),
        signature_type: wallet.signature_type,
        timestamp: request.timestamp,
        metadata: Hash32::ZERO,
        builder: Hash32::ZERO,
    };
    Ok((fields, amounts))
}

/// The id that an order will have, without a key.
///
/// # Errors
/// A request that makes no order.
pub fn order_id(
    request: &OrderRequest,
    wallet: &TradingWallet,
    table: &ExchangeTable,
) -> Result<OrderId, BuildError> {
    let (fields, _) = fields(request, wallet)?;
    Ok(order_digest(table, request.route, &fields)?)
}

/// Builds and signs an order.
///
/// # Errors
/// A request that makes no order, or a key that is not the wallet's.
pub fn build(
    request: &OrderRequest,
    wallet: &TradingWallet,
    table: &ExchangeTable,
    key: &LocalSigner,
) -> Result<SignedBody, BuildError> {
    let (fields, amounts) = fields(request, wallet)?;
    let (id, signature) = sign_order(table, request.route, &fields, key)?;
    let (expires, post_only) = match request.terms {
        Terms::Limit { expires, post_only, .. } => (expires, post_only),
        Terms::MarketBuy { .. } | Terms::MarketSell { .. } => (None, false),
    };
    let post =
        post_body(fields, expires, signature, wallet.api_key.clone(), request.terms.order_type(), post_only);
    let body = serde_json::to_vec(&post).map_err(|e| BuildError::Unwritable(e.to_string()))?;
    Ok(SignedBody { id, body, amounts })
}

/// The body of `POST /order` around signed fields.
pub(crate) fn post_body(
    fields: OrderFields,
    expiration: Option<Timestamp>,
    signature: Vec<u8>,
    owner: String,
    order_type: OrderType,
    post_only: bool,
) -> PostOrder {
    PostOrder {
        order: SignedOrder {
            salt: fields.salt,
            maker: Checksummed(fields.maker),
            signer: Checksummed(fields.signer),
            token_id: fields.token,
            maker_amount: fields.maker_amount,
            taker_amount: fields.taker_amount,
            side: fields.side,
            expiration,
            signature_type: fields.signature_type,
            timestamp: fields.timestamp,
            metadata: fields.metadata,
            builder: fields.builder,
            signature: HexBytes(signature),
        },
        owner,
        order_type,
        defer_exec: false,
        post_only,
    }
}
