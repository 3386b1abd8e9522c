"""Partitions of the tables that grow for ever: by ids, which begin with the time, one for each month.

There is no default partition, which would keep others from being detached without a lock: the months ahead are made
long before they begin.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from app.runtime import ids
from app.store.postgres.connection import Session

PARTITIONED = ("events", "receipts", "attempts")
"""`events` by the number of their order, the others by their own ids."""
EVENTS = "events"
NO_ORDER = "events_of_no_order"
"""The partition of events that are about no order."""
MONTHS_AHEAD = 3
LOCK_MS = 100
"""How long a change of partitions waits for a lock at most; it is tried again later."""


class Partition(NamedTuple):
    """The part of a table for one month."""

    name: str
    start: int
    """The first id that it may hold."""
    end: int
    """The first one after it."""
    is_attached: bool
    """Not if it was detached, and is still to be dropped."""
    is_pending: bool
    """Whether it was about to be detached."""


def month_after(month: datetime, months: int = 1) -> datetime:
    """The first moment of the month that comes so many later."""
    years, index = divmod(month.month - 1 + months, 12)
    return datetime(month.year + years, index + 1, 1, tzinfo=UTC)


def first_id(month: datetime) -> int:
    """The smallest id of a month."""
    return ids.at(int(month.timestamp() * 1000))


def partition_of(table: str, month: datetime) -> str:
    """The name of a month's partition."""
    return f"{table}_{month:%Y_%m}"


async def partitions_of(session: Session, table: str) -> list[Partition]:
    """The months of a table, the oldest first."""
    sql = """SELECT part.relname::text, part.relispartition, coalesce(inhdetachpending, false)
             FROM pg_class AS part JOIN pg_class AS whole ON whole.oid = to_regclass($1)
                 AND whole.relnamespace = part.relnamespace
             LEFT JOIN pg_inherits ON inhrelid = part.oid
             WHERE part.relkind = 'r' AND part.relname ~ ('^' || $2 || '_[0-9]{4}_[0-9]{2}$') ORDER BY part.relname"""
    months: list[Partition] = []
    for name, is_attached, is_pending in await session.fetch(sql, session.named(table), table):
        year, month = (int(part) for part in name.split("_")[-2:])
        first = datetime(year, month, 1, tzinfo=UTC)
        start = first_id(first) if months else 1  # the first begins before all ids
        months.append(Partition(name, start, _end_of(first), is_attached, is_pending))
    return months


async def lacks_this_month(session: Session, now: datetime) -> bool:
    """Whether a row of now has no partition to stand in."""
    names = [session.named(partition_of(table, now)) for table in PARTITIONED]
    return bool(await session.value("SELECT bool_or(to_regclass(name) IS NULL) FROM unnest($1::text[]) AS name", names))


async def make_ahead(session: Session, now: datetime, months: int = MONTHS_AHEAD) -> list[str]:
    """Make the partitions of this month and of those to come, as far as there are none; returns their names.

    The first of a table begins before all ids, so that rows of before this database fit in. Events of no order, which
    have the number 0, have a partition of their own: it is never dropped.
    """
    this_month = datetime(now.year, now.month, 1, tzinfo=UTC)
    made = []
    for table in PARTITIONED:
        sql = "SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass($1)"
        is_first = not await session.value(sql, session.named(table))
        start: str | int = "MINVALUE"
        if is_first and table == EVENTS:
            await _make(session, table, NO_ORDER, start, 1)
            made.append(NO_ORDER)
            start = 1
        for number in range(months + 1):
            month = month_after(this_month, number)
            name = partition_of(table, month)
            if await session.value("SELECT to_regclass($1) IS NOT NULL", session.named(name)):
                continue
            await _make(session, table, name, start if is_first and not number else first_id(month), _end_of(month))
            made.append(name)
    return made


def _end_of(month: datetime) -> int:
    return first_id(month_after(month))


async def _make(session: Session, table: str, name: str, start: str | int, end: int) -> None:
    # Attached, and not made as a partition: that would lock the table against all who read and write it.
    sql = f"""CREATE TABLE @{name} (LIKE @{table} INCLUDING ALL);
        ALTER TABLE @{table} ATTACH PARTITION @{name} FOR VALUES FROM ({start}) TO ({end})"""
    async with session.transaction():
        await session.script(f"SET LOCAL lock_timeout = '{LOCK_MS}ms'")
        await session.script(sql)
