-- Deliveries by the type of their message and by state, and by account, the newest first. The type is that of the
-- message: it stands here to be in an index.
ALTER TABLE deliveries ADD COLUMN type TEXT NOT NULL DEFAULT '';
UPDATE deliveries SET type = messages.type FROM messages WHERE messages.id = deliveries.message;
CREATE INDEX deliveries_by_type ON deliveries (subscription, type, state, message);
CREATE INDEX deliveries_of_account ON deliveries (subscription, account, message);
