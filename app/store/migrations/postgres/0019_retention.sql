CREATE TABLE @retention (
    what     text COLLATE "C" PRIMARY KEY,  -- events, receipts, attempts
    position bigint NOT NULL
);
