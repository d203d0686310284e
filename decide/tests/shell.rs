//! The loop over a log in memory under a virtual clock: crashes at every step, lost answers, two owners at once,
//! partitions that move. Whatever happens, there is one chain, and replaying it gives the same bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use decide::{
    DecideError,
    chain::{Block, Chain},
    core::Core,
    cut::INPUTS,
    fixtures::{T0, at, fill, history, input, snapshot, target, wallet},
    plan::{PLAN_VERSION, VERSIONS, Version, settings::defaults, v1},
    shell::{GROUP, Options, Ports, run},
    source::Source,
};
use eventlog::{
    Append, Expected, Log, Offset, Record, TopicPartition, VenueKind, Written, event,
    fault::Lost,
    memory::{MemoryLog, MemoryOptions},
};
use runtime::{Board, Chance, Stop, VirtualClock};
use schemas::{
    Address, Outcome, Side, Sizing,
    codec::{Codec, FIRST_BUNDLED_ID, SchemaId, SchemaSource, released},
    events::{DeadLettersEvent, DecisionsEvent, IntentsEvent},
    topics::{Topic, partition_of_wallet},
};
use tokio::task::JoinHandle;

/// So many that each wallet of [`history`] has one of its own.
const PARTITIONS: i32 = 5;

/// A log, a clock, and whoever decides on them.
struct Rig {
    log: MemoryLog,
    clock: VirtualClock,
    codec: Codec,
    board: Board,
}

struct Running {
    stop: Stop,
    task: JoinHandle<Result<(), DecideError>>,
}

impl Rig {
    fn new(markers: bool) -> Self {
        let clock = VirtualClock::at(T0);
        let expected = Expected {
            venue: VenueKind::Simulator,
            wallet_partitions: PARTITIONS,
            account_partitions: 2,
            market_partitions: 1,
            log_id: None,
        };
        let options = MemoryOptions { markers };
        let shared = Arc::new(clock.clone());
        let log = MemoryLog::create(&expected, options, shared, &Chance::seeded(1)).unwrap();
        Self { log, clock, codec: Codec::bundled().unwrap(), board: Board::new() }
    }

    /// The same log, with figures of its own.
    fn same(&self) -> Self {
        Self {
            log: self.log.clone(),
            clock: self.clock.clone(),
            codec: self.codec.clone(),
            board: Board::new(),
        }
    }

    fn start(&self, seed: u64) -> Running {
        self.start_with(seed, options())
    }

    fn start_with(&self, seed: u64, options: Options) -> Running {
        let stop = Stop::new();
        let ports = Ports {
            log: Arc::new(self.log.clone()),
            codec: self.codec.clone(),
            clock: Arc::new(self.clock.clone()),
            chance: Chance::seeded(seed),
            board: self.board.clone(),
            stop: stop.clone(),
        };
        Running { stop, task: tokio::spawn(run(ports, options)) }
    }

    async fn put(&self, records: Vec<(Topic, Address, Record)>) {
        let appends = records
            .into_iter()
            .map(|(topic, wallet, record)| Append {
                to: TopicPartition::new(topic, partition_of_wallet(wallet, PARTITIONS)),
                record,
            })
            .collect();
        assert!(matches!(self.log.append(appends).await, Written::Done(_)));
    }

