-- What is built from the log, and can be built again: owned by project, with its policies and grants, so that a
-- rebuild makes its second set of tables by running this same page in another schema. No foreign keys: each
-- policy's WITH CHECK asks for more than they would, that the row's author owns its account.

-- The ledger: one row per attempted copy, its attempts summed.
create table poly_copy_trade_fills (
    billing_account_id uuid not null,
    target_id uuid not null,
    fill_id text not null,
    created_by_user_id uuid not null,
    target_row_id uuid not null,
    target_wallet text not null,
    idempotency_key text not null,
    market_id text not null,
    asset text not null,
    side text not null check (side in ('BUY', 'SELL')),
    -- The newest attempt's limit.
    price numeric(20, 6) not null,
    -- What earlier attempts filled and the newest asks for, and what that comes to in dollars.
    shares numeric(20, 6) not null,
    size_usdc numeric(20, 6) not null,
    filled_shares numeric(20, 6) not null,
    filled_usdc numeric(20, 6) not null,
    fees_usdc numeric(20, 6) not null,
    -- The newest attempt's.
    order_id text unique,
    status text not null,
    is_final boolean not null,
    reason text,
    position_lifecycle text check (position_lifecycle in
        ('open', 'closing', 'closed', 'winner', 'loser', 'split', 'dust')),
    attempts int not null check (attempts > 0),
    -- When ingest saw the fill, when the first attempt was committed, when the venue last confirmed the newest,
    -- and when any attempt last changed.
    observed_at timestamptz not null,
    created_at timestamptz not null,
    synced_at timestamptz,
    changed_at timestamptz not null,
    mode text not null check (mode in ('live', 'paper', 'simulated')),
    primary key (billing_account_id, target_id, fill_id),
    unique (billing_account_id, idempotency_key)
);
create index poly_copy_trade_fills_recent on poly_copy_trade_fills (billing_account_id, created_at desc);
create index poly_copy_trade_fills_position on poly_copy_trade_fills (billing_account_id, target_id, asset, mode)
    where filled_shares > 0 or (side = 'SELL' and not is_final) or position_lifecycle is not null;
create index poly_copy_trade_fills_sales on poly_copy_trade_fills (billing_account_id, target_id, asset, mode)
    where side = 'SELL';
create index poly_copy_trade_fills_unsettled on poly_copy_trade_fills (billing_account_id) where not is_final;

-- The attempts behind a row of the ledger: full states, the highest revision of each.
create table poly_copy_trade_attempts (
    billing_account_id uuid not null,
    idempotency_key text not null,
    attempt int not null,
    revision bigint not null,
    created_by_user_id uuid not null,
    -- schemas::events::OrderState.
    state jsonb not null,
    primary key (billing_account_id, idempotency_key, attempt)
);

-- Every outcome, append-only.
create table poly_copy_trade_decisions (
    billing_account_id uuid not null,
    idempotency_key text not null,
    revision int not null,
    created_by_user_id uuid not null,
    target_row_id uuid not null,
    target_id uuid not null,
    target_wallet text not null,
    fill_id text not null,
    asset text not null,
    market_id text not null,
    mode text not null check (mode in ('live', 'paper', 'simulated')),
    outcome text not null check (outcome in ('placed', 'skipped', 'error')),
    reason text not null,
    position_branch text not null,
    -- schemas::events::Order and Inputs.
    intent jsonb,
    inputs jsonb not null,
    error text,
    plan_version int not null,
    policy_revision bigint not null,
    partition int not null,
    cut bigint not null,
    source_offset bigint not null,
    decided_at timestamptz not null,
    primary key (billing_account_id, idempotency_key, revision)
);
create index poly_copy_trade_decisions_recent on poly_copy_trade_decisions (billing_account_id, decided_at desc);

-- How far the tables above have been built. Advanced by compare-and-set in the rows' own transaction.
create table projection_offsets (
    topic text not null,
    partition int not null,
    log_id uuid not null,
    next_offset bigint not null check (next_offset >= 0),
    -- The content hash of the last record before it; null at the start.
    before text,
    -- For `decisions`: the head of the accepted chain of cuts, and how many of its decisions are still to come.
    cut bigint,
    cut_hash text,
    decisions_left int,
    -- Records that stand outside the accepted chain, and records that went to dead-letters.
    ignored bigint not null,
    dead bigint not null,
    primary key (topic, partition),
    check ((cut is null) = (cut_hash is null) and (cut is null) = (decisions_left is null))
);

-- Who may touch it (behaviour.md 7) --------------------------------------------------------------------------------

alter table poly_copy_trade_fills enable row level security;
alter table poly_copy_trade_fills force row level security;
alter table poly_copy_trade_attempts enable row level security;
alter table poly_copy_trade_attempts force row level security;
alter table poly_copy_trade_decisions enable row level security;
alter table poly_copy_trade_decisions force row level security;
alter table projection_offsets enable row level security;
alter table projection_offsets force row level security;

grant select on poly_copy_trade_fills, poly_copy_trade_attempts, poly_copy_trade_decisions to app_user;
create policy tenant on poly_copy_trade_fills for select to app_user
    using (created_by_user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid));
create policy tenant on poly_copy_trade_attempts for select to app_user
    using (exists (select 1 from billing_accounts a where a.id = billing_account_id
        and a.owner_user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid)));
create policy tenant on poly_copy_trade_decisions for select to app_user
    using (created_by_user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid));

grant select, insert, update on poly_copy_trade_fills, poly_copy_trade_attempts, projection_offsets to projector;
-- INSERT only, and with a bare ON CONFLICT DO NOTHING: naming the columns would need SELECT.
grant insert on poly_copy_trade_decisions to projector;
create policy projector on poly_copy_trade_fills to projector using (true)
    with check (exists (select 1 from billing_accounts a
        where a.id = billing_account_id and a.owner_user_id = created_by_user_id));
create policy projector on poly_copy_trade_attempts to projector using (true)
    with check (exists (select 1 from billing_accounts a
        where a.id = billing_account_id and a.owner_user_id = created_by_user_id));
create policy projector on poly_copy_trade_decisions for insert to projector
    with check (exists (select 1 from billing_accounts a
        where a.id = billing_account_id and a.owner_user_id = created_by_user_id));
create policy projector on projection_offsets to projector using (true) with check (true);
