//! Identities: wallets, tokens, conditions, fills, keys. All formulas here are frozen
//! (`behaviour.md` 1): a record written under another would be another record.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tiny_keccak::{Hasher, Keccak};
use uuid::Uuid;

use crate::{time::Timestamp, words::Side};

/// Why a text is no identity of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {what}")]
pub struct IdError {
    /// What was given, cut at 100 characters.
    pub given: String,
    /// What it should have been.
    pub what: &'static str,
}

fn id_error(given: &str, what: &'static str) -> IdError {
    IdError { given: given.chars().take(100).collect(), what }
}

/// Keccak-256 over the parts, one after another.
pub fn keccak256(parts: &[&[u8]]) -> Hash32 {
    let mut hasher = Keccak::v256();
    for part in parts {
        hasher.update(part);
    }
    let mut out = [0; 32];
    hasher.finalize(&mut out);
    Hash32(out)
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// All bytes zero.
            pub const ZERO: Self = Self([0; $len]);

            /// From its bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            /// `0x` and hex digits of either case.
            fn from_str(s: &str) -> Result<Self, IdError> {
                let digits = s.strip_prefix("0x").ok_or_else(|| id_error(s, $what))?;
                let mut out = [0; $len];
                const_hex::decode_to_slice(digits, &mut out).map_err(|_| id_error(s, $what))?;
                Ok(Self(out))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0u8; 2 + 2 * $len];
                text[..2].copy_from_slice(b"0x");
                const_hex::encode_to_slice(&self.0, &mut text[2..]).map_err(|_| fmt::Error)?;
                f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id! {
    /// A 20-byte address: a wallet, a signer, a contract. Always printed in lower case, so that the case
    /// in which somebody typed a wallet can never make two targets of one.
    Address, 20, "an address (0x and 40 hex digits)"
}
hex_id! {
    /// The hash of a settlement transaction.
    TxHash, 32, "a transaction hash (0x and 64 hex digits)"
}
hex_id! {
    /// A market's condition. Ids of 31 bytes are right-padded by [`ConditionId::parse_padded`].
    ConditionId, 32, "a condition id (0x and 64 hex digits)"
}
hex_id! {
    /// The frozen key of a copy: `keccak256(target_id + ":" + fill_id)`. It holds no tenant, so whatever is
    /// unique is unique on (billing account, key).
    IdempotencyKey, 32, "an idempotency key (0x and 64 hex digits)"
}
hex_id! {
    /// The venue's order id: the EIP-712 digest of the order, known before it is sent.
    OrderId, 32, "an order id (0x and 64 hex digits)"
}
hex_id! {
    /// A Keccak-256 digest: of a cut, a datum, a Merkle root.
    Hash32, 32, "a hash (0x and 64 hex digits)"
}

impl ConditionId {
    /// Reads an id of 32 bytes, or of 31 bytes (the venue's later protocol), padded on the right.
    ///
    /// # Errors
    /// Any other length, or text that is not hex.
    pub fn parse_padded(s: &str) -> Result<Self, IdError> {
        if s.len() == 2 + 62 { format!("{s}00").parse() } else { s.parse() }
    }
}

/// The traded id of an outcome: a token id, or a position id on the venue's later protocol. A decimal
/// number of up to 78 digits, kept as its digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AssetId(Arc<str>);

impl AssetId {
    /// Its decimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AssetId {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let ok = !s.is_empty()
            && s.len() <= 78
            && s.bytes().all(|b| b.is_ascii_digit())
            && (s == "0" || !s.starts_with('0'));
        if ok { Ok(Self(s.into())) } else { Err(id_error(s, "an asset id (decimal digits)")) }
    }
}

impl<'de> Deserialize<'de> for AssetId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// From a UUID.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                Uuid::parse_str(s).map(Self).map_err(|_| id_error(s, concat!("a ", stringify!($name), " (a UUID)")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        // As text in every format: Avro's `uuid` logical type is a string, and so is JSON's.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

uuid_id! {
    /// A followed wallet, the same for every tenant: UUIDv5 of the wallet's address. Never a row id.
    TargetId
}
uuid_id! {
    /// The database row of one tenant's target: a random UUID. Never part of a key.
    TargetRowId
}
uuid_id! {
    /// A tenant: who pays, and whose money moves.
    BillingAccountId
}
uuid_id! {
    /// A person who may log in: owns billing accounts, created rows.
    UserId
}
uuid_id! {
    /// One log, from its manifest. Offsets mean nothing without it.
    LogId
}

