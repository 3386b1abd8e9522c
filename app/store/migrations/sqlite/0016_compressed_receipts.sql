-- Receipts are compressed (app/store/compression.py): where `dictionary` is set, `body` holds query, headers and body, and
-- the other two columns are empty. Receipts of earlier releases stay as they are, and have no `size`.
ALTER TABLE receipts ADD COLUMN dictionary INTEGER;
ALTER TABLE receipts ADD COLUMN size INTEGER;       -- of the body as received, in bytes

-- The content of earlier receipts, by which later ones are compressed. Rows are added and deleted, and never changed.
CREATE TABLE receipt_dictionaries (
    id       INTEGER PRIMARY KEY,
    account  TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    sources  TEXT NOT NULL,         -- JSON array of the receipts that it is made of
    content  BLOB NOT NULL
);
