//! Numbers of the wire: amounts of 10^-6 to and from JSON literals.
//!
//! For use in `#[serde(with = "…")]`. Reading takes a JSON number or a string of digits, whichever comes
//! (`venue.md` 1.2, 2, 6); only the writing differs between the modules.

use std::fmt;

use schemas::{
    money::{AmountError, Price, Round, Shares, Usdc, parse_micro},
    time::Timestamp,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

/// A quantity counted in 10^-6.
pub trait Micro: Copy + fmt::Display {
    /// From the integer.
    fn from_micro_int(value: i64) -> Self;
}

impl Micro for Price {
    fn from_micro_int(value: i64) -> Self {
        Self::from_micro(value)
    }
}

impl Micro for Shares {
    fn from_micro_int(value: i64) -> Self {
        Self::from_micro(value)
    }
}

impl Micro for Usdc {
    fn from_micro_int(value: i64) -> Self {
        Self::from_micro(value)
    }
}

/// A ratio such as a fee rate or an exponent, in 10^-6: `0.07` is 70,000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rate(i64);

impl Rate {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From an integer of 10^-6.
    pub const fn from_micro(value: i64) -> Self {
        Self(value)
    }

    /// The integer of 10^-6.
    pub const fn micro(self) -> i64 {
        self.0
    }
}

impl Micro for Rate {
    fn from_micro_int(value: i64) -> Self {
        Self(value)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Usdc::from_micro(self.0), f)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rate({self})")
    }
}

/// The text of a JSON number, or the content of a JSON string; `None` for null.
pub(crate) fn literal<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let raw = Box::<RawValue>::deserialize(d)?;
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).map(Some).map_err(D::Error::custom),
        Some(b'-' | b'0'..=b'9') => Ok(Some(text.to_owned())),
        _ if text == "null" => Ok(None),
        _ => Err(D::Error::custom(format_args!("expected a number, found {}", shorten(text)))),
    }
}

/// At most 60 characters of a text, for messages.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A raw number literal, written as it stands.
pub(crate) fn write_number<S: Serializer>(digits: String, s: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(digits).map_err(S::Error::custom)?.serialize(s)
}

fn parse<T: Micro, E: serde::de::Error>(text: &str) -> Result<T, E> {
    parse_micro(text, Round::Nearest).map(T::from_micro_int).map_err(E::custom)
}

/// Written as a JSON number: `0.64`.
pub mod number {
    use serde::de::Error as _;

    use super::{Deserializer, Micro, Serializer, literal, parse, write_number};

    /// Writes the number.
    pub fn serialize<T: Micro, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        write_number(value.to_string(), s)
    }

    /// Reads a number or text, to the nearest 10^-6.
    pub fn deserialize<'de, T: Micro, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
        let text = literal(d)?.ok_or_else(|| D::Error::custom("expected a number, found null"))?;
        parse(&text)
    }
}

/// Written as a JSON number or null; empty text and a missing field (with `default`) are `None`.
pub mod number_opt {
    use super::{Deserializer, Micro, Serializer, literal, number, parse};

    /// Writes the number, or null.
    pub fn serialize<T: Micro, S: Serializer>(value: &Option<T>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(v) => number::serialize(v, s),
            None => s.serialize_none(),
        }
    }

    /// Reads a number, text, empty text or null.
    pub fn deserialize<'de, T: Micro, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
        match literal(d)? {
            Some(text) if !text.is_empty() => parse(&text).map(Some),
            _ => Ok(None),
        }
    }
}

/// Written as a JSON string of digits: `"0.64"`.
pub mod text {
    use super::{Deserializer, Micro, Serializer, number};

    /// Writes the digits as a string.
    pub fn serialize<T: Micro, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    /// Reads a number or text, to the nearest 10^-6.
    pub fn deserialize<'de, T: Micro, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
        number::deserialize(d)
    }
}

/// Written as a JSON string of digits, `""` for `None`.
pub mod text_opt {
    use super::{Deserializer, Micro, Serializer, number_opt};

    /// Writes the digits, or an empty string.
    pub fn serialize<T: Micro, S: Serializer>(value: &Option<T>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(v) => s.collect_str(v),
            None => s.serialize_str(""),
        }
    }

    /// Reads a number, text, empty text or null.
    pub fn deserialize<'de, T: Micro, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
        number_opt::deserialize(d)
    }
}

