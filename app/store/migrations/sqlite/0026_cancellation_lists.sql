-- Cancellations of an account by state, and of a policy, the newest first.
CREATE INDEX cancellations_of_account ON cancellations (account, state);
CREATE INDEX cancellations_of_policy ON cancellations (policy) WHERE policy IS NOT NULL;
