"""The search index: a second file beside the database, which follows the log and can be rebuilt from it at any time."""

from __future__ import annotations

from app.store.sqlite.index.file import IndexFile, index_path, remove_index

__all__ = ["IndexFile", "index_path", "remove_index"]
