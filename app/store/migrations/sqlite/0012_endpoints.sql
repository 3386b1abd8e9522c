-- What came to each endpoint, by what became of it. Counted in memory and added every few seconds, so that a request that
-- is refused costs no write. For quarantined and refused ones `cause` says why; `retired_secret` counts requests that a
-- former secret proved, and has in `cause` until when it is valid.
CREATE TABLE endpoint_counts (
    account  TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    status   TEXT NOT NULL,         -- accepted, duplicate, ignored, quarantined, refused, retired_secret
    cause    TEXT NOT NULL,
    count    INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    PRIMARY KEY (account, endpoint, status, cause)
) WITHOUT ROWID;

-- The last refused requests of each endpoint, without their content.
CREATE TABLE endpoint_refusals (
    account  TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    id       INTEGER NOT NULL,      -- begins with the time
    at       INTEGER NOT NULL,
    cause    TEXT NOT NULL,
    detail   TEXT NOT NULL,
    headers  TEXT NOT NULL,         -- JSON array of the names
    address  TEXT NOT NULL,
    PRIMARY KEY (account, endpoint, id)
) WITHOUT ROWID;

-- Whether an endpoint fails or is silent: the refused requests since the last authentic one, and which notices of that are
-- in the log.
CREATE TABLE endpoint_states (
    account       TEXT NOT NULL,
    endpoint      TEXT NOT NULL,
    authentic_at  INTEGER,          -- the last authentic request
    refused_run   INTEGER NOT NULL, -- refused requests since then
    refused_since INTEGER,          -- the first of them
    failing_at    INTEGER,          -- when endpoint.failing was recorded for this run
    silent_at     INTEGER,          -- when endpoint.silent was recorded for this silence
    PRIMARY KEY (account, endpoint)
) WITHOUT ROWID;
