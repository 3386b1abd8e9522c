"""Writes of retention and erasure: what is expunged leaves the files, not only the rows.

The writing connection overwrites what it deletes (`secure_delete`), so no copy stays in a free page. Copies in the
write-ahead log end when it is truncated (`truncate_log`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from datetime import timedelta

from app.runtime import ids
from app.store import codec
from app.store.compression import deflate, inflate
from app.store.records import ErasedEvent, Expunged
from app.store.sqlite.statements import Statement, marks, parts

OUT_OF_TURN = timedelta(hours=1)
"""So much later a receipt may be stored than another one whose id is greater."""
REPACKED = 200
"""Receipts that one transaction packs anew."""
_DICTIONARY = "(SELECT content FROM receipt_dictionaries AS used WHERE used.id = receipts.dictionary)"
_EXPUNGE = f"""UPDATE receipts SET digest = receipt_digest(body, dictionary, {_DICTIONARY}), expunged_at = ?,
    size = coalesce(size, length(body)), query = '[]', headers = '[]', body = x'', dictionary = NULL
    WHERE expunged_at IS NULL AND id IN """
_RETIRE = """UPDATE receipt_dictionaries SET retired = 1, last_use = coalesce(last_use, (SELECT max(id) FROM receipts))
    WHERE NOT retired AND EXISTS (SELECT 1 FROM json_each(sources) WHERE value IN ({}))"""
_RETIRED = """SELECT id, account, content, coalesce(last_use, (SELECT max(id) FROM receipts))
    FROM receipt_dictionaries WHERE retired ORDER BY id LIMIT 1"""
_USERS = "SELECT id, body FROM receipts WHERE account = ? AND id BETWEEN ? AND ? AND dictionary = ? LIMIT ?"
_ERASURE = """INSERT INTO erasures (position, number, event, leaf) VALUES
    (?1, (SELECT coalesce(max(number), 0) + 1 FROM erasures WHERE position = ?1), ?2, ?3)"""


def erased_statements(erased: Iterable[ErasedEvent]) -> Iterator[Statement]:
    """Replace the content of events, and keep their former leaves."""
    for event in erased:
        yield _ERASURE, (event.position, event.by, event.before)
        yield "UPDATE events SET body = ? WHERE seq = ?", (event.body, event.position)


def expunged_statements(expunged: Expunged) -> Iterator[Statement]:
    """Expunge what is beside the log."""
    at = codec.micros(expunged.at)
    for receipts in parts(expunged.receipts):
        if expunged.retire:
            yield _RETIRE.format(marks(receipts)), tuple(receipts)
        yield f"{_EXPUNGE} ({marks(receipts)})", (at, *receipts)
    for orders in parts(expunged.orders):
        yield f"{_ATTEMPTS} order_pk IN ({marks(orders)})", tuple(orders)
    for attempts in parts(expunged.attempts):
        yield f"{_ATTEMPTS} id IN ({marks(attempts)})", tuple(attempts)
    for messages in parts(expunged.messages):
        those = f"message IN ({marks(messages)})"
        yield f"DELETE FROM deliveries WHERE {those} AND state <> 'pending'", tuple(messages)
        none_left = "NOT EXISTS (SELECT 1 FROM deliveries WHERE message = messages.id)"
        yield f"DELETE FROM messages WHERE id IN ({marks(messages)}) AND {none_left}", tuple(messages)
        sql = "UPDATE messages SET snapshot = NULL, data = without_text(data)"
        yield f"{sql} WHERE id IN ({marks(messages)})", tuple(messages)
    for what, position in expunged.positions:
        yield "INSERT OR REPLACE INTO retention (what, position) VALUES (?, ?)", (what, position)


_ATTEMPTS = "UPDATE attempts SET exchanges = '[]', detail = '' WHERE ended_at IS NOT NULL AND"


def end_uses(db: sqlite3.Connection) -> None:
    """The dictionaries of an earlier process are used no more."""
    db.execute("UPDATE receipt_dictionaries SET last_use = (SELECT max(id) FROM receipts) WHERE last_use IS NULL")


def retire_before(db: sqlite3.Connection, id: int) -> None:
    """Retire the dictionaries that are made of receipts before `id`."""
    sql = """UPDATE receipt_dictionaries SET retired = 1,
             last_use = coalesce(last_use, (SELECT max(id) FROM receipts))
             WHERE NOT retired AND json_extract(sources, '$[0]') < ?"""
    db.execute(sql, (id,))


def repack(db: sqlite3.Connection) -> bool:
    """Pack some receipts without their retired dictionary; delete one that none uses. True if more wait."""
    row = db.execute(_RETIRED).fetchone()
    if row is None:
        return False
    dictionary, account, content, last_use = row
    first = ids.at(round((ids.drawn_at(dictionary) - OUT_OF_TURN).timestamp() * 1000))
    packed = db.execute(_USERS, (account, first, last_use, dictionary, REPACKED)).fetchall()
    rows = [(deflate(inflate(old, content)), id) for id, old in packed]
    db.executemany("UPDATE receipts SET body = ?, dictionary = 0 WHERE id = ?", rows)
    if len(rows) < REPACKED:
        db.execute("DELETE FROM receipt_dictionaries WHERE id = ?", (dictionary,))
    return True
