-- A BUY may rest for days, and fill at their end: it counts against its tenant's caps as long as it lives, and what it came
-- to for a day after that. Those that end soon are in `orders_window`; the few others are found here.
create index orders_late on execution.orders (billing_account_id, mode, changed_at) include (counted, created_at)
    where side = 'BUY' and is_final and status not in ('denied', 'rejected') and changed_at - created_at > 300000000;
