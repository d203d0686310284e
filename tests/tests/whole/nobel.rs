//! The recorded tape, from end to end: every distinct fill of a followed wallet ends in exactly one decision per tenant,
//! placed ones in exactly one order at the venue, the tables say the same, and replay gives the same bytes; on the
//! SQLite log and on real Kafka, with stages killed, doubled, paused and resumed.

use std::time::Duration;

use system_tests::{
    install::{LogKind, Stage},
    mirror::Mirror,
};

use crate::BINARY;

#[tokio::test(flavor = "multi_thread")]
async fn every_fill_is_mirrored_once_on_the_sqlite_log() {
    let test = "every_fill_is_mirrored_once_on_the_sqlite_log";
    let Some(mirror) = Mirror::begin(test, BINARY, LogKind::Sqlite).await else { return };
    let stages = mirror.install.stages();
    mirror.judge(stages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fill_is_mirrored_once_on_kafka() {
    let test = "every_fill_is_mirrored_once_on_kafka";
    let Some(brokers) = testkit::kafka_or_skip(test).await else { return };
    let Some(mirror) = Mirror::begin(test, BINARY, LogKind::kafka(brokers)).await else { return };
    let stages = mirror.install.stages();
    mirror.judge(stages).await;
}

/// Kills each stage once, one after another, while the tape plays; each comes back at once.
async fn kill_each_once(mirror: &Mirror, stages: &mut Vec<Stage>) {
    let share = mirror.decisions_expected() / 8;
    for (turn, name) in ["ingest", "decide", "execute", "project", "api"].into_iter().enumerate() {
        mirror.decided(share * (turn + 1), stages).await;
        let index = stages.iter().position(|s| s.name == name).unwrap();
        stages.remove(index).kill_9();
        stages.push(mirror.install.stage(name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_each_stage_loses_and_doubles_nothing_on_the_sqlite_log() {
    let test = "a_kill_of_each_stage_loses_and_doubles_nothing_on_the_sqlite_log";
    let Some(mirror) = Mirror::begin(test, BINARY, LogKind::Sqlite).await else { return };
    let mut stages = mirror.install.stages();
    kill_each_once(&mirror, &mut stages).await;
    mirror.judge(stages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_each_stage_with_one_paused_and_kills_lose_and_double_nothing_on_kafka() {
    let test = "two_of_each_stage_with_one_paused_and_kills_lose_and_double_nothing_on_kafka";
    let Some(brokers) = testkit::kafka_or_skip(test).await else { return };
    let Some(mirror) = Mirror::begin(test, BINARY, LogKind::kafka(brokers)).await else { return };
    let mut stages = mirror.install.stages();
    // The second of each joins: partitions move under the first.
    let mut second = mirror.install.stages();
    mirror.decided(mirror.decisions_expected() / 10, &mut stages).await;
    for stage in &second {
        stage.pause();
    }
    // Longer than any session: the first takes everything over while the second believes it owns its part.
    tokio::time::sleep(Duration::from_secs(8)).await;
    for stage in &second {
        stage.resume();
    }
    kill_each_once(&mirror, &mut stages).await;
    stages.append(&mut second);
    mirror.judge(stages).await;
}
