"""What an error of SQLite's means: did one submission cause it, or is the store as a whole out of order?"""

from __future__ import annotations

import sqlite3

from app.store import StoreConflict, StoreError, StoreUnavailable

_DATA = frozenset(
    {
        sqlite3.SQLITE_ERROR,  # a statement that does not fit: bisecting ends quickly, as nothing is waited for
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_RANGE,
    }
)
_PRIMARY = 0xFF
"""An extended result code holds the primary one in its lowest byte."""


def fault_of(error: sqlite3.Error) -> StoreError:
    """The error of the protocol: `StoreConflict` for data, `StoreUnavailable` for whatever else (locked, full, I/O)."""
    code = getattr(error, "sqlite_errorcode", None)
    # Without a code it is the module's own complaint: about a value it cannot bind, or a connection that is closed.
    whole = "closed" in str(error) if code is None else code & _PRIMARY not in _DATA
    return (StoreUnavailable if whole else StoreConflict)(f"SQLite: {error}")
