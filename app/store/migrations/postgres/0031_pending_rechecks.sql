-- Changes that concern many orders. They are worked off by the node that owns the account's lane, and never written into
-- rows that a commit has not locked.
CREATE TABLE @pending_rechecks (
    account      text COLLATE "C" NOT NULL,
    closing_lead bigint NOT NULL,           -- in microseconds; -1: all open orders are checked at `at`
    fingerprint  bigint NOT NULL,           -- only orders with this one; 0: all
    at           bigint NOT NULL,
    position     bigint NOT NULL,           -- the number of the last order that is marked
    PRIMARY KEY (account, closing_lead, fingerprint)
);
