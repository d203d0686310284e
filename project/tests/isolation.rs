//! A tenant sees its own rows only, through every role a request can reach; a machine role reaches only the
//! tables listed for it (invariant 7). Everything here goes by direct SQL, as an attacker inside a request
//! would.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use common::{Tenant, add_tenant, at, database, decision, order, superuser};
use eventlog::{Offset, TopicPartition};
use project::{
    Connections, Role,
    core::fold::{Batch, Progress},
    pg::{Tz, begin_as},
    store::{PgStore, Store},
};
use schemas::{LogId, Reason, UserId, topics::Topic};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use uuid::Uuid;

/// Two tenants, each with rows in every table that is about tenants.
async fn two_tenants() -> (Connections, Tenant, Tenant) {
    let connections = database().await;
    let (a, b) = (add_tenant(&connections, 1).await, add_tenant(&connections, 2).await);
    let superuser = superuser(&connections).await;
    for (number, tenant) in (0_u128..).zip([a, b]) {
        let (id, account, user) = (Uuid::from_u128(0xd000 + number), tenant.account, tenant.user);
        let wallet = format!("0x{}", format!("{number}").repeat(40));
        let rows = format!(
            "insert into poly_copy_trade_targets (id, billing_account_id, created_by_user_id, target_wallet, status, mode,
                 policy, policy_revision, revision, created_at, changed_at)
             values ('{id}', '{account}', '{user}', '{wallet}', 'active', 'simulated', '{{}}', 1, 1, 'epoch', 'epoch');
             insert into poly_wallet_connections (id, billing_account_id, address, signature_type, funder,
                 signing_key_sealed, revision, created_at, changed_at)
             values ('{id}', '{account}', '{wallet}', 'eoa', '{wallet}', 'x', 1, 'epoch', 'epoch');
             insert into poly_wallet_grants (id, billing_account_id, scopes, per_order_usdc_cap, daily_usdc_cap,
                 hourly_fills_cap, revision, created_at, changed_at)
             values ('{id}', '{account}', '{{poly:trade:buy}}', 1, 1, 1, 1, 'epoch', 'epoch');
             insert into poly_controls values ('{id}', '{account}', 'pause', false, '', 1, 'epoch');
             insert into api_outbox (id, billing_account_id, topic, key, subject, revision, value, created_at)
             values ('{id}', '{account}', 'targets', '{wallet}', '{id}', 1, 'x', 'epoch');
             insert into api_tokens (id, billing_account_id, name, token_hash, created_at)
             values ('{id}', '{account}', 'default', sha256('{account}'), 'epoch');
             insert into poly_close_requests values ('{account}', 'r', '{id}', '1', 'epoch');
             insert into execution.budgets values ('{account}', 'simulated', 1)"
        );
        sqlx::raw_sql(AssertSqlSafe(rows)).execute(&superuser).await.unwrap();
    }
    // A switch for all, which is nobody's.
    sqlx::query("insert into poly_controls values ($1, null, 'halt', false, 'x', 1, $2)")
        .bind(Uuid::from_u128(1))
        .bind(Tz(at(0)))
        .execute(&superuser)
        .await
        .unwrap();
    project_rows(&connections, &[a, b]).await;
    (connections, a, b)
}

async fn project_rows(connections: &Connections, tenants: &[Tenant]) {
    let store = PgStore::connect(connections).await.unwrap();
    let log_id = LogId::from_uuid(Uuid::from_u128(9));
    let mut batch = Batch::default();
    let to = Progress { next: Offset(1), ..Progress::start(log_id) };
    batch.advances.insert(TopicPartition::new(Topic::Orders, 0), (None, to));
    for tenant in tenants {
        let order = order(*tenant, 1, 5);
        batch.orders.entry((tenant.account, order.idempotency_key)).or_default().take(order);
        batch.decisions.push(decision(*tenant, 0, 0, 1, Reason::StaleFill));
    }
    store.apply(&batch).await.unwrap();
}

/// The tables that hold tenants' rows, and what a tenant sees of them: how its own rows are told.
const TENANT_TABLES: [(&str, &str); 11] = [
    ("users", "id = $1"),
    ("billing_accounts", "owner_user_id = $1"),
    ("poly_copy_trade_targets", "created_by_user_id = $1"),
    ("poly_wallet_connections", "billing_account_id = $2"),
    ("poly_wallet_grants", "billing_account_id = $2"),
    ("poly_controls", "billing_account_id = $2"),
    ("api_tokens", "billing_account_id = $2"),
    ("poly_close_requests", "billing_account_id = $2"),
    ("poly_copy_trade_fills", "created_by_user_id = $1"),
    ("poly_copy_trade_attempts", "created_by_user_id = $1 or billing_account_id = $2"),
    ("poly_copy_trade_decisions", "created_by_user_id = $1"),
];

