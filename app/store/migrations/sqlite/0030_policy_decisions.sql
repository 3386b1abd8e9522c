-- An event may have the decisions of several policies: which policies decided by it stands in a table of its own. What
-- the column of events has is moved there, with its index; of these the type of the event is the outcome.
CREATE TABLE policy_decisions (
    policy   TEXT NOT NULL,
    position INTEGER NOT NULL, -- the event's
    outcome  TEXT,
    PRIMARY KEY (policy, position)
) WITHOUT ROWID, STRICT;
INSERT INTO policy_decisions (policy, position)
SELECT policy, seq FROM events INDEXED BY events_by_policy WHERE policy IS NOT NULL ORDER BY policy, seq;
DROP INDEX events_by_policy;
