-- Whose money moves: people, billing accounts, targets, wallets, grants, pauses. Primary data, owned by the api.
--
-- Row-level security is enabled and forced on every table (0004), so that not even the owner of a table sees past
-- it by accident. Tenants come as app_user with app.current_user_id set; each machine role has policies that name
-- it. Time and ids are parameters everywhere: no now(), no serial, no random default.

create table users (
    id uuid primary key,
    handle text not null unique check (handle ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    created_at timestamptz not null
);

create table billing_accounts (
    id uuid primary key,
    owner_user_id uuid not null references users (id),
    name text not null check (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    created_at timestamptz not null,
    -- FOR SHARE and FOR UPDATE need UPDATE on a column and an UPDATE policy: this column is that, and nothing else.
    gate_lock boolean not null default false,
    unique (owner_user_id, name)
);

create table poly_copy_trade_targets (
    -- A random UUID, never part of a key: the target_id of keys is derived from the wallet.
    id uuid primary key,
    billing_account_id uuid not null references billing_accounts (id),
    created_by_user_id uuid not null references users (id),
    target_wallet text not null check (target_wallet ~ '^0x[0-9a-f]{40}$'),
    status text not null check (status in ('active', 'paused', 'closing', 'removed')),
    close_now boolean not null default false,
    keep_positions boolean not null default false,
    mode text not null check (mode in ('live', 'paper', 'simulated')),
    -- The policy as schemas::events::Policy writes it; checked by that type before it is stored.
    policy jsonb not null,
    policy_revision bigint not null check (policy_revision > 0),
    revision bigint not null check (revision > 0),
    created_at timestamptz not null,
    changed_at timestamptz not null,
    -- When it was removed; closing and removed rows have it.
    disabled_at timestamptz,
    gate_lock boolean not null default false,
    check ((disabled_at is null) = (status in ('active', 'paused')))
);
-- One row a wallet: following it again while it is closing takes that row up again.
create unique index poly_copy_trade_targets_followed
    on poly_copy_trade_targets (billing_account_id, target_wallet) where status <> 'removed';
create index poly_copy_trade_targets_wallet on poly_copy_trade_targets (target_wallet) where status <> 'removed';

create table poly_wallet_connections (
    id uuid primary key,
    billing_account_id uuid not null references billing_accounts (id),
    address text not null check (address ~ '^0x[0-9a-f]{40}$'),
    signature_type text not null check (signature_type in ('eoa', 'proxy', 'safe', 'poly_1271')),
    funder text not null check (funder ~ '^0x[0-9a-f]{40}$'),
    -- Sealed with the key of the installation (AEAD); never leaves the executor in the clear.
    signing_key_sealed bytea not null,
    api_credentials_sealed bytea,
    approved_at timestamptz,
    -- Counted per account, over its connections of all times: readers keep the highest.
    revision bigint not null check (revision > 0),
    created_at timestamptz not null,
    changed_at timestamptz not null,
    revoked_at timestamptz,
    gate_lock boolean not null default false,
    unique (billing_account_id, revision)
);
create unique index poly_wallet_connections_active
    on poly_wallet_connections (billing_account_id) where revoked_at is null;
-- A wallet is active in one connection only (behaviour.md 5).
create unique index poly_wallet_connections_wallet on poly_wallet_connections (funder) where revoked_at is null;

create table poly_wallet_grants (
    id uuid primary key,
    billing_account_id uuid not null references billing_accounts (id),
    scopes text[] not null check (scopes <@ array['poly:trade:buy', 'poly:trade:sell']),
    per_order_usdc_cap numeric(20, 6) not null check (per_order_usdc_cap >= 0),
    daily_usdc_cap numeric(20, 6) not null check (daily_usdc_cap >= 0),
    hourly_fills_cap bigint not null check (hourly_fills_cap >= 0),
    per_market_usdc_cap numeric(20, 6) check (per_market_usdc_cap >= 0),
    expires_at timestamptz,
    revoked_at timestamptz,
    -- Counted per account, over its grants of all times: readers keep the highest.
    revision bigint not null check (revision > 0),
    created_at timestamptz not null,
    changed_at timestamptz not null,
    gate_lock boolean not null default false,
    unique (billing_account_id, revision)
);
create unique index poly_wallet_grants_current on poly_wallet_grants (billing_account_id) where revoked_at is null;

-- A switch for one account, or for all (billing_account_id null).
create table poly_controls (
    id uuid primary key,
    billing_account_id uuid references billing_accounts (id),
    kind text not null check (kind in ('pause', 'halt', 'stop')),
    active boolean not null,
    reason text not null check (length(reason) <= 500),
    revision bigint not null check (revision > 0),
    changed_at timestamptz not null,
    gate_lock boolean not null default false,
    unique nulls not distinct (billing_account_id, kind)
);

-- What the api has to tell the log. Rows are picked by published = false, never by a high-water id.
create table api_outbox (
    id uuid primary key,
    billing_account_id uuid references billing_accounts (id),
    topic text not null check (topic in ('targets', 'controls')),
    -- The record's key: the wallet, the account, or * for all.
    key text not null,
    -- Whose revision it is: the target's row, or the kind of control, the grant, the connection of the key.
    subject text not null,
    revision bigint not null check (revision > 0),
    -- The framed Avro record.
    value bytea not null,
    created_at timestamptz not null,
    published boolean not null default false,
    unique (topic, key, subject, revision),
    check (case topic when 'controls' then key = coalesce(billing_account_id::text, '*')
        else billing_account_id is not null and key ~ '^0x[0-9a-f]{40}$' end)
);
create index api_outbox_unpublished on api_outbox (revision, created_at, id) where not published;
