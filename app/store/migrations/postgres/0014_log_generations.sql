CREATE TABLE @log_generations (
    number         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             text COLLATE "C" NOT NULL UNIQUE, -- random: two restores of one backup are two generations
    began_at       bigint NOT NULL,
    began_after    bigint NOT NULL,     -- the last event that it has in common with the generation before
    pruned_through bigint NOT NULL      -- events up to this one may be missing
);
INSERT INTO @log_generations (id, began_at, began_after, pruned_through)
    VALUES (left(replace(gen_random_uuid()::text, '-', ''), 16), extract(epoch FROM now())::bigint * 1000000, 0, 0);
