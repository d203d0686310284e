//! Which Postgres to run.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::{Error, Result};

/// The oldest major version still maintained by its makers.
const OLDEST_MAJOR: u32 = 14;

/// Where Debian and Ubuntu keep one directory for each major version.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// A directory of Postgres programs, and their version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// Finds the server's programs: in `pg_bin` alone if that is given; else in the distribution's
    /// directories, of which the one for `data_major` comes first and the newest next; else on `PATH`.
    pub async fn find(pg_bin: Option<&Path>, data_major: Option<u32>) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dir = choose(pg_bin, data_major, Path::new(DEBIAN_ROOT), &path)?;
        let major = major_of(&dir.join("postgres")).await?;
        if major < OLDEST_MAJOR {
            return Err(Error::TooOld { dir, major, oldest: OLDEST_MAJOR });
        }
        Ok(Self { dir, major })
    }

    /// The directory that holds them.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Their major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// One of them, by name.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The search itself, over places given by the caller, so that a test can bring its own.
fn choose(pg_bin: Option<&Path>, data_major: Option<u32>, debian: &Path, path: &OsStr) -> Result<PathBuf> {
    if let Some(dir) = pg_bin {
        // Whoever names a directory means it: nothing else is tried.
        return match missing_in(dir) {
            None => Ok(dir.to_path_buf()),
            Some(missing) => Err(Error::WrongPgBin { dir: dir.to_path_buf(), missing }),
        };
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(debian)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, dir)| missing_in(dir).is_none())
        .collect();
    versions.sort();
    // The data's own version first: a newer package beside it must not make the data unreadable.
    let own = versions.iter().find(|(major, _)| Some(*major) == data_major);
    if let Some((_, dir)) = own.or(versions.last()) {
        return Ok(dir.clone());
    }
    std::env::split_paths(path).find(|dir| dir.is_absolute() && missing_in(dir).is_none()).ok_or_else(|| {
        Error::NoPostgres { looked: format!("{}/*/bin and the directories of PATH", debian.display()) }
    })
}

/// The first of the programs we need that `dir` does not have.
fn missing_in(dir: &Path) -> Option<&'static str> {
    ["postgres", "initdb"].into_iter().find(|name| {
        !fs::metadata(dir.join(name))
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// Asks a server program for its major version: `postgres (PostgreSQL) 15.18 (Debian …)` is 15.
async fn major_of(program: &Path) -> Result<u32> {
    let output = Command::new(program).arg("--version").output().await.map_err(Error::io("run", program))?;
    let said = String::from_utf8_lossy(&output.stdout);
    parse_major(&said).ok_or_else(|| Error::NoVersion {
        program: program.to_path_buf(),
        said: format!(
            "{}; {} {}",
            output.status,
            said.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        ),
    })
}

fn parse_major(said: &str) -> Option<u32> {
    let version = said.split_once("(PostgreSQL)")?.1.trim_start();
    // Also `18devel` and `17beta1`.
    let digits = version.find(|c: char| !c.is_ascii_digit()).map_or(version, |end| &version[..end]);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks as if it held a server.
    fn programs(dir: &Path) -> PathBuf {
        fs::create_dir_all(dir).unwrap();
        for name in ["postgres", "initdb"] {
            fs::write(dir.join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        dir.to_path_buf()
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18devel"), Some(18));
        assert_eq!(parse_major("postgres (PostgreSQL) 17"), Some(17));
        assert_eq!(parse_major("pg_ctl: no such thing"), None);
        assert_eq!(parse_major("postgres (PostgreSQL) x"), None);
    }

    #[test]
    fn pg_bin_is_taken_at_its_word() {
        let root = tempfile::tempdir().unwrap();
        let good = programs(&root.path().join("9/bin"));
        let path = std::env::join_paths([&good]).unwrap();
        assert_eq!(choose(Some(&good), None, root.path(), &path).unwrap(), good);

        let empty = root.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let error = choose(Some(&empty), None, root.path(), &path).unwrap_err();
        assert!(matches!(&error, Error::WrongPgBin { dir, missing: "postgres" } if *dir == empty), "{error}");

        fs::set_permissions(good.join("initdb"), fs::Permissions::from_mode(0o644)).unwrap();
        let error = choose(Some(&good), None, root.path(), &path).unwrap_err();
        assert!(matches!(error, Error::WrongPgBin { missing: "initdb", .. }), "{error}");
    }

    #[test]
    fn the_datas_own_version_comes_first_then_the_newest_then_path() {
        let root = tempfile::tempdir().unwrap();
        let debian = root.path().join("postgresql");
        let (nine, ten) = (programs(&debian.join("9/bin")), programs(&debian.join("10/bin")));
        fs::create_dir_all(debian.join("11/bin")).unwrap(); // client programs only
        fs::create_dir_all(debian.join("common/bin")).unwrap();
        let elsewhere = programs(&root.path().join("elsewhere"));
        let path = std::env::join_paths([&root.path().join("nothing"), &elsewhere]).unwrap();

        assert_eq!(choose(None, None, &debian, &path).unwrap(), ten);
        assert_eq!(choose(None, Some(9), &debian, &path).unwrap(), nine);
        assert_eq!(choose(None, Some(8), &debian, &path).unwrap(), ten);
        assert_eq!(choose(None, None, &root.path().join("absent"), &path).unwrap(), elsewhere);
        let error = choose(None, None, &root.path().join("absent"), OsStr::new("")).unwrap_err();
        assert_eq!(error.code(), "postgres_not_found");
    }
}
