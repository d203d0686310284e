//! What really became of orders, as a weather: a recording of orders' lives says how often each error came, and
//! a seed brings them back as often.
//!
//! The recording is a CSV with a header, plain, gzip or zstd. Of each row `rejection_reason` counts: empty for an order
//! that was taken, `HTTP 400: {'error': '…'}` for the venue's words, else what the client met instead of an answer.

use std::{collections::BTreeMap, io, path::Path};

use crate::{
    faults::{
        Answer, Fault,
        weather::{Spell, Weather},
    },
    tape::unpack::unpack,
};

/// What a client met when it posted an order, besides an answer that took it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Met {
    /// The venue's words, with their status.
    Words(u16, String),
    /// No answer in time: it may have landed.
    Timeout,
    /// The connection broke after the request was sent: it may have landed.
    Broken,
    /// No connection: it did not land.
    Unreached,
}

/// How often each was met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// Orders in the recording.
    pub orders: u32,
    /// What was met, with how often. Words that differ only in long numbers are one, written as the first of them.
    pub met: BTreeMap<Met, u32>,
}

/// Longer runs of digits name something, and do not say anything.
const NUMBER: usize = 20;

/// How long a client waits for an answer that does not come.
const TIMEOUT_MILLIS: u32 = 10_000;

impl Met {
    /// Reads a reason; `None` for an order that was taken.
    fn read(reason: &str) -> Option<Self> {
        let reason = reason.trim();
        if let Some(rest) = reason.strip_prefix("HTTP ") {
            let (status, body) = rest.split_once(':')?;
            let words = body.split_once("'error': ")?.1.trim().trim_end_matches('}').trim();
            let quoted = words.trim_matches(|c| c == '\'' || c == '"');
            return Some(Self::Words(status.trim().parse().ok()?, quoted.to_owned()));
        }
        match reason.split(':').next().unwrap_or_default() {
            "ReadTimeout" | "WriteTimeout" => Some(Self::Timeout),
            "ConnectTimeout" | "ConnectError" => Some(Self::Unreached),
            "ReadError" | "WriteError" | "RemoteProtocolError" => Some(Self::Broken),
            _ => None,
        }
    }

    /// The same for all that differ only in what they name.
    fn kind(&self) -> Self {
        let Self::Words(status, words) = self else { return self.clone() };
        let plain: Vec<&str> = words
            .split(' ')
            .map(|w| if w.len() >= NUMBER && w.bytes().all(|b| b.is_ascii_digit()) { "#" } else { w })
            .collect();
        Self::Words(*status, plain.join(" "))
    }

    /// Whether nobody knows if the order landed.
    pub fn is_unclear(&self) -> bool {
        match self {
            Self::Words(status, words) => *status >= 500 || words.contains("context canceled"),
            Self::Timeout | Self::Broken => true,
            Self::Unreached => false,
        }
    }

    fn fault(&self, lands: bool) -> Fault {
        match self {
            Self::Words(status, error) => Fault { execute: lands, ..Fault::says(*status, error) },
            Self::Timeout => Fault {
                execute: lands,
                delay_millis: TIMEOUT_MILLIS,
                answer: Answer::Drop,
                ..Fault::default()
            },
            Self::Broken | Self::Unreached => Fault { execute: lands, ..Fault::dropped() },
        }
    }
}

impl Outcomes {
    /// Reads a recording.
    ///
    /// # Errors
    /// A file that cannot be read, or has no column of that name.
    pub fn load(path: &Path) -> io::Result<Self> {
        let unpacked = unpack(&std::fs::read(path)?);
        if let Some(error) = unpacked.cut_off {
            return Err(error);
        }
        let none = || io::Error::new(io::ErrorKind::InvalidData, "there is no column `rejection_reason`");
        Self::read(&String::from_utf8_lossy(&unpacked.bytes)).ok_or_else(none)
    }

    /// Reads the text of a recording; `None` without a column `rejection_reason`. Rows that are no rows are passed over.
    pub fn read(text: &str) -> Option<Self> {
        let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
        let column = rows.headers().ok()?.iter().position(|name| name == "rejection_reason")?;
        let mut found = Self::default();
        let mut kinds: BTreeMap<Met, Met> = BTreeMap::new();
        for row in rows.records().flatten() {
            let Some(reason) = row.get(column) else { continue };
            found.orders += 1;
            if let Some(met) = Met::read(reason) {
                let first = kinds.entry(met.kind()).or_insert(met).clone();
                *found.met.entry(first).or_default() += 1;
            }
        }
        Some(found)
    }

    /// As a weather of posted orders. Of those of which nobody knows, every second one lands.
    pub fn weather(&self, seed: u64) -> Weather {
        let mut spells = Vec::new();
        for (met, n) in &self.met {
            let lands = if met.is_unclear() { n / 2 } else { 0 };
            for (weight, lands) in [(n - lands, false), (lands, true)] {
                if weight > 0 {
                    spells.push(Spell { weight, fault: met.fault(lands) });
                }
            }
        }
        Weather { seed, of: self.orders, spells }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "\
order_id,side,final_status,rejection_reason
1,BUY,FILLED,
2,BUY,REJECTED,HTTP 400: {'error': 'not enough balance / allowance'}
3,BUY,REJECTED,HTTP 400: {'error': 'the orderbook 123456789012345678901234567890 does not exist'}
4,BUY,REJECTED,HTTP 400: {'error': 'the orderbook 999999999999999999999999999999 does not exist'}
5,BUY,REJECTED,HTTP 500: {'error': 'could not insert order'}
6,BUY,REJECTED,HTTP 500: {'error': 'could not insert order'}
7,BUY,REJECTED,HTTP 500: {'error': 'could not insert order'}
8,BUY,REJECTED,ReadTimeout: The read operation timed out
9,BUY,REJECTED,\"ConnectTimeout: no, nothing\"
10,BUY,CANCELLED,reconciled via REST (CANCELED)
";

    #[test]
    fn a_recording_is_counted_by_what_was_met() {
        let found = Outcomes::read(ROWS).unwrap();
        assert_eq!(found.orders, 10);
        let words = |status, text: &str| Met::Words(status, text.to_owned());
        let expected = [
            (words(400, "not enough balance / allowance"), 1),
            (words(400, "the orderbook 123456789012345678901234567890 does not exist"), 2),
            (words(500, "could not insert order"), 3),
            (Met::Timeout, 1),
            (Met::Unreached, 1),
        ];
        assert_eq!(found.met, expected.into());
        assert_eq!(Outcomes::read("a,b\n1,2\n"), None);
    }

    #[test]
    fn of_what_nobody_knows_every_second_one_lands() {
        let weather = Outcomes::read(ROWS).unwrap().weather(9);
        assert_eq!((weather.seed, weather.of), (9, 10));
        let lands: u32 = weather.spells.iter().filter(|s| s.fault.execute).map(|s| s.weight).sum();
        let all: u32 = weather.spells.iter().map(|s| s.weight).sum();
        assert_eq!((lands, all), (1, 8), "one of three inserts that failed");
    }
}
