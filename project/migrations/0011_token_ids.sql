-- Tokens that go on under another id (behaviour.md 1, MIGRATION), as `fills` tell it of each followed wallet: the copies of a
-- token are one position, under whichever of its ids they were ordered. Built from the log like 0008, and made again by a
-- rebuild.

-- Every id of such a token has a row, the current one too.
create table poly_token_ids (
    target_wallet text not null,
    asset text not null,
    -- The id under which the token stands now.
    current_asset text not null,
    -- All ids of the token, in order.
    ids text[] not null check (asset = any(ids) and current_asset = any(ids)),
    primary key (target_wallet, asset)
);

-- Who may touch it (behaviour.md 7) --------------------------------------------------------------------------------

alter table poly_token_ids enable row level security;
alter table poly_token_ids force row level security;
grant select, insert, update on poly_token_ids to projector;
create policy projector on poly_token_ids to projector using (true) with check (true);
-- A tenant sees what it has copies of, under any of its ids.
grant select on poly_token_ids to app_user;
create policy tenant on poly_token_ids for select to app_user
    using (exists (select 1 from poly_copy_trade_fills f
        where f.target_wallet = poly_token_ids.target_wallet and f.asset = any(poly_token_ids.ids)));

-- So it is with what is known of the token. Of the rows of poly_token_ids a tenant is shown those that the policy above lets it
-- see.
alter policy tenant on poly_token_outcomes
    using (exists (select 1 from poly_copy_trade_fills f
            where f.target_wallet = poly_token_outcomes.target_wallet and f.asset = poly_token_outcomes.asset)
        or exists (select 1 from poly_token_ids i
            where i.target_wallet = poly_token_outcomes.target_wallet and i.asset = poly_token_outcomes.asset));
alter policy tenant on poly_token_marks
    using (exists (select 1 from poly_copy_trade_fills f
            where f.target_wallet = poly_token_marks.target_wallet and f.asset = poly_token_marks.asset)
        or exists (select 1 from poly_token_ids i
            where i.target_wallet = poly_token_marks.target_wallet and i.asset = poly_token_marks.asset));

-- What was told of ids before this page was passed over: `fills` are read again from the start, which changes nothing else. The
-- owner sees no row of a table whose row-level security is forced.
alter table projection_offsets no force row level security;
delete from projection_offsets where topic = 'fills';
alter table projection_offsets force row level security;
