-- Two partial indexes, and no index of the expression `failures > 0`: its negation becomes `failures <= 0`, which that one
-- would not serve.
CREATE INDEX jobs_by_urgency ON @jobs (account, urgent_by, due_at) WHERE failures = 0;
CREATE INDEX jobs_failed_by_urgency ON @jobs (account, urgent_by, due_at) WHERE failures > 0;

CREATE TABLE @lanes (
    account text COLLATE "C" PRIMARY KEY,
    state   text COLLATE "C" NOT NULL
);