/// Those that a tenant has no SELECT on.
const CLOSED_TABLES: [&str; 15] = [
    "api_outbox",
    "projection_offsets",
    "execution.orders",
    "execution.budgets",
    "execution.owner_epochs",
    "execution.intent_offsets",
    "execution.outbox",
    "execution.positions",
    "execution.deferred",
    "execution.order_offsets",
    "execution.closes",
    "execution.dues",
    "execution.diagnoses",
    "execution.control_outbox",
    "pg_authid",
];

/// Those that say nothing of anybody: every tenant reads them, and nobody without a user need.
const OPEN_TABLES: [&str; 1] = ["poly_reconciler_ticks"];

/// Those of what copies hold: a row is seen by whoever has copies of its token, and by nobody else.
const TOKEN_TABLES: [&str; 3] = ["poly_token_outcomes", "poly_token_marks", "poly_token_ids"];

async fn refused(transaction: &mut Transaction<'static, Postgres>, sql: &str) -> String {
    let mut inside = sqlx::Acquire::begin(&mut **transaction).await.unwrap();
    let answer = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *inside).await;
    let error = match answer {
        Ok(done) => panic!("`{sql}` was allowed: {} rows", done.rows_affected()),
        Err(error) => error,
    };
    inside.rollback().await.unwrap();
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap().into_owned()
}

async fn touched(transaction: &mut Transaction<'static, Postgres>, sql: String) -> u64 {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **transaction).await.unwrap().rows_affected()
}

async fn rows(
    transaction: &mut Transaction<'static, Postgres>,
    table: &str,
    filter: &str,
    of: Tenant,
) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!(
        "select count(*) from {table} where ({filter}) and $1::uuid is not null and $2::uuid is not null"
    )))
    .bind(of.user.as_uuid())
    .bind(of.account.as_uuid())
    .fetch_one(&mut **transaction)
    .await
    .unwrap()
}

#[tokio::test]
async fn the_page_above_names_every_table_there_is() {
    let connections = database().await;
    let mut found: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and n.nspname in ('public', 'execution')",
    )
    .fetch_all(&superuser(&connections).await)
    .await
    .unwrap();
    found.retain(|table| table != "_sqlx_migrations");
    for table in found {
        let listed = TENANT_TABLES.iter().any(|(name, _)| *name == table)
            || CLOSED_TABLES.contains(&table.as_str())
            || OPEN_TABLES.contains(&table.as_str())
            || TOKEN_TABLES.contains(&table.as_str());
        assert!(listed, "{table} is not looked at by these tests");
    }
}

#[tokio::test]
async fn a_tenant_sees_its_own_rows_and_nothing_of_another_s() {
    let (connections, a, b) = two_tenants().await;
    let pool = connections.pool(Role::AppUser, 2).await.unwrap();
    let mut as_a = begin_as(&pool, a.user).await.unwrap();
    for (table, own) in TENANT_TABLES {
        assert_eq!(rows(&mut as_a, table, own, a).await, 1, "{table}");
        assert_eq!(rows(&mut as_a, table, own, b).await, 0, "{table}");
        assert_eq!(rows(&mut as_a, table, "true", b).await, 1, "{table}");
    }
    for table in CLOSED_TABLES {
        assert_eq!(refused(&mut as_a, &format!("select 1 from {table}")).await, "42501", "{table}");
    }
}

