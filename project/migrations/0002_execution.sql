-- Orders and what guards them. Primary data, owned by execute; money in 10^-6 dollars, times in microseconds.

create schema execution;

-- One row is one attempt. The two unique keys are what makes an order happen once (behaviour.md 6).
create table execution.orders (
    billing_account_id uuid not null references billing_accounts (id),
    idempotency_key text not null check (idempotency_key ~ '^0x[0-9a-f]{64}$'),
    attempt int not null check (attempt >= 0),
    -- wallet:tx:asset:side, or the cause id of a close without a fill, with the decision's revision.
    natural_key text not null,
    revision bigint not null check (revision > 0),
    status text not null,
    created_by_user_id uuid not null,
    target_row_id uuid not null,
    target_id uuid not null,
    wallet text not null,
    fill_id text not null,
    mode text not null,
    side text not null check (side in ('BUY', 'SELL')),
    asset text not null,
    condition_id text not null,
    limit_price bigint not null,
    shares bigint not null,
    order_type text,
    expires_at bigint,
    order_id text unique,
    -- The exact bytes that are sent, and the only ones ever sent for this row.
    body bytea,
    reserved bigint not null check (reserved >= 0),
    filled_shares bigint not null default 0,
    filled_usdc bigint not null default 0,
    fees_usdc bigint not null default 0,
    reason text,
    -- schemas::events::Origin.
    origin jsonb not null,
    -- The partition of `intents` it came by: its owner resolves and follows it.
    partition int not null,
    filled_at bigint not null,
    send_until bigint not null,
    created_at bigint not null,
    sent_at bigint,
    answered_at bigint,
    synced_at bigint,
    changed_at bigint not null,
    -- How often the venue could not tell, and when to ask again.
    asked int not null default 0,
    next_look_at bigint not null,
    is_final boolean not null,
    primary key (billing_account_id, idempotency_key, attempt),
    unique (billing_account_id, natural_key, attempt)
);
create index orders_unfinished on execution.orders (partition, next_look_at) where not is_final;
create index orders_window on execution.orders (billing_account_id, created_at);
create index orders_position on execution.orders (billing_account_id, target_id, asset, mode);
create index orders_condition on execution.orders (billing_account_id, condition_id, mode);

-- One row an account and mode: locked by each gate transaction, so that two cannot both take the last dollar.
create table execution.budgets (
    billing_account_id uuid not null references billing_accounts (id),
    mode text not null,
    -- The wallet's collateral as last read at the venue, and when; null before the first read.
    balance bigint,
    balance_at bigint,
    primary key (billing_account_id, mode)
);

-- Who owns a partition of `intents`. A gate holds its row FOR SHARE; a new owner bumps the epoch under lock.
create table execution.owner_epochs (
    partition int primary key,
    epoch bigint not null,
    owner text not null,
    -- Postgres time: sends need it unexpired; the new owner sends only after the old one's.
    valid_until timestamptz not null,
    -- Sends of this epoch start no earlier: the previous owner's valid_until at the takeover.
    send_from timestamptz not null
);

create table execution.intent_offsets (
    partition int primary key,
    log_id uuid not null,
    next_offset bigint not null,
    -- The content hash of the record before it.
    before text
);

create table execution.outbox (
    billing_account_id uuid not null,
    idempotency_key text not null,
    attempt int not null,
    revision bigint not null,
    -- The followed wallet: the record's key.
    key text not null,
    -- The framed Avro OrderState.
    value bytea not null,
    -- The partition of `intents` whose owner publishes it.
    partition int not null,
    created_at bigint not null,
    published boolean not null default false,
    primary key (billing_account_id, idempotency_key, attempt, revision)
);
create index outbox_unpublished on execution.outbox (partition, created_at) where not published;
