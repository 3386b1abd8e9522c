-- Orders that are not over, by when they were last heard of: what polling asks about.
CREATE INDEX orders_open ON orders (account, last_event_at) WHERE phase NOT IN ('completed', 'canceled');
