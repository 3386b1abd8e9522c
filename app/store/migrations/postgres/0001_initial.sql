-- Tables in their final shape: what a later number changes on SQLite is so from the start. Texts are compared by their
-- bytes (COLLATE "C"), times are microseconds since 1970, and every hot table has `account` in its key.

CREATE TABLE @orders (
    account        text COLLATE "C" NOT NULL,
    pk             bigint NOT NULL,
    id             text COLLATE "C" NOT NULL,
    phase          text COLLATE "C" NOT NULL,
    cancelable     text COLLATE "C" NOT NULL,
    reason         text COLLATE "C",
    fingerprint    bigint,
    opened_at      bigint,
    closes_at      bigint,
    closing_notice text COLLATE "C",
    next_check_at  bigint,
    last_event_at  bigint,
    quiet_hour     bigint,          -- the hour of `last_event_at`, which few events change
    state          text COLLATE "C" NOT NULL,
    PRIMARY KEY (account, pk)
) WITH (fillfactor = 50);
-- No index on what every event changes: updates stay within their page (HOT).
CREATE INDEX orders_by_pk ON @orders (pk);

CREATE TABLE @names (
    account  text COLLATE "C" NOT NULL,
    key      bigint NOT NULL,
    name     text COLLATE "C" NOT NULL,
    order_pk bigint NOT NULL,
    PRIMARY KEY (account, key, name)
);
CREATE INDEX names_by_key ON @names (key);
-- By how names begin, and what follows the first colon in them.
CREATE INDEX names_by_beginning ON @names (lower(name)) WHERE position(':' in name) > 0;
CREATE INDEX names_by_end ON @names (lower(substr(name, position(':' in name) + 1)));

-- A sequence of its own: identity columns of partitioned tables need PostgreSQL 17. It is not cached: of one order,
-- positions ascend in the order in which its events are applied.
CREATE SEQUENCE @events_seq AS bigint CACHE 1;
CREATE TABLE @events (
    account     text COLLATE "C" NOT NULL,
    order_pk    bigint NOT NULL,
    key         bigint NOT NULL,
    seq         bigint NOT NULL DEFAULT nextval('@events_seq'),
    name        text COLLATE "C" NOT NULL,
    type        text COLLATE "C" NOT NULL,
    source      text COLLATE "C" NOT NULL,
    occurred_at bigint NOT NULL,
    received_at bigint NOT NULL,
    receipt     bigint,
    body        text COLLATE "C" NOT NULL,
    PRIMARY KEY (account, order_pk, key)
) PARTITION BY RANGE (order_pk);
CREATE INDEX events_by_seq ON @events (seq);
CREATE INDEX events_by_key_of_no_order ON @events (key) WHERE order_pk = 0;
CREATE INDEX events_of_account ON @events (account, seq);

CREATE TABLE @receipts (
    account     text COLLATE "C" NOT NULL,
    id          bigint NOT NULL,
    endpoint    text COLLATE "C" NOT NULL,
    received_at bigint NOT NULL,
    status      text COLLATE "C" NOT NULL,
    reason      text COLLATE "C" NOT NULL,
    size        bigint,
    query       text COLLATE "C" NOT NULL,
    headers     text COLLATE "C" NOT NULL,
    body        bytea NOT NULL,
    dictionary  bigint,
    expunged_at bigint,
    digest      bytea,
    PRIMARY KEY (account, id)
) PARTITION BY RANGE (id);
CREATE INDEX receipts_by_id ON @receipts (id);
CREATE INDEX receipts_quarantined ON @receipts (id) WHERE status = 'quarantined';

CREATE TABLE @cancellations (
    account      text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    seq          bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
    order_pk     bigint NOT NULL,
    state        text COLLATE "C" NOT NULL,
    waiting      text COLLATE "C",      -- what it waits for; in `body`, too
    policy       text COLLATE "C",
    requested_at bigint,
    batch        text COLLATE "C",
    body         text COLLATE "C" NOT NULL,
    PRIMARY KEY (account, id)
);
CREATE INDEX cancellations_by_id ON @cancellations (id);
CREATE INDEX cancellations_by_seq ON @cancellations (seq);
CREATE INDEX cancellations_by_order ON @cancellations (order_pk, seq);
CREATE INDEX cancellations_by_state ON @cancellations (state, seq);

CREATE TABLE @jobs (
    account      text COLLATE "C" NOT NULL,
    order_pk     bigint NOT NULL,
    name         text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL,
    cancellation text COLLATE "C",
    due_at       bigint NOT NULL,
    deadline     bigint,
    policy       text COLLATE "C",
    sending      smallint NOT NULL,
    urgent_by    bigint,
    failures     bigint NOT NULL,
    PRIMARY KEY (account, order_pk)
);
CREATE INDEX jobs_by_account ON @jobs (account, due_at);
CREATE INDEX jobs_by_deadline ON @jobs (deadline) WHERE deadline IS NOT NULL;

CREATE TABLE @attempts (
    account      text COLLATE "C" NOT NULL,
    id           bigint NOT NULL,
    order_pk     bigint NOT NULL,
    name         text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL,
    cancellation text COLLATE "C",
    started_at   bigint NOT NULL,
    ended_at     bigint,
    calls        bigint NOT NULL,
    outcome      text COLLATE "C" NOT NULL,
    detail       text COLLATE "C" NOT NULL,
    exchanges    text COLLATE "C" NOT NULL,
    boot         bigint,
    ended_up     bigint,
    PRIMARY KEY (account, id)
) PARTITION BY RANGE (id);
CREATE INDEX attempts_by_id ON @attempts (id);
CREATE INDEX attempts_by_order ON @attempts (account, order_pk);
CREATE INDEX attempts_by_account ON @attempts (account, ended_at);
CREATE INDEX attempts_unfinished ON @attempts (account, id) WHERE ended_at IS NULL;

CREATE TABLE @pauses (
    scope  text COLLATE "C" PRIMARY KEY,
    reason text COLLATE "C" NOT NULL,
    since  bigint NOT NULL,
    by     text COLLATE "C" NOT NULL
);

CREATE TABLE @resources (
    kind       text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    updated_at bigint NOT NULL,
    updated_by text COLLATE "C" NOT NULL,
    body       bytea NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE TABLE @resource_changes (
    seq     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind    text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    at      bigint NOT NULL,
    by      text COLLATE "C" NOT NULL,
    action  text COLLATE "C" NOT NULL,
    body    text COLLATE "C" NOT NULL
);

CREATE TABLE @api_keys (
    id           text COLLATE "C" PRIMARY KEY,
    name         text COLLATE "C" NOT NULL,
    scope        text COLLATE "C" NOT NULL,
    hash         bytea NOT NULL UNIQUE,
    created_at   bigint NOT NULL,
    created_by   text COLLATE "C" NOT NULL,
    revoked_at   bigint,
    accounts     text COLLATE "C",
    expires_at   bigint,
    last_used_at bigint,
    rotated_from text COLLATE "C"
);

CREATE TABLE @answers (
    key        text COLLATE "C" PRIMARY KEY,
    digest     bytea NOT NULL,
    answer     bytea NOT NULL,
    created_at bigint NOT NULL
);
