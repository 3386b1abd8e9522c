-- Lists of orders, each in the order of an index that also has what the list is filtered by. (`pk` stands in an index to
-- come before what is only there to be filtered by.)
ALTER TABLE orders ADD COLUMN opened_at INTEGER;
UPDATE orders SET opened_at = opening.at FROM (
    SELECT pk, CAST(strftime('%s', substr(text, 1, 19)) AS INTEGER) * 1000000
               + CASE substr(text, 20, 1) WHEN '.' THEN CAST(substr(text, 21, 6) AS INTEGER) ELSE 0 END AS at
    FROM (SELECT pk, json_extract(state, '$.order.opened_at') AS text FROM orders) WHERE text IS NOT NULL) AS opening
    WHERE opening.pk = orders.pk;

-- By verdict, phase and reason, which have few values: the newest first.
CREATE INDEX orders_by_verdict ON orders (cancelable, phase, reason, pk, account);

-- By when time alone closes their windows: only open ones have such a time.
DROP INDEX orders_by_closing;
CREATE INDEX orders_by_closing ON orders (closes_at, account, pk, cancelable, phase, reason) WHERE closes_at IS NOT NULL;

-- By when they were opened.
CREATE INDEX orders_by_opening ON orders (opened_at, account) WHERE opened_at IS NOT NULL;
