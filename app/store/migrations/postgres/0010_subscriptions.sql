CREATE TABLE @messages (
    account     text COLLATE "C" NOT NULL,  -- empty where the message is about no account
    id          bigint NOT NULL,            -- begins with the time; shown as msg_...
    type        text COLLATE "C" NOT NULL,
    order_pk    bigint NOT NULL,            -- 0 where it is about no order
    cause       text COLLATE "C",           -- id of the event that caused it, if one did
    at          bigint NOT NULL,
    data        text COLLATE "C" NOT NULL,  -- JSON by the schema of its type
    snapshot    text COLLATE "C",           -- JSON of the order at that moment, where a subscription wants full payloads
    expunged_at bigint,
    PRIMARY KEY (account, id)
);
CREATE INDEX messages_by_id ON @messages (id);

CREATE TABLE @deliveries (
    subscription text COLLATE "C" NOT NULL,
    message      bigint NOT NULL,
    account      text COLLATE "C" NOT NULL,
    type         text COLLATE "C" NOT NULL,
    sequence     bigint,
    state        text COLLATE "C" NOT NULL, -- pending, delivered, failed
    due_at       bigint NOT NULL,
    tries        bigint NOT NULL,           -- since it was written or sent anew by hand
    attempts     text COLLATE "C" NOT NULL, -- JSON array, the latest last
    PRIMARY KEY (subscription, message, account)
);
CREATE INDEX deliveries_due ON @deliveries (subscription, due_at, message) WHERE state = 'pending';
CREATE INDEX deliveries_in_turn ON @deliveries (subscription, sequence, message)
    WHERE state = 'pending' AND sequence IS NOT NULL;
CREATE INDEX deliveries_failed ON @deliveries (subscription, message) WHERE state = 'failed';
CREATE INDEX deliveries_by_message ON @deliveries (message);

CREATE TABLE @subscription_states (
    subscription text COLLATE "C" PRIMARY KEY,
    purge_until  bigint,                    -- in `state`, too
    state        text COLLATE "C" NOT NULL
);
