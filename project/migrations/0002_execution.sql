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
    -- Whose key signed it: its answers are asked for with the same credentials, also after a change of wallet.
    connection_id uuid,
    -- Its cost at the limit with the worst fee, as it was authorised; zero for SELLs.
    reserved bigint not null check (reserved >= 0),
    fee_rate bigint not null,
    fee_exponent int not null,
    filled_shares bigint not null,
    filled_usdc bigint not null,
    fees_usdc bigint not null,
    -- The part of filled_shares whose trades are CONFIRMED: the rest can still fail.
    confirmed_shares bigint not null,
    -- What it counts against the caps: all of it until it is known how it ends, then what it came to.
    counted bigint not null generated always as (case
        when side = 'SELL' or status in ('denied', 'rejected') then 0
        when is_final then filled_usdc + fees_usdc
        else greatest(reserved, filled_usdc + fees_usdc) end) stored,
    reason text,
    -- schemas::events::Origin.
    origin jsonb not null,
    -- The partition of `intents` it came by: its owner resolves and follows it.
    partition int not null,
    filled_at bigint not null,
    send_until bigint not null,
    created_at bigint not null,
    sent_at bigint,
    -- The last moment at which its bytes may have left: what proves that it did not land counts from here.
    last_send_at bigint,
    answered_at bigint,
    synced_at bigint,
    changed_at bigint not null,
    -- That it shall be cancelled, and why.
    cancel_asked_at bigint,
    cancel_cause text,
    -- How often the venue was asked without news, and when to ask again; null: never again.
    asked int not null,
    next_look_at bigint,
    is_final boolean not null,
    primary key (billing_account_id, idempotency_key, attempt),
    unique (billing_account_id, natural_key, attempt)
);
create index orders_due on execution.orders (partition, next_look_at) where next_look_at is not null;
create index orders_alive on execution.orders (billing_account_id, condition_id) where not is_final;
-- The rolling day and hour of the caps, read from the index alone.
create index orders_window on execution.orders (billing_account_id, mode, created_at) include (counted)
    where side = 'BUY' and status not in ('denied', 'rejected');

-- What a target's copies hold of a token, and what the held shares cost on average: the fold of `filled_*` above,
-- kept in the transactions that change them.
create table execution.positions (
    billing_account_id uuid not null references billing_accounts (id),
    target_id uuid not null,
    asset text not null,
    mode text not null,
    condition_id text not null,
    held bigint not null,
    cost bigint not null,
    changed_at bigint not null,
    primary key (billing_account_id, target_id, asset, mode)
);
create index positions_condition on execution.positions (billing_account_id, condition_id, mode);

-- Intents that wait: for the order they replace to end, for the last attempt of their close, for market data. They
-- are taken from the log, so they must not be lost.
create table execution.deferred (
    billing_account_id uuid not null references billing_accounts (id),
    idempotency_key text not null,
    -- The decision's revision.
    revision int not null,
    -- The partition of `intents` it came by.
    partition int not null,
    -- The framed Avro record.
    value bytea not null,
    waits_for text not null,
    created_at bigint not null,
    next_look_at bigint not null,
    primary key (billing_account_id, idempotency_key, revision)
);
create index deferred_due on execution.deferred (partition, next_look_at);

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
create index outbox_published on execution.outbox (partition, created_at) where published;

-- How far `orders` in the log is known to agree with the table above: a revision in the log past that place which is
-- above its row's means that the database is older than the log.
create table execution.order_offsets (
    partition int primary key,
    log_id uuid not null,
    next_offset bigint not null,
    -- The content hash of the record before it.
    before text
);

-- Who may touch the tables that 0004 does not name.
alter table execution.positions enable row level security;
alter table execution.positions force row level security;
alter table execution.deferred enable row level security;
alter table execution.deferred force row level security;
alter table execution.order_offsets enable row level security;
alter table execution.order_offsets force row level security;
grant select, insert, update on execution.positions, execution.deferred, execution.order_offsets to executor;
grant delete on execution.deferred to executor;
create policy executor on execution.positions to executor using (true) with check (true);
create policy executor on execution.deferred to executor using (true) with check (true);
create policy executor on execution.order_offsets to executor using (true) with check (true);
