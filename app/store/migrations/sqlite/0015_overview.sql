-- Orders by when time alone closes their windows: those that close in the next hours are counted and listed.
CREATE INDEX orders_by_closing ON orders (closes_at, account) WHERE closes_at IS NOT NULL;
