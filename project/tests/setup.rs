//! Roles and migrations, on a server of this binary's own: roles belong to a whole server, and some are made wrong here.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs::Permissions, os::unix::fs::PermissionsExt};

use pgcluster::Cluster;
use project::{Connections, MigrateError, Role, RolePasswords, check_version, migrate};
use runtime::Chance;
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

struct Server {
    cluster: Cluster,
    /// One test at a time: what they do to roles, others would see.
    turn: Mutex<u32>,
    _dir: tempfile::TempDir,
}

async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER
        .get_or_init(|| async {
            // On a runtime that outlives the test that came first.
            std::thread::spawn(|| {
                let runtime = Box::leak(Box::new(tokio::runtime::Runtime::new().unwrap()));
                runtime.block_on(async {
                    let dir = tempfile::Builder::new()
                        .prefix("polymirror-roles-")
                        .permissions(Permissions::from_mode(0o711))
                        .tempdir()
                        .unwrap();
                    let cluster = Cluster::options(dir.path().join("pg")).start().await.unwrap();
                    Server { cluster, turn: Mutex::new(0), _dir: dir }
                })
            })
            .join()
            .unwrap()
        })
        .await
}

/// An empty database, for as long as the turn lasts.
struct Turn {
    server: &'static Server,
    turn: MutexGuard<'static, u32>,
    admin: PgPool,
}

impl Turn {
    async fn take() -> Self {
        let server = server().await;
        let turn = server.turn.lock().await;
        let admin = PgPool::connect(&server.cluster.owner_url()).await.unwrap();
        Self { server, turn, admin }
    }

    async fn run(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.admin).await.unwrap();
    }

    async fn database(&mut self) -> String {
        *self.turn += 1;
        let name = format!("setup_{}", *self.turn);
        self.run(format!("create database {name} template template0")).await;
        name
    }

    fn connections(&self, database: &str) -> Connections {
        Connections::for_tests(&self.server.cluster.url(database)).unwrap()
    }
}

async fn code(connections: &Connections) -> &'static str {
    migrate(connections, &Chance::system()).await.unwrap_err().code()
}

#[tokio::test]
async fn many_processes_with_databases_of_their_own_may_migrate_one_new_server_at_once() {
    let mut turn = Turn::take().await;
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let database = turn.database().await;
        for _ in 0..2 {
            let connections = turn.connections(&database);
            tasks.push(tokio::spawn(async move { migrate(&connections, &Chance::system()).await }));
        }
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let roles: Vec<(String, bool)> = sqlx::query_as(
        "select rolname::text, rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication or rolinherit
         from pg_roles where rolname = any($1) and rolcanlogin order by 1",
    )
    .bind(Role::ALL.map(Role::name).to_vec())
    .fetch_all(&turn.admin)
    .await
    .unwrap();
    let expected = ["app_user", "executor", "owner", "projector", "relay"].map(|name| (name.to_owned(), false));
    assert_eq!(roles, expected);
}

#[tokio::test]
async fn a_database_is_migrated_once_and_every_role_sees_its_version() {
    let mut turn = Turn::take().await;
    let database = turn.database().await;
    let connections = turn.connections(&database);
    migrate(&connections, &Chance::system()).await.unwrap();
    migrate(&connections, &Chance::system()).await.unwrap();
    for role in Role::ALL {
        let pool = connections.pool(role, 1).await.unwrap();
        check_version(&pool).await.unwrap();
    }
    let (database_owner, schema_owner): (String, String) = sqlx::query_as(
        "select pg_get_userbyid(datdba)::text, (select pg_get_userbyid(nspowner)::text from pg_namespace
             where nspname = 'public')
         from pg_database where datname = current_database()",
    )
    .fetch_one(&connections.pool(Role::Owner, 1).await.unwrap())
    .await
    .unwrap();
    assert_eq!((database_owner.as_str(), schema_owner.as_str()), ("owner", "owner"));
}

#[tokio::test]
async fn a_stage_refuses_a_database_of_another_version() {
    let mut turn = Turn::take().await;
    let database = turn.database().await;
    let connections = turn.connections(&database);
    let admin = PgPool::connect_with(connections.admin().clone()).await.unwrap();
    let found = check_version(&admin).await.unwrap_err();
    assert!(matches!(found, MigrateError::NotMigrated { found: 0, .. }), "{found}");
    assert_eq!(found.code(), "database_not_migrated");
    migrate(&connections, &Chance::system()).await.unwrap();
    let relay = connections.pool(Role::Relay, 1).await.unwrap();
    sqlx::query("delete from _sqlx_migrations where version > 2").execute(&admin).await.unwrap();
    let found = check_version(&relay).await.unwrap_err();
    assert!(matches!(found, MigrateError::NotMigrated { found: 2, .. }), "{found}");
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (999, 'later', true, '', 0)";
    sqlx::query(newer).execute(&admin).await.unwrap();
    assert_eq!(check_version(&relay).await.unwrap_err().code(), "database_newer_than_program");
    assert_eq!(code(&connections).await, "database_newer_than_program");
    sqlx::query("delete from _sqlx_migrations where version = 999").execute(&admin).await.unwrap();
    sqlx::query("update _sqlx_migrations set checksum = 'x' where version = 1").execute(&admin).await.unwrap();
    assert_eq!(code(&connections).await, "database_migrated_otherwise");
}

