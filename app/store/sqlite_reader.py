"""Questions to SQLite, outside of transactions, on connections that cannot write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import aiosqlite

from app.core.aggregate import Job, OrderAggregate
from app.core.cancellation import Cancellation
from app.core.event import Event, order_key, split_id
from app.core.lane.state import LaneState
from app.kit.cel.order_view import as_text
from app.store import (
    Pause,
    Receipt,
    StoredOrder,
    codec,
)
from app.store.sqlite_configuration import Readers, Use
from app.store.sqlite_search import SqliteSearch, Where
from app.store.sqlite_transaction import ROWS_MAX, find_cases, marks, read_stated, stated_names

LOG_PAGE = 2000
ORDER_PAGE = 250
"""So many events are decoded in one go, a few milliseconds' work."""

_Key = tuple[int, str, str]
_Found = tuple[int, OrderAggregate] | None


class SqliteReader(SqliteSearch):
    """`Reader` on a few connections."""

    def __init__(self, readers: Readers) -> None:
        super().__init__(readers)
        self._wanted: list[tuple[_Key, asyncio.Future[_Found]]] = []
        self._looking: asyncio.Task[None] | None = None

    async def case(self, account: str, order: str) -> tuple[int, OrderAggregate] | None:
        """See `Reader.case`. Whoever waits is served together: the visit to the database's thread is what costs."""
        found: asyncio.Future[_Found] = asyncio.get_running_loop().create_future()
        self._wanted.append(((order_key(account, order), account, order), found))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_up())
        return await found

    async def _look_up(self) -> None:
        while self._wanted:
            asked, self._wanted = self._wanted[:ROWS_MAX], self._wanted[ROWS_MAX:]
            await self._answer(asked)

    async def _answer(self, asked: Sequence[tuple[_Key, asyncio.Future[_Found]]]) -> None:
        try:
            known = await self._cases([key for key, _ in asked])
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes to those who asked
            if len(asked) == 1:
                _settle(asked[0][1], error)
                return
            # One may have spoiled it for all: each gets a question of its own.
            for each in asked:
                await self._answer([each])
            return
        for key, found in asked:
            _settle(found, known.get(key[1:]))

    async def _cases(self, keys: Sequence[_Key]) -> dict[tuple[str, str], tuple[int, OrderAggregate]]:
        wanted = list(dict.fromkeys(keys))
        ((text,),) = await self._ask(find_cases(len(wanted)), tuple(chain.from_iterable(wanted)), use=Use.LOOKUPS)
        return {(account, name): (pk, codec.read_case(state)) for account, name, pk, state in codec.read_json(text)}

    async def carriers(self, account: str, alias: str, limit: int) -> list[str]:
        """See `Reader.carriers`."""
        sql = """SELECT orders.id FROM shared_aliases AS carried JOIN orders ON orders.pk = carried.order_pk
                 WHERE carried.account = ? AND carried.name = ? ORDER BY carried.order_pk LIMIT ?"""
        return [id for (id,) in await self._ask(sql, (account, alias, limit), use=Use.LOOKUPS)]

    async def stated_names(self, pk: int) -> set[str]:
        """See `Reader.stated_names`."""
        rows = await self._ask(stated_names(1), (pk, pk), use=Use.LOOKUPS)
        return {name for _, names in read_stated(rows) for name in names}

    async def order_events(self, pk: int) -> list[Event]:
        """See `Reader.order_events`."""
        return [event async for page in self.order_pages(pk) for _, event in page]

    async def order_pages(self, pk: int) -> AsyncIterator[list[tuple[int, Event]]]:
        """See `Reader.order_pages`."""
        # Where they stand is told by an index alone; sorted with their bodies, all would be read for each page.
        places = [seq for (seq,) in await self._ask("SELECT seq FROM events WHERE order_pk = ? ORDER BY seq", (pk,))]
        for start in range(0, len(places), ORDER_PAGE):
            part = places[start : start + ORDER_PAGE]
            sql = f"SELECT seq, {codec.EVENT_COLUMNS} FROM events WHERE seq IN ({marks(part)}) ORDER BY seq"
            yield [(seq, codec.read_event(row)) for seq, *row in await self._ask(sql, part)]

    async def event(self, id: str) -> Event | None:
        """See `Reader.event`. Raises ValueError if `id` is not an event's."""
        order, key = split_id(id)
        sql = f"""SELECT {codec.EVENT_COLUMNS} FROM events
                  WHERE key = ? AND order_pk IN (SELECT order_pk FROM names WHERE key = ? UNION SELECT 0)"""
        found = [codec.read_event(row) for row in await self._ask(sql, (key, order), use=Use.LOOKUPS)]
        return next((event for event in found if event.id == id), None)

    async def log(self) -> AsyncIterator[list[tuple[int, int, Event]]]:
        """See `Reader.log`."""
        seq = 0
        sql = f"SELECT seq, order_pk, {codec.EVENT_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        while rows := await self._ask(sql, (seq, LOG_PAGE)):
            yield [(seq, pk, codec.read_event(row)) for seq, pk, *row in rows]
            seq = rows[-1][0]

    async def opened(self, account: str, since: datetime, until: datetime, limit: int) -> list[OrderAggregate]:
        """See `Reader.opened`."""
        sql = """SELECT state FROM orders WHERE account = ? AND json_extract(state, '$.order.opened_at') BETWEEN ? AND ?
                 ORDER BY pk DESC LIMIT ?"""
        rows = await self._ask(sql, (account, as_text(since), as_text(until), limit))
        return [codec.read_case(state) for (state,) in rows]

    async def count_orders(self, accounts: Sequence[str]) -> int:
        """See `Reader.count_orders`."""
        sql = f"SELECT count(*) FROM orders WHERE account IN ({marks(accounts)})"
        return int((await self._ask(sql, accounts))[0][0])

    async def every_nth_order(self, accounts: Sequence[str], n: int) -> list[int]:
        """See `Reader.every_nth_order`."""
        sql = f"""SELECT pk FROM (SELECT pk, row_number() OVER (ORDER BY pk) AS number FROM orders
                                  WHERE account IN ({marks(accounts)})) WHERE number % ? = 0 ORDER BY pk"""
        return [pk for (pk,) in await self._ask(sql, (*accounts, n))]

    async def histories(
        self, accounts: Sequence[str], after: int, until: int, limit: int
    ) -> list[tuple[int, list[Event]]]:
        """See `Reader.histories`."""
        sql = f"SELECT pk FROM orders WHERE account IN ({marks(accounts)}) AND pk > ? AND pk <= ? ORDER BY pk LIMIT ?"
        rows = await self._ask(sql, (*accounts, after, until, limit))
        found: dict[int, list[Event]] = {pk: [] for (pk,) in rows}
        if found:
            sql = f"""SELECT order_pk, {codec.EVENT_COLUMNS} FROM events
                      WHERE order_pk IN ({marks(found)}) ORDER BY order_pk, seq"""
            for pk, *row in await self._ask(sql, tuple(found)):
                found[pk].append(codec.read_event(row))
        return list(found.items())

    async def history_together(self, pks: Sequence[int]) -> list[tuple[int, Event]]:
        """See `Reader.history_together`."""
        sql = f"SELECT order_pk, {codec.EVENT_COLUMNS} FROM events WHERE order_pk IN ({marks(pks)}) ORDER BY seq"
        return [(pk, codec.read_event(row)) for pk, *row in await self._ask(sql, pks)]

    async def stored_orders(self, after: int, limit: int) -> list[StoredOrder]:
        """See `Reader.stored_orders`."""
        async with self._connection() as db:
            await db.execute("BEGIN")  # one snapshot for all the questions, while others may write
            try:
                return await _stored_orders(db, after, limit)
            finally:
                await db.execute("COMMIT")

    async def receipt(self, id: int) -> Receipt | None:
        """See `Reader.receipt`."""
        rows = await self._ask(f"SELECT {codec.RECEIPT_COLUMNS} FROM receipts WHERE id = ?", (id,), use=Use.LOOKUPS)
        return codec.read_receipt(rows[0]) if rows else None

    async def cancellation(self, id: str) -> Cancellation | None:
        """See `Reader.cancellation`."""
        rows = await self._ask("SELECT body FROM cancellations WHERE id = ?", (id,), use=Use.LOOKUPS)
        return codec.read_cancellation(rows[0][0]) if rows else None

    async def cancellations(
        self,
        *,
        account: str | None = None,
        order_pk: int | None = None,
        state: str | None = None,
        policy: str | None = None,
        waiting: str | None = None,
        batch: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[tuple[int, Cancellation]]:
        """See `Reader.cancellations`."""
        where = Where(account=account, order_pk=order_pk, state=state, policy=policy, batch=batch)
        # What waits for its turn is stored without the word, as that is where it begins.
        where.add("state = 'scheduled' AND coalesce(json_extract(body, '$.waiting'), 'turn') = ?", waiting)
        where.add("seq < ?", before)
        sql = f"SELECT seq, body FROM cancellations {where} ORDER BY seq DESC LIMIT ?"
        rows = await self._ask(sql, (*where.values, limit), use=Use.LISTS if batch is None else Use.LOOKUPS)
        return [(seq, codec.read_cancellation(body)) for seq, body in rows]

    async def jobs(
        self, account: str, due: datetime, limit: int, held: Collection[str] | None = ()
    ) -> list[tuple[int, Job]]:
        """See `Reader.jobs`."""
        which = f"account = ? AND due_at <= ? AND NOT sending{_free(held)}"

        def walk(failed: int, none: int, order: str) -> str:
            # By the index, and no further than asked: many may have failed, and many be due some day.
            return f"""SELECT * FROM (SELECT {codec.JOB_COLUMNS} FROM jobs INDEXED BY jobs_by_urgency
                       WHERE {which} AND (failures > 0) = {failed} AND (urgent_by IS NULL) = {none}{order}
                       LIMIT ?)"""

        fresh, retries = (
            f"""SELECT * FROM ({walk(failed, 0, " ORDER BY urgent_by, due_at")}
                UNION ALL {walk(failed, 1, " AND urgent_by IS NULL ORDER BY due_at")} LIMIT ?)"""
            for failed in (0, 1)
        )
        walked = (account, codec.micros(due), *(held or ()), limit)
        values = (*walked, *walked, limit) * 2
        return [codec.read_job(row) for row in await self._ask(f"{fresh} UNION ALL {retries}", values, use=Use.WORK)]

    async def deadlines(self, account: str, until: datetime, limit: int) -> list[datetime]:
        """See `Reader.deadlines`."""
        sql = """SELECT urgent_by FROM jobs WHERE account = ? AND (failures > 0) = 0 AND (urgent_by IS NULL) = 0
                 AND urgent_by <= ? AND NOT sending ORDER BY urgent_by LIMIT ?"""
        return [
            codec.moment(found)
            for (found,) in await self._ask(sql, (account, codec.micros(until), limit), use=Use.LOOKUPS)
        ]

    async def batch_states(self, batch: str) -> dict[str, int]:
        """See `Reader.batch_states`."""
        sql = "SELECT state, count(*) FROM cancellations WHERE batch = ? GROUP BY state"
        return dict(await self._ask(sql, (batch,), use=Use.LOOKUPS))

    async def quiet_orders(self, account: str, before: datetime, limit: int) -> list[tuple[int, str]]:
        """See `Reader.quiet_orders`."""
        sql = """SELECT pk, id FROM orders
                 WHERE account = ? AND last_event_at < ? AND phase NOT IN ('completed', 'canceled')
                 ORDER BY last_event_at LIMIT ?"""
        return [(pk, id) for pk, id in await self._ask(sql, (account, codec.micros(before), limit), use=Use.WORK)]

    async def next_due(self, account: str, after: datetime, held: Collection[str] | None = ()) -> datetime | None:
        """See `Reader.next_due`."""
        sql = f"SELECT min(due_at) FROM jobs WHERE account = ? AND due_at > ? AND NOT sending{_free(held)}"
        values = (account, codec.micros(after), *(held or ()))
        return codec.moment_or_none((await self._ask(sql, values, use=Use.WORK))[0][0])

    async def accounts_with_cancellations(self) -> set[str]:
        """See `Reader.accounts_with_cancellations`."""
        return {
            account
            for (account,) in await self._ask(
                "SELECT DISTINCT account FROM jobs WHERE cancellation IS NOT NULL", use=Use.WORK
            )
        }

    async def overdue(self, now: datetime, limit: int, *, latest: bool = False) -> list[tuple[str, str]]:
        """See `Reader.overdue`."""
        turn = "DESC" if latest else "ASC"
        # Each side by its index, and no further than asked: much may be overdue at once.
        sql = f"""SELECT account, name FROM (
                      SELECT * FROM (SELECT account, name, deadline AS at FROM jobs WHERE deadline <= :now
                                     ORDER BY deadline {turn} LIMIT :limit)
                      UNION ALL
                      SELECT * FROM (SELECT account, id, wakes_at FROM orders WHERE wakes_at <= :now
                                     ORDER BY wakes_at {turn} LIMIT :limit))
                  GROUP BY account, name ORDER BY min(at) {turn}, account, name LIMIT :limit"""
        rows = await self._ask(sql, {"now": codec.micros(now), "limit": limit}, use=Use.WORK)
        return [(account, name) for account, name in rows]

    async def next_deadline(self) -> datetime | None:
        """See `Reader.next_deadline`."""
        sql = """SELECT min(at) FROM (
                     SELECT min(deadline) AS at FROM jobs WHERE deadline IS NOT NULL
                     UNION ALL SELECT min(wakes_at) FROM orders WHERE wakes_at IS NOT NULL)"""
        return codec.moment_or_none((await self._ask(sql, use=Use.WORK))[0][0])

    async def interrupted(self) -> list[tuple[str, str]]:
        """See `Reader.interrupted`."""
        return [
            (account, name)
            for account, name in await self._ask("SELECT account, name FROM jobs WHERE sending", use=Use.WORK)
        ]

    async def lane(self, account: str) -> LaneState | None:
        """See `Reader.lane`."""
        rows = await self._ask("SELECT state FROM lanes WHERE account = ?", (account,))
        return codec.read_lane(rows[0][0]) if rows else None

    async def pauses(self) -> list[Pause]:
        """See `Reader.pauses`."""
        return [
            codec.read_pause(row)
            for row in await self._ask("SELECT scope, reason, since, by FROM pauses", use=Use.WORK)
        ]


_NUMBERS = """SELECT pk FROM (
    SELECT pk FROM (SELECT pk FROM orders WHERE pk > :after ORDER BY pk LIMIT :limit)
    UNION SELECT pk FROM (SELECT DISTINCT order_pk AS pk FROM events WHERE order_pk > :after ORDER BY pk LIMIT :limit)
    UNION SELECT pk FROM (SELECT order_pk AS pk FROM jobs WHERE order_pk > :after ORDER BY pk LIMIT :limit)
    UNION SELECT pk FROM (SELECT order_pk AS pk FROM cancellations WHERE order_pk > :after ORDER BY pk LIMIT :limit)
) ORDER BY pk LIMIT :limit"""


async def _stored_orders(db: aiosqlite.Connection, after: int, limit: int) -> list[StoredOrder]:
    numbers = [pk for (pk,) in await db.execute_fetchall(_NUMBERS, {"after": after, "limit": limit})]
    if not numbers:
        return []
    rows: dict[str, dict[int, list[tuple[Any, ...]]]] = {}
    for table, pk, columns, order in (
        ("events", "order_pk", codec.EVENT_COLUMNS, "seq"),
        ("orders", "pk", "account, id, phase, last_event_at, state", "pk"),
        ("jobs", "order_pk", codec.JOB_COLUMNS, "order_pk"),
        ("cancellations", "order_pk", "id, account, state, body", "seq"),
    ):
        found: dict[int, list[tuple[Any, ...]]] = {number: [] for number in numbers}
        sql = f"SELECT {pk}, {columns} FROM {table} WHERE {pk} BETWEEN ? AND ? ORDER BY {pk}, {order}"
        for number, *row in await db.execute_fetchall(sql, (numbers[0], numbers[-1])):
            found[number].append(tuple(row))
        rows[table] = found
    return [
        StoredOrder(
            pk=number,
            events=rows["events"][number],
            order=next(iter(rows["orders"][number]), None),
            job=next(iter(rows["jobs"][number]), None),
            cancellations={id: tuple(row) for id, *row in rows["cancellations"][number]},
        )
        for number in numbers
    ]


def _free(held: Collection[str] | None) -> str:
    """The condition on jobs that no held policy wants sent; None: none that any policy does."""
    if held is None:
        return " AND policy IS NULL"
    return f" AND (policy IS NULL OR policy NOT IN ({marks(held)}))" if held else ""


def _settle(waiting: asyncio.Future[_Found], found: _Found | Exception) -> None:
    if waiting.done():
        return  # whoever asked has gone
    if isinstance(found, Exception):
        waiting.set_exception(found)
    else:
        waiting.set_result(found)
