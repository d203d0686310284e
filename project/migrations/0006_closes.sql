-- What is to be sold of positions, and how far that has come (behaviour.md 4). Primary data, owned by execute.

-- The close of a position. Every transaction that changes it, its dues or its attempts holds this row.
create table execution.closes (
    billing_account_id uuid not null references billing_accounts (id),
    mode text not null,
    target_id uuid not null,
    asset text not null,
    condition_id text not null,
    -- The partition of `intents` whose owner runs it.
    partition int not null,
    -- How many dues there ever were, and how many of them the last attempt sold for.
    counted bigint not null,
    offered bigint not null,
    -- The due whose price and steps are in force, and the first attempt at them.
    terms jsonb,
    stepped_at bigint,
    -- What was read at the venue where the dues came without it: schemas::events::MarketFacts, the best bid.
    found_price bigint,
    facts jsonb,
    not_before bigint,
    -- Why the last attempt was denied; how many in a row the venue refused.
    denied text,
    refused int not null,
    doubts boolean not null,
    -- Since when the wallet lacks shares, and what it held at the last look.
    short jsonb,
    -- When the leader made the newest sale that took the BUYs along.
    took_buys_at bigint,
    -- When to look at it next; null: what is recorded of its attempts will say so.
    next_look_at bigint,
    changed_at bigint not null,
    primary key (billing_account_id, mode, target_id, asset)
);
create index closes_due on execution.closes (partition, next_look_at) where next_look_at is not null;

-- One row is what one close intent asks for: the keys are what makes it due once.
create table execution.dues (
    billing_account_id uuid not null references billing_accounts (id),
    idempotency_key text not null check (idempotency_key ~ '^0x[0-9a-f]{64}$'),
    -- The decision's revision: above zero for an amended SELL.
    revision int not null,
    -- wallet:tx:asset:side, or the cause id of a close without a fill, with the decision's revision.
    natural_key text not null,
    target_id uuid not null,
    asset text not null,
    mode text not null,
    -- Its place among the dues of its position.
    place bigint not null,
    shares bigint not null check (shares >= 0),
    -- What each attempt sold of it: [{key, attempt, shares}].
    sold jsonb not null,
    -- BUYs whose fills become due when they are final: [{key, seen}].
    awaits jsonb not null,
    drop_cause text,
    -- filled, dust, external_close, market_ended, dropped; null: it is open.
    ended text,
    -- schemas::events::CloseIntent.
    intent jsonb not null,
    created_at bigint not null,
    primary key (billing_account_id, idempotency_key, revision),
    unique (billing_account_id, natural_key),
    unique (billing_account_id, mode, target_id, asset, place)
);
create index dues_open on execution.dues (billing_account_id, mode, target_id, asset) where ended is null;

-- What is told of a close's row besides its state: see schemas::events::OrderState.
alter table execution.orders add column note text;
-- Bought by trades that can still fail: the wallet need not show it yet.
create index orders_unconfirmed on execution.orders (billing_account_id, condition_id)
    where side = 'BUY' and confirmed_shares < filled_shares;

alter table execution.closes enable row level security;
alter table execution.closes force row level security;
alter table execution.dues enable row level security;
alter table execution.dues force row level security;
grant select, insert, update on execution.closes, execution.dues to executor;
create policy executor on execution.closes to executor using (true) with check (true);
create policy executor on execution.dues to executor using (true) with check (true);
