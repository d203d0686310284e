//! From one URL and the roles' passwords to each role's connections.

use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};

use crate::{
    passwords::{RolePasswords, variable_of},
    roles::Role,
};

/// Where the database is, who its admin is, and the roles' passwords. Prints none of them.
#[derive(Clone)]
pub struct Connections {
    admin: PgConnectOptions,
    passwords: RolePasswords,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections")
            .field("host", &self.admin.get_host())
            .field("port", &self.admin.get_port())
            .field("database", &self.admin.get_database())
            .finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL does not read as one. It is not shown: it may hold a password.
    #[error("database_url_invalid: {0}. It reads postgres://user:password@host:port/database")]
    Url(String),
    /// A stage has to log in and has nothing to log in with.
    #[error(
        "database_password_missing: no password for role `{role}`. Set {variable}, or start from the data directory \
         in which the passwords were made"
    )]
    NoPassword {
        /// The role.
        role: Role,
        /// The variable that would give it.
        variable: String,
    },
    /// The server does not know the user, or its password is another.
    #[error(
        "database_login_refused: {0}. Give the right user and password; for a role of ours run `polymirror doctor`"
    )]
    Refused(String),
    /// There is no such database on the server.
    #[error("database_missing: {0}. Create it, or correct the URL")]
    NoDatabase(String),
    /// No server answers there.
    #[error("database_unreachable: {0}. Check that Postgres runs and that host and port are right")]
    Unreachable(String),
}

impl ConnectError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Url(_) => "database_url_invalid",
            Self::NoPassword { .. } => "database_password_missing",
            Self::Refused(_) => "database_login_refused",
            Self::NoDatabase(_) => "database_missing",
            Self::Unreachable(_) => "database_unreachable",
        }
    }
}

impl From<sqlx::Error> for ConnectError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        match code.as_deref() {
            Some(code) if code.starts_with("28") => Self::Refused(error.to_string()),
            Some("3D000") => Self::NoDatabase(error.to_string()),
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

impl Connections {
    /// From the URL of a user who may set up the database (a private cluster's superuser, `DATABASE_URL`),
    /// and the roles' passwords. A stage that only runs needs the place from the URL and its own role's
    /// password.
    ///
    /// # Errors
    /// Text that is no URL of a database.
    pub fn new(url: &str, passwords: RolePasswords) -> Result<Self, ConnectError> {
        let admin = PgConnectOptions::from_str(url).map_err(|e| ConnectError::Url(e.to_string()))?;
        Ok(Self { admin: admin.application_name("polymirror-setup"), passwords })
    }

    /// For tests, whose databases share a server and therefore its roles: one password known to all of them.
    ///
    /// # Errors
    /// Text that is no URL of a database.
    pub fn for_tests(url: &str) -> Result<Self, ConnectError> {
        Self::new(url, RolePasswords::same(&SecretString::from("polymirror-tests-only")))
    }

    /// How the admin connects.
    pub const fn admin(&self) -> &PgConnectOptions {
        &self.admin
    }

    pub(crate) fn password(&self, role: Role) -> Result<&SecretString, ConnectError> {
        self.passwords.get(role).ok_or_else(|| ConnectError::NoPassword { role, variable: variable_of(role) })
    }

    pub(crate) fn replaces(&self, role: Role) -> bool {
        self.passwords.replaces(role)
    }

    /// How a role connects.
    ///
    /// # Errors
    /// Its password is not known here.
    pub fn options(&self, role: Role) -> Result<PgConnectOptions, ConnectError> {
        let options = self
            .admin
            .clone()
            .username(role.name())
            .password(self.password(role)?.expose_secret())
            .application_name(&format!("polymirror-{role}"));
        Ok(match role {
            // A rebuild works between its statements; nobody else does.
            Role::Owner => options,
            Role::AppUser => pgpool::bounded(pgpool::awake(options)),
            Role::Projector => pgpool::by_key(pgpool::awake(options)),
            _ => pgpool::awake(options),
        })
    }

    /// A pool of at most `size` connections of a role. The first is made now, so that a wrong URL or
    /// password shows at the start.
    ///
    /// # Errors
    /// No password, no server, no such database, or a refusal.
    pub async fn pool(&self, role: Role, size: u32) -> Result<PgPool, ConnectError> {
        pool(self.options(role)?, size).await
    }
}

pub(crate) async fn pool(options: PgConnectOptions, size: u32) -> Result<PgPool, ConnectError> {
    // The bare connect first: where nobody listens, a pool would try until its own timeout and answer with
    // that.
    PgConnection::connect_with(&options).await?.close().await?;
    Ok(pgpool::options(size).connect_with(options).await?)
}
