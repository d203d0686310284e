//! Orders: what is posted, what is answered, and what `GET /data/order/{id}` says later (`venue.md` 5, 6).

use schemas::{
    ids::{AssetId, Hash32},
    money::{Price, Round, Shares, parse_micro},
    time::Timestamp,
    words::{OrderType, Side, SignatureType},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    num::{Literal, base_units, expiration, millis_text, secs_opt, text},
    text::{Checksummed, HexBytes, or_default},
    word::open_words,
};

/// The order inside the body of `POST /order`, its fields in the order in which the official clients write
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedOrder {
    /// Makes equal orders different; below 2^53, for it is a JSON number.
    pub salt: u64,
    /// Whose money: the wallet, proxy or safe.
    pub maker: Checksummed,
    /// Who signs.
    pub signer: Checksummed,
    /// What is traded.
    pub token_id: AssetId,
    /// What the maker gives at most, in 10^-6: dollars for a BUY, shares for a SELL.
    #[serde(with = "base_units")]
    pub maker_amount: i64,
    /// What the maker wants at least, in 10^-6.
    #[serde(with = "base_units")]
    pub taker_amount: i64,
    /// Which way.
    pub side: Side,
    /// When it ends (seconds), `"0"` for never. Not signed.
    #[serde(with = "expiration")]
    pub expiration: Option<Timestamp>,
    /// How the signature is to be checked.
    #[serde(with = "signature_type")]
    pub signature_type: SignatureType,
    /// When it was made (milliseconds).
    #[serde(with = "millis_text")]
    pub timestamp: Timestamp,
    /// Reserved by the venue; zero.
    pub metadata: Hash32,
    /// The code of a registered builder; zero.
    pub builder: Hash32,
    /// The signature.
    pub signature: HexBytes,
}

/// The body of `POST /order`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostOrder {
    /// The signed order.
    pub order: SignedOrder,
    /// The API key's id.
    pub owner: String,
    /// How long it lives.
    pub order_type: OrderType,
    /// Whether matching is put off.
    #[serde(default)]
    pub defer_exec: bool,
    /// Whether it must not take.
    #[serde(default)]
    pub post_only: bool,
}

/// Signature types are small integers on the wire.
pub mod signature_type {
    use super::{Deserialize, Deserializer, Serializer, SignatureType};

    /// The venue's number of a signature type (`venue.md` 4).
    pub const fn number(kind: SignatureType) -> u8 {
        match kind {
            SignatureType::Eoa => 0,
            SignatureType::Proxy => 1,
            SignatureType::Safe => 2,
            SignatureType::Poly1271 => 3,
        }
    }

    /// Writes the number.
    pub fn serialize<S: Serializer>(kind: &SignatureType, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u8(number(*kind))
    }

    /// Reads the number.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SignatureType, D::Error> {
        let given = u8::deserialize(d)?;
        SignatureType::ALL
            .iter()
            .copied()
            .find(|kind| number(*kind) == given)
            .ok_or_else(|| serde::de::Error::custom(format_args!("no signature type has the number {given}")))
    }
}

open_words! {
    /// What became of an order that was just posted.
    PlacedStatus, prefix "ORDER_STATUS_" {
        /// It rests.
        Live = "live",
        /// It took.
        Matched = "matched",
        /// It is held back; it cannot be cancelled meanwhile.
        Delayed = "delayed",
        /// It was held back, found nothing to take, and rests.
        Unmatched = "unmatched",
    }
}

