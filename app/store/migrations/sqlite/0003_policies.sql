-- Policies. What time alone brings about for an order is more than a changed verdict: a policy may be due.
ALTER TABLE orders RENAME COLUMN changes_at TO wakes_at;
DROP INDEX orders_by_change;
CREATE INDEX orders_by_wake ON orders (wakes_at) WHERE wakes_at IS NOT NULL;

-- What makes two orders the same to their provider, where a policy asks for it.
ALTER TABLE orders ADD COLUMN fingerprint INTEGER;
CREATE INDEX orders_by_fingerprint ON orders (account, fingerprint) WHERE fingerprint IS NOT NULL;

-- A policy's limits count the cancellations that it made; a batch is followed by those that it brought.
ALTER TABLE cancellations ADD COLUMN policy TEXT;
ALTER TABLE cancellations ADD COLUMN requested_at INTEGER;
ALTER TABLE cancellations ADD COLUMN batch TEXT;
CREATE INDEX cancellations_by_policy ON cancellations (policy, requested_at) WHERE policy IS NOT NULL;
CREATE INDEX cancellations_by_batch ON cancellations (batch) WHERE batch IS NOT NULL;

-- Pausing policies holds back what they want sent. The most urgent job is found without looking at the others: a
-- cancel, or a probe about one that was lost, by when it must be done.
ALTER TABLE jobs ADD COLUMN policy TEXT;
ALTER TABLE jobs ADD COLUMN urgent_by INTEGER;
UPDATE jobs SET urgent_by = deadline;
CREATE INDEX jobs_by_urgency ON jobs (account, urgent_by IS NULL, urgent_by, due_at);

-- Backtests that came to their end; whoever saves a policy that cancels for real has seen one, or a shadow.
CREATE TABLE backtests (
    id        INTEGER PRIMARY KEY,
    policy    TEXT NOT NULL,
    substance TEXT NOT NULL,
    at        INTEGER NOT NULL,
    by        TEXT NOT NULL,
    report    TEXT NOT NULL
);
CREATE INDEX backtests_by_policy ON backtests (policy);
