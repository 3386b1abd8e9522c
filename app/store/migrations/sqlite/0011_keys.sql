-- What an API key is restricted to, when it ends, and whether it is still in use. A key that was rotated stays valid
-- until it expires; its successor names the first key of the line, by which repeated requests are recognized.
ALTER TABLE api_keys ADD COLUMN accounts TEXT;        -- JSON array; NULL: all accounts
ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER; -- written every minute
ALTER TABLE api_keys ADD COLUMN rotated_from TEXT;
