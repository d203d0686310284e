-- What is known of the tokens that copies hold, as ingest tells it in `fills` for each followed wallet: what others pay for
-- them, and what they pay in the end. Built from the log like 0003, and made again by a rebuild.

create table poly_token_outcomes (
    target_wallet text not null,
    asset text not null,
    condition_id text not null,
    -- Dollars for one share, in 10^-6: 1 for the winner, 0 for the loser, a part where the outcome was split.
    per_share bigint not null check (per_share >= 0),
    resolved_at timestamptz not null,
    primary key (target_wallet, asset)
);

create table poly_token_marks (
    target_wallet text not null,
    asset text not null,
    -- In 10^-6; null where nobody bids, or asks.
    best_bid bigint,
    best_ask bigint,
    as_of timestamptz not null,
    primary key (target_wallet, asset)
);

-- The copies of a wallet on a token, of whichever tenant.
create index poly_copy_trade_fills_token on poly_copy_trade_fills (target_wallet, asset);

-- Who may touch it (behaviour.md 7) --------------------------------------------------------------------------------

alter table poly_token_outcomes enable row level security;
alter table poly_token_outcomes force row level security;
alter table poly_token_marks enable row level security;
alter table poly_token_marks force row level security;
grant select, insert, update on poly_token_outcomes, poly_token_marks to projector;
create policy projector on poly_token_outcomes to projector using (true) with check (true);
create policy projector on poly_token_marks to projector using (true) with check (true);
-- A tenant sees what it has copies of: what others hold is theirs to know.
grant select on poly_token_outcomes, poly_token_marks to app_user;
create policy tenant on poly_token_outcomes for select to app_user
    using (exists (select 1 from poly_copy_trade_fills f
        where f.target_wallet = poly_token_outcomes.target_wallet and f.asset = poly_token_outcomes.asset));
create policy tenant on poly_token_marks for select to app_user
    using (exists (select 1 from poly_copy_trade_fills f
        where f.target_wallet = poly_token_marks.target_wallet and f.asset = poly_token_marks.asset));
