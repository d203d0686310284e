-- Who may touch what (behaviour.md 7). The roles exist before this runs: project::roles makes them. No runtime role
-- has BYPASSRLS, owns a table, or is a member of another. A test holds this page against the catalogue.

do $$
declare t text;
begin
    foreach t in array array[
        'public.users', 'public.billing_accounts', 'public.poly_copy_trade_targets',
        'public.poly_wallet_connections', 'public.poly_wallet_grants', 'public.poly_controls', 'public.api_outbox',
        'public.poly_copy_trade_fills', 'public.poly_copy_trade_attempts', 'public.poly_copy_trade_decisions',
        'public.projection_offsets', 'execution.orders', 'execution.budgets', 'execution.owner_epochs',
        'execution.intent_offsets', 'execution.outbox'
    ] loop
        execute format('alter table %s enable row level security', t);
        execute format('alter table %s force row level security', t);
        execute format('revoke all on %s from public', t);
    end loop;
end $$;
revoke all on schema public from public;
grant usage on schema public to app_user, projector, executor, relay;
revoke all on schema execution from public;
grant usage on schema execution to executor;

-- Tenants --------------------------------------------------------------------------------------------------------

grant select on users, billing_accounts, poly_copy_trade_targets, poly_wallet_grants, poly_controls,
    poly_copy_trade_fills, poly_copy_trade_attempts, poly_copy_trade_decisions to app_user;
grant insert on users, billing_accounts, poly_copy_trade_targets, poly_wallet_grants, poly_controls,
    poly_wallet_connections, api_outbox to app_user;
grant update on poly_copy_trade_targets, poly_wallet_grants, poly_controls to app_user;
-- The sealed columns can be written by a tenant's request, never read by one.
grant select (id, billing_account_id, address, signature_type, funder, approved_at, revision, created_at, changed_at,
    revoked_at) on poly_wallet_connections to app_user;
grant update (approved_at, revision, changed_at, revoked_at) on poly_wallet_connections to app_user;

create policy tenant on users to app_user
    using (id = nullif(current_setting('app.current_user_id', true), '')::uuid)
    with check (id = nullif(current_setting('app.current_user_id', true), '')::uuid);
create policy tenant on billing_accounts to app_user
    using (owner_user_id = nullif(current_setting('app.current_user_id', true), '')::uuid)
    with check (owner_user_id = nullif(current_setting('app.current_user_id', true), '')::uuid);

do $$
declare t text;
begin
    foreach t in array array[
        'poly_copy_trade_targets', 'poly_copy_trade_fills', 'poly_copy_trade_decisions'
    ] loop
        execute format($p$
            create policy tenant on %I to app_user
                using (created_by_user_id = nullif(current_setting('app.current_user_id', true), '')::uuid)
                with check (created_by_user_id = nullif(current_setting('app.current_user_id', true), '')::uuid
                    and exists (select 1 from billing_accounts a where a.id = billing_account_id
                        and a.owner_user_id = nullif(current_setting('app.current_user_id', true), '')::uuid))
        $p$, t);
    end loop;
    foreach t in array array[
        'poly_wallet_connections', 'poly_wallet_grants', 'poly_controls', 'poly_copy_trade_attempts', 'api_outbox'
    ] loop
        execute format($p$
            create policy tenant on %I to app_user
                using (exists (select 1 from billing_accounts a where a.id = billing_account_id
                    and a.owner_user_id = nullif(current_setting('app.current_user_id', true), '')::uuid))
                with check (exists (select 1 from billing_accounts a where a.id = billing_account_id
                    and a.owner_user_id = nullif(current_setting('app.current_user_id', true), '')::uuid))
        $p$, t);
    end loop;
end $$;

-- Projector ------------------------------------------------------------------------------------------------------

grant select (id, owner_user_id) on billing_accounts to projector;
create policy projector on billing_accounts for select to projector using (true);

grant select, insert, update on poly_copy_trade_fills, poly_copy_trade_attempts, projection_offsets to projector;
grant insert on poly_copy_trade_decisions to projector;
do $$
declare t text;
begin
    foreach t in array array['poly_copy_trade_fills', 'poly_copy_trade_attempts'] loop
        execute format($p$
            create policy projector on %I to projector using (true)
                with check (exists (select 1 from billing_accounts a
                    where a.id = billing_account_id and a.owner_user_id = created_by_user_id))
        $p$, t);
    end loop;
end $$;
create policy projector on poly_copy_trade_decisions for insert to projector
    with check (exists (select 1 from billing_accounts a
        where a.id = billing_account_id and a.owner_user_id = created_by_user_id));
create policy projector on projection_offsets to projector using (true) with check (true);

-- Executor -------------------------------------------------------------------------------------------------------

grant select (id, owner_user_id), update (gate_lock) on billing_accounts to executor;
grant select, update (gate_lock) on poly_copy_trade_targets, poly_wallet_grants, poly_controls to executor;
grant select, update (gate_lock, api_credentials_sealed) on poly_wallet_connections to executor;
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

-- Relay ----------------------------------------------------------------------------------------------------------

grant select, update (published) on api_outbox to relay;
create policy relay on api_outbox to relay using (true) with check (true);
