//! What an earlier server left behind: processes, and a `postmaster.pid`.
//!
//! The process table says what runs, not the file: its number may belong to a dead process, or by now to
//! another program, over which Postgres itself would stumble.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Error, Result};

/// Our servers carry it on their command line, from their first moment on.
pub(crate) const MARK: &str = "cluster_name=polymirror";

const POLL: Duration = Duration::from_millis(50);
/// A fast shutdown writes a checkpoint, which takes its time on a slow disk.
const FAST_WITHIN: Duration = Duration::from_secs(30);
const IMMEDIATE_WITHIN: Duration = Duration::from_secs(10);

/// A Postgres process that works in a given data directory.
#[derive(Debug)]
struct Server {
    pid: i32,
    /// The first argument: the processes under a postmaster overwrite it with what they do, and one that
    /// is ending has none any more.
    title: Vec<u8>,
    ours: bool,
}

impl Server {
    fn is_postmaster(&self) -> bool {
        !self.title.is_empty() && !self.title.starts_with(b"postgres: ")
    }
}

/// Sees to it that no server uses `data` any more: stops one of ours that outlived its supervisor,
/// waits for the rest of a dead one, refuses to touch a foreign one.
///
/// The caller holds the cluster's lock, so no living supervisor owns what is found.
pub(crate) async fn settle(data: &Path) -> Result<()> {
    for (signal, within) in [(Signal::SIGINT, FAST_WITHIN), (Signal::SIGQUIT, IMMEDIATE_WITHIN)] {
        let servers = servers_in(data);
        if let Some(foreign) = servers.iter().find(|server| server.is_postmaster() && !server.ours) {
            return Err(Error::ForeignServer { data: data.to_path_buf(), pid: foreign.pid });
        }
        if let Some(orphan) = servers.iter().find(|server| server.is_postmaster()) {
            tracing::warn!(pid = orphan.pid, %signal, "stopping the Postgres server of a run that was killed");
            stop(orphan.pid, signal, data)?;
        }
        if tokio::time::timeout(within, gone(data)).await.is_ok() {
            return remove_stale_pid_file(data);
        }
    }
    let pids: Vec<String> = servers_in(data).iter().map(|server| server.pid.to_string()).collect();
    Err(Error::Leftovers { data: data.to_path_buf(), pids: pids.join(" ") })
}

async fn gone(data: &Path) {
    while !servers_in(data).is_empty() {
        tokio::time::sleep(POLL).await;
    }
}

fn stop(pid: i32, signal: Signal, data: &Path) -> Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::io("stop the server of", data)(errno.into())),
    }
}

/// Every Postgres process whose working directory is `data`: the server goes there first of all.
fn servers_in(data: &Path) -> Vec<Server> {
    let Ok(wanted) = fs::metadata(data) else { return Vec::new() };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            if !matches!(name.trim_end(), "postgres" | "postmaster") {
                return None;
            }
            let cwd = fs::metadata(entry.path().join("cwd")).ok()?;
            if (cwd.dev(), cwd.ino()) != (wanted.dev(), wanted.ino()) {
                return None;
            }
            let command_line = fs::read(entry.path().join("cmdline")).ok()?;
            let mut arguments = command_line.split(|byte| *byte == 0);
            let title = arguments.next()?.to_vec();
            let ours = arguments.any(|argument| argument == MARK.as_bytes());
            Some(Server { pid, title, ours })
        })
        .collect()
}

/// No server of `data` runs. A `postmaster.pid` that names a dead process Postgres replaces by itself;
/// one that names another living program, or nothing at all, would make it refuse.
fn remove_stale_pid_file(data: &Path) -> Result<()> {
    let file = data.join("postmaster.pid");
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", &file)(error)),
    };
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let pid = OsStr::from_bytes(first).to_str().and_then(|line| line.trim().parse::<i32>().ok());
    if pid.is_some_and(|pid| pid > 0 && kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)) {
        return Ok(());
    }
    tracing::warn!(file = %file.display(), ?pid, "removing the pid file of a server that no longer runs");
    fs::remove_file(&file).map_err(Error::io("remove", &file))
}
