//! A cluster is made, started, used, stopped, and started again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::{DEADLINE, alive, ask, eventually, options, sql, temp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, getpgid};
use pgcluster::Status;

fn pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart_on_the_same_port() {
    let temp = temp();
    let cluster = options(&temp).start().await.unwrap();
    let (port, first) = (cluster.port(), cluster.pid());
    sql(&cluster, "create table kept (n int); insert into kept values (7)");
    cluster.stop().await.unwrap();
    assert!(!alive(first));

    let cluster = options(&temp).start().await.unwrap();
    assert_eq!(sql(&cluster, "select n from kept"), "7");
    assert_eq!(cluster.port(), port);
    assert_ne!(cluster.pid(), first);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn only_loopback_and_only_with_a_password() {
    let temp = temp();
    let cluster =
        options(&temp).setting("fsync", "off").setting("max_connections", "33").start().await.unwrap();
    for (setting, value) in [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("fsync", "on"), // the promise stands above what the caller asked for
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("max_connections", "33"),
        ("password_encryption", "scram-sha-256"),
        ("TimeZone", "UTC"),
    ] {
        assert_eq!(sql(&cluster, &format!("show {setting}")), value, "{setting}");
    }
    assert_eq!(sql(&cluster, "show server_encoding"), "UTF8");
    assert_eq!(sql(&cluster, "select datcollate from pg_database where datname = 'postgres'"), "C");

    let url = cluster.owner_url();
    let password = url.strip_prefix("postgres://postgres:").unwrap().split('@').next().unwrap();
    assert_eq!(password.len(), 64);
    assert!(!format!("{cluster:?}").contains(password));
    let refused = ask(&cluster, &url.replace(password, "wrong"), "select 1").unwrap_err();
    assert!(refused.contains("password authentication failed"), "{refused}");
    // A role without a password cannot log in, from this machine either.
    sql(&cluster, "create role open login");
    let refused =
        ask(&cluster, &url.replace("postgres:", "open:").replace("open://", "postgres://"), "select 1");
    assert!(refused.is_err());

    let home = cluster.home().to_path_buf();
    let mode = |name: &str| fs::metadata(home.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("superuser-password"), 0o600);
    assert_eq!(mode("postgres.log"), 0o600);
    assert_eq!(mode("data"), 0o700);
    assert_eq!(mode(".") & 0o066, 0, "nobody else may list or fill the home");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn root_drops_to_another_user_and_others_stay_themselves() {
    let temp = temp();
    let cluster = options(&temp).start().await.unwrap();
    let server = fs::metadata(format!("/proc/{}", cluster.pid())).unwrap().uid();
    let data = fs::metadata(cluster.home().join("data")).unwrap().uid();
    assert_eq!(server, data);
    if Uid::effective().is_root() {
        assert_ne!(server, 0);
        let home = fs::metadata(cluster.home()).unwrap().uid();
        assert_eq!(home, 0, "the server's user could plant links in a home of its own");
    } else {
        assert_eq!(server, Uid::effective().as_raw());
    }
    // What the terminal sends to our process group must not reach the server.
    assert_eq!(getpgid(Some(pid(cluster.pid()))).unwrap(), pid(cluster.pid()));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_servers_death_is_reported_and_survived() {
    let temp = temp();
    let cluster = options(&temp).start().await.unwrap();
    sql(&cluster, "create table kept as select 1 as n");
    let mut status = cluster.status();
    assert_eq!(*status.borrow(), Status::Running);
    kill(pid(cluster.pid()), Signal::SIGKILL).unwrap();
    let died = tokio::time::timeout(DEADLINE, status.wait_for(|status| *status != Status::Running)).await;
    let died = died.unwrap().unwrap().clone();
    assert!(matches!(&died, Status::Died { how } if how.starts_with("signal 9")), "{died:?}");
    cluster.stop().await.unwrap();

    // The processes under it may take a moment to notice; the next start waits for them.
    let cluster = options(&temp).start().await.unwrap();
    assert_eq!(sql(&cluster, "select n from kept"), "1");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn dropping_the_cluster_ends_its_server() {
    let temp = temp();
    let cluster = options(&temp).start().await.unwrap();
    let (pid, mut status) = (cluster.pid(), cluster.status());
    drop(cluster);
    let stopped = tokio::time::timeout(DEADLINE, status.wait_for(|status| *status == Status::Stopped)).await;
    assert!(stopped.unwrap().is_ok());
    assert!(!alive(pid));
    // Its lock is free.
    options(&temp).start().await.unwrap().stop().await.unwrap();
}

#[test]
fn the_end_of_the_runtime_ends_the_server() {
    let temp = temp();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(options(&temp).start()).unwrap();
    let pid = cluster.pid();
    drop(runtime);
    drop(cluster);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        eventually("the server is gone", || !alive(pid)).await;
        options(&temp).start().await.unwrap().stop().await.unwrap();
    });
}

#[tokio::test]
async fn another_port_is_taken_when_the_old_one_is_not_free() {
    let temp = temp();
    let cluster = options(&temp).start().await.unwrap();
    let port = cluster.port();
    cluster.stop().await.unwrap();
    let _held = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let cluster = options(&temp).start().await.unwrap();
    assert_ne!(cluster.port(), port);
    assert_eq!(sql(&cluster, "select 1"), "1");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_is_killed_and_said_so() {
    let temp = temp();
    let within = std::time::Duration::from_secs(1);
    let cluster = options(&temp).stop_within(within).start().await.unwrap();
    let server = cluster.pid();
    kill(pid(server), Signal::SIGSTOP).unwrap();
    let error = cluster.stop().await.unwrap_err();
    assert_eq!(error.code(), "postgres_killed");
    assert!(!alive(server));
    options(&temp).start().await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn an_unfinished_cluster_is_begun_anew() {
    let temp = temp();
    let home = temp.path().join("postgres");
    fs::create_dir_all(home.join("data.unfinished.0123456789abcdef/base")).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o711)).unwrap();
    let cluster = options(&temp).start().await.unwrap();
    assert!(!home.join("data.unfinished.0123456789abcdef").exists());
    cluster.stop().await.unwrap();
}
