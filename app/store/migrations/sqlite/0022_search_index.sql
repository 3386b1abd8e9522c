-- Events are listed by the search index, a file beside the database (app/store/sqlite/index).
DROP INDEX events_by_type;
