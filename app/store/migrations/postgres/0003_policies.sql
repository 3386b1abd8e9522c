CREATE INDEX orders_by_fingerprint ON @orders (account, fingerprint, pk) WHERE fingerprint IS NOT NULL;
CREATE INDEX cancellations_by_policy ON @cancellations (policy, requested_at) WHERE policy IS NOT NULL;
CREATE INDEX cancellations_by_batch ON @cancellations (batch, seq) WHERE batch IS NOT NULL;

CREATE TABLE @backtests (
    id             bigint PRIMARY KEY,
    policy         text COLLATE "C" NOT NULL,
    condition_hash text COLLATE "C" NOT NULL,
    at             bigint NOT NULL,
    by             text COLLATE "C" NOT NULL,
    events         bigint NOT NULL,     -- how many it was tested on; in `report`, too
    report         text COLLATE "C" NOT NULL
);
CREATE INDEX backtests_by_policy ON @backtests (policy);
