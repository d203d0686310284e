//! The five logins (`behaviour.md` 7), and how they come to be on a server.
//!
//! Roles belong to a whole server, databases are many: several processes, each with a database of its own,
//! may run [`ensure`] on one server at once.

use std::{collections::BTreeMap, fmt};

use runtime::Chance;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgConnectOptions};

use crate::{
    connections::{ConnectError, Connections},
    passwords::variable_of,
    scram,
};

/// A login role. None has a power of its own, bypasses row-level security, or is a member of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Owns database, schemas and tables. Held by migrations, the rebuild's swap and the operator; by no
    /// stage.
    Owner,
    /// Every request of a tenant, with `app.current_user_id` set.
    AppUser,
    /// The `project` stage.
    Projector,
    /// The `execute` stage.
    Executor,
    /// Publishes the api's outbox.
    Relay,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Owner, Self::AppUser, Self::Projector, Self::Executor, Self::Relay];

    /// The roles that a running stage holds: all but the owner.
    pub const RUNTIME: [Self; 4] = [Self::AppUser, Self::Projector, Self::Executor, Self::Relay];

    /// Its name in Postgres: plain, so that it needs no quoting.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::AppUser => "app_user",
            Self::Projector => "projector",
            Self::Executor => "executor",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why the roles cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RolesError {
    /// A role of that name has powers that void row-level security or reach other roles' rows.
    #[error(
        "database_role_too_powerful: role `{role}` {power}. It must see its own rows only: take that from it \
         (ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION; REVOKE <role> FROM {role}), \
         or use a server of its own"
    )]
    TooPowerful {
        /// The role.
        role: Role,
        /// What it may do.
        power: String,
    },
    /// The role exists, has the password given, and still cannot log in.
    #[error(
        "database_role_cannot_log_in: role `{role}` has its password and is still refused: {source}. Check \
         pg_hba.conf: it must allow password logins of this role from this machine"
    )]
    CannotLogIn {
        /// The role.
        role: Role,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The role is there with another password than ours, which nobody gave.
    #[error(
        "database_password_missing: role `{role}` is on this server already, made by another installation or with a \
         password that is lost: {source}. Start from the data directory that has its password, or use a server of its \
         own. Whoever sets {variable} gives the role that password, and must tell every installation that uses this server"
    )]
    NotOurs {
        /// The role.
        role: Role,
        /// The variable that would give its password.
        variable: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The user of the URL may not make roles, or may not hand the database over.
    #[error(
        "database_admin_too_weak: `{user}` may not {doing}: {source}. Give the URL of a superuser, or of the \
         database's owner with CREATEROLE and CREATEDB"
    )]
    AdminTooWeak {
        /// Whose URL it is.
        user: String,
        /// What was tried.
        doing: &'static str,
        /// What the server said.
        source: sqlx::Error,
    },
    /// No connection, or no password.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Anything else that the server says.
    #[error("database_error: while setting up roles: {0}")]
    Sql(#[from] sqlx::Error),
}

impl RolesError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooPowerful { .. } => "database_role_too_powerful",
            Self::CannotLogIn { .. } => "database_role_cannot_log_in",
            Self::NotOurs { .. } => "database_password_missing",
            Self::AdminTooWeak { .. } => "database_admin_too_weak",
            Self::Connect(e) => e.code(),
            Self::Sql(_) => "database_error",
        }
    }
}

/// Any number, the same in every process: whoever sets up roles on a server holds this lock.
const LOCK: i64 = 0x706f_6c79_726f_6c65;

/// How often a change that another process made at the same moment is looked at again. Each time somebody
/// else has come further, so a handful is plenty.
const TRIES: usize = 20;

/// Tries again where another process changed the same row of a catalogue at the same moment.
macro_rules! retried {
    ($work:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            match $work.await {
                Err(error) if tries < TRIES && error.is_collision() => {}
                done => break done,
            }
        }
    }};
}

