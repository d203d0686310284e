//! The cluster as its user sees it, and the task that watches the server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::{oneshot, watch};

use crate::binaries::Binaries;
use crate::home::Home;
use crate::launch::{Launch, Server, how};
use crate::lock::Lock;
use crate::run_as::RunAs;
use crate::{Error, Result, attach, leftovers};

/// How long a server that ignores its shutdown may take over the immediate one.
const IMMEDIATE_WITHIN: Duration = Duration::from_secs(10);

/// How to start a private cluster. Made by [`Cluster::options`].
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `start`"]
pub struct Options {
    home: PathBuf,
    pg_bin: Option<OsString>,
    settings: BTreeMap<String, String>,
    start_within: Duration,
    stop_within: Duration,
}

impl Options {
    /// Takes the server's programs from this directory and no other. The default is what `PG_BIN` says,
    /// and a search when it says nothing.
    pub fn pg_bin(mut self, dir: impl Into<OsString>) -> Self {
        self.pg_bin = Some(dir.into());
        self
    }

    /// A setting for the server, such as `max_connections`. The promises of this crate stand above it.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// How long the server may take until it is ready, recovery after a crash included. Two minutes,
    /// unless said otherwise.
    pub fn start_within(mut self, time: Duration) -> Self {
        self.start_within = time;
        self
    }

    /// How long its orderly shutdown may take before it is killed. One minute, unless said otherwise.
    pub fn stop_within(mut self, time: Duration) -> Self {
        self.stop_within = time;
        self
    }

    /// Makes the cluster if there is none yet and starts its server; ready for connections on return.
    ///
    /// The server is watched by a task on the current tokio runtime: when that runtime ends, so does the
    /// server.
    pub async fn start(self) -> Result<Cluster> {
        let home = Home::new(&self.home)?;
        let run_as = RunAs::resolve(&home)?;
        let version = home.data_version()?;
        let major = version.as_deref().and_then(|version| version.parse().ok());
        let pg_bin = self.pg_bin.filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let binaries = Binaries::find(pg_bin.as_deref(), major).await?;
        if let Some(data_major) = version.as_ref().filter(|_| major != Some(binaries.major())) {
            return Err(Error::OtherMajor {
                data: home.data(),
                data_major: data_major.clone(),
                bin: binaries.dir().to_path_buf(),
                bin_major: binaries.major(),
            });
        }
        run_as.check_reach(&binaries.program("postgres")).await?;
        home.create(&run_as).await?;
        let lock = Lock::take(&home, &run_as).await?;

        let launch = Launch {
            home: &home,
            run_as: &run_as,
            binaries: &binaries,
            settings: &self.settings,
            within: self.start_within,
        };
        // Asked again: another process may have made it before we held the lock.
        if home.data_version()?.is_none() {
            launch.init().await?;
        }
        // Before anything is started: a cluster nobody can log in to is of no use.
        let password = home.password()?;
        leftovers::settle(&home.data()).await?;
        let server = launch.start().await?;
        home.keep_port(server.port, &run_as)?;
        lock.announce(server.port)?;
        tracing::info!(port = server.port, pid = server.pid, bin = %binaries.dir().display(), "Postgres is ready");

        let (pid, port) = (server.pid, server.port);
        let (stop, asked) = oneshot::channel();
        let (report, status) = watch::channel(Status::Running);
        tokio::spawn(supervise(server, home.clone(), lock, self.stop_within, asked, report));
        Ok(Cluster { home, binaries, password, pid, port, stop_within: self.stop_within, stop, status })
    }
}

/// What became of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Running,
    /// It was asked to stop, and did.
    Stopped,
    /// It was asked to stop, did not, and was killed.
    Killed,
    /// It ended without being asked.
    Died {
        /// How, for people: exit code or signal, and the end of its log.
        how: String,
    },
}

