//! A clock that runs faster than the machine's: what waits for minutes at the venue (a GTD order lives four of them at
//! the least) is over in seconds, while every request still goes over a real socket and every commit to a real disk.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use runtime::{Clock, SystemClock};
use schemas::Timestamp;
use tokio::sync::Notify;

/// Time at a pace. Clones share it. It begins at the machine's time and pace.
#[derive(Debug, Clone)]
pub struct Pace {
    machine: Arc<dyn Clock>,
    start: Timestamp,
    leg: Arc<Mutex<Leg>>,
    changed: Arc<Notify>,
}

/// Since when it has been how fast.
#[derive(Debug, Clone, Copy)]
struct Leg {
    /// By the machine's monotonic clock.
    since: Duration,
    /// How much had passed by then.
    passed: Duration,
    times: u32,
}

impl Default for Pace {
    fn default() -> Self {
        let machine = SystemClock::shared();
        let leg = Leg { since: machine.monotonic(), passed: Duration::ZERO, times: 1 };
        let start = machine.now();
        Self { machine, start, leg: Arc::new(Mutex::new(leg)), changed: Arc::default() }
    }
}

impl Pace {
    fn leg(&self) -> Leg {
        *self.leg.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passed(&self) -> Duration {
        let leg = self.leg();
        leg.passed + self.machine.monotonic().saturating_sub(leg.since) * leg.times
    }

    /// From now on so many times as fast as the machine's.
    pub fn times(&self, times: u32) {
        let passed = self.passed();
        *self.leg.lock().unwrap_or_else(PoisonError::into_inner) =
            Leg { since: self.machine.monotonic(), passed, times: times.max(1) };
        self.changed.notify_waiters();
    }
}

#[async_trait]
impl Clock for Pace {
    fn now(&self) -> Timestamp {
        self.start.plus(self.passed())
    }

    fn monotonic(&self) -> Duration {
        self.passed()
    }

    async fn sleep(&self, d: Duration) {
        let until = self.passed().saturating_add(d);
        loop {
            // Registered before the look, so that a change of pace in between is not missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let left = until.saturating_sub(self.passed());
            if left.is_zero() {
                return;
            }
            // A division that rounds down to nothing would spin.
            let wait = (left / self.leg().times).max(Duration::from_micros(1));
            tokio::select! {
                biased;
                () = self.machine.sleep(wait) => {}
                () = &mut changed => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_sleeps_wakes_early_when_the_pace_picks_up() {
        let pace = Pace::default();
        let begun = pace.now();
        let sleeper = {
            let pace = pace.clone();
            tokio::spawn(async move { pace.sleep(Duration::from_secs(600)).await })
        };
        tokio::task::yield_now().await;
        pace.times(10_000);
        tokio::time::timeout(Duration::from_secs(20), sleeper).await.unwrap().unwrap();
        assert!(pace.now() >= begun.plus(Duration::from_secs(600)));
    }
}
