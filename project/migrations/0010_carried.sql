-- Tokens that go on under another id (behaviour.md 1, MIGRATION): everything of a position moves there in one transaction.

-- The token under whose id the order's position stands: `asset`, or the one as which that goes on.
alter table execution.orders add column held_as text;
-- Not by an update: the owner sees no row of a table whose row-level security is forced.
alter table execution.orders alter column held_as type text using asset;
alter table execution.orders alter column held_as set not null;

-- The id under which the position goes on: nothing is due of this one any more.
alter table execution.closes add column becomes text;
-- Its other ids: shares of it may still lie under them at the venue. A list of texts.
alter table execution.closes add column also jsonb not null default '[]';
create index closes_carried on execution.closes (billing_account_id) where becomes is not null;
