//! The one directory of an installation, and what lies where in it.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::error::Error;

/// The data directory.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// Makes the directory if it is not there.
    ///
    /// # Errors
    /// A path that is no directory, or cannot be made or entered.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let unusable = |e: std::io::Error| Self::unusable(dir, &e);
        // Others may pass through to what is theirs: Postgres runs as another user when we are root.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(dir).map_err(unusable)?;
        let dir = fs::canonicalize(dir).map_err(unusable)?;
        fs::read_dir(&dir).map_err(unusable)?;
        if nix::unistd::geteuid().is_root() {
            let mode = fs::metadata(&dir).map_err(unusable)?.permissions().mode();
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode | 0o011)).map_err(unusable)?;
        }
        Ok(Self(dir))
    }

    /// The directory as it is, or as it will be: makes and changes nothing.
    ///
    /// # Errors
    /// A path that is no directory, or cannot be entered.
    pub fn look(dir: &Path) -> Result<Self, Error> {
        let unusable = |e: std::io::Error| Self::unusable(dir, &e);
        if !dir.try_exists().map_err(unusable)? {
            return Ok(Self(std::path::absolute(dir).map_err(unusable)?));
        }
        let dir = fs::canonicalize(dir).map_err(unusable)?;
        fs::read_dir(&dir).map_err(unusable)?;
        Ok(Self(dir))
    }

    fn unusable(dir: &Path, error: &std::io::Error) -> Error {
        Error::DataDir(format!(
            "{}: {error}. Choose another with --data-dir, or mend its permissions",
            dir.display()
        ))
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// The SQLite log.
    pub fn log(&self) -> PathBuf {
        self.0.join("log.sqlite")
    }

    /// The private Postgres cluster.
    pub fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }

    /// The passwords of the database's roles.
    pub fn role_passwords(&self) -> PathBuf {
        self.0.join("database-passwords.toml")
    }

    /// The key that secrets in the database are sealed with.
    pub fn sealing_key(&self) -> PathBuf {
        self.0.join("sealing.key")
    }

    /// What the simulator remembers.
    pub fn simulator(&self) -> PathBuf {
        self.0.join("simulator.jsonl")
    }

    /// Where `up` writes its log when the terminal shows the screen.
    pub fn program_log(&self) -> PathBuf {
        self.0.join("polymirror.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_a_file_is_named_with_a_remedy() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Home::open(file.path()).unwrap_err().to_string();
        assert!(error.starts_with("data_dir_unusable: ") && error.contains("--data-dir"), "{error}");
    }
}
