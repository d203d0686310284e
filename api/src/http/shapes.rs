//! How values are written in JSON: money as decimal strings, times as RFC 3339, ids and words as text. Each has a
//! schema for the OpenAPI document.

use std::borrow::Cow;

use schemas::{Price, Round, Shares, Tick, Timestamp, Usdc, money::parse_micro};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, SchemaFormat,
        schema::{Schema, SchemaType, Type},
    },
};

/// A time as RFC 3339 shows it, to the microsecond. One that no calendar holds is shown as the nearest that it does.
pub fn rfc3339(at: Timestamp) -> String {
    let nearest = if at.micros() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(at.micros()).unwrap_or(nearest).to_string()
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).description(Some(description))
}

/// Gives a type a named schema.
macro_rules! schema {
    ($name:ident, $schema:expr) => {
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.build().into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

/// A schema for text of one form, which stands for types of other crates.
macro_rules! form {
    ($(#[$doc:meta])* $name:ident, $description:literal, $pattern:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name;

        schema!($name, text($description).pattern(Some($pattern)).examples([$example]));
    };
}

/// A schema for a closed set of words.
macro_rules! word {
    ($($name:ident of $words:ty, $description:literal;)*) => {$(
        #[doc = $description]
        #[derive(Debug)]
        pub(super) struct $name;

        schema!($name, text($description).enum_values(Some(<$words>::ALL.iter().map(|word| word.as_str()))));
    )*};
}

form!(
    /// An address.
    Wallet, "A wallet. Either case is read; lower case is written.", "^0x[0-9a-fA-F]{40}$",
    "0x204f72f35326db932158cba6adff0b9a1da95e14"
);
form!(
    /// 32 bytes.
    Hex32, "32 bytes in hexadecimal.", "^0x[0-9a-f]{64}$",
    "0x0f1d8a4f6f3a3c0c6f2a1d7e2b9c4e5d6a7b8c9d0e1f2a3b4c5d6e7f8091a2b3"
);
form!(
    /// A token of the venue.
    Asset, "The venue's id of an outcome, in decimal digits.", "^(0|[1-9][0-9]{0,77})$",
    "71321045679252212594626385532706912750332728571942532289631379312455583992563"
);
form!(
    /// A request's name.
    RequestId, "Names a request: repeated with it, it is the same request.", "^[A-Za-z0-9._-]{1,64}$", "close-2026-11-29"
);

form!(
    /// A revision as a header has it.
    Quoted, "A revision in quotes, or `*` for any.", "^(\"[0-9]{1,18}\"|\\*)$", "\"3\""
);

word! {
    SideWord of schemas::Side, "Which way a trade goes.";
    ModeWord of schemas::Mode, "Whether real money moves.";
    StatusWord of schemas::TargetStatus, "Where a target stands.";
    OutcomeWord of schemas::Outcome, "What a decision came to.";
    ReasonWord of schemas::Reason, "Why it came to that.";
    BranchWord of schemas::PositionBranch, "What a decision does to our position.";
    OrderWord of schemas::OrderStatus, "Where an order stands.";
    PlacementWord of schemas::Placement, "How a BUY is placed.";
}

/// A decimal, exactly: dollars, shares, a price or a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal(i64);

schema!(
    Decimal,
    text("An exact decimal with at most six places: dollars, shares, a price, or a part of a whole.")
        .pattern(Some(r"^-?(0|[1-9][0-9]*)(\.[0-9]{1,6})?$"))
        .examples(["2.50"])
);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Usdc::from_micro(self.0))
    }
}

impl Decimal {
    /// A number in 10^-6.
    pub(super) const fn micro(value: i64) -> Self {
        Self(value)
    }
}

macro_rules! decimal_of {
    ($($amount:ty),*) => {$(
        impl From<$amount> for Decimal {
            fn from(amount: $amount) -> Self {
                Self(amount.micro())
            }
        }
    )*};
}
decimal_of!(Usdc, Shares, Price, Tick);

/// Dollars as somebody gives them: a decimal string, and nothing is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dollars(pub(super) Usdc);

schema!(
    Dollars,
    text("Dollars, as an exact decimal with at most six places.")
        .pattern(Some(r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$"))
        .examples(["2.50"])
);

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let (whole, places) = text.split_once('.').map_or((&*text, None), |(w, p)| (w, Some(p)));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let fits = (1..=12).contains(&whole.len())
            && digits(whole)
            && (whole == "0" || !whole.starts_with('0'))
            && places.is_none_or(|p| (1..=6).contains(&p.len()) && digits(p));
        let micro = fits.then(|| parse_micro(&text, Round::Down).ok()).flatten();
        micro.map(|micro| Self(Usdc::from_micro(micro))).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            D::Error::custom(format!(
                "`{shown}` is not dollars: a decimal such as \"2.50\", with at most six places"
            ))
        })
    }
}

/// Where RFC 3339 begins, in microseconds. The database keeps less than what the calendar here can count.
const YEAR_ZERO: i64 = -62_167_219_200_000_000;

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(pub(super) Timestamp);

schema!(
    Time,
    text("A point in time, RFC 3339.")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples(["2026-11-29T17:05:39.123456Z"])
);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let at = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond);
        at.filter(|at| *at >= YEAR_ZERO).map(|at| Self(Timestamp::from_micros(at))).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            D::Error::custom(format!("`{shown}` is not a time such as 2026-11-29T17:05:39Z"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(json: &str) -> Result<i64, String> {
        serde_json::from_str::<Dollars>(json).map(|d| d.0.micro()).map_err(|e| e.to_string())
    }

    #[test]
    fn dollars_are_read_exactly_or_not_at_all() {
        assert_eq!(dollars(r#""2.5""#), Ok(2_500_000));
        assert_eq!(dollars(r#""0.000001""#), Ok(1));
        assert_eq!(dollars(r#""999999999999.999999""#), Ok(999_999_999_999_999_999));
        for no in [
            "2.5",
            "3",
            r#""2.5000001""#,
            r#""-1""#,
            r#""1e3""#,
            r#""$2""#,
            r#""""#,
            r#"".5""#,
            r#""5.""#,
            r#""05""#,
        ] {
            assert!(dollars(no).is_err(), "{no}");
        }
    }

    #[test]
    fn decimals_and_times_are_written_as_they_are_read() {
        assert_eq!(serde_json::to_string(&Decimal::from(Usdc::from_micro(-1_500_000))).unwrap(), r#""-1.5""#);
        let time: Time = serde_json::from_str(r#""2026-11-29T17:05:39.000001Z""#).unwrap();
        assert_eq!(time.0.micros(), 1_795_971_939_000_001);
        assert_eq!(serde_json::to_string(&time).unwrap(), r#""2026-11-29T17:05:39.000001Z""#);
        for no in [r#""-000001-12-31T23:59:59Z""#, r#""2026-11-29""#, r#""""#, "0"] {
            assert!(serde_json::from_str::<Time>(no).is_err(), "{no}");
        }
        assert_eq!(rfc3339(Timestamp::from_micros(i64::MAX)), jiff::Timestamp::MAX.to_string());
    }
}
