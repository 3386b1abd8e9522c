-- The log as a hash chain (`app/core/log_chain.py`): one row for each block of consecutive events.
CREATE TABLE log_blocks (
    number         INTEGER PRIMARY KEY,
    first_position INTEGER NOT NULL,  -- `seq` of its first event
    last_position  INTEGER NOT NULL,
    received_from  INTEGER NOT NULL,  -- the earliest and the latest time of receipt
    received_until INTEGER NOT NULL,
    root           BLOB NOT NULL,
    sealed_at      INTEGER NOT NULL,
    signature      BLOB NOT NULL,     -- ed25519, over number, last position, root and sealed_at
    marks          BLOB NOT NULL      -- the first four bytes of each leaf: they say which event differs, and prove nothing
);
CREATE UNIQUE INDEX log_blocks_by_position ON log_blocks (last_position);

-- Events whose content was erased. The chain covers their former leaves, which stay here, and the events that record the
-- erasures, whose data has the digest over (position, leaf before, leaf after) of all that each of them changed.
CREATE TABLE erasures (
    position INTEGER NOT NULL,  -- `seq` of the event
    number   INTEGER NOT NULL,  -- 1 for the first erasure of the event, 2 for the next
    event    TEXT NOT NULL,     -- id of the event that records the erasure
    leaf     BLOB NOT NULL,     -- the leaf as it was before
    PRIMARY KEY (position, number)
) WITHOUT ROWID;