/// The answer to `POST /order`. `success` alone proves nothing: an order was taken when `order_id` is set and
/// `error_msg` is empty (`venue.md` 5.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostOrderAnswer {
    /// What the venue calls success.
    #[serde(default, deserialize_with = "or_default")]
    pub success: bool,
    /// What is wrong; empty when nothing is.
    #[serde(default, deserialize_with = "or_default")]
    pub error_msg: String,
    /// The order's id; empty when it was not taken.
    #[serde(rename = "orderID", default, deserialize_with = "or_default")]
    pub order_id: String,
    /// What became of it.
    #[serde(default)]
    pub status: PlacedStatus,
    /// What was given; `""` when nothing was. Its unit is not settled.
    #[serde(default)]
    pub making_amount: Literal,
    /// What was received; `""` when nothing was. Its unit is not settled.
    #[serde(default)]
    pub taking_amount: Literal,
    /// The trades that it made.
    #[serde(rename = "tradeIDs", default, deserialize_with = "or_default")]
    pub trade_ids: Vec<String>,
}

open_words! {
    /// Where an order stands, with or without the prefix `ORDER_STATUS_`.
    ClobOrderStatus, prefix "ORDER_STATUS_" {
        /// It rests.
        Live = "LIVE",
        /// It is fully matched.
        Matched = "MATCHED",
        /// It is held back.
        Delayed = "DELAYED",
        /// It was held back, found nothing to take, and rests.
        Unmatched = "UNMATCHED",
        /// The venue found it invalid.
        Invalid = "INVALID",
        /// It was cancelled.
        Canceled = "CANCELED",
        /// Its market was resolved.
        CanceledMarketResolved = "CANCELED_MARKET_RESOLVED",
        /// Its maker could no longer pay.
        CanceledNotEnoughBalance = "CANCELED_NOT_ENOUGH_BALANCE",
        /// Its market is gone.
        CanceledMarketNotFound = "CANCELED_MARKET_NOT_FOUND",
        /// Its time ran out.
        CanceledExpiredOrder = "CANCELED_EXPIRED_ORDER",
        /// The venue took too long.
        CanceledOrderTimedOut = "CANCELED_ORDER_TIMED_OUT",
    }
}

impl ClobOrderStatus {
    /// Whether it is one of the cancelled states, also one that this build does not know.
    pub fn is_cancelled(&self) -> bool {
        let word = self.as_str();
        word.get(.."CANCELED".len()).is_some_and(|head| head.eq_ignore_ascii_case("CANCELED"))
            || word
                .get(.."ORDER_STATUS_CANCELED".len())
                .is_some_and(|head| head.eq_ignore_ascii_case("ORDER_STATUS_CANCELED"))
    }
}

/// The answer of `GET /data/order/{id}`, and a row of `GET /data/orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    /// The order's id.
    pub id: schemas::ids::OrderId,
    /// Where it stands.
    pub status: ClobOrderStatus,
    /// The API key's id.
    #[serde(default, deserialize_with = "or_default")]
    pub owner: String,
    /// Whose money.
    #[serde(default, deserialize_with = "or_default")]
    pub maker_address: String,
    /// The condition as it came.
    #[serde(default, deserialize_with = "or_default")]
    pub market: String,
    /// The token.
    pub asset_id: AssetId,
    /// Which way.
    pub side: Side,
    /// Its size; unit by [`SizeUnits::of_order`].
    pub original_size: Literal,
    /// What is filled of it; same unit.
    #[serde(default)]
    pub size_matched: Literal,
    /// Its limit.
    #[serde(with = "text")]
    pub price: Price,
    /// The outcome.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome: String,
    /// How long it lives, as the venue writes it.
    #[serde(default, deserialize_with = "or_default")]
    pub order_type: String,
    /// The trades that it made.
    #[serde(default, deserialize_with = "or_default")]
    pub associate_trades: Vec<String>,
    /// When it arrived.
    #[serde(default, with = "secs_opt")]
    pub created_at: Option<Timestamp>,
    /// When it ends; `"0"` for never.
    #[serde(default, with = "expiration")]
    pub expiration: Option<Timestamp>,
}

/// In what a size is counted: the documents disagree (`venue.md` 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeUnits {
    /// Whole shares with decimals: `"5"`, `"5.25"`.
    Decimal,
    /// Integers of 10^-6: `"5000000"`.
    Base,
}

