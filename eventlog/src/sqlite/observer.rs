//! Whether the other members of a group live.
//!
//! A member's row carries a counter that grows while it lives. Each member watches the counters of the others by
//! its own monotonic clock: one that stood still for its session is over. So no two processes need agree
//! on a time, and nothing happens when the wall clock steps; and a watcher that was itself stopped for a while
//! begins to watch anew, rather than to bury those who were stopped with it.

use std::{collections::BTreeMap, time::Duration};

use rusqlite::Connection;

use super::{alive::Lives, error::SqlError};
use crate::group::MemberId;

/// A member as its row says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    id: MemberId,
    beat: i64,
    session: Duration,
    /// Its process has certainly ended.
    dead: bool,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    beat: i64,
    /// When that beat was first seen.
    since: Duration,
}

/// What a member knows of the others.
#[derive(Debug, Default)]
pub(super) struct Observer {
    looked: Option<Duration>,
    others: BTreeMap<MemberId, Watched>,
}

/// All members of a group.
pub(super) fn look(connection: &Connection, group: &str, lives: &Lives) -> Result<Vec<Sight>, SqlError> {
    let mut select =
        connection.prepare_cached("SELECT id, beat, session_ms, handle FROM members WHERE name = ?1")?;
    let rows = select.query_map([group], |r| {
        let session = Duration::from_millis(u64::try_from(r.get::<_, i64>(2)?).unwrap_or(0));
        Ok(Sight { id: r.get(0)?, beat: r.get(1)?, session, dead: lives.is_dead(r.get(3)?) })
    })?;
    rows.collect()
}

impl Observer {
    pub(super) fn is_due(&self, now: Duration, pulse: Duration) -> bool {
        now >= self.next_due(pulse)
    }

    /// When to look again.
    pub(super) fn next_due(&self, pulse: Duration) -> Duration {
        self.looked.map_or(Duration::ZERO, |at| at.saturating_add(pulse))
    }

    /// Takes in what was seen, and says whose session is over, with the beat each was last seen at.
    pub(super) fn take_in(
        &mut self,
        now: Duration,
        pulse: Duration,
        own: Option<MemberId>,
        seen: &[Sight],
    ) -> Vec<(MemberId, i64)> {
        // Longer than its own session: whoever stopped it may have stopped the others too.
        let stood_still_itself =
            self.looked.is_some_and(|at| now.saturating_sub(at) > pulse.saturating_mul(4));
        if stood_still_itself {
            self.others.clear();
        }
        self.looked = Some(now);
        self.others.retain(|id, _| seen.iter().any(|s| s.id == *id));
        let mut silent = Vec::new();
        for s in seen.iter().filter(|s| Some(s.id) != own) {
            let watched = self.others.entry(s.id).or_insert(Watched { beat: s.beat, since: now });
            if watched.beat != s.beat {
                *watched = Watched { beat: s.beat, since: now };
            }
            // A beat may be left out for a quarter of the session, since a poll that is not due says none.
            let patience = s.session + s.session / 4;
            if s.dead || now.saturating_sub(watched.since) > patience {
                silent.push((s.id, s.beat));
            }
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(1);
    const PULSE: Duration = Duration::from_millis(250);

    fn sight(id: MemberId, beat: i64) -> Sight {
        Sight { id, beat, session: SESSION, dead: false }
    }

    /// Looks every quarter of a second at a member whose beats are those, and says when it was given up.
    fn given_up(beats: impl Fn(u64) -> i64, looks: impl Iterator<Item = u64>) -> Option<u64> {
        let mut observer = Observer::default();
        for ms in looks {
            let now = Duration::from_millis(ms);
            assert!(observer.is_due(now, PULSE));
            let silent = observer.take_in(now, PULSE, Some(1), &[sight(1, 0), sight(2, beats(ms))]);
            assert!(silent.iter().all(|(id, _)| *id == 2), "never itself");
            if let Some((_, beat)) = silent.first() {
                assert_eq!(*beat, beats(ms), "at the beat it was last seen at");
                return Some(ms);
            }
        }
        None
    }

    #[test]
    fn a_member_that_beats_lives() {
        let quarters = (0..100).map(|n| n * 250);
        assert_eq!(given_up(|ms| i64::try_from(ms / 1_100).unwrap(), quarters), None);
    }

    #[test]
    fn a_member_that_stands_still_is_given_up_after_its_session() {
        let quarters = (0..100).map(|n| n * 250);
        assert_eq!(given_up(|_| 7, quarters), Some(1_500));
    }

    /// It looks whenever it is polled, which need not be often.
    #[test]
    fn a_watcher_that_is_polled_rarely_still_gives_up_the_silent() {
        let looks = (0..100).map(|n| n * 900);
        assert_eq!(given_up(|_| 7, looks.clone()), Some(1_800));
        assert_eq!(given_up(|ms| i64::try_from(ms / 900).unwrap(), looks), None);
    }

    /// Both were stopped for an hour: the watcher begins anew.
    #[test]
    fn a_watcher_that_was_stopped_itself_begins_anew() {
        let looks = [0, 250, 500, 3_600_000, 3_600_250, 3_600_500, 3_600_750];
        assert_eq!(given_up(|_| 7, looks.into_iter()), None);
    }

    #[test]
    fn a_dead_process_is_given_up_at_once() {
        let mut observer = Observer::default();
        let seen = [sight(1, 0), sight(2, 5), Sight { dead: true, ..sight(3, 6) }];
        let silent = observer.take_in(Duration::ZERO, PULSE, Some(1), &seen);
        assert_eq!(silent, [(3, 6)]);
    }
}
