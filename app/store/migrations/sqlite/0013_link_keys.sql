-- Keys that Rescind makes for itself and keeps, encrypted with the master key: they outlive its rotation.
CREATE TABLE sealed_keys (
    name TEXT PRIMARY KEY,
    key  BLOB NOT NULL
) WITHOUT ROWID;
