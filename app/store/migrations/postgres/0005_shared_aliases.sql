CREATE TABLE @shared_aliases (
    account  text COLLATE "C" NOT NULL,
    name     text COLLATE "C" NOT NULL,
    order_pk bigint NOT NULL,
    PRIMARY KEY (account, name, order_pk)
);
CREATE INDEX shared_aliases_by_beginning ON @shared_aliases (lower(name)) WHERE position(':' in name) > 0;
CREATE INDEX shared_aliases_by_end ON @shared_aliases (lower(substr(name, position(':' in name) + 1)));
