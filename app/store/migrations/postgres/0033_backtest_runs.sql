-- Backtests that are queued or under way, or ended without a report. Those that are done are in `backtests`.
CREATE TABLE @backtest_runs (
    id         bigint PRIMARY KEY,
    policy     text COLLATE "C" NOT NULL,
    since      bigint NOT NULL,
    until      bigint NOT NULL,
    by         text COLLATE "C" NOT NULL,
    state      text COLLATE "C" NOT NULL,   -- queued, running, failed, canceled
    done       bigint NOT NULL,             -- orders that were simulated
    orders     bigint NOT NULL,             -- orders in all
    failure    text COLLATE "C" NOT NULL,
    updated_at bigint NOT NULL              -- by the server that runs it; if that is long ago, it has died
);