#[tokio::test]
async fn without_a_user_nothing_is_seen_and_a_forged_one_sees_nothing() {
    let (connections, _, _) = two_tenants().await;
    let pool = connections.pool(Role::AppUser, 1).await.unwrap();
    let mut nobody = pool.begin().await.unwrap();
    for (table, _) in TENANT_TABLES {
        assert_eq!(rows(&mut nobody, table, "true", common::tenant(1)).await, 0, "{table}");
    }
    drop(nobody);
    let mut stranger = begin_as(&pool, UserId::from_uuid(Uuid::from_u128(0xeeee))).await.unwrap();
    for (table, _) in TENANT_TABLES {
        assert_eq!(rows(&mut stranger, table, "true", common::tenant(1)).await, 0, "{table}");
    }
    for (forged, expected) in [("", 0_i64), ("' or true --", -1), ("*", -1)] {
        let mut inside = sqlx::Acquire::begin(&mut *stranger).await.unwrap();
        sqlx::query("select set_config('app.current_user_id', $1, true)")
            .bind(forged)
            .execute(&mut *inside)
            .await
            .unwrap();
        let seen =
            sqlx::query_scalar("select count(*) from users").fetch_one(&mut *inside).await.unwrap_or(-1);
        assert_eq!(seen, expected, "{forged}");
    }
    // What a transaction set does not outlive it: the next request on the same connection begins with nobody.
    drop(stranger);
    let left: Option<String> =
        sqlx::query_scalar("select nullif(current_setting('app.current_user_id', true), '')")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(left, None);
}