    /// Lets everybody run for a while of the clock's time.
    async fn pass(&self, ms: u64) {
        // Long times in larger steps: nobody does anything in between that is worth waiting for.
        let step = (ms / 40).max(10);
        for _ in 0..ms.div_ceil(step) {
            self.clock.advance(Duration::from_millis(step));
            for _ in 0..30 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn blocks(&self) -> Vec<(Vec<Block>, Chain)> {
        let contents = self.log.contents();
        (0..PARTITIONS)
            .map(|p| {
                let mut chain = Chain::genesis();
                let records = contents.get(&TopicPartition::new(Topic::Decisions, p));
                let blocks =
                    records.into_iter().flatten().filter_map(|r| chain.push(&self.codec, r)).collect();
                (blocks, chain)
            })
            .collect()
    }

    fn ends(&self, partition: i32) -> [i64; 3] {
        let contents = self.log.contents();
        INPUTS.map(|topic| {
            contents
                .get(&TopicPartition::new(topic, partition))
                .and_then(|records| records.last())
                .map_or(0, |r| r.offset.0 + 1)
        })
    }

    /// Until every record of every input is in a cut.
    async fn settle(&self) {
        for _ in 0..600 {
            let done = self.blocks().iter().zip(0..).all(|((blocks, _), p)| {
                let taken = blocks.last().map_or([0; 3], |b| [0, 1, 2].map(|i: usize| b.cut.taken[i].until));
                taken == self.ends(p)
            });
            if done {
                return;
            }
            self.pass(100).await;
        }
        panic!("nobody decided what is there: {:?}", self.board.figures());
    }

    /// What the chain says, without what depends on how it was cut: per (key, tenant, revision).
    fn decided(&self) -> BTreeMap<String, (Outcome, String)> {
        let mut all = BTreeMap::new();
        for (blocks, _) in self.blocks() {
            for d in blocks.into_iter().flat_map(|b| b.decisions) {
                let d = d.decision;
                let name = format!("{} {} {}", d.idempotency_key, d.billing_account_id, d.revision);
                let said = (d.outcome, format!("{} {:?}", d.reason, d.order));
                assert!(all.insert(name.clone(), said).is_none(), "decided twice: {name}");
            }
        }
        all
    }

    /// One chain, offsets that agree with it, every intent there once, and the same bytes again.
    async fn check(&self) -> replay::Report {
        let report = replay::audit(&self.log, &self.codec, &replay::Options::default()).await.unwrap();
        assert!(report.is_identical(), "{report}");
        for (p, (blocks, _)) in (0..).zip(self.blocks()) {
            let Some(last) = blocks.last() else { continue };
            let at = INPUTS.map(|t| TopicPartition::new(t, p));
            let committed = self.log.committed(GROUP, &at).await.unwrap();
            for (at, taken) in at.iter().zip(&last.cut.taken) {
                assert_eq!(committed[at].0, taken.until, "{at}");
            }
        }
        report
    }
}

impl Running {
    async fn stop(self, rig: &Rig) {
        self.stop.request();
        rig.pass(300).await;
        self.task.await.unwrap().unwrap();
    }

    /// As kill -9 does: nothing more is said.
    fn kill(self) {
        self.task.abort();
    }
}

/// A history, and before it what it says of targets: who follows whom is known when the rest comes.
fn targets_and_rest(records: Vec<(Topic, Address, Record)>) -> [Vec<(Topic, Address, Record)>; 2] {
    let (targets, rest) = records.into_iter().partition(|(topic, ..)| *topic == Topic::Targets);
    [targets, rest]
}

fn options() -> Options {
    Options {
        snapshot_every: 5,
        snapshot_after: Duration::from_millis(500),
        restore_slice: 7,
        ..Options::default()
    }
}

#[tokio::test]
async fn fills_become_decisions_and_intents_and_figures() {
    let rig = Rig::new(false);
    let decider = rig.start(7);
    let w = wallet(1);
    rig.put(vec![
        (Topic::Targets, w, input(&rig.codec, w, &target(1, 1, defaults(Sizing::MinBet)))),
        (Topic::Fills, w, input(&rig.codec, w, &snapshot(1, &[]))),
    ])
    .await;
    rig.settle().await;
    let buy = fill(1, 1, Side::Buy, "25", "0.40", 0);
    rig.put(vec![
        (Topic::Fills, w, input(&rig.codec, w, &buy)),
        (Topic::Fills, w, input(&rig.codec, w, &buy)),
    ])
    .await;
    rig.settle().await;
    let report = rig.check().await;
    assert_eq!((report.decisions, report.intents.found, report.repeats), (1, 1, 1));
    let figures = rig.board.figures();
    assert_eq!(figures.decisions, BTreeMap::from([("already_placed", 1), ("ok", 1)]));
    assert!(figures.latency.contains_key("decided"));
    // The intent stands where its account belongs.
    let contents = rig.log.contents();
    let account = decide::fixtures::account(1).to_string();
    let place = rig.log.manifest().place(Topic::Intents, account.as_bytes());
    let record = &contents[&place][0].record;
    assert_eq!(record.key.as_deref(), Some(account.as_bytes()));
    let intent: IntentsEvent = rig.codec.decode(record.value.as_ref().unwrap()).unwrap();
    assert!(matches!(intent, IntentsEvent::PlaceIntent(_)));
    // A decision is keyed by its own key, and stands in the partition of its wallet.
    let p = partition_of_wallet(w, PARTITIONS);
    let decisions = &contents[&TopicPartition::new(Topic::Decisions, p)];
    let decision = decisions
        .iter()
        .find_map(|r| match rig.codec.decode(r.record.value.as_ref().unwrap()).unwrap() {
            DecisionsEvent::Decision(d) => Some((r, d)),
            DecisionsEvent::Cut(_) => None,
        })
        .unwrap();
    assert_eq!(decision.0.record.key.as_deref(), Some(decision.1.idempotency_key.to_string().as_bytes()));
    assert_eq!(decision.0.record.header(event::SALT).unwrap().len(), 32);
    // The lag is told while there is nothing to do.
    rig.pass(3_000).await;
    assert_eq!(rig.board.figures().lag.get(GROUP), Some(&0));
    decider.stop(&rig).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter_and_stops_nothing() {
    let rig = Rig::new(false);
    let decider = rig.start(7);
    let w = wallet(1);
    let garbage = |value: Option<&'static [u8]>| Record {
        key: Some("k".into()),
        value: value.map(Into::into),
        headers: Vec::new(),
        timestamp: T0,
    };
    rig.put(vec![
        (Topic::Targets, w, input(&rig.codec, w, &target(1, 1, defaults(Sizing::MinBet)))),
        (Topic::Targets, w, garbage(Some(b"{}"))),
        (Topic::Orders, w, garbage(None)),
        (Topic::Fills, w, input(&rig.codec, w, &snapshot(1, &[]))),
        (Topic::Fills, w, garbage(Some(&[0, 0x50, 0x4d, 0, 1, 9]))),
        (Topic::Fills, w, input(&rig.codec, w, &fill(1, 1, Side::Buy, "25", "0.40", 0))),
    ])
    .await;
    rig.settle().await;
    let report = rig.check().await;
    assert_eq!((report.decisions, report.skipped), (1, 3));
    let contents = rig.log.contents();
    let letters: Vec<_> = contents[&TopicPartition::new(Topic::DeadLetters, 0)]
        .iter()
        .map(|r| match rig.codec.decode(r.record.value.as_ref().unwrap()).unwrap() {
            DeadLettersEvent::DeadLetter(l) => (l.topic, l.offset, l.code, l.reader),
            DeadLettersEvent::Gap(_) => panic!(),
        })
        .collect();
    let said = |topic: &str, offset, code: &str| (topic.into(), offset, code.into(), "decide".into());
    assert_eq!(
        letters,
        [
            said("targets", 1, "record_not_framed"),
            said("orders", 0, "record_without_value"),
            said("fills", 1, "record_not_readable"),
        ]
    );
    decider.stop(&rig).await;
}

#[tokio::test]
async fn the_letter_of_a_record_fits_into_the_log_however_large_the_record() {
    let rig = Rig::new(false);
    let decider = rig.start(7);
    let w = wallet(1);
    // As much as the broker takes of anybody.
    let large =
        Record { key: None, value: Some(vec![1; 9_000_000].into()), headers: Vec::new(), timestamp: T0 };
    rig.put(vec![
        (Topic::Targets, w, input(&rig.codec, w, &target(1, 1, defaults(Sizing::MinBet)))),
        (Topic::Fills, w, input(&rig.codec, w, &snapshot(1, &[]))),
        (Topic::Fills, w, large),
        (Topic::Fills, w, input(&rig.codec, w, &fill(1, 1, Side::Buy, "25", "0.40", 0))),
    ])
    .await;
    rig.settle().await;
    let report = rig.check().await;
    assert_eq!((report.decisions, report.skipped), (1, 1));
    let contents = rig.log.contents();
    let record = &contents[&TopicPartition::new(Topic::DeadLetters, 0)][0].record;
    let value = record.value.as_ref().unwrap();
    assert!(value.len() < 8 << 20, "{} bytes", value.len());
    let DeadLettersEvent::DeadLetter(letter) = rig.codec.decode(value).unwrap() else { panic!() };
    assert_eq!((letter.topic.as_str(), letter.offset, letter.value), ("fills", 1, None));
    assert!(letter.reason.contains("9000000 bytes"), "{}", letter.reason);
    decider.stop(&rig).await;
}

/// A registry that answers once it is told to.
#[derive(Debug, Default)]
struct Sleepy {
    awake: AtomicBool,
    schema: String,
}

impl SchemaSource for Sleepy {
    fn schema(&self, _: SchemaId) -> Result<Option<String>, String> {
        if self.awake.load(Ordering::SeqCst) { Ok(Some(self.schema.clone())) } else { Err("asleep".into()) }
    }
}

/// A value under another schema id, as a newer program or one with a registry writes it.
fn under(id: u32, value: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], &value[5..]].concat()
}

