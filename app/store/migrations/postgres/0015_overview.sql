CREATE INDEX orders_by_closing ON @orders (closes_at, account, pk) WHERE closes_at IS NOT NULL;