#[tokio::test]
async fn a_tenant_writes_nothing_of_another_s() {
    let (connections, a, b) = two_tenants().await;
    let pool = connections.pool(Role::AppUser, 1).await.unwrap();
    let mut as_a = begin_as(&pool, a.user).await.unwrap();
    let (account_a, account_b) = (a.account, b.account);
    let (user_a, user_b) = (a.user, b.user);
    let (target_a, target_b) = (Uuid::from_u128(0xd000), Uuid::from_u128(0xd001));
    let target = |account, user| {
        format!(
            "insert into poly_copy_trade_targets (id, billing_account_id, created_by_user_id, target_wallet, status, mode,
                 policy, policy_revision, revision, created_at, changed_at)
             values ('{}', '{account}', '{user}', '0x{}', 'active', 'simulated', '{{}}', 1, 1, 'epoch', 'epoch')",
            Uuid::from_u128(0xfff1),
            "c".repeat(40)
        )
    };
    for (sql, why) in [
        (target(account_b, user_a), "a target in another's account"),
        (target(account_b, user_b), "a target in another's name"),
        (target(account_a, user_b), "a target of one's own in another's name"),
        (
            format!(
                "insert into poly_wallet_grants (id, billing_account_id, scopes, per_order_usdc_cap, daily_usdc_cap,
                     hourly_fills_cap, revision, created_at, changed_at)
                 values ('{}', '{account_b}', '{{}}', 1, 1, 1, 2, 'epoch', 'epoch')",
                Uuid::from_u128(0xfff2)
            ),
            "a grant for another's account",
        ),
        (
            format!(
                "insert into poly_wallet_connections (id, billing_account_id, address, signature_type, funder,
                     signing_key_sealed, revision, created_at, changed_at)
                 values ('{}', '{account_b}', '0x{w}', 'eoa', '0x{w}', 'x', 2, 'epoch', 'epoch')",
                Uuid::from_u128(0xfff3),
                w = "c".repeat(40)
            ),
            "a wallet for another's account",
        ),
        (
            format!("insert into poly_controls values ('{}', '{account_b}', 'halt', true, '', 1, 'epoch')", Uuid::nil()),
            "a switch for another's account",
        ),
        (
            format!("insert into poly_controls values ('{}', null, 'pause', true, '', 1, 'epoch')", Uuid::nil()),
            "a switch for all",
        ),
        (
            format!(
                "insert into api_outbox (id, billing_account_id, topic, key, subject, revision, value, created_at)
                 values ('{}', '{account_b}', 'controls', '{account_b}', 'grant', 9, 'x', 'epoch')",
                Uuid::nil()
            ),
            "an event about another's account",
        ),
        (
            format!(
                "insert into api_outbox (id, billing_account_id, topic, key, subject, revision, value, created_at)
                 values ('{}', null, 'controls', '*', 'pause', 9, 'x', 'epoch')",
                Uuid::nil()
            ),
            "an event about all",
        ),
        (
            format!("insert into billing_accounts values ('{}', '{user_b}', 'x', 'epoch')", Uuid::nil()),
            "an account for another",
        ),
        (format!("insert into users values ('{}', 'x', 'epoch')", Uuid::nil()), "another user"),
        (
            format!(
                "insert into api_tokens (id, billing_account_id, name, token_hash, created_at)
                 values ('{}', '{account_b}', 'x', sha256('x'), 'epoch')",
                Uuid::nil()
            ),
            "a token that speaks for another",
        ),
        (
            format!("insert into poly_close_requests values ('{account_b}', 'x', '{target_a}', '1', 'epoch')"),
            "a close for another's account",
        ),
        (
            format!("insert into poly_close_requests values ('{account_a}', 'x', '{target_b}', '1', 'epoch')"),
            "a close of another's target",
        ),
        (
            format!("insert into poly_close_requests values ('{account_a}', 'x', '{}', '1', 'epoch')", Uuid::nil()),
            "a close of no target",
        ),
        ("select token_hash from api_tokens".into(), "a hash, even one's own"),
        ("select * from api_tokens".into(), "all of a token, its hash with it"),
        ("update api_tokens set token_hash = sha256('x')".into(), "replacing a hash"),
        ("update api_tokens set expires_at = null".into(), "making a token last"),
        ("insert into api_tokens select * from api_tokens returning token_hash".into(), "a hash by the way of RETURNING"),
        ("delete from api_tokens".into(), "deleting a token"),
        ("update poly_close_requests set requested_at = 'epoch'".into(), "a request to close"),
        ("delete from poly_close_requests".into(), "a request to close"),
        (
            "create or replace function api_token_owner(bytea, timestamptz) returns table (user_id uuid, account_id uuid)
             language sql as 'select null::uuid, null::uuid'"
                .into(),
            "the lookup of tokens",
        ),
        ("update billing_accounts set owner_user_id = id".into(), "an account's owner"),
        (format!("update poly_copy_trade_targets set billing_account_id = '{account_b}'"), "a target's account"),
        ("update poly_copy_trade_targets set created_at = 'epoch'".into(), "a target's creation"),
        ("update poly_copy_trade_fills set filled_shares = 0".into(), "the ledger"),
        ("delete from poly_copy_trade_decisions".into(), "decisions"),
        ("update poly_copy_trade_decisions set reason = 'ok'".into(), "decisions"),
        ("delete from poly_copy_trade_targets".into(), "deleting a target"),
        ("delete from users".into(), "deleting oneself"),
        ("update api_outbox set published = true".into(), "the outbox"),
        ("truncate poly_copy_trade_targets".into(), "truncating"),
        ("select signing_key_sealed from poly_wallet_connections".into(), "a sealed key, even one's own"),
        ("select * from poly_wallet_connections".into(), "all of a connection, the sealed key with it"),
        ("update poly_wallet_connections set signing_key_sealed = 'x'".into(), "replacing a sealed key"),
        ("create table mine (x int)".into(), "a table"),
        ("create temporary table mine (x int)".into(), "a temporary table"),
        ("create schema mine".into(), "a schema"),
        ("select 1 from pg_read_file('/etc/passwd')".into(), "a file"),
    ] {
        assert_eq!(refused(&mut as_a, &sql).await, "42501", "{why}");
    }
    // What names no row of its own finds none.
    for sql in [
        format!(
            "update poly_copy_trade_targets set status = 'paused' where billing_account_id = '{account_b}'"
        ),
        format!("update poly_wallet_grants set revision = 9 where billing_account_id = '{account_b}'"),
        format!("update poly_wallet_connections set revision = 9 where billing_account_id = '{account_b}'"),
        format!("update poly_controls set active = true where billing_account_id = '{account_b}'"),
        "update poly_controls set active = true where billing_account_id is null".into(),
        format!("update billing_accounts set gate_lock = true where id = '{account_b}'"),
        format!("update api_tokens set revoked_at = 'epoch' where billing_account_id = '{account_b}'"),
    ] {
        assert_eq!(touched(&mut as_a, sql.clone()).await, 0, "{sql}");
    }
    assert_eq!(touched(&mut as_a, "update poly_copy_trade_targets set status = 'paused'".into()).await, 1);
}

#[tokio::test]
async fn no_role_becomes_another() {
    let (connections, a, _) = two_tenants().await;
    for role in Role::RUNTIME {
        let pool = connections.pool(role, 1).await.unwrap();
        let mut transaction = begin_as(&pool, a.user).await.unwrap();
        for other in Role::ALL.into_iter().filter(|other| *other != role).map(Role::name).chain(["postgres"])
        {
            let code = refused(&mut transaction, &format!("set role {other}")).await;
            // 22023 where there is no such role.
            assert!(["42501", "22023"].contains(&code.as_str()), "{role} as {other}: {code}");
            let code = refused(&mut transaction, &format!("set session authorization {other}")).await;
            assert!(["42501", "22023"].contains(&code.as_str()), "{role} as {other}: {code}");
        }
        sqlx::raw_sql("reset role; reset session authorization").execute(&mut *transaction).await.unwrap();
        let now: String =
            sqlx::query_scalar("select current_user::text").fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(now, role.name());
        assert_eq!(refused(&mut transaction, "alter role app_user bypassrls").await, "42501");
        let off = "set local row_security = off; select count(*) from billing_accounts";
        assert_eq!(refused(&mut transaction, off).await, "42501", "{role} without row-level security");
    }
}

