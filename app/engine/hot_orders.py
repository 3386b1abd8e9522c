"""Hot orders: those that were looked up or written lately, in memory, so that the next commit need not ask for them.

What is kept of an order is what the store has of it, as of the last commit that ended well: nothing that is still
being decided. A commit that fails before it writes therefore changes nothing here, and one that fails while it writes,
so that nobody knows what the store has, clears all. An order is kept only with the keys of all its events, by which
duplicates are told without a query.

That holds as long as nobody else writes orders, which a store says of itself (`Store.single_writer`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from sys import getsizeof

from msgspec import Struct

from app.contract import Cancelable
from app.core.event import Event
from app.core.outbound.told import Told
from app.runtime import metrics
from app.store import Changes, FoundOrder, Lookup, Name, OrderWrite, Store, Transaction, codec
from app.store.records import EVENT_KEYS_MAX, KEY_DIGITS, listed_key

_HOT, _COLD = (metrics.ORDER_LOOKUPS.labels(result) for result in ("hot", "cold"))
ORDERS_MAX = 20_000
BYTES_MAX = 64 << 20
ORDER_BYTES_MAX = 1 << 20
"""A larger order is not kept: it would take the place of a thousand others."""
_ENTRY_BYTES, _NAME_BYTES = 600, 140
"""About what the objects of an entry take beside its text, and of a name beside its own."""


class _Entry(Struct, gc=False):
    order: FoundOrder
    names: tuple[Name, ...]
    """Names that lead to it; not all of them need be here."""
    size: int


class HotOrders:
    """The hot orders of one ledger, the least recently used of which go first."""

    def __init__(self, store: Store, orders_max: int = ORDERS_MAX, bytes_max: int = BYTES_MAX) -> None:
        """Keep at most so many orders of `store`, of so many bytes in all; none if it has other writers."""
        self._store, self._replaced = store, store.orders_replaced
        self._orders_max, self._bytes_max = orders_max if store.single_writer else 0, bytes_max
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._by_name: dict[Name, int] = {}
        self._bytes = 0
        self._writing = False
        """A commit has begun to write, and is not known to have ended well."""
        self.hits = 0
        """How many names of commands led to a hot order."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def orders(self) -> dict[int, tuple[FoundOrder, tuple[Name, ...]]]:
        """Order number → (the order, names that lead to it) of all that are kept."""
        return {number: (entry.order, entry.names) for number, entry in self._entries.items()}

    @property
    def is_outdated(self) -> bool:
        """Whether the store may have something else: all that is kept will be forgotten, and looked up again."""
        return self._writing or self._replaced != self._store.orders_replaced

    async def look_up(self, transaction: Transaction, names: Collection[Name], events: Sequence[Event]) -> Lookup:
        """What `Transaction.find` gives; the transaction is asked only for what is not here.

        A name that leads nowhere is looked up each time: a new order costs a query, and is hot from then on.
        """
        if self.is_outdated:
            self._clear()
        hot: dict[Name, FoundOrder] = {}
        for name in names:
            number = self._by_name.get(name)
            if number is not None:
                self._entries.move_to_end(number)
                hot[name] = self._entries[number].order
        self.hits += len(hot)
        _HOT.inc(len(hot))
        logged = set[str]()
        unsure: list[Event] = []
        for event in events:
            order = hot.get((event.account, event.order))
            if order is None:
                unsure.append(event)
            elif order.keys is not None and listed_key(event.id) in order.keys:
                logged.add(event.id)
        if len(hot) == len(names):
            return Lookup(hot, frozenset(logged))
        cold = [name for name in names if name not in hot]
        _COLD.inc(len(cold))
        found = await transaction.find(cold, unsure)
        by_number: dict[int, tuple[FoundOrder, list[Name]]] = {}
        for name, order in found.orders.items():
            by_number.setdefault(order.number, (order, []))[1].append(name)
        for order, leading in by_number.values():
            self._put(order, leading)
        # In the order of the names, wherever each was: messages are numbered in this order.
        orders = {name: order for name in names if (order := hot.get(name) or found.orders.get(name)) is not None}
        return Lookup(orders, found.logged | logged)

    def begin_writing(self) -> None:
        """Until `update` it is not known what the store has: should that never be called, all is forgotten."""
        self._writing = True

    def update(self, before: Mapping[int, FoundOrder], changes: Changes, merged: Collection[int]) -> None:
        """Take over what a commit wrote.

        Args:
            before: by number, every order that it had looked up.
            changes: what it wrote.
            merged: numbers of the orders that were merged, both those that stay and those that do not.
        """
        if not self._orders_max:
            self._writing = False
            return
        keys: dict[int, list[str]] = {}
        for number, event in changes.events:
            keys.setdefault(number, []).append(listed_key(event.id))
        names: dict[int, list[Name]] = {}
        for account, name, number in changes.names:
            names.setdefault(number, []).append((account, name))
        for write in changes.orders:
            number = write.pk
            order = _after(before.get(number), write, "".join(keys.pop(number, ())))
            if order is None or changes.erased:
                self._drop(number)
            else:
                self._put(order, names.get(number, ()))
        for number in (*merged, *keys):
            self._drop(number)
        self._writing = False

    def _clear(self) -> None:
        self._entries.clear()
        self._by_name.clear()
        self._bytes, self._writing, self._replaced = 0, False, self._store.orders_replaced

    def _put(self, order: FoundOrder, names: Collection[Name]) -> None:
        if order.keys is None or not self._orders_max:
            return
        number, leading = order.number, tuple(names)
        earlier = self._entries.pop(number, None)
        if earlier is not None:
            self._bytes -= earlier.size
            leading = tuple(dict.fromkeys((*earlier.names, *names))) if names else earlier.names
        size = _ENTRY_BYTES + getsizeof(order.state) + len(order.keys)
        for _, text in leading:
            size += _NAME_BYTES + getsizeof(text)
        if size > ORDER_BYTES_MAX:
            for name in leading:
                self._by_name.pop(name, None)
            return
        self._entries[number] = _Entry(order, leading, size)
        for name in leading if earlier is None else names:
            self._by_name[name] = number
        self._bytes += size
        while len(self._entries) > self._orders_max or self._bytes > self._bytes_max:
            self._drop(next(iter(self._entries)))

    def _drop(self, number: int) -> None:
        entry = self._entries.pop(number, None)
        if entry is not None:
            self._bytes -= entry.size
            for name in entry.names:
                del self._by_name[name]


def _after(before: FoundOrder | None, write: OrderWrite, keys: str) -> FoundOrder | None:
    """The order as it is stored after `write` and events with these `keys`; None if not all of it is known."""
    if before is not None:
        if before.keys is None:
            return None
        keys = before.keys + keys
    if not write.state or write.reason is None or len(keys) > EVENT_KEYS_MAX * (1 + KEY_DIGITS):
        return None
    notice = write.closing_notice
    if notice is None and before is not None:
        notice = before.told.closing_notice
    # As it is read again: in UTC.
    closes_at = None if write.closes_at is None else codec.moment(codec.micros(write.closes_at))
    return FoundOrder(write.pk, write.state, Told(Cancelable(write.cancelable), write.reason, closes_at, notice), keys)
