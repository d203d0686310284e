//! One run: a story told to its end, and judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, LazyLock, PoisonError},
    time::Duration,
};

use eventlog::{
    Expected, TopicPartition, VenueKind,
    memory::{MemoryLog, MemoryOptions},
};
use runtime::{Chance, Clock};
use schemas::{Hash32, codec::Codec, topics::Topic};
use simulator::{Options as VenueOptions, Simulator, exchange::Rules};

use crate::{
    dice::{Dice, name},
    fate::{Fates, Met},
    oracle::{Broken, Judge, decisions, ends, sends::Seen},
    plan::{Blow, Kind, Plan, Script},
    ports::exchange::Network,
    process::Ended,
    stage::{Ground, SESSION, Seat, signer},
    time::{Agenda, Due, SimClock, Who},
    world::{Told, World},
};

/// How a run is told.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// Where given, calls meet only these faults.
    pub only: Option<BTreeSet<Met>>,
    /// Whether what happens is written down.
    pub telling: bool,
    /// Whether a hash of everything is taken in the end.
    pub digest: bool,
}

/// What a run was like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records of fills.
    pub told: Told,
    /// What the judge saw.
    pub seen: Seen,
    /// Decisions by reason.
    pub decisions: BTreeMap<&'static str, u64>,
    /// Decisions that no trade asked for, by what did.
    pub causes: BTreeMap<&'static str, u64>,
    /// Orders by status.
    pub orders: BTreeMap<&'static str, u64>,
    /// Blows by kind.
    pub blows: BTreeMap<&'static str, u64>,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Cuts that belong to no chain.
    pub foreign_cuts: u64,
    /// How long it took, in virtual time.
    pub lasted: Duration,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The first rule that was broken.
    pub broken: Option<Broken>,
    /// The faults met.
    pub met: Vec<Met>,
    /// What was written down.
    pub told: Vec<String>,
    /// The hash of log, ledger, tables and venue in the end.
    pub digest: Option<Hash32>,
    /// What it was like.
    pub counts: Counts,
}

/// Once nothing goes wrong any more, everything has ended after so long: a GTD order lives for five minutes, what nobody
/// knows of a FAK is given up after a quarter of an hour, and an exit that rests at its floor can land for an hour.
const PATIENCE: Duration = Duration::from_secs(75 * 60);
/// How long after that a stage may still end of what went wrong before.
const LAST_ERRORS: Duration = Duration::from_secs(60);
/// How often it is looked whether all has ended.
const LOOK: Duration = Duration::from_secs(2);

/// Parsed once: clones share what it knows.
pub fn codec() -> io::Result<Codec> {
    static CODEC: LazyLock<Option<Codec>> = LazyLock::new(|| Codec::bundled().ok());
    CODEC.clone().ok_or_else(|| io::Error::other("the bundled schemas do not read"))
}

fn ground(plan: &Arc<Plan>, how: &How) -> io::Result<Ground> {
    let agenda = Agenda::new(Dice::about(plan.seed, &[name("order")]));
    let fates = Fates::new(plan.seed, agenda.clone(), plan.rates.clone(), how.only.clone(), how.telling);
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(agenda.clone(), 0));
    let expected = Expected {
        venue: VenueKind::Simulator,
        wallet_partitions: plan.partitions[0],
        account_partitions: plan.partitions[1],
        market_partitions: 1,
        log_id: None,
    };
    let options = MemoryOptions { markers: plan.markers };
    let log = MemoryLog::create(&expected, options, clock.clone(), &Chance::seeded(plan.seed))
        .map_err(io::Error::other)?;
    let codec = codec()?;
    let ledger = execute::MemoryStore::new(clock.clone(), codec.clone());
    let wallets = (0..u8::try_from(plan.tenants.len()).unwrap_or(u8::MAX)).map(|n| signer(n).address());
    let judge = Judge::new(plan.clone(), ledger.clone(), agenda.clone(), fates.clone(), wallets.collect());
    let habits = plan.habits;
    let venue = Simulator::builder()
        .clock(clock)
        .options(VenueOptions {
            rules: Rules {
                opening_balance: habits.balance,
                confirm_after: Duration::from_secs(habits.confirm_after),
                credit_when_confirmed: habits.credit_when_confirmed,
                ..Rules::default()
            },
            history: Duration::ZERO,
            ..VenueOptions::default()
        })
        .source(Box::new(Script::of(plan)))
        .build()
        .map_err(io::Error::other)?;
    venue.switch(|s| {
        s.status_prefix = habits.status_prefix;
        s.base_units = habits.base_units;
        s.partial_fak_matched = habits.partial_fak_matched;
    });
    judge.watch(venue.clone());
    Ok(Ground {
        seed: plan.seed,
        log,
        held: Arc::default(),
        ledger,
        tables: project::store::MemoryStore::default(),
        venue,
        network: Network::default(),
        agenda,
        fates,
        judge: Arc::new(judge),
        codec,
    })
}

