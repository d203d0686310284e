//! Another process of the same installation finds the running server, and knows when there is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{ask, eventually, options, sql, temp};
use nix::unistd::{Uid, User};

/// Says to a child of this test binary: find the cluster in this directory and say what was found.
const LOOK: &str = "PGCLUSTER_TEST_LOOKS";

/// In the child.
fn look_if_told() {
    let Some(home) = std::env::var_os(LOOK) else { return };
    match pgcluster::attach(home) {
        Ok(Some(found)) => println!("\nfound {}", found.url("postgres")),
        Ok(None) => println!("\nnobody"),
        Err(error) => println!("\nerror {error}"),
    }
    std::process::exit(0);
}

fn us() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// This very test run again, as a process of its own, perhaps as another user.
fn looks(test: &str, program: &Path, home: &Path, user: Option<&User>) -> String {
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(LOOK, home).current_dir("/");
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let answer = said.lines().find(|l| ["found ", "nobody", "error "].iter().any(|word| l.starts_with(word)));
    answer.unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[tokio::test]
async fn another_process_finds_the_running_server_and_only_a_running_one() {
    const TEST: &str = "another_process_finds_the_running_server_and_only_a_running_one";
    look_if_told();
    let temp = temp();
    let home = temp.path().join("postgres");
    assert!(pgcluster::attach(&home).unwrap().is_none());
    assert!(!home.exists(), "asking makes nothing");

    let cluster = options(&temp).start().await.unwrap();
    let said = looks(TEST, &us(), &home, None);
    let url = said.strip_prefix("found ").unwrap_or_else(|| panic!("{said}"));
    assert_eq!(url, cluster.owner_url());
    sql(&cluster, "create database other");
    // From within the supervisor itself it is the same.
    let attached = pgcluster::attach(&home).unwrap().unwrap();
    assert_eq!(attached.url("other"), cluster.url("other"));
    assert_eq!(attached.owner_url(), cluster.owner_url());
    assert_eq!(attached.port(), cluster.port());
    assert_eq!(ask(&cluster, &attached.url("other"), "select current_database()").unwrap(), "other");

    cluster.stop().await.unwrap();
    assert_eq!(looks(TEST, &us(), &home, None), "nobody");
    assert!(pgcluster::attach(&home).unwrap().is_none());
}

#[tokio::test]
async fn what_is_printed_of_an_attached_cluster_does_not_hold_the_password() {
    let temp = temp();
    let cluster = options(&temp).start().await.unwrap();
    let attached = pgcluster::attach(cluster.home()).unwrap().unwrap();
    let password = fs::read_to_string(cluster.home().join("superuser-password")).unwrap();
    assert!(attached.owner_url().contains(password.trim()));
    assert!(!format!("{attached:?}").contains(password.trim()));
    cluster.stop().await.unwrap();
}

/// The lock is held before the server is ready, and a dead supervisor's words may still stand in it.
#[test]
fn a_server_that_is_not_ready_is_not_handed_out() {
    let temp = temp();
    let home = temp.path().join("postgres");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("superuser-password"), "secret\n").unwrap();
    let (path, us) = (home.join("supervisor.lock"), std::process::id());
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();

    fs::write(&path, format!("{us}\n5432\n")).unwrap();
    assert!(pgcluster::attach(&home).unwrap().is_none(), "nobody holds it");

    let held = File::open(&path).unwrap();
    held.lock().unwrap();
    assert_eq!(pgcluster::attach(&home).unwrap().unwrap().port(), 5432);
    for (said, pid) in [
        (format!("{us}\n"), us.to_string()),
        (format!("{us}\n54"), us.to_string()),
        (format!("{}\n5432\n", ended.id()), "unknown".to_owned()),
        (String::new(), "unknown".to_owned()),
    ] {
        fs::write(&path, &said).unwrap();
        let error = pgcluster::attach(&home).unwrap_err();
        assert_eq!(error.code(), "postgres_not_ready", "{said:?}");
        assert!(error.to_string().contains(&format!("pid {pid})")), "{error}");
    }
    // Not by closing it: what another test starts at this moment has it, too, until it is another program.
    held.unlock().unwrap();
    assert!(pgcluster::attach(&home).unwrap().is_none());
}

#[tokio::test]
async fn a_lost_password_is_named_to_whoever_attaches() {
    let temp = temp();
    let cluster = options(&temp).start().await.unwrap();
    fs::remove_file(cluster.home().join("superuser-password")).unwrap();
    assert_eq!(pgcluster::attach(cluster.home()).unwrap_err().code(), "postgres_no_password");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn another_user_is_told_whose_cluster_it_is() {
    const TEST: &str = "another_user_is_told_whose_cluster_it_is";
    look_if_told();
    if !Uid::effective().is_root() {
        return; // only root becomes somebody else
    }
    let temp = temp();
    let cluster = options(&temp).start().await.unwrap();
    // The build's directories may be closed to others, so the stranger gets a copy of this program.
    let stranger = User::from_name("nobody").unwrap().unwrap();
    let program = temp.path().join("program");
    fs::copy(us(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let said = looks(TEST, &program, cluster.home(), Some(&stranger));
    assert!(said.starts_with("error postgres_foreign_owner: "), "{said}");
    assert!(said.contains("belongs to root") && said.contains("runs as nobody"), "{said}");
    cluster.stop().await.unwrap();
}

/// Asking takes the lock for a moment; a start that meets it then is not told that the cluster is in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_never_keeps_a_start_from_succeeding() {
    let temp = temp();
    let home = temp.path().join("postgres");
    options(&temp).start().await.unwrap().stop().await.unwrap();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asking = {
        let (home, done) = (home.clone(), done.clone());
        std::thread::spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                match pgcluster::attach(&home) {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.code(), "postgres_not_ready", "{error}"),
                }
            }
        })
    };
    for _ in 0..3 {
        let cluster = options(&temp).start().await.unwrap();
        eventually("it is found", || pgcluster::attach(&home).is_ok_and(|found| found.is_some())).await;
        cluster.stop().await.unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    asking.join().unwrap();
}
