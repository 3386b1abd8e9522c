-- A policy's decisions are listed, and looked at for failures in a row: the policy that an event is about is a column.
ALTER TABLE events ADD COLUMN policy TEXT;
UPDATE events SET policy = json_extract(body, '$.data.policy') WHERE type > 'policy.' AND type < 'policy/';
CREATE INDEX events_by_policy ON events (policy, seq) WHERE policy IS NOT NULL;
