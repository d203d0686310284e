//! `doctor` looks, and makes, starts and changes nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use system_tests::install::{Install, LogKind};

use crate::BINARY;

/// The binary with nothing but a data directory.
fn command(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args).env("POLYMIRROR_DATA_DIR", data);
    for name in ["DATABASE_URL", "POLYMIRROR_KAFKA", "POLYMIRROR_CONFIG", "POLYMIRROR_SCHEMA_REGISTRY"] {
        command.env_remove(name);
    }
    command
}

/// Runs it, and gives whether all was well and what it said.
fn run(mut command: Command) -> (bool, String) {
    let output = command.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// Every file under a directory, as it was last written.
fn files(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, u64)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let about = path.symlink_metadata().unwrap();
        found.insert(path.clone(), (about.modified().unwrap(), about.len()));
        if about.is_dir() {
            found.extend(files(&path));
        }
    }
    found
}

#[test]
fn a_place_where_nothing_is_stays_empty() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (well, said) = run(command(&data, &["doctor"]));
    assert!(well, "{said}");
    for component in ["data", "log", "database"] {
        let line = said.lines().find(|line| line.contains(component)).unwrap();
        assert!(line.starts_with('-') && line.contains("made at the first start"), "{said}");
    }
    assert!(!data.exists(), "{said}");
}

#[test]
fn a_private_database_that_does_not_run_is_left_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (made, said) = run(command(&data, &["migrate"]));
    assert!(made, "{said}");
    let before = files(&data);
    let (well, said) = run(command(&data, &["doctor"]));
    assert!(well && said.contains("does not run; `polymirror up` starts it"), "{said}");
    assert_eq!(files(&data), before);
}

#[tokio::test]
async fn a_database_whose_passwords_are_not_at_hand_gets_no_new_ones() {
    let install = Install::new(BINARY, LogKind::Sqlite).await;
    let (well, said) = run(install.command(&["doctor"]));
    assert!(well && said.matches("logs in, tables are this program's").count() == 4, "{said}");
    let dir = tempfile::tempdir().unwrap();
    let mut elsewhere = command(dir.path(), &["doctor"]);
    elsewhere.env("DATABASE_URL", install.variable("DATABASE_URL"));
    let (well, said) = run(elsewhere);
    assert!(
        !well && said.contains("FAIL  database") && said.contains("database_password_missing: "),
        "{said}"
    );
    assert_eq!(files(dir.path()), BTreeMap::new());
    // A stage that is given its own alone is told nothing wrong.
    let mut stage = command(dir.path(), &["doctor"]);
    stage.env("DATABASE_URL", install.variable("DATABASE_URL"));
    stage.env("POLYMIRROR_DB_PASSWORD_EXECUTOR", install.variable("POLYMIRROR_DB_PASSWORD_EXECUTOR"));
    let (well, said) = run(stage);
    assert!(well && said.contains("ok    executor"), "{said}");
}

#[tokio::test]
async fn a_broker_without_a_log_gets_none() {
    let Some(brokers) = testkit::kafka_or_skip("a_broker_without_a_log_gets_none").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let prefix = testkit::unique("doctor") + ".";
    let doctor = || {
        let mut command = command(dir.path(), &["doctor"]);
        command.env("POLYMIRROR_KAFKA", &brokers).env("POLYMIRROR_KAFKA_PREFIX", &prefix);
        run(command)
    };
    for _ in 0..2 {
        let (well, said) = doctor();
        let line = said.lines().find(|line| line.contains("log  ")).unwrap();
        assert!(well && line.contains("Kafka") && line.contains("made at the first start"), "{said}");
    }
}
