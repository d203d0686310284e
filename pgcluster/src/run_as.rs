//! As whom Postgres runs. It refuses to run as root, so root drops to somebody else.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, fchown, lchown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::unistd::{Gid, Uid, User};
use tokio::process::Command;

use crate::home::Home;
use crate::{Error, Result};

/// The user that root drops to when the directory does not name another.
const FALLBACK_USER: &str = "postgres";

/// The user of the server and of everything that touches its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunAs {
    uid: Uid,
    gid: Gid,
    name: String,
    /// Whether we are root and have to become that user.
    drops: bool,
}

impl RunAs {
    /// Ourselves; or, when we are root, the owner of the data, else of its home, else `postgres`.
    pub(crate) fn resolve(home: &Home) -> Result<Self> {
        let us = Uid::effective();
        let (home_owner, data_owner) = (owner(home.dir())?, owner(&home.data())?);
        if !us.is_root() {
            let foreign = [(home.dir().to_path_buf(), home_owner), (home.data(), data_owner)]
                .into_iter()
                .find_map(|(path, owner)| owner.filter(|(uid, _)| *uid != us).map(|(uid, _)| (path, uid)));
            return match foreign {
                Some((path, uid)) => Err(Error::ForeignOwner { path, owner: name_of(uid), us: name_of(us) }),
                None => Ok(Self { uid: us, gid: Gid::effective(), name: name_of(us), drops: false }),
            };
        }
        let ordinary = |found: Option<(Uid, Gid)>| found.filter(|(uid, _)| !uid.is_root());
        if let Some((uid, gid)) = ordinary(data_owner).or(ordinary(home_owner)) {
            return Ok(Self { uid, gid, name: name_of(uid), drops: true });
        }
        let user = User::from_name(FALLBACK_USER).ok().flatten();
        match (user, data_owner) {
            (None, _) => Err(Error::NoUser { home: home.dir().to_path_buf() }),
            (Some(user), Some(_)) => Err(Error::RootOwned { data: home.data(), user: user.name }),
            (Some(user), None) => Ok(Self { uid: user.uid, gid: user.gid, name: user.name, drops: true }),
        }
    }

    /// A command that runs as this user, far from our own environment: that one may hold secrets, and
    /// `PG*` variables meant for something else.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().stdin(Stdio::null()).env("LC_ALL", "C").env("TZ", "UTC");
        for kept in ["PATH", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        if self.drops {
            // Root's supplementary groups go with it: std clears them.
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        command
    }

    /// Whether we are root and become somebody else.
    pub(crate) fn drops(&self) -> bool {
        self.drops
    }

    /// Gives a directory that we made as root to this user.
    pub(crate) fn own_dir(&self, path: &Path) -> Result<()> {
        if !self.drops {
            return Ok(());
        }
        lchown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw())).map_err(Error::io("give away", path))
    }

    /// Gives an open file to this user: by its handle, for a path could have become another file.
    pub(crate) fn own_file(&self, file: &File, path: &Path) -> Result<()> {
        if !self.drops {
            return Ok(());
        }
        fchown(file, Some(self.uid.as_raw()), Some(self.gid.as_raw())).map_err(Error::io("give away", path))
    }

    /// Walks to `target` as this user, and names the first step that it may not take. The system itself
    /// is asked, so that groups and access lists count.
    pub(crate) async fn check_reach(&self, target: &Path) -> Result<()> {
        const WALK: &str = r#"for step do test -x "$step" || { printf %s "$step"; exit 1; }; done"#;
        if !self.drops {
            return Ok(()); // whatever we cannot reach ourselves fails by itself
        }
        let steps: Vec<&Path> = target.ancestors().collect();
        let output = self
            .command("/bin/sh")
            .args(["-c", WALK, "sh"])
            .args(steps.into_iter().rev())
            .current_dir("/")
            .output()
            .await
            .map_err(Error::io("walk as another user to", target))?;
        if output.status.success() {
            return Ok(());
        }
        let blocked = PathBuf::from(OsStr::from_bytes(&output.stdout));
        Err(Error::Unreachable { user: self.name.clone(), target: target.to_path_buf(), blocked })
    }
}

/// The error that names the first of these that belongs to another user than us.
pub(crate) fn foreign<const N: usize>(paths: [&Path; N]) -> Option<Error> {
    let us = Uid::effective();
    paths.into_iter().find_map(|path| {
        let (uid, _) = owner(path).ok().flatten().filter(|(uid, _)| *uid != us)?;
        Some(Error::ForeignOwner { path: path.to_path_buf(), owner: name_of(uid), us: name_of(us) })
    })
}

fn owner(path: &Path) -> Result<Option<(Uid, Gid)>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some((Uid::from_raw(found.uid()), Gid::from_raw(found.gid())))),
        // Not allowed to look beneath a home that is not ours: its owner has been read already.
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

fn name_of(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name)
}
