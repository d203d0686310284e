//! What holds for the fold as a whole: how its inputs are cut up, what is taken back, and what a snapshot carries.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use decide::{
    core::{Core, Staged},
    cut::{INPUTS, Slice, read},
    fixtures::{at, backfill, history, seldom},
    plan::{PLAN_VERSION, VERSIONS},
    state::State,
};
use eventlog::{Offset, Record, Stored, TopicPartition};
use proptest::prelude::*;
use schemas::{Timestamp, codec::Codec, topics::Topic};

/// A partition, and where its inputs stand.
struct Fold {
    codec: Codec,
    core: Core,
    ends: [i64; 3],
}

impl Fold {
    fn new() -> Self {
        let codec = Codec::bundled().unwrap();
        let core = Core::new(0, codec.clone(), VERSIONS).unwrap();
        Self { codec, core, ends: [0; 3] }
    }

    fn slices(&mut self, records: &[(usize, Record)]) -> [Slice; 3] {
        let mut slices = self.ends.map(|end| Slice::nothing(Offset(end)));
        for (i, record) in records {
            let at = TopicPartition::new(INPUTS[*i], 0);
            let stored = Stored { at, offset: Offset(self.ends[*i]), record: record.clone() };
            slices[*i].inputs.extend(read(&self.codec, &stored, false).unwrap());
            self.ends[*i] += 1;
            slices[*i].until = Offset(self.ends[*i]);
        }
        slices
    }

    fn stage(&mut self, slices: [Slice; 3], clock: Timestamp) -> Staged {
        self.core.stage(slices, clock, &mut || [7; 16]).unwrap()
    }

    fn cut(&mut self, records: &[(usize, Record)], clock: Timestamp) -> Staged {
        let slices = self.slices(records);
        let staged = self.stage(slices, clock);
        self.core.keep(&staged, Offset(0), Offset(0)).unwrap();
        staged
    }

    fn bytes(&self) -> Vec<u8> {
        self.core.state().to_bytes().unwrap()
    }
}

/// A month of everything in batches, each in the order in which one cut folds it, and the clock of each: seconds apart,
/// and now and then days, so that whatever can be forgotten is.
fn batches(seed: u64) -> Vec<(Vec<(usize, Record)>, Timestamp)> {
    let codec = Codec::bundled().unwrap();
    let mut records = history(&codec, seed, 220);
    records.splice(14..14, seldom(&codec));
    records.splice(14..14, backfill(&codec, 2, 60));
    let index = |topic: &Topic| INPUTS.iter().position(|t| t == topic).unwrap();
    let mut days = 0;
    (0i64..)
        .zip(records.chunks(12))
        .map(|(n, some)| {
            if n % 9 == 8 {
                days += 4;
            }
            let mut batch: Vec<_> =
                some.iter().map(|(topic, _, record)| (index(topic), record.clone())).collect();
            batch.sort_by_key(|(i, _)| *i);
            (batch, at(days * 86_400 + n * 12))
        })
        .collect()
}

