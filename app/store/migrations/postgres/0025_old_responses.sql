CREATE INDEX answers_by_time ON @answers (created_at);
