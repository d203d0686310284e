//! Who may touch what, held against the catalogue (`behaviour.md` 7). A table, column or role that is not on
//! this page fails the test, and so does one on this page that is not there.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{database, superuser};
use sqlx::PgPool;

/// role, table, command; for columns the command with the columns.
const RIGHTS: &str = "
app_user    _sqlx_migrations             select(success, version)
app_user    api_outbox                   insert
app_user    api_tokens                   insert
app_user    api_tokens                   select(billing_account_id, created_at, expires_at, id, name, revoked_at)
app_user    api_tokens                   update(revoked_at)
app_user    billing_accounts             insert
app_user    billing_accounts             select
app_user    billing_accounts             update(gate_lock)
app_user    poly_close_requests          insert
app_user    poly_close_requests          select
app_user    poly_controls                insert
app_user    poly_controls                select
app_user    poly_controls                update(active, changed_at, reason, revision)
app_user    poly_copy_trade_attempts     select
app_user    poly_copy_trade_decisions    select
app_user    poly_copy_trade_fills        select
app_user    poly_copy_trade_targets      insert
app_user    poly_copy_trade_targets      select
app_user    poly_copy_trade_targets      update(changed_at, close_now, disabled_at, keep_positions, policy, policy_revision, revision, status)
app_user    poly_reconciler_ticks        select
app_user    poly_token_ids               select
app_user    poly_token_marks             select
app_user    poly_token_outcomes          select
app_user    poly_wallet_connections      insert
app_user    poly_wallet_connections      select(address, approved_at, billing_account_id, changed_at, created_at, funder, id, revision, revoked_at, signature_type)
app_user    poly_wallet_connections      update(approved_at, changed_at, revision, revoked_at)
app_user    poly_wallet_grants           insert
app_user    poly_wallet_grants           select
app_user    poly_wallet_grants           update(changed_at, daily_usdc_cap, expires_at, hourly_fills_cap, per_market_usdc_cap, per_order_usdc_cap, revision, revoked_at, scopes)
app_user    users                        insert
app_user    users                        select
executor    _sqlx_migrations             select(success, version)
executor    billing_accounts             select(id, owner_user_id)
executor    billing_accounts             update(gate_lock)
executor    execution.budgets            insert
executor    execution.budgets            select
executor    execution.budgets            update
executor    execution.closes             insert
executor    execution.closes             select
executor    execution.closes             update
executor    execution.control_outbox     insert
executor    execution.control_outbox     select
executor    execution.control_outbox     update
executor    execution.deferred           delete
executor    execution.deferred           insert
executor    execution.deferred           select
executor    execution.deferred           update
executor    execution.diagnoses          insert
executor    execution.diagnoses          select
executor    execution.dues               insert
executor    execution.dues               select
executor    execution.dues               update
executor    execution.intent_offsets     insert
executor    execution.intent_offsets     select
executor    execution.intent_offsets     update
executor    execution.order_offsets      insert
executor    execution.order_offsets      select
executor    execution.order_offsets      update
executor    execution.orders             insert
executor    execution.orders             select
executor    execution.orders             update
executor    execution.outbox             delete
executor    execution.outbox             insert
executor    execution.outbox             select
executor    execution.outbox             update
executor    execution.owner_epochs       insert
executor    execution.owner_epochs       select
executor    execution.owner_epochs       update
executor    execution.positions          insert
executor    execution.positions          select
executor    execution.positions          update
executor    poly_controls                insert
executor    poly_controls                select
executor    poly_controls                update(active, changed_at, gate_lock, reason, revision)
executor    poly_copy_trade_targets      select
executor    poly_copy_trade_targets      update(gate_lock)
executor    poly_reconciler_ticks        insert
executor    poly_reconciler_ticks        select
executor    poly_reconciler_ticks        update
executor    poly_wallet_connections      select
executor    poly_wallet_connections      update(api_credentials_sealed, approved_at, changed_at, gate_lock, revision)
executor    poly_wallet_grants           select
executor    poly_wallet_grants           update(gate_lock)
projector   _sqlx_migrations             select(success, version)
projector   billing_accounts             select(id, owner_user_id)
projector   poly_copy_trade_attempts     insert
projector   poly_copy_trade_attempts     select
projector   poly_copy_trade_attempts     update
projector   poly_copy_trade_decisions    insert
projector   poly_copy_trade_fills        insert
projector   poly_copy_trade_fills        select
projector   poly_copy_trade_fills        update
projector   poly_token_ids               insert
projector   poly_token_ids               select
projector   poly_token_ids               update
projector   poly_token_marks             insert
projector   poly_token_marks             select
projector   poly_token_marks             update
projector   poly_token_outcomes          insert
projector   poly_token_outcomes          select
projector   poly_token_outcomes          update
projector   projection_offsets           insert
projector   projection_offsets           select
projector   projection_offsets           update
relay       _sqlx_migrations             select(success, version)
relay       api_outbox                   select
relay       api_outbox                   update(published)
";

