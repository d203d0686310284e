//! Roles and migrations. Roles belong to a whole server, and some are made wrong here: only on a private one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{path::Path, str::FromStr};

use project::{Connections, MigrateError, Role, RolePasswords, check_version, migrate};
use runtime::Chance;
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgConnectOptions};
use tokio::sync::{Mutex, MutexGuard};

/// The server of this test binary, for one test at a time: what they do to roles, others would see.
struct Turn {
    databases: MutexGuard<'static, u32>,
    admin: PgPool,
    port: u16,
}

/// The server's URL of a database.
async fn url(database: &str) -> String {
    testkit::postgres().await.url(database)
}

impl Turn {
    /// `None`, said loudly, where the server is somebody else's.
    async fn take(test: &str) -> Option<Self> {
        static TURN: Mutex<u32> = Mutex::const_new(0);
        if std::env::var_os("TEST_DATABASE_URL").is_some_and(|url| !url.is_empty()) {
            testkit::skip(test, "it changes the roles of a whole server, and TEST_DATABASE_URL names one");
            return None;
        }
        let databases = TURN.lock().await;
        let options = PgConnectOptions::from_str(&url("postgres").await).unwrap();
        let port = options.get_port();
        Some(Self { databases, admin: PgPool::connect_with(options).await.unwrap(), port })
    }

    async fn run(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.admin).await.unwrap();
    }

    async fn database(&mut self) -> String {
        *self.databases += 1;
        let name = format!("setup_{}", *self.databases);
        self.run(format!("create database {name} template template0")).await;
        name
    }
}

async fn to(database: &str) -> Connections {
    Connections::for_tests(&url(database).await).unwrap()
}

async fn code(connections: &Connections) -> &'static str {
    migrate(connections, &Chance::system()).await.unwrap_err().code()
}

