-- Who may touch what (behaviour.md 7); the tables of 0003 say it themselves. The roles exist before this runs:
-- project::roles makes them. No runtime role has BYPASSRLS, owns a table, or is a member of another. A test holds
-- this page against the catalogue.

do $$
declare t text;
begin
    foreach t in array array[
        'public._sqlx_migrations', 'public.users', 'public.billing_accounts', 'public.poly_copy_trade_targets',
        'public.poly_wallet_connections', 'public.poly_wallet_grants', 'public.poly_controls', 'public.api_outbox',
        'execution.orders', 'execution.budgets', 'execution.owner_epochs', 'execution.intent_offsets',
        'execution.outbox'
    ] loop
        execute format('alter table %s enable row level security', t);
        execute format('alter table %s force row level security', t);
    end loop;
end $$;
revoke all on schema public from public;
grant usage on schema public to app_user, projector, executor, relay;
revoke all on schema execution from public;
grant usage on schema execution to executor;

-- Every role: which migrations have run ----------------------------------------------------------------------------

grant select (version, success) on _sqlx_migrations to app_user, projector, executor, relay;
create policy version on _sqlx_migrations for select to app_user, projector, executor, relay using (true);
create policy migrate on _sqlx_migrations to owner using (true) with check (true);

-- Tenants ----------------------------------------------------------------------------------------------------------

grant select, insert on users, billing_accounts to app_user;
-- Every write of the api holds its account's row: revisions are given under that lock.
grant update (gate_lock) on billing_accounts to app_user;
grant select, insert, update (status, close_now, keep_positions, policy, policy_revision, revision, changed_at,
    disabled_at) on poly_copy_trade_targets to app_user;
grant select, insert, update (scopes, per_order_usdc_cap, daily_usdc_cap, hourly_fills_cap, per_market_usdc_cap,
    expires_at, revoked_at, revision, changed_at) on poly_wallet_grants to app_user;
grant select, insert, update (active, reason, revision, changed_at) on poly_controls to app_user;
-- The sealed columns can be written by a tenant's request, never read by one.
grant select (id, billing_account_id, address, signature_type, funder, approved_at, revision, created_at, changed_at,
    revoked_at), insert, update (approved_at, revision, changed_at, revoked_at) on poly_wallet_connections to app_user;
grant insert on api_outbox to app_user;

create policy tenant on users to app_user
    using (id = (select nullif(current_setting('app.current_user_id', true), '')::uuid));
create policy tenant on billing_accounts to app_user
    using (owner_user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid));
create policy tenant on poly_copy_trade_targets to app_user
    using (created_by_user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid))
    with check (created_by_user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid)
        and exists (select 1 from billing_accounts a where a.id = billing_account_id
            and a.owner_user_id = created_by_user_id));
do $$
declare t text;
begin
    foreach t in array array['poly_wallet_connections', 'poly_wallet_grants', 'poly_controls'] loop
        execute format($p$
            create policy tenant on %I to app_user
                using (exists (select 1 from billing_accounts a where a.id = billing_account_id
                    and a.owner_user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid)))
        $p$, t);
    end loop;
end $$;
create policy tenant on api_outbox for insert to app_user
    with check (exists (select 1 from billing_accounts a where a.id = billing_account_id
        and a.owner_user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid)));

-- The operator, who holds the owner's password and no stage does: the directory of tenants, and the switches for all -

create policy operator on users for select to owner using (true);
create policy operator on billing_accounts for select to owner using (true);
create policy operator on poly_controls to owner using (billing_account_id is null);
create policy operator on api_outbox for insert to owner with check (billing_account_id is null);

-- Projector --------------------------------------------------------------------------------------------------------

grant select (id, owner_user_id) on billing_accounts to projector;
create policy projector on billing_accounts for select to projector using (true);

-- Executor ---------------------------------------------------------------------------------------------------------

grant select (id, owner_user_id), update (gate_lock) on billing_accounts to executor;
grant select, update (gate_lock) on poly_copy_trade_targets, poly_wallet_grants, poly_controls to executor;
-- Only the executor holds the keys: it derives the API credentials, and it finds the approvals in place.
grant select, update (gate_lock, api_credentials_sealed, approved_at, revision, changed_at)
    on poly_wallet_connections to executor;
do $$
declare t text;
begin
    foreach t in array array[
        'billing_accounts', 'poly_copy_trade_targets', 'poly_wallet_grants', 'poly_controls'
    ] loop
        execute format('create policy executor_read on %I for select to executor using (true)', t);
        -- FOR SHARE asks for an UPDATE policy; WITH CHECK false lets it lock and never write.
        execute format('create policy executor_lock on %I for update to executor using (true) with check (false)', t);
    end loop;
end $$;
create policy executor_read on poly_wallet_connections for select to executor using (true);
create policy executor_write on poly_wallet_connections for update to executor using (true) with check (true);

grant select, insert, update on execution.orders, execution.budgets, execution.owner_epochs,
    execution.intent_offsets, execution.outbox to executor;
create policy executor on execution.orders to executor using (true)
    with check (exists (select 1 from public.billing_accounts a
        where a.id = billing_account_id and a.owner_user_id = created_by_user_id));
create policy executor on execution.budgets to executor using (true) with check (true);
create policy executor on execution.owner_epochs to executor using (true) with check (true);
create policy executor on execution.intent_offsets to executor using (true) with check (true);
create policy executor on execution.outbox to executor using (true) with check (true);
grant delete on execution.outbox to executor;

-- Relay ------------------------------------------------------------------------------------------------------------

grant select, update (published) on api_outbox to relay;
create policy relay_read on api_outbox for select to relay using (true);
create policy relay_mark on api_outbox for update to relay using (true) with check (true);
