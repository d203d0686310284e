//! How often the venue is asked, so that all wallets together stay within its limits (`venue.md` 1.7).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use runtime::Clock;
use schemas::Timestamp;

use super::Settings;

/// Trade requests a second that are kept for history, out of all there may be.
const HISTORY_PER_SECOND: u32 = 2;
/// Requests of the activity list a second: half of what the venue bears, the other half being for looks that a SELL
/// asks for.
const ACTIVITY_PER_SECOND: u32 = 18;

/// How long each wallet waits between two reads.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    trades: Arc<AtomicU64>,
    activity: Arc<AtomicU64>,
    /// When the next page of history may be asked for, by whichever wallet.
    history: Arc<Mutex<Timestamp>>,
}

fn shared(wallets: usize, per_second: u32) -> Duration {
    Duration::from_secs(u64::try_from(wallets).unwrap_or(u64::MAX)) / per_second.max(1)
}

fn store(to: &AtomicU64, pause: Duration) {
    to.store(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Pace {
    /// Shares the venue's limits among so many wallets.
    pub fn set(&self, settings: &Settings, wallets: usize) {
        let live = settings.requests_per_second.saturating_sub(HISTORY_PER_SECOND);
        store(&self.trades, settings.poll.max(shared(wallets, live)));
        store(&self.activity, settings.activity_poll.max(shared(wallets, ACTIVITY_PER_SECOND)));
    }

    /// Between two looks at a wallet's trades.
    pub fn pause(&self) -> Duration {
        Duration::from_micros(self.trades.load(Ordering::Relaxed))
    }

    /// Between two looks at a wallet's activity.
    pub fn activity(&self) -> Duration {
        Duration::from_micros(self.activity.load(Ordering::Relaxed))
    }

    /// Waits for a turn to ask for history: all wallets together ask twice a second.
    pub async fn history_turn(&self, clock: &dyn Clock) {
        let gap = Duration::from_secs(1) / HISTORY_PER_SECOND;
        let turn = {
            let mut next = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = clock.now().max(*next);
            *next = turn.plus(gap);
            turn
        };
        clock.sleep(turn.since(clock.now())).await;
    }
}

#[cfg(test)]
mod tests {
    use runtime::VirtualClock;

    use super::*;

    #[test]
    fn all_wallets_together_stay_within_the_limits() {
        let pace = Pace::default();
        let settings = Settings { requests_per_second: 18, ..Settings::default() };
        pace.set(&settings, 1);
        assert_eq!((pace.pause(), pace.activity()), (settings.poll, settings.activity_poll));
        pace.set(&settings, 160);
        assert_eq!(pace.pause(), Duration::from_secs(10), "16 a second, 2 are history's");
        assert_eq!(pace.activity().as_millis(), 160_000 / 18);
    }

    #[tokio::test(start_paused = true)]
    async fn history_is_asked_for_twice_a_second_whoever_asks() {
        let clock = VirtualClock::at(Timestamp::from_secs(1_000));
        let pace = Pace::default();
        let mut turns = Vec::new();
        for _ in 0..3 {
            let (pace, clock) = (pace.clone(), clock.clone());
            turns.push(tokio::spawn(async move {
                pace.history_turn(&clock).await;
                clock.now()
            }));
        }
        let mut at = Vec::new();
        for turn in turns {
            while !turn.is_finished() {
                tokio::task::yield_now().await;
                clock.advance(Duration::from_millis(10));
            }
            at.push(turn.await.unwrap());
        }
        let apart: Vec<bool> =
            at.windows(2).map(|w| w[1].since(w[0]) >= Duration::from_millis(400)).collect();
        assert_eq!(apart, [true, true], "{at:?}");
    }
}
