-- What flows of an account keep durably, as refresh tokens that change with each use: one encrypted value.
CREATE TABLE account_secrets (
    account TEXT PRIMARY KEY,
    sealed  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
