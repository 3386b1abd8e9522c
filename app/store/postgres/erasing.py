"""Erasure and expunging, which are rare: what they replace is worked out here, and not by the server.

PostgreSQL keeps what a row was until it is vacuumed, and in its write-ahead log until that is recycled.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from app.store import codec
from app.store.compression import DamagedReceiptError, unpack
from app.store.expunging import response_key, without_responses, without_text
from app.store.postgres.connection import Session
from app.store.records import ErasedEvent, Expunged

PAGE = 500
"""Rows that are read and replaced at once."""
_ERASURE = """INSERT INTO @erasures (account, position, number, event, leaf)
    SELECT $1, $2, (SELECT coalesce(max(number), 0) + 1 FROM @erasures WHERE account = $1 AND position = $2), $3, $4"""
_BODY = "UPDATE @events SET body = $4 WHERE account = $1 AND order_pk = $2 AND seq = $3"
_RECEIPTS = """SELECT account, id, body, dictionary FROM @receipts
    WHERE id = ANY($1::bigint[]) AND expunged_at IS NULL FOR UPDATE"""
_EXPUNGE = """UPDATE @receipts SET digest = $3, expunged_at = $4, size = coalesce(size, length(body)), query = '[]',
    headers = '[]', body = '', dictionary = NULL WHERE account = $1 AND id = $2"""
_ATTEMPTS = "UPDATE @attempts SET exchanges = '[]', detail = '' WHERE ended_at IS NOT NULL AND "
_OF_ORDERS = "(account, order_pk) IN (SELECT account, pk FROM @orders WHERE pk = ANY($1::bigint[]))"
_BATCHES = f"SELECT DISTINCT batch FROM @cancellations WHERE {_OF_ORDERS} AND batch IS NOT NULL"


async def erase(session: Session, events: Sequence[ErasedEvent]) -> None:
    """Replace the content of events, and keep their former leaves."""
    if events:
        await session.run_many(_ERASURE, [(event.account, event.position, event.by, event.before) for event in events])
        await session.run_many(_BODY, [(event.account, event.order, event.position, event.body) for event in events])


async def expunge(session: Session, expunged: Expunged) -> None:
    """Expunge what is beside the log."""
    at = codec.micros(expunged.at)
    for part in _parts(expunged.receipts):
        rows = await session.fetch(_RECEIPTS, part)
        await session.run_many(_EXPUNGE, [(row[0], row[1], _digest(row[2], row[3]), at) for row in rows])
    for part in _parts(expunged.orders):
        await session.run(f"{_ATTEMPTS}{_OF_ORDERS}", part)
        batches = [row[0] for row in await session.fetch(_BATCHES, part)]
        ends = [(response_key(batch, 0), response_key(batch, 1)) for batch in batches]
        await session.run_many("DELETE FROM @answers WHERE key >= $1 AND key < $2", [pair for pair in ends if pair[0]])
    for part in _parts(expunged.attempts):
        await session.run(f"{_ATTEMPTS}id = ANY($1::bigint[])", part)
    for part in _parts(expunged.messages):
        await _expunge_messages(session, part, at)
    for position in expunged.positions:
        sql = """INSERT INTO @retention (what, position) VALUES ($1, $2)
                 ON CONFLICT (what) DO UPDATE SET position = excluded.position"""
        await session.run(sql, *position)


async def _expunge_messages(session: Session, messages: list[int], at: int) -> None:
    await session.run("DELETE FROM @deliveries WHERE message = ANY($1::bigint[]) AND state <> 'pending'", messages)
    none_left = "NOT EXISTS (SELECT 1 FROM @deliveries WHERE message = id)"
    await session.run(f"DELETE FROM @messages WHERE id = ANY($1::bigint[]) AND {none_left}", messages)
    sql = """SELECT subscription, message, account, attempts FROM @deliveries
             WHERE message = ANY($1::bigint[]) ORDER BY subscription, message FOR UPDATE"""
    rows = await session.fetch(sql, messages)
    sql = "UPDATE @deliveries SET attempts = $4 WHERE subscription = $1 AND message = $2 AND account = $3"
    await session.run_many(sql, [(*row[:3], without_responses(row[3])) for row in rows])
    rows = await session.fetch(
        "SELECT account, id, data FROM @messages WHERE id = ANY($1::bigint[]) FOR UPDATE", messages
    )
    sql = """UPDATE @messages SET snapshot = NULL, data = $3, expunged_at = coalesce(expunged_at, $4)
             WHERE account = $1 AND id = $2"""
    await session.run_many(sql, [(row[0], row[1], without_text(row[2]), at) for row in rows])


def _digest(body: bytes, dictionary: int | None) -> bytes:
    """The SHA-256 of a receipt's body; that of nothing if it cannot be read."""
    try:
        return sha256(body if dictionary is None else unpack(body, None)[2]).digest()
    except (DamagedReceiptError, ValueError):
        return sha256().digest()


def _parts(numbers: Sequence[int]) -> list[list[Any]]:
    return [list(numbers[start : start + PAGE]) for start in range(0, len(numbers), PAGE)]
