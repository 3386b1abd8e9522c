CREATE INDEX cancellations_of_account ON @cancellations (account, state, seq);
CREATE INDEX cancellations_of_policy ON @cancellations (policy, seq) WHERE policy IS NOT NULL;