/// What was decided, without the cuts in which it was.
fn decided(staged: &Staged) -> Vec<String> {
    staged
        .decisions
        .iter()
        .map(|d| {
            let mut d = d.decision.clone();
            d.cut = 0;
            format!("{d:?}")
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn cut_up_otherwise_the_same_inputs_give_the_same_decisions_and_the_same_state(
        seed in 0u64..1_000,
        splits in proptest::collection::vec(1usize..13, 1..60),
    ) {
        let (mut whole, mut split) = (Fold::new(), Fold::new());
        let mut sizes = splits.iter().cycle();
        let mut total = 0;
        for (batch, clock) in batches(seed) {
            let wanted = decided(&whole.cut(&batch, clock));
            let (mut rest, mut got) = (batch.as_slice(), Vec::new());
            while !rest.is_empty() {
                let (some, others) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                got.extend(decided(&split.cut(some, clock)));
                rest = others;
            }
            total += wanted.len();
            prop_assert_eq!(wanted, got);
        }
        prop_assert!(total > 100, "{}", total);
        prop_assert!(whole.core.state() == split.core.state());
    }

    #[test]
    fn what_was_staged_and_taken_back_leaves_no_trace(seed in 0u64..1_000) {
        let (mut fold, mut twin) = (Fold::new(), Fold::new());
        for (batch, clock) in batches(seed) {
            let before = fold.bytes();
            let ends = fold.ends;
            // Later than it will be, so that more is forgotten too.
            for later in [at(86_400 * 60), clock] {
                fold.ends = ends;
                let slices = fold.slices(&batch);
                fold.stage(slices, later);
                fold.core.undo();
                prop_assert!(fold.bytes() == before);
            }
            fold.ends = ends;
            // The hash is over everything that was decided: percentiles and ranks are back as well.
            let (ours, theirs) = (fold.cut(&batch, clock), twin.cut(&batch, clock));
            prop_assert_eq!(ours.hash, theirs.hash);
        }
        prop_assert!(fold.bytes() == twin.bytes());
    }

    /// While a commit is on its way the next batch is decided upon it.
    #[test]
    fn a_batch_staged_upon_another_is_what_it_would_be_behind_it(seed in 0u64..1_000) {
        let (mut fold, mut twin) = (Fold::new(), Fold::new());
        for pair in batches(seed).chunks(2) {
            let [(first, clock), (second, later)] = pair else { continue };
            let one = twin.cut(first, *clock);
            let between = twin.bytes();
            let two = twin.cut(second, *later);
            let ends = fold.ends;
            let slices = fold.slices(first);
            let staged = fold.stage(slices, *clock);
            prop_assert_eq!(staged.hash, one.hash);
            let slices = fold.slices(second);
            prop_assert_eq!(fold.stage(slices, *later).hash, two.hash);
            // The first is in the log, and the answer to the second is lost.
            fold.core.keep(&staged, Offset(0), Offset(0)).unwrap();
            fold.core.undo();
            prop_assert!(fold.bytes() == between);
            fold.ends = [0, 1, 2].map(|i| ends[i] + i64::try_from(first.iter().filter(|(of, _)| *of == i).count()).unwrap());
            let slices = fold.slices(second);
            let staged = fold.stage(slices, *later);
            prop_assert_eq!(staged.hash, two.hash);
            fold.core.keep(&staged, Offset(0), Offset(0)).unwrap();
            prop_assert!(fold.bytes() == twin.bytes());
        }
    }

    #[test]
    fn what_is_staged_upon_a_batch_that_fails_goes_with_it(seed in 0u64..1_000) {
        let mut fold = Fold::new();
        for pair in batches(seed).chunks(2) {
            let [(first, clock), (second, later)] = pair else { continue };
            let (before, ends) = (fold.bytes(), fold.ends);
            for (batch, clock) in [(first, *clock), (second, *later)] {
                let slices = fold.slices(batch);
                fold.stage(slices, clock);
            }
            fold.core.undo();
            prop_assert!(fold.bytes() == before);
            fold.ends = ends;
            fold.cut(first, *clock);
        }
    }

    #[test]
    fn a_snapshot_and_what_came_after_it_are_the_whole_fold(seed in 0u64..1_000, every in 1usize..6) {
        let (mut fold, mut twin) = (Fold::new(), Fold::new());
        for (n, (batch, clock)) in batches(seed).into_iter().enumerate() {
            if n % every == 0 {
                let state = State::from_bytes(&fold.bytes()).unwrap();
                let head = *fold.core.head();
                fold.core = Core::restored(0, fold.codec.clone(), VERSIONS, PLAN_VERSION, head, state).unwrap();
            }
            prop_assert_eq!(fold.cut(&batch, clock).hash, twin.cut(&batch, clock).hash);
        }
        prop_assert!(fold.bytes() == twin.bytes());
    }
}
