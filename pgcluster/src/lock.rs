//! Who supervises the cluster: the lock, and what its holder says in it.
//!
//! The file holds two lines: the supervisor's process id, and, from when the server is ready, its port. What
//! stands in it means nothing unless the lock is held.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::home::Home;
use crate::run_as::{self, RunAs};
use crate::{Error, Result};

/// Whoever only asks who holds the lock holds it for a moment itself: [`Holder::of`].
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// The cluster, taken for this process. The system lets go of it when the process ends, however.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    home: Home,
}

impl Lock {
    pub(crate) async fn take(home: &Home, run_as: &RunAs) -> Result<Self> {
        let path = home.lock_file();
        let mut options = OpenOptions::new();
        let mut file =
            home.open(&path, options.read(true).write(true).create(true).truncate(false), run_as)?;
        let mut looks = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if looks < LOOKS => looks += 1,
                Err(TryLockError::WouldBlock) => {
                    let holder = Holder::read(home, &mut file)?;
                    return Err(Error::InUse { home: home.dir().to_path_buf(), pid: holder.name() });
                }
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            }
            tokio::time::sleep(PAUSE).await;
        }
        // What the last holder said goes first: a port without a server must not be found here.
        file.set_len(0).map_err(Error::io("write", &path))?;
        let lock = Self { file, home: home.clone() };
        lock.say(&std::process::id().to_string())?;
        Ok(lock)
    }

    /// Tells others where the server listens, now that it does.
    pub(crate) fn announce(&self, port: u16) -> Result<()> {
        self.say(&port.to_string())
    }

    fn say(&self, line: &str) -> Result<()> {
        let text = format!("{line}\n");
        (&self.file).write_all(text.as_bytes()).map_err(Error::io("write", &self.home.lock_file()))
    }
}

/// The process that holds the lock, as far as it said who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    pid: Option<i32>,
    port: Option<u16>,
}

impl Holder {
    /// Who holds it now; `None` when nobody does.
    pub(crate) fn of(home: &Home) -> Result<Option<Self>> {
        let path = home.lock_file();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(run_as::foreign([home.dir(), path.as_path()])
                    .unwrap_or_else(|| Error::io("open", &path)(error)));
            }
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Self::read(home, &mut file).map(Some),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
        }
    }

    fn read(home: &Home, file: &mut File) -> Result<Self> {
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(Error::io("read", &home.lock_file()))?;
        let said = Self::parse(&text);
        // A dead process holds nothing: its words, not yet replaced by the new holder's.
        Ok(if said.pid.is_some_and(lives) { said } else { Self::default() })
    }

    fn parse(text: &str) -> Self {
        // A line without its end is one that is being written.
        let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let pid = lines.next().and_then(|line| line.parse().ok()).filter(|pid| *pid > 0);
        let port = lines.next().and_then(|line| line.parse().ok()).filter(|port| *port != 0);
        Self { pid, port: pid.and(port) }
    }

    /// Its process id, for people.
    pub(crate) fn name(self) -> String {
        self.pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
    }

    /// Where its server listens, once it does.
    pub(crate) fn port(self) -> Option<u16> {
        self.port
    }
}

fn lives(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_count() {
        let holder = |pid, port| Holder { pid, port };
        assert_eq!(Holder::parse("12\n5432\n"), holder(Some(12), Some(5432)));
        assert_eq!(Holder::parse("12\n543"), holder(Some(12), None));
        assert_eq!(Holder::parse("12\n"), holder(Some(12), None));
        assert_eq!(Holder::parse("1"), holder(None, None));
        assert_eq!(Holder::parse(""), holder(None, None));
        assert_eq!(Holder::parse("-1\n5432\n"), holder(None, None));
        assert_eq!(Holder::parse("12\n0\n"), holder(Some(12), None));
        assert_eq!(holder(None, None).name(), "unknown");
    }
}