#[tokio::test]
async fn a_runtime_role_with_powers_is_refused() {
    let mut turn = Turn::take().await;
    let database = turn.database().await;
    let connections = turn.connections(&database);
    migrate(&connections, &Chance::system()).await.unwrap();
    for (give, take, expected) in [
        ("alter role projector bypassrls", "alter role projector nobypassrls", "bypasses row-level security"),
        ("alter role app_user superuser", "alter role app_user nosuperuser", "is a superuser"),
        ("alter role relay createrole", "alter role relay nocreaterole", "may make roles"),
        ("grant executor to app_user", "revoke executor from app_user", "is a member of executor"),
        ("grant owner to executor", "revoke owner from executor", "is a member of owner"),
    ] {
        turn.run(give.into()).await;
        let error = migrate(&connections, &Chance::system()).await.unwrap_err();
        turn.run(take.into()).await;
        assert_eq!(error.code(), "database_role_too_powerful");
        assert!(error.to_string().contains(expected), "{error}");
    }
    // What is only inconvenient is put right.
    turn.run("alter role relay inherit nologin".into()).await;
    migrate(&connections, &Chance::system()).await.unwrap();
}

#[tokio::test]
async fn passwords_that_are_given_become_the_roles_passwords_and_old_ones_stop_working() {
    let mut turn = Turn::take().await;
    let database = turn.database().await;
    let old = turn.connections(&database);
    migrate(&old, &Chance::system()).await.unwrap();
    let passwords = RolePasswords::same(&SecretString::from("another-password"));
    let new = Connections::new(&turn.server.cluster.url(&database), passwords).unwrap();
    migrate(&new, &Chance::system()).await.unwrap();
    new.pool(Role::Executor, 1).await.unwrap();
    assert_eq!(old.pool(Role::Executor, 1).await.unwrap_err().code(), "database_login_refused");
    let log = std::fs::read_to_string(turn.server.cluster.log_file()).unwrap();
    assert!(!log.contains("another-password"));
    migrate(&old, &Chance::system()).await.unwrap();
}

#[tokio::test]
async fn an_admin_without_superuser_can_set_up_and_leaves_no_membership_behind() {
    let mut turn = Turn::take().await;
    turn.run("create role dba login createrole createdb password 'dba-password-12'".into()).await;
    turn.run("create database managed owner dba template template0".into()).await;
    let url = format!("postgres://dba:dba-password-12@127.0.0.1:{}/managed", turn.server.cluster.port());
    let connections = Connections::for_tests(&url).unwrap();
    let first = turn.database().await;
    migrate(&turn.connections(&first), &Chance::system()).await.unwrap();
    for _ in 0..2 {
        migrate(&connections, &Chance::system()).await.unwrap();
    }
    check_version(&connections.pool(Role::AppUser, 1).await.unwrap()).await.unwrap();
    let members: i64 = sqlx::query_scalar(
        "select count(*) from pg_auth_members m join pg_roles r on r.oid = m.roleid where r.rolname = any($1)",
    )
    .bind(Role::ALL.map(Role::name).to_vec())
    .fetch_one(&turn.admin)
    .await
    .unwrap();
    assert_eq!(members, 0);
    turn.run("create role weak login password 'weak-password-12'".into()).await;
    turn.run("create database weakly owner weak template template0".into()).await;
    let url = format!("postgres://weak:weak-password-12@127.0.0.1:{}/weakly", turn.server.cluster.port());
    assert_eq!(code(&Connections::for_tests(&url).unwrap()).await, "database_admin_too_weak");
}

#[tokio::test]
async fn what_is_wrong_with_a_url_is_said_and_no_password_shown() {
    let turn = Turn::take().await;
    let port = turn.server.cluster.port();
    for (url, expected) in [
        (format!("postgres://polymirror:not-the-password@127.0.0.1:{port}/postgres"), "database_login_refused"),
        (turn.server.cluster.url("not_there"), "database_missing"),
        ("postgres://u:not-the-password@127.0.0.1:1/x".to_owned(), "database_unreachable"),
    ] {
        let error = migrate(&Connections::for_tests(&url).unwrap(), &Chance::system()).await.unwrap_err();
        assert_eq!(error.code(), expected, "{error}");
        assert!(!error.to_string().contains("not-the-password"), "{error}");
    }
    let error = Connections::for_tests("http//:not-the-password@").unwrap_err();
    assert_eq!(error.code(), "database_url_invalid");
    assert!(!error.to_string().contains("not-the-password"), "{error}");
    let without = Connections::new(&turn.server.cluster.owner_url(), RolePasswords::default()).unwrap();
    let error = without.options(Role::Relay).unwrap_err();
    assert_eq!(error.code(), "database_password_missing");
    assert!(error.to_string().contains("POLYMIRROR_DB_PASSWORD_RELAY"), "{error}");
    assert!(!format!("{without:?}").contains("password"));
}
