-- A changed policy has all open orders of its accounts checked again. Those that are not marked in the transaction of
-- the change are marked in steps: a row says from which order on.
CREATE TABLE pending_rechecks (
    account      TEXT NOT NULL,
    closing_lead INTEGER NOT NULL, -- in microseconds; -1: all open orders are checked at `at`
    at           INTEGER NOT NULL,
    position     INTEGER NOT NULL, -- the number of the last order that is marked
    PRIMARY KEY (account, closing_lead)
) WITHOUT ROWID, STRICT;
