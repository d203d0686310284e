//! Makes a cluster, and brings its server up.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Child;

use crate::binaries::Binaries;
use crate::home::Home;
use crate::leftovers::MARK;
use crate::run_as::RunAs;
use crate::watchdog::Watchdog;
use crate::{Error, Result};

/// The superuser of a cluster we make, and a database that every cluster has.
pub(crate) const SUPERUSER: &str = "postgres";

const PORT_TRIES: u32 = 8;
const POLL: Duration = Duration::from_millis(20);
/// How long the memory of a server that was just killed may linger.
const LINGER_TRIES: u32 = 50;
const LINGER: Duration = Duration::from_millis(200);

/// What it takes to start a server.
pub(crate) struct Launch<'a> {
    pub(crate) home: &'a Home,
    pub(crate) run_as: &'a RunAs,
    pub(crate) binaries: &'a Binaries,
    pub(crate) settings: &'a BTreeMap<String, String>,
    pub(crate) within: Duration,
}

/// A server that is ready.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) watchdog: Watchdog,
    pub(crate) pid: u32,
    pub(crate) port: u16,
    /// Where in the log its own words begin.
    pub(crate) log_start: u64,
}

/// Why an attempt brought no server.
enum Refusal {
    PortTaken,
    /// The kernel still holds what a killed server's last processes share.
    OldMemory(Error),
    /// Another attempt would end like this one.
    Final(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Launch<'_> {
    /// Fills a new data directory. It appears under its own name only when it is whole, so a crash in the
    /// middle leaves no half cluster behind.
    pub(crate) async fn init(&self) -> Result<()> {
        self.home.ensure_password(self.run_as)?;
        let data = self.home.begin_data(self.run_as)?;
        tracing::info!(data = %self.home.data().display(), major = self.binaries.major(), "making a Postgres cluster");
        let output = self
            .run_as
            .command(self.binaries.program("initdb"))
            .arg("-D")
            .arg(&data)
            .arg("--pwfile")
            .arg(self.home.password_file())
            // The C locale sorts by bytes: the same on every machine and after every upgrade of libc.
            .args(["--username", SUPERUSER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"])
            .args(["--data-checksums", "--no-instructions"])
            .current_dir(self.home.dir())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(Error::io("run", &self.binaries.program("initdb")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | ");
            return Err(Error::Initdb { data, how: how(output.status), said });
        }
        self.home.finish_data(&data)
    }

    /// Starts the server, on the port of last time if that is free.
    pub(crate) async fn start(&self) -> Result<Server> {
        self.home.write_hba(self.run_as)?;
        let mut wish = self.home.last_port();
        let (mut ports, mut lingers) = (0, 0);
        loop {
            let port = free_port(wish.take())?;
            match self.attempt(port).await {
                Ok(server) => return Ok(server),
                // Somebody took it between our look and the server's.
                Err(Refusal::PortTaken) if ports < PORT_TRIES => ports += 1,
                Err(Refusal::PortTaken) => return Err(Error::NoPort { tries: ports }),
                Err(Refusal::OldMemory(_)) if lingers < LINGER_TRIES => {
                    lingers += 1;
                    wish = Some(port);
                    tokio::time::sleep(LINGER).await;
                }
                Err(Refusal::OldMemory(error) | Refusal::Final(error)) => return Err(error),
            }
        }
    }

    async fn attempt(&self, port: u16) -> Result<Server, Refusal> {
        let (log, log_start) = self.home.open_log(self.run_as)?;
        let mut child = self.spawn(port, log)?;
        let Some(pid) = child.id() else {
            let (log, tail) = (self.home.log(), self.home.log_tail(log_start));
            return Err(Error::StartFailed { how: "it ended at once".to_owned(), log, tail }.into());
        };
        let watchdog = Watchdog::over(pid, &self.home.data(), self.run_as)?;
        let ended = tokio::select! {
            biased;
            ended = child.wait() => Some(ended.map_err(Error::io("wait for the server of", &self.home.data()))?),
            () = self.ready(pid) => None,
            () = tokio::time::sleep(self.within) => {
                let (log, tail) = (self.home.log(), self.home.log_tail(log_start));
                return Err(Error::StartTimedOut { seconds: self.within.as_secs(), log, tail }.into());
            }
        };
        let Some(status) = ended else {
            return Ok(Server { child, watchdog, pid, port, log_start });
        };
        watchdog.dismiss().await;
        let tail = self.home.log_tail(log_start);
        let port_taken = tail.contains("could not create any TCP/IP sockets");
        let old_memory = tail.contains("pre-existing shared memory block");
        let error = Error::StartFailed { how: how(status), log: self.home.log(), tail };
        Err(match (port_taken, old_memory) {
            (true, _) => Refusal::PortTaken,
            (_, true) => Refusal::OldMemory(error),
            _ => Refusal::Final(error),
        })
    }

    fn spawn(&self, port: u16, log: File) -> Result<Child> {
        let data = self.home.data();
        let mut command = self.run_as.command(self.binaries.program("postgres"));
        command.arg("-D").arg(&data).args(["-c", MARK]);
        // On the command line, where no configuration file can undo them; of two equal ones the last
        // counts, so the caller cannot either.
        for (name, value) in self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let mut hba = std::ffi::OsString::from("hba_file=");
        hba.push(self.home.hba_file());
        command.arg("-c").arg(hba);
        for promise in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=on",
            "full_page_writes=on",
            "password_encryption=scram-sha-256",
            "timezone=UTC",
            "log_timezone=UTC",
            "logging_collector=off",
            "log_destination=stderr",
            "log_line_prefix=%m [%p] %q%u@%d ",
        ] {
            command.args(["-c", promise]);
        }
        let errors = log.try_clone().map_err(Error::io("share", &self.home.log()))?;
        command
            .args(["-c", &format!("port={port}")])
            .current_dir(self.home.dir())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors))
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io("run", &self.binaries.program("postgres")))
    }

    /// Until the server of this process id says in its pid file that it takes connections.
    async fn ready(&self, pid: u32) {
        let file: PathBuf = self.home.data().join("postmaster.pid");
        let pid = pid.to_string();
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let mut lines = text.lines().map(str::trim);
            // Line 1 is the process id, line 8 the status.
            if lines.next() == Some(pid.as_str()) && lines.nth(6) == Some("ready") {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// How a process ended, for people.
pub(crate) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "for an unknown reason".to_owned(),
    }
}

/// The wished port if nobody has it, else one that the system picks.
fn free_port(wish: Option<u16>) -> Result<u16> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|socket| socket.local_addr());
    wish.filter(|port| *port != 0)
        .and_then(|port| bind(port).ok())
        .map_or_else(|| bind(0), Ok)
        .map(|address| address.port())
        .map_err(|_| Error::NoPort { tries: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_not_taken_again() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        assert_ne!(free_port(Some(port)).unwrap(), port);
        drop(held);
        assert_eq!(free_port(Some(port)).unwrap(), port);
        assert_ne!(free_port(None).unwrap(), 0);
    }
}
