-- The nodes that share this database, and which of them does what only one may do at a time.

CREATE SEQUENCE @node_epochs AS bigint;
CREATE TABLE @nodes (
    number     integer PRIMARY KEY,         -- 0 to 511: a part of the ids that it draws
    epoch      bigint NOT NULL UNIQUE,      -- of its lease: grows with each
    until      bigint NOT NULL,             -- when the lease ends, by the database's clock
    ended      boolean NOT NULL,            -- given up, or taken from it: its number is free again an hour after `until`
    draining   boolean NOT NULL,            -- it gives its work up, and takes none
    name       text COLLATE "C" NOT NULL,
    version    text COLLATE "C" NOT NULL,
    last_id    bigint NOT NULL,             -- about the last id that it drew
    started_at bigint NOT NULL
);

CREATE TABLE @ownership (
    subject text COLLATE "C" PRIMARY KEY,   -- account:ID, subscription:ID, task:NAME
    epoch   bigint NOT NULL                 -- of the node's lease
);
CREATE INDEX ownership_by_epoch ON @ownership (epoch);

-- One row for each commit of the ledger, for half an hour: whether it happened, where the answer was lost.
CREATE TABLE @commits (
    epoch     bigint NOT NULL,
    number    bigint NOT NULL,
    at        bigint NOT NULL,
    committed boolean NOT NULL,             -- false: somebody asked before it was, so it never will be
    PRIMARY KEY (epoch, number)
);
CREATE INDEX commits_by_time ON @commits (at);

CREATE TABLE @shared_versions (
    what    text COLLATE "C" PRIMARY KEY,   -- configuration, keys, pauses, sessions
    version bigint NOT NULL
);
INSERT INTO @shared_versions (what, version) VALUES ('configuration', 1), ('keys', 1), ('pauses', 1), ('sessions', 1);

-- What one node asks of the node that owns a subject.
CREATE TABLE @errands (
    id          bigint PRIMARY KEY,
    subject     text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    request     text COLLATE "C" NOT NULL,
    made_at     bigint NOT NULL,
    answer      text COLLATE "C",
    answered_at bigint
);
CREATE INDEX errands_open ON @errands (subject) WHERE answered_at IS NULL;