/// A size that cannot be an amount of ours in either unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "size_unreadable: the venue gives `{literal}` where we know of {known} shares; neither decimal shares nor \
     10^-6 units explain it. The order stays unknown; compare it at the venue by its id"
)]
pub struct UnitsError {
    /// What the venue gave.
    pub literal: String,
    /// What we know.
    pub known: Shares,
}

impl SizeUnits {
    /// The unit in which `original` stands for about `known` shares. The two readings lie a factor of 10^6
    /// apart; whichever is within 10^3 of what we know is taken, so that a size counted in dollars, or
    /// rounded, does not mislead it.
    ///
    /// # Errors
    /// Where neither reading is near, or nothing is known.
    pub fn of_order(original: &Literal, known: Shares) -> Result<Self, UnitsError> {
        let error = || UnitsError { literal: original.as_str().to_owned(), known };
        let near = |micro: i64| {
            let (a, b) = (i128::from(micro), i128::from(known.micro()));
            a > 0 && b > 0 && a <= b * 1_000 && b <= a * 1_000
        };
        let decimal = parse_micro(original.as_str(), Round::Nearest).ok();
        let base = original.as_str().parse::<i64>().ok();
        if decimal.is_some_and(near) {
            Ok(Self::Decimal)
        } else if base.is_some_and(near) {
            Ok(Self::Base)
        } else {
            Err(error())
        }
    }

    /// The unit of a part of an order of which at most `most` shares can fill. A reading in whole shares that
    /// exceeds `most` is impossible, so it is 10^-6; below that it is whole shares, since as 10^-6 it would be
    /// less than a millionth of the order.
    ///
    /// # Errors
    /// Text that is no size.
    pub fn of_part(part: &Literal, most: Shares) -> Result<Self, UnitsError> {
        let error = || UnitsError { literal: part.as_str().to_owned(), known: most };
        match parse_micro(part.as_str(), Round::Nearest) {
            Ok(decimal) if decimal <= most.micro() || part.as_str().contains('.') => Ok(Self::Decimal),
            Ok(_) => Ok(Self::Base),
            // Too large to be shares, yet an integer.
            Err(_) if part.as_str().parse::<i64>().is_ok() => Ok(Self::Base),
            Err(_) => Err(error()),
        }
    }

    /// The shares that a literal of this unit stands for; nothing for an empty one. Rounded down.
    ///
    /// # Errors
    /// Text that is no size of this unit.
    pub fn read(self, literal: &Literal) -> Result<Shares, UnitsError> {
        let error = || UnitsError { literal: literal.as_str().to_owned(), known: Shares::ZERO };
        if literal.is_empty() {
            return Ok(Shares::ZERO);
        }
        match self {
            Self::Decimal => Shares::parse(literal.as_str(), Round::Down).map_err(|_| error()),
            Self::Base => literal.as_str().parse().map(Shares::from_micro).map_err(|_| error()),
        }
    }

    /// Writes shares in this unit: for the simulator.
    pub fn write(self, shares: Shares) -> Literal {
        match self {
            Self::Decimal => Literal::new(shares.to_string()),
            Self::Base => Literal::new(shares.micro().to_string()),
        }
    }
}

impl OrderRow {
    /// The order's size and what is filled of it, in shares, given the size that we posted.
    ///
    /// # Errors
    /// Sizes that no unit explains.
    pub fn sizes(&self, known: Shares) -> Result<(Shares, Shares), UnitsError> {
        let units = SizeUnits::of_order(&self.original_size, known)?;
        Ok((units.read(&self.original_size)?, units.read(&self.size_matched)?))
    }
}

impl PostOrder {
    /// Reads a body.
    ///
    /// # Errors
    /// JSON that is no order.
    pub fn read(body: &[u8]) -> serde_json::Result<Self> {
        let post: Self = serde_json::from_slice(body)?;
        if post.order.salt >= 1 << 53 {
            return Err(serde_json::Error::custom("a salt lies below 2^53"));
        }
        Ok(post)
    }
}
