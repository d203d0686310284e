//! The passwords of the five logins: made once, kept in one file of mode 0600, or given by the environment.
//!
//! Roles belong to the server, and another installation may have made those that are there. What was made here by chance
//! makes roles, and never takes the place of a password that a role has; what somebody gives does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use runtime::Chance;
use secrecy::{ExposeSecret, SecretString};

use crate::roles::{Role, by_name};

/// The passwords of some or all roles. Cannot be printed.
#[derive(Debug, Clone, Default)]
pub struct RolePasswords {
    known: BTreeMap<Role, SecretString>,
    /// Those that a role is given in place of the one it has.
    replacing: BTreeSet<Role>,
}

/// Why there are no passwords.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Others may read the file.
    #[error(
        "password_file_open_to_others: {path} has mode {mode:o}. It holds the passwords of the database: \
         `chmod 600` it, and change them if others were on this machine"
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not read as one password a line.
    #[error(
        "password_file_invalid: {path}, line {line}: {why}. A line reads `<role> = <password>`; if they are lost, remove \
         the file and set POLYMIRROR_DB_PASSWORD_<ROLE> for the next migration (the private Postgres needs none set)"
    )]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A password that cannot be one.
    #[error("password_invalid: {name}: a password is 12 to 128 printable ASCII characters, without spaces")]
    NotAPassword {
        /// The variable that holds it.
        name: String,
    },
    /// The file cannot be read or written.
    #[error("password_file_unreachable: {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PasswordError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OpenToOthers { .. } => "password_file_open_to_others",
            Self::Invalid { .. } => "password_file_invalid",
            Self::NotAPassword { .. } => "password_invalid",
            Self::Io { .. } => "password_file_unreachable",
        }
    }
}

/// The environment variable that gives a role's password.
pub fn variable_of(role: Role) -> String {
    format!("POLYMIRROR_DB_PASSWORD_{}", role.name().to_ascii_uppercase())
}

