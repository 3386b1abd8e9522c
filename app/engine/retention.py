"""Recording of erasures: of one order on request, and of what is older than the retention period."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from time import monotonic
from typing import TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from app.contract import Source
from app.core.cancellation import Cancellation
from app.core.erasure import EraseOrder
from app.core.event import Event, internal_event
from app.core.event_types import ORDER_ERASED, RETENTION_PRUNED, OrderErased, RetentionPruned
from app.engine.commit import Commit
from app.engine.erasure import ErasureOutdatedError, PreparedErasure
from app.engine.ledger import Ledger
from app.runtime.ids import Ids
from app.store import Expunged

PREPARED_MAX = 4
"""How often an erasure is prepared beside the commits, while its order changes meanwhile."""

T = TypeVar("T")


class Eraser:
    """Erases by way of the ledger."""

    def __init__(self, ledger: Ledger, ids: Ids) -> None:
        self._ledger, self._ids = ledger, ids
        self.took_s = 0.0
        """How long the last erasure and its commit took; the time that it waited for others is not in it."""

    async def erase(
        self,
        command: EraseOrder,
        *,
        by: str,
        reason: str,
        receipts: Collection[int] = (),
        messages: Sequence[int] = (),
        expunged: Collection[int] = (),
    ) -> OrderErased | Cancellation:
        """Erase the personal data of one order; returns what was recorded, or the live cancellation that forbids it.

        Args:
            command: names the order, by its id.
            by: the name of the API key.
            reason: why.
            receipts: further receipts to expunge, which brought no events.
            messages: messages about the order.
            expunged: receipts of this erasure that were expunged already.
        """
        key = str(self._ids.next())
        blank = _event(command, ORDER_ERASED, key, Source.OPERATOR, OrderErased(by, reason, 0, 0, ""))

        async def work(commit: Commit, prepared: Sequence[PreparedErasure]) -> OrderErased | Cancellation:
            number, order = commit.order_of(command)
            named = replace(command, order=order)
            if prepared and order != command.order:
                raise ErasureOutdatedError
            event = _event(named, ORDER_ERASED, key, Source.OPERATOR, OrderErased(by, reason, 0, 0, ""))
            erasures = await commit.erase([command], event.id, prepared)
            if erasures.refused:
                return cast("Cancellation", erasures.refused[0])
            all_receipts = dict.fromkeys([*expunged, *erasures.orders[0].receipts, *receipts])
            recorded = OrderErased(by, reason, len(erasures.events), len(all_receipts), erasures.digest)
            commit.add_own(command, _event(named, ORDER_ERASED, key, Source.OPERATOR, recorded))
            rest = tuple(receipt for receipt in all_receipts if receipt not in expunged)
            last = Expunged(at=command.now, receipts=rest, retire=True, orders=(number,), messages=tuple(messages))
            commit.expunge(last)
            return recorded

        return await self._erase([command], blank.id, work)

    async def expunge(self, expunged: Expunged) -> None:
        """Expunge a piece of what is beside the log, ahead of an erasure that records it."""

        async def work(commit: Commit) -> None:
            commit.expunge(expunged)

        await self._ledger.record_alone((), work)

    async def prune(
        self, orders: Sequence[EraseOrder], expunged: Expunged, older_than: datetime, by: str
    ) -> RetentionPruned:
        """Expunge what is older than the retention period; of `orders`, those that are over for so long."""
        key = str(self._ids.next())
        whole = EraseOrder("", "", expunged.at)
        blank = _event(whole, RETENTION_PRUNED, key, Source.CLOCK, RetentionPruned(older_than, by))

        async def work(commit: Commit, prepared: Sequence[PreparedErasure]) -> RetentionPruned:
            erasures = await commit.erase(orders, blank.id, prepared)
            recorded = RetentionPruned(
                older_than,
                by,
                receipts=len(expunged.receipts),
                attempts=len(expunged.attempts),
                messages=len(expunged.messages),
                orders=sum(bool(order.events) for order in erasures.orders),
                events=len(erasures.events),
                digest=erasures.digest if erasures.events else "",
            )
            commit.expunge(expunged)
            if recorded.receipts or recorded.attempts or recorded.messages or recorded.events:
                commit.add_notice(_event(whole, RETENTION_PRUNED, key, Source.CLOCK, recorded))
            return recorded

        return await self._erase(orders, blank.id, work)

    async def _erase(
        self, commands: Sequence[EraseOrder], by: str, work: Callable[[Commit, Sequence[PreparedErasure]], Awaitable[T]]
    ) -> T:
        """Run `work` in a commit of its own, with erasures that were prepared beside it."""
        for attempt in range(PREPARED_MAX + 1):
            began = monotonic()
            # An order that gets an event again and again is prepared in the commit at last.
            is_last = attempt == PREPARED_MAX
            prepared = () if is_last else [await self._ledger.prepare_erasure(command, by) for command in commands]
            took_s = monotonic() - began

            async def timed(commit: Commit, prepared: Sequence[PreparedErasure] = prepared) -> T:
                nonlocal began
                began = monotonic()
                return await work(commit, prepared)

            try:
                result = await self._ledger.record_alone(commands, timed)
            except ErasureOutdatedError:
                continue
            self.took_s = took_s + monotonic() - began
            return result
        raise ErasureOutdatedError


def _event(command: EraseOrder, type: str, key: str, source: Source, data: Struct) -> Event:
    return internal_event(command.account, command.order, type, key, command.now, source, data)
