-- Calls that are out, by when their lease runs out: an attempt that died is found while others work.
CREATE INDEX jobs_sending ON jobs (due_at) WHERE sending;

-- The time of day may be set, also between two processes. How long the machine had been up when an attempt ended is not:
-- `boot` says since which start of which machine, `ended_up` is in microseconds.
ALTER TABLE attempts ADD COLUMN boot INTEGER;
ALTER TABLE attempts ADD COLUMN ended_up INTEGER;
CREATE INDEX attempts_by_uptime ON attempts (account, boot, ended_up) WHERE boot IS NOT NULL;
