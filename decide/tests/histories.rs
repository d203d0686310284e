//! What released versions decided is decided the same way today: see `histories/README.md`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use decide::{
    core::Core,
    cut::{INPUTS, Slice, read},
    fixtures::{T0, at, backfill, history, seldom},
    plan::{PLAN_VERSION, VERSIONS},
};
use eventlog::{
    Append, Expected, Header, Log, Offset, Record, Stored, TopicPartition, VenueKind, Written,
    memory::{MemoryLog, MemoryOptions},
};
use runtime::{Chance, VirtualClock};
use schemas::{
    Reason,
    codec::Codec,
    events::{DecisionsEvent, IntentsEvent},
    topics::Topic,
};
use serde::{Deserialize, Serialize};

/// A record of a history.
#[derive(Serialize, Deserialize)]
struct Line {
    topic: String,
    /// Those that decide reads: salt and cut.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// In hex; absent where the record has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

fn line(topic: Topic, record: &Record) -> String {
    let kept = |h: &&Header| matches!(h.name.as_str(), "salt" | "cut");
    let text = |h: &Header| String::from_utf8(h.value.clone().unwrap().to_vec()).unwrap();
    let line = Line {
        topic: topic.name().into(),
        headers: record.headers.iter().filter(kept).map(|h| (h.name.clone(), text(h))).collect(),
        value: record.value.as_ref().map(const_hex::encode),
    };
    serde_json::to_string(&line).unwrap()
}

/// A history of everything, decided by the newest version.
fn recorded(codec: &Codec) -> String {
    let mut core = Core::new(0, codec.clone(), VERSIONS).unwrap();
    let chance = Chance::seeded(2);
    let mut lines = Vec::new();
    let mut ends = [0i64; 3];
    // So much of a past that `auto` comes to judge by it.
    let mut records = backfill(codec, 2, 48);
    records.extend(history(codec, 21, 520));
    // Behind the targets and snapshots with which a history begins.
    let begun = 48 + 14;
    records.splice(begun..begun, seldom(codec));
    for (n, some) in (0i64..).zip(records.chunks(5)) {
        let mut slices = ends.map(|end| Slice::nothing(Offset(end)));
        for (topic, _, record) in some {
            let i = INPUTS.iter().position(|t| t == topic).unwrap();
            let at = TopicPartition::new(*topic, 0);
            let stored = Stored { at, offset: Offset(ends[i]), record: record.clone() };
            slices[i].inputs.extend(read(codec, &stored, false).unwrap());
            ends[i] += 1;
            slices[i].until = Offset(ends[i]);
            lines.push(line(*topic, record));
        }
        let clock = at((n * 5 - 60).max(0));
        let staged = core.stage(slices, clock, &mut || chance.bytes()).unwrap();
        lines.push(line(Topic::Decisions, &staged.record));
        lines.extend(staged.decisions.iter().map(|d| line(Topic::Decisions, &d.record)));
        lines.extend(staged.intents.iter().map(|(_, record)| line(Topic::Intents, record)));
        core.keep(&staged, Offset(0), Offset(0)).unwrap();
    }
    lines.join("\n") + "\n"
}

fn records(lines: &str) -> Vec<Append> {
    lines
        .lines()
        .map(|text| {
            let line: Line = serde_json::from_str(text).unwrap();
            let header = |(name, value): (String, String)| Header { name, value: Some(value.into()) };
            Append {
                to: TopicPartition::new(Topic::from_name(&line.topic).unwrap(), 0),
                record: Record {
                    key: None,
                    value: line.value.map(|hex| const_hex::decode(hex).unwrap().into()),
                    headers: line.headers.into_iter().map(header).collect(),
                    timestamp: T0,
                },
            }
        })
        .collect()
}

#[tokio::test]
async fn every_recorded_history_is_decided_the_same_way_today() {
    let codec = Codec::bundled().unwrap();
    let newest = folder().join(format!("v{PLAN_VERSION}-mixed.jsonl.zst"));
    if std::env::var_os("POLYMIRROR_RECORD_HISTORY").is_some() && !newest.exists() {
        fs::write(&newest, zstd::encode_all(recorded(&codec).as_bytes(), 19).unwrap()).unwrap();
    }
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "zst"))
        .collect();
    files.sort();
    for version in VERSIONS {
        let prefix = format!("v{}-", version.number);
        let there = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().starts_with(&prefix);
        assert!(
            files.iter().any(there),
            "no history of plan version {}: see README.md there",
            version.number
        );
    }
    for file in files {
        let lines = String::from_utf8(zstd::decode_all(fs::File::open(&file).unwrap()).unwrap()).unwrap();
        let expected = Expected {
            venue: VenueKind::Simulator,
            wallet_partitions: 1,
            account_partitions: 1,
            market_partitions: 1,
            log_id: None,
        };
        let clock = Arc::new(VirtualClock::at(T0));
        let log = MemoryLog::create(&expected, MemoryOptions::default(), clock, &Chance::seeded(1)).unwrap();
        assert!(matches!(log.append(records(&lines)).await, Written::Done(_)));
        let report = replay::audit(&log, &codec, &replay::Options::default()).await.unwrap();
        assert!(
            report.is_identical(),
            "{}: the same inputs give other decisions, and PLAN_VERSION is still {PLAN_VERSION}: \
             see tests/histories/README.md\n{report}",
            file.display()
        );
        assert!(report.decisions > 300, "{report}");
    }
}

