//! When the venue trades, and when it does not (`venue.md` 5.5, 7): restarts with their post-only minutes,
//! cancel-only, trading disabled.

use std::{collections::BTreeMap, time::Duration};

use schemas::Timestamp;
use serde::{Deserialize, Serialize};

/// What the order routes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Everything.
    #[default]
    Open,
    /// Nothing: 425.
    Restarting,
    /// Cancels, and orders that are posted as post-only; 503 for all others.
    PostOnly,
    /// Cancels; 503 for orders.
    CancelOnly,
    /// Nothing: 503.
    Disabled,
}

/// What of an order route is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// To place, post-only or not.
    Place {
        /// Whether every order of it is post-only.
        post_only: bool,
    },
    /// To cancel.
    Cancel,
}

/// Why not now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotNow {
    /// The HTTP status.
    pub status: u16,
    /// The venue's words.
    pub error: &'static str,
    /// The venue's code.
    pub code: Option<&'static str>,
    /// How long the mode lasts still, in whole seconds, where that is known.
    pub retry_after: Option<u32>,
}

/// The modes to come, by when they begin. Before the first the venue is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calendar(BTreeMap<Timestamp, Mode>);

impl Calendar {
    /// From a time on, until something else is set. What was set for later is forgotten.
    pub fn set(&mut self, from: Timestamp, mode: Mode) {
        self.0.retain(|at, _| *at < from);
        self.0.insert(from, mode);
    }

    /// For some time, then open again. What was set for later is forgotten.
    pub fn set_for(&mut self, from: Timestamp, mode: Mode, time: Duration) {
        self.set(from, mode);
        self.set(from.plus(time), Mode::Open);
    }

    /// A restart of the matching engine: nothing for a time, then post-only for another.
    pub fn restart(&mut self, from: Timestamp, down: Duration, post_only: Duration) {
        self.set(from, Mode::Restarting);
        self.set_for(from.plus(down), Mode::PostOnly, post_only);
    }

    /// The mode at a time, and when the next begins.
    pub fn at(&self, now: Timestamp) -> (Mode, Option<Timestamp>) {
        let mode = self.0.range(..=now).next_back().map_or(Mode::Open, |(_, mode)| *mode);
        (mode, self.0.range(now..).find(|(at, _)| **at > now).map(|(at, _)| *at))
    }

    /// Whether a request may pass.
    ///
    /// # Errors
    /// What it is answered instead.
    pub fn admits(&self, now: Timestamp, asks: Asks) -> Result<(), NotNow> {
        let (mode, until) = self.at(now);
        let (status, error, code) = match (mode, asks) {
            (Mode::Open, _)
            | (Mode::PostOnly, Asks::Cancel | Asks::Place { post_only: true })
            | (Mode::CancelOnly, Asks::Cancel) => return Ok(()),
            (Mode::Restarting, _) => (425, "service not ready", None),
            (Mode::PostOnly, Asks::Place { .. }) => (
                503,
                "Trading is currently post-only. Only post-only orders are accepted",
                Some("post_only_mode"),
            ),
            (Mode::CancelOnly, Asks::Place { .. }) => (
                503,
                "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed.",
                None,
            ),
            (Mode::Disabled, _) => {
                (503, "Trading is currently disabled. Check polymarket.com for updates", None)
            }
        };
        // The engine does not say how long its restart takes.
        let left = until.filter(|_| mode != Mode::Restarting).map(|until| {
            let micros = until.micros() - now.micros();
            u32::try_from((micros + 999_999) / 1_000_000).unwrap_or(u32::MAX)
        });
        Err(NotNow { status, error, code, retry_after: left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Asks = Asks::Place { post_only: false };
    const POST_ONLY: Asks = Asks::Place { post_only: true };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_restart_refuses_everything_then_takes_post_only_orders_then_all() {
        let mut calendar = Calendar::default();
        calendar.restart(at(100), Duration::from_secs(30), Duration::from_secs(120));
        let status = |secs, asks| calendar.admits(at(secs), asks).map_err(|no| (no.status, no.retry_after));
        assert_eq!(status(99, PLACE), Ok(()));
        for asks in [PLACE, POST_ONLY, Asks::Cancel] {
            assert_eq!(status(100, asks), Err((425, None)));
            assert_eq!(status(129, asks), Err((425, None)));
        }
        assert_eq!(status(130, PLACE), Err((503, Some(120))));
        assert_eq!((status(130, POST_ONLY), status(130, Asks::Cancel)), (Ok(()), Ok(())));
        assert_eq!(status(249, PLACE), Err((503, Some(1))));
        assert_eq!(status(250, PLACE), Ok(()));
    }

    #[test]
    fn each_mode_lets_through_what_its_name_says() {
        for (mode, place, cancel) in [
            (Mode::Open, true, true),
            (Mode::Restarting, false, false),
            (Mode::PostOnly, false, true),
            (Mode::CancelOnly, false, true),
            (Mode::Disabled, false, false),
        ] {
            let mut calendar = Calendar::default();
            calendar.set(at(5), mode);
            let passes = |asks| calendar.admits(at(5), asks).is_ok();
            assert_eq!((passes(PLACE), passes(Asks::Cancel)), (place, cancel), "{mode:?}");
            assert_eq!(passes(POST_ONLY), matches!(mode, Mode::Open | Mode::PostOnly));
        }
    }
}
