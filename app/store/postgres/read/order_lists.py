"""Lists of orders on PostgreSQL: the beginning of a name is found by indexes on names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from app.runtime.time_slice import TimeSlice
from app.store import order_lists
from app.store.order_lists import OrderLists, OrderTables
from app.store.postgres.grouping import PostgresGrouping
from app.store.postgres.lists import ListQueries
from app.store.records import Rows
from app.store.searching import Check, Order
from app.store.use import Use
from app.store.where import Where

# A name without a colon has the same beginning in both senses, and stands only in the second index.
_WHOLE = "position(':' in name) > 0 AND lower(name)"
_END = "lower(substr(name, position(':' in name) + 1))"
_BEGINS = '{0} >= lower(? COLLATE "C") AND {0} < lower(? COLLATE "C") || chr(1114111)'
_OF = "(SELECT account, name, order_pk FROM @{table} WHERE {begins} LIMIT ?)"
_NAMED = f"""SELECT account, name, order_pk FROM ({
    " UNION ALL ".join(
        _OF.format(table=table, begins=_BEGINS.format(part))
        for table in ("names", "shared_aliases")
        for part in (_WHOLE, _END)
    )
}) AS found"""
_NAMED_VALUES = 4


class _Names(Struct):
    id: str
    aliases: tuple[str, ...] = ()
    shared_aliases: tuple[str, ...] = ()


class _State(Struct):
    order: _Names


_state = msgspec.json.Decoder(_State)


def _numbered(numbers: Sequence[int]) -> tuple[str, Sequence[Any]]:
    return "pk = ANY(?::bigint[])", [list(numbers)]


def _begins(name: bytes, text: bytes) -> bool:
    """Whether a name, or what follows its first colon, begins so; both in lower case."""
    return name.startswith(text) or name.partition(b":")[2].startswith(text)


def _has_name(_where: Where, text: str) -> Check:
    """Looks into the state for the names of an order. JSON functions would fail on escaped NUL."""
    wanted = text.encode().lower()  # ASCII only, as the indexes do

    async def keep(rows: Rows) -> Rows:
        time_slice, kept = TimeSlice(), []
        for *row, state in rows:
            names = _state.decode(state).order
            if any(
                _begins(name.encode().lower(), wanted) for name in (names.id, *names.aliases, *names.shared_aliases)
            ):
                kept.append(tuple(row))
            await time_slice.pause()
        return kept

    return Check("state AS checked", "octet_length(state)", keep)


class OrderListQueries(OrderLists, ListQueries):
    """The part of `Reader` about lists of orders."""

    _orders = OrderTables(
        table="@orders",
        of_account="@orders",
        by_closing=Order("@orders", ("closes_at", "account", "pk"), ascending=True, condition="closes_at IS NOT NULL"),
        by_opening=Order("@orders", ("opened_at", "account", "pk"), condition="opened_at IS NOT NULL"),
        by_verdict=PostgresGrouping("@orders", ("cancelable", "phase", "reason"), "pk", nullable="reason"),
        by_account=PostgresGrouping("@orders", ("account",), "pk"),
        state="state",
        numbered=_numbered,
        has_name=_has_name,
    )

    async def _named(self, text: str) -> Sequence[int] | None:
        limit = order_lists.NUMBERS_MAX + 1
        rows = await self._lists.fetch(_NAMED, (text, text, limit) * _NAMED_VALUES, Use.SEARCHES)
        names, numbers = {row[:2] for row in rows}, {pk for _, _, pk in rows}
        is_whole = len(rows) < limit and len(names) <= order_lists.NAMES_MAX
        return list(numbers) if is_whole else None
