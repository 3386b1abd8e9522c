-- Cursors of those who follow the log hold for one generation of it: after a restore, other events follow at the same
-- positions. The latest row is the present generation.
CREATE TABLE log_generations (
    number         INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE, -- random: two restores of one backup are two generations
    began_at       INTEGER NOT NULL,
    began_after    INTEGER NOT NULL,     -- the last event that it has in common with the generation before
    pruned_through INTEGER NOT NULL      -- events up to this one may be missing
);
INSERT INTO log_generations (id, began_at, began_after, pruned_through)
    VALUES (lower(hex(randomblob(8))), strftime('%s', 'now') * 1000000, 0, 0);
