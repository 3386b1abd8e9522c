CREATE INDEX jobs_sending ON @jobs (due_at) WHERE sending = 1;
CREATE INDEX attempts_by_uptime ON @attempts (account, boot, ended_up) WHERE boot IS NOT NULL;
