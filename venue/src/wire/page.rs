//! Pages: the Data API's cursors, the CLOB's listings, and rows read one by one.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::text::or_default;

/// A page of the Data API v2 (`venue.md` 1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows, newest first.
    pub data: Vec<T>,
    /// Where the walk goes on.
    #[serde(default)]
    pub pagination: Pagination,
}

/// Where a walk stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pagination {
    /// Rows asked for.
    #[serde(default, deserialize_with = "or_default")]
    pub limit: u32,
    /// Always zero with cursors.
    #[serde(default, deserialize_with = "or_default")]
    pub offset: u32,
    /// Whether there is a next page.
    #[serde(default, deserialize_with = "or_default")]
    pub has_more: bool,
    /// The opaque cursor of the next page. Filters must be sent again with it: it carries the page size and
    /// the anchor only.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

impl Pagination {
    /// The next page's cursor, where there is a next page.
    pub fn next(&self) -> Option<&str> {
        self.next_cursor.as_deref().filter(|c| self.has_more && !c.is_empty())
    }
}

/// A page whose rows were read one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<T> {
    /// The rows that could be read, in the page's order.
    pub rows: Vec<T>,
    /// The others. They are to be reported (`dead-letters`), and never stop a walk.
    pub unreadable: Vec<UnreadableRow>,
    /// Where the walk goes on.
    pub pagination: Pagination,
}

/// A row that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// Its place in the page, from zero.
    pub index: usize,
    /// Its JSON as it came.
    pub json: String,
    /// What is wrong with it.
    pub why: String,
}

/// Reads rows one by one.
pub(crate) fn read_rows<T: DeserializeOwned>(data: &[Box<RawValue>]) -> (Vec<T>, Vec<UnreadableRow>) {
    let (mut rows, mut unreadable) = (Vec::with_capacity(data.len()), Vec::new());
    for (index, raw) in data.iter().enumerate() {
        match serde_json::from_str(raw.get()) {
            Ok(row) => rows.push(row),
            Err(e) => {
                unreadable.push(UnreadableRow { index, json: raw.get().to_owned(), why: e.to_string() });
            }
        }
    }
    (rows, unreadable)
}

impl<T: DeserializeOwned> Rows<T> {
    /// Reads a page of the Data API v2.
    ///
    /// # Errors
    /// A body that is no page at all.
    pub fn read(body: &[u8]) -> serde_json::Result<Self> {
        let page: Page<Box<RawValue>> = serde_json::from_slice(body)?;
        let (rows, unreadable) = read_rows(&page.data);
        Ok(Self { rows, unreadable, pagination: page.pagination })
    }

    /// Reads a bare array of rows: the Data API v1, and recorded tapes.
    ///
    /// # Errors
    /// A body that is no array.
    pub fn read_array(body: &[u8]) -> serde_json::Result<Self> {
        let data: Vec<Box<RawValue>> = serde_json::from_slice(body)?;
        let (rows, unreadable) = read_rows(&data);
        Ok(Self { rows, unreadable, pagination: Pagination::default() })
    }
}

/// A page of the CLOB's private listings (`venue.md` 6): cursors run from `MA==` to `LTE=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<T> {
    /// Rows asked for.
    #[serde(default, deserialize_with = "or_default")]
    pub limit: u32,
    /// Rows given.
    #[serde(default, deserialize_with = "or_default")]
    pub count: u32,
    /// The next page's cursor; [`Listing::END`] after the last.
    #[serde(default, deserialize_with = "or_default")]
    pub next_cursor: String,
    /// The rows.
    pub data: Vec<T>,
}

impl<T> Listing<T> {
    /// The cursor of the first page.
    pub const START: &'static str = "MA==";
    /// The cursor after the last page.
    pub const END: &'static str = "LTE=";

    /// One page with everything in it.
    pub fn whole(data: Vec<T>) -> Self {
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        Self { limit: count, count, next_cursor: Self::END.to_owned(), data }
    }

    /// The next page's cursor, where there is a next page.
    pub fn next(&self) -> Option<&str> {
        Some(self.next_cursor.as_str()).filter(|c| !c.is_empty() && *c != Self::END)
    }
}

impl<T: DeserializeOwned> Listing<T> {
    /// Reads a listing, or a bare array, which older answers are.
    ///
    /// # Errors
    /// Neither, or a row that cannot be read: private rows are our own orders and trades, and an answer that
    /// hides one of them must not pass for an answer.
    pub fn read(body: &[u8]) -> serde_json::Result<Self> {
        if body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
            return serde_json::from_slice(body).map(Self::whole);
        }
        serde_json::from_slice(body)
    }
}
