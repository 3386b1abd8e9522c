CREATE TABLE @console_sessions (
    id         bytea PRIMARY KEY,
    key_id     text COLLATE "C" NOT NULL,
    started_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX console_sessions_by_key ON @console_sessions (key_id, started_at);
CREATE INDEX console_sessions_by_expiry ON @console_sessions (expires_at);
