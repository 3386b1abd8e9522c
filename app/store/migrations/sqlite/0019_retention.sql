-- Retention and erasure. Of an expunged receipt stay its row, status and times, and a digest of its body.
ALTER TABLE receipts ADD COLUMN expunged_at INTEGER;
ALTER TABLE receipts ADD COLUMN digest BLOB;            -- SHA-256 of the body

-- A dictionary that holds what was expunged is retired: receipts that use it are packed anew, and it is deleted.
ALTER TABLE receipt_dictionaries ADD COLUMN retired INTEGER NOT NULL DEFAULT 0;
ALTER TABLE receipt_dictionaries ADD COLUMN last_use INTEGER;  -- the last receipt that may use it; NULL: it is in use
CREATE INDEX receipt_dictionaries_retired ON receipt_dictionaries (id) WHERE retired;

-- How far the schedule has come: all that is before is expunged, unless it was too young.
CREATE TABLE retention (
    what     TEXT PRIMARY KEY,      -- events, receipts, attempts
    position INTEGER NOT NULL
) WITHOUT ROWID;
