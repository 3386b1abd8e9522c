CREATE TABLE @endpoint_counts (
    account  text COLLATE "C" NOT NULL,
    endpoint text COLLATE "C" NOT NULL,
    status   text COLLATE "C" NOT NULL,     -- accepted, duplicate, ignored, quarantined, refused, retired_secret
    cause    text COLLATE "C" NOT NULL,
    count    bigint NOT NULL,
    last_at  bigint NOT NULL,
    PRIMARY KEY (account, endpoint, status, cause)
);

CREATE TABLE @endpoint_refusals (
    account  text COLLATE "C" NOT NULL,
    endpoint text COLLATE "C" NOT NULL,
    id       bigint NOT NULL,               -- begins with the time
    at       bigint NOT NULL,
    cause    text COLLATE "C" NOT NULL,
    detail   text COLLATE "C" NOT NULL,
    headers  text COLLATE "C" NOT NULL,     -- JSON array of the names
    address  text COLLATE "C" NOT NULL,
    PRIMARY KEY (account, endpoint, id)
);

CREATE TABLE @endpoint_states (
    account       text COLLATE "C" NOT NULL,
    endpoint      text COLLATE "C" NOT NULL,
    authentic_at  bigint,                   -- the last authentic request
    refused_run   bigint NOT NULL,          -- refused requests since then
    refused_since bigint,                   -- the first of them
    failing_at    bigint,                   -- when endpoint.failing was recorded for this run
    silent_at     bigint,                   -- when endpoint.silent was recorded for this silence
    PRIMARY KEY (account, endpoint)
);
