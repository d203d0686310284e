//! How often the venue may be asked about our orders: its limits are for the whole process (`venue.md` 7).
//!
//! Urgent questions and those that may wait have buckets of their own. However many orders rest and balances are read, an
//! urgent question finds its tokens; and however much is urgent, what may wait keeps its own.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use runtime::Clock;

use super::bucket::Bucket;
use crate::core::follow::Class;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// `GET /data/order/{id}`: counted as the ledger's, 900 in 10 s, the smaller of the two limits that it may fall under.
    Order,
    /// `GET /data/trades`: 500 in 10 s.
    Trades,
    /// `GET /data/orders`: 500 in 10 s. Asked by streams alone, so that it has one bucket.
    OpenOrders,
    /// `GET /balance-allowance`: 200 in 10 s. Urgent are the approvals that an order waits for.
    Balance,
}

/// The buckets. In any ten seconds they give at most nine tenths of the venue's limit: ten seconds' rate, and the burst.
#[derive(Debug)]
pub struct Limits {
    order: [Mutex<Bucket>; 2],
    trades: [Mutex<Bucket>; 2],
    open_orders: Mutex<Bucket>,
    balance: [Mutex<Bucket>; 2],
}

impl Default for Limits {
    fn default() -> Self {
        let bucket = |per_second, burst| Mutex::new(Bucket::new(per_second, burst));
        Self {
            // 10 x 45 + 150, and 10 x 15 + 60.
            order: [bucket(45, 150), bucket(15, 60)],
            // 10 x 24 + 90, and 10 x 8 + 40.
            trades: [bucket(24, 90), bucket(8, 40)],
            open_orders: bucket(30, 150),
            // 10 x 7 + 60, and 10 x 3 + 20.
            balance: [bucket(7, 60), bucket(3, 20)],
        }
    }
}

impl Limits {
    fn bucket(&self, route: Route, class: Class) -> &Mutex<Bucket> {
        let lane = match class {
            Class::Urgent => 0,
            Class::Resting => 1,
        };
        match route {
            Route::Order => &self.order[lane],
            Route::Trades => &self.trades[lane],
            Route::OpenOrders => &self.open_orders,
            Route::Balance => &self.balance[lane],
        }
    }

    fn take(&self, route: Route, class: Class, now: Duration) -> Duration {
        self.bucket(route, class).lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }

    /// Waits until the venue may be asked.
    pub async fn wait(&self, route: Route, class: Class, clock: &dyn Clock) {
        let wait = self.take(route, class, clock.monotonic());
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
    }

    /// Whether the venue may be asked now. Takes the token where it may.
    pub fn may(&self, route: Route, class: Class, now: Duration) -> bool {
        self.bucket(route, class).lock().unwrap_or_else(PoisonError::into_inner).try_take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most that any ten seconds see of a route, when everybody always asks.
    fn most_in_ten_seconds(routes: &[(Route, Class)]) -> usize {
        let limits = Limits::default();
        let mut asked = Vec::new();
        for ms in 0..30_000 {
            let now = Duration::from_secs(100) + Duration::from_millis(ms);
            for (route, class) in routes {
                while limits.may(*route, *class, now) {
                    asked.push(now);
                }
            }
        }
        let within = |from: Duration| {
            asked.iter().filter(|at| **at >= from && **at < from + Duration::from_secs(10)).count()
        };
        asked.iter().step_by(7).map(|from| within(*from)).max().unwrap()
    }

    #[test]
    fn no_ten_seconds_see_more_than_nine_tenths_of_the_venues_limit() {
        let both = |route| [(route, Class::Urgent), (route, Class::Resting)];
        for (routes, limit) in [
            (both(Route::Order), 900),
            (both(Route::Trades), 500),
            ([(Route::OpenOrders, Class::Resting); 2], 500),
            (both(Route::Balance), 200),
        ] {
            let most = most_in_ten_seconds(&routes);
            assert!(most * 10 <= limit * 9 + 10, "{routes:?}: {most} of {limit}");
            assert!(most * 10 >= limit * 8, "{routes:?}: {most} of {limit} is too shy");
        }
    }

    #[test]
    fn an_urgent_question_finds_its_token_however_much_may_wait() {
        for route in [Route::Order, Route::Trades, Route::Balance] {
            let (limits, now) = (Limits::default(), Duration::from_secs(1));
            while limits.may(route, Class::Resting, now) {}
            for _ in 0..1_000 {
                limits.take(route, Class::Resting, now);
            }
            assert_eq!(limits.take(route, Class::Urgent, now), Duration::ZERO, "{route:?}");
            // And the other way round: what rests is looked at however much is urgent.
            let limits = Limits::default();
            for _ in 0..10_000 {
                limits.take(route, Class::Urgent, now);
            }
            assert!(limits.may(route, Class::Resting, now), "{route:?}");
        }
    }
}
