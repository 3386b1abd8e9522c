"""Look-ups of orders by name that wait share a query: the way to the database is what costs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from app.core.aggregate import OrderAggregate
from app.core.event import order_key

LOOKUPS_MAX = 64
"""Look-ups in one query."""
Key = tuple[int, str, str]
"""(key of the name, account, name)."""
StoredAggregate = tuple[int, OrderAggregate]
"""(order number, aggregate)."""
Fetch = Callable[[Sequence[Key]], Awaitable[Mapping[tuple[str, str], StoredAggregate]]]
"""Finds orders by key, without repetitions; gives them by account and name."""
_Result = asyncio.Future[StoredAggregate | None]


class OrderLookups:
    """Gathers the look-ups that come while a query is under way."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._wanted: list[tuple[Key, _Result]] = []
        self._looking: asyncio.Task[None] | None = None

    async def order(self, account: str, order: str) -> StoredAggregate | None:
        """The order with this id or unique alias."""
        result: _Result = asyncio.get_running_loop().create_future()
        self._wanted.append(((order_key(account, order), account, order), result))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_up())
        return await result

    async def _look_up(self) -> None:
        while self._wanted:
            lookups, self._wanted = self._wanted[:LOOKUPS_MAX], self._wanted[LOOKUPS_MAX:]
            await self._resolve(lookups)

    async def _resolve(self, lookups: Sequence[tuple[Key, _Result]]) -> None:
        try:
            orders = await self._fetch(list(dict.fromkeys(key for key, _ in lookups)))
        except Exception as error:  # noqa: BLE001 - any error goes to the callers
            if len(lookups) == 1:
                _settle(lookups[0][1], error)
                return
            # One look-up may have failed all: each gets a query of its own.
            for lookup in lookups:
                await self._resolve([lookup])
            return
        for key, result in lookups:
            _settle(result, orders.get(key[1:]))


def _settle(future: _Result, result: StoredAggregate | Exception | None) -> None:
    if future.done():
        return  # the caller was canceled
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
