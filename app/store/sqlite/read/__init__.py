"""Queries by subject; `app.store.sqlite.reader` puts them together."""
