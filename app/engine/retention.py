"""Recording of erasures: of one order on request, and of what is older than the retention period."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from time import monotonic
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from app.contract import Source
from app.core.cancellation import Cancellation
from app.core.erasure import EraseOrder
from app.core.event import Event, internal_event
from app.core.event_types import ORDER_ERASED, RETENTION_PRUNED, OrderErased, RetentionPruned
from app.engine.commit import Commit
from app.engine.ledger import Ledger
from app.runtime.ids import Ids
from app.store import Expunged


class Eraser:
    """Erases by way of the ledger."""

    def __init__(self, ledger: Ledger, ids: Ids) -> None:
        self._ledger, self._ids = ledger, ids
        self.took_s = 0.0
        """How long the last commit of `prune` took; the time that it waited for others is not in it."""

    async def erase(
        self, command: EraseOrder, *, by: str, reason: str, receipts: Sequence[int] = (), messages: Sequence[int] = ()
    ) -> OrderErased | Cancellation:
        """Erase the personal data of one order; returns what was recorded, or the live cancellation that forbids it.

        Args:
            command: names the order.
            by: the name of the API key.
            reason: why.
            receipts: further receipts to expunge, which brought no events.
            messages: messages about the order.
        """
        key = str(self._ids.next())

        async def work(commit: Commit) -> OrderErased | Cancellation:
            number, order = commit.order_of(command)
            named = replace(command, order=order)
            event = _event(named, ORDER_ERASED, key, Source.OPERATOR, OrderErased(by, reason, 0, 0, ""))
            erasures = await commit.erase([command], event.id)
            if erasures.refused:
                return cast("Cancellation", erasures.refused[0])
            expunged = tuple(dict.fromkeys([*erasures.orders[0].receipts, *receipts]))
            recorded = OrderErased(by, reason, len(erasures.events), len(expunged), erasures.digest)
            commit.add_own(command, _event(named, ORDER_ERASED, key, Source.OPERATOR, recorded))
            commit.expunge(
                Expunged(at=command.now, receipts=expunged, retire=True, orders=(number,), messages=tuple(messages))
            )
            return recorded

        return await self._ledger.record_alone([command], work)

    async def prune(
        self, orders: Sequence[EraseOrder], expunged: Expunged, older_than: datetime, by: str
    ) -> RetentionPruned:
        """Expunge what is older than the retention period; of `orders`, those that are over for so long."""
        key = str(self._ids.next())
        whole, began = EraseOrder("", "", expunged.at), monotonic()

        async def work(commit: Commit) -> RetentionPruned:
            nonlocal began
            began = monotonic()
            blank = RetentionPruned(older_than, by)
            erasures = await commit.erase(orders, _event(whole, RETENTION_PRUNED, key, Source.CLOCK, blank).id)
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

        recorded = await self._ledger.record_alone(orders, work)
        self.took_s = monotonic() - began
        return recorded


def _event(command: EraseOrder, type: str, key: str, source: Source, data: Struct) -> Event:
    return internal_event(command.account, command.order, type, key, command.now, source, data)
