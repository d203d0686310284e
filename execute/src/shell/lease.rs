//! The right to send for a partition.
//!
//! It is judged by this process's own monotonic clock, by a reading taken before the renewal that granted it, so it ends
//! here no later than it ends in the database (`design.md`, Who owns what in Postgres).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use runtime::Clock;

use crate::store::Store;

/// The lease of one partition under one epoch. Clones share it.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The partition.
    pub partition: i32,
    /// The epoch.
    pub epoch: i64,
    from: Duration,
    until: Arc<AtomicU64>,
    lost: Arc<AtomicBool>,
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

impl Lease {
    /// Granted by a claim that was asked for at `asked` and answered at `answered`.
    pub fn granted(
        partition: i32,
        epoch: i64,
        asked: Duration,
        answered: Duration,
        send_in: Duration,
        lease: Duration,
    ) -> Self {
        Self {
            partition,
            epoch,
            from: answered.saturating_add(send_in),
            until: Arc::new(AtomicU64::new(micros(asked.saturating_add(lease)))),
            lost: Arc::default(),
        }
    }

    /// Whether something may be sent at this reading.
    pub fn allows(&self, now: Duration) -> bool {
        !self.is_lost() && now >= self.from && micros(now) < self.until.load(Ordering::Acquire)
    }

    /// How long until the previous owner can no longer send.
    pub fn wait(&self, now: Duration) -> Duration {
        self.from.saturating_sub(now)
    }

    /// From now on nothing is sent.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Whether it ended for good.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn renewed(&self, asked: Duration, lease: Duration) {
        self.until.fetch_max(micros(asked.saturating_add(lease)), Ordering::AcqRel);
    }

    /// Renews it until it is lost. A database that does not answer takes nothing away by itself: the lease runs out.
    pub async fn keep(&self, store: &dyn Store, clock: &dyn Clock, every: Duration, lease: Duration) {
        while !self.is_lost() {
            clock.sleep(every).await;
            let asked = clock.monotonic();
            match store.renew(self.partition, self.epoch, lease).await {
                Ok(true) => self.renewed(asked, lease),
                Ok(false) => {
                    tracing::warn!(
                        partition = self.partition,
                        epoch = self.epoch,
                        "the partition has another owner"
                    );
                    self.lose();
                }
                Err(error) => {
                    tracing::warn!(partition = self.partition, %error, "the lease could not be renewed");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_runs_from_the_reading_before_the_renewal() {
        let s = Duration::from_secs;
        // Asked at 100, answered at 103; the previous owner may send for 4 s more.
        let lease = Lease::granted(0, 1, s(100), s(103), s(4), s(10));
        assert!(!lease.allows(s(105)));
        assert_eq!(lease.wait(s(105)), s(2));
        assert!(lease.allows(s(107)));
        assert!(lease.allows(s(109)));
        assert!(!lease.allows(s(110)));
        lease.renewed(s(108), s(10));
        assert!(lease.allows(s(117)) && !lease.allows(s(118)));
        // An answer that comes late, to an older question, takes nothing away.
        lease.renewed(s(102), s(10));
        assert!(lease.allows(s(117)));
        lease.lose();
        assert!(!lease.allows(s(117)));
    }
}