/// The newest schema of a record.
fn schema_of(name: &str) -> String {
    released()
        .unwrap()
        .into_iter()
        .filter(|r| r.name == name)
        .max_by_key(|r| r.version)
        .unwrap()
        .json
        .to_owned()
}

#[tokio::test]
async fn a_fill_of_a_newer_program_stops_the_stage_and_is_decided_by_that() {
    const LATER: u32 = FIRST_BUNDLED_ID + 9_999;
    let rig = Rig::new(false);
    let decider = rig.start(7);
    let w = wallet(1);
    let mut newer = input(&rig.codec, w, &fill(1, 1, Side::Buy, "25", "0.40", 0));
    newer.value = newer.value.map(|value| under(LATER, &value).into());
    rig.put(vec![
        (Topic::Targets, w, input(&rig.codec, w, &target(1, 1, defaults(Sizing::MinBet)))),
        (Topic::Fills, w, input(&rig.codec, w, &snapshot(1, &[]))),
        (Topic::Fills, w, newer),
    ])
    .await;
    rig.pass(500).await;
    assert!(decider.task.is_finished());
    assert_eq!(decider.task.await.unwrap().unwrap_err().code(), "record_schema_newer");
    // Upgraded.
    rig.codec.learn(SchemaId(LATER), &schema_of("Fill")).unwrap();
    rig.pass(11_000).await;
    let decider = rig.start(8);
    rig.settle().await;
    let report = rig.check().await;
    assert_eq!((report.decisions, report.skipped), (1, 0));
    decider.stop(&rig).await;
}

