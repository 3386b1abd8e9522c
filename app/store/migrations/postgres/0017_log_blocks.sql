CREATE TABLE @log_blocks (
    number         bigint PRIMARY KEY,
    first_position bigint NOT NULL,     -- `seq` of its first event
    last_position  bigint NOT NULL UNIQUE,
    received_from  bigint NOT NULL,     -- the earliest and the latest time of receipt
    received_until bigint NOT NULL,
    root           bytea NOT NULL,
    sealed_at      bigint NOT NULL,
    signature      bytea NOT NULL,      -- ed25519, over number, last position, root and sealed_at
    marks          bytea NOT NULL       -- the first four bytes of each leaf: they say which event differs, and prove nothing
);

CREATE TABLE @erasures (
    account  text COLLATE "C" NOT NULL,
    position bigint NOT NULL,           -- `seq` of the event
    number   bigint NOT NULL,           -- 1 for the first erasure of the event, 2 for the next
    event    text COLLATE "C" NOT NULL, -- id of the event that records the erasure
    leaf     bytea NOT NULL,            -- the leaf as it was before
    PRIMARY KEY (account, position, number)
);
CREATE INDEX erasures_by_position ON @erasures (position);
