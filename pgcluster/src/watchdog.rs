//! Stops the server when this process is gone, even by kill -9.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Child;

use crate::run_as::RunAs;
use crate::{Error, Result};

/// Waits for the end of standard input, then asks the server to stop. Only a process that works in the
/// data directory is signalled: a process id alone could belong to somebody else by then.
const SCRIPT: &str = r#"read -r _; [ "/proc/$1/cwd" -ef "$2" ] && kill -INT "$1""#;

/// A shell whose standard input is a pipe that ends when we do.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    pub(crate) fn over(pid: u32, data: &Path, run_as: &RunAs) -> Result<Self> {
        let shell = run_as
            .command("/bin/sh")
            .args(["-c", SCRIPT, "polymirror-watchdog"])
            .arg(pid.to_string())
            .arg(data)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of our group: whatever is sent to the group must leave the watchdog standing.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io("start the watchdog over", data))?;
        Ok(Self { shell })
    }

    /// For when the server has ended: nobody is left to watch.
    pub(crate) async fn dismiss(mut self) {
        if let Err(error) = self.shell.kill().await {
            tracing::warn!(%error, "the Postgres watchdog could not be ended");
        }
    }
}