#[tokio::test]
async fn a_fill_whose_schema_the_registry_does_not_tell_now_is_waited_for() {
    let rig = Rig::new(false);
    let registry = Arc::new(Sleepy { schema: schema_of("Fill"), ..Sleepy::default() });
    rig.codec.ask(registry.clone());
    let decider = rig.start(7);
    let w = wallet(1);
    let mut of_registry = input(&rig.codec, w, &fill(1, 1, Side::Buy, "25", "0.40", 0));
    of_registry.value = of_registry.value.map(|value| under(77, &value).into());
    rig.put(vec![
        (Topic::Targets, w, input(&rig.codec, w, &target(1, 1, defaults(Sizing::MinBet)))),
        (Topic::Fills, w, input(&rig.codec, w, &snapshot(1, &[]))),
        (Topic::Fills, w, of_registry),
    ])
    .await;
    rig.pass(15_000).await;
    assert!(rig.board.figures().troubles["decide_join"] > 0);
    registry.awake.store(true, Ordering::SeqCst);
    rig.settle().await;
    let report = rig.check().await;
    assert_eq!((report.decisions, report.skipped), (1, 0));
    decider.stop(&rig).await;
}

/// A cut that cannot be read now is no foreign one: whoever went on without it would begin another chain.
#[tokio::test]
async fn a_cut_whose_schema_the_registry_does_not_tell_now_is_waited_for() {
    for of_newer in [false, true] {
        let rig = Rig::new(true);
        // Its writer had ids of a registry, or was a newer program.
        let id = if of_newer { FIRST_BUNDLED_ID + 9_999 } else { 77 };
        let writer = Rig { codec: Codec::bundled().unwrap(), ..rig.same() };
        writer.codec.write_as("Cut", SchemaId(id), &schema_of("Cut")).unwrap();
        let records = history(&rig.codec, 141, 60);
        let decider = writer.start_with(1, Options { snapshot_every: u64::MAX / 4, ..options() });
        rig.put(records[..40].to_vec()).await;
        writer.settle().await;
        decider.kill();
        rig.pass(11_000).await;
        let registry = Arc::new(Sleepy { schema: schema_of("Cut"), ..Sleepy::default() });
        if !of_newer {
            rig.codec.ask(registry.clone());
        }
        let decider = rig.start(2);
        rig.put(records[40..].to_vec()).await;
        rig.pass(2_000).await;
        if of_newer {
            assert!(decider.task.is_finished());
            assert_eq!(decider.task.await.unwrap().unwrap_err().code(), "record_schema_newer");
            continue;
        }
        assert!(rig.board.figures().troubles["decide_restore"] > 0);
        registry.awake.store(true, Ordering::SeqCst);
        rig.settle().await;
        let report = rig.check().await;
        assert_eq!(report.foreign_records, 0);
        decider.stop(&rig).await;
    }
}