/// Something that is done to a seat at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Blow(Blow),
    Start(usize),
    Thaw(usize, u64),
    SessionOver(usize, u64),
}

/// Everything of one run.
struct Run {
    plan: Arc<Plan>,
    ground: Ground,
    world: World,
    seats: Vec<Seat>,
    orders: BTreeMap<(Duration, u64), Order>,
    serial: u64,
    /// Changes of the log that everybody has seen.
    changes: u64,
    order: Dice,
    blows: BTreeMap<&'static str, u64>,
    quiet: bool,
    looked_at: Duration,
}

/// Tells a story to its end.
///
/// # Errors
/// The harness itself could not be set up.
pub fn run(plan: &Arc<Plan>, how: &How) -> io::Result<Outcome> {
    let ground = ground(plan, how)?;
    let world = World::open(plan.clone(), &ground);
    let mut seats = Vec::new();
    for kind in [Kind::Decide, Kind::Execute, Kind::Project] {
        seats.extend((0..plan.processes[kind as usize]).map(|nth| Seat::new(kind, nth)));
    }
    let mut run = Run {
        plan: plan.clone(),
        ground,
        world,
        seats,
        orders: BTreeMap::new(),
        serial: 0,
        changes: 0,
        order: Dice::about(plan.seed, &[name("turns")]),
        blows: BTreeMap::new(),
        quiet: false,
        looked_at: Duration::ZERO,
    };
    run.tell()?;
    Ok(run.judge(how))
}

impl Run {
    fn now(&self) -> Duration {
        self.ground.agenda.elapsed()
    }

    fn later(&mut self, at: Duration, order: Order) {
        self.serial += 1;
        let at = at.max(self.now());
        self.orders.insert((at, self.serial), order);
        // Time stops there.
        self.ground.agenda.at(at, || {});
    }

    fn tell(&mut self) -> io::Result<()> {
        let mut dice = Dice::about(self.plan.seed, &[name("start")]);
        for seat in 0..self.seats.len() {
            // The second of two may come later, into a group that is at work.
            let late = self.seats[seat].nth > 0;
            let wait = dice.below(if late { 40_000_000 } else { 1_000_000 });
            self.later(Duration::from_micros(wait), Order::Start(seat));
        }
        for trouble in self.plan.troubles.clone() {
            self.later(trouble.at, Order::Blow(trouble.blow));
        }
        let quiet = self.plan.quiet;
        self.ground.agenda.at(quiet, || {});
        let end = quiet + PATIENCE;
        while self.ground.judge.broken().is_none() {
            let Some(due) = self.ground.agenda.next(end) else {
                let what = ends::unfinished(&self.ground);
                self.ground.judge.breaks("something waits for ever", what.join("; "));
                break;
            };
            let mut who = None;
            match due {
                Due::Act(act) => act(),
                Due::Wake(of, sleeper) => {
                    who = Some(of);
                    if let Some(process) = self.process(of) {
                        process.wake(sleeper);
                    }
                }
            }
            self.obey()?;
            if !self.quiet && self.now() >= quiet {
                self.be_quiet();
            }
            if let Some(seat) = who {
                self.work(seat);
            }
            self.everybody_works();
            if self.quiet && self.now() >= self.looked_at + LOOK {
                self.looked_at = self.now();
                if self.ground.network.on_their_way() == 0
                    && self.seats.iter().all(|s| s.process.is_some())
                    && ends::unfinished(&self.ground).is_empty()
                {
                    break;
                }
                self.ground.agenda.after(LOOK, || {});
            }
        }
        Ok(())
    }

