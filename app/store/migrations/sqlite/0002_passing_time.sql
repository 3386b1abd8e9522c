-- What time alone does to orders. Polling asks about those that are not over, by when they were last heard of.
CREATE INDEX orders_open ON orders (account, last_event_at) WHERE phase NOT IN ('completed', 'canceled');

-- `cancelable` is as of the last change of the order; where time alone will change it, this says when.
ALTER TABLE orders ADD COLUMN changes_at INTEGER;
CREATE INDEX orders_by_change ON orders (changes_at) WHERE changes_at IS NOT NULL;