#[tokio::test]
async fn machine_roles_reach_their_own_tables_only() {
    let (connections, _, _) = two_tenants().await;
    let denied: BTreeMap<Role, &[&str]> = BTreeMap::from([
        (
            Role::Projector,
            &[
                "select 1 from users",
                "select name from billing_accounts",
                "select 1 from poly_copy_trade_targets",
                "select 1 from poly_wallet_connections",
                "select 1 from poly_copy_trade_decisions",
                "delete from poly_copy_trade_fills",
                "update poly_copy_trade_decisions set reason = 'ok'",
                "select 1 from api_outbox",
                "select 1 from api_tokens",
                "select * from api_token_owner('x', 'epoch')",
                "select 1 from poly_close_requests",
                "select 1 from execution.orders",
            ][..],
        ),
        (
            Role::Executor,
            &[
                "select 1 from users",
                "select 1 from poly_copy_trade_fills",
                "select 1 from api_outbox",
                "select 1 from projection_offsets",
                "select 1 from api_tokens",
                "select * from api_token_owner('x', 'epoch')",
                "select 1 from poly_close_requests",
                "update poly_copy_trade_targets set status = 'removed'",
                "update poly_wallet_connections set signing_key_sealed = 'x'",
                "update poly_wallet_grants set daily_usdc_cap = 100000",
                "delete from execution.orders",
            ][..],
        ),
        (
            Role::Relay,
            &[
                "select 1 from users",
                "select 1 from billing_accounts",
                "select 1 from poly_copy_trade_targets",
                "select 1 from api_tokens",
                "select * from api_token_owner('x', 'epoch')",
                "select 1 from poly_close_requests",
                "update api_outbox set value = 'x'",
                "delete from api_outbox",
                "insert into api_outbox default values",
                "select 1 from execution.outbox",
            ][..],
        ),
    ]);
    for (role, statements) in denied {
        let pool = connections.pool(role, 1).await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        for sql in statements {
            assert_eq!(refused(&mut transaction, sql).await, "42501", "{role}: {sql}");
        }
    }
}

/// The gate reads FOR SHARE what a tenant may change meanwhile, and writes none of it.
#[tokio::test]
async fn the_executor_locks_what_it_reads_and_writes_none_of_it() {
    let (connections, a, _) = two_tenants().await;
    let pool = connections.pool(Role::Executor, 1).await.unwrap();
    let mut gate = pool.begin().await.unwrap();
    for table in [
        "billing_accounts",
        "poly_copy_trade_targets",
        "poly_wallet_connections",
        "poly_wallet_grants",
        "poly_controls",
    ] {
        let found: Vec<Uuid> = sqlx::query_scalar(AssertSqlSafe(format!("select id from {table} for share")))
            .fetch_all(&mut *gate)
            .await
            .unwrap();
        assert!(found.len() >= 2, "{table}: {}", found.len());
        if table != "poly_wallet_connections" {
            let write = format!("update {table} set gate_lock = true");
            assert_eq!(refused(&mut gate, &write).await, "42501", "{table}");
        }
    }
    let tenants = connections.pool(Role::AppUser, 1).await.unwrap();
    let mut as_a = begin_as(&tenants, a.user).await.unwrap();
    sqlx::raw_sql("set local lock_timeout = '100ms'").execute(&mut *as_a).await.unwrap();
    let blocked = refused(&mut as_a, "update poly_copy_trade_targets set status = 'paused'").await;
    assert_eq!(blocked, "55P03", "a pause waits for the gate that is under way");
}

