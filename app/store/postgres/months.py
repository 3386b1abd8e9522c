"""Months that are over are dropped: partitions as a whole, which frees their space at once and makes nobody wait.

Of the month's orders all goes that this database has of them, in pages that lock them. Their events go with the
partition, if no order of the month goes on; else row by row, and the partition stays. Before anything goes,
`pruned_through` says up to which position events may be missing: followers of the log notice, and `log verify` knows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from app.core.cancellation import FINAL, State
from app.core.event import order_key
from app.runtime import ids
from app.store import codec
from app.store.postgres.connection import Session, connect
from app.store.postgres.errors import ERRORS, fault_of
from app.store.postgres.partitions import EVENTS, LOCK_MS, PARTITIONED, Partition, partitions_of
from app.store.postgres.writes import Writes
from app.store.use import Use

PAGE = 200
"""Orders that one transaction deletes."""
LOOKED_AT = 5000
"""Orders that one query looks at."""
DETACH_S = 600.0
"""How long to wait until all readers of a partition have ended; then it is tried again the next time."""
_LIVE = ", ".join(f"'{state}'" for state in State if state not in FINAL)
# Nothing is to be done about it any more, and nothing was heard of it for so long.
_OVER = f"""phase IN ('completed', 'canceled')
    AND NOT EXISTS (SELECT 1 FROM @jobs AS job WHERE job.account = orders.account AND job.order_pk = pk)
    AND NOT EXISTS (SELECT 1 FROM @cancellations AS cancellation WHERE cancellation.account = orders.account
        AND cancellation.order_pk = pk AND cancellation.state IN ({_LIVE}))
    AND NOT EXISTS (SELECT 1 FROM @events AS event WHERE event.account = orders.account
        AND event.order_pk = pk AND event.received_at >= $1)"""
_GOES_ON = f"SELECT 1 FROM @orders AS orders WHERE pk >= $2 AND pk <= $3 AND NOT ({_OVER}) LIMIT 1"
_PAGE_END = "SELECT max(pk) FROM (SELECT pk FROM @orders WHERE pk >= $1 AND pk < $2 ORDER BY pk LIMIT $3) AS page"
_LOCK = f"""SELECT account, pk FROM @orders AS orders WHERE pk >= $2 AND pk <= $3 AND {_OVER}
    ORDER BY pk FOR UPDATE"""
# A statement of its own: it sees what was heard of an order while its lock was waited for.
_STILL_OVER = f"""SELECT account, pk, state FROM @orders AS orders
    WHERE (account, pk) IN (SELECT * FROM unnest($2::text[], $3::bigint[])) AND {_OVER} ORDER BY pk"""
_GONE = "(SELECT * FROM unnest($1::text[], $2::bigint[])) AS gone (account_, pk_)"
_PRUNED = f"""UPDATE @log_generations SET pruned_through = greatest(pruned_through, (
        SELECT coalesce(max(seq), 0) FROM @events JOIN {_GONE} ON account = account_ AND order_pk = pk_))
    WHERE number = (SELECT max(number) FROM @log_generations)"""
_NAMES = """DELETE FROM @names AS stored USING unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[])
    AS gone (account, key, name, pk) WHERE stored.account = gone.account AND stored.key = gone.key
    AND stored.name = gone.name AND stored.order_pk = gone.pk"""
_SHARED = """DELETE FROM @shared_aliases AS stored USING unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[])
    AS gone (account, key, name, pk) WHERE stored.account = gone.account AND stored.name = gone.name
    AND stored.order_pk = gone.pk"""
_DECISIONS = f"""DELETE FROM @policy_decisions WHERE position IN
    (SELECT seq FROM @events JOIN {_GONE} ON account = account_ AND order_pk = pk_)"""
_OF_ORDER = {"cancellations": "order_pk", "attempts": "order_pk", "orders": "pk"}
# A month is kept as a whole while something of it waits: quarantined receipts, and calls of live cancellations.
_STAYS = {
    "receipts": "SELECT 1 FROM @{0} WHERE status = 'quarantined' AND expunged_at IS NULL LIMIT 1",
    "attempts": f"""(SELECT 1 FROM @{{0}} WHERE ended_at IS NULL LIMIT 1) UNION ALL
        (SELECT 1 FROM @cancellations AS cancellation JOIN @{{0}} AS attempt
            ON attempt.account = cancellation.account AND attempt.order_pk = cancellation.order_pk
            WHERE cancellation.state IN ({_LIVE}) LIMIT 1)""",
}


class MonthWrites(Writes):
    """The part of `Store` that drops months."""

    async def drop_months(self, before: datetime) -> list[str]:
        """See `RetentionStore.drop_months`."""
        dropped = []
        for table in PARTITIONED:
            async with self._db.borrow(Use.LOG) as session:
                partitions = await partitions_of(session, table)
            for partition in partitions:
                if partition.end > ids.at(codec.micros(before) // 1000):
                    continue
                if table == EVENTS:
                    is_over = await self._delete_orders(partition, before)
                else:
                    is_over = not await self._db.fetch(_STAYS[table].format(partition.name), use=Use.LOG)
                if is_over:
                    await self._drop(table, partition)
                    dropped.append(partition.name)
        return dropped

    async def _delete_orders(self, month: Partition, before: datetime) -> bool:
        """Delete the orders of a month that are over; returns whether none of the month goes on."""
        horizon = codec.micros(before)
        goes_on = await self._goes_on(month, horizon)
        async for page in self._pages(month, PAGE):
            await self._write(lambda session, page=page: _delete_page(session, horizon, page, with_events=goes_on))  # type: ignore[misc]
        return not goes_on and not await self._goes_on(month, horizon)  # one may have been heard of meanwhile

    async def _goes_on(self, month: Partition, horizon: int) -> bool:
        async for page in self._pages(month, LOOKED_AT):
            if await self._db.fetch(_GOES_ON, horizon, *page, use=Use.LOG):
                return True
        return False

    async def _pages(self, month: Partition, size: int) -> AsyncIterator[tuple[int, int]]:
        """(first, last number) of so many orders of a month at once."""
        start = month.start
        while True:
            [(last,)] = await self._db.fetch(_PAGE_END, start, month.end, size, use=Use.LOG)
            if last is None:
                return
            yield start, last
            start = last + 1

    async def _drop(self, table: str, partition: Partition) -> None:
        """Detach a partition, which waits for those who use it and makes nobody wait, and drop it."""
        target = self._db.target
        try:
            connection = await connect(target.direct_url or target.url)
            try:
                session = Session(connection, target.schema)
                how = "FINALIZE" if partition.is_pending else "CONCURRENTLY"
                if partition.is_attached:
                    sql = f"ALTER TABLE {session.named(table)} DETACH PARTITION {session.named(partition.name)} {how}"
                    await connection.execute(sql, timeout=DETACH_S)
                async with connection.transaction():
                    await session.script(f"SET LOCAL lock_timeout = '{LOCK_MS}ms'; DROP TABLE @{partition.name}")
            finally:
                connection.terminate()
        except ERRORS as error:
            raise fault_of(error) from error


async def _delete_page(session: Session, horizon: int, page: tuple[int, int], *, with_events: bool) -> None:
    locked = await session.fetch(_LOCK, horizon, *page)
    orders = await session.fetch(_STILL_OVER, horizon, *zip(*locked, strict=True)) if locked else ()
    if not orders:
        return
    accounts, pks = [order["account"] for order in orders], [order["pk"] for order in orders]
    names = []
    for account, pk, state in orders:
        order = codec.read_aggregate(state).order
        names += [(account, order_key(account, name), name, pk) for name in {order.id, *order.aliases}]
    await session.run(_PRUNED, accounts, pks)
    await session.run(_DECISIONS, accounts, pks)
    for sql in (_NAMES, _SHARED):
        await session.run(sql, *zip(*sorted(names), strict=True))
    for table, pk in {**({EVENTS: "order_pk"} if with_events else {}), **_OF_ORDER}.items():
        await session.run(f"DELETE FROM @{table} USING {_GONE} WHERE account = account_ AND {pk} = pk_", accounts, pks)
