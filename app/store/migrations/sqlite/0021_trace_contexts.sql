-- What a commit leaves for later (a cancellation, a message) continues the trace of its cause. Written only while tracing
-- is on, and deleted after a month.
CREATE TABLE trace_contexts (
    id          TEXT PRIMARY KEY,  -- can_… or msg_…, which begin with the time
    traceparent TEXT NOT NULL      -- as W3C Trace Context says it
) WITHOUT ROWID;
