//! The cluster's home directory: what lies in it, and who may hold it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::run_as::RunAs;
use crate::{Error, Result};

/// Past this size the log is put aside at the next start.
const LOG_LIMIT: u64 = 16 << 20;

/// How much of the log's end an error quotes.
const TAIL_BYTES: u64 = 2048;

/// How the names of directories begin in which `initdb` has not finished.
const UNFINISHED: &str = "data.unfinished.";

const HBA: &str = "\
# Written by polymirror before each start.
# TYPE  DATABASE  USER  ADDRESS       METHOD
host    all       all   127.0.0.1/32  scram-sha-256
";

/// Paths under the home, and the small files in it.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    dir: PathBuf,
}

impl Home {
    /// Nothing is touched yet. Relative paths are pinned down: the server works from another directory.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        Ok(Self { dir: std::path::absolute(dir).map_err(Error::io("make absolute", dir))? })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// A new directory for `initdb` to work in, renamed to [`Self::data`] when it is done. Its name is new
    /// each time: an `initdb` that outlived a killed run may still be writing to an earlier one.
    pub(crate) fn begin_data(&self, run_as: &RunAs) -> Result<PathBuf> {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                tracing::warn!(dir = %entry.path().display(), %error, "an unfinished cluster cannot be removed");
            }
        }
        let dir = self.dir.join(format!("{UNFINISHED}{:016x}", rand::random::<u64>()));
        DirBuilder::new().mode(0o700).create(&dir).map_err(Error::io("create", &dir))?;
        run_as.own_dir(&dir)?;
        Ok(dir)
    }

    /// Puts a finished data directory in its place.
    pub(crate) fn finish_data(&self, unfinished: &Path) -> Result<()> {
        fs::rename(unfinished, self.data()).map_err(Error::io("rename", unfinished))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", &self.dir))
    }

    pub(crate) fn password_file(&self) -> PathBuf {
        self.dir.join("superuser-password")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    pub(crate) fn hba_file(&self) -> PathBuf {
        self.dir.join("pg_hba.conf")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.dir.join("supervisor.lock")
    }

    fn port_file(&self) -> PathBuf {
        self.dir.join("port")
    }

    /// What the data directory says of its version; `None` when there is no data yet.
    pub(crate) fn data_version(&self) -> Result<Option<String>> {
        let (data, file) = (self.data(), self.data().join("PG_VERSION"));
        match fs::read_to_string(&file) {
            Ok(version) => Ok(Some(version.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match fs::read_dir(&data).map(|mut entries| entries.next().is_some()) {
                    Ok(true) => Err(Error::NotACluster { data }),
                    Ok(false) => Ok(None),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::io("list", &data)(error)),
                }
            }
            Err(error) => Err(Error::io("read", &file)(error)),
        }
    }

    /// Makes the directory. Made by root it stays root's, and the server's user may only pass through:
    /// in a directory of its own that user could plant links for root to follow.
    pub(crate) async fn create(&self, run_as: &RunAs) -> Result<()> {
        // Look before leaving a directory where the server cannot get to.
        if let Some(existing) = self.dir.ancestors().skip(1).find(|ancestor| ancestor.exists()) {
            run_as.check_reach(existing).await?;
        }
        if let Some(parent) = self.dir.parent() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        let mode = if run_as.drops() { 0o711 } else { 0o700 };
        match DirBuilder::new().mode(mode).create(&self.dir) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.dir.is_dir() => {}
            Err(error) => return Err(Error::io("create", &self.dir)(error)),
        }
        run_as.check_reach(&self.dir).await
    }

    /// Opens one of the small files for writing, as the server's user's own.
    pub(crate) fn open(&self, path: &Path, options: &mut OpenOptions, run_as: &RunAs) -> Result<File> {
        debug_assert!(path.starts_with(&self.dir));
        let file = options
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)
            .map_err(Error::io("open", path))?;
        run_as.own_file(&file, path)?;
        Ok(file)
    }

    /// Replaces one of the small files whole.
    fn write(&self, path: &Path, text: &str, run_as: &RunAs) -> Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io("replace", path)(error));
            }
            _ => {}
        }
        let mut file = self.open(path, OpenOptions::new().write(true).create_new(true), run_as)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::io("write", path))
    }

    /// Sees to it that there is a password for a new cluster. `initdb` reads it from the same file. One
    /// that is there is kept: it may belong to data that were moved away.
    pub(crate) fn ensure_password(&self, run_as: &RunAs) -> Result<()> {
        match self.password() {
            Err(Error::NoPassword { .. }) => {}
            found => return found.map(drop),
        }
        let password = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        self.write(&self.password_file(), &format!("{password}\n"), run_as)
    }

    /// Who may log in: everyone who knows a password, from this machine, over TCP. Written before each
    /// start, so that the promise does not depend on what somebody did to the file.
    pub(crate) fn write_hba(&self, run_as: &RunAs) -> Result<()> {
        self.write(&self.hba_file(), HBA, run_as)
    }

    pub(crate) fn password(&self) -> Result<String> {
        let file = self.password_file();
        match fs::read_to_string(&file) {
            Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Ok(_) => Err(Error::NoPassword { file }),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::NoPassword { file }),
            Err(error) => Err(Error::io("read", &file)(error)),
        }
    }

    /// The port of last time. It is a wish, so a file that cannot be read is no error.
    pub(crate) fn last_port(&self) -> Option<u16> {
        fs::read_to_string(self.port_file()).ok()?.trim().parse().ok()
    }

    pub(crate) fn keep_port(&self, port: u16, run_as: &RunAs) -> Result<()> {
        if self.last_port() == Some(port) {
            return Ok(());
        }
        self.write(&self.port_file(), &format!("{port}\n"), run_as)
    }

    /// The log, opened at its end, and where that is.
    pub(crate) fn open_log(&self, run_as: &RunAs) -> Result<(File, u64)> {
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_LIMIT) {
            fs::rename(&path, self.dir.join("postgres.log.old")).map_err(Error::io("put aside", &path))?;
        }
        let log = self.open(&path, OpenOptions::new().append(true).create(true), run_as)?;
        let end = log.metadata().map_err(Error::io("look at", &path))?.len();
        Ok((log, end))
    }

    /// The last lines of the log, none from before `start`.
    pub(crate) fn log_tail(&self, start: u64) -> String {
        let read = || -> std::io::Result<String> {
            let mut log = File::open(self.log())?;
            let end = log.metadata()?.len();
            log.seek(SeekFrom::Start(start.max(end.saturating_sub(TAIL_BYTES))))?;
            let mut bytes = Vec::new();
            log.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).trim().replace('\n', " | "))
        };
        match read() {
            Ok(tail) if tail.is_empty() => "(nothing)".to_owned(),
            Ok(tail) => tail,
            Err(error) => format!("(cannot be read: {error})"),
        }
    }
}
