-- Times are microseconds since 1970 in UTC. Keys are the 64-bit digests of app/core/event.py.

-- An order with its live cancellations: the fold of its events. Everything but `state` is there to be searched.
CREATE TABLE orders (
    pk            INTEGER PRIMARY KEY,
    account       TEXT NOT NULL,
    id            TEXT NOT NULL,
    phase         TEXT NOT NULL,
    cancelable    TEXT NOT NULL,
    last_event_at INTEGER,
    state         TEXT NOT NULL
);
CREATE INDEX orders_by_account ON orders (account);

-- Every name an order goes by. The digest leads, so that an event's id alone finds its order.
CREATE TABLE names (
    key      INTEGER NOT NULL,
    account  TEXT NOT NULL,
    name     TEXT NOT NULL,
    order_pk INTEGER NOT NULL,
    PRIMARY KEY (key, account, name)
) WITHOUT ROWID;

-- The log. One index serves duplicates, an order's history and the look-up by id; orders are numbered by
-- time, so what is inserted together stands together, however long the log is.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    order_pk    INTEGER NOT NULL,
    key         INTEGER NOT NULL,
    account     TEXT NOT NULL,
    name        TEXT NOT NULL,
    type        TEXT NOT NULL,
    source      TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    receipt     INTEGER,
    body        TEXT NOT NULL
);
CREATE UNIQUE INDEX events_by_order ON events (order_pk, key);
CREATE INDEX events_by_type ON events (type);

-- What came in, exactly as received, but for secrets in headers and query.
CREATE TABLE receipts (
    id          INTEGER PRIMARY KEY,
    endpoint    TEXT NOT NULL,
    account     TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    status      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    query       TEXT NOT NULL,
    headers     TEXT NOT NULL,
    body        BLOB NOT NULL
);
CREATE INDEX receipts_quarantined ON receipts (id) WHERE status = 'quarantined';

CREATE TABLE cancellations (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    order_pk INTEGER NOT NULL,
    account  TEXT NOT NULL,
    state    TEXT NOT NULL,
    body     TEXT NOT NULL
);
CREATE INDEX cancellations_by_order ON cancellations (order_pk);
CREATE INDEX cancellations_by_state ON cancellations (state);

-- The outbox: at most one job for each order, derived from its state.
CREATE TABLE jobs (
    order_pk     INTEGER PRIMARY KEY,
    account      TEXT NOT NULL,
    name         TEXT NOT NULL,
    kind         TEXT NOT NULL,
    cancellation TEXT,
    due_at       INTEGER NOT NULL,
    deadline     INTEGER,
    sending      INTEGER NOT NULL
);
CREATE INDEX jobs_by_account ON jobs (account, due_at);
CREATE INDEX jobs_by_deadline ON jobs (deadline) WHERE deadline IS NOT NULL;

-- One row for each time a job was sent; the rate limits of a new process start from here.
CREATE TABLE attempts (
    id           INTEGER PRIMARY KEY,
    order_pk     INTEGER NOT NULL,
    account      TEXT NOT NULL,
    name         TEXT NOT NULL,
    kind         TEXT NOT NULL,
    cancellation TEXT,
    started_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    calls        INTEGER NOT NULL,
    outcome      TEXT NOT NULL,
    detail       TEXT NOT NULL,
    exchanges    TEXT NOT NULL
);
CREATE INDEX attempts_by_order ON attempts (order_pk);
CREATE INDEX attempts_by_account ON attempts (account, ended_at);
CREATE INDEX attempts_unfinished ON attempts (id) WHERE ended_at IS NULL;

CREATE TABLE pauses (
    scope  TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    since  INTEGER NOT NULL,
    by     TEXT NOT NULL
);

-- Accounts, endpoints and the like; `body` is encrypted, the trail of changes holds no secrets.
CREATE TABLE resources (
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    version    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    body       BLOB NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE TABLE resource_changes (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    TEXT NOT NULL,
    id      TEXT NOT NULL,
    version INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    by      TEXT NOT NULL,
    action  TEXT NOT NULL,
    body    TEXT NOT NULL
);

CREATE TABLE api_keys (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    scope      TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    revoked_at INTEGER
);

-- First answers to requests that came with an Idempotency-Key; encrypted, since an answer may hold a new secret.
CREATE TABLE answers (
    key        TEXT PRIMARY KEY,
    digest     BLOB NOT NULL,
    answer     BLOB NOT NULL,
    created_at INTEGER NOT NULL
);
