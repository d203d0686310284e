//! An installation under test: its processes, its log, its database.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::PgPool;
use tempfile::TempDir;
use testkit::{fresh_database, unique};

use crate::crash::{KILL_AT, KillAt};

/// What tests give every database role: the server is shared, and roles are the server's.
const PASSWORD: &str = "polymirror-tests-only";

/// How much stages log, unless a test asks for more.
const LEVEL: &str = "info,librdkafka=warn";

/// Which log an installation has.
#[derive(Debug, Clone)]
pub enum LogKind {
    /// A file in its data directory.
    Sqlite,
    /// Topics under a prefix of its own.
    Kafka { brokers: String, prefix: String },
}

impl LogKind {
    /// Topics nobody else has.
    pub fn kafka(brokers: String) -> Self {
        Self::Kafka { brokers, prefix: unique("sys") + "." }
    }
}

/// An installation.
#[derive(Debug)]
pub struct Install {
    dir: TempDir,
    log: LogKind,
    database: String,
    venue: Option<String>,
    binary: PathBuf,
}

/// A stage that runs as a process. Dropping it kills it.
#[derive(Debug)]
pub struct Stage {
    pub name: String,
    child: Child,
    log: PathBuf,
}

impl Install {
    /// With an empty, migrated database.
    pub async fn new(binary: &str, log: LogKind) -> Self {
        let dir = tempfile::Builder::new().prefix("polymirror-system-").tempdir().unwrap();
        let install = Self { dir, log, database: fresh_database().await, venue: None, binary: binary.into() };
        std::fs::write(install.config(), "[log]\nsession_ms = 3000\n[api]\nlisten = \"127.0.0.1:0\"\n")
            .unwrap();
        install.ok(&["migrate"]);
        install
    }

    /// Further settings, as TOML tables that are not set yet.
    pub fn configure(&self, toml: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap() + toml;
        std::fs::write(self.config(), text).unwrap();
    }

    /// Where the venue is, for everything started from now on.
    pub fn venue(&mut self, url: &str) {
        self.venue = Some(url.to_owned());
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("polymirror.toml")
    }

    /// The binary with this installation's settings.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).env("POLYMIRROR_CONFIG", self.config());
        command.env("POLYMIRROR_DATA_DIR", self.dir.path().join("data"));
        command.env("DATABASE_URL", &self.database);
        if let Some(venue) = &self.venue {
            command.env("POLYMIRROR_SIMULATOR", venue);
        }
        for role in ["OWNER", "APP_USER", "PROJECTOR", "EXECUTOR", "RELAY"] {
            command.env(format!("POLYMIRROR_DB_PASSWORD_{role}"), PASSWORD);
        }
        if let LogKind::Kafka { brokers, prefix } = &self.log {
            command.env("POLYMIRROR_KAFKA", brokers).env("POLYMIRROR_KAFKA_PREFIX", prefix);
        }
        command.stdin(Stdio::null());
        command
    }

    /// A variable that its processes are given.
    pub fn variable(&self, name: &str) -> String {
        let command = self.command(&[]);
        let found = command.get_envs().find(|(key, _)| *key == name).and_then(|(_, value)| value);
        found.unwrap_or_else(|| panic!("{name} is not set")).to_str().unwrap().to_owned()
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that has to succeed, and gives what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "polymirror {args:?} failed: {}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// Starts a stage as a process; its log goes to a file.
    pub fn stage(&self, name: &str) -> Stage {
        self.start(name, &[name], LEVEL)
    }

    /// Starts a stage that logs as much as that.
    pub fn stage_logging(&self, name: &str, level: &str) -> Stage {
        self.start(name, &[name], level)
    }

    /// Everything in one process, as a person would have it, without the demo's tenant.
    pub fn up(&self) -> Stage {
        self.start("up", &["up", "--no-demo", "--plain"], LEVEL)
    }

    /// An executor with short leases that dies at a step.
    pub fn mortal(&self, at: &KillAt) -> Stage {
        let mut command = self.command(&[]);
        command.env(KILL_AT, at.to_string()).env("RUST_LOG", LEVEL);
        self.spawn("mortal", command)
    }

    fn start(&self, name: &str, args: &[&str], level: &str) -> Stage {
        let mut command = self.command(args);
        command.env("RUST_LOG", level);
        self.spawn(name, command)
    }

    /// Starts a command of this installation as a stage.
    pub fn spawn(&self, name: &str, mut command: Command) -> Stage {
        let log = self.dir.path().join(format!("{}.log", unique(name)));
        let file = std::fs::File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Stage { name: name.to_owned(), child: command.spawn().unwrap(), log }
    }

    /// Every stage, once.
    pub fn stages(&self) -> Vec<Stage> {
        ["api", "ingest", "decide", "execute", "project"].map(|name| self.stage(name)).into()
    }

    /// A pool of the superuser: sees everything, as an oracle must.
    pub async fn admin(&self) -> PgPool {
        PgPool::connect(&self.database).await.unwrap()
    }

    /// A pool that logs in as one of the roles.
    pub async fn role(&self, role: &str) -> PgPool {
        let options: sqlx::postgres::PgConnectOptions = self.database.parse().unwrap();
        PgPool::connect_with(options.username(role).password(PASSWORD)).await.unwrap()
    }
}

impl Stage {
    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Ends it as a power cut would.
    pub fn kill_9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it in its tracks, as a long pause of its machine would.
    pub fn pause(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        let name = self.name.clone();
        testkit::wait_for_blocking(&format!("{name} to stop"), Duration::from_secs(40), || {
            self.child.try_wait().unwrap().is_some()
        });
        let status = self.child.try_wait().unwrap().unwrap();
        assert!(status.success(), "{name} ended with {status}:\n{}", self.said());
    }

    /// The signal that ended it, once one did. Fails the test where it ended by itself.
    pub fn killed(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        let signal = status.signal();
        assert!(signal.is_some(), "{} ended by itself with {status}:\n{}", self.name, self.said());
        signal
    }

    /// Whether it still runs; fails the test where it ended by itself.
    pub fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended by itself with {status}:\n{}", self.name, self.said());
        }
    }

    /// Where it serves HTTP, once it does.
    pub async fn listens(&self) -> String {
        testkit::wait_for_some("the API to listen", Duration::from_secs(60), async || {
            let said = self.said();
            let (_, rest) = said.split_once("the API listens")?;
            let (_, rest) = rest.split_once("address=")?;
            Some(rest.split_whitespace().next()?.to_owned())
        })
        .await
    }

    /// What it logged.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A paused process dies of SIGKILL too.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let tail: Vec<&str> = said.lines().rev().take(40).collect();
            eprintln!("--- {} said last:", self.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
