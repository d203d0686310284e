//! How long to wait before the next attempt.

use std::time::Duration;

use runtime::Chance;

/// Waits that double up to a bound. Each is drawn from its upper half, so that those who lost the venue together do not
/// come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failed: u32,
}

impl Backoff {
    /// Nothing failed yet.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failed: 0 }
    }

    /// It went well: the next attempt need not wait.
    pub const fn reset(&mut self) {
        self.failed = 0;
    }

    /// It failed: how long to wait.
    pub fn failed(&mut self, chance: &Chance) -> Duration {
        let whole = self.first.saturating_mul(1 << self.failed.min(20)).min(self.longest);
        self.failed = self.failed.saturating_add(1);
        let half = whole / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
        half + Duration::from_micros(chance.below(micros.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_their_bound_and_begin_anew() {
        let chance = Chance::seeded(3);
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1_000));
        for whole in [100, 200, 400, 800, 1_000, 1_000] {
            let wait = backoff.failed(&chance);
            assert!(wait >= ms(whole / 2) && wait <= ms(whole), "{wait:?} of {whole}");
        }
        for _ in 0..100 {
            assert!(backoff.failed(&chance) <= ms(1_000));
        }
        backoff.reset();
        assert!(backoff.failed(&chance) <= ms(100));
    }

    #[test]
    fn two_who_failed_together_do_not_come_back_together() {
        let waits = |seed| {
            let (chance, mut backoff) =
                (Chance::seeded(seed), Backoff::new(Duration::from_secs(1), Duration::from_secs(60)));
            (0..5).map(|_| backoff.failed(&chance)).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1), "a seed repeats its waits");
    }
}
