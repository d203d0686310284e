//! The venue's limits (`venue.md` 7): of orders for one signer, and of requests for one address.

use std::time::Duration;

/// A token bucket: so many a second, so many at once. Time is given with each call.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_second: u32,
    burst: u32,
    /// When the bucket would be full again.
    full_at: Duration,
}

impl Bucket {
    /// A full bucket.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst, full_at: Duration::ZERO }
    }

    fn token(&self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }

    /// Takes a token; how long to wait first.
    pub fn take(&mut self, now: Duration) -> Duration {
        self.full_at = self.full_at.max(now).saturating_add(self.token());
        self.full_at.saturating_sub(now).saturating_sub(self.depth())
    }

    /// Takes a token where there is one now; whether there was.
    pub fn try_take(&mut self, now: Duration) -> bool {
        let full_at = self.full_at.max(now).saturating_add(self.token());
        let there = full_at.saturating_sub(now) <= self.depth();
        if there {
            self.full_at = full_at;
        }
        there
    }

    fn depth(&self) -> Duration {
        self.token().saturating_mul(self.burst.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = Bucket::new(40, 60);
        let now = Duration::from_secs(1_000);
        for _ in 0..60 {
            assert_eq!(bucket.take(now), Duration::ZERO);
        }
        assert_eq!(bucket.take(now), Duration::from_millis(25));
        assert_eq!(bucket.take(now), Duration::from_millis(50));
        // Whoever does not want to wait takes nothing.
        assert!(!bucket.try_take(now) && bucket.take(now) == Duration::from_millis(75));
        // Two seconds later it is full again, and no fuller.
        let later = now + Duration::from_secs(100);
        for _ in 0..60 {
            assert!(bucket.try_take(later));
        }
        assert!(!bucket.try_take(later));
        assert!(bucket.take(later) > Duration::ZERO);
    }

    proptest::proptest! {
        #[test]
        fn no_second_sees_more_than_rate_and_burst(gaps in proptest::collection::vec(0u64..200, 1..400)) {
            let mut bucket = Bucket::new(40, 60);
            let (mut now, mut sent) = (Duration::from_secs(5), Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                let wait = bucket.take(now);
                now += wait;
                sent.push(now);
            }
            for (i, at) in sent.iter().enumerate() {
                let within = sent[..=i].iter().filter(|t| **t + Duration::from_secs(1) > *at).count();
                proptest::prop_assert!(within <= 100, "{within}");
            }
        }
    }
}
