-- Webhooks out. A message is written in the transaction of its cause, with one delivery for each subscription that
-- matched it; both are only added there, so that no transaction writes a row that another one holds.
CREATE TABLE messages (
    id       INTEGER PRIMARY KEY,   -- begins with the time; shown as msg_…
    account  TEXT NOT NULL,         -- empty where the message is about no account
    type     TEXT NOT NULL,
    order_pk INTEGER NOT NULL,      -- 0 where it is about no order
    cause    TEXT,                  -- id of the event that caused it, if one did
    at       INTEGER NOT NULL,
    data     TEXT NOT NULL,         -- JSON by the schema of its type
    snapshot TEXT                   -- JSON of the order at that moment, where a subscription wants full payloads
);

-- A subscription's queue and the record of what was delivered. `sequence` is the order number where the subscription
-- promises to deliver an order's messages in turn. Only pending rows are in the indexes that the workers read.
CREATE TABLE deliveries (
    subscription TEXT NOT NULL,
    message      INTEGER NOT NULL,
    account      TEXT NOT NULL,
    sequence     INTEGER,
    state        TEXT NOT NULL,     -- pending, delivered, failed
    due_at       INTEGER NOT NULL,
    tries        INTEGER NOT NULL,  -- since it was written or sent anew by hand
    attempts     TEXT NOT NULL,     -- JSON array, the latest last
    PRIMARY KEY (subscription, message)
) WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (subscription, due_at, message) WHERE state = 'pending';
CREATE INDEX deliveries_in_turn ON deliveries (subscription, sequence, message)
    WHERE state = 'pending' AND sequence IS NOT NULL;
CREATE INDEX deliveries_failed ON deliveries (subscription, message) WHERE state = 'failed';
CREATE INDEX deliveries_by_message ON deliveries (message);

-- How a subscription fares: operational memory, which a restart must not forget.
CREATE TABLE subscription_states (
    subscription TEXT PRIMARY KEY,
    state        TEXT NOT NULL
);

-- What subscribers were last told of an order: the reason of its verdict and when time closes its window, as of the last
-- change; and for which closing time and lead `order.closing_soon` was sent.
ALTER TABLE orders ADD COLUMN reason TEXT;
ALTER TABLE orders ADD COLUMN closes_at INTEGER;
ALTER TABLE orders ADD COLUMN closing_notice TEXT;