/// Sees to it that the five roles exist as they must, with the passwords given, and that the database and
/// its schema belong to `owner`. Changes nothing that is right already, and nothing at all where a role is somebody else's.
pub async fn ensure(connections: &Connections, chance: &Chance) -> Result<(), RolesError> {
    let admin = connections.admin();
    // Advisory locks belong to a database, roles to the server: everybody meets in the database that each
    // server has. Where that is closed to us, the retries below stand alone.
    let meeting = admin.clone().database("postgres");
    let mut connection = match PgConnection::connect_with(&meeting).await {
        Ok(connection) => connection,
        Err(sqlx::Error::Database(_)) => connect(admin).await?,
        Err(e) => return Err(ConnectError::from(e).into()),
    };
    // Held until the connection ends.
    sqlx::query("select pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await?;
    for role in Role::ALL {
        check_ours(&mut connection, connections, role).await?;
    }
    for role in Role::ALL {
        retried!(ensure_role(&mut connection, connections, role, chance))?;
        ensure_password(&mut connection, connections, role, chance).await?;
    }
    let _ = connection.close().await;
    take_over(connections).await
}

/// Whether any of the five is on the server. Changes nothing.
pub async fn any_there(connections: &Connections) -> Result<bool, RolesError> {
    let mut connection = connect(connections.admin()).await?;
    let there = sqlx::query_scalar("select exists (select from pg_roles where rolname = any($1))")
        .bind(Role::ALL.map(Role::name).to_vec())
        .fetch_one(&mut connection)
        .await?;
    let _ = connection.close().await;
    Ok(there)
}

/// What the server says, as what it means for the admin.
fn admin_error(admin: &PgConnectOptions, doing: &'static str, source: sqlx::Error) -> RolesError {
    if code_of(&source).as_deref() == Some("42501") {
        return RolesError::AdminTooWeak { user: admin.get_username().to_owned(), doing, source };
    }
    RolesError::Sql(source)
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, ConnectError> {
    PgConnection::connect_with(options).await.map_err(ConnectError::from)
}

/// Whether the role may be made or taken as it is: it is not there, it has our password, or whoever gave the password
/// wants it to have that one.
async fn check_ours(
    connection: &mut PgConnection,
    connections: &Connections,
    role: Role,
) -> Result<(), RolesError> {
    if connections.replaces(role) {
        return Ok(());
    }
    let there: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
        .bind(role.name())
        .fetch_one(connection)
        .await?;
    if !there {
        return Ok(());
    }
    match refused(&connections.options(role)?).await? {
        Some(source) if has_another_password(&source) => Err(not_ours(role, source)),
        // A role that may not log in is put right, and what else keeps it out is told after that.
        _ => Ok(()),
    }
}

fn has_another_password(error: &sqlx::Error) -> bool {
    code_of(error).as_deref() == Some("28P01")
}

fn not_ours(role: Role, source: sqlx::Error) -> RolesError {
    RolesError::NotOurs { role, variable: variable_of(role), source }
}

/// The state of a role, and its powers that it must not have.
async fn ensure_role(
    connection: &mut PgConnection,
    connections: &Connections,
    role: Role,
    chance: &Chance,
) -> Result<(), RolesError> {
    let found = sqlx::query(
        "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin and not rolinherit,
             array(select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.roleid
                 where m.member = r.oid order by 1)
         from pg_roles r where rolname = $1",
    )
    .bind(role.name())
    .fetch_optional(&mut *connection)
    .await?;
    let weak = |source| admin_error(connections.admin(), "make roles", source);
    let Some(found) = found else {
        // With its password at once: a role that is there and does not take ours was not left so by a crash of ours.
        let verifier = scram::verifier(connections.password(role)?, chance.bytes());
        let make = format!(
            "create role {role} login nosuperuser nobypassrls nocreaterole nocreatedb noreplication noinherit \
             password '{verifier}'"
        );
        sqlx::raw_sql(AssertSqlSafe(make)).execute(connection).await.map_err(weak)?;
        return Ok(());
    };
    let powers = [
        "is a superuser",
        "bypasses row-level security",
        "may make roles",
        "may make databases",
        "may replicate",
    ];
    for (column, power) in powers.into_iter().enumerate() {
        if found.try_get::<bool, _>(column)? {
            return Err(RolesError::TooPowerful { role, power: power.to_owned() });
        }
    }
    let groups: Vec<String> = found.try_get(6)?;
    if !groups.is_empty() {
        return Err(RolesError::TooPowerful { role, power: format!("is a member of {}", groups.join(", ")) });
    }
    if !found.try_get::<bool, _>(5)? {
        let fix = format!("alter role {role} login noinherit");
        sqlx::raw_sql(AssertSqlSafe(fix)).execute(connection).await.map_err(weak)?;
    }
    Ok(())
}

/// Gives the role its password, unless it has it. Where it has another, only if that is to be replaced.
async fn ensure_password(
    connection: &mut PgConnection,
    connections: &Connections,
    role: Role,
    chance: &Chance,
) -> Result<(), RolesError> {
    let options = connections.options(role)?;
    match refused(&options).await? {
        None => return Ok(()),
        Some(_) if connections.replaces(role) => {}
        Some(source) if has_another_password(&source) => return Err(not_ours(role, source)),
        Some(source) => return Err(RolesError::CannotLogIn { role, source }),
    }
    // The server gets the verifier only, so that no log of statements holds the password.
    let verifier = scram::verifier(connections.password(role)?, chance.bytes());
    let give = format!("alter role {role} password '{verifier}'");
    let weak = |source| admin_error(connections.admin(), "set passwords of roles", source);
    retried!(run(connection, &give)).map_err(weak)?;
    match refused(&options).await? {
        None => Ok(()),
        Some(source) => Err(RolesError::CannotLogIn { role, source }),
    }
}

/// The server's words if it refuses the login for who it is. What it says about the database, after the
/// password was found right, does not count: rights come later.
async fn refused(options: &PgConnectOptions) -> Result<Option<sqlx::Error>, RolesError> {
    match PgConnection::connect_with(options).await {
        Ok(connection) => {
            let _ = connection.close().await;
            Ok(None)
        }
        Err(error) => match code_of(&error).as_deref() {
            Some(code) if code.starts_with("28") => Ok(Some(error)),
            Some(_) => Ok(None),
            None => Err(ConnectError::from(error).into()),
        },
    }
}

/// Makes `owner` the owner of the database and of its schema, and closes both to everybody else.
async fn take_over(connections: &Connections) -> Result<(), RolesError> {
    let admin = connections.admin();
    let mut connection = connect(admin).await?;
    sqlx::query("select pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await?;
    let weak = |source| admin_error(admin, "hand the database over to `owner`", source);
    let (database, user, is_ours, schema_is_ours, is_super): (String, String, bool, bool, bool) =
        sqlx::query_as(
            "select quote_ident(current_database()), quote_ident(current_user),
             (select pg_get_userbyid(datdba) = 'owner' from pg_database where datname = current_database()),
             (select pg_get_userbyid(nspowner) = 'owner' from pg_namespace where nspname = 'public'),
             (select rolsuper from pg_roles where rolname = current_user)",
        )
        .fetch_one(&mut connection)
        .await?;
    if !is_ours || !schema_is_ours {
        // Only a superuser may give away without being a member of who receives.
        let (join, leave) = if is_super {
            (String::new(), String::new())
        } else {
            (format!("grant owner to {user};"), format!("revoke owner from {user};"))
        };
        let hand_over = format!(
            "{join} grant create on database {database} to owner; alter schema public owner to owner;
             alter database {database} owner to owner; {leave}"
        );
        retried!(run(&mut connection, &hand_over)).map_err(weak)?;
    }
    let mut owner = connect(&connections.options(Role::Owner)?).await?;
    let roles = Role::RUNTIME.map(Role::name).join(", ");
    // The admin keeps its way in: the next migration begins with it.
    let close = format!(
        "revoke all on database {database} from public; grant connect on database {database} to {roles}, {user}"
    );
    run(&mut owner, &close).await?;
    let _ = owner.close().await;
    let _ = connection.close().await;
    Ok(())
}

/// Runs statements in one transaction.
async fn run(connection: &mut PgConnection, statements: &str) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Somebody else made the same role first (42710, 23505), or changed the same row of a catalogue ("tuple
/// concurrently updated", which has no code of its own).
trait Collision {
    fn is_collision(&self) -> bool;
}

impl Collision for sqlx::Error {
    fn is_collision(&self) -> bool {
        match code_of(self).as_deref() {
            Some("42710" | "23505") => true,
            Some("XX000") => self.to_string().contains("concurrently"),
            _ => false,
        }
    }
}

impl Collision for RolesError {
    fn is_collision(&self) -> bool {
        matches!(self, Self::Sql(error) if error.is_collision())
    }
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned)
}

/// A role for each of the names, by name.
pub(crate) fn by_name() -> BTreeMap<&'static str, Role> {
    Role::ALL.into_iter().map(|role| (role.name(), role)).collect()
}
