"""Writes of deliveries, as functions that run on the writing connection's thread, each in a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.core.outbound.delivery import Delivery, DeliveryUpdate, DuePosition, Postponement
from app.core.outbound.health import SubscriptionState
from app.store import codec
from app.store.delivery_lists import COLUMNS
from app.store.id_bounds import END, end_of_ids, first_id
from app.store.sqlite.read.deliveries import FIRST_OF_SEQUENCE
from app.store.sqlite.read.delivery_lists import JOIN

# A try that began before its message was expunged ends after it, and knows the responses to all tries before.
_UPDATE = """UPDATE deliveries SET state = ?1, due_at = ?2, tries = ?3, attempts = CASE
                 WHEN (SELECT expunged_at FROM messages WHERE id = message) IS NULL THEN ?4
                 ELSE without_responses(?4) END
             WHERE subscription = ?5 AND message = ?6 AND state = 'pending'"""
_POSTPONE = """UPDATE deliveries SET due_at = ?
               WHERE subscription = ? AND message = ? AND state = 'pending' AND due_at < ?"""
_STATE = """INSERT INTO subscription_states VALUES (?, ?) ON CONFLICT (subscription) DO UPDATE
            SET state = excluded.state WHERE json_extract(subscription_states.state, '$.purge_until') IS NULL"""

_BEHIND_MAX = 400
"""Deliveries that cannot be given, and that a pull reads nevertheless, in one page."""
_PAGES_MAX = 8
"""A pull that finds nothing to give reads so many pages."""

Rows = list[tuple[Any, ...]]


class Saving:
    """The rows of `save_deliveries`: made on the event loop's thread, so that the other only passes them to SQLite."""

    def __init__(
        self,
        updates: Sequence[DeliveryUpdate],
        postponed: Sequence[Postponement],
        states: Sequence[tuple[str, SubscriptionState]],
    ) -> None:
        self._updates: Rows = [
            (
                update.state,
                codec.micros(update.due_at),
                update.tries,
                codec.to_json(update.attempts),
                update.subscription,
                update.message,
            )
            for update in updates
        ]
        self._postponed: Rows = [
            (due_at := codec.micros(row.due_at), row.subscription, row.message, due_at) for row in postponed
        ]
        self._states: Rows = [(subscription, codec.to_json(state)) for subscription, state in states]

    def __call__(self, db: sqlite3.Connection) -> None:
        """Write them."""
        db.executemany(_UPDATE, self._updates)
        db.executemany(_POSTPONE, self._postponed)
        db.executemany(_STATE, self._states)


def resend(db: sqlite3.Connection, subscription: str, message: int, now: datetime) -> bool:
    """See `DeliveryStore.resend_delivery`."""
    key = (subscription, message)
    row = db.execute("SELECT sequence FROM deliveries WHERE subscription = ? AND message = ?", key).fetchone()
    if row is None:
        return False
    due_at = codec.micros(now)
    sql = "UPDATE deliveries SET state = 'pending', due_at = ?, tries = 0 WHERE subscription = ? AND message = ?"
    db.execute(sql, (due_at, *key))
    # Those that only waited for it need not wait for the time at which it was due before.
    sql = """UPDATE deliveries SET due_at = ? WHERE subscription = ? AND sequence = ? AND state = 'pending'
             AND message > ? AND tries = 0 AND due_at > ?"""
    db.execute(sql, (due_at, subscription, row[0], message, due_at))
    return True


def recover(
    db: sqlite3.Connection,
    subscription: str,
    since: datetime,
    after: int,
    limit: int,
    now: datetime,
    until: datetime | None,
) -> tuple[int, int | None]:
    """See `DeliveryStore.recover_deliveries`."""
    sql = """SELECT message FROM deliveries INDEXED BY deliveries_failed
             WHERE subscription = ? AND state = 'failed' AND message > ? AND message < ? ORDER BY message LIMIT ?"""
    bottom, top = max(first_id(since) - 1, after), end_of_ids(until)
    messages = [message for (message,) in db.execute(sql, (subscription, bottom, top, limit))]
    sql = """UPDATE deliveries SET state = 'pending', due_at = ?, tries = 0
             WHERE subscription = ? AND message = ? AND state = 'failed'"""
    due_at = codec.micros(now)
    db.executemany(sql, [(due_at, subscription, message) for message in messages])
    return len(messages), messages[-1] if len(messages) == limit else None


def hasten(
    db: sqlite3.Connection, subscription: str, now: datetime, after: DuePosition | None, limit: int
) -> DuePosition | None:
    """See `DeliveryStore.hasten_deliveries`."""
    # What was never tried and is no part of a sequence is due later because it is meant to be, as in a digest.
    sql = """SELECT due_at, message, attempts <> '[]' OR sequence IS NOT NULL FROM deliveries INDEXED BY deliveries_due
             WHERE subscription = ? AND state = 'pending' AND (due_at, message) > (?, ?)
             ORDER BY due_at, message LIMIT ?"""
    due_at = codec.micros(now)
    bottom = (due_at, END) if after is None else (codec.micros(after.due_at), after.message)
    rows = db.execute(sql, (subscription, *bottom, limit)).fetchall()
    sql = "UPDATE deliveries SET due_at = ? WHERE subscription = ? AND message = ?"
    db.executemany(sql, [(due_at, subscription, message) for _, message, waits in rows if waits])
    return DuePosition(codec.moment(rows[-1][0]), rows[-1][1]) if len(rows) == limit else None


