-- When a message that still waits was expunged: what its receiver responds is not kept from then on.
ALTER TABLE messages ADD COLUMN expunged_at INTEGER;
