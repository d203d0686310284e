//! The ports that the stages are given: those in memory, with time, faults and witnesses around them.
//!
//! A call takes its way there, has its effect at one moment, and takes its way back: whoever dies, freezes or loses a
//! partition meanwhile does so before or after the effect, and never in the middle of it.

pub mod exchange;
pub mod ledger;
pub mod log;
pub mod tables;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// Whose calls these are: a place in the run that outlives the processes that take it one after another.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its name, such as `execute-1`.
    pub name: &'static str,
    /// What becomes of its calls.
    pub fates: crate::fate::Fates,
}

impl Place {
    /// A call from here.
    pub fn call(&self, site: &'static str) -> crate::fate::Call {
        self.fates.call(self.name, site)
    }
}

/// Runs what only yields, and never really waits, to its end within one moment.
///
/// # Panics
/// It waits for something.
pub fn at_once<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    for _ in 0..10_000 {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
    #[expect(clippy::panic, reason = "a port in memory that waits is a bug of this harness")]
    {
        panic!("a call of a port in memory waits for something")
    }
}