def pull(db: sqlite3.Connection, subscription: str, now: datetime, visible_at: datetime, limit: int) -> list[Delivery]:
    """See `DeliveryStore.pull_deliveries`."""
    given: list[int] = []
    for _ in range(_PAGES_MAX):
        more = _give(db, subscription, given, codec.micros(now), codec.micros(visible_at), limit)
        if given or not more:
            break
    sql = f"""SELECT {COLUMNS} FROM deliveries AS delivery {JOIN}
              WHERE delivery.subscription = ? AND delivery.message = ?"""
    rows = [db.execute(sql, (subscription, message)).fetchone() for message in given]
    sql = "UPDATE deliveries SET due_at = ?, tries = tries + 1 WHERE subscription = ? AND message = ?"
    db.executemany(sql, [(codec.micros(visible_at), subscription, message) for message in given])
    return [codec.read_delivery(row) for row in rows]


def _give(db: sqlite3.Connection, subscription: str, given: list[int], now: int, hidden_until: int, limit: int) -> bool:
    """Choose what a pull gives, from one page of what is due; returns whether the page was full.

    However much waits for its turn, a page reads few rows: what cannot be given is put off until the first of its
    sequence is due, and is looked at again then, or when that is acknowledged.
    """
    sql = f"""SELECT delivery.message, ({FIRST_OF_SEQUENCE.format(column="message")}),
                     ({FIRST_OF_SEQUENCE.format(column="due_at")})
              FROM deliveries AS delivery INDEXED BY deliveries_due
              WHERE delivery.subscription = ? AND delivery.state = 'pending' AND delivery.due_at <= ?
              ORDER BY delivery.due_at, delivery.message LIMIT ?"""
    size = limit + _BEHIND_MAX
    rows = db.execute(sql, (subscription, now, size)).fetchall()
    put_off: list[tuple[int, str, int]] = []
    chosen: set[int] = set()
    for message, first, first_due_at in rows:
        head = message if first is None else first
        if head != message and first_due_at > now:
            put_off.append((first_due_at, subscription, message))
            continue
        if head not in chosen and len(given) < limit:
            chosen.add(head)
            given.append(head)
        if head in chosen and head != message:
            put_off.append((hidden_until, subscription, message))
    db.executemany("UPDATE deliveries SET due_at = ? WHERE subscription = ? AND message = ?", put_off)
    return len(rows) == size


def acknowledge(db: sqlite3.Connection, subscription: str, messages: Sequence[int]) -> int:
    """See `DeliveryStore.acknowledge_deliveries`."""
    settled = 0
    for message in messages:
        sql = """UPDATE deliveries SET state = 'delivered'
                 WHERE subscription = ? AND message = ? AND state = 'pending' RETURNING sequence"""
        rows = db.execute(sql, (subscription, message)).fetchall()
        settled += len(rows)
        if rows and rows[0][0] is not None:
            # The next of its sequence was put off only for it: it is due as when it was written.
            sql = """UPDATE deliveries SET due_at = (SELECT at FROM messages WHERE id = message)
                     WHERE subscription = :subscription AND tries = 0 AND message = (
                         SELECT message FROM deliveries INDEXED BY deliveries_in_turn
                         WHERE subscription = :subscription AND sequence = :sequence AND sequence IS NOT NULL
                         AND state = 'pending' ORDER BY message LIMIT 1)"""
            db.execute(sql, {"subscription": subscription, "sequence": rows[0][0]})
    return settled


def delete_delivered(db: sqlite3.Connection, subscription: str, after: int, until: datetime, limit: int) -> int | None:
    """See `DeliveryStore.delete_delivered`."""
    sql = """SELECT message, state FROM deliveries WHERE subscription = ? AND message > ? AND message < ?
             ORDER BY message LIMIT ?"""
    rows = db.execute(sql, (subscription, after, first_id(until), limit)).fetchall()
    _delete(db, subscription, [message for message, state in rows if state == "delivered"])
    return int(rows[-1][0]) if len(rows) == limit else None


def purge(db: sqlite3.Connection, subscription: str, until: int, limit: int) -> bool:
    """See `DeliveryStore.purge_deliveries`."""
    sql = "SELECT message FROM deliveries WHERE subscription = ? AND message <= ? LIMIT ?"
    messages = [message for (message,) in db.execute(sql, (subscription, until, limit))]
    _delete(db, subscription, messages)
    if len(messages) == limit:
        return True
    sql = "DELETE FROM subscription_states WHERE subscription = ? AND json_extract(state, '$.purge_until') = ?"
    db.execute(sql, (subscription, until))
    return False


def _delete(db: sqlite3.Connection, subscription: str, messages: Sequence[int]) -> None:
    db.executemany(
        "DELETE FROM deliveries WHERE subscription = ? AND message = ?",
        [(subscription, message) for message in messages],
    )
    # A message stays as long as any subscription has a delivery of it.
    sql = "DELETE FROM messages WHERE id = ? AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message = messages.id)"
    db.executemany(sql, [(message,) for message in messages])


def remove_subscriptions(db: sqlite3.Connection, removed: Sequence[str]) -> None:
    """Mark the deliveries of removed subscriptions as to be deleted: a later one of the same id must not send them."""
    if removed:
        (last,) = db.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()
        state = codec.to_json(SubscriptionState(purge_until=last))
        sql = "INSERT OR REPLACE INTO subscription_states VALUES (?, ?)"
        db.executemany(sql, [(subscription, state) for subscription in removed])
