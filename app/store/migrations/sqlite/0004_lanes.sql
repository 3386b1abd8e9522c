-- Jobs of orders that failed stand behind those that did not, and are found beside them.
ALTER TABLE jobs ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET failures = coalesce(
    CASE WHEN cancellation IS NULL
        THEN (SELECT json_extract(state, '$.doubt.failures') FROM orders WHERE pk = jobs.order_pk)
        ELSE (SELECT coalesce(json_extract(body, '$.failures'), 0) + coalesce(json_extract(body, '$.lost'), 0)
              FROM cancellations WHERE id = jobs.cancellation AND state <> 'accepted')
    END, 0);
DROP INDEX jobs_by_urgency;
CREATE INDEX jobs_by_urgency ON jobs (account, (failures > 0), urgent_by IS NULL, urgent_by, due_at);

-- What a lane has learned of its provider: operational memory, which a restart must not forget.
CREATE TABLE lanes (
    account TEXT PRIMARY KEY,
    state   TEXT NOT NULL
);
