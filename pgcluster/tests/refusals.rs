//! What a start refuses, and that it says why and what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use std::os::unix::process::CommandExt;

use common::{alive, binaries, eventually, options, temp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use pgcluster::{Cluster, Error};

/// Ends a process that a test started, also when the test fails.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        let _ = kill(pid, Signal::SIGQUIT); // at once and orderly for a server, which no other signal then changes
        let _ = kill(pid, Signal::SIGTERM); // whatever a shell in the background started ignores the first
        let _ = self.0.wait();
    }
}

/// A command as whoever the server runs as.
fn as_server(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if Uid::effective().is_root() {
        let user = User::from_name("postgres").unwrap().unwrap();
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

#[tokio::test]
async fn a_wrong_pg_bin_is_an_error_and_nothing_is_made() {
    let temp = temp();
    let error = options(&temp).pg_bin(temp.path()).start().await.unwrap_err();
    assert_eq!(error.code(), "postgres_wrong_pg_bin");
    let said = error.to_string();
    assert!(said.contains(temp.path().to_str().unwrap()) && said.contains("PG_BIN"), "{said}");
    assert!(!temp.path().join("postgres").exists());
}

#[tokio::test]
async fn data_of_another_major_version_are_refused_with_both_versions() {
    let temp = temp();
    options(&temp).start().await.unwrap().stop().await.unwrap();
    let file = temp.path().join("postgres/data/PG_VERSION");
    fs::write(&file, "9.6\n").unwrap();
    let error = options(&temp).start().await.unwrap_err();
    assert_eq!(error.code(), "postgres_other_major");
    let (said, ours) = (error.to_string(), binaries().await.major().to_string());
    assert!(said.contains("Postgres 9.6") && said.contains(&format!("Postgres {ours}")), "{said}");
}

#[tokio::test]
async fn a_directory_of_something_else_is_left_alone() {
    let temp = temp();
    let data = temp.path().join("postgres/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("diary.txt"), "mine").unwrap();
    if Uid::effective().is_root() {
        let user = User::from_name("postgres").unwrap().unwrap();
        chown(&data, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
    let error = options(&temp).start().await.unwrap_err();
    assert_eq!(error.code(), "postgres_not_a_cluster");
    assert_eq!(fs::read_to_string(data.join("diary.txt")).unwrap(), "mine");
}

#[tokio::test]
async fn a_lost_password_is_named() {
    let temp = temp();
    options(&temp).start().await.unwrap().stop().await.unwrap();
    fs::remove_file(temp.path().join("postgres/superuser-password")).unwrap();
    let error = options(&temp).start().await.unwrap_err();
    assert!(matches!(&error, Error::NoPassword { file } if file.ends_with("superuser-password")), "{error}");
}

#[tokio::test]
async fn two_supervisors_of_one_cluster_are_one_too_many() {
    let temp = temp();
    let cluster = options(&temp).start().await.unwrap();
    let error = options(&temp).start().await.unwrap_err();
    assert_eq!(error.code(), "postgres_in_use");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert!(alive(cluster.pid()), "the running one is not disturbed");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_foreign_server_on_our_data_is_named_and_left_running() {
    let temp = temp();
    options(&temp).start().await.unwrap().stop().await.unwrap();
    let data = temp.path().join("postgres/data");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = as_server(binaries().await.program("postgres"))
        .arg("-D")
        .arg(&data)
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
        .args(["-c", &format!("port={port}")])
        .spawn()
        .unwrap();
    let server = Held(server);
    let ready = || fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|text| text.contains("ready"));
    eventually("the foreign server is ready", ready).await;

    let error = options(&temp).start().await.unwrap_err();
    assert_eq!(error.code(), "postgres_foreign_server");
    assert!(error.to_string().contains(&format!("pid {}", server.0.id())), "{error}");
    assert!(alive(server.0.id()));
    drop(server);
    options(&temp).start().await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_stale_pid_file_stops_nothing() {
    let temp = temp();
    options(&temp).start().await.unwrap().stop().await.unwrap();
    let file = temp.path().join("postgres/data/postmaster.pid");
    let sleeper = Held(as_server("sleep").arg("600").spawn().unwrap());
    let mut ended = as_server("true").spawn().unwrap();
    ended.wait().unwrap();
    for (what, text) in [
        ("a dead process", format!("{}\n{}\n0\n5432\n\n127.0.0.1\n", ended.id(), file.display())),
        ("another program of the same user", format!("{}\n{}\n0\n5432\n", sleeper.0.id(), file.display())),
        ("nothing", String::new()),
        ("nonsense", "not a number\n".to_owned()),
    ] {
        fs::write(&file, text).unwrap();
        let cluster = options(&temp).start().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        cluster.stop().await.unwrap();
        assert!(alive(sleeper.0.id()), "the other program is none of our business");
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let temp = temp();
    let error =
        options(&temp).setting("shared_preload_libraries", "no_such_library").start().await.unwrap_err();
    assert_eq!(error.code(), "postgres_start_failed");
    assert!(error.to_string().contains("no_such_library"), "{error}");
    // Nothing is in the way of a start without the mistake.
    options(&temp).start().await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn the_step_that_the_servers_user_may_not_take_is_named() {
    if !Uid::effective().is_root() {
        return; // only root becomes somebody else
    }
    let temp = temp();
    let closed = temp.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let home = closed.join("below/postgres");
    let error = Cluster::options(&home).start().await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { blocked, .. } if *blocked == closed), "{error}");
    assert!(error.to_string().contains(&format!("chmod o+x {}", closed.display())), "{error}");
    assert!(!closed.join("below").exists(), "nothing was made");

    // The same for the programs.
    let bin = closed.join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["postgres", "initdb"] {
        fs::write(bin.join(name), "#!/bin/sh\necho 'postgres (PostgreSQL) 15.0'\n").unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let error = options(&temp).pg_bin(&bin).start().await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { blocked, .. } if *blocked == closed), "{error}");

    // The remedy works.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).unwrap();
    Cluster::options(&home).start().await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn data_that_belong_to_the_wrong_user_are_refused() {
    let temp = temp();
    let (data, error) = if Uid::effective().is_root() {
        options(&temp).start().await.unwrap().stop().await.unwrap();
        let data = temp.path().join("postgres/data");
        chown(&data, Some(0), Some(0)).unwrap();
        (data, options(&temp).start().await.unwrap_err())
    } else {
        // Root's own directory will do: an ordinary user cannot give one away.
        (Path::new("/").to_path_buf(), Cluster::options("/").start().await.unwrap_err())
    };
    assert!(matches!(error.code(), "postgres_root_owned" | "postgres_foreign_owner"), "{error}");
    assert!(error.to_string().contains(data.to_str().unwrap()), "{error}");
}