    fn process(&mut self, who: Who) -> Option<&mut crate::process::Process> {
        let seat = usize::try_from(who).ok()?.checked_sub(1)?;
        self.seats.get_mut(seat)?.process.as_mut()
    }

    /// A process works until it waits. One that ends starts again, if its error is of those that may pass.
    fn work(&mut self, who: Who) {
        let Some(ended) = self.process(who).and_then(crate::process::Process::work) else { return };
        let Some(seat) = usize::try_from(who).ok().and_then(|w| w.checked_sub(1)) else { return };
        let (stopped, place) = {
            let s = &mut self.seats[seat];
            let stopped = s.process.as_ref().is_some_and(|p| p.stop.is_requested());
            if let Some(process) = s.process.take() {
                process.kill();
            }
            (stopped, s.name)
        };
        self.ground.judge.died(place);
        self.ground.fates.tell(|| format!("{place} ended: {ended:?}"));
        let passes = |ended: &Ended| match ended {
            Ok(()) => stopped,
            Err((code, _)) => {
                // What went wrong last may take a while to be told.
                self.now() < self.plan.quiet + LAST_ERRORS
                    && ["database_unreachable", "log_unreachable", "log_fenced"].contains(&code.as_str())
            }
        };
        if !passes(&ended) {
            self.ground.judge.breaks("a stage stopped", format!("{place}: {ended:?}"));
        }
        // After a stop it was said when another starts.
        if !stopped {
            let at = self.now() + Duration::from_secs(1);
            self.later(at, Order::Start(seat));
        }
    }

    /// Whoever the log may have woken works, in any order, until nobody wakes anybody any more.
    fn everybody_works(&mut self) {
        while self.changes != self.ground.log.changes() {
            self.changes = self.ground.log.changes();
            let count = self.seats.len() as u64;
            let first = self.order.below(count.max(1));
            for turn in 0..count {
                let who = (first + turn) % count + 1;
                self.work(Who::try_from(who).unwrap_or(0));
            }
        }
    }

    /// What is to be done by now is done.
    fn obey(&mut self) -> io::Result<()> {
        while let Some((&key, &order)) =
            self.orders.first_key_value().filter(|((at, _), _)| *at <= self.now())
        {
            self.orders.remove(&key);
            self.carry_out(order)?;
        }
        Ok(())
    }

    fn seat(&self, kind: Kind, nth: u8) -> Option<usize> {
        self.seats.iter().position(|s| s.kind == kind && s.nth == nth)
    }

    fn count(&mut self, blow: &'static str) {
        *self.blows.entry(blow).or_default() += 1;
    }

