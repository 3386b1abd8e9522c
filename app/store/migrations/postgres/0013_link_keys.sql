CREATE TABLE @sealed_keys (
    name text COLLATE "C" PRIMARY KEY,
    key  bytea NOT NULL
);
