-- Nothing to do: one node has a SQLite database for itself.
SELECT 1;
