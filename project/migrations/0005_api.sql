-- What requests over HTTP need: tokens that tell who asks, and what was asked for once.

-- A token speaks for one account. Only its hash is kept: a random number of 256 bits needs no salt, and a copy of this
-- table lets nobody in.
create table api_tokens (
    id uuid primary key,
    billing_account_id uuid not null references billing_accounts (id),
    name text not null check (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    -- SHA-256 of the whole token.
    token_hash bytea not null unique check (length(token_hash) = 32),
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz
);
create unique index api_tokens_name on api_tokens (billing_account_id, name) where revoked_at is null;

-- A position that a tenant asked to be sold: the same request again is the same close.
create table poly_close_requests (
    billing_account_id uuid not null references billing_accounts (id),
    request_id text not null check (request_id ~ '^[A-Za-z0-9._-]{1,64}$'),
    target_row_id uuid not null references poly_copy_trade_targets (id),
    asset text not null check (asset ~ '^(0|[1-9][0-9]{0,77})$'),
    requested_at timestamptz not null,
    primary key (billing_account_id, request_id)
);

-- Who may touch it (behaviour.md 7) --------------------------------------------------------------------------------

alter table api_tokens enable row level security;
alter table api_tokens force row level security;
alter table poly_close_requests enable row level security;
alter table poly_close_requests force row level security;

-- A hash can be written by a tenant's request, never read by one.
grant select (id, billing_account_id, name, created_at, expires_at, revoked_at), insert, update (revoked_at)
    on api_tokens to app_user;
create policy tenant on api_tokens to app_user
    using (exists (select 1 from billing_accounts a where a.id = billing_account_id
        and a.owner_user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid)));

grant select, insert on poly_close_requests to app_user;
create policy tenant on poly_close_requests to app_user
    using (exists (select 1 from billing_accounts a where a.id = billing_account_id
        and a.owner_user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid)))
    with check (exists (select 1 from poly_copy_trade_targets t
            where t.id = target_row_id and t.billing_account_id = poly_close_requests.billing_account_id)
        and exists (select 1 from billing_accounts a where a.id = billing_account_id
            and a.owner_user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid)));

-- Who a token speaks for, before there is a user: the one thing that a request may ask as nobody. It runs as owner, to
-- whom the policy below shows the row of the hash that was presented, and no other: not even owner can list hashes.
create policy lookup on api_tokens for select to owner
    using (token_hash = decode(nullif(current_setting('app.token_lookup', true), ''), 'hex'));

create function api_token_owner(presented bytea, as_of timestamptz)
    returns table (user_id uuid, account_id uuid)
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config('app.token_lookup', encode(presented, 'hex'), true);
    return query
        select a.owner_user_id, a.id
        from public.api_tokens t join public.billing_accounts a on a.id = t.billing_account_id
        where t.token_hash = presented and t.revoked_at is null
            and (t.expires_at is null or t.expires_at > as_of);
    perform set_config('app.token_lookup', '', true);
end $$;
revoke all on function api_token_owner(bytea, timestamptz) from public;
grant execute on function api_token_owner(bytea, timestamptz) to app_user;