#[test]
fn the_history_that_is_recorded_meets_most_rules() {
    let codec = Codec::bundled().unwrap();
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let mut exits: BTreeMap<String, usize> = BTreeMap::new();
    let mut migrations = 0;
    for append in records(&recorded(&codec)) {
        if append.to.topic == Topic::Intents
            && let IntentsEvent::MigrateIntent(_) =
                codec.decode(append.record.value.as_ref().unwrap()).unwrap()
        {
            migrations += 1;
        }
        if append.to.topic == Topic::Decisions
            && let DecisionsEvent::Decision(d) = codec.decode(&append.record.value.unwrap()).unwrap()
        {
            *reasons.entry(d.reason).or_default() += 1;
            let scheme = d.fill_id.as_str().split(':').take(2).collect::<Vec<_>>().join(":");
            if d.fill_id.as_str().starts_with("exit:") {
                *exits.entry(scheme).or_default() += 1;
            }
        }
    }
    for reason in [
        Reason::Ok,
        Reason::LayerScaleIn,
        Reason::HedgeFollowup,
        Reason::BelowTargetPercentile,
        Reason::FollowupPositionTooSmall,
        Reason::TargetPositionBelowThreshold,
        Reason::FollowupNotNeeded,
        Reason::SlippageExceeded,
        Reason::TargetClosing,
        Reason::BeforeBaselineSnapshot,
        Reason::MarketUnknown,
        Reason::MarketClosed,
        Reason::FilterTradeSize,
        Reason::FilterSpread,
        Reason::FilterMarket,
        Reason::TargetDominantOtherSide,
        Reason::VwapFloorBreach,
        Reason::BelowMarketMin,
        Reason::PositionCapReached,
        Reason::AlreadyResting,
        Reason::FeeTooHigh,
        Reason::SellWithoutPosition,
        Reason::SellClosedPosition,
        Reason::DecisionFailed,
    ] {
        assert!(reasons.contains_key(&reason), "{reason} does not occur: {reasons:?}");
    }
    let rules: Vec<&str> = exits.keys().map(String::as_str).collect();
    assert_eq!(rules, ["exit:sell_winners_at", "exit:stop_loss", "exit:take_profit"]);
    assert!(migrations >= 2, "two followers hold what migrates");
}

/// Replay writes what a version wrote: so a record that is given a field asks for a version that writes it.
#[test]
fn the_newest_plan_version_writes_the_newest_schemas() {
    let newest = VERSIONS.last().unwrap();
    assert_eq!(newest.number, PLAN_VERSION);
    let written = ["Cut", "Decision", "PlaceIntent", "CloseIntent", "CancelIntent", "MigrateIntent"];
    for version in VERSIONS {
        let named: Vec<&str> = version.writes.iter().map(|(name, _)| *name).collect();
        // Migrations are told since version 3.
        let told = if version.carries { &written[..] } else { &written[..5] };
        assert_eq!(named, told, "plan version {}", version.number);
    }
    for (name, version) in newest.writes {
        let all = schemas::codec::released().unwrap();
        let released = all.iter().filter(|r| r.name == *name).map(|r| r.version).max();
        assert_eq!(
            Some(*version),
            released,
            "`{name}` has a newer schema than plan version {PLAN_VERSION} writes: add a plan version that writes it"
        );
    }
}