    fn carry_out(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Start(seat) => {
                let who = Who::try_from(seat).unwrap_or(0) + 1;
                if self.seats[seat].process.is_none() {
                    self.seats[seat].start(who, &self.ground)?;
                    self.work(who);
                }
            }
            Order::Thaw(seat, life) => self.thaw(seat, life),
            Order::SessionOver(seat, life) => self.session_over(seat, life),
            Order::Blow(_) if self.quiet => {}
            Order::Blow(blow) => self.strike(blow),
        }
        Ok(())
    }

    fn strike(&mut self, blow: Blow) {
        self.ground.fates.tell(|| format!("BLOW {blow:?}"));
        let now = self.now();
        match blow {
            Blow::Crash { kind, nth, away } => {
                let Some(seat) = self.seat(kind, nth) else { return };
                let Some(process) = self.seats[seat].process.take() else { return };
                self.count("crash");
                process.kill();
                self.ground.judge.died(self.seats[seat].name);
                self.later(now + away, Order::Start(seat));
            }
            Blow::Freeze { kind, nth, lasts } => {
                let Some(seat) = self.seat(kind, nth) else { return };
                let life = self.seats[seat].lives;
                let Some(process) = self.seats[seat].process.as_mut().filter(|p| !p.frozen) else { return };
                process.frozen = true;
                self.count("freeze");
                self.later(now + lasts, Order::Thaw(seat, life));
                if lasts > SESSION {
                    self.later(now + SESSION, Order::SessionOver(seat, life));
                }
            }
            Blow::Restart { kind, nth, away } => {
                let Some(seat) = self.seat(kind, nth) else { return };
                let Some(process) = self.seats[seat].process.as_mut() else { return };
                if process.stop.is_requested() {
                    return;
                }
                process.stop.request();
                self.count("restart");
                // It takes its time to stop.
                self.later(now + Duration::from_secs(25) + away, Order::Start(seat));
                self.work(Who::try_from(seat).unwrap_or(0) + 1);
            }
            Blow::Rebalance { kind } => {
                self.count("rebalance");
                self.ground.log.rebalance(kind.group());
            }
            Blow::Evict { kind, partition } => {
                let topic = match kind {
                    Kind::Decide => Topic::Fills,
                    Kind::Execute => Topic::Intents,
                    Kind::Project => Topic::Orders,
                };
                if self.ground.log.evict(kind.group(), TopicPartition::new(topic, partition)) {
                    self.count("evict");
                }
            }
        }
    }

    fn thaw(&mut self, seat: usize, life: u64) {
        if self.seats[seat].lives != life {
            return;
        }
        let name = self.seats[seat].name;
        if let Some(process) = self.seats[seat].process.as_mut().filter(|p| p.frozen) {
            self.ground.fates.tell(|| format!("{name} goes on"));
            process.thaw();
            self.work(Who::try_from(seat).unwrap_or(0) + 1);
        }
    }

    /// A frozen process was not heard of for too long: its group goes on without it.
    fn session_over(&mut self, seat: usize, life: u64) {
        let s = &self.seats[seat];
        if s.lives != life || s.process.as_ref().is_none_or(|p| !p.frozen) {
            return;
        }
        let group = s.kind.group();
        let held = {
            let held = self.ground.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.get(&(s.name, group.to_owned())).cloned().unwrap_or_default()
        };
        self.ground.fates.tell(|| format!("the session of {} is over", s.name));
        if let Some(at) = held.first() {
            self.ground.log.evict(group, *at);
        }
    }

    /// Nothing goes wrong any more: whoever is frozen goes on, whoever is away comes back soon.
    fn be_quiet(&mut self) {
        self.quiet = true;
        self.looked_at = self.now();
        self.ground.agenda.after(LOOK, || {});
        self.ground.fates.be_quiet();
        self.ground.fates.tell(|| "from here on nothing goes wrong".to_owned());
        for seat in 0..self.seats.len() {
            self.thaw(seat, self.seats[seat].lives);
            if self.seats[seat].process.is_none() {
                self.later(self.now() + Duration::from_secs(1), Order::Start(seat));
            }
        }
    }

    fn judge(mut self, how: &How) -> Outcome {
        let ground = &self.ground;
        let mut counts = Counts {
            told: self.world.told(),
            seen: ground.judge.seen(),
            blows: std::mem::take(&mut self.blows),
            lasted: self.now(),
            ..Counts::default()
        };
        for met in ground.fates.met() {
            *counts.faults.entry(met.fault).or_default() += 1;
        }
        for attempt in ground.ledger.attempts() {
            *counts.orders.entry(attempt.status.as_str()).or_default() += 1;
        }
        // Everybody stops where he stands: what follows only reads.
        for seat in &mut self.seats {
            if let Some(process) = seat.process.take() {
                process.kill();
            }
        }
        if ground.judge.broken().is_none() {
            let found = decisions::judge(&self.plan, ground, counts.told.intents_repeated);
            counts.decisions = found.reasons;
            counts.causes = found.causes;
            counts.foreign_cuts = found.foreign_cuts;
            for broken in found.broken.into_iter().chain(ends::judge(&self.plan, ground)) {
                ground.judge.breaks(broken.rule, broken.what);
            }
        }
        Outcome {
            broken: ground.judge.broken(),
            met: ground.fates.met(),
            told: ground.fates.told(),
            digest: how.digest.then(|| ends::digest(ground)),
            counts,
        }
    }
}
