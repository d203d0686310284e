//! The servers that tests get: real, empty, and gone afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::{Kafka, fresh_database, kafka, kafka_or_skip, postgres, wait_for, wait_for_blocking};

const DEADLINE: Duration = Duration::from_secs(60);

/// Says to a child of this test binary which servers to hold.
const HOLD: &str = "TESTKIT_TEST_HOLDS";

async fn psql(url: &str, sql: &str) -> String {
    let found = pgcluster::Binaries::find(None, None).await;
    let psql = found.map_or_else(|_| PathBuf::from("psql"), |binaries| binaries.program("psql"));
    let output = Command::new(psql).args(["-X", "-A", "-t", "-q", "-d", url, "-c", sql]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn each_database_is_new_and_empty() {
    let (one, other) = tokio::join!(fresh_database(), fresh_database());
    assert_ne!(one, other);
    psql(&one, "create table t as select 1").await;
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    assert_eq!(psql(&one, tables).await, "1");
    assert_eq!(psql(&other, tables).await, "0");
    assert_eq!(psql(&other, "show fsync").await, "on");
}

/// libtest gives each test a runtime of its own; the server must outlive the one that began it.
#[test]
fn the_server_outlives_the_runtime_of_the_test_that_began_it() {
    let ask = || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { psql(&fresh_database().await, "select 1").await })
    };
    assert_eq!(ask(), "1");
    assert_eq!(ask(), "1");
}

#[tokio::test]
async fn a_kafka_that_is_there_answers() {
    let Some(servers) = kafka_or_skip("a_kafka_that_is_there_answers").await else { return };
    let first = servers.split(',').next().unwrap();
    tokio::net::TcpStream::connect(first).await.unwrap();
    assert_eq!(kafka().await, Kafka::Available(servers), "asked twice, started once");
}

/// A child of this binary that runs one test, with servers of its own.
fn child(test: &str, hold: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(HOLD, hold)
        .env_remove("KAFKA_BROKERS")
        .env_remove("TEST_DATABASE_URL")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// In the child: starts the servers, names their directories, and ends as it was told.
async fn hold_if_told() {
    let Ok(how) = std::env::var(HOLD) else { return };
    postgres().await;
    let kafka = kafka().await;
    // Their own directories, so that the parent can see them go.
    for dir in temporary_directories() {
        println!("\nholds {}", dir.display());
    }
    println!("\nready {kafka:?}");
    assert!(how != "panic", "told to");
    // Ends with the test that started us, even if that fails.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

/// The directories of servers that are children of this process.
fn temporary_directories() -> Vec<PathBuf> {
    let mine = std::process::id();
    let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        let directory = fs::read_link(entry.path().join("cwd")).ok()?;
        (parent == mine && directory.starts_with(std::env::temp_dir())).then_some(directory)
    });
    let mut directories: Vec<PathBuf> = children
        .filter_map(|directory| {
            let is_root = |path: &&Path| path.parent() == Some(&std::env::temp_dir());
            directory.ancestors().find(is_root).map(Path::to_path_buf)
        })
        .collect();
    directories.sort();
    directories.dedup();
    directories
}

/// Runs the child until its servers are up; returns it and their directories.
fn holding(test: &str, hold: &str) -> (std::process::Child, Vec<PathBuf>) {
    let mut child = child(test, hold).spawn().unwrap();
    let mut directories = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(directory) = line.strip_prefix("holds ") {
            directories.push(PathBuf::from(directory));
        }
        if line.starts_with("ready") {
            break;
        }
    }
    assert!(!directories.is_empty() && directories.iter().all(|directory| directory.is_dir()));
    (child, directories)
}

fn nothing_stays(directories: &[PathBuf]) {
    wait_for_blocking("the directories are gone", DEADLINE, || directories.iter().all(|dir| !dir.exists()));
    let used = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read_link(entry.path().join("cwd"))
            .is_ok_and(|cwd| directories.iter().any(|directory| cwd.starts_with(directory)))
    });
    assert!(!used, "a process still works there");
}

#[tokio::test]
async fn nothing_stays_after_kill_9() {
    hold_if_told().await;
    let (mut child, directories) = holding("nothing_stays_after_kill_9", "until killed");
    child.kill().unwrap();
    child.wait().unwrap();
    nothing_stays(&directories);
}

#[tokio::test]
async fn nothing_stays_after_a_panic() {
    hold_if_told().await;
    let (mut child, directories) = holding("nothing_stays_after_a_panic", "panic");
    assert!(!child.wait().unwrap().success());
    nothing_stays(&directories);
}

#[tokio::test]
async fn a_broker_that_does_not_answer_fails_the_test_and_names_itself() {
    if std::env::var_os(HOLD).is_some() {
        kafka().await;
        return;
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let test = "a_broker_that_does_not_answer_fails_the_test_and_names_itself";
    let output = child(test, "nothing").env("KAFKA_BROKERS", &nobody).output().unwrap();
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains(&format!("no Kafka answers at {nobody}")), "{said}");
}

#[tokio::test]
async fn with_kafka_gives_its_command_a_broker_and_takes_it_away() {
    let test = "with_kafka_gives_its_command_a_broker_and_takes_it_away";
    let Some(_) = kafka_or_skip(test).await else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_with-kafka"))
        .args([OsStr::new("sh"), OsStr::new("-c"), OsStr::new("echo $KAFKA_BROKERS; exit 7")])
        .env_remove("KAFKA_BROKERS")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let servers = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(servers.starts_with("127.0.0.1:"), "{servers}");
    wait_for("its broker is gone", DEADLINE, || async {
        tokio::net::TcpStream::connect(&servers).await.is_err()
    })
    .await;

    // A given broker is passed on.
    let output = Command::new(env!("CARGO_BIN_EXE_with-kafka"))
        .args(["sh", "-c", "echo $KAFKA_BROKERS"])
        .env("KAFKA_BROKERS", "elsewhere:9092")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "elsewhere:9092");
}
