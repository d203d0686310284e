//! What becomes of each call: how long it takes, and which fault it meets.
//!
//! A call is named by who makes it, where, and the how-manyth it is there. Each of its questions (does it meet *this*
//! fault? how long does it take?) is answered by dice of its own, so that a story that is told again without one of its
//! faults stays the same story otherwise.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    dice::{Dice, name},
    time::Agenda,
};

/// A kind of fault, and how often it strikes where it can, in thousandths of the calls.
pub type Rate = (&'static str, u64);

macro_rules! faults {
    ($( $(#[$doc:meta])* $id:ident = $text:literal, $usual:literal; )*) => {
        $( $(#[$doc])* pub const $id: &str = $text; )*
        /// Every kind of fault that a call can meet, with its usual rate.
        pub const FAULTS: &[Rate] = &[$(($text, $usual),)*];
    };
}

faults! {
    /// Any call: it takes seconds.
    SLOW = "slow", 10;
    /// The ledger: no effect.
    LEDGER_UNREACHABLE = "ledger unreachable", 15;
    /// The ledger: COMMIT was done.
    LEDGER_UNHEARD = "ledger answer lost", 15;
    /// The tables: no effect.
    TABLES_UNREACHABLE = "tables unreachable", 15;
    /// The tables: COMMIT was done.
    TABLES_UNHEARD = "tables answer lost", 15;
    /// The log: a read, a poll, a join.
    LOG_UNREACHABLE = "log unreachable", 8;
    /// A transaction of the log was aborted.
    COMMIT_ABORTED = "commit aborted", 25;
    /// It was aborted, and nobody says so.
    COMMIT_LOST = "commit unknown, not done", 25;
    /// It was committed, and nobody says so.
    COMMIT_UNHEARD = "commit unknown, done", 25;
    /// An append did not happen.
    APPEND_FAILED = "append not done", 15;
    /// It did not happen, and nobody says so.
    APPEND_LOST = "append unknown, not done", 15;
    /// It happened, and nobody says so.
    APPEND_UNHEARD = "append unknown, done", 15;
    /// An order never reaches the venue; the client waits in vain.
    POST_LOST = "post lost", 30;
    /// An order is taken; the client waits in vain.
    POST_UNHEARD = "post answer lost", 40;
    /// The client gave up long before the order arrives.
    POST_LATE = "post lands late", 20;
    /// The network delivers it twice.
    POST_TWICE = "post delivered twice", 20;
    /// HTTP 500 although it was taken.
    POST_500_TAKEN = "500 after insert", 25;
    /// HTTP 500, and it was not taken.
    POST_500 = "500", 20;
    /// `context canceled` although it was taken.
    POST_CANCELED_TAKEN = "context canceled after insert", 25;
    /// `context canceled`, and it was not taken.
    POST_CANCELED = "context canceled", 20;
    /// HTTP 400 with a reason, and it is taken all the same, perhaps much later.
    POST_LIED = "refused, and taken", 12;
    /// HTTP 425.
    POST_425 = "425", 25;
    /// HTTP 429, with or without a time.
    POST_429 = "429", 25;
    /// HTTP 503 with a time to come back.
    POST_503 = "503", 20;
    /// HTTP 503 without one: nothing says that it had no effect, and here it has.
    POST_503_TAKEN = "503 after insert", 20;
    /// An answer that is no JSON, to an order that was taken.
    POST_GARBLED = "unreadable answer", 10;
    /// The trades of an order fail to settle.
    TRADES_FAIL = "trades fail", 60;
    /// An order is held back before it is matched.
    DELAYED = "delayed", 50;
    /// No answer about an order.
    LOOKUP_LOST = "lookup lost", 40;
    /// HTTP 429 to a question about an order.
    LOOKUP_429 = "lookup 429", 20;
    /// The index of orders is a few seconds behind: a new order is not found yet.
    LOOKUP_BEHIND = "lookup behind", 40;
    /// No answer about trades.
    TRADES_LOST = "trades lost", 40;
    /// A cancel never arrives.
    CANCEL_LOST = "cancel lost", 200;
    /// A cancel is done, and nobody says so.
    CANCEL_UNHEARD = "cancel answer lost", 200;
    /// No answer from the public routes, balances or credentials.
    DATA_LOST = "data lost", 20;
}

/// A fault that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Met {
    /// Who called.
    pub place: &'static str,
    /// What.
    pub site: &'static str,
    /// For the how-manyth time.
    pub nth: u64,
    /// What was met.
    pub fault: &'static str,
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} #{}: {}", self.place, self.site, self.nth, self.fault)
    }
}

#[derive(Debug, Default)]
struct State {
    calls: BTreeMap<(&'static str, &'static str), u64>,
    met: Vec<Met>,
    quiet: bool,
    told: Vec<String>,
}

/// The fates of one run. Clones share them.
#[derive(Debug, Clone)]
pub struct Fates {
    seed: u64,
    agenda: Agenda,
    rates: Arc<BTreeMap<&'static str, u64>>,
    /// Where given, only these are met.
    only: Arc<Option<BTreeSet<Met>>>,
    /// Whether what happens is written down.
    telling: bool,
    state: Arc<Mutex<State>>,
}

impl Fates {
    /// The fates of a seed.
    pub fn new(
        seed: u64,
        agenda: Agenda,
        rates: BTreeMap<&'static str, u64>,
        only: Option<BTreeSet<Met>>,
        telling: bool,
    ) -> Self {
        let (rates, only) = (Arc::new(rates), Arc::new(only));
        Self { seed, agenda, rates, only, telling, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on everything works.
    pub fn be_quiet(&self) {
        self.lock().quiet = true;
    }

    /// The faults met so far.
    pub fn met(&self) -> Vec<Met> {
        self.lock().met.clone()
    }

    /// What was written down.
    pub fn told(&self) -> Vec<String> {
        self.lock().told.clone()
    }

    /// Writes down what happens, if anybody wants to know.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.telling {
            let at = self.agenda.elapsed();
            let line = format!("{:>5}.{:06} {}", at.as_secs(), at.subsec_micros(), what());
            self.lock().told.push(line);
        }
    }

    /// Somebody makes a call.
    pub fn call(&self, place: &'static str, site: &'static str) -> Call {
        let mut state = self.lock();
        let nth = state.calls.entry((place, site)).or_default();
        *nth += 1;
        Call { fates: self.clone(), place, site, nth: *nth }
    }
}

/// One call, and its fate.
#[derive(Debug, Clone)]
pub struct Call {
    fates: Fates,
    place: &'static str,
    site: &'static str,
    nth: u64,
}

impl Call {
    /// The dice for a question about this call.
    pub fn dice(&self, about: &str) -> Dice {
        Dice::about(self.fates.seed, &[name(self.place), name(self.site), self.nth, name(about)])
    }

    /// Whether it meets a fault.
    pub fn meets(&self, fault: &'static str) -> bool {
        let rate = self.fates.rates.get(fault).copied().unwrap_or(0);
        if rate == 0 || !self.dice(fault).permille(rate) {
            return false;
        }
        let met = Met { place: self.place, site: self.site, nth: self.nth, fault };
        let mut state = self.fates.lock();
        if state.quiet || self.fates.only.as_ref().as_ref().is_some_and(|only| !only.contains(&met)) {
            return false;
        }
        state.met.push(met);
        drop(state);
        self.fates.tell(|| met.to_string());
        true
    }

    /// The first of several faults that it meets.
    pub fn first_of(&self, faults: &[&'static str]) -> Option<&'static str> {
        faults.iter().copied().find(|fault| self.meets(fault))
    }

    /// Takes about so long, or seconds where it is slow.
    pub fn takes(&self, way: &'static str, micros: u64) -> Duration {
        let mut dice = self.dice(way);
        let usual = Duration::from_micros(dice.between(micros / 4, micros * 2));
        // The way there and the way back are not slow for one reason.
        let slow = self.dice("which way").permille(500) == (way == "there");
        if slow && self.meets(SLOW) { usual + Duration::from_millis(dice.between(300, 9_000)) } else { usual }
    }

    /// Lets the way there or back pass.
    pub async fn way(&self, way: &'static str, micros: u64) {
        let takes = self.takes(way, micros);
        self.fates.agenda.sleep(takes).await;
    }

    /// Writes down what happens.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        self.fates.tell(|| format!("{} {} #{}: {}", self.place, self.site, self.nth, what()));
    }

    /// The agenda.
    pub const fn agenda(&self) -> &Agenda {
        &self.fates.agenda
    }
}