/// A private cluster whose server runs. Dropping it stops the server.
pub struct Cluster {
    home: Home,
    binaries: Binaries,
    password: String,
    pid: u32,
    port: u16,
    stop_within: Duration,
    /// Never sent on: that it is gone is the message, so that dropping the cluster says it too.
    stop: oneshot::Sender<()>,
    status: watch::Receiver<Status>,
}

impl Cluster {
    /// Begins the description of the cluster that lives in `home`; `PG_BIN` is read from the environment.
    pub fn options(home: impl Into<PathBuf>) -> Options {
        Options {
            home: home.into(),
            pg_bin: std::env::var_os("PG_BIN"),
            settings: BTreeMap::new(),
            start_within: Duration::from_secs(120),
            stop_within: Duration::from_secs(60),
        }
    }

    /// The superuser's URL of the database that every cluster has. It holds the password: never log it.
    pub fn owner_url(&self) -> String {
        self.url("postgres")
    }

    /// The superuser's URL of another database, by its plain name. It holds the password: never log it.
    pub fn url(&self, database: &str) -> String {
        attach::url(&self.password, self.port, database)
    }

    /// Where on 127.0.0.1 the server listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The programs that run it; `psql` and `pg_dump` usually lie beside them.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The directory that holds the cluster.
    pub fn home(&self) -> &Path {
        self.home.dir()
    }

    /// What the server says.
    pub fn log_file(&self) -> PathBuf {
        self.home.log()
    }

    /// Follows the server's state: this is how its death is learned.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Stops the server in an orderly way (open sessions are ended, their transactions rolled back) and
    /// waits until it is gone. A server that had died already is no error.
    pub async fn stop(self) -> Result<()> {
        let Self { stop, mut status, stop_within, home, .. } = self;
        drop(stop);
        match status.wait_for(|status| *status != Status::Running).await.as_deref() {
            Ok(Status::Stopped | Status::Died { .. }) => Ok(()),
            // An error here says that the runtime ended, and the server with it.
            Ok(Status::Killed | Status::Running) | Err(_) => {
                Err(Error::Killed { seconds: stop_within.as_secs(), log: home.log() })
            }
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        f.debug_struct("Cluster")
            .field("home", &self.home.dir())
            .field("port", &self.port)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// Holds the server until it is asked to stop or ends by itself, and says which.
async fn supervise(
    server: Server,
    home: Home,
    lock: Lock,
    stop_within: Duration,
    asked: oneshot::Receiver<()>,
    report: watch::Sender<Status>,
) {
    let Server { mut child, watchdog, log_start, .. } = server;
    let died = tokio::select! {
        biased;
        ended = child.wait() => Some(ended),
        _ = asked => None,
    };
    let status = match died {
        None => stop(&mut child, stop_within).await,
        Some(ended) => {
            let how = ended.map_or_else(|error| error.to_string(), how);
            let how = format!("{how}; its log ends with: {}", home.log_tail(log_start));
            tracing::error!(%how, "Postgres ended without being asked");
            Status::Died { how }
        }
    };
    watchdog.dismiss().await;
    // Free for the next start before anyone is told that it may start.
    drop(lock);
    report.send_replace(status);
}

/// Fast shutdown first, then the immediate one, then the end.
async fn stop(child: &mut Child, within: Duration) -> Status {
    for (signal, within) in [(Signal::SIGINT, within), (Signal::SIGQUIT, IMMEDIATE_WITHIN)] {
        // The id is ours for as long as the child was not waited for.
        let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else { return Status::Stopped };
        if let Err(error) = kill(Pid::from_raw(pid), signal) {
            tracing::warn!(%error, %signal, "Postgres could not be signalled");
        }
        if tokio::time::timeout(within, child.wait()).await.is_ok() {
            return if signal == Signal::SIGINT { Status::Stopped } else { Status::Killed };
        }
    }
    if let Err(error) = child.kill().await {
        tracing::error!(%error, "Postgres could not be killed");
    }
    Status::Killed
}