/// table, policy, command, roles.
const POLICIES: &str = "
_sqlx_migrations             migrate          all      owner
_sqlx_migrations             version          select   app_user,executor,projector,relay
api_outbox                   operator         insert   owner
api_outbox                   relay_mark       update   relay
api_outbox                   relay_read       select   relay
api_outbox                   tenant           insert   app_user
api_tokens                   lookup           select   owner
api_tokens                   tenant           all      app_user
billing_accounts             executor_lock    update   executor
billing_accounts             executor_read    select   executor
billing_accounts             operator         select   owner
billing_accounts             projector        select   projector
billing_accounts             tenant           all      app_user
execution.budgets            executor         all      executor
execution.closes             executor         all      executor
execution.control_outbox     executor         all      executor
execution.deferred           executor         all      executor
execution.diagnoses          executor         all      executor
execution.dues               executor         all      executor
execution.intent_offsets     executor         all      executor
execution.order_offsets      executor         all      executor
execution.orders             executor         all      executor
execution.outbox             executor         all      executor
execution.owner_epochs       executor         all      executor
execution.positions          executor         all      executor
poly_close_requests          tenant           all      app_user
poly_controls                executor_lock    update   executor
poly_controls                executor_pause   insert   executor
poly_controls                executor_pauses  update   executor
poly_controls                executor_read    select   executor
poly_controls                operator         all      owner
poly_controls                tenant           all      app_user
poly_copy_trade_attempts     projector        all      projector
poly_copy_trade_attempts     tenant           select   app_user
poly_copy_trade_decisions    projector        insert   projector
poly_copy_trade_decisions    tenant           select   app_user
poly_copy_trade_fills        projector        all      projector
poly_copy_trade_fills        tenant           select   app_user
poly_copy_trade_targets      executor_lock    update   executor
poly_copy_trade_targets      executor_read    select   executor
poly_copy_trade_targets      tenant           all      app_user
poly_reconciler_ticks        everybody        select   app_user
poly_reconciler_ticks        executor         all      executor
poly_token_ids               projector        all      projector
poly_token_ids               tenant           select   app_user
poly_token_marks             projector        all      projector
poly_token_marks             tenant           select   app_user
poly_token_outcomes          projector        all      projector
poly_token_outcomes          tenant           select   app_user
poly_wallet_connections      executor_read    select   executor
poly_wallet_connections      executor_write   update   executor
poly_wallet_connections      tenant           all      app_user
poly_wallet_grants           executor_lock    update   executor
poly_wallet_grants           executor_read    select   executor
poly_wallet_grants           tenant           all      app_user
projection_offsets           projector        all      projector
users                        operator         select   owner
users                        tenant           all      app_user
";

/// Functions, without blanks: whose right they run with, under which settings, and who may call them.
const FUNCTIONS: &str = "
api_token_owner(presentedbytea,as_oftimestampwithtimezone) definer owner search_path=pg_catalog,pg_temp app_user
";

