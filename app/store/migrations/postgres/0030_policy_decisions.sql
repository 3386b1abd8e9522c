CREATE TABLE @policy_decisions (
    policy   text COLLATE "C" NOT NULL,
    position bigint NOT NULL,               -- the event's
    account  text COLLATE "C" NOT NULL,
    outcome  text COLLATE "C",
    PRIMARY KEY (policy, position, account)
);
CREATE INDEX policy_decisions_by_position ON @policy_decisions (position);
