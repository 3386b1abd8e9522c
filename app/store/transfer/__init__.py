"""Everything of a SQLite database into a schema on PostgreSQL: copied table by table, and compared."""
