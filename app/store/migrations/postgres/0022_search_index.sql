-- Nothing to do: it is so from 0001 on, or PostgreSQL does not need it.
SELECT 1;
