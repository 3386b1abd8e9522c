CREATE INDEX orders_by_verdict ON @orders (cancelable, phase, coalesce(reason, ''), pk);
CREATE INDEX orders_by_opening ON @orders (opened_at, account, pk) WHERE opened_at IS NOT NULL;
