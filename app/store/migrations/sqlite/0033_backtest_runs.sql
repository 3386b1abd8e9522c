-- Backtests that are queued or under way, or ended without a report. Those that are done are in `backtests`.
CREATE TABLE backtest_runs (
    id         INTEGER PRIMARY KEY,
    policy     TEXT NOT NULL,
    since      INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    by         TEXT NOT NULL,
    state      TEXT NOT NULL,    -- queued, running, failed, canceled
    done       INTEGER NOT NULL, -- orders that were simulated
    orders     INTEGER NOT NULL, -- orders in all
    failure    TEXT NOT NULL,
    updated_at INTEGER NOT NULL  -- by the server that runs it; if that is long ago, it has died
) STRICT;
