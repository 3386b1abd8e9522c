-- References that several orders may carry: an order is found by one, and no two become one by it. Names that lead to
-- one order stand in `names`.
CREATE TABLE shared_aliases (
    account  TEXT NOT NULL,
    name     TEXT NOT NULL,
    order_pk INTEGER NOT NULL,
    PRIMARY KEY (account, name, order_pk)
) WITHOUT ROWID;
