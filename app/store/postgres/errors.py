"""What errors of PostgreSQL, and of the way to it, mean."""

from __future__ import annotations

import asyncpg

from app.store.protocol import StoreConflict, StoreContention, StoreError, StoreInterrupted, StoreUnavailable

ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError, EOFError)
"""Everything that a statement may raise for the database's sake."""
_CONTENTION = frozenset({"40001", "40P01", "55P03", "25P03", "25P04"})
"""Serialization failure, deadlock, lock not available in time, the transaction was idle or open for too long."""
_QUERY_CANCELED = "57014"
_DATA = ("22", "23", "42", "0A", "54")
"""Classes of the faults of one statement: data, integrity, syntax, not supported, limits."""
READ_ONLY = "25006"
READ_ONLY_SERVER = (
    "the server is a standby, or read-only: promote it, or set RESCIND_DATABASE_URL (and RESCIND_DATABASE_DIRECT_URL, "
    "if it is set) to the primary"
)


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of an error; "" if it does not come from the server."""
    return str(getattr(error, "sqlstate", None) or "")


def is_lost(error: BaseException) -> bool:
    """Whether the connection is of no use any more: it broke, the server ends it, or the server cannot write."""
    state = sqlstate(error)
    return not state or state.startswith(("08", "57P", "53")) or state == READ_ONLY


def fault_of(error: BaseException) -> StoreError:
    """The error of the protocol for one of `ERRORS`, of a statement of which nothing is stored."""
    state, text = sqlstate(error), str(error) or type(error).__name__
    if state == _QUERY_CANCELED:
        return StoreInterrupted("the query took too long, and was interrupted")
    if state in _CONTENTION:
        return StoreContention(f"PostgreSQL: {text} ({state})")
    if state.startswith(_DATA) or isinstance(error, asyncpg.DataError):
        return StoreConflict(f"PostgreSQL: {text} ({state})")
    if state == READ_ONLY:
        text = READ_ONLY_SERVER
    return StoreUnavailable(f"PostgreSQL: {text}" + (f" ({state})" if state else ""))


def fault_in_transaction(error: BaseException) -> StoreError:
    """The same for a transaction that was not committed: after a lost connection it may be tried again at once."""
    fault = fault_of(error)
    if isinstance(fault, StoreUnavailable) and is_lost(error) and not sqlstate(error).startswith("53"):
        return StoreContention(str(fault))
    return fault