/// The namespace of [`TargetId`]s.
const TARGET_NAMESPACE: Uuid = Uuid::from_u128(0xe2a3_8b91_7b7d_5f8e_9c0d_4a1e_6f8b_2c3d);

impl TargetId {
    /// The id of a wallet: UUIDv5 over its address in lower case (frozen).
    pub fn of_wallet(wallet: Address) -> Self {
        Self(Uuid::new_v5(&TARGET_NAMESPACE, wallet.to_string().as_bytes()))
    }
}

/// What names a fill, or, for a close without a SELL of the leader, its cause (frozen shapes):
/// `data-api:<tx>:<asset>:<side>:<ts>`, `clob-ws:…`, `chain:<tx>:<log_index>:<side>`, or a cause id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct FillId(Arc<str>);

impl FillId {
    /// The id of a fill that the Data API showed first. `at` is the venue's second.
    pub fn data_api(tx: TxHash, asset: &AssetId, side: Side, at: Timestamp) -> Self {
        Self(format!("data-api:{tx}:{asset}:{}:{}", side.as_str(), at.secs()).into())
    }

    /// The id of a fill that the activity stream showed first.
    pub fn clob_ws(tx: TxHash, asset: &AssetId, side: Side, at: Timestamp) -> Self {
        Self(format!("clob-ws:{tx}:{asset}:{}:{}", side.as_str(), at.secs()).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FillId {
    type Err = IdError;

    /// Accepts any text of a known scheme; the parts behind it were checked by whoever made the id.
    fn from_str(s: &str) -> Result<Self, IdError> {
        const SCHEMES: [&str; 7] =
            ["data-api:", "clob-ws:", "chain:", "void:", "removed:", "manual:", "exit:"];
        if s.len() <= 400 && SCHEMES.iter().any(|scheme| s.starts_with(scheme) && s.len() > scheme.len()) {
            Ok(Self(s.into()))
        } else {
            Err(id_error(s, "a fill id or cause id of a known scheme"))
        }
    }
}

impl<'de> Deserialize<'de> for FillId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for FillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for FillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl IdempotencyKey {
    /// The key of a copy: `keccak256(target_id + ":" + fill_id)` over UTF-8 (frozen).
    pub fn of(target: TargetId, fill: &FillId) -> Self {
        Self(*keccak256(&[target.to_string().as_bytes(), b":", fill.as_str().as_bytes()]).as_bytes())
    }
}

/// What makes two rows of a wallet one fill: all rows of (wallet, tx, asset, side) are summed
/// (`behaviour.md` 1). The fill id alone is not unique.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NaturalKey {
    /// Whose fill.
    pub wallet: Address,
    /// The transaction that settled it.
    pub tx: TxHash,
    /// What was traded.
    pub asset: AssetId,
    /// Which way.
    pub side: Side,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_typed_in_any_case_is_one_target() {
        let a: Address = "0x204F72F35326DB932158CBA6ADFF0B9A1DA95E14".parse().unwrap();
        let b: Address = "0x204f72f35326db932158cba6adff0b9a1da95e14".parse().unwrap();
        assert_eq!(TargetId::of_wallet(a), TargetId::of_wallet(b));
        assert_eq!(a.to_string(), "0x204f72f35326db932158cba6adff0b9a1da95e14");
    }

    #[test]
    fn fill_ids_have_the_frozen_shape() {
        let tx = TxHash::from_bytes([0xab; 32]);
        let asset: AssetId = "77".parse().unwrap();
        let at = Timestamp::from_secs(1_713_302_400);
        assert_eq!(
            FillId::data_api(tx, &asset, Side::Buy, at).as_str(),
            format!("data-api:0x{}:77:BUY:1713302400", "ab".repeat(32))
        );
        assert_eq!(
            FillId::clob_ws(tx, &asset, Side::Sell, at).as_str(),
            format!("clob-ws:0x{}:77:SELL:1713302400", "ab".repeat(32))
        );
    }

    #[test]
    fn conditions_of_31_bytes_are_padded_on_the_right() {
        let short = format!("0x{}", "cd".repeat(31));
        assert_eq!(ConditionId::parse_padded(&short).unwrap().to_string(), format!("{short}00"));
        assert!(ConditionId::parse_padded("0x12").is_err());
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        assert!("0x12".parse::<Address>().is_err());
        assert!("204f72f35326db932158cba6adff0b9a1da95e14".parse::<Address>().is_err());
        for bad in ["", "01", "1a", "-1"] {
            assert!(bad.parse::<AssetId>().is_err(), "{bad}");
        }
        assert!("other:1".parse::<FillId>().is_err());
        assert!("void:".parse::<FillId>().is_err());
    }
}
