"""Writes of deliveries.

Of a subscription the deliveries are sent by one node, and operators may touch them through any: rows that are written
together are locked in the order of their messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from app.core.outbound.delivery import Delivery, DeliveryState, DeliveryUpdate, DuePosition, Postponement
from app.core.outbound.health import SubscriptionState
from app.store import codec
from app.store.id_bounds import END, end_of_ids, first_id
from app.store.postgres.connection import Session
from app.store.postgres.locks import lock
from app.store.postgres.read.deliveries import COLUMNS, HEAD, JOIN
from app.store.postgres.writes import Writes

# A try that began before its message was expunged ends after it, and knows the responses to all tries before.
_UPDATE = """UPDATE @deliveries AS delivery SET state = new.state, due_at = new.due_at, tries = new.tries,
                 attempts = CASE WHEN EXISTS (
                     SELECT 1 FROM @messages AS message WHERE message.id = delivery.message
                     AND message.account = delivery.account AND message.expunged_at IS NOT NULL)
                 THEN new.expunged ELSE new.attempts END
             FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[])
                 AS new (subscription, message, state, due_at, tries, attempts, expunged)
             WHERE delivery.subscription = new.subscription AND delivery.message = new.message
             AND delivery.state = 'pending'"""
_POSTPONE = """UPDATE @deliveries AS delivery SET due_at = new.due_at
               FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS new (subscription, message, due_at)
               WHERE delivery.subscription = new.subscription AND delivery.message = new.message
               AND delivery.state = 'pending' AND delivery.due_at < new.due_at"""
_STATES = """INSERT INTO @subscription_states AS stored (subscription, purge_until, state)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])
             ON CONFLICT (subscription) DO UPDATE SET purge_until = excluded.purge_until, state = excluded.state
             WHERE stored.purge_until IS NULL"""
_LOCK_ALL = """SELECT 1 FROM @deliveries AS delivery
               JOIN unnest($1::text[], $2::bigint[]) AS new (subscription, message) ON
               delivery.subscription = new.subscription AND delivery.message = new.message
               ORDER BY delivery.subscription, delivery.message FOR NO KEY UPDATE OF delivery"""
_LOCK = """SELECT message FROM @deliveries WHERE subscription = $1 AND message = ANY($2::bigint[]) AND state = 'pending'
           ORDER BY message FOR NO KEY UPDATE"""

_BEHIND_MAX = 400
"""Deliveries that cannot be given, and that a pull reads nevertheless, in one page."""
_PAGES_MAX = 8
"""A pull that finds nothing to give reads so many pages."""


class DeliveryWrites(Writes):
    """The part of `Store` that writes deliveries."""

    async def save_deliveries(
        self,
        updates: Sequence[DeliveryUpdate],
        postponed: Sequence[Postponement] = (),
        states: Sequence[tuple[str, SubscriptionState]] = (),
    ) -> None:
        updated = _update_rows(updates)
        later = _latest(((row.subscription, row.message), codec.micros(row.due_at)) for row in postponed)
        new = {subscription: (state.purge_until or None, codec.to_json(state)) for subscription, state in states}

        async def work(db: Session) -> None:
            keys = sorted({row[:2] for row in updated} | later.keys())
            if keys:
                await db.run(_LOCK_ALL, *zip(*keys, strict=True))
            if updated:
                await db.run(_UPDATE, *zip(*updated, strict=True))
            if later:
                await db.run(_POSTPONE, *zip(*((*key, due_at) for key, due_at in later.items()), strict=True))
            if new:
                await db.run(_STATES, *zip(*((id, *row) for id, row in sorted(new.items())), strict=True))

        await self._write(work)

    async def resend_delivery(self, subscription: str, message: int, now: datetime) -> bool:
        due_at = codec.micros(now)

        async def work(db: Session) -> bool:
            sql = """UPDATE @deliveries SET state = 'pending', due_at = $3, tries = 0
                     WHERE subscription = $1 AND message = $2 RETURNING sequence"""
            row = await db.row(sql, subscription, message, due_at)
            if row is not None:
                # Those that only waited for it need not wait for the time at which it was due before.
                sql = """UPDATE @deliveries SET due_at = $4 WHERE subscription = $1 AND sequence = $2
                         AND sequence IS NOT NULL AND state = 'pending' AND message > $3 AND tries = 0
                         AND due_at > $4"""
                await db.run(sql, subscription, row["sequence"], message, due_at)
            return row is not None

        return await self._write(work)

    async def recover_deliveries(
        self, subscription: str, since: datetime, after: int, limit: int, now: datetime, until: datetime | None = None
    ) -> tuple[int, int | None]:
        bottom, top = max(first_id(since) - 1, after), end_of_ids(until)

        async def work(db: Session) -> tuple[int, int | None]:
            sql = """SELECT message FROM @deliveries WHERE subscription = $1 AND state = 'failed' AND message > $2
                     AND message < $3 ORDER BY message LIMIT $4 FOR NO KEY UPDATE"""
            messages = [message for (message,) in await db.fetch(sql, subscription, bottom, top, limit)]
            sql = """UPDATE @deliveries SET state = 'pending', due_at = $3, tries = 0
                     WHERE subscription = $1 AND message = ANY($2::bigint[]) AND state = 'failed'"""
            await db.run(sql, subscription, messages, codec.micros(now))
            return len(messages), messages[-1] if len(messages) == limit else None

        return await self._write(work)

    async def hasten_deliveries(
        self, subscription: str, now: datetime, after: DuePosition | None, limit: int
    ) -> DuePosition | None:
        due_at = codec.micros(now)
        bottom = (due_at, END) if after is None else (codec.micros(after.due_at), after.message)

        async def work(db: Session) -> DuePosition | None:
            # What was never tried and is no part of a sequence is due later because it is meant to be, as in a digest.
            sql = """SELECT due_at, message, attempts <> '[]' OR sequence IS NOT NULL FROM @deliveries
                     WHERE subscription = $1 AND state = 'pending' AND (due_at, message) > ($2, $3)
                     ORDER BY due_at, message LIMIT $4"""
            rows = await db.fetch(sql, subscription, *bottom, limit)
            await _set_due(db, subscription, [(message, due_at) for _, message, waits in rows if waits])
            return DuePosition(codec.moment(rows[-1][0]), rows[-1][1]) if len(rows) == limit else None

        return await self._write(work)

    async def pull_deliveries(
        self, subscription: str, now: datetime, visible_at: datetime, limit: int
    ) -> list[Delivery]:
        until = codec.micros(visible_at)

        async def work(db: Session) -> list[Delivery]:
            # One after the other: what this one is given, the next does not see.
            await lock(db, "pull", subscription)
            given: list[int] = []
            for _ in range(_PAGES_MAX):
                more = await _give(db, subscription, given, codec.micros(now), until, limit)
                if given or not more:
                    break
            await db.fetch(_LOCK, subscription, given)
            sql = f"""SELECT {COLUMNS} FROM unnest($2::bigint[]) WITH ORDINALITY AS given (message, place)
                      JOIN @deliveries AS delivery ON delivery.subscription = $1 AND delivery.message = given.message
                      {JOIN} WHERE delivery.state = 'pending' ORDER BY given.place"""
            rows = await db.fetch(sql, subscription, given)
            sql = """UPDATE @deliveries SET due_at = $3, tries = tries + 1
                     WHERE subscription = $1 AND message = ANY($2::bigint[]) AND state = 'pending'"""
            await db.run(sql, subscription, given, until)
            return [codec.read_delivery(tuple(row)) for row in rows]

        return await self._write(work)

    async def acknowledge_deliveries(self, subscription: str, messages: Sequence[int]) -> int:
        async def work(db: Session) -> int:
            await db.fetch(_LOCK, subscription, list(messages))
            sql = """UPDATE @deliveries SET state = 'delivered' WHERE subscription = $1 AND message = ANY($2::bigint[])
                     AND state = 'pending' RETURNING sequence"""
            settled = await db.fetch(sql, subscription, list(messages))
            # The next of its sequence was put off only for it: it is due as when it was written.
            sql = """UPDATE @deliveries AS delivery SET due_at = message.at
                     FROM unnest($2::bigint[]) AS settled (sequence), LATERAL (
                         SELECT next.message, next.account FROM @deliveries AS next
                         WHERE next.subscription = $1 AND next.sequence = settled.sequence
                         AND next.sequence IS NOT NULL AND next.state = 'pending' ORDER BY next.message LIMIT 1) AS head
                     JOIN @messages AS message ON message.id = head.message AND message.account = head.account
                     WHERE delivery.subscription = $1 AND delivery.message = head.message AND delivery.tries = 0"""
            sequences = sorted({sequence for (sequence,) in settled if sequence is not None})
            if sequences:
                await db.run(sql, subscription, sequences)
            return len(settled)

        return await self._write(work)

    async def delete_delivered(self, subscription: str, after: int, until: datetime, limit: int) -> int | None:
        async def work(db: Session) -> int | None:
            sql = """SELECT message, state FROM @deliveries WHERE subscription = $1 AND message > $2 AND message < $3
                     ORDER BY message LIMIT $4"""
            rows = await db.fetch(sql, subscription, after, first_id(until), limit)
            await _delete(db, subscription, [message for message, state in rows if state == "delivered"], "delivered")
            return int(rows[-1][0]) if len(rows) == limit else None

        return await self._write(work)

    async def purge_deliveries(self, subscription: str, until: int, limit: int) -> bool:
        async def work(db: Session) -> bool:
            sql = """SELECT message FROM @deliveries WHERE subscription = $1 AND message <= $2
                     ORDER BY message LIMIT $3"""
            messages = [message for (message,) in await db.fetch(sql, subscription, until, limit)]
            await _delete(db, subscription, messages)
            if len(messages) == limit:
                return True
            sql = "DELETE FROM @subscription_states WHERE subscription = $1 AND purge_until = $2"
            await db.run(sql, subscription, until)
            return False

        return await self._write(work)


def _update_rows(updates: Sequence[DeliveryUpdate]) -> list[tuple[Any, ...]]:
    """One row for each delivery: of several, the last, but none behind one that settles it."""
    last: dict[tuple[str, int], DeliveryUpdate] = {}
    for update in updates:
        key = update.subscription, update.message
        if key not in last or last[key].state is DeliveryState.PENDING:
            last[key] = update
    return [
        (
            *key,
            update.state,
            codec.micros(update.due_at),
            update.tries,
            codec.to_json(update.attempts),
            codec.to_json([msgspec.structs.replace(attempt, headers={}, body="") for attempt in update.attempts]),
        )
        for key, update in sorted(last.items())
    ]


def _latest(rows: Iterable[tuple[tuple[str, int], int]]) -> dict[tuple[str, int], int]:
    latest: dict[tuple[str, int], int] = {}
    for key, due_at in rows:
        latest[key] = max(due_at, latest.get(key, due_at))
    return latest


async def _give(db: Session, subscription: str, given: list[int], now: int, hidden_until: int, limit: int) -> bool:
    """Choose what a pull gives, from one page of what is due; returns whether the page was full.

    However much waits for its turn, a page reads few rows: what cannot be given is put off until the first of its
    sequence is due, and is looked at again then, or when that is acknowledged.
    """
    sql = f"""SELECT delivery.message, head.message, head.due_at
              FROM (SELECT * FROM @deliveries WHERE subscription = $1 AND state = 'pending' AND due_at <= $2
                    ORDER BY due_at, message LIMIT $3) AS delivery {HEAD} ORDER BY delivery.due_at, delivery.message"""
    size = limit + _BEHIND_MAX
    rows = await db.fetch(sql, subscription, now, size)
    put_off: list[tuple[int, int]] = []
    chosen: set[int] = set()
    for message, first, first_due_at in rows:
        head = message if first is None else first
        if head != message and first_due_at > now:
            put_off.append((message, first_due_at))
            continue
        if head not in chosen and len(given) < limit:
            chosen.add(head)
            given.append(head)
        if head in chosen and head != message:
            put_off.append((message, hidden_until))
    await _set_due(db, subscription, put_off)
    return len(rows) == size


async def _set_due(db: Session, subscription: str, due: Sequence[tuple[int, int]]) -> None:
    """Set when these messages' pending deliveries are due."""
    if not due:
        return
    messages, times = zip(*due, strict=True)
    await db.fetch(_LOCK, subscription, messages)
    sql = """UPDATE @deliveries AS delivery SET due_at = new.due_at
             FROM unnest($2::bigint[], $3::bigint[]) AS new (message, due_at)
             WHERE delivery.subscription = $1 AND delivery.message = new.message AND delivery.state = 'pending'"""
    await db.run(sql, subscription, messages, times)


async def _delete(db: Session, subscription: str, messages: Sequence[int], state: str | None = None) -> None:
    if not messages:
        return
    sql = """DELETE FROM @deliveries WHERE subscription = $1 AND message = ANY($2::bigint[])
             AND ($3::text IS NULL OR state = $3)"""
    await db.run(sql, subscription, messages, state)
    # A message stays as long as any subscription has a delivery of it. Of two that delete the last two deliveries at
    # once neither sees the other, so that they take turns.
    sql = """SELECT 1 FROM @messages WHERE id = ANY($1::bigint[]) ORDER BY account, id FOR UPDATE"""
    await db.fetch(sql, messages)
    sql = """DELETE FROM @messages AS message WHERE id = ANY($1::bigint[])
             AND NOT EXISTS (SELECT 1 FROM @deliveries AS delivery WHERE delivery.message = message.id)"""
    await db.run(sql, messages)
