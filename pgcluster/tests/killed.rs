//! The supervisor is killed with -9: its server does not stay, and nothing committed is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{alive, eventually, options, sql, temp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgcluster::Cluster;

/// Says to a child of this test binary: hold the cluster in this directory.
const HOLD: &str = "PGCLUSTER_TEST_HOLDS";

/// A supervisor in a process of its own, which is this very test run again.
struct Holder {
    child: Child,
    server: u32,
}

impl Holder {
    fn start(test: &str, home: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(HOLD, home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let server =
            lines.find_map(|line| line.unwrap().strip_prefix("server ").map(|pid| pid.parse().unwrap()));
        Self { child, server: server.expect("the holder says its server's pid") }
    }

    fn kill(mut self) -> u32 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.server
    }

    /// The shell that watches over the holder.
    fn watchdog(&self) -> u32 {
        let shell = fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()?;
            let arguments = fs::read(entry.path().join("cmdline")).ok()?;
            let watches = String::from_utf8_lossy(&arguments).contains("polymirror-watchdog");
            (parent == self.child.id() && watches).then_some(pid)
        });
        shell.expect("the holder has a watchdog")
    }
}

/// In the child: starts the cluster, says its pid, and waits to be killed. The parent never returns.
async fn hold_if_told() {
    let Some(home) = std::env::var_os(HOLD) else { return };
    let cluster = Cluster::options(home).start().await.unwrap();
    sql(&cluster, "create table if not exists kept (n int); insert into kept values (7)");
    println!("\nserver {}", cluster.pid());
    // Ends with the test that started us, even if that fails.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

#[tokio::test]
async fn the_watchdog_ends_the_server() {
    hold_if_told().await;
    let temp = temp();
    let holder = Holder::start("the_watchdog_ends_the_server", &temp.path().join("postgres"));
    let server = holder.server;
    assert!(alive(server));
    holder.kill();
    eventually("the server is gone by itself", || !alive(server)).await;
    let cluster = options(&temp).start().await.unwrap();
    assert_eq!(sql(&cluster, "select n from kept"), "7");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn an_orphan_without_a_watchdog_is_stopped_by_the_next_start() {
    hold_if_told().await;
    let temp = temp();
    let test = "an_orphan_without_a_watchdog_is_stopped_by_the_next_start";
    let holder = Holder::start(test, &temp.path().join("postgres"));
    kill(Pid::from_raw(i32::try_from(holder.watchdog()).unwrap()), Signal::SIGKILL).unwrap();
    let orphan = holder.kill();
    assert!(alive(orphan), "nobody has told it");

    let cluster = options(&temp).start().await.unwrap();
    assert!(!alive(orphan));
    assert_eq!(sql(&cluster, "select n from kept"), "7");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_start_right_after_the_kill_succeeds() {
    hold_if_told().await;
    let temp = temp();
    let holder = Holder::start("a_start_right_after_the_kill_succeeds", &temp.path().join("postgres"));
    holder.kill();
    let cluster = options(&temp).start().await.unwrap();
    assert_eq!(sql(&cluster, "select n from kept"), "7");
    cluster.stop().await.unwrap();
}