#[tokio::test]
async fn many_processes_with_databases_of_their_own_may_migrate_one_new_server_at_once() {
    let Some(mut turn) =
        Turn::take("many_processes_with_databases_of_their_own_may_migrate_one_new_server_at_once").await
    else {
        return;
    };
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let database = turn.database().await;
        for _ in 0..2 {
            let connections = to(&database).await;
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
    let expected =
        ["app_user", "executor", "owner", "projector", "relay"].map(|name| (name.to_owned(), false));
    assert_eq!(roles, expected);
}

#[tokio::test]
async fn a_database_is_migrated_once_and_every_role_sees_its_version() {
    let Some(mut turn) = Turn::take("a_database_is_migrated_once_and_every_role_sees_its_version").await
    else {
        return;
    };
    let database = turn.database().await;
    let connections = to(&database).await;
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
    let Some(mut turn) = Turn::take("a_stage_refuses_a_database_of_another_version").await else { return };
    let database = turn.database().await;
    let connections = to(&database).await;
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
    sqlx::query("update _sqlx_migrations set checksum = 'x' where version = 1")
        .execute(&admin)
        .await
        .unwrap();
    assert_eq!(code(&connections).await, "database_migrated_otherwise");
}

#[tokio::test]
async fn a_runtime_role_with_powers_is_refused() {
    let Some(mut turn) = Turn::take("a_runtime_role_with_powers_is_refused").await else { return };
    let database = turn.database().await;
    let connections = to(&database).await;
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
    let Some(mut turn) =
        Turn::take("passwords_that_are_given_become_the_roles_passwords_and_old_ones_stop_working").await
    else {
        return;
    };
    let database = turn.database().await;
    for sql in ["alter system set log_statement = 'ddl'", "select pg_reload_conf()"] {
        turn.run(sql.into()).await;
    }
    let old = to(&database).await;
    migrate(&old, &Chance::system()).await.unwrap();
    let passwords = RolePasswords::same(&SecretString::from("another-password"));
    let new = Connections::new(&url(&database).await, passwords).unwrap();
    migrate(&new, &Chance::system()).await.unwrap();
    new.pool(Role::Executor, 1).await.unwrap();
    assert_eq!(old.pool(Role::Executor, 1).await.unwrap_err().code(), "database_login_refused");
    let data: String =
        sqlx::query_scalar("select current_setting('data_directory')").fetch_one(&turn.admin).await.unwrap();
    let log = std::fs::read_to_string(Path::new(&data).parent().unwrap().join("postgres.log")).unwrap();
    assert!(log.contains("alter role executor password"), "the server's log holds the statements");
    assert!(!log.contains("another-password"));
    migrate(&old, &Chance::system()).await.unwrap();
}

/// The passwords of an installation that was never given any.
fn drawn(dir: &Path) -> RolePasswords {
    RolePasswords::load_or_create(&dir.join("passwords"), &Chance::system()).unwrap()
}

#[tokio::test]
async fn roles_of_another_installation_keep_their_passwords_unless_somebody_gives_them_new_ones() {
    let Some(mut turn) =
        Turn::take("roles_of_another_installation_keep_their_passwords_unless_somebody_gives_them_new_ones")
            .await
    else {
        return;
    };
    let (first, second) = (turn.database().await, turn.database().await);
    let old = to(&first).await;
    migrate(&old, &Chance::system()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Just made, and read at the next start.
    for _ in 0..2 {
        let other = Connections::new(&url(&second).await, drawn(dir.path())).unwrap();
        let error = migrate(&other, &Chance::system()).await.unwrap_err();
        assert_eq!(error.code(), "database_password_missing");
        assert!(error.to_string().contains("POLYMIRROR_DB_PASSWORD_OWNER"), "{error}");
        for role in Role::ALL {
            old.pool(role, 1).await.unwrap();
        }
    }
    // One that is given is not enough, and it changes nothing before all is known to be right.
    let given = |name: &str| name.ends_with("OWNER").then(|| "given-by-somebody".to_owned());
    let other = Connections::new(&url(&second).await, drawn(dir.path()).with_env(given).unwrap()).unwrap();
    let error = migrate(&other, &Chance::system()).await.unwrap_err();
    assert!(error.to_string().contains("POLYMIRROR_DB_PASSWORD_APP_USER"), "{error}");
    old.pool(Role::Owner, 1).await.unwrap();
    let given = |_: &str| Some("given-by-somebody".to_owned());
    let other = Connections::new(&url(&second).await, drawn(dir.path()).with_env(given).unwrap()).unwrap();
    migrate(&other, &Chance::system()).await.unwrap();
    assert_eq!(old.pool(Role::Owner, 1).await.unwrap_err().code(), "database_login_refused");
    migrate(&old, &Chance::system()).await.unwrap();
}

#[tokio::test]
async fn a_first_start_that_died_among_the_roles_is_finished_by_the_next() {
    let Some(mut turn) = Turn::take("a_first_start_that_died_among_the_roles_is_finished_by_the_next").await
    else {
        return;
    };
    let before = turn.database().await;
    migrate(&to(&before).await, &Chance::system()).await.unwrap();
    for role in Role::ALL {
        turn.run(format!("alter role {role} rename to {role}_away")).await;
    }
    let dir = tempfile::tempdir().unwrap();
    // It made the file and two roles. A role that has no right to log in yet is put right as well.
    let text = {
        drawn(dir.path());
        std::fs::read_to_string(dir.path().join("passwords")).unwrap()
    };
    for (role, rights) in [("owner", "login noinherit"), ("app_user", "nologin noinherit")] {
        let line = text.lines().find(|line| line.starts_with(role)).unwrap();
        let password = line.split_once(" = ").unwrap().1;
        turn.run(format!("create role {role} {rights} password '{password}'")).await;
    }
    let database = turn.database().await;
    let connections = Connections::new(&url(&database).await, drawn(dir.path())).unwrap();
    let done = migrate(&connections, &Chance::system()).await;
    let mut logins = Vec::new();
    for role in Role::ALL {
        logins.push(connections.pool(role, 1).await.is_ok());
    }
    turn.run(format!("drop database {database} with (force)")).await;
    for role in Role::ALL {
        turn.run(format!("drop role if exists {role}")).await;
        turn.run(format!("alter role {role}_away rename to {role}")).await;
    }
    done.unwrap();
    assert_eq!(logins, [true; 5]);
}

#[tokio::test]
async fn an_admin_without_superuser_can_set_up_and_leaves_no_membership_behind() {
    let Some(mut turn) =
        Turn::take("an_admin_without_superuser_can_set_up_and_leaves_no_membership_behind").await
    else {
        return;
    };
    turn.run("create role dba login createrole createdb password 'dba-password-12'".into()).await;
    turn.run("create database managed owner dba template template0".into()).await;
    let url = format!("postgres://dba:dba-password-12@127.0.0.1:{}/managed", turn.port);
    let connections = Connections::for_tests(&url).unwrap();
    let first = turn.database().await;
    migrate(&to(&first).await, &Chance::system()).await.unwrap();
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
    let url = format!("postgres://weak:weak-password-12@127.0.0.1:{}/weakly", turn.port);
    assert_eq!(code(&Connections::for_tests(&url).unwrap()).await, "database_admin_too_weak");
}

#[tokio::test]
async fn what_is_wrong_with_a_url_is_said_and_no_password_shown() {
    let Some(turn) = Turn::take("what_is_wrong_with_a_url_is_said_and_no_password_shown").await else {
        return;
    };
    let port = turn.port;
    for (url, expected) in [
        (
            format!("postgres://polymirror:not-the-password@127.0.0.1:{port}/postgres"),
            "database_login_refused",
        ),
        (url("not_there").await, "database_missing"),
        ("postgres://u:not-the-password@127.0.0.1:1/x".to_owned(), "database_unreachable"),
    ] {
        let error = migrate(&Connections::for_tests(&url).unwrap(), &Chance::system()).await.unwrap_err();
        assert_eq!(error.code(), expected, "{error}");
        assert!(!error.to_string().contains("not-the-password"), "{error}");
    }
    let error = Connections::for_tests("http//:not-the-password@").unwrap_err();
    assert_eq!(error.code(), "database_url_invalid");
    assert!(!error.to_string().contains("not-the-password"), "{error}");
    let without = Connections::new(&url("postgres").await, RolePasswords::default()).unwrap();
    let error = without.options(Role::Relay).unwrap_err();
    assert_eq!(error.code(), "database_password_missing");
    assert!(error.to_string().contains("POLYMIRROR_DB_PASSWORD_RELAY"), "{error}");
    assert!(!format!("{without:?}").contains("password"));
}
