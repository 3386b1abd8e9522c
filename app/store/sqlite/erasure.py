"""Writes of retention and erasure: what is expunged leaves the files, not only the rows.

The writing connection overwrites what it deletes (`secure_delete`), so no copy stays in a free page. Copies in the
write-ahead log end when it is truncated (`truncate_log`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from app.runtime import ids
from app.store import codec
from app.store.compression import DamagedReceiptError, deflate, inflate
from app.store.records import ErasedEvent, Expunged
from app.store.sqlite.connection import Connections
from app.store.sqlite.statements import Statement, marks, parts
from app.store.use import Use

Write = Callable[[Callable[[sqlite3.Connection], None]], Awaitable[None]]
"""Runs work in a transaction of its own."""
OUT_OF_TURN = timedelta(hours=1)
"""How much later a receipt may be stored than another one whose id is greater."""
REPACK_READ, REPACKED = 2000, 100
"""Receipts that are looked at, and packed anew, at once."""
_DICTIONARY = "(SELECT content FROM receipt_dictionaries AS used WHERE used.id = receipts.dictionary)"
_EXPUNGE = f"""UPDATE receipts SET digest = receipt_digest(body, dictionary, {_DICTIONARY}), expunged_at = ?,
    size = coalesce(size, length(body)), query = '[]', headers = '[]', body = x'', dictionary = NULL
    WHERE expunged_at IS NULL AND id IN """
_RETIRE = """UPDATE receipt_dictionaries SET retired = 1, last_use = coalesce(last_use, (SELECT max(id) FROM receipts))
    WHERE NOT retired AND EXISTS (SELECT 1 FROM json_each(sources) WHERE value IN ({}))"""
_RETIRED = """SELECT id, account, content, coalesce(last_use, (SELECT max(id) FROM receipts))
    FROM receipt_dictionaries WHERE retired ORDER BY id LIMIT 1"""
_USERS = """SELECT id, iif(dictionary = ?, body, NULL) FROM receipts WHERE account = ? AND id > ? AND id <= ?
    ORDER BY id LIMIT ?"""
_REPLACE = "UPDATE receipts SET body = ?, dictionary = 0 WHERE id = ? AND dictionary = ?"
_ERASURE = """INSERT INTO erasures (position, number, event, leaf) VALUES
    (?1, (SELECT coalesce(max(number), 0) + 1 FROM erasures WHERE position = ?1), ?2, ?3)"""


def erased_statements(erased: Iterable[ErasedEvent], pack: codec.PackRow) -> Iterator[Statement]:
    """Replace the content of events, and keep their former leaves."""
    events = tuple(erased)
    for event in events:
        yield _ERASURE, (event.position, event.by, event.before)
    for event in events:
        packed = pack(event.account, event.order, event.body.encode())
        yield "UPDATE events SET body = ?, dictionary = ? WHERE seq = ?", (*packed, event.position)


def expunged_statements(expunged: Expunged) -> Iterator[Statement]:
    """Expunge what is beside the log."""
    at = codec.micros(expunged.at)
    for receipts in parts(expunged.receipts):
        if expunged.retire:
            yield _RETIRE.format(marks(receipts)), tuple(receipts)
        yield f"{_EXPUNGE} ({marks(receipts)})", (at, *receipts)
    for orders in parts(expunged.orders):
        yield f"{_ATTEMPTS} order_pk IN ({marks(orders)})", tuple(orders)
        yield _RESPONSES.format(marks(orders)), tuple(orders)
    for attempts in parts(expunged.attempts):
        yield f"{_ATTEMPTS} id IN ({marks(attempts)})", tuple(attempts)
    for messages in parts(expunged.messages):
        those = f"message IN ({marks(messages)})"
        yield f"DELETE FROM deliveries WHERE {those} AND state <> 'pending'", tuple(messages)
        none_left = "NOT EXISTS (SELECT 1 FROM deliveries WHERE message = messages.id)"
        yield f"DELETE FROM messages WHERE id IN ({marks(messages)}) AND {none_left}", tuple(messages)
        yield f"UPDATE deliveries SET attempts = without_responses(attempts) WHERE {those}", tuple(messages)
        sql = "UPDATE messages SET snapshot = NULL, data = without_text(data), expunged_at = coalesce(expunged_at, ?)"
        yield f"{sql} WHERE id IN ({marks(messages)})", (at, *messages)
    for what, position in expunged.positions:
        yield "INSERT OR REPLACE INTO retention (what, position) VALUES (?, ?)", (what, position)


_RESPONSES = """DELETE FROM answers WHERE key IN (
    SELECT answers.key FROM (SELECT DISTINCT batch FROM cancellations WHERE order_pk IN ({}) AND batch IS NOT NULL)
    CROSS JOIN answers ON answers.key >= response_key(batch, 0) AND answers.key < response_key(batch, 1))"""
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


class Repacking:
    """Stores receipts without their retired dictionaries, and deletes these; a step at a time.

    Receipts are read and packed beside the writer, which only replaces them: a row that changed meanwhile, as it was
    expunged, uses the dictionary no more and stays as it is.
    """

    def __init__(self) -> None:
        self._dictionary, self._position = 0, 0
        self._stepping = asyncio.Lock()
        """A run of retention and an erasure may both want a step: each goes on where the one before it ended."""

    async def step(self, readers: Connections, write: Write) -> bool:
        """Pack some receipts anew, or delete a dictionary that none uses; True if more wait."""
        async with self._stepping:
            return await self._step(readers, write)

    async def _step(self, readers: Connections, write: Write) -> bool:
        rows = await readers.fetch(_RETIRED, (), Use.SEARCHES)
        if not rows:
            return False
        dictionary, account, content, last_use = rows[0]
        if dictionary != self._dictionary:
            first = ids.at(round((ids.drawn_at(dictionary) - OUT_OF_TURN).timestamp() * 1000))
            self._dictionary, self._position = dictionary, first - 1
        values = (dictionary, account, self._position, last_use, REPACK_READ)
        read = await readers.fetch(_USERS, values, Use.SEARCHES)
        used = [(id, body) for id, body in read if body is not None][:REPACKED]
        packed = await asyncio.to_thread(_pack_anew, used, content, dictionary)
        is_last = len(read) < REPACK_READ and len(used) < REPACKED

        def replace(db: sqlite3.Connection) -> None:
            db.executemany(_REPLACE, packed)
            if is_last:
                db.execute("DELETE FROM receipt_dictionaries WHERE id = ?", (dictionary,))

        if packed or is_last:
            await write(replace)
        self._position = used[-1][0] if len(used) == REPACKED else read[-1][0] if read else self._position
        return True


def _pack_anew(used: Sequence[tuple[int, bytes]], content: bytes, dictionary: int) -> list[tuple[bytes, int, int]]:
    packed = []
    for id, body in used:
        # One that is damaged stays as it is: what the dictionary holds of others must go all the same.
        with suppress(DamagedReceiptError):
            packed.append((deflate(inflate(body, content)), id, dictionary))
    return packed


def delete_responses(db: sqlite3.Connection, before: datetime, limit: int) -> int:
    """Delete at most so many of the oldest stored responses that were made before; returns how many."""
    sql = """DELETE FROM answers WHERE key IN
             (SELECT key FROM answers WHERE created_at < ? ORDER BY created_at LIMIT ?)"""
    return db.execute(sql, (codec.micros(before), limit)).rowcount
