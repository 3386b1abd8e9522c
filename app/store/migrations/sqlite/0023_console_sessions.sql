-- Sessions of the console that have begun and not ended: whoever signs out removes the row, and the cookie is worthless.
CREATE TABLE console_sessions (
    id         BLOB PRIMARY KEY,
    key_id     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX console_sessions_by_key ON console_sessions (key_id, started_at);
CREATE INDEX console_sessions_by_expiry ON console_sessions (expires_at);
