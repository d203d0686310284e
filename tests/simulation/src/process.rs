//! A process: a stage with a scheduler of its own. So it can be stopped between any two of its steps, go on much later
//! as if nothing had been, or die with everything that it has in hand, tasks that it spawned included.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
};

use runtime::Stop;
use tokio::{runtime::Runtime, task::JoinHandle};

use crate::time::{Sleeper, Who, as_of};

/// How a stage ended: what its error said, with its code.
pub type Ended = Result<(), (String, String)>;

/// Set, and somebody woken, when the scheduler has nothing left to run.
#[derive(Debug, Default)]
struct Idle {
    is: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    who: Who,
    scheduler: Runtime,
    idle: Arc<Idle>,
    main: JoinHandle<Ended>,
    /// Asks it to stop.
    pub stop: Stop,
    /// Frozen: it takes no step, and does not know.
    pub frozen: bool,
    /// Sleeps that ended while it was frozen.
    missed: Vec<Arc<Sleeper>>,
}

impl Process {
    /// Starts a stage.
    ///
    /// # Errors
    /// No scheduler can be had.
    pub fn start(
        who: Who,
        stop: Stop,
        stage: impl Future<Output = Ended> + Send + 'static,
    ) -> std::io::Result<Self> {
        let idle = Arc::new(Idle::default());
        let hook = idle.clone();
        let scheduler = tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || {
                hook.is.store(true, Ordering::Relaxed);
                if let Some(waker) = hook.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    waker.wake();
                }
            })
            .build()?;
        let main = as_of(who, || scheduler.spawn(stage));
        Ok(Self { who, scheduler, idle, main, stop, frozen: false, missed: Vec::new() })
    }

    /// Lets it work until it waits for something. How it ended, once it did.
    pub fn work(&mut self) -> Option<Ended> {
        if self.frozen {
            return None;
        }
        self.idle.is.store(false, Ordering::Relaxed);
        let idle = &self.idle;
        let until_idle = poll_fn(|cx| {
            if idle.is.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            *idle.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
            Poll::Pending
        });
        as_of(self.who, || self.scheduler.block_on(until_idle));
        if !self.main.is_finished() {
            return None;
        }
        let ended = as_of(self.who, || self.scheduler.block_on(&mut self.main));
        Some(ended.unwrap_or_else(|died| {
            let said = died.try_into_panic().ok();
            let text = said.and_then(|said| {
                let plain = said.downcast_ref::<&str>().map(|s| (*s).to_owned());
                plain.or_else(|| said.downcast_ref::<String>().cloned())
            });
            Err(("panic".to_owned(), text.unwrap_or_else(|| "the stage panicked".to_owned())))
        }))
    }

    /// A sleep of its has ended.
    pub fn wake(&mut self, sleeper: Arc<Sleeper>) {
        if self.frozen {
            self.missed.push(sleeper);
        } else {
            sleeper.wake();
        }
    }

    /// It goes on as if nothing had been.
    pub fn thaw(&mut self) {
        self.frozen = false;
        for sleeper in self.missed.drain(..) {
            sleeper.wake();
        }
    }

    /// It dies where it stands, with all that it has spawned.
    pub fn kill(self) {
        let Self { who, scheduler, main, .. } = self;
        as_of(who, || {
            drop(main);
            drop(scheduler);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        dice::Dice,
        time::{Agenda, Due},
    };

    fn story(freeze: bool) -> Vec<(u64, &'static str)> {
        let agenda = Agenda::new(Dice::new(1));
        let said = Arc::new(Mutex::new(Vec::new()));
        let (inside, time) = (said.clone(), agenda.clone());
        let mut process = Process::start(1, Stop::new(), async move {
            let secs = |n| Duration::from_secs(n);
            let say = |what| inside.lock().unwrap().push((time.elapsed().as_secs(), what));
            let (child, then) = (inside.clone(), time.clone());
            let spawned = tokio::spawn(async move {
                then.sleep(Duration::from_secs(2)).await;
                child.lock().unwrap().push((then.elapsed().as_secs(), "child"));
            });
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            time.sleep(secs(1)).await;
            say("one");
            let _ = spawned.await;
            say("two");
            Ok(())
        })
        .unwrap();
        assert!(process.work().is_none());
        loop {
            match agenda.next(Duration::MAX) {
                Some(Due::Wake(_, sleeper)) => process.wake(sleeper),
                Some(Due::Act(act)) => act(),
                None => panic!("it never ended"),
            }
            if freeze && agenda.elapsed() == Duration::from_secs(1) {
                process.work();
                process.frozen = true;
            }
            if agenda.elapsed() == Duration::from_secs(2) && process.frozen {
                agenda.move_to(Duration::from_secs(9));
                process.thaw();
            }
            if let Some(ended) = process.work() {
                assert_eq!(ended, Ok(()));
                return said.lock().unwrap().clone();
            }
        }
    }

    #[test]
    fn a_process_works_until_it_waits_and_sleeps_by_virtual_time() {
        assert_eq!(story(false), [(1, "one"), (2, "child"), (2, "two")]);
    }

    #[test]
    fn a_frozen_process_goes_on_later_as_if_nothing_had_been() {
        assert_eq!(story(true), [(1, "one"), (9, "child"), (9, "two")]);
    }

    #[test]
    fn a_process_that_dies_takes_its_tasks_along() {
        let held = Arc::new(());
        let kept = held.clone();
        let agenda = Agenda::new(Dice::new(1));
        let time = agenda.clone();
        let mut process = Process::start(1, Stop::new(), async move {
            let inner = kept.clone();
            let then = time.clone();
            tokio::spawn(async move {
                then.sleep(Duration::from_secs(5)).await;
                drop(inner);
            });
            time.sleep(Duration::from_secs(9)).await;
            drop(kept);
            Ok(())
        })
        .unwrap();
        process.work();
        assert_eq!(Arc::strong_count(&held), 3);
        process.kill();
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(agenda.next(Duration::MAX).is_none(), "no sleep of a dead process is left");
    }

    #[test]
    fn a_panic_is_an_end() {
        let mut process = Process::start(1, Stop::new(), async { panic!("so it is") }).unwrap();
        assert_eq!(process.work(), Some(Err(("panic".into(), "so it is".into()))));
    }
}
