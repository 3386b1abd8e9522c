"""Words of erased values leave the index: the parts that have them are filled anew, and the former tables emptied.

It is done in short pieces, as functions on the writing connection's thread, each in a transaction. A pass goes through
all parts, from the newest on, and fills those anew of which events were erased since they were filled; an erasure
during a pass leads to another one. At the end the write-ahead log is truncated. What is deleted is overwritten
(`secure_delete`). How far it is stands in the index: it goes on there after a crash.
"""

from __future__ import annotations

import sqlite3
from time import perf_counter

from app.core.event_types import ORDER_ERASED, RETENTION_PRUNED
from app.store.sqlite.index import filling
from app.store.sqlite.index.schema import bounds

NOTICED_MAX = 5000
"""Events that are looked through at once for those about erasures."""
CHECK_S = 0.01
"""Time in which parts are compared with the log's erasures, at least one."""
EMPTIED = 500
"""Rows of a former table that are deleted at once, each about 4 KB."""
_NOTICE = f"""SELECT max(seq), max(type IN ('{ORDER_ERASED}', '{RETENTION_PRUNED}')) FROM (
    SELECT seq, type FROM log.events WHERE seq > (SELECT noticed_to FROM state) ORDER BY seq LIMIT {NOTICED_MAX})"""


def notice(db: sqlite3.Connection) -> None:
    """Look for events about erasures, also where the log is not indexed yet."""
    last, erasing = db.execute(_NOTICE).fetchone()
    if last is not None:
        sql = "UPDATE state SET noticed_to = ?, again = again OR ?2, unclean = unclean OR ?2"
        db.execute(sql, (last, erasing))


def expunge(db: sqlite3.Connection, rows: int) -> tuple[bool, int]:
    """(whether there was something to do in a transaction, how many events were indexed anew, at most `rows`)."""
    row = db.execute("SELECT part, words, filled_to, erased FROM refilling").fetchone()
    if row is not None:
        return True, _refill(db, row, rows)
    row = db.execute("SELECT words FROM former LIMIT 1").fetchone()
    if row is not None:
        _empty(db, row[0])
        return True, 0
    checking, again = db.execute("SELECT checking, again FROM state").fetchone()
    if checking is not None:
        _check(db, checking)
    elif again:
        db.execute("UPDATE state SET checking = (SELECT max(id) FROM parts), again = 0")
    return checking is not None or bool(again), 0


def is_unclean(db: sqlite3.Connection) -> bool:
    """Whether words that must go may still be in the files."""
    return bool(db.execute("SELECT unclean FROM state").fetchone()[0])


def finish(db: sqlite3.Connection) -> bool:
    """At the end of all passes: empty the write-ahead log, outside of a transaction; False if somebody still reads."""
    (busy, *_) = db.execute("PRAGMA main.wal_checkpoint(TRUNCATE)").fetchone()
    if not busy:
        db.execute("UPDATE state SET unclean = 0")
    return not busy


def _check(db: sqlite3.Connection, part: int | None) -> None:
    """Compare parts with the log's erasures, downwards from `part`, and begin to fill the first anew that differs."""
    ends_at = perf_counter() + CHECK_S
    while part is not None:
        row = db.execute("SELECT words, erased FROM parts WHERE id = ?", (part,)).fetchone()
        (following,) = db.execute("SELECT max(id) FROM parts WHERE id < ?", (part,)).fetchone()
        if row is not None and (erased := filling.erasures(db, part)) != row[1]:
            former = row[0]
            number = int(former.rpartition("x")[2]) + 1 if "x" in former else 1
            table = f"words_{part}x{number}"
            filling.create(db, table)
            db.execute("INSERT INTO refilling VALUES (?, ?, ?, ?)", (part, table, bounds(part)[0] - 1, erased))
            db.execute("UPDATE state SET checking = ?", (following,))
            return
        part = following
        if perf_counter() > ends_at:
            break
    db.execute("UPDATE state SET checking = ?", (part,))


def _refill(db: sqlite3.Connection, row: tuple[int, str, int, int], rows: int) -> int:
    """Fill more of the new table of a part, and at its end take it instead of the former."""
    part, table, low, erased = row
    high = min(bounds(part)[1], db.execute("SELECT filled_to FROM state").fetchone()[0])
    if low < high:
        events, reached = filling.refill(db, table, low, high, rows)
        db.execute("UPDATE refilling SET filled_to = ?", (reached,))
        return events
    db.execute("INSERT INTO former SELECT words FROM parts WHERE id = ?", (part,))
    db.execute("UPDATE parts SET words = ?, erased = ?, merged = 0 WHERE id = ?", (table, erased, part))
    db.execute("DELETE FROM refilling")
    return 0


def _empty(db: sqlite3.Connection, table: str) -> None:
    """Delete more of a former table. As a whole it would take as long as it is large."""
    data = f"{table}_data"
    if db.execute(f"DELETE FROM {data} WHERE id IN (SELECT id FROM {data} LIMIT ?)", (EMPTIED,)).rowcount < EMPTIED:
        db.execute(f"DROP TABLE {table}")
        db.execute("DELETE FROM former WHERE words = ?", (table,))