fn page(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            // The columns of a command hold spaces: three fields, and four where the page of policies is
            // read.
            let (head, columns) =
                line.split_once('(').map_or((line, None), |(head, rest)| (head, Some(rest)));
            let mut fields: Vec<String> = head.split_whitespace().map(str::to_owned).collect();
            if let (Some(last), Some(columns)) = (fields.last_mut(), columns) {
                *last = format!("{last}({columns}");
            }
            fields
        })
        .collect()
}

async fn found(pool: &PgPool, sql: &'static str) -> Vec<Vec<String>> {
    sqlx::query_scalar::<_, Vec<String>>(sql).fetch_all(pool).await.unwrap()
}

/// Lines of one page that the other lacks, both ways.
fn same(found: &[Vec<String>], page: &[Vec<String>]) {
    let lines = |of: &[Vec<String>], other: &[Vec<String>]| -> Vec<String> {
        of.iter().filter(|line| !other.contains(line)).map(|line| line.join(" ")).collect()
    };
    assert_eq!(lines(found, page), Vec::<String>::new(), "in the catalogue and not on the page");
    assert_eq!(lines(page, found), Vec::<String>::new(), "on the page and not in the catalogue");
}

#[tokio::test]
async fn the_list_of_role_table_and_command_is_the_catalogue_s() {
    let connections = database().await;
    let pool = superuser(&connections).await;
    let rights = found(
        &pool,
        "with tables as (
             select c.oid, case n.nspname when 'public' then '' else n.nspname || '.' end || c.relname::text as name,
                 c.relacl, c.relowner
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and n.nspname !~ '^(pg_|information_schema)'),
         rights as (
             select coalesce(r.rolname::text, 'public') as role, t.name, lower(a.privilege_type) as command
             from tables t cross join lateral aclexplode(t.relacl) a left join pg_roles r on r.oid = a.grantee
             where a.grantee <> t.relowner
             union all
             select coalesce(r.rolname::text, 'public'), t.name, lower(a.privilege_type) || '('
                 || string_agg(c.attname::text, ', ' order by c.attname::text) || ')'
             from tables t join pg_attribute c on c.attrelid = t.oid
                 cross join lateral aclexplode(c.attacl) a left join pg_roles r on r.oid = a.grantee
             group by r.rolname, t.name, a.privilege_type)
         select array[role, name, command] from rights order by 1",
    )
    .await;
    same(&rights, &page(RIGHTS));
}

#[tokio::test]
async fn every_table_has_row_level_security_enabled_and_forced_and_policies_for_whoever_may_touch_it() {
    let connections = database().await;
    let pool = superuser(&connections).await;
    let policies = found(
        &pool,
        "select array[case schemaname when 'public' then '' else schemaname::text || '.' end || tablename::text, policyname::text,
             lower(cmd), (select string_agg(role::text, ',' order by role::text) from unnest(roles) role)]
         from pg_policies order by 1",
    )
    .await;
    same(&policies, &page(POLICIES));
    let permissive: Vec<String> =
        sqlx::query_scalar("select policyname::text from pg_policies where permissive <> 'PERMISSIVE'")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert!(permissive.is_empty(), "{permissive:?}");
    assert_eq!(open(&pool).await, Vec::<String>::new(), "without forced row-level security or a policy");
}

