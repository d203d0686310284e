//! What a replay finds in a log that somebody changed, and what it does not mind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;

use decide::{
    chain::Chain,
    core::Core,
    cut::{INPUTS, Slice, read},
    fixtures::{T0, at, history},
    plan::VERSIONS,
};
use eventlog::{
    Append, Expected, Log, Offset, Stored, TopicPartition, VenueKind, Written, event,
    memory::{MemoryLog, MemoryOptions},
};
use replay::{Options, Report, What, audit};
use runtime::{Chance, VirtualClock};
use schemas::{
    avro::Event,
    codec::Codec,
    events::{Cut, Decision, DecisionsEvent, IntentsEvent},
    topics::{Topic, partition_of},
};

fn empty() -> MemoryLog {
    let expected = Expected {
        venue: VenueKind::Simulator,
        wallet_partitions: 1,
        account_partitions: 2,
        market_partitions: 1,
        log_id: None,
    };
    let clock = Arc::new(VirtualClock::at(T0));
    MemoryLog::create(&expected, MemoryOptions::default(), clock, &Chance::seeded(1)).unwrap()
}

/// Everything that stands in a log of one partition that decided a history, in an order in which it may be
/// appended again.
fn decided(codec: &Codec, length: usize) -> Vec<Append> {
    let mut core = Core::new(0, codec.clone(), VERSIONS).unwrap();
    let chance = Chance::seeded(4);
    let mut all = Vec::new();
    let mut ends = [0i64; 3];
    let mut end = 0;
    for (n, some) in (0i64..).zip(history(codec, 7, length).chunks(9)) {
        let mut slices = ends.map(|end| Slice::nothing(Offset(end)));
        for (topic, _, record) in some {
            let i = INPUTS.iter().position(|t| t == topic).unwrap();
            let at = TopicPartition::new(*topic, 0);
            let stored = Stored { at, offset: Offset(ends[i]), record: record.clone() };
            slices[i].inputs.extend(read(codec, &stored, false).unwrap());
            ends[i] += 1;
            slices[i].until = Offset(ends[i]);
            all.push(Append { to: at, record: record.clone() });
        }
        let staged = core.stage(slices, at(n * 9), &mut || chance.bytes()).unwrap();
        let to = TopicPartition::new(Topic::Decisions, 0);
        all.push(Append { to, record: staged.record.clone() });
        for d in &staged.decisions {
            all.push(Append { to, record: d.record.clone() });
        }
        for (account, record) in &staged.intents {
            let partition = partition_of(account.to_string().as_bytes(), 2);
            all.push(Append { to: TopicPartition::new(Topic::Intents, partition), record: record.clone() });
        }
        let next = end + 1 + i64::try_from(staged.decisions.len()).unwrap();
        core.keep(&staged, Offset(end), Offset(next)).unwrap();
        end = next;
    }
    all
}

async fn replayed(codec: &Codec, records: Vec<Append>) -> Report {
    let log = empty();
    assert!(matches!(log.append(records).await, Written::Done(_)));
    // Small batches: what is read at a time is no part of the answer.
    let small = audit(&log, codec, &Options { batch: 3, ..Options::default() }).await.unwrap();
    assert_eq!(small, audit(&log, codec, &Options::default()).await.unwrap());
    small
}

/// Changes the first record of a topic for which `change` has an answer.
fn tampered<E: Event>(
    codec: &Codec,
    mut records: Vec<Append>,
    mut change: impl FnMut(&Append) -> Option<E>,
) -> Vec<Append> {
    let (i, event) =
        records.iter().enumerate().find_map(|(i, a)| Some((i, change(a)?))).expect("a record to change");
    records[i].record.value = Some(codec.encode(&event).unwrap().value);
    records
}

fn decision(codec: &Codec, a: &Append) -> Option<Decision> {
    match codec.decode(a.record.value.as_ref()?).ok()? {
        DecisionsEvent::Decision(d) => Some(d),
        DecisionsEvent::Cut(_) => None,
    }
}

fn cut(codec: &Codec, a: &Append) -> Option<Cut> {
    match codec.decode(a.record.value.as_ref()?).ok()? {
        DecisionsEvent::Cut(c) => Some(c),
        DecisionsEvent::Decision(_) => None,
    }
}

#[tokio::test]
async fn an_untouched_log_is_identical_to_the_last_byte() {
    let codec = Codec::bundled().unwrap();
    let report = replayed(&codec, decided(&codec, 300)).await;
    assert!(report.is_identical(), "{report}");
    assert!(
        report.decisions > 300 && report.cuts > 30 && report.skipped > 0 && report.repeats > 0,
        "{report}"
    );
    assert!(report.intents.found > 20, "{report}");
    assert!(report.to_string().ends_with("\nidentical"), "{report}");
    assert_eq!(replayed(&codec, Vec::new()).await.to_string().lines().last(), Some("identical"));
}

#[tokio::test]
async fn a_changed_decision_is_named_field_by_field() {
    let codec = Codec::bundled().unwrap();
    let records = tampered(&codec, decided(&codec, 200), |a| {
        let mut d = decision(&codec, a).filter(|d| d.order.is_some())?;
        d.inputs.own.held = schemas::Shares::from_units(77);
        Some(d)
    });
    let report = replayed(&codec, records).await;
    assert!(!report.is_identical());
    assert_eq!(report.decisions - report.identical, 1);
    let said = report.to_string();
    assert!(said.contains("inputs.own.held: recorded 77000000, replayed"), "{said}");
    assert!(said.contains("not those that it names"), "{said}");
    assert!(said.ends_with("NOT identical"), "{said}");
}

