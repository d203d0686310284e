//! Dead letters that fit into the log, whatever the record was that could not be read.
//!
//! A letter holds the record's key and value and says more. Where a record is about as large as the log takes, its letter
//! would be refused, for ever, and stop the reader that nothing shall stop. So what does not fit is left out, and the
//! letter says so: the record itself stands where the letter names it.

use schemas::events::DeadLetter;

/// The longest value that a letter holds, in bytes: what else stands in it has a MiB.
pub const LONGEST_VALUE: usize = 7 << 20;
/// The longest key, in bytes. It is the key of the letter's record as well.
pub const LONGEST_KEY: usize = 64 << 10;
/// The longest reason, in bytes: what a reader says of a record may quote it.
pub const LONGEST_REASON: usize = 4 << 10;

/// The letter without what does not fit into the log.
#[must_use]
pub fn fit(mut letter: DeadLetter) -> DeadLetter {
    if letter.reason.len() > LONGEST_REASON {
        let whole = (0..=LONGEST_REASON).rev().find(|at| letter.reason.is_char_boundary(*at));
        letter.reason.truncate(whole.unwrap_or(0));
        letter.reason.push('…');
    }
    for (name, part, longest) in
        [("key", &mut letter.key, LONGEST_KEY), ("value", &mut letter.value, LONGEST_VALUE)]
    {
        if let Some(bytes) = part.take_if(|bytes| bytes.len() > longest) {
            letter.reason = format!("{} ({name} left out: {} bytes)", letter.reason, bytes.len());
        }
    }
    letter
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use schemas::Timestamp;

    use super::*;

    fn letter(reason: &str, key: usize, value: usize) -> DeadLetter {
        DeadLetter {
            topic: "fills".into(),
            partition: 0,
            offset: 7,
            reader: "decide".into(),
            code: "record_not_framed".into(),
            reason: reason.into(),
            key: Some(Bytes::from(vec![b'k'; key])),
            value: Some(Bytes::from(vec![1; value])),
            observed_at: Timestamp::from_secs(1),
        }
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let largest = letter("why", LONGEST_KEY, LONGEST_VALUE);
        assert_eq!(fit(largest.clone()), largest);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_named() {
        let fitted = fit(letter("why", LONGEST_KEY + 1, LONGEST_VALUE + 1));
        assert_eq!((fitted.key, fitted.value), (None, None));
        assert_eq!(fitted.reason, "why (key left out: 65537 bytes) (value left out: 7340033 bytes)");
        let fitted = fit(letter("why", 1, LONGEST_VALUE + 1));
        assert_eq!(fitted.key.as_deref(), Some(&b"k"[..]));
        // Cut between two characters, each of three bytes.
        let fitted = fit(letter(&"€".repeat(LONGEST_REASON), 1, 1));
        assert_eq!(fitted.reason.len(), LONGEST_REASON / 3 * 3 + "…".len());
    }
}
