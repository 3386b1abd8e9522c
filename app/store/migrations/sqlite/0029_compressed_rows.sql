-- Bodies of events and states of orders are compressed (app/store/row_compression.py): where `dictionary` is set, the
-- column holds bytes. Rows of earlier releases are text; the server compresses them in the background.
ALTER TABLE events ADD COLUMN dictionary INTEGER;
ALTER TABLE orders ADD COLUMN dictionary INTEGER;

-- The names of fields, by which rows are compressed: of Rescind's own, and of each account. Rows are only added.
CREATE TABLE row_dictionaries (
    id      INTEGER PRIMARY KEY,
    account TEXT NOT NULL,          -- empty: of Rescind's own names
    content BLOB NOT NULL
);

-- How far the rows of earlier releases are compressed.
CREATE TABLE row_compression (
    what     TEXT PRIMARY KEY,      -- events, orders
    position INTEGER NOT NULL,      -- all rows up to this one are done
    until    INTEGER NOT NULL       -- the last row that there was
) WITHOUT ROWID;
INSERT INTO row_compression SELECT 'events', 0, max(seq) FROM events HAVING max(seq) > 0;
INSERT INTO row_compression SELECT 'orders', coalesce(min(pk), 0) - 1, max(pk) FROM orders HAVING max(pk) > 0;
