CREATE INDEX deliveries_by_type ON @deliveries (subscription, type, state, message);
CREATE INDEX deliveries_of_account ON @deliveries (subscription, account, message);