fn is_password(text: &str) -> bool {
    (12..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

impl RolePasswords {
    /// New ones of 256 random bits each.
    pub fn generate(chance: &Chance) -> Self {
        let fresh = |role| (role, SecretString::from(const_hex::encode(chance.bytes::<32>())));
        Self { known: Role::ALL.into_iter().map(fresh).collect(), replacing: BTreeSet::new() }
    }

    /// The same for every role: for servers that only tests use, where whoever comes first sets it for all.
    pub fn same(password: &SecretString) -> Self {
        Self {
            known: Role::ALL.into_iter().map(|role| (role, password.clone())).collect(),
            ..Self::default()
        }
        .replacing()
    }

    /// The same, in place of whatever the roles have: given by somebody, or for a server that is nobody else's.
    #[must_use]
    pub fn replacing(self) -> Self {
        Self { replacing: self.known.keys().copied().collect(), ..self }
    }

    /// The passwords in the file, if it is there.
    ///
    /// # Errors
    /// A file that others may read, or that is not one.
    pub fn load_if_there(path: &Path) -> Result<Option<Self>, PasswordError> {
        match Self::load(path) {
            Err(PasswordError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            loaded => loaded.map(Some),
        }
    }

    /// The passwords in the file; where there is none, new ones, kept there from now on.
    ///
    /// # Errors
    /// A file that others may read, or that is not one.
    pub fn load_or_create(path: &Path, chance: &Chance) -> Result<Self, PasswordError> {
        let io = |source| PasswordError::Io { path: path.to_owned(), source };
        if let Some(there) = Self::load_if_there(path)? {
            return Ok(there);
        }
        let made = Self::generate(chance);
        // Whole or not at all, and the first of several processes wins.
        let unfinished = path.with_extension(format!("unfinished-{}", chance.uuid().simple()));
        let written = made.write(&unfinished).and_then(|()| match fs::hard_link(&unfinished, path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
        let _ = fs::remove_file(&unfinished);
        written.map_err(io)?;
        Self::load(path)
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        for (role, password) in &self.known {
            writeln!(file, "{role} = {}", password.expose_secret())?;
        }
        file.sync_all()
    }

    fn load(path: &Path) -> Result<Self, PasswordError> {
        let io = |source| PasswordError::Io { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(io)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(PasswordError::OpenToOthers { path: path.to_owned(), mode });
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let roles = by_name();
        let mut known = BTreeMap::new();
        for (line, content) in (1..).zip(text.lines()).filter(|(_, content)| !content.trim().is_empty()) {
            let invalid = |why| PasswordError::Invalid { path: path.to_owned(), line, why };
            let (role, password) = content.split_once('=').ok_or_else(|| invalid("there is no `=`"))?;
            let role = roles.get(role.trim()).ok_or_else(|| invalid("no role has that name"))?;
            if !is_password(password.trim()) {
                return Err(invalid("a password is 12 to 128 printable ASCII characters, without spaces"));
            }
            known.insert(*role, SecretString::from(password.trim()));
        }
        Ok(Self { known, replacing: BTreeSet::new() })
    }

    /// With those that the environment gives in place of these; `lookup` is `|name|
    /// std::env::var(name).ok()`.
    ///
    /// # Errors
    /// A variable that holds no password.
    pub fn with_env(mut self, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, PasswordError> {
        for role in Role::ALL {
            let name = variable_of(role);
            let Some(given) = lookup(&name).filter(|given| !given.is_empty()) else { continue };
            if !is_password(&given) {
                return Err(PasswordError::NotAPassword { name });
            }
            self.known.insert(role, SecretString::from(given));
            self.replacing.insert(role);
        }
        Ok(self)
    }

    /// A role's password, where it is known.
    pub fn get(&self, role: Role) -> Option<&SecretString> {
        self.known.get(&role)
    }

    /// Whether a role is given this one in place of the one it has.
    pub(crate) fn replaces(&self, role: Role) -> bool {
        self.replacing.contains(&role)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn text(passwords: &RolePasswords, role: Role) -> String {
        passwords.get(role).unwrap().expose_secret().to_owned()
    }

    #[test]
    fn passwords_are_made_once_and_kept_where_only_the_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        let first = RolePasswords::load_or_create(&path, &Chance::seeded(1)).unwrap();
        let second = RolePasswords::load_or_create(&path, &Chance::seeded(2)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for role in Role::ALL {
            assert_eq!(text(&first, role), text(&second, role));
            assert_eq!(text(&first, role).len(), 64);
        }
        assert_ne!(text(&first, Role::Owner), text(&first, Role::Relay));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        RolePasswords::load_or_create(&path, &Chance::seeded(1)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = RolePasswords::load_or_create(&path, &Chance::seeded(1)).unwrap_err();
        assert_eq!(error.code(), "password_file_open_to_others");
        assert!(error.to_string().contains("mode 640"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_list_of_passwords_says_which_line() {
        let dir = tempfile::tempdir().unwrap();
        for (content, expected) in [
            ("owner = 0123456789abcdef\nnobody = 0123456789abcdef", "line 2: no role"),
            ("owner 0123456789abcdef", "line 1: there is no `=`"),
            ("\n\nowner = short", "line 3: a password"),
        ] {
            let path = dir.path().join("passwords");
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = RolePasswords::load_or_create(&path, &Chance::seeded(1)).unwrap_err();
            assert_eq!(error.code(), "password_file_invalid");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains("0123456789abcdef"), "{error}");
        }
    }

    #[test]
    fn the_environment_wins_and_nothing_prints_a_password() {
        let given = |name: &str| {
            (name == "POLYMIRROR_DB_PASSWORD_APP_USER").then(|| "from-the-environment".to_owned())
        };
        let passwords = RolePasswords::generate(&Chance::seeded(1)).with_env(given).unwrap();
        assert_eq!(text(&passwords, Role::AppUser), "from-the-environment");
        assert_eq!(text(&passwords, Role::Relay).len(), 64);
        let printed = format!("{passwords:?}");
        assert!(!printed.contains("environment") && !printed.contains(&text(&passwords, Role::Relay)));
        let bad = |_: &str| Some("it has spaces".to_owned());
        assert_eq!(RolePasswords::default().with_env(bad).unwrap_err().code(), "password_invalid");
    }
}
