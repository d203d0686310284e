//! The time, as a port.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use schemas::Timestamp;

/// Where a shell gets the time from.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync {
    /// The wall time. May step backwards; what must not (a cut's clock) guards itself.
    fn now(&self) -> Timestamp;

    /// A reading that never goes back, comparable only with others of the same process. It goes on while the machine is
    /// suspended: a lease runs out then too.
    fn monotonic(&self) -> Duration;

    /// Returns after `d` of this clock's time.
    async fn sleep(&self, d: Duration);
}

/// The machine's clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: Duration,
}

impl SystemClock {
    /// The machine's clock, shared.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self::default())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: since_boot() }
    }
}

/// The time since the machine was started, what it was suspended included: `Instant` stands still meanwhile, and whoever
/// slept with an order in its hand would think that its lease still holds.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The time since somebody first asked.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
fn since_boot() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        since_boot().saturating_sub(self.started)
    }

    async fn sleep(&self, d: Duration) {
        tokio::time::sleep(d).await;
    }
}

/// A clock that moves only when it is told to, or when tokio's paused time auto-advances under it.
#[derive(Debug, Clone)]
pub struct VirtualClock {
    start: Timestamp,
    state: Arc<Mutex<Duration>>,
    tick: Arc<tokio::sync::Notify>,
}

impl VirtualClock {
    /// A clock that stands at `start`.
    pub fn at(start: Timestamp) -> Self {
        Self { start, state: Arc::default(), tick: Arc::default() }
    }

    /// Moves the clock on, and wakes whoever sleeps no longer than that.
    pub fn advance(&self, d: Duration) {
        let mut elapsed = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *elapsed = elapsed.saturating_add(d);
        drop(elapsed);
        self.tick.notify_waiters();
    }

    fn elapsed(&self) -> Duration {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.start.plus(self.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.elapsed()
    }

    async fn sleep(&self, d: Duration) {
        let until = self.elapsed().saturating_add(d);
        loop {
            // Registered before the look, so that an advance in between is not missed.
            let ticked = self.tick.notified();
            tokio::pin!(ticked);
            ticked.as_mut().enable();
            if self.elapsed() >= until {
                return;
            }
            ticked.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/proc/uptime` counts what the machine was suspended; `Instant` does not.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_monotonic_clock_counts_what_the_machine_was_suspended() {
        let read = || -> f64 {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            text.split_whitespace().next().unwrap().parse().unwrap()
        };
        let (before, ours, after) = (read(), since_boot().as_secs_f64(), read());
        assert!((before - 0.1..=after + 0.1).contains(&ours), "{before} {ours} {after}");
    }

    #[tokio::test]
    async fn a_virtual_sleeper_wakes_when_its_time_has_come() {
        let clock = VirtualClock::at(Timestamp::from_secs(100));
        let sleeper = {
            let clock = clock.clone();
            tokio::spawn(async move { clock.sleep(Duration::from_secs(5)).await })
        };
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(4));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!(clock.now(), Timestamp::from_secs(105));
    }
}