#[tokio::test]
async fn what_a_token_pays_and_its_other_ids_are_seen_by_whoever_has_copies_of_it_alone() {
    let (connections, a, b) = two_tenants().await;
    let store = PgStore::connect(&connections).await.unwrap();
    let log_id = LogId::from_uuid(Uuid::from_u128(9));
    let mut batch = Batch::default();
    let to = Progress { next: Offset(1), ..Progress::start(log_id) };
    batch.advances.insert(TopicPartition::new(Topic::Fills, 7), (None, to));
    // Both copied asset 1; b alone has asset 9 as well. Each goes on under another id, and so does asset 2, which nobody has.
    let mut only_b = order(b, 5, 5);
    only_b.asset = common::asset(9);
    batch.orders.entry((b.account, only_b.idempotency_key)).or_default().take(only_b);
    for (from, to) in [(1, 21), (9, 29), (2, 22)] {
        batch.tokens.change(&common::migrated(from, to));
    }
    for number in [1, 2, 9, 21, 22, 29] {
        batch.tokens.mark(common::marked(number, Some(400_000), 1));
        let mut ended = common::resolved(1_000_000, 1);
        ended.payouts.truncate(1);
        ended.payouts[0].asset = common::asset(number);
        batch.tokens.resolve(ended);
    }
    store.apply(&batch).await.unwrap();
    let pool = connections.pool(Role::AppUser, 2).await.unwrap();
    for table in TOKEN_TABLES {
        for (tenant, sees) in [(a, vec![1, 21]), (b, vec![1, 9, 21, 29])] {
            let sees = sees.into_iter().map(common::asset);
            let mut as_tenant = begin_as(&pool, tenant.user).await.unwrap();
            let seen: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(format!("select asset from {table} order by asset")))
                    .fetch_all(&mut *as_tenant)
                    .await
                    .unwrap();
            assert_eq!(seen, sees.map(|asset| asset.to_string()).collect::<Vec<_>>(), "{table}");
            for write in ["delete from", "truncate", "update"] {
                let sql = match write {
                    "update" => format!("update {table} set asset = '1'"),
                    other => format!("{other} {table}"),
                };
                assert_eq!(refused(&mut as_tenant, &sql).await, "42501", "{sql}");
            }
        }
        let mut nobody = pool.begin().await.unwrap();
        assert_eq!(rows(&mut nobody, table, "true", a).await, 0);
    }
}

/// A tenant whose orders are refused is paused by the executor; nobody is ever unpaused, halted, or paused for all by it.
#[tokio::test]
async fn the_executor_turns_a_tenant_s_pause_on_and_no_switch_else() {
    let (connections, a, b) = two_tenants().await;
    let pool = connections.pool(Role::Executor, 1).await.unwrap();
    let mut gate = pool.begin().await.unwrap();
    let insert = |account: String, kind: &str, active: bool| {
        format!(
            "insert into poly_controls (id, billing_account_id, kind, active, reason, revision, changed_at)
             values (gen_random_uuid(), {account}, '{kind}', {active}, 'x', 1, 'epoch')
             on conflict (billing_account_id, kind) do update set active = excluded.active, reason = 'x'"
        )
    };
    let of = |tenant: Tenant| format!("'{}'", tenant.account);
    assert_eq!(touched(&mut gate, insert(of(a), "pause", true)).await, 1);
    assert_eq!(touched(&mut gate, insert(of(b), "pause", true)).await, 1);
    for (sql, why) in [
        (insert(of(a), "pause", false), "lifting a pause"),
        (insert(of(a), "halt", true), "a halt"),
        (insert("null".into(), "pause", true), "a pause of all"),
        ("update poly_controls set active = false".into(), "lifting pauses"),
        ("update poly_controls set kind = 'halt'".into(), "another switch"),
        (format!("update poly_controls set billing_account_id = '{}'", b.account), "another's"),
        ("delete from poly_controls".into(), "a switch"),
        ("delete from execution.diagnoses".into(), "what was found"),
        ("update execution.diagnoses set cause = 'other'".into(), "what was found"),
    ] {
        assert_eq!(refused(&mut gate, &sql).await, "42501", "{why}");
    }
}

