-- What following orders needs: how they are found by connection and by urgency, when they were last gone over, why they
-- were rejected, and the pause that comes of it.

-- Whose orders a stream is about.
create index orders_followed on execution.orders (partition, connection_id) where next_look_at is not null;
-- What is urgent is found without walking over what rests (execute::core::follow::class).
create index orders_urgent on execution.orders (partition, next_look_at)
    where next_look_at is not null
        and not (status in ('open', 'partially_filled') and cancel_asked_at is null)
        and not (is_final and confirmed_shares >= filled_shares);
-- The last answers that a tenant's BUYs got.
create index orders_answered on execution.orders (billing_account_id, mode, answered_at)
    where side = 'BUY' and answered_at is not null;

-- When the orders of a partition of `intents` were last gone over. It says nothing of anybody: every tenant may read it.
create table poly_reconciler_ticks (
    partition int primary key,
    ticked_at timestamptz not null
);

-- A rejection that was looked into: one row for each, with what was found.
create table execution.diagnoses (
    billing_account_id uuid not null references billing_accounts (id),
    idempotency_key text not null,
    attempt int not null,
    -- balance | allowance | other
    cause text not null,
    detail text not null,
    diagnosed_at bigint not null,
    primary key (billing_account_id, idempotency_key, attempt)
);

-- What execute has to tell `controls`.
create table execution.control_outbox (
    billing_account_id uuid not null references billing_accounts (id),
    kind text not null check (kind = 'pause'),
    revision bigint not null check (revision > 0),
    -- The framed Avro ControlState.
    value bytea not null,
    -- The partition of `intents` whose owner publishes it.
    partition int not null,
    created_at bigint not null,
    published boolean not null default false,
    primary key (billing_account_id, kind, revision)
);
create index control_outbox_unpublished on execution.control_outbox (partition, created_at) where not published;

-- Who may touch it (behaviour.md 7) --------------------------------------------------------------------------------

do $$
declare t text;
begin
    foreach t in array array[
        'public.poly_reconciler_ticks', 'execution.diagnoses', 'execution.control_outbox'
    ] loop
        execute format('alter table %s enable row level security', t);
        execute format('alter table %s force row level security', t);
        execute format('create policy executor on %s to executor using (true) with check (true)', t);
    end loop;
end $$;
grant select, insert, update on poly_reconciler_ticks, execution.control_outbox to executor;
grant select, insert on execution.diagnoses to executor;
grant select on poly_reconciler_ticks to app_user;
create policy everybody on poly_reconciler_ticks for select to app_user using (true);

-- The executor may switch a tenant's pause on: never off, never a halt, never everybody's.
grant insert, update (active, reason, revision, changed_at) on poly_controls to executor;
create policy executor_pause on poly_controls for insert to executor
    with check (billing_account_id is not null and kind = 'pause' and active);
create policy executor_pauses on poly_controls for update to executor
    using (billing_account_id is not null and kind = 'pause')
    with check (billing_account_id is not null and kind = 'pause' and active);
