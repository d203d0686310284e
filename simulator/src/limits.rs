//! How much a client may ask for (`venue.md` 7): a bucket of tokens for each signer, and windows for each
//! address on the network. Pure: the time comes with each call.

use std::collections::{BTreeMap, VecDeque};

use schemas::{Address, Timestamp};
use serde::{Deserialize, Serialize};

/// What a signer may do in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// As much as it likes.
    #[default]
    Unlimited,
    /// 40 orders (60 at once), 80 cancels (120 at once).
    Standard,
    /// 600 orders (900 at once), twice as many cancels.
    Elite,
}

/// Orders and cancels are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spends {
    /// An order for each one in the payload.
    Orders,
    /// A cancel for each id; one more for cancelling all.
    Cancels,
}

impl Tier {
    /// Tokens a second, and how many a bucket holds; `None` without a limit.
    const fn of(self, spends: Spends) -> Option<(i64, i64)> {
        match (self, spends) {
            (Self::Unlimited, _) => None,
            (Self::Standard, Spends::Orders) => Some((40, 60)),
            (Self::Standard, Spends::Cancels) => Some((80, 120)),
            (Self::Elite, Spends::Orders) => Some((600, 900)),
            (Self::Elite, Spends::Cancels) => Some((1_200, 1_800)),
        }
    }

    /// Its name, as the header writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unlimited => "unlimited",
            Self::Standard => "standard",
            Self::Elite => "elite",
        }
    }
}

/// What became of an attempt to take tokens: what the headers of the answer say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether it may.
    pub passes: bool,
    /// Whole tokens that are left.
    pub remaining: i64,
    /// Seconds until the bucket is full.
    pub reset: i64,
    /// Seconds until it may, where it may not.
    pub retry_after: u32,
    /// Whether less than a fifth is left.
    pub low: bool,
}

/// 10^-6 tokens; in so many microseconds a rate of one a second gives one of them.
const TOKEN: i64 = 1_000_000;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    micro: i64,
    at: Timestamp,
}

/// All signers' buckets.
#[derive(Debug, Default)]
pub struct Buckets(BTreeMap<(Address, Spends), Bucket>);

impl Buckets {
    /// Takes `n` tokens, all or nothing; `None` where nothing is counted.
    pub fn take(
        &mut self,
        tier: Tier,
        signer: Address,
        spends: Spends,
        n: usize,
        now: Timestamp,
    ) -> Option<Taken> {
        let (rate, burst) = tier.of(spends)?;
        let full = burst * TOKEN;
        let bucket = self.0.entry((signer, spends)).or_insert(Bucket { micro: full, at: now });
        let passed = now.micros().saturating_sub(bucket.at.micros()).max(0);
        bucket.micro = bucket.micro.saturating_add(passed.saturating_mul(rate)).min(full);
        bucket.at = bucket.at.max(now);
        let wanted = i64::try_from(n).unwrap_or(i64::MAX / TOKEN).saturating_mul(TOKEN);
        let passes = wanted <= bucket.micro;
        if passes {
            bucket.micro -= wanted;
        }
        let seconds = |missing: i64| ceil(missing.max(0), rate * TOKEN);
        Some(Taken {
            passes,
            remaining: bucket.micro / TOKEN,
            reset: seconds(full - bucket.micro),
            retry_after: if passes {
                0
            } else {
                u32::try_from(seconds(wanted - bucket.micro)).unwrap_or(u32::MAX).max(1)
            },
            low: bucket.micro * 5 < full,
        })
    }
}

/// So many requests in so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    requests: u32,
    seconds: i64,
}

const fn per_10s(requests: u32) -> Limit {
    Limit { requests, seconds: 10 }
}

const fn per_10min(requests: u32) -> Limit {
    Limit { requests, seconds: 600 }
}

const fn ceil(amount: i64, unit: i64) -> i64 {
    (amount + unit - 1) / unit
}

/// Which windows a request is counted in: by name, with their limits.
fn windows(method: &str, path: &str) -> Vec<(&'static str, Vec<Limit>)> {
    let mut counted = vec![("general", vec![per_10s(15_000)])];
    let gamma = path.starts_with("/markets/keyset") || path == "/events" || path == "/markets";
    if path.starts_with("/v2/") {
        counted.extend(match path {
            "/v2/trades" | "/v2/positions" => vec![("data", vec![per_10s(200)])],
            "/v2/activity" | "/v2/holders" => vec![("data_slow", vec![per_10s(400)])],
            _ => vec![],
        });
        return counted;
    }
    if gamma {
        counted.push(("gamma", vec![per_10s(4_000)]));
        counted.push(if path == "/events" {
            ("gamma_events", vec![per_10s(500)])
        } else {
            ("gamma_markets", vec![per_10s(300)])
        });
        return counted;
    }
    counted.push(("clob", vec![per_10s(9_000)]));
    counted.extend(match (method, path) {
        (_, "/book" | "/price" | "/midpoint") => vec![("one", vec![per_10s(1_500)])],
        (_, "/books" | "/prices" | "/midpoints") => vec![("many", vec![per_10s(500)])],
        (_, "/tick-size") => vec![("tick_size", vec![per_10s(200)])],
        (_, "/data/orders") => vec![("ledger", vec![per_10s(900)]), ("data_orders", vec![per_10s(500)])],
        (_, "/data/trades") => vec![("ledger", vec![per_10s(900)]), ("data_trades", vec![per_10s(500)])],
        (_, "/balance-allowance") => vec![("balance", vec![per_10s(200)])],
        (_, "/balance-allowance/update") => vec![("balance_update", vec![per_10s(50)])],
        ("POST", "/order") => vec![("post_order", vec![per_10s(5_000), per_10min(120_000)])],
        ("DELETE", "/order") => vec![("delete_order", vec![per_10s(5_000), per_10min(120_000)])],
        ("POST", "/orders") => vec![("post_orders", vec![per_10s(2_000), per_10min(21_000)])],
        ("DELETE", "/orders") => vec![("delete_orders", vec![per_10s(2_000), per_10min(15_000)])],
        ("DELETE", "/cancel-all") => vec![("cancel_all", vec![per_10s(250), per_10min(6_000)])],
        ("DELETE", "/cancel-market-orders") => {
            vec![("cancel_market", vec![per_10s(1_500), per_10min(21_000)])]
        }
        (_, path) if path.starts_with("/auth/") => vec![("auth", vec![per_10s(100)])],
        (_, path) if path.starts_with("/data/") => vec![("ledger", vec![per_10s(900)])],
        _ => vec![],
    });
    counted
}

