CREATE INDEX orders_by_quiet_hour ON @orders (account, quiet_hour) WHERE phase NOT IN ('completed', 'canceled');
CREATE INDEX orders_by_next_check ON @orders (next_check_at) WHERE next_check_at IS NOT NULL;
