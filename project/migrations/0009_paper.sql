-- Orders on paper are filled against the book that was recorded when they were decided (execute::paper).

-- schemas::events::BookSnapshot; null for orders that a venue fills.
alter table execution.orders add column book jsonb;
-- What a paper wallet spent, and holds.
create index orders_on_paper on execution.orders (connection_id, asset) where mode = 'paper';
