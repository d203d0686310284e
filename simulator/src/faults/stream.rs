//! Faults of the user stream, by count and by seed.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::dice::draw_of;

/// What happens to an event of the user stream, or to its connection when the event comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mishap {
    /// The connection is cut, without a word; the event is lost.
    Cut,
    /// The connection is closed with code 1013; the event is lost.
    Close,
    /// From this event on nothing is sent for so many milliseconds, not even `PONG`: all of it is lost, and the
    /// connection stays.
    Silent(u32),
    /// The event is lost.
    Lose,
    /// It is sent twice.
    Duplicate,
    /// It changes places with the next one.
    Swap,
    /// It comes so many milliseconds late; others pass it.
    Late(u32),
}

/// A mishap on demand. Several stand in line: each event takes the first that is for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamFault {
    /// Only events of this API key.
    #[serde(default)]
    pub owner: Option<String>,
    /// So many events pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// How many events it is for.
    #[serde(default = "one")]
    pub count: u32,
    /// What happens.
    pub mishap: Mishap,
}

const fn one() -> u32 {
    1
}

impl StreamFault {
    /// The next event of anybody.
    pub const fn next(mishap: Mishap) -> Self {
        Self { owner: None, skip: 0, count: 1, mishap }
    }

    /// For so many events.
    pub const fn times(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// After so many events that pass unharmed.
    pub const fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }
}

/// Mishaps by seed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamWeather {
    /// Everything follows from it, and from the events.
    pub seed: u64,
    /// In how many of a million events each mishap comes.
    pub per_million: Vec<(u32, Mishap)>,
}

/// What events meet.
#[derive(Debug, Default)]
pub struct StreamFaults {
    waiting: VecDeque<StreamFault>,
    weather: StreamWeather,
}

impl StreamFaults {
    /// Adds one at the end.
    pub fn add(&mut self, fault: StreamFault) {
        if fault.count > 0 {
            self.waiting.push_back(fault);
        }
    }

    /// Changes the weather.
    pub fn set_weather(&mut self, weather: StreamWeather) {
        self.weather = weather;
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What happens to the n-th event of the venue on this connection.
    pub fn meet(&mut self, owner: &str, connection: u64, event: u64) -> Option<Mishap> {
        if let Some(at) = self.waiting.iter().position(|f| f.owner.as_deref().is_none_or(|o| o == owner)) {
            let fault = self.waiting.get_mut(at)?;
            if fault.skip > 0 {
                fault.skip -= 1;
            } else {
                fault.count -= 1;
                let mishap = fault.mishap;
                if fault.count == 0 {
                    self.waiting.remove(at);
                }
                return Some(mishap);
            }
        }
        if self.weather.per_million.is_empty() {
            return None;
        }
        let seed = self.weather.seed.to_be_bytes();
        let of = [&b"stream"[..], &seed, &connection.to_be_bytes(), &event.to_be_bytes()];
        let mut left = draw_of(&of, 1_000_000);
        for (weight, mishap) in &self.weather.per_million {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return Some(*mishap),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mishaps_stand_in_line_and_a_seed_brings_the_same_again() {
        let mut faults = StreamFaults::default();
        faults.add(StreamFault::next(Mishap::Duplicate).after(1).times(2));
        faults.add(StreamFault { owner: Some("b".to_owned()), ..StreamFault::next(Mishap::Lose) });
        let met: Vec<_> = (0..5).map(|n| faults.meet("a", 1, n)).collect();
        assert_eq!(met, [None, Some(Mishap::Duplicate), Some(Mishap::Duplicate), None, None]);
        assert_eq!((faults.meet("b", 1, 5), faults.meet("b", 1, 6)), (Some(Mishap::Lose), None));

        let run = |seed| {
            let mut faults = StreamFaults::default();
            faults.set_weather(StreamWeather { seed, per_million: vec![(100_000, Mishap::Swap)] });
            (0..2_000).map(|n| faults.meet("a", 1, n)).collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
        let swaps = run(3).into_iter().flatten().count();
        assert!(swaps.abs_diff(200) < 54, "{swaps}");
    }
}