#[tokio::test]
async fn the_operator_sees_the_directory_and_the_switches_for_all_and_no_tenant_s_rows() {
    let (connections, _, _) = two_tenants().await;
    let owner: PgPool = connections.pool(Role::Owner, 1).await.unwrap();
    let seen = |table: &'static str| {
        let owner = owner.clone();
        async move {
            let sql = format!("select count(*) from {table}");
            sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(&owner).await.unwrap()
        }
    };
    for (table, expected) in [
        ("users", 2),
        ("billing_accounts", 2),
        ("poly_controls", 1),
        ("poly_copy_trade_targets", 0),
        ("poly_wallet_connections", 0),
        ("poly_wallet_grants", 0),
        ("poly_copy_trade_fills", 0),
        ("poly_copy_trade_attempts", 0),
        ("poly_copy_trade_decisions", 0),
        ("execution.orders", 0),
        ("execution.budgets", 0),
        ("api_outbox", 0),
        ("api_tokens", 0),
        ("poly_close_requests", 0),
    ] {
        assert_eq!(seen(table).await, expected, "{table}");
    }
}

/// The one thing that may be asked as nobody: who the bearer of this hash is. Whatever the session says beside it
/// changes nothing.
#[tokio::test]
async fn a_hash_is_answered_with_its_owner_and_opens_nothing_else() {
    let (connections, a, b) = two_tenants().await;
    let pool = connections.pool(Role::AppUser, 1).await.unwrap();
    let ask = |of: String, as_of: i64| {
        let pool = pool.clone();
        async move {
            sqlx::query_as::<_, (Uuid, Uuid)>(
                "select user_id, account_id from api_token_owner(sha256($1::bytea), $2)",
            )
            .bind(of.into_bytes())
            .bind(Tz(at(as_of)))
            .fetch_all(&pool)
            .await
            .unwrap()
        }
    };
    for tenant in [a, b] {
        let owner = (tenant.user.as_uuid(), tenant.account.as_uuid());
        assert_eq!(ask(tenant.account.to_string(), 0).await, [owner]);
    }
    assert_eq!(ask("x".into(), 0).await, []);
    let superuser = superuser(&connections).await;
    sqlx::query("update api_tokens set expires_at = $1").bind(Tz(at(10))).execute(&superuser).await.unwrap();
    assert_eq!(ask(a.account.to_string(), 9).await.len(), 1);
    assert_eq!(ask(a.account.to_string(), 10).await, [], "expired");
    sqlx::query("update api_tokens set revoked_at = 'epoch'").execute(&superuser).await.unwrap();
    assert_eq!(ask(a.account.to_string(), 9).await, [], "revoked");
    // The setting by which owner is shown one row is of no use to a tenant, and stays with nobody.
    let mut as_a = begin_as(&pool, a.user).await.unwrap();
    let lookup = "select set_config('app.token_lookup', encode(sha256($1::bytea), 'hex'), true)";
    sqlx::query(lookup).bind(b.account.to_string().into_bytes()).execute(&mut *as_a).await.unwrap();
    assert_eq!(rows(&mut as_a, "api_tokens", "billing_account_id = $2", b).await, 0);
    sqlx::query("select * from api_token_owner('x', 'epoch')").execute(&mut *as_a).await.unwrap();
    let left: String =
        sqlx::query_scalar("select current_setting('app.token_lookup')").fetch_one(&mut *as_a).await.unwrap();
    assert_eq!(left, "");
    assert_eq!(rows(&mut as_a, "api_tokens", "true", a).await, 1, "and the user is who it was");
    // A table or an operator of the caller's own is not what the function looks at.
    for shadow in [
        "create temporary table api_tokens (x int)",
        "create function pg_temp.encode(bytea, text) returns text return 'x'",
    ] {
        assert_eq!(refused(&mut as_a, shadow).await, "42501", "{shadow}");
    }
    drop(as_a);
    // Not even owner can list hashes: it sees the row of a hash that it knows, and no other.
    let owner = connections.pool(Role::Owner, 1).await.unwrap();
    let mut owner = owner.begin().await.unwrap();
    for forged in ["", "zz", "00"] {
        let mut inside = sqlx::Acquire::begin(&mut *owner).await.unwrap();
        sqlx::query("select set_config('app.token_lookup', $1, true)")
            .bind(forged)
            .execute(&mut *inside)
            .await
            .unwrap();
        let seen = sqlx::query_scalar("select count(*) from api_tokens")
            .fetch_one(&mut *inside)
            .await
            .unwrap_or(0_i64);
        assert_eq!(seen, 0, "{forged}");
    }
    sqlx::query(lookup).bind(b.account.to_string().into_bytes()).execute(&mut *owner).await.unwrap();
    assert_eq!(
        sqlx::query_scalar::<_, i64>("select count(*) from api_tokens").fetch_one(&mut *owner).await.unwrap(),
        1
    );
}
