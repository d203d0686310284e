//! The steps at which the process may be killed, and the killing.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Every effect of execute that leaves its process, in the order of an order's life.
pub const STEPS: &[&str] = &[
    "join",
    "claim",
    "api_key",
    "keep_credentials",
    "keep_balance",
    "gate",
    "post",
    "record submitted",
    "record open",
    "record partially_filled",
    "record matched",
    "record filled",
    "record cancelled",
    "record rejected",
    "record unknown",
    "look",
    "trades",
    "looked",
    "cancel",
    "deferred",
    "turn",
    "diagnose",
    "pause",
    "publish",
    "published",
    "controls published",
    "commit",
    "renew",
];

/// Which side of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// Nothing of it has happened.
    Before,
    /// It has happened, and nobody here knows yet.
    After,
}

/// At which step the process dies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KillAt {
    /// On which side of it.
    pub when: When,
    /// How many times it comes first.
    pub skip: u32,
    /// One of [`STEPS`].
    pub step: String,
}

impl fmt::Display for KillAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.when {
            When::Before => "before",
            When::After => "after",
        };
        write!(f, "{when}:{}:{}", self.skip, self.step)
    }
}

impl FromStr for KillAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no = || format!("`{text}` is not <before|after>:<how many first>:<step>");
        let (when, rest) = text.split_once(':').ok_or_else(no)?;
        let (skip, step) = rest.split_once(':').ok_or_else(no)?;
        if !STEPS.contains(&step) {
            return Err(format!("`{step}` is none of {STEPS:?}"));
        }
        let when = match when {
            "before" => When::Before,
            "after" => When::After,
            _ => return Err(no()),
        };
        Ok(Self { when, skip: skip.parse().map_err(|_| no())?, step: step.to_owned() })
    }
}

/// What the wrapped ports tell of their calls.
#[derive(Debug, Clone)]
pub struct Points(Arc<Mutex<Option<KillAt>>>);

impl Points {
    /// Dies there; nowhere, without any.
    pub fn new(at: Option<KillAt>) -> Self {
        Self(Arc::new(Mutex::new(at)))
    }

    /// A call of a port: the process may die on either side of it.
    pub async fn around<T>(&self, step: &str, call: impl Future<Output = T>) -> T {
        debug_assert!(STEPS.contains(&step), "{step} is not told of in STEPS");
        self.pass(When::Before, step);
        let answer = call.await;
        self.pass(When::After, step);
        answer
    }

    fn pass(&self, when: When, step: &str) {
        let mut at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(here) = at.as_mut().filter(|at| at.when == when && at.step == step) else { return };
        if here.skip > 0 {
            here.skip -= 1;
            return;
        }
        // As the kernel would, with nothing unwound and nothing flushed; and never a step further.
        let _ = kill(Pid::this(), Signal::SIGKILL);
        loop {
            std::thread::park();
        }
    }
}