#[tokio::test]
async fn a_changed_input_is_found_by_its_hash() {
    let codec = Codec::bundled().unwrap();
    let records = tampered(&codec, decided(&codec, 200), |a| {
        let value = a.record.value.as_ref()?;
        match codec.decode(value).ok()? {
            schemas::events::FillsEvent::Fill(mut f) => {
                f.title = Some("another".into());
                Some(f)
            }
            _ => None,
        }
    });
    let report = replayed(&codec, records).await;
    assert!(!report.is_identical());
    assert!(report.differences.iter().any(|d| match &d.what {
        What::Cut(fields) => fields.iter().any(|f| f.path == "taken[2].content"),
        _ => false,
    }));
}

#[tokio::test]
async fn inputs_that_are_missing_or_do_not_follow_are_found() {
    let codec = Codec::bundled().unwrap();
    let all = decided(&codec, 200);
    let last = all.iter().rposition(|a| a.to.topic == Topic::Fills).unwrap();
    let mut fewer = all.clone();
    fewer.remove(last);
    let report = replayed(&codec, fewer).await;
    assert!(
        matches!(&report.differences[0].what, What::Inputs(why) if why.contains("ends before")),
        "{report}"
    );
    assert!(report.unchecked > 0);
    assert!(!report.is_identical());
}

#[tokio::test]
async fn a_salt_that_was_changed_and_a_decision_that_is_missing_are_found() {
    let codec = Codec::bundled().unwrap();
    let mut all = decided(&codec, 200);
    let i = all.iter().position(|a| decision(&codec, a).is_some()).unwrap();
    let salt = all[i].record.headers.iter_mut().find(|h| h.name == event::SALT).unwrap();
    salt.value = Some("00000000000000000000000000000000".into());
    let report = replayed(&codec, all).await;
    assert!(matches!(report.differences[0].what, What::Chain(_)), "{report}");
    assert!(!report.is_identical());

    let mut all = decided(&codec, 200);
    let i = all.iter().rposition(|a| decision(&codec, a).is_some()).unwrap();
    all.remove(i);
    let report = replayed(&codec, all).await;
    assert!(!report.is_identical(), "{report}");
}

#[tokio::test]
async fn an_intent_that_is_missing_changed_or_made_up_is_found() {
    let codec = Codec::bundled().unwrap();
    let all = decided(&codec, 200);
    let intents: Vec<usize> =
        all.iter().enumerate().filter(|(_, a)| a.to.topic == Topic::Intents).map(|(i, _)| i).collect();
    let mut fewer = all.clone();
    fewer.remove(intents[0]);
    let mut doubled = all.clone();
    doubled.push(all[intents[0]].clone());
    let changed = tampered(&codec, all.clone(), |a| match codec.decode(a.record.value.as_ref()?).ok()? {
        IntentsEvent::PlaceIntent(mut p) => {
            p.shares = schemas::Shares::from_units(1_000_000);
            Some(p)
        }
        _ => None,
    });
    for records in [fewer, doubled, changed] {
        let report = replayed(&codec, records).await;
        assert_eq!(report.different, 0);
        assert!(!report.intents.same && !report.is_identical(), "{report}");
    }
}

#[tokio::test]
async fn foreign_cuts_are_counted_and_ignored() {
    let codec = Codec::bundled().unwrap();
    let mut all = decided(&codec, 200);
    let foreign = all.iter().filter(|a| cut(&codec, a).is_some()).nth(3).unwrap().clone();
    all.push(foreign);
    let report = replayed(&codec, all).await;
    assert_eq!((report.foreign_cuts, report.foreign_records), (1, 1));
    assert!(report.is_identical(), "{report}");
}

#[tokio::test]
async fn records_of_two_writers_that_interleave_are_told_apart() {
    let codec = Codec::bundled().unwrap();
    let all = decided(&codec, 200);
    // A cut and its decisions of a dead branch, dealt out between those of the chain.
    let mut strange = Vec::new();
    for a in all.iter().filter(|a| a.to.topic == Topic::Decisions).take(6) {
        let mut a = a.clone();
        if let Some(mut c) = cut(&codec, &a) {
            c.clock = at(1_000_000);
            c.number += 1;
            a.record.value = Some(codec.encode(&c).unwrap().value);
        }
        for header in a.record.headers.iter_mut().filter(|h| h.name == event::CUT) {
            header.value = Some("0xdead".into());
        }
        strange.push(a);
    }
    let mut mixed = Vec::new();
    let mut strange = strange.into_iter();
    for a in all {
        let decisions = a.to.topic == Topic::Decisions;
        mixed.push(a);
        if decisions {
            mixed.extend(strange.next());
        }
    }
    let report = replayed(&codec, mixed.clone()).await;
    assert_eq!(report.foreign_records, 6);
    assert!(report.is_identical(), "{report}");
    let mut chain = Chain::genesis();
    let mut cuts = 0;
    for (n, a) in (0..).zip(mixed.into_iter().filter(|a| a.to.topic == Topic::Decisions)) {
        let stored = Stored { at: a.to, offset: Offset(n), record: a.record };
        cuts += u64::from(chain.push(&codec, &stored).is_some());
    }
    assert_eq!(cuts, report.cuts);
}
