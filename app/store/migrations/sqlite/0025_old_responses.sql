-- Stored responses to requests with an Idempotency-Key are deleted some days later, the oldest first.
CREATE INDEX answers_by_time ON answers (created_at);
