//! Migrations: the tables, who may touch them, and whether a database fits this program.

use runtime::Chance;
use sqlx::{
    Connection, PgConnection, PgExecutor, SqlSafeStr,
    migrate::{MigrateError as SqlxError, Migration, MigrationType, Migrator},
};

use crate::{
    connections::{ConnectError, Connections},
    roles::{self, Role, RolesError},
};

/// One page of SQL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    version: i64,
    name: &'static str,
    pub(crate) sql: &'static str,
    /// Whether it makes tables that are built from the log: a rebuild runs it again in its own schema.
    pub(crate) projection: bool,
}

macro_rules! page {
    ($version:literal, $name:literal, projection: $projection:literal) => {
        Page {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../migrations/", $name, ".sql")),
            projection: $projection,
        }
    };
}

/// Every migration, in order. A released page never changes.
pub(crate) const PAGES: [Page; 12] = [
    page!(1, "0001_accounts", projection: false),
    page!(2, "0002_execution", projection: false),
    page!(3, "0003_projection", projection: true),
    page!(4, "0004_policies", projection: false),
    page!(5, "0005_api", projection: false),
    page!(6, "0006_closes", projection: false),
    page!(7, "0007_following", projection: false),
    page!(8, "0008_tokens", projection: true),
    page!(9, "0009_paper", projection: false),
    page!(10, "0010_carried", projection: false),
    page!(11, "0011_token_ids", projection: true),
    page!(12, "0012_late", projection: false),
];

/// Why a database is not as this program needs it.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database lacks tables or changes that this program needs.
    #[error(
        "database_not_migrated: the database is at version {found}, this program needs {needed}. Run `polymirror up`, or \
         `polymirror migrate` with the URL of the database's admin"
    )]
    NotMigrated {
        /// The newest migration in the database; 0 for none.
        found: i64,
        /// The newest migration of this program.
        needed: i64,
    },
    /// The database has changes that this program does not know.
    #[error(
        "database_newer_than_program: the database is at version {found}, this program knows {known}. Use the program \
         that migrated it, or a newer one"
    )]
    NewerThanProgram {
        /// The newest migration in the database.
        found: i64,
        /// The newest migration of this program.
        known: i64,
    },
    /// A migration that has run reads otherwise in this program.
    #[error(
        "database_migrated_otherwise: migration {0} of the database is not the one of this program. The database was made \
         by an unreleased build: start with a new one, or use that build"
    )]
    Otherwise(i64),
    /// A migration failed; nothing of it stayed.
    #[error(
        "database_migration_failed: migration {version}: {source}. Nothing of it was kept; the cause stands before"
    )]
    Failed {
        /// The migration.
        version: i64,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The roles cannot be had.
    #[error(transparent)]
    Roles(#[from] RolesError),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Anything else that the server says.
    #[error("database_error: while migrating: {0}")]
    Sql(#[from] sqlx::Error),
}

impl MigrateError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotMigrated { .. } => "database_not_migrated",
            Self::NewerThanProgram { .. } => "database_newer_than_program",
            Self::Otherwise(_) => "database_migrated_otherwise",
            Self::Failed { .. } => "database_migration_failed",
            Self::Roles(e) => e.code(),
            Self::Connect(e) => e.code(),
            Self::Sql(_) => "database_error",
        }
    }
}

/// Makes the roles, and brings the database to this program's version, as `owner`. Does nothing where all is
/// as it should be. Several processes may call it at once.
pub async fn migrate(connections: &Connections, chance: &Chance) -> Result<(), MigrateError> {
    roles::ensure(connections, chance).await?;
    let options = connections.options(Role::Owner)?;
    let mut owner = PgConnection::connect_with(&options).await.map_err(ConnectError::from)?;
    let migrations = PAGES.map(|page| {
        Migration::new(page.version, page.name.into(), MigrationType::Simple, page.sql.into_sql_str(), false)
    });
    let migrator = Migrator { migrations: migrations.to_vec().into(), ..Migrator::DEFAULT };
    let done = migrator.run_direct(None, &mut owner, false).await;
    let _ = owner.close().await;
    done.map_err(|error| match error {
        SqlxError::VersionMissing(found) => MigrateError::NewerThanProgram { found, known: needed() },
        SqlxError::VersionMismatch(version) => MigrateError::Otherwise(version),
        SqlxError::ExecuteMigration(source, version) => MigrateError::Failed { version, source },
        SqlxError::Execute(source) => MigrateError::Sql(source),
        other => MigrateError::Sql(sqlx::Error::Migrate(Box::new(other))),
    })
}

/// The newest migration of this program.
fn needed() -> i64 {
    PAGES.iter().map(|page| page.version).max().unwrap_or_default()
}

/// Whether the database is at this program's version. Every role may ask; every stage does before it starts.
pub async fn check_version(database: impl PgExecutor<'_>) -> Result<(), MigrateError> {
    let needed = needed();
    let found = sqlx::query_scalar("select coalesce(max(version), 0) from _sqlx_migrations where success")
        .fetch_one(database)
        .await;
    let found: i64 = match found {
        Ok(found) => found,
        // No such table, or no right to it: nothing of ours is there.
        Err(sqlx::Error::Database(e)) if matches!(e.code().as_deref(), Some("42P01" | "42501")) => 0,
        Err(e) => return Err(ConnectError::from(e).into()),
    };
    match found.cmp(&needed) {
        std::cmp::Ordering::Less => Err(MigrateError::NotMigrated { found, needed }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(MigrateError::NewerThanProgram { found, known: needed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_migrations_is_run_in_its_order() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
        let mut names: Vec<String> = files
            .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let run: Vec<String> = PAGES.iter().map(|page| page.name.to_owned()).collect();
        assert_eq!(run, names);
        let versions: Vec<i64> = PAGES.iter().map(|page| page.version).collect();
        assert!(versions.iter().zip(1..).all(|(version, n)| *version == n), "{versions:?}");
    }
}
