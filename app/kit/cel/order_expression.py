"""Expressions over an order, which remember their results by what they read of it.

An evaluation takes several microseconds, and most orders of an account differ in what its conditions do not read. So a
result is remembered under what the expression reads: the phase, the status, single attributes. That is packed, so that
1, 1.0, true and "1" are four values; and it belongs to one expression, whose text never changes.

**Time.** An expression that reads `now` is first evaluated without it. CEL gives a value only where what is missing
cannot matter (`false && now > …`, `exists` over no appointments): such a result holds at any time and is remembered.
Where it does matter, that is remembered, and the expression is evaluated each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from itertools import count
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Struct

from app.contract import Order
from app.kit.cel import expression
from app.kit.cel.expression import ExpressionFailed, Kind
from app.kit.cel.order_view import ORDER, order_values

RESULTS_MAX = 10_000
"""How many results are remembered, of all expressions together: with `KEY_BYTES_MAX` some megabytes."""
KEY_BYTES_MAX = 256
"""What is read of one order, packed; results of more are not remembered."""
_FAILURE_CHARS_MAX = 500
_APPOINTMENTS_MAX = 4
"""With `now` none, as their times are seldom those of another order, and then decide nothing alone."""
_ANY = sys.maxsize
_ATTRIBUTES = "order.attributes"
_FIELDS = {
    "account": "account",
    "order.account": "account",
    "order.phase": "phase",
    "order.provider_status": "provider_status",
    "order.opened_at": "opened_at",
    "order.appointments": "appointments",
}
"""Names that say the same of an order, or of many, again and again; and the field of the order of each."""
_UNPACKABLE = (OverflowError, UnicodeEncodeError)
"""An integer of more than 64 bits, half a surrogate pair."""

_pack = msgspec.msgpack.Encoder().encode
_numbers = count()
_results: dict[bytes, Any] = {}


class _Failure(Struct, frozen=True, gc=False):
    """The evaluation failed."""

    text: str


_DEPENDS_ON_TIME = _Failure("")


class OrderExpression:
    """A checked expression over the names of `ORDER`; see `compile`."""

    def __init__(self, text: str, wanted: Kind) -> None:
        self._expression = expression.compile(text, ORDER, wanted)
        self.names = self._expression.names
        """The names that it reads."""
        keys = self._expression.map_keys.get(_ATTRIBUTES)
        self._attributes = () if keys is None else tuple(sorted(keys))
        """Those that it reads, where it reads no others."""
        self._reads_now = "now" in self.names
        self._remembers = self._reads_little(any_attribute=keys is None)
        fields = sorted({_FIELDS[name] for name in self.names if name in _FIELDS})
        self._read = attrgetter(*fields) if fields else _nothing
        self._appointments_max = _ANY if "appointments" not in fields else 0 if self._reads_now else _APPOINTMENTS_MAX
        self._number = next(_numbers)

    def evaluate(self, order: Order, now: datetime) -> Any:
        """The value for an order at a time. Raises `ExpressionFailed`."""
        key = self._key(order) if self._remembers else None
        if key is None:
            return self._evaluate(order, now)
        result = _results.get(key, _results)
        if result is _results:
            result = self._timeless(order, now)
            if len(_results) >= RESULTS_MAX:
                _results.clear()
            if type(result) is not _Failure or len(result.text) <= _FAILURE_CHARS_MAX:
                _results[key] = result
        if result is _DEPENDS_ON_TIME:
            return self._evaluate(order, now)
        if type(result) is _Failure:
            raise ExpressionFailed(result.text)
        return result

    def _reads_little(self, *, any_attribute: bool) -> bool:
        """Whether what it reads is likely to be read again. With `now`, the time of opening decides nothing alone."""
        names = self.names - {"now", _ATTRIBUTES}
        from_opening = self._reads_now and "order.opened_at" in names
        return not any_attribute and not from_opening and names <= _FIELDS.keys()

    def _key(self, order: Order) -> bytes | None:
        """What it reads of the order, packed; None where that is too much, or cannot be packed."""
        if len(order.appointments) > self._appointments_max:
            return None
        attributes = {key: order.attributes[key] for key in self._attributes if key in order.attributes}
        if attributes and not _are_small(attributes.values()):
            return None
        try:
            key = _pack((self._number, self._read(order), attributes))
        except _UNPACKABLE:
            return None
        return key if len(key) <= KEY_BYTES_MAX else None

    def _timeless(self, order: Order, now: datetime) -> Any:
        """The value at any time, a `_Failure`, or `_DEPENDS_ON_TIME`."""
        values = order_values(order, now, self.names)
        if self._reads_now:
            del values["now"]
        try:
            return self._expression.evaluate(values)
        except ExpressionFailed as error:
            return _DEPENDS_ON_TIME if self._reads_now else _Failure(str(error))

    def _evaluate(self, order: Order, now: datetime) -> Any:
        return self._expression.evaluate(order_values(order, now, self.names))


@lru_cache(maxsize=4096)
def compile(text: str, wanted: Kind = Kind.BOOL) -> OrderExpression:
    """Check an expression over an order and make it ready for evaluation. Raises `InvalidExpression`."""
    return OrderExpression(text, wanted)


def _nothing(_order: Order) -> None:
    return None


def _are_small(values: Iterable[Any]) -> bool:
    """Whether packing them costs little."""
    for value in values:
        kind = type(value)
        if kind is dict or kind is list or (kind is str and len(value) > KEY_BYTES_MAX):
            return False
    return True
