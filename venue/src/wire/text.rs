//! Texts of the wire: checksummed addresses, hex, JSON inside strings.

use std::fmt;

use schemas::ids::{Address, keccak256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An address written as the official clients write it: with the capitals of ERC-55. Read in any case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksummed(pub Address);

impl fmt::Display for Checksummed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = self.0.to_string();
        let hash = keccak256(&[&lower.as_bytes()[2..]]);
        let text: String = lower
            .char_indices()
            .map(|(i, c)| {
                let nibble = i.checked_sub(2).and_then(|i| {
                    let byte = hash.as_bytes().get(i / 2)?;
                    Some(if i % 2 == 0 { byte >> 4 } else { byte & 0x0f })
                });
                if nibble.is_some_and(|n| n >= 8) { c.to_ascii_uppercase() } else { c }
            })
            .collect();
        f.pad(&text)
    }
}

impl fmt::Debug for Checksummed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Address> for Checksummed {
    fn from(address: Address) -> Self {
        Self(address)
    }
}

impl Serialize for Checksummed {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksummed {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Address::deserialize(d).map(Self)
    }
}

/// Bytes as `0x` and lower-case hex digits: signatures.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HexBytes(pub Vec<u8>);

impl fmt::Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        f.write_str(&const_hex::encode(&self.0))
    }
}

impl fmt::Debug for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let digits = text.strip_prefix("0x").ok_or_else(|| D::Error::custom("hex bytes begin with `0x`"))?;
        const_hex::decode(digits).map(Self).map_err(D::Error::custom)
    }
}

/// A value whose JSON is the content of a JSON string, as Gamma writes lists: `"[\"Yes\", \"No\"]"`. Missing,
/// null and empty are the default; a plain value is read too.
pub mod embedded {
    use serde::de::DeserializeOwned;
    use serde_json::value::RawValue;

    use super::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes the value's JSON as a string.
    pub fn serialize<T: Serialize, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        let json = serde_json::to_string(value).map_err(serde::ser::Error::custom)?;
        s.serialize_str(&json)
    }

    /// Reads JSON inside a string, or the plain JSON.
    pub fn deserialize<'de, T: DeserializeOwned + Default, D: Deserializer<'de>>(
        d: D,
    ) -> Result<T, D::Error> {
        let raw = Box::<RawValue>::deserialize(d)?;
        let outer = raw.get();
        let read = || -> serde_json::Result<T> {
            if outer == "null" {
                return Ok(T::default());
            }
            if !outer.starts_with('"') {
                return serde_json::from_str(outer);
            }
            let inner: String = serde_json::from_str(outer)?;
            if inner.trim().is_empty() { Ok(T::default()) } else { serde_json::from_str(&inner) }
        };
        read().map_err(serde::de::Error::custom)
    }
}

/// A missing or null field as the type's default.
pub fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

/// An id of the venue's own that decides nothing: text, or a number taken as text; empty where it is missing.
pub fn loose<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    super::num::literal(d).map(Option::unwrap_or_default)
}

/// An id that may be missing, null or the empty string, all of which are `None`.
pub mod id_opt {
    use std::str::FromStr;

    use super::{Deserialize, Deserializer, Serializer, fmt};

    /// Writes the id, or an empty string.
    pub fn serialize<T: fmt::Display, S: Serializer>(value: &Option<T>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(id) => s.collect_str(id),
            None => s.serialize_str(""),
        }
    }

    /// Reads the id.
    pub fn deserialize<'de, T: FromStr<Err: fmt::Display>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<T>, D::Error> {
        match Option::<String>::deserialize(d)? {
            Some(text) if !text.is_empty() => text.parse().map(Some).map_err(serde::de::Error::custom),
            _ => Ok(None),
        }
    }
}