/// An amount already counted in base units (10^-6), written as a string of whole digits: `"5200000"`.
pub mod base_units {
    use serde::de::Error as _;

    use super::{Deserializer, Serializer, literal, shorten};

    /// Writes the integer as a string.
    pub fn serialize<S: Serializer>(value: &i64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    /// Reads an integer, as number or text.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
        let text = literal(d)?.ok_or_else(|| D::Error::custom("expected an integer, found null"))?;
        text.parse().map_err(|_| D::Error::custom(format_args!("not an integer: {}", shorten(&text))))
    }
}

/// Points in time; the name says unit and form in which they are written. Reading takes number or text.
macro_rules! time {
    ($(#[$doc:meta])* $module:ident, $from:ident, $to:ident, $quoted:literal) => {
        $(#[$doc])*
        pub mod $module {
            use serde::de::Error as _;

            use super::{Deserializer, Serializer, Timestamp, literal, whole};

            /// Writes the integer.
            pub fn serialize<S: Serializer>(value: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
                if $quoted { s.collect_str(&value.$to()) } else { s.serialize_i64(value.$to()) }
            }

            /// Reads an integer, as number or text; a fraction is dropped.
            pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
                let text = literal(d)?.ok_or_else(|| D::Error::custom("expected a time, found null"))?;
                whole(&text).map(Timestamp::$from).map_err(D::Error::custom)
            }
        }
    };
}

/// The whole part of a non-negative number: times come as integers, rarely as `1790000000.0`.
pub(crate) fn whole(text: &str) -> Result<i64, AmountError> {
    let digits = text.split_once('.').map_or(text, |(whole, _)| whole);
    let error = || AmountError { literal: shorten(text), why: "a time is a whole number" };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(error());
    }
    digits.parse().map_err(|_| error())
}

time! {
    /// Seconds as a JSON number: the Data API, `created_at`.
    secs, from_secs, secs, false
}
time! {
    /// Milliseconds as text: books, and the timestamp of an order.
    millis_text, from_millis, millis, true
}

/// A time that informs and decides nothing: missing, empty, zero and unreadable are all `None`. Read from
/// seconds or from an ISO date; written as a number of seconds, or null.
pub mod secs_opt {
    use super::{Deserializer, Serializer, Timestamp, literal, whole};

    /// Writes the integer, or null.
    pub fn serialize<S: Serializer>(value: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(t) => s.serialize_i64(t.secs()),
            None => s.serialize_none(),
        }
    }

    /// Reads an integer as number or text, or an ISO date.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
        let Some(text) = literal(d)? else { return Ok(None) };
        Ok(match whole(&text) {
            Ok(secs) => (secs > 0).then(|| Timestamp::from_secs(secs)),
            Err(_) => crate::wire::gamma::end_of(&text),
        })
    }
}

/// The same, written as text, `""` for none: the times of trades.
pub mod secs_text_opt {
    use super::{Deserializer, Serializer, Timestamp, secs_opt};

    /// Writes the seconds as text.
    pub fn serialize<S: Serializer>(value: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(t) => s.collect_str(&t.secs()),
            None => s.serialize_str(""),
        }
    }

    /// Reads an integer as number or text, or an ISO date.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
        secs_opt::deserialize(d)
    }
}

/// Seconds as text, where `"0"` means none: the expiration of an order.
pub mod expiration {
    use serde::de::Error as _;

    use super::{Deserializer, Serializer, Timestamp, literal, whole};

    /// Writes the seconds, `"0"` for none.
    pub fn serialize<S: Serializer>(value: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&value.map_or(0, Timestamp::secs))
    }

    /// Reads an integer as number or text.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
        match literal(d)? {
            Some(text) if !text.is_empty() => {
                let secs = whole(&text).map_err(D::Error::custom)?;
                Ok((secs > 0).then(|| Timestamp::from_secs(secs)))
            }
            _ => Ok(None),
        }
    }
}

/// A number whose unit is not settled (`venue.md` 10), kept as the venue wrote it: text or number, possibly
/// empty. Written as text.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Literal(String);

impl Literal {
    /// From digits; nothing is checked.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Literal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        literal(d).map(|text| Self(text.unwrap_or_default()))
    }
}