/// Tables that anybody with a right to them sees whole.
async fn open(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and n.nspname !~ '^(pg_|information_schema)'
             and not (c.relrowsecurity and c.relforcerowsecurity
                 and exists (select 1 from pg_policy p where p.polrelid = c.oid))
         order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

/// What the tests on this page are for: a table that somebody adds, and forgets one of the three.
#[tokio::test]
async fn a_table_without_a_policy_or_without_forced_row_level_security_is_found() {
    let connections = database().await;
    let pool = superuser(&connections).await;
    sqlx::raw_sql(
        "create table a_bare (x int);
         create table b_without_policy (x int);
         alter table b_without_policy enable row level security;
         alter table b_without_policy force row level security;
         create table c_not_forced (x int);
         alter table c_not_forced enable row level security;
         create policy p on c_not_forced using (true);
         create table d_as_it_should_be (x int);
         alter table d_as_it_should_be enable row level security;
         alter table d_as_it_should_be force row level security;
         create policy p on d_as_it_should_be using (true);",
    )
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(open(&pool).await, ["a_bare", "b_without_policy", "c_not_forced"]);
}

#[tokio::test]
async fn the_list_of_functions_is_the_catalogue_s() {
    let connections = database().await;
    let pool = superuser(&connections).await;
    let functions = found(
        &pool,
        "select array[replace(p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', ' ', ''),
             case when p.prosecdef then 'definer' else 'invoker' end, pg_get_userbyid(p.proowner)::text,
             replace(coalesce(array_to_string(p.proconfig, ';'), '-'), ' ', ''),
             coalesce((select string_agg(coalesce(r.rolname::text, 'public'), ',' order by r.rolname::text)
                 from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                     left join pg_roles r on r.oid = a.grantee
                 where a.grantee <> p.proowner), '-')]
         from pg_proc p join pg_namespace n on n.oid = p.pronamespace
         where n.nspname !~ '^(pg_|information_schema)' order by 1",
    )
    .await;
    let listed: Vec<Vec<String>> = FUNCTIONS
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    same(&functions, &listed);
}

#[tokio::test]
async fn nothing_belongs_to_anybody_but_owner_and_nothing_is_open_to_everybody() {
    let connections = database().await;
    let pool = superuser(&connections).await;
    let foreign: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text || ' of ' || pg_get_userbyid(c.relowner)
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname !~ '^(pg_|information_schema)' and pg_get_userbyid(c.relowner) <> 'owner'
         union all
         select 'schema ' || nspname || ' of ' || pg_get_userbyid(nspowner) from pg_namespace
         where nspname !~ '^(pg_|information_schema)' and pg_get_userbyid(nspowner) <> 'owner'
         union all
         select 'view ' || viewname from pg_views where schemaname !~ '^(pg_|information_schema)'
         union all
         select 'default rights of ' || pg_get_userbyid(defaclrole) from pg_default_acl",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(foreign.is_empty(), "{foreign:?}");
    let schemas = found(
        &pool,
        "select array[coalesce(r.rolname::text, 'public'), n.nspname::text, lower(a.privilege_type)]
         from pg_namespace n cross join lateral aclexplode(n.nspacl) a left join pg_roles r on r.oid = a.grantee
         where n.nspname !~ '^(pg_|information_schema)' and a.grantee <> n.nspowner order by 1",
    )
    .await;
    let expected = "app_user public usage\nexecutor execution usage\nexecutor public usage\nprojector public usage\nrelay public usage";
    same(&schemas, &page(expected));
    let database = found(
        &pool,
        "select array[coalesce(r.rolname::text, 'public'), lower(a.privilege_type)]
         from pg_database d cross join lateral aclexplode(d.datacl) a left join pg_roles r on r.oid = a.grantee
         where d.datname = current_database() and a.grantee <> d.datdba and coalesce(not r.rolsuper, true) order by 1",
    )
    .await;
    same(&database, &page("app_user connect\nexecutor connect\nprojector connect\nrelay connect"));
}

#[tokio::test]
async fn no_login_of_ours_bypasses_row_level_security_or_is_a_member_of_another() {
    let connections = database().await;
    let pool = superuser(&connections).await;
    let wrong: Vec<String> = sqlx::query_scalar(
        "select rolname::text from pg_roles where rolname = any($1) and (rolsuper or rolbypassrls or rolcreaterole
             or rolcreatedb or rolreplication or rolinherit or not rolcanlogin
             or exists (select 1 from pg_auth_members m where m.member = pg_roles.oid or m.roleid = pg_roles.oid))",
    )
    .bind(project::Role::ALL.map(project::Role::name).to_vec())
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
}
