//! Virtual time: one agenda of what happens when, and the clocks that read it.
//!
//! Time stands still while anybody works, and jumps to the next thing on the agenda once nobody does. What is due at
//! the same moment comes in an order that the seed chose when it was put there.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use runtime::Clock;
use schemas::Timestamp;

use crate::dice::Dice;

/// When every run begins.
pub const START: Timestamp = Timestamp::from_secs(1_790_000_000);

/// Who is at work: a process, by its number in the run. Zero is the world itself.
pub type Who = u32;

thread_local! {
    static AT_WORK: Cell<Who> = const { Cell::new(0) };
}

/// Runs `work` as somebody's: whatever goes to sleep meanwhile is woken only while that one is awake.
pub fn as_of<T>(who: Who, work: impl FnOnce() -> T) -> T {
    let before = AT_WORK.replace(who);
    let done = work();
    AT_WORK.set(before);
    done
}

/// Somebody who sleeps, until he is woken or no longer cares.
#[derive(Debug, Default)]
pub struct Sleeper(Mutex<(bool, Option<Waker>)>);

impl Sleeper {
    fn lock(&self) -> MutexGuard<'_, (bool, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// His time has come.
    pub fn wake(&self) {
        let waker = {
            let mut state = self.lock();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

type Act = Box<dyn FnOnce() + Send>;

/// What is due.
pub enum Due {
    /// Somebody's sleep is over.
    Wake(Who, Arc<Sleeper>),
    /// Something happens in the world.
    Act(Act),
}

impl fmt::Debug for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wake(who, _) => write!(f, "Wake({who})"),
            Self::Act(_) => f.write_str("Act"),
        }
    }
}

struct Inner {
    now: Duration,
    due: BTreeMap<(Duration, u64, u64), Due>,
    serial: u64,
    order: Dice,
}

/// What happens when. Clones share it.
#[derive(Clone)]
pub struct Agenda(Arc<Mutex<Inner>>);

impl fmt::Debug for Agenda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agenda").field("now", &self.elapsed()).finish_non_exhaustive()
    }
}

impl Agenda {
    /// An empty one, that takes the order of what is due at one moment from these dice.
    pub fn new(order: Dice) -> Self {
        Self(Arc::new(Mutex::new(Inner { now: Duration::ZERO, due: BTreeMap::new(), serial: 0, order })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.lock().now
    }

    fn put(&self, at: Duration, due: Due) -> (Duration, u64, u64) {
        let mut inner = self.lock();
        inner.serial += 1;
        let key = (at.max(inner.now), inner.order.below(1 << 20), inner.serial);
        inner.due.insert(key, due);
        key
    }

    /// Something happens in the world at a time since the beginning.
    pub fn at(&self, at: Duration, act: impl FnOnce() + Send + 'static) {
        self.put(at, Due::Act(Box::new(act)));
    }

    /// Something happens in the world after a while.
    pub fn after(&self, wait: Duration, act: impl FnOnce() + Send + 'static) {
        self.at(self.elapsed().saturating_add(wait), act);
    }

    /// Moves on to the next thing that is due, if that is not later than `until`.
    pub fn next(&self, until: Duration) -> Option<Due> {
        let mut inner = self.lock();
        let (&key, _) = inner.due.first_key_value().filter(|(key, _)| key.0 <= until)?;
        let due = inner.due.remove(&key)?;
        inner.now = key.0;
        Some(due)
    }

    /// Moves on to a time at which nothing is due before.
    pub fn move_to(&self, at: Duration) {
        let mut inner = self.lock();
        inner.now = inner.now.max(at);
    }

    /// Sleeps, as whoever is at work.
    pub fn sleep(&self, wait: Duration) -> Sleep {
        Sleep { agenda: self.clone(), wait, asleep: None }
    }
}

/// Whoever awaits it sleeps.
#[derive(Debug)]
pub struct Sleep {
    agenda: Agenda,
    wait: Duration,
    asleep: Option<(Arc<Sleeper>, (Duration, u64, u64))>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let (agenda, wait) = (&this.agenda, this.wait);
        let (sleeper, _) = this.asleep.get_or_insert_with(|| {
            let sleeper = Arc::new(Sleeper::default());
            let at = agenda.elapsed().saturating_add(wait);
            let key = agenda.put(at, Due::Wake(AT_WORK.get(), sleeper.clone()));
            (sleeper, key)
        });
        let mut state = sleeper.lock();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((_, key)) = self.asleep.take() {
            self.agenda.lock().due.remove(&key);
        }
    }
}

/// A process's clock: its wall clock may be off, its monotonic one never is.
#[derive(Debug, Clone)]
pub struct SimClock {
    agenda: Agenda,
    /// By how many microseconds the wall clock is ahead.
    ahead: i64,
}

impl SimClock {
    /// A clock that is so many microseconds ahead.
    pub const fn new(agenda: Agenda, ahead: i64) -> Self {
        Self { agenda, ahead }
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let true_time = START.plus(self.agenda.elapsed());
        Timestamp::from_micros(true_time.micros().saturating_add(self.ahead))
    }

    fn monotonic(&self) -> Duration {
        self.agenda.elapsed()
    }

    async fn sleep(&self, wait: Duration) {
        self.agenda.sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_time_and_a_dropped_sleep_never() {
        let agenda = Agenda::new(Dice::new(1));
        let seen = Arc::new(Mutex::new(Vec::new()));
        for secs in [3, 1, 2] {
            let seen = seen.clone();
            agenda.after(Duration::from_secs(secs), move || seen.lock().unwrap().push(secs));
        }
        let mut sleep = agenda.sleep(Duration::from_millis(1));
        assert!(Pin::new(&mut sleep).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(sleep);
        while let Some(due) = agenda.next(Duration::from_secs(2)) {
            let Due::Act(act) = due else { panic!("a sleep that nobody awaits came due") };
            act();
        }
        assert_eq!(*seen.lock().unwrap(), [1, 2]);
        assert_eq!(agenda.elapsed(), Duration::from_secs(2));
    }
}