/// Tenths of a window: a request is forgotten within a tenth of it.
const SLOTS: i64 = 10;

#[derive(Debug, Default)]
struct Window {
    slots: VecDeque<(i64, u32)>,
}

impl Window {
    /// Counts a request, or says for how long there is no room.
    fn count(&mut self, limit: Limit, now: Timestamp) -> Result<(), u32> {
        let length = limit.seconds * 1_000_000 / SLOTS;
        let slot = now.micros() / length;
        while self.slots.front().is_some_and(|(at, _)| *at <= slot - SLOTS) {
            self.slots.pop_front();
        }
        let counted: u32 = self.slots.iter().map(|(_, n)| n).sum();
        if counted >= limit.requests {
            let frees = self.slots.front().map_or(0, |(at, _)| (at + SLOTS) * length - now.micros());
            return Err(u32::try_from(ceil(frees, 1_000_000)).unwrap_or(u32::MAX).max(1));
        }
        match self.slots.back_mut() {
            Some((at, n)) if *at >= slot => *n += 1,
            _ => self.slots.push_back((slot, 1)),
        }
        Ok(())
    }
}

/// The windows of all callers.
#[derive(Debug, Default)]
pub struct Windows(BTreeMap<(String, &'static str, i64), Window>);

impl Windows {
    /// Counts a request of a caller.
    ///
    /// # Errors
    /// One window is full: the seconds until it has room.
    pub fn count(&mut self, caller: &str, method: &str, path: &str, now: Timestamp) -> Result<(), u32> {
        for (name, limits) in windows(method, path) {
            for limit in limits {
                self.0.entry((caller.to_owned(), name, limit.seconds)).or_default().count(limit, now)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + millis)
    }

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate_and_a_batch_all_or_nothing() {
        let (mut buckets, signer) = (Buckets::default(), Address::from_bytes([1; 20]));
        let mut take =
            |n, millis| buckets.take(Tier::Standard, signer, Spends::Orders, n, at(millis)).unwrap();
        assert_eq!(take(15, 0), Taken { passes: true, remaining: 45, reset: 1, retry_after: 0, low: false });
        assert_eq!((take(40, 0).remaining, take(5, 0).passes), (5, true));
        // 15 are wanted, none is there: 375 ms at 40 a second.
        let refused = take(15, 0);
        assert_eq!(
            (refused.passes, refused.remaining, refused.retry_after, refused.low),
            (false, 0, 1, true)
        );
        assert!(!take(15, 374).passes, "14.96 tokens");
        assert!(take(15, 375).passes);
        assert!(!take(1, 399).passes && take(1, 400).passes, "a token each 25 ms");
        // A batch of more than the bucket holds never passes.
        assert!(!take(61, 1_000_000).passes);
        assert_eq!(take(60, 1_000_000).remaining, 0, "a long rest fills it, and no more than that");
    }

    #[test]
    fn signers_and_kinds_have_buckets_of_their_own_and_no_tier_has_none() {
        let mut buckets = Buckets::default();
        let signers = [Address::from_bytes([1; 20]), Address::from_bytes([2; 20])];
        for signer in signers {
            for (spends, burst) in [(Spends::Orders, 60), (Spends::Cancels, 120)] {
                assert!(buckets.take(Tier::Standard, signer, spends, burst, at(0)).unwrap().passes);
                assert!(!buckets.take(Tier::Standard, signer, spends, 1, at(0)).unwrap().passes);
            }
        }
        assert_eq!(buckets.take(Tier::Unlimited, signers[0], Spends::Orders, 9_999, at(0)), None);
    }

    #[test]
    fn a_window_is_full_at_its_limit_for_each_caller_and_empties_again() {
        let mut windows = Windows::default();
        for n in 0..250 {
            assert_eq!(windows.count("a", "DELETE", "/cancel-all", at(n)), Ok(()), "{n}");
        }
        assert_eq!(windows.count("a", "DELETE", "/cancel-all", at(250)), Err(10));
        assert_eq!(windows.count("b", "DELETE", "/cancel-all", at(250)), Ok(()));
        assert_eq!(windows.count("a", "DELETE", "/order", at(250)), Ok(()), "a window of its own");
        assert_eq!(windows.count("a", "DELETE", "/cancel-all", at(10_001)), Ok(()));
    }
}
