"""Steps that mark orders to be checked again, as `pending_rechecks` says; the timers of the owner check them then.

Rows of `@pending_rechecks` are written after those of orders, as by the commits that add them: a step that held such a
row while it waits for orders, and a commit that does the opposite, would wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.core.cancellation import Cancellation
from app.store.postgres.connection import Session
from app.store.postgres.pending_rechecks import ANY_FINGERPRINT
from app.store.postgres.read.orders import stored_rows
from app.store.postgres.read.owned import OWNED, OwnedQueries
from app.store.postgres.statements import Writing, add_cancellations, add_orders
from app.store.postgres.writes import Writes
from app.store.records import OrderWrite, StoredOrder
from app.store.use import Use

DUPLICATES_MAX = 100
"""At most so many orders of one fingerprint are re-checked, the newest: all orders may have the same."""
NOTES_MAX = 100
"""Notes that a step works on, each of another account, so that it does not begin with one order for two reasons."""
_LAST = (1 << 63) - 1
_NOTES = f"""SELECT DISTINCT ON (account) account, closing_lead, fingerprint, at, position FROM (
    SELECT * FROM @pending_rechecks WHERE {OWNED} ORDER BY at LIMIT $2) AS oldest ORDER BY account, at"""
_NOTE = """unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    AS note (account, closing_lead, fingerprint, at, start, last)"""
_ENDS = f"""SELECT (SELECT pk FROM @orders AS orders WHERE orders.account = note.account AND pk > start
        ORDER BY pk OFFSET last - 1 LIMIT 1) FROM {_NOTE}"""
"""The last order of each part, where there are as many: `last` is how many."""
_AT = "CASE WHEN closing_lead < 0 THEN at ELSE greatest(at, coalesce(closes_at, 0) - closing_lead) END"
_DUE = f"""phase NOT IN ('completed', 'canceled') AND (next_check_at IS NULL OR next_check_at > {_AT})
    AND (closing_lead < 0 OR closes_at > at OR reason IS NULL)"""
# Those with a fingerprint by its index, the others along the account's orders.
_ORDERS = f"""SELECT pk FROM {_NOTE} CROSS JOIN LATERAL (
        SELECT * FROM @orders AS orders WHERE note.fingerprint = {ANY_FINGERPRINT}
        AND orders.account = note.account AND pk > start AND pk <= last
    UNION ALL (SELECT * FROM @orders AS orders WHERE note.fingerprint <> {ANY_FINGERPRINT}
        AND orders.account = note.account AND orders.fingerprint = note.fingerprint
        ORDER BY pk DESC LIMIT {DUPLICATES_MAX})) AS orders WHERE {_DUE}"""
_LOCK = "SELECT 1 FROM @orders WHERE pk = ANY($1::bigint[]) ORDER BY pk FOR NO KEY UPDATE"
_MARK = f"""UPDATE @orders AS orders SET next_check_at = {_AT} FROM {_NOTE}
    WHERE orders.account = note.account AND pk = ANY($7::bigint[]) AND {_DUE}"""
# Only as they were read: after a change that came meanwhile, the steps begin again.
_SAME = """pending.account = note.account AND pending.closing_lead = note.closing_lead
    AND pending.fingerprint = note.fingerprint AND pending.at = note.at AND pending.position = start"""
_GO_ON = f"UPDATE @pending_rechecks AS pending SET position = last FROM {_NOTE} WHERE {_SAME} AND last < {_LAST}"
_END = f"DELETE FROM @pending_rechecks AS pending USING {_NOTE} WHERE {_SAME} AND last = {_LAST}"


class RecheckWrites(OwnedQueries, Writes):
    """The part of `Store` that writes orders that are to be checked again, and orders that are rebuilt."""

    orders_replaced = 0

    async def recheck_step(self, limit: int) -> bool:
        """See `Store.recheck_step`: of the orders whose accounts this node owns."""
        notes = await self._db.fetch(_NOTES, self.epoch, min(limit, NOTES_MAX), use=Use.WORK)
        if notes:
            await self._write(lambda session: _step(session, notes, limit))
        return bool(notes)

    async def replace_orders(
        self,
        writes: Sequence[OrderWrite],
        cancellations: Sequence[tuple[int, Cancellation]],
        read: Sequence[StoredOrder] = (),
    ) -> bool:
        """See `Store.replace_orders`."""
        writing = Writing()
        await add_orders(writing, writes, (), ())
        add_cancellations(writing, cancellations)
        if not writing:
            return True
        sql, values = writing.statement
        numbers = sorted(write.pk for write in writes)

        async def work(session: Session) -> bool:
            await session.fetch(_LOCK, numbers)
            # A statement of its own: it sees what was committed while the locks were waited for.
            if read and await stored_rows(session, [(order.account, order.pk) for order in read]) != list(read):
                return False
            await session.fetch(sql, *values)
            return True

        is_replaced = await self._write(work)
        self.orders_replaced += 1
        return is_replaced


async def _step(session: Session, notes: Sequence[Sequence[Any]], limit: int) -> None:
    columns = list(zip(*notes, strict=True))
    size = max(1, limit // len(notes))
    ends = [end for (end,) in await session.fetch(_ENDS, *columns, [size] * len(notes))]
    lasts = [_LAST if end is None or note[2] else end for end, note in zip(ends, notes, strict=True)]
    numbers = sorted(pk for (pk,) in await session.fetch(_ORDERS, *columns, lasts))
    if numbers:
        await session.fetch(_LOCK, numbers)
        await session.run(_MARK, *columns, lasts, numbers)
    await session.run(_GO_ON, *columns, lasts)
    await session.run(_END, *columns, lasts)
