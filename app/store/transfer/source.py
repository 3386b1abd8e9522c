"""The rows of a SQLite database that no server has open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.store.sqlite.files import hold
from app.store.sqlite.functions import add_functions
from app.store.transfer.tables import NUL, SHOWN_NUL, TABLES, Row, Table

PAGE_ROWS, PAGE_BYTES = 5_000, 8 << 20
"""What is in memory at once: the first that is reached, and a few rows more."""
_FETCHED = 64


@dataclass(slots=True)
class Page:
    """Some rows of a table, as they are to be stored."""

    rows: list[Row] = field(default_factory=list)
    after: Row = ()
    """The key of the last one."""
    replaced: int = 0
    """Texts in which NUL was replaced."""


class Source:
    """One SQLite database. Its methods are for one thread at a time, whichever it is."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self.path = db, path

    @property
    def schema(self) -> int:
        """The number of its schema."""
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def identity(self) -> str:
        """The log's generation: no other database has it."""
        row = self._db.execute("SELECT id FROM log_generations ORDER BY number DESC LIMIT 1").fetchone()
        return "" if row is None else str(row[0])

    def counts(self) -> dict[str, int]:
        """Table → number of its rows."""
        counted = ((table.name, self._db.execute(f"SELECT count(*) FROM {table.name}")) for table in TABLES)
        return {name: int(cursor.fetchone()[0]) for name, cursor in counted}

    def earliest(self) -> dict[str, int]:
        """The smallest number by which each partitioned table is cut into months; 0 where it is empty."""
        cuts = {"events": "order_pk", "receipts": "id", "attempts": "id"}
        sql = "SELECT coalesce(min({0}), 0) FROM {1}"
        # Orders are those of the events, and have an index by their number.
        where = {"events": ("pk", "orders")}
        return {
            table: int(self._db.execute(sql.format(*where.get(table, (column, table)))).fetchone()[0])
            for table, column in cuts.items()
        }

    def last_numbers(self) -> dict[str, int]:
        """Table → the last number that was drawn for it, also if its row is gone."""
        return {
            table.name: int(
                self._db.execute(
                    f"""SELECT max(coalesce((SELECT max({table.sequence}) FROM {table.name}), 0),
                    coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0))""",
                    (table.name,),
                ).fetchone()[0]
            )
            for table in TABLES
            if table.sequence
        }

    def pages(self, table: Table, after: Row = ()) -> Iterator[Page]:
        """The rows behind the key `after`, in its order."""
        where, marks = "", ", ".join("?" * len(table.key))
        if after:
            where = f" WHERE ({table.key_columns}) > ({marks})"
        cursor = self._db.execute(f"{table.select}{where} ORDER BY {table.key_columns}", after)
        page, size, width = Page(), 0, len(table.key)
        while fetched := cursor.fetchmany(_FETCHED):
            for values in fetched:
                row, replaced = storable(table.convert(values[width:]))
                page.rows.append(row)
                page.replaced += replaced
                size += sum(len(value) for value in row if isinstance(value, str | bytes))
            page.after = tuple(fetched[-1][:width])
            if len(page.rows) >= PAGE_ROWS or size >= PAGE_BYTES:
                yield page
                page, size = Page(), 0
        if page.rows:
            yield page


def storable(row: Row) -> tuple[Row, int]:
    """(the row without NUL in its texts, how many texts that changed)."""
    replaced = sum(isinstance(value, str) and NUL in value for value in row)
    if not replaced:
        return row, 0
    return tuple(value.replace(NUL, SHOWN_NUL) if isinstance(value, str) else value for value in row), replaced


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The database, opened read-only; while it is open no server can use it.

    Raises `DatabaseInUseError` if one does.
    """
    path = path.resolve()
    with closing(hold(path)):
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
        with closing(db):
            db.text_factory = _text
            add_functions(db)
            yield Source(db, path)


def _text(value: bytes) -> Any:
    return value.decode("utf-8", "replace")
