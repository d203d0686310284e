-- What is built from the log, and can be built again: owned by project.

-- The ledger: one row per attempted copy, its attempts summed.
create table poly_copy_trade_fills (
    billing_account_id uuid not null references billing_accounts (id),
    target_id uuid not null,
    fill_id text not null,
    created_by_user_id uuid not null references users (id),
    target_row_id uuid not null,
    target_wallet text not null,
    idempotency_key text not null,
    market_id text not null,
    asset text not null,
    side text not null,
    price numeric(20, 6) not null,
    shares numeric(20, 6) not null,
    size_usdc numeric(20, 6) not null,
    filled_shares numeric(20, 6) not null,
    filled_usdc numeric(20, 6) not null,
    fees_usdc numeric(20, 6) not null,
    order_id text unique,
    status text not null,
    reason text,
    position_lifecycle text check (position_lifecycle in
        ('open', 'closing', 'closed', 'winner', 'loser', 'split', 'dust')),
    attempts int not null,
    observed_at timestamptz not null,
    created_at timestamptz not null,
    synced_at timestamptz,
    changed_at timestamptz not null,
    mode text not null check (mode in ('live', 'paper', 'simulated')),
    primary key (billing_account_id, target_id, fill_id),
    unique (billing_account_id, idempotency_key)
);
create index poly_copy_trade_fills_recent on poly_copy_trade_fills (billing_account_id, created_at desc);

-- The attempts behind a row of the ledger: full states, the highest revision of each.
create table poly_copy_trade_attempts (
    billing_account_id uuid not null references billing_accounts (id),
    idempotency_key text not null,
    attempt int not null,
    revision bigint not null,
    created_by_user_id uuid not null references users (id),
    -- schemas::events::OrderState.
    state jsonb not null,
    primary key (billing_account_id, idempotency_key, attempt)
);

-- Every outcome, append-only.
create table poly_copy_trade_decisions (
    billing_account_id uuid not null references billing_accounts (id),
    idempotency_key text not null,
    revision int not null,
    created_by_user_id uuid not null references users (id),
    target_row_id uuid not null,
    target_id uuid not null,
    target_wallet text not null,
    fill_id text not null,
    asset text not null,
    market_id text not null,
    mode text not null,
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
    next_offset bigint not null,
    before text,
    -- For `decisions`: the head of the accepted chain of cuts.
    cut bigint,
    cut_hash text,
    primary key (topic, partition)
);
