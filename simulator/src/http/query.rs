//! Query parameters of the Data API, and its cursors.

use axum::{http::StatusCode, response::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use schemas::{
    Address, ConditionId,
    money::{Round, parse_micro},
};
use serde::{Deserialize, Serialize};

use super::reply;
use crate::history::Place;

/// Names and values, in the order in which they came.
pub type Pairs = Vec<(String, String)>;

/// The parameters of one request. What is unknown is ignored (`venue.md` 1.2).
#[derive(Debug)]
pub struct Params(Pairs);

/// A bad parameter: what is wrong, and with which.
#[derive(Debug, PartialEq, Eq)]
pub struct BadParam {
    error: String,
    name: &'static str,
}

impl BadParam {
    /// A parameter and what is wrong with it.
    pub fn new(name: &'static str, error: impl Into<String>) -> Self {
        Self { error: error.into(), name }
    }
}

impl From<BadParam> for Response {
    fn from(bad: BadParam) -> Self {
        reply::data_error(StatusCode::BAD_REQUEST, "invalid_request", &bad.error, Some(bad.name))
    }
}

impl Params {
    /// The parameters of a query.
    pub const fn new(pairs: Pairs) -> Self {
        Self(pairs)
    }

    /// The last value of a name; empty ones count as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// A value read as `T`.
    pub fn read<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, BadParam> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(BadParam::new(name, format!("invalid {name}"))),
            },
        }
    }

    /// A number within a range.
    pub fn number(&self, name: &'static str, default: usize, most: usize) -> Result<usize, BadParam> {
        match self.read::<usize>(name)? {
            None => Ok(default),
            Some(n) if n <= most => Ok(n),
            Some(_) => Err(BadParam::new(name, format!("{name} must be between 0 and {most}"))),
        }
    }

    /// A decimal amount in 10^-6.
    pub fn micro(&self, name: &'static str) -> Result<Option<i64>, BadParam> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => match parse_micro(text, Round::Up) {
                Ok(value) if value >= 0 => Ok(Some(value)),
                _ => Err(BadParam::new(name, format!("invalid {name}"))),
            },
        }
    }

    /// Values of a list: commas, or the name repeated.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let values = self.0.iter().filter(|(n, _)| n == name);
        values.flat_map(|(_, v)| v.split(',')).map(str::trim).filter(|v| !v.is_empty()).collect()
    }

    /// Condition ids, at most so many.
    pub fn conditions(&self, name: &'static str, most: usize) -> Result<Option<Vec<ConditionId>>, BadParam> {
        let list = self.list(name);
        if list.is_empty() {
            return Ok(None);
        }
        if list.len() > most {
            return Err(BadParam::new(name, format!("at most {most} values of {name}")));
        }
        let ids = list.into_iter().map(ConditionId::parse_padded).collect::<Result<_, _>>();
        ids.map(Some).map_err(|_| BadParam::new(name, format!("invalid {name}")))
    }

    /// The one wallet asked for. A list of wallets names nobody (`venue.md` 1.2).
    pub fn user(&self) -> Result<Option<User>, BadParam> {
        match self.get("user") {
            None => Ok(None),
            Some(list) if list.contains(',') => Ok(Some(User::Nobody)),
            Some(text) => match text.to_ascii_lowercase().parse() {
                Ok(address) => Ok(Some(User::One(address))),
                Err(_) => Err(BadParam::new("user", "invalid user address")),
            },
        }
    }

    /// Pages go by cursor only.
    pub fn refuse_offset(&self) -> Result<(), BadParam> {
        match self.get("offset") {
            None => Ok(()),
            Some(_) => Err(BadParam::new("offset", "offset is not supported, use cursor")),
        }
    }

    /// The cursor, if the walk goes on.
    pub fn cursor(&self) -> Result<Option<Cursor>, BadParam> {
        self.get("cursor")
            .map(|text| Cursor::read(text).ok_or_else(|| BadParam::new("cursor", "invalid cursor")))
            .transpose()
    }
}

/// Whom a request asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// This wallet.
    One(Address),
    /// No wallet at all.
    Nobody,
}

/// Where a walk goes on: the page size and the last row's place, nothing else. Filters are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The page size.
    pub l: usize,
    /// The last row's second.
    pub t: i64,
    /// The last row's sequence.
    pub s: u64,
}

impl Cursor {
    /// Behind this row.
    pub const fn behind(limit: usize, place: Place) -> Self {
        Self { l: limit, t: place.second, s: place.sequence }
    }

    /// The row it stands behind.
    pub const fn place(self) -> Place {
        Place { second: self.t, sequence: self.s }
    }

    /// As text that says nothing to its reader.
    pub fn write(self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}.{}.{}", self.l, self.t, self.s))
    }

    fn read(text: &str) -> Option<Self> {
        let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = plain.split('.');
        let cursor = Self {
            l: parts.next()?.parse().ok()?,
            t: parts.next()?.parse().ok()?,
            s: parts.next()?.parse().ok()?,
        };
        (parts.next().is_none() && cursor.l <= 1_000).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_was_written_and_garbage_is_refused() {
        let cursor = Cursor { l: 50, t: 1_790_000_000, s: 77 };
        assert_eq!(Cursor::read(&cursor.write()), Some(cursor));
        for bad in ["", "abc", "!!", &URL_SAFE_NO_PAD.encode("1.2"), &URL_SAFE_NO_PAD.encode("5000.1.1")] {
            assert_eq!(Cursor::read(bad), None, "{bad}");
        }
    }
}