/// What one owner decides who is never disturbed, from the same records in the same order.
async fn undisturbed(
    records: &[(Topic, Address, Record)],
    chunk: usize,
) -> BTreeMap<String, (Outcome, String)> {
    let rig = Rig::new(false);
    let decider = rig.start(99);
    for some in records.chunks(chunk) {
        rig.put(some.to_vec()).await;
        rig.settle().await;
    }
    rig.check().await;
    decider.stop(&rig).await;
    rig.decided()
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped_from_a_snapshot_as_from_the_start() {
    for markers in [false, true] {
        for snapshots in [true, false] {
            let rig = Rig::new(markers);
            let records = history(&rig.codec, 5, 240);
            let mut options = options();
            if !snapshots {
                options.snapshot_every = u64::MAX / 4;
            }
            for (n, some) in (0..).zip(records.chunks(60)) {
                let decider = rig.start_with(n, options.clone());
                rig.put(some.to_vec()).await;
                rig.settle().await;
                rig.pass(1_500).await;
                if n % 2 == 0 {
                    decider.stop(&rig).await;
                } else {
                    decider.kill();
                }
                // A killed member's session has to end first.
                rig.pass(11_000).await;
            }
            let written = rig.log.contents();
            let states: usize = (0..PARTITIONS)
                .filter_map(|p| written.get(&TopicPartition::new(Topic::DecideState, p)))
                .map(Vec::len)
                .sum();
            assert!(states > 0, "a stop leaves snapshots behind");
            rig.check().await;
        }
    }
}

#[tokio::test]
async fn restoring_from_a_snapshot_and_from_the_first_cut_give_the_same_state() {
    let rig = Rig::new(false);
    let decider = rig.start(3);
    for some in history(&rig.codec, 11, 300).chunks(20) {
        rig.put(some.to_vec()).await;
        rig.settle().await;
        rig.pass(600).await;
    }
    decider.stop(&rig).await;
    for (p, (blocks, _)) in (0..).zip(rig.blocks()) {
        if blocks.is_empty() {
            continue;
        }
        let mut whole = Core::new(p, rig.codec.clone(), VERSIONS).unwrap();
        let mut source = Source::new(rig.codec.clone(), p, [Offset::ZERO; 3]);
        let mut halfway = None;
        for (n, block) in blocks.iter().enumerate() {
            let batch = source.batch(&rig.log, &block.cut).await.unwrap().unwrap();
            whole.redo(block, batch).unwrap();
            if n == blocks.len() / 2 {
                let bytes = whole.state().to_bytes().unwrap();
                let state = decide::state::State::from_bytes(&bytes).unwrap();
                assert_eq!(state.to_bytes().unwrap(), bytes, "the same bytes for the same state");
                let head = *whole.head();
                let core = Core::restored(p, rig.codec.clone(), VERSIONS, PLAN_VERSION, head, state).unwrap();
                halfway = Some((core, Source::new(rig.codec.clone(), p, head.inputs)));
            } else if let Some((core, source)) = &mut halfway {
                let batch = source.batch(&rig.log, &block.cut).await.unwrap().unwrap();
                let again = core.redo(block, batch).unwrap();
                assert_eq!(again.hash, block.hash);
            }
        }
        let (halfway, _) = halfway.unwrap();
        assert_eq!(halfway.state().to_bytes().unwrap(), whole.state().to_bytes().unwrap());
        assert_eq!(halfway.head(), whole.head());
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_looked_up_in_the_chain() {
    for markers in [false, true] {
        for lost in [Lost::Before, Lost::After] {
            let rig = Rig::new(markers);
            let records = history(&rig.codec, 21, 150);
            let decider = rig.start(3);
            for some in records.chunks(10) {
                rig.log.faults().lose_next_commit(lost);
                rig.put(some.to_vec()).await;
                rig.settle().await;
            }
            assert!(rig.board.figures().troubles["decide_commit"] >= 10);
            let report = rig.check().await;
            assert_eq!(report.foreign_records, 0);
            assert_eq!(rig.decided(), undisturbed(&records, 10).await);
            decider.stop(&rig).await;
        }
    }
}

#[tokio::test]
async fn partitions_move_between_two_members_and_come_back() {
    for markers in [false, true] {
        let rig = Rig::new(markers);
        let records = history(&rig.codec, 31, 240);
        let first = rig.start(1);
        let mut second = Some(rig.start(2));
        for (n, some) in (0..).zip(records.chunks(20)) {
            match n % 4 {
                0 => rig.log.rebalance(GROUP),
                1 => {
                    if let Some(second) = second.take() {
                        if n == 1 { second.kill() } else { second.stop(&rig).await }
                    }
                }
                2 => second = Some(rig.start(n)),
                _ => {}
            }
            rig.put(some.to_vec()).await;
            rig.settle().await;
        }
        rig.check().await;
        assert_eq!(rig.decided(), undisturbed(&records, 20).await);
        first.stop(&rig).await;
    }
}

#[tokio::test]
async fn a_zombie_and_its_successor_do_no_harm() {
    let rig = Rig::new(true);
    let records = history(&rig.codec, 41, 200);
    let (first, second) = (rig.start(1), rig.start(2));
    for (n, some) in (0..).zip(records.chunks(10)) {
        // Whoever holds it goes on deciding, and finds out when it commits.
        rig.put(some.to_vec()).await;
        for _ in 0..n % 7 {
            tokio::task::yield_now().await;
        }
        for p in 0..PARTITIONS {
            rig.log.evict(GROUP, TopicPartition::new(Topic::Fills, p));
        }
        rig.settle().await;
    }
    assert!(rig.board.figures().troubles["decide_commit"] > 0, "nobody was a zombie");
    let report = rig.check().await;
    assert_eq!(report.foreign_records, 0);
    assert_eq!(rig.decided(), undisturbed(&records, 10).await);
    first.stop(&rig).await;
    second.stop(&rig).await;
}

#[tokio::test]
async fn a_crash_at_any_step_loses_nothing_and_doubles_nothing() {
    let codec = Codec::bundled().unwrap();
    let records = history(&codec, 101, 60);
    let expected = undisturbed(&records, 30).await;
    for step in (0..12).chain((12..60).step_by(6)) {
        let rig = Rig::new(step % 2 == 0);
        for (n, some) in (0..).zip(records.chunks(30)) {
            let decider = rig.start(n);
            rig.pass(100).await;
            rig.put(some.to_vec()).await;
            // Each step further into taking over, deciding, committing, and leaving a snapshot.
            for _ in 0..step {
                tokio::task::yield_now().await;
            }
            decider.kill();
            rig.pass(11_000).await;
        }
        let last = rig.start(9);
        rig.settle().await;
        rig.check().await;
        let undated = |all: &BTreeMap<String, (Outcome, String)>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(undated(&rig.decided()), undated(&expected), "step {step}");
        last.stop(&rig).await;
    }
}

/// Appends what another owner would have committed next, past all fencing.
async fn forge(rig: &Rig, partition: i32) {
    let (blocks, _) = rig.blocks().swap_remove(usize::try_from(partition).unwrap());
    let mut core = Core::new(partition, rig.codec.clone(), VERSIONS).unwrap();
    let mut source = Source::new(rig.codec.clone(), partition, [Offset::ZERO; 3]);
    for block in &blocks {
        let batch = source.batch(&rig.log, &block.cut).await.unwrap().unwrap();
        core.redo(block, batch).unwrap();
    }
    let clock = core.head().clock.plus(Duration::from_secs(1));
    let nothing = core.nothing();
    let staged = core.stage(nothing, clock, &mut || [0; 16]).unwrap();
    let to = TopicPartition::new(Topic::Decisions, partition);
    assert!(matches!(rig.log.append(vec![Append { to, record: staged.record }]).await, Written::Done(_)));
}

#[tokio::test]
async fn a_cut_that_somebody_else_wrote_first_counts_and_the_loser_restores() {
    for markers in [false, true] {
        let rig = Rig::new(markers);
        let records = history(&rig.codec, 51, 90);
        let decider = rig.start(1);
        for (n, some) in (0..).zip(records.chunks(30)) {
            rig.put(some.to_vec()).await;
            rig.settle().await;
            if n == 1 {
                for p in 0..PARTITIONS {
                    forge(&rig, p).await;
                }
            }
        }
        let troubles = rig.board.figures().troubles;
        assert!(troubles["foreign_cut"] > 0, "{troubles:?}");
        // The cut that came too late is ignored by everybody, and what it took was taken again.
        let report = replay::audit(&rig.log, &rig.codec, &replay::Options::default()).await.unwrap();
        assert!(report.is_identical(), "{report}");
        assert!(report.foreign_cuts > 0);
        rig.decided();
        decider.stop(&rig).await;
    }
}

#[tokio::test]
async fn splitting_a_batch_into_other_cuts_changes_nothing_that_the_cuts_do_not_say() {
    let codec = Codec::bundled().unwrap();
    let all = history(&codec, 61, 200);
    let mut answers = Vec::new();
    for chunk in [1_000, 17, 3] {
        let rig = Rig::new(false);
        // The clock stands still, so that the cuts differ in nothing but what they take.
        let decider = rig.start_with(1, Options { batch: chunk, ..options() });
        // One topic after another: how topics interleave is what a cut says.
        for topic in INPUTS {
            rig.put(all.iter().filter(|(t, ..)| *t == topic).cloned().collect()).await;
            for _ in 0..20_000 {
                tokio::task::yield_now().await;
            }
            rig.settle().await;
        }
        let cuts = rig.check().await.cuts;
        answers.push((cuts, rig.decided()));
        decider.stop(&rig).await;
    }
    let (cuts, answers): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    assert!(cuts[0] < cuts[1] && cuts[1] < cuts[2], "{cuts:?}");
    assert!(answers[0].len() > 100);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[tokio::test]
async fn a_batch_that_asks_for_too_much_is_decided_in_several_commits() {
    let rig = Rig::new(false);
    let [targets, rest] = targets_and_rest(history(&rig.codec, 111, 120));
    let decider = rig.start_with(1, Options { transaction: 40, ..options() });
    // What a fill weighs is known once its followers are.
    for some in [targets, rest] {
        rig.put(some).await;
        rig.settle().await;
    }
    let report = rig.check().await;
    // Four follow each wallet: a fill weighs nine, so at most five of them stand in one cut. A price may sell for more.
    let most = rig.blocks().iter().flat_map(|(b, _)| b).map(|b| b.decisions.len()).max().unwrap();
    assert!(most <= 24, "{most}");
    assert!(report.cuts > 10 && report.decisions > 100, "{report}");
    decider.stop(&rig).await;
}

/// One partition's records fill each commit, so that the others' still wait when it has to restore.
#[tokio::test]
async fn what_waits_in_other_partitions_is_decided_though_one_has_to_restore() {
    for markers in [false, true] {
        let rig = Rig::new(markers);
        let [targets, rest] = targets_and_rest(history(&rig.codec, 131, 150));
        let place = |wallet: &Address| partition_of_wallet(*wallet, PARTITIONS);
        let first = rest.iter().map(|(_, wallet, _)| place(wallet)).min().unwrap();
        // Four follow each wallet, and a fill weighs nine.
        let (of_first, behind): (Vec<_>, Vec<_>) = rest.iter().partition(|(_, w, _)| place(w) == first);
        assert!(of_first.len() > 20 && behind.len() > 20, "{} and {}", of_first.len(), behind.len());
        let decider = rig.start_with(1, Options { transaction: 40, ..options() });
        rig.put(targets).await;
        rig.settle().await;
        forge(&rig, first).await;
        rig.put(rest).await;
        // Whoever goes on behind what was dropped would claim it, undecided.
        rig.pass(1_000).await;
        let later = (1..=3).map(|n| {
            let w = wallet(n);
            (Topic::Fills, w, input(&rig.codec, w, &fill(n, 9_000, Side::Buy, "25", "0.40", 0)))
        });
        rig.put(later.collect()).await;
        rig.settle().await;
        assert_eq!(rig.board.figures().troubles["foreign_cut"], 1);
        let report = replay::audit(&rig.log, &rig.codec, &replay::Options::default()).await.unwrap();
        assert!(report.is_identical(), "{report}");
        decider.stop(&rig).await;
    }
}

/// Batches are full here, so that each is decided while the commit of the one before is on its way.
#[tokio::test]
async fn what_is_decided_upon_a_commit_is_sent_behind_it_or_not_at_all() {
    for markers in [false, true] {
        for lost in [Lost::Before, Lost::After] {
            let rig = Rig::new(markers);
            let records = history(&rig.codec, 71, 300);
            let options = Options { batch: 5, ..options() };
            let first = rig.start_with(1, options.clone());
            let second = rig.start_with(2, options);
            for (n, some) in (0..).zip(records.chunks(60)) {
                rig.put(some.to_vec()).await;
                for _ in 0..n * 2 {
                    tokio::task::yield_now().await;
                }
                match n % 4 {
                    0 => {}
                    1 => rig.log.rebalance(GROUP),
                    2 => {
                        for p in 0..PARTITIONS {
                            rig.log.evict(GROUP, TopicPartition::new(Topic::Fills, p));
                        }
                    }
                    _ => {
                        for p in 0..PARTITIONS {
                            forge(&rig, p).await;
                        }
                    }
                }
                rig.log.faults().lose_next_commit(lost);
                rig.settle().await;
            }
            assert!(rig.board.figures().troubles["decide_commit"] >= 4);
            let report = replay::audit(&rig.log, &rig.codec, &replay::Options::default()).await.unwrap();
            assert!(report.is_identical(), "{report}");
            assert!(report.cuts > 50, "{report}");
            // Nothing twice.
            assert!(rig.decided().len() > 400);
            first.stop(&rig).await;
            second.stop(&rig).await;
        }
    }
}

/// The version that follows the newest.
const NEXT_VERSION: i32 = PLAN_VERSION + 1;

static NEXT: &[Version] = &[
    VERSIONS[0],
    VERSIONS[1],
    VERSIONS[2],
    Version {
        number: NEXT_VERSION,
        plan: |condition, inputs, now| {
            let planned = v1::plan(condition, inputs, now);
            // As if a later version were stricter.
            if inputs.side == Side::Buy && planned.outcome == Outcome::Placed {
                return decide::plan::Planned::skipped(schemas::Reason::AlreadyResting);
            }
            planned
        },
        ..VERSIONS[2]
    },
];

#[tokio::test]
async fn a_new_plan_version_begins_with_a_cut_of_its_own_and_the_old_one_stays() {
    let rig = Rig::new(true);
    let records = history(&rig.codec, 71, 120);
    let old = rig.start(1);
    rig.put(records[..60].to_vec()).await;
    rig.settle().await;
    old.stop(&rig).await;
    let new = rig.start_with(2, Options { versions: NEXT, ..options() });
    rig.pass(500).await;
    rig.put(records[60..].to_vec()).await;
    rig.settle().await;
    new.stop(&rig).await;
    for (blocks, _) in rig.blocks() {
        if blocks.is_empty() {
            continue;
        }
        let turn = blocks.iter().position(|b| b.cut.plan_version == NEXT_VERSION).unwrap();
        assert!(blocks[..turn].iter().all(|b| b.cut.plan_version == PLAN_VERSION));
        assert!(blocks[turn..].iter().all(|b| b.cut.plan_version == NEXT_VERSION));
        assert!(blocks[turn].cut.taken.iter().all(|t| t.from == t.until));
        let placed = |b: &Block| {
            b.decisions
                .iter()
                .any(|d| d.decision.outcome == Outcome::Placed && d.decision.inputs.side == Side::Buy)
        };
        assert!(!blocks[turn..].iter().any(placed));
    }
    let versions = replay::Options { versions: NEXT, ..replay::Options::default() };
    let report = replay::audit(&rig.log, &rig.codec, &versions).await.unwrap();
    assert!(report.is_identical(), "{report}");
    // A program that does not know the version stops, and says so.
    let old = rig.start(3);
    rig.pass(1_000).await;
    let error = old.task.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "plan_version_unknown");
    assert!(error.to_string().contains("Start the newer program"), "{error}");
    let error = replay::audit(&rig.log, &rig.codec, &replay::Options::default()).await.unwrap_err();
    assert_eq!(error.code(), "plan_version_unknown");
}

#[tokio::test]
async fn a_program_that_decides_otherwise_under_the_same_version_stops() {
    static OTHER: &[Version] = &[Version { number: PLAN_VERSION, ..NEXT[3] }];
    let rig = Rig::new(false);
    let no_snapshots = Options { snapshot_every: u64::MAX / 4, ..options() };
    let decider = rig.start_with(1, no_snapshots);
    rig.put(history(&rig.codec, 81, 60)).await;
    rig.settle().await;
    decider.kill();
    rig.pass(11_000).await;
    let other = rig.start_with(2, Options { versions: OTHER, ..options() });
    rig.pass(2_000).await;
    let error = other.task.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "decision_not_reproduced");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_log() {
    let mut logs = Vec::new();
    for _ in 0..2 {
        let rig = Rig::new(true);
        let (first, second) = (rig.start(1), rig.start(2));
        for (n, some) in (0..).zip(history(&rig.codec, 91, 120).chunks(20)) {
            if n == 2 {
                rig.log.faults().lose_next_commit(Lost::After);
            }
            rig.put(some.to_vec()).await;
            rig.settle().await;
        }
        first.stop(&rig).await;
        second.stop(&rig).await;
        let all: Vec<_> = rig.log.contents().into_iter().collect();
        logs.push(all);
    }
    assert!(logs[0] == logs[1]);
    assert!(at(0) == T0);
}
