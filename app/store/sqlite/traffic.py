"""Writes of the traffic of endpoints, as functions that run on the writing connection's thread, each in a transaction.

All are additions to what is stored: any number of nodes may write about the same endpoint.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from app.store import codec
from app.store.traffic import (
    REFUSALS_KEPT,
    STATE_COLUMNS,
    EndpointCount,
    EndpointRefusal,
    EndpointRun,
    EndpointState,
    count_row,
    read_state,
    refusal_row,
    run_row,
)

_COUNT = """INSERT INTO endpoint_counts VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (account, endpoint, status, cause)
            DO UPDATE SET count = count + excluded.count, last_at = max(last_at, excluded.last_at)"""
_REFUSAL = "INSERT OR IGNORE INTO endpoint_refusals VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_OLD_REFUSALS = f"""DELETE FROM endpoint_refusals WHERE account = ?1 AND endpoint = ?2 AND id <= (
                      SELECT id FROM endpoint_refusals WHERE account = ?1 AND endpoint = ?2
                      ORDER BY id DESC LIMIT 1 OFFSET {REFUSALS_KEPT})"""
# An authentic request ends the run of refusals before it, and the silence.
_STATE = f"""INSERT INTO endpoint_states ({STATE_COLUMNS}) VALUES (?, ?, ?, ?, ?, NULL, NULL)
             ON CONFLICT (account, endpoint) DO UPDATE SET
               refused_run = excluded.refused_run + iif(excluded.authentic_at IS NULL, refused_run, 0),
               refused_since = iif(excluded.authentic_at IS NULL, ifnull(refused_since, excluded.refused_since),
                                   excluded.refused_since),
               failing_at = iif(excluded.authentic_at IS NULL, failing_at, NULL),
               silent_at = iif(excluded.authentic_at IS NULL, silent_at, NULL),
               authentic_at = max(ifnull(authentic_at, excluded.authentic_at),
                                  ifnull(excluded.authentic_at, authentic_at))
             RETURNING {STATE_COLUMNS}"""
_MARK = """INSERT INTO endpoint_states (account, endpoint, refused_run, {column}) VALUES (?, ?, 0, ?)
           ON CONFLICT (account, endpoint) DO UPDATE SET {column} = excluded.{column}"""
_TABLES = ("endpoint_counts", "endpoint_refusals", "endpoint_states")


def add(
    db: sqlite3.Connection,
    counts: Sequence[EndpointCount],
    runs: Sequence[EndpointRun],
    refusals: Sequence[EndpointRefusal],
) -> list[EndpointState]:
    """See `TrafficStore.add_traffic`."""
    db.executemany(_COUNT, list(map(count_row, counts)))
    db.executemany(_REFUSAL, list(map(refusal_row, refusals)))
    db.executemany(_OLD_REFUSALS, list({(row.account, row.endpoint) for row in refusals}))
    states = []
    for run in runs:
        states += [read_state(state) for state in db.execute(_STATE, run_row(run)).fetchall()]
    return states


def delete_refusals(db: sqlite3.Connection, before: int) -> None:
    """Delete the refused requests with smaller ids; an endpoint has a few at most."""
    db.execute("DELETE FROM endpoint_refusals WHERE id < ?", (before,))


def mark(db: sqlite3.Connection, column: str, account: str, endpoint: str, at: datetime) -> None:
    """Set when a notice was recorded; `column` is `failing_at` or `silent_at`."""
    db.execute(_MARK.format(column=column), (account, endpoint, codec.micros(at)))


def remove(db: sqlite3.Connection, endpoints: Iterable[str]) -> None:
    """Forget endpoints that were removed: a later one of the same id is another."""
    for table in _TABLES:
        db.executemany(f"DELETE FROM {table} WHERE endpoint = ?", [(id,) for id in endpoints])
