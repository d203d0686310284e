//! Pages of a list: how many at once, and where the next begins.
//!
//! A cursor is the place of the last row, with a hash over whose list it is of, and under which filters: one that
//! was given for another is refused, since it would leave rows out unseen. It is no secret and grants nothing: what
//! a forged one can name is a place among the caller's own rows.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use schemas::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::super::problem::RequestError;
use crate::Tenant;

/// Rows of a page where no number is asked for.
const USUAL: u16 = 50;
/// The most rows of a page.
const MOST: u16 = 500;

/// A list that a cursor is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<'l> {
    /// Whose.
    pub(super) tenant: Tenant,
    /// Which.
    pub(super) name: &'static str,
    /// The filters, as text: the same filters give the same.
    pub(super) filters: &'l str,
}

impl List<'_> {
    fn hash(&self, place: &str) -> [u8; 8] {
        let account = self.tenant.account.as_uuid();
        let mut hasher = Sha256::new();
        for part in [account.as_bytes(), self.name.as_bytes(), self.filters.as_bytes(), place.as_bytes()] {
            hasher.update(part.len().to_be_bytes());
            hasher.update(part);
        }
        let hash: [u8; 32] = hasher.finalize().into();
        hash.first_chunk().copied().unwrap_or_default()
    }

    /// The cursor of a place.
    pub(super) fn cursor(&self, place: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode([self.hash(place).as_slice(), place.as_bytes()].concat())
    }

    /// The place of a cursor.
    pub(super) fn place(&self, cursor: &str) -> Result<String, RequestError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| RequestError::Cursor)?;
        let (hash, place) = bytes.split_first_chunk::<8>().ok_or(RequestError::Cursor)?;
        let place = std::str::from_utf8(place).map_err(|_| RequestError::Cursor)?;
        if self.hash(place) == *hash { Ok(place.to_owned()) } else { Err(RequestError::Cursor) }
    }
}

/// How many rows are asked for.
pub(super) fn limit(asked: Option<u16>) -> Result<usize, RequestError> {
    match asked.unwrap_or(USUAL) {
        limit @ 1..=MOST => Ok(usize::from(limit)),
        other => Err(RequestError::Query(format!("limit: {other} is not between 1 and {MOST}"))),
    }
}

/// How many rows are read for a page of so many: one more shows whether there is a next.
pub(super) fn to_read(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// Leaves the rows of the page, and says where the next one begins, if there is one.
pub(super) fn cut<T>(rows: &mut Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> String) -> Option<String> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    rows.last().filter(|_| more).map(cursor)
}

/// The filters as text.
pub(super) fn filters(filters: &impl Serialize) -> String {
    serde_json::to_string(filters).unwrap_or_default()
}

/// The parts of a place, which blanks separate.
pub(super) fn parts<const N: usize>(place: &str) -> Result<[&str; N], RequestError> {
    let parts: Vec<&str> = place.split(' ').collect();
    parts.try_into().map_err(|_| RequestError::Cursor)
}

/// A part of a place.
pub(super) fn part<T: std::str::FromStr>(text: &str) -> Result<T, RequestError> {
    text.parse().map_err(|_| RequestError::Cursor)
}

/// The end of the year 9999, in microseconds.
const LAST: i64 = 253_402_300_799_999_999;

/// A time of a place. Whoever forged one is not let at what the database cannot keep.
pub(super) fn time(text: &str) -> Result<Timestamp, RequestError> {
    let micros = part::<i64>(text)?;
    if (0..=LAST).contains(&micros) { Ok(Timestamp::from_micros(micros)) } else { Err(RequestError::Cursor) }
}

#[cfg(test)]
mod tests {
    use schemas::{BillingAccountId, UserId};
    use uuid::Uuid;

    use super::*;

    fn list(account: u128, name: &'static str, filters: &'static str) -> List<'static> {
        let tenant = Tenant {
            user: UserId::from_uuid(Uuid::nil()),
            account: BillingAccountId::from_uuid(Uuid::from_u128(account)),
        };
        List { tenant, name, filters }
    }

    #[test]
    fn a_cursor_is_of_one_list_of_one_tenant_under_one_set_of_filters() {
        let own = list(1, "orders", "{}");
        let cursor = own.cursor("5 x");
        assert_eq!(own.place(&cursor).unwrap(), "5 x");
        for other in
            [list(2, "orders", "{}"), list(1, "decisions", "{}"), list(1, "orders", r#"{"side":"BUY"}"#)]
        {
            assert_eq!(other.place(&cursor), Err(RequestError::Cursor));
        }
        for broken in ["", "x", "AAAA", &cursor[1..], &format!("{cursor}A"), "////", "\u{e9}"] {
            assert_eq!(own.place(broken), Err(RequestError::Cursor), "{broken}");
        }
    }

    #[test]
    fn a_page_says_whether_there_is_a_next() {
        let mut rows = vec![1, 2, 3];
        assert_eq!(cut(&mut rows, 2, ToString::to_string), Some("2".to_owned()));
        assert_eq!((rows.clone(), cut(&mut rows, 2, ToString::to_string)), (vec![1, 2], None));
        assert!(limit(Some(0)).is_err() && limit(Some(501)).is_err());
        assert_eq!((limit(None).unwrap(), to_read(500)), (50, 501));
    }
}
